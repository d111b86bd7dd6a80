//! Vocabulary that every layer shares: plain values, no behaviour of their own.

pub mod id;
pub mod time;
pub mod unit;

pub use id::{CallId, EndpointId, EventId, Mid, PeerId, RoomKey, SessionId, UserId};
pub use time::Timestamp;
pub use unit::{Quality, Source, Volume};
