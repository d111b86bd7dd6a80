//! The load generator: many publishers and receivers over real ICE, DTLS and SRTP from one process, and a report of what came of it.
//!
//! It decodes nothing. Packets carry the time they were written at, so that whoever receives one knows how long it took; the counts are by
//! sequence number, after repair.

pub mod args;
pub mod client;
pub mod io;
pub mod link;
pub mod plan;
pub mod report;
pub mod source;
pub mod tally;

pub use link::Impairment;
pub use plan::{Pattern, Plan, Role, Scenario};
pub use report::Report;
