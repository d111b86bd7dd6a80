//! The media plane: shards of peers that forward each other's packets. Sans-IO but for `io/`.
//!
//! It knows peers, tracks and routes; it does not know users' names, tickets, room names or webhooks. Control speaks to it in
//! [`Command`]s and hears of it in [`Report`]s, both plain values over bounded queues.

pub mod command;
pub mod export;
pub mod report;

pub use command::{Command, SlotWish};
pub use export::ShardSnapshot;
pub use report::{
    Cause, Connection, Direction, EncodingState, OfferError, PeerQuality, Report, SlotAssignment,
};
