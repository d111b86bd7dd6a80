//! What a shard of the media plane tells of itself: absolute counts, handed over once a second so that the packet path shares nothing.

use std::time::Duration;

/// Absolute counts since the shard began, and gauges of this moment.
#[derive(Debug, Clone, Default)]
pub struct ShardSnapshot {
    pub shard: usize,
    pub peers: u64,
    pub rooms: u64,
    /// Datagrams and their bytes from and to the network.
    pub datagrams_in: u64,
    pub datagrams_out: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// RTP packets taken from publishers, and written to receivers.
    pub rtp_in: u64,
    pub rtp_forwarded: u64,
    pub nacks_received: u64,
    pub nacks_sent: u64,
    pub retransmissions: u64,
    pub keyframe_requests_received: u64,
    pub keyframe_requests_sent: u64,
    pub drops: Drops,
    /// Turns of the shard's loop, the time they took together, and a cumulative histogram of them by `TURN_BUCKETS`.
    pub turns: u64,
    pub turn_time: Duration,
    pub turn_histogram: [u64; TURN_BUCKETS.len()],
    /// Transmit system calls and the times the kernel refused one.
    pub send_calls: u64,
    pub send_errors: u64,
}

/// Upper bounds in microseconds of the turn histogram; a turn beyond the last is in `turns` only.
pub const TURN_BUCKETS: [u64; 8] = [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000];

/// Packets not forwarded or datagrams not taken, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drops {
    /// From an address that no peer owns, and no STUN request that names one.
    pub unknown_source: u64,
    /// Not STUN, DTLS, RTP or RTCP, or malformed.
    pub malformed: u64,
    /// The peer it was for did not take it.
    pub rejected: u64,
    /// No receiver's codec fits.
    pub no_codec: u64,
    /// The source is muted.
    pub muted: u64,
    /// The encoding is not the one the slot is on, or waits for a key frame.
    pub not_selected: u64,
    /// A receiver's queue was full; the rest of the frame goes with it.
    pub congested: u64,
    /// The kernel's send buffer was full.
    pub send_full: u64,
}

impl Drops {
    /// The reasons by their metric label.
    pub fn by_reason(&self) -> [(&'static str, u64); 8] {
        [
            ("unknown_source", self.unknown_source),
            ("malformed", self.malformed),
            ("rejected", self.rejected),
            ("no_codec", self.no_codec),
            ("muted", self.muted),
            ("not_selected", self.not_selected),
            ("congested", self.congested),
            ("send_full", self.send_full),
        ]
    }
}
