//! What browsers load from the public listener: the try-a-call page and the SDK, embedded in the binary.
//!
//! The page makes its own tickets for any name, so who may ask for one is decided here ([`admit`]); the cores know nothing of it.

mod admit;
mod asset;
pub mod io;

pub use admit::{Caller, Refusal, admit};
pub use asset::Asset;
pub use io::{Pages, router};
