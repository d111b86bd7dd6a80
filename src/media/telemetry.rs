//! What is measured of one peer's network, and how a window of it becomes a report.

use std::time::{Duration, Instant};

use str0m::stats::{MediaIngressStats, PeerStats};

use super::export::ShardSnapshot;
use super::flow::{FlowWindow, Lowest};
use super::quality::{Meter, Thresholds, Window};
use super::report::{self, PeerQuality};
use super::sender::Heard;
use crate::base::{Quality, Source};

/// One peer's network.
#[derive(Debug, Default)]
pub struct Gauge {
    up: Way,
    down: Way,
    rtt: Option<Duration>,
    /// Of the window before.
    last_rtt: Option<Duration>,
    /// The round trip without queues, in microseconds.
    base_rtt: Lowest,
    /// Statistics came that no window has seen.
    fresh: bool,
    /// They count from before a silence.
    stale: bool,
    span: Duration,
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
    queue: Option<Duration>,
    waited: Duration,
    still: Duration,
    /// Of how many slots the layers that are short were counted.
    slots: u32,
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

/// What a slot knows of the stream that it sends.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sent {
    pub is_video: bool,
    /// The share of sequence numbers that never came from the publisher.
    pub holes: f32,
    /// What the publisher's packets came with.
    pub jitter: Duration,
    /// How long the viewer waited for a picture it could show.
    pub still: Duration,
    /// Layers less than wanted; `None`: nothing is shown.
    pub layers_short: Option<f32>,
    pub paused: bool,
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
        self.last_rtt = self.rtt.take();
        self.note_rtt(stats.rtt);
        self.span = span;
        self.repairs = Repairs::default();
        self.fresh = true;
    }

    /// A stream that the peer sends, and what its packets show.
    pub fn ingress(&mut self, stats: &MediaIngressStats, source: Source, flow: Option<FlowWindow>) {
        self.repairs.nacks_sent += stats.nacks;
        if stats.packets > 0 {
            // The last report on one stream may be of seconds ago.
            let loss = stats.loss.filter(|_| !self.up.of_transport);
            self.up.stream(loss, stats_jitter(stats.jitter, source.is_video()), source.is_video());
        }
        if let Some(flow) = flow {
            self.up.queue = Some(self.up.queue.map_or(flow.queue, |known| known.min(flow.queue)));
            self.up.waited = self.up.waited.max(flow.waited);
            if source.is_video() {
                self.up.still = self.up.still.max(flow.still);
                let picture = &mut self.up.window.picture;
                picture.missing = picture.missing.max(flow.missing);
            }
        }
        self.note_rtt(stats.rtt);
    }

    /// A stream that the peer is sent.
    pub fn egress(&mut self, heard: &Heard, sent: Sent) {
        self.repairs.nacks_received += heard.nacks;
        self.repairs.retransmitted += heard.repeated;
        if let Some(loss) = heard.loss {
            // Feedback for the whole transport counts what left here. A report on one stream cannot tell our loss from the publisher's.
            let loss = ((loss - sent.holes) / (1.0 - sent.holes).max(0.01)).clamp(0.0, 1.0);
            let jitter = without(stats_jitter(heard.jitter, sent.is_video), sent.jitter);
            self.down.stream(Some(loss).filter(|_| !self.down.of_transport), jitter, sent.is_video);
        }
        self.down.show(&sent);
        self.note_rtt(heard.round_trip);
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
        (self.fresh, self.stale) = (false, true);
    }

    /// All statistics of a window are in. True: the level changed.
    pub fn close_window(&mut self, thresholds: &Thresholds, now: Instant) -> bool {
        if !std::mem::take(&mut self.fresh) || std::mem::take(&mut self.stale) {
            return false;
        }
        let level = self.level();
        self.split_delay(now);
        self.up.close_window(thresholds, self.span);
        self.down.close_window(thresholds, self.span);
        self.level() != level
    }

    pub fn report(&self) -> PeerQuality {
        PeerQuality { level: self.level(), up: self.up.report(self.rtt), down: self.down.report(self.rtt) }
    }

    fn level(&self) -> Quality {
        self.up.meter.shown().max(self.down.meter.shown())
    }

    /// The round trip tells no direction, but the arrivals of what the peer sends tell what stands in the queue up; the rest stands in the
    /// queue down.
    fn split_delay(&mut self, now: Instant) {
        let Some(rtt) = self.rtt else { return };
        self.base_rtt.note(rtt.as_micros() as i64, now);
        let base = self.base_rtt.value().map_or(rtt, |micros| Duration::from_micros(micros.max(0) as u64));
        // The few reports of one window may all have come late by chance.
        let standing = self.last_rtt.map_or(rtt, |last| last.min(rtt)).saturating_sub(base);
        self.up.window.queue = self.up.queue.unwrap_or_default();
        // A few reports measured it, and what those may have waited on their way up, in the queue and by chance, is not the way down.
        let by_chance = self.up.waited.saturating_sub(self.up.window.queue);
        self.down.window.queue = standing.saturating_sub(self.up.window.queue + by_chance * 2);
        // RTCP's jitter is of the last moment, this of the whole window.
        self.up.window.jitter = self.up.window.jitter.max(by_chance);
        for way in [&mut self.up, &mut self.down] {
            way.window.rtt = Some(base);
        }
    }

    fn note_rtt(&mut self, rtt: Option<Duration>) {
        self.rtt = self.rtt.into_iter().chain(rtt).min();
    }
}

/// RTCP's jitter, which is in timestamp units of the usual clocks, 90 kHz for video and 48 kHz for Opus.
pub fn stats_jitter(units: u32, is_video: bool) -> Duration {
    let clock_rate = if is_video { 90_000 } else { 48_000 };
    Duration::from_micros(u64::from(units) * 1_000_000 / clock_rate)
}

/// What the second of two paths adds to the jitter of the first: independent variations add in squares.
fn without(both: Duration, first: Duration) -> Duration {
    let (both, first) = (both.as_secs_f64(), first.as_secs_f64());
    Duration::from_secs_f64((both * both - first * first).max(0.0).sqrt())
}

impl Way {
    fn begin(&mut self, loss: Option<f32>, bitrate: u64) {
        self.window = Window { loss: loss.unwrap_or(0.0), ..Window::default() };
        self.carried = loss.is_some();
        self.of_transport = loss.is_some();
        self.bitrate = bitrate;
        self.jitter_of_sound = false;
        (self.queue, self.waited) = (None, Duration::ZERO);
        self.still = Duration::ZERO;
        self.slots = 0;
    }

    fn stream(&mut self, loss: Option<f32>, jitter: Duration, is_video: bool) {
        if !is_video || !self.jitter_of_sound {
            let fresh_sound = !is_video && !self.jitter_of_sound;
            self.window.jitter = if fresh_sound { jitter } else { self.window.jitter.max(jitter) };
            self.jitter_of_sound |= !is_video;
        }
        self.window.loss = self.window.loss.max(loss.unwrap_or(0.0));
        self.carried = true;
    }

    fn show(&mut self, sent: &Sent) {
        self.still = self.still.max(sent.still);
        let picture = &mut self.window.picture;
        picture.paused |= sent.paused;
        if let Some(short) = sent.layers_short {
            picture.layers_short = (picture.layers_short * self.slots as f32 + short) / (self.slots + 1) as f32;
            self.slots += 1;
        }
    }

    fn close_window(&mut self, thresholds: &Thresholds, span: Duration) {
        if self.carried {
            if !span.is_zero() {
                self.window.picture.still = (self.still.as_secs_f32() / span.as_secs_f32()).min(1.0);
            }
            self.meter.note(self.window.level(thresholds), self.window.cause());
        }
    }

    fn report(&self, rtt: Option<Duration>) -> report::Direction {
        report::Direction {
            level: self.meter.shown(),
            rtt,
            queue: self.window.queue,
            loss: self.window.loss,
            jitter: self.window.jitter,
            picture: self.window.picture,
            bitrate: self.bitrate,
            cause: self.meter.cause(),
        }
    }
}
