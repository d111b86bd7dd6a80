//! The node's own dealings with the outside: the listeners' routes, signals, the service manager.

mod doors;
mod service;
mod signals;
pub mod stop;
mod webhooks;

pub use doors::Doors;
pub use service::Service;
pub use signals::Signals;
pub use webhooks::Webhooks;
