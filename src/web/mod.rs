//! What browsers load, embedded in the binary: the try-a-call page and the SDK from the public listener, the console from the admin one.
//!
//! The page makes its own tickets for any name, so who may ask for one is decided here ([`admit`]); the cores know nothing of it.

mod admit;
mod asset;
pub mod console;
pub mod io;

pub use admit::{Caller, Refusal, admit};
pub use asset::Asset;
pub use io::{Pages, router};
