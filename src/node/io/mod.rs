//! The node's own dealings with the outside: the listeners' routes, signals, the service manager, what is done to the record in the background.

pub mod descriptors;
mod doors;
pub mod listener;
mod reload;
mod retention;
mod service;
mod signals;
pub mod stop;
pub mod tls;
mod webhooks;

pub use doors::Doors;
pub use reload::Reload;
pub use retention::{Keeper, Retention};
pub use service::Service;
pub use signals::{Asked, Signals};
pub use webhooks::Webhooks;
