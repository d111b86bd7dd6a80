//! The media plane: shards of peers that forward each other's packets. Sans-IO but for `io/`.
//!
//! It knows peers, tracks and routes; it does not know users' names, tickets, room names or webhooks. Control speaks to it in
//! [`Command`]s and hears of it in [`Report`]s, both plain values over bounded queues.

pub mod allocate;
mod assign;
#[cfg(test)]
mod bandwidth_scenarios;
pub mod bits;
pub mod budget;
pub mod command;
mod congestion;
#[cfg(test)]
mod crowd;
pub mod demand;
pub mod demux;
pub mod dependency;
#[cfg(test)]
mod differential;
pub mod dtls;
pub mod estimate;
pub mod export;
#[cfg(test)]
mod fake_source;
pub mod floor;
pub mod flow;
mod gaps;
mod grade;
pub mod header;
#[cfg(test)]
mod hostile;
mod intake;
pub mod io;
pub mod keyframe;
pub mod keys;
pub mod ladder;
pub mod layer;
mod listen;
pub mod member;
pub mod negotiate;
#[cfg(test)]
mod network;
pub mod outbound;
pub mod outgoing;
pub mod pacer;
#[cfg(test)]
mod pair;
pub mod payload;
pub mod peer;
pub mod picture_size;
pub mod placement;
pub mod publish;
pub mod publisher;
pub mod quality;
pub mod red;
pub mod relay;
pub mod report;
pub mod resend;
pub mod rewrite;
pub mod room;
pub mod route;
pub mod rtcp;
#[cfg(test)]
mod scenarios;
pub mod sender;
pub mod shard;
mod share;
#[cfg(test)]
mod sim;
pub mod slot;
pub mod slots;
pub mod span;
pub mod speaker;
pub mod srtp;
pub mod switch;
pub mod telemetry;
pub mod thin;
pub mod timers;
pub mod ufrag;
#[cfg(test)]
mod viewer;
pub mod wallclock;

use std::net::IpAddr;
use std::time::Duration;

pub use command::{Command, SlotWish};
pub use export::ShardSnapshot;
pub use placement::Spread;
pub use quality::Thresholds;
pub use report::{
    Cause, Connection, Direction, EncodingState, OfferError, PeerQuality, Picture, Report, SlotAssignment,
};

/// How the media plane behaves; the same for every shard.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The addresses clients reach this machine at; each becomes an ICE candidate with the shard's own port.
    pub addresses: Vec<IpAddr>,
    /// The machine's own address that the ports are bound to; `None`: one of `addresses`, or all it has.
    pub bind: Option<IpAddr>,
    /// With more speakers than audio slots, how many of the loudest are forwarded.
    pub loudest: usize,
    /// Peers one shard serves.
    pub max_peers: usize,
    /// When a call is served by more than one shard.
    pub spread: Spread,
    /// M-lines one client may offer.
    pub max_media_lines: usize,
    pub volume_interval: Duration,
    pub quality_interval: Duration,
    pub thresholds: Thresholds,
    /// A source that sent nothing for so long does not flow.
    pub silent_after: Duration,
    /// A peer of which nothing was heard for so long is [`Connection::Silent`] and its quality Down.
    pub down_after: Duration,
    /// A peer of which nothing was heard for so long is given up: nothing is sent without the client's consent (RFC 7675).
    pub close_after: Duration,
    /// Estimate the bandwidth to peers that report on their transport, pace what they are sent, and share it among their slots.
    pub estimate_bandwidth: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            addresses: vec![IpAddr::from([127, 0, 0, 1])],
            bind: None,
            loudest: 4,
            max_peers: 1000,
            spread: Spread::default(),
            max_media_lines: 64,
            volume_interval: Duration::from_millis(300),
            quality_interval: Duration::from_secs(2),
            thresholds: Thresholds::default(),
            silent_after: Duration::from_secs(2),
            down_after: Duration::from_secs(4),
            close_after: Duration::from_secs(30),
            estimate_bandwidth: true,
        }
    }
}
