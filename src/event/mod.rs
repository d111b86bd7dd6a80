//! The event contract: the kinds and their payloads as clients get them, and the envelope as backends get it.

pub mod envelope;
pub mod kind;
pub mod payload;

pub use envelope::{Fact, GapReason, Outcome, Participant, ServerView, TelemetryEnvelope, UserSummary, fact_id};
pub use kind::{Class, EventKind};
pub use payload::{CallMediaType, CallRole, EndReason, ErrorCode, Event, QualityMap, RoomId, VolumeMap};
