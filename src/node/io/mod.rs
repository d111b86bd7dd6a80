//! The node's own dealings with the machine it runs on: signals, and the service manager.

mod service;
mod signals;
pub mod stop;

pub use service::Service;
pub use signals::Signals;
