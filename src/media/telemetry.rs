//! What is measured of one peer's network, and how a window of it becomes a report.

use std::time::Duration;

use str0m::stats::{MediaEgressStats, MediaIngressStats, PeerStats};

use super::export::ShardSnapshot;
use super::quality::{Meter, Thresholds, Window};
use super::report::{self, Cause, PeerQuality};
use crate::base::{Quality, Source};

/// One peer's network.
#[derive(Debug, Default)]
pub struct Gauge {
    up: Way,
    down: Way,
    /// The statistics of this window were not seen by a report yet.
    fresh: bool,
    last: Option<PeerStats>,
    repairs: Repairs,
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    window: Window,
    /// Media went this way, so that loss means something.
    carried: bool,
    /// The window's loss was measured on the whole transport.
    of_transport: bool,
    bitrate: u64,
    meter: Meter,
    /// Sound tells jitter better than pictures, whose frames come in bursts.
    jitter_of_sound: bool,
}

/// Absolute counts over all of the peer's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Repairs {
    pub nacks_sent: u64,
    pub nacks_received: u64,
    /// Packets sent again.
    pub retransmitted: u64,
}

impl Repairs {
    pub fn add_to(self, counts: &mut ShardSnapshot) {
        counts.nacks_sent += self.nacks_sent;
        counts.nacks_received += self.nacks_received;
        counts.retransmissions += self.retransmitted;
    }
}

impl Gauge {
    /// A window's statistics begin with the connection's own.
    pub fn peer(&mut self, stats: PeerStats) {
        let last = self.last.replace(stats.clone());
        let span =
            last.as_ref().map_or(Duration::ZERO, |last| stats.timestamp.saturating_duration_since(last.timestamp));
        let per_second = |new: u64, old: Option<u64>| {
            let bits = new.saturating_sub(old.unwrap_or(0)) * 8;
            if span.is_zero() { 0 } else { (bits as f64 / span.as_secs_f64()) as u64 }
        };
        let up_bitrate = per_second(stats.peer_bytes_rx, last.as_ref().map(|last| last.peer_bytes_rx));
        let down_bitrate = per_second(stats.peer_bytes_tx, last.as_ref().map(|last| last.peer_bytes_tx));
        self.up.begin(stats.ingress_loss_fraction, up_bitrate);
        self.down.begin(stats.egress_loss_fraction, down_bitrate);
        if let Some(rtt) = stats.rtt {
            self.rtt(rtt);
        }
        self.repairs = Repairs::default();
        self.fresh = true;
    }

    /// A stream that the peer sends.
    pub fn ingress(&mut self, stats: &MediaIngressStats, source: Source) {
        self.repairs.nacks_sent += stats.nacks;
        if stats.packets > 0 {
            self.up.stream(stats.loss, stats.jitter, source.is_video());
        }
        if let Some(rtt) = stats.rtt {
            self.rtt(rtt);
        }
    }

    /// A stream that the peer is sent; `written` packets of it were not retransmissions, and `holes` is the share that never came from its
    /// publisher.
    pub fn egress(&mut self, stats: &MediaEgressStats, written: u64, holes: f32, is_video: bool) {
        self.repairs.nacks_received += stats.nacks;
        self.repairs.retransmitted += stats.packets.saturating_sub(written);
        if let Some(remote) = &stats.remote {
            // Feedback for the whole transport counts what left here. A report on one stream cannot tell our loss from the publisher's.
            let loss = stats.loss.map(|loss| ((loss - holes) / (1.0 - holes).max(0.01)).clamp(0.0, 1.0));
            self.down.stream(loss.filter(|_| !self.down.of_transport), remote.jitter, is_video);
        }
        if let Some(rtt) = stats.rtt {
            self.rtt(rtt);
        }
    }

    pub fn repairs(&self) -> Repairs {
        self.repairs
    }

    /// Nothing is heard of the peer any more.
    pub fn down(&mut self) {
        self.up.meter.down();
        self.down.meter.down();
    }

    /// It is heard again.
    pub fn reset(&mut self) {
        self.up.meter.reset();
        self.down.meter.reset();
        self.fresh = false;
    }

    /// A window ended.
    pub fn close_window(&mut self, thresholds: &Thresholds) {
        if std::mem::take(&mut self.fresh) {
            self.up.close_window(thresholds);
            self.down.close_window(thresholds);
        }
    }

    pub fn report(&self) -> PeerQuality {
        let (up, down) = (self.up.report(), self.down.report());
        PeerQuality { level: up.level.max(down.level), up, down }
    }

    fn rtt(&mut self, rtt: Duration) {
        for way in [&mut self.up, &mut self.down] {
            way.window.rtt = Some(way.window.rtt.map_or(rtt, |known| known.min(rtt)));
        }
    }
}

impl Way {
    fn begin(&mut self, loss: Option<f32>, bitrate: u64) {
        self.window = Window { rtt: None, loss: loss.unwrap_or(0.0), jitter: Duration::ZERO };
        self.carried = loss.is_some();
        self.of_transport = loss.is_some();
        self.bitrate = bitrate;
        self.jitter_of_sound = false;
    }

    /// `jitter` is in timestamp units of the usual clocks, 90 kHz for video and 48 kHz for Opus.
    fn stream(&mut self, loss: Option<f32>, jitter: u32, is_video: bool) {
        let clock_rate = if is_video { 90_000 } else { 48_000 };
        let jitter = Duration::from_micros(u64::from(jitter) * 1_000_000 / clock_rate);
        if !is_video || !self.jitter_of_sound {
            let fresh_sound = !is_video && !self.jitter_of_sound;
            self.window.jitter = if fresh_sound { jitter } else { self.window.jitter.max(jitter) };
            self.jitter_of_sound |= !is_video;
        }
        self.window.loss = self.window.loss.max(loss.unwrap_or(0.0));
        self.carried = true;
    }

    fn close_window(&mut self, thresholds: &Thresholds) {
        if self.carried {
            self.meter.note(self.window.level(thresholds));
        }
    }

    fn report(&self) -> report::Direction {
        let level = self.meter.shown();
        let cause = match level {
            Quality::Unknown | Quality::Excellent => None,
            Quality::Down => Some(Cause::Silence),
            _ => Some(self.window.cause()),
        };
        report::Direction {
            level,
            rtt: self.window.rtt,
            loss: self.window.loss,
            jitter: self.window.jitter,
            bitrate: self.bitrate,
            cause,
        }
    }
}
