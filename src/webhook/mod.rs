//! Delivery: every stored fact reaches every endpoint that wants it, in order for each call, at least once.
//!
//! Events are bytes here. A [`lane`] is one call's way to one endpoint; an [`outbox`] holds the lanes of one endpoint; the
//! [`dispatch::Dispatcher`] holds the outboxes and is the whole of delivery as a state machine without I/O. What it needs of the
//! durable record is the trait [`record::Record`]; `io/` reads the record, signs, sends and brings the answers back.

pub mod address;
pub mod book;
pub mod circuit;
pub mod dispatch;
pub mod endpoint;
mod hosts;
pub mod io;
pub mod lane;
mod message;
pub mod outbox;
pub mod record;
pub mod replay;
pub mod reply;
pub mod retry_after;
pub mod schedule;
pub mod sign;
#[cfg(test)]
mod simulation;
mod sweep;

pub use dispatch::{EndpointState, EndpointStatus, LastReply, Observation, Reply, Settings};
pub use endpoint::{Endpoint, InvalidEndpoint, Roster};
