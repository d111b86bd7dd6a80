//! Delivery's outside: the thread that drives it, the requests, and the resolver that keeps them off private networks.

pub mod deliver;
mod mailbox;
mod post;
mod resolver;

pub use deliver::{Deliverer, DelivererHandle, Parts};
pub use post::{Client, ClientSettings};
