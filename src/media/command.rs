//! What control asks of a shard.

use crate::base::{Mid, PeerId, RoomKey, Source};

/// One order. Each names its room and its peer, by which [`Placement`](super::placement::Placement) knows the shard.
#[derive(Debug, Clone)]
pub enum Command {
    /// The client's SDP offer. Makes the peer when it is new; otherwise adds m-lines or restarts ICE.
    /// Answered by [`Report::Answered`](super::Report::Answered) with the same `request`.
    Offer {
        room: RoomKey,
        peer: PeerId,
        request: u64,
        /// At most `MAX_SDP_LEN` bytes (checked by the door), hostile until parsed.
        sdp: String,
        /// What the client sends on which m-line; m-lines it only receives on are slots.
        sources: Vec<(Mid, Source)>,
        /// What this user may receive at all (a PrivateMapKey can narrow it).
        may_receive: Permissions,
    },
    /// Whether the source's packets are forwarded: false while its client or the server has muted it.
    Forward { room: RoomKey, peer: PeerId, source: Source, forward: bool },
    /// The viewer's own choice for some of its slots; an empty list leaves all of them to the server again.
    View { room: RoomKey, peer: PeerId, slots: Vec<SlotWish> },
    /// The viewer's client was told of the assignment with this version: packets may flow under it.
    SlotsTold { room: RoomKey, peer: PeerId, version: u64 },
    /// The peer leaves: its connection is closed and its routes end.
    Leave { room: RoomKey, peer: PeerId },
    /// The room's call is served by these shards; with less than two of them by this one alone. The media plane gives this order itself.
    Span { room: RoomKey, shards: Vec<usize> },
}

/// Kinds of media a viewer may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permissions {
    pub audio: bool,
    pub video: bool,
    pub screen: bool,
}

impl Permissions {
    pub const ALL: Permissions = Permissions { audio: true, video: true, screen: true };
}

/// A viewer's wish for one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotWish {
    pub mid: Mid,
    /// `None`: the slot stays empty.
    pub publisher: Option<PeerId>,
    pub source: Source,
    /// The height in pixels at which it is shown; larger encodings are a waste.
    pub max_height: Option<u16>,
}

impl Command {
    pub const fn room(&self) -> RoomKey {
        match self {
            Command::Offer { room, .. }
            | Command::Forward { room, .. }
            | Command::View { room, .. }
            | Command::SlotsTold { room, .. }
            | Command::Leave { room, .. }
            | Command::Span { room, .. } => *room,
        }
    }

    /// Whom it is about; `None`: the whole room.
    pub const fn peer(&self) -> Option<PeerId> {
        match self {
            Command::Offer { peer, .. }
            | Command::Forward { peer, .. }
            | Command::View { peer, .. }
            | Command::SlotsTold { peer, .. }
            | Command::Leave { peer, .. } => Some(*peer),
            Command::Span { .. } => None,
        }
    }
}
