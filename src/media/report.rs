//! What a shard tells control.

use std::time::Duration;

use crate::base::{Mid, PeerId, Quality, RoomKey, Source, Volume};

/// One piece of news.
#[derive(Debug, Clone)]
pub enum Report {
    /// The answer to [`Command::Offer`](super::Command::Offer), or why there is none.
    Answered { peer: PeerId, request: u64, result: Result<String, OfferError> },
    /// The peer's connection changed.
    Connection { peer: PeerId, state: Connection },
    /// The source began or ceased to arrive (nothing for two seconds counts as ceased).
    Flowing { peer: PeerId, source: Source, flowing: bool },
    /// Who is in the viewer's slots; packets of a new user wait for [`Command::SlotsTold`](super::Command::SlotsTold).
    Slots { peer: PeerId, version: u64, slots: Vec<SlotAssignment> },
    /// Which encodings of a publisher's m-line anyone watches.
    Encodings { peer: PeerId, mid: Mid, encodings: Vec<EncodingState> },
    /// Loudness of everyone in the room, sent when it differs from the last.
    Volumes { room: RoomKey, volumes: Vec<(PeerId, Volume)> },
    /// Network quality of everyone in the room once a window, and of one alone as soon as its level changes.
    Quality { room: RoomKey, peers: Vec<(PeerId, PeerQuality)> },
    /// The shard's counters, once a second.
    Snapshot(Box<super::ShardSnapshot>),
}

/// Why an offer got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// The text is no SDP offer this server can answer.
    #[error("the offer cannot be used: {0}")]
    Invalid(String),
    /// `sources` and the m-lines do not fit together.
    #[error("sources: {0}")]
    Sources(String),
    /// The shard serves as many peers as it may.
    #[error("this server takes no more connections")]
    Full,
}

/// State of a peer's transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// ICE and DTLS are up (again).
    Connected,
    /// Nothing was heard of the peer for some seconds; it may come back.
    Silent,
    /// The peer is gone from the shard: it closed, failed or timed out. The peer's id is dead.
    Closed,
}

/// Who is in a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotAssignment {
    pub mid: Mid,
    pub publisher: Option<PeerId>,
    pub source: Source,
    /// Assigned, but not sent: the viewer's bandwidth does not allow even the lowest encoding.
    pub paused: bool,
}

/// One of a publisher's encodings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodingState {
    pub rid: Option<String>,
    pub active: bool,
    /// Bits per second.
    pub max_bitrate: Option<u32>,
}

/// A peer's network over one window.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerQuality {
    /// The worse of both directions, after hysteresis.
    pub level: Quality,
    /// From the peer to the server.
    pub up: Direction,
    /// From the server to the peer.
    pub down: Direction,
}

/// One direction's figures over one window.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Direction {
    pub level: Quality,
    pub rtt: Option<Duration>,
    /// What even the quickest packet waits this way, over the path's own delay.
    pub queue: Duration,
    /// 0.0–1.0, before repair.
    pub loss: f32,
    pub jitter: Duration,
    pub picture: Picture,
    /// Bits per second.
    pub bitrate: u64,
    /// What made the level worse than Excellent.
    pub cause: Option<Cause>,
}

/// What pictures suffer on one way, of the source that suffers most.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Picture {
    /// 0.0–1.0, after repair. Up only: what the client repairs from the server it does not tell.
    pub missing: f32,
    /// The share of the window in which it stood still, 0.0–1.0.
    pub still: f32,
    /// Layers less than the viewer wanted and the publisher sent, as a mean of its slots. Down only.
    pub layers_short: f32,
    /// Even the lowest layer of a slot is not sent, for want of bandwidth.
    pub paused: bool,
}

/// What is to blame for a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    Loss,
    Delay,
    Jitter,
    Bandwidth,
    Silence,
}
