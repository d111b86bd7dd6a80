//! What the packets of one incoming stream say of the path they came by: what is missing after repair, how long they waited in a queue, and
//! how long the picture stood still.

use std::time::{Duration, Instant};

/// A picture that comes so much later than its timestamp says was missed. Lower counts the jitter of a good network.
const STILL_AFTER: Duration = Duration::from_millis(150);

/// The quickest packet of the last ten to twenty seconds shows the path without a queue. Shorter takes a queue that lasts for the path.
const BASE_SPAN: Duration = Duration::from_secs(10);

/// A jump of timestamp against arrival beyond this is another clock, not a path.
const JUMP: i64 = 10_000_000;

/// One stream over one window.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct FlowWindow {
    /// Of the packets it had, those that never came, 0.0–1.0.
    pub missing: f32,
    /// What even the quickest packet of the window waited.
    pub queue: Duration,
    /// What its packets waited as a mean.
    pub waited: Duration,
    /// For how long the picture stood still though it was sent.
    pub still: Duration,
}

/// One incoming stream, whatever its SSRC.
#[derive(Debug, Default)]
pub struct Flow {
    ssrc: u32,
    highest: Option<Newest>,
    /// Sequence numbers passed and packets come since the window began.
    passed: u64,
    came: u64,
    /// Arrival minus media time of the quickest packet, in microseconds.
    base: Lowest,
    quickest: Option<i64>,
    /// Sum and number of the window's transits.
    transits: (i64, i64),
    still: Duration,
    /// Packets were missing at the end of the last window.
    was_missing: bool,
}

/// The packet with the highest number so far.
#[derive(Debug, Clone, Copy)]
struct Newest {
    seq: u64,
    timestamp: u32,
    at: Instant,
    /// Arrival minus media time, in microseconds since the first packet.
    transit: i64,
}

/// A packet as it arrived.
#[derive(Debug, Clone, Copy)]
pub struct Arrived {
    pub ssrc: u32,
    /// Extended sequence number.
    pub seq: u64,
    pub timestamp: u32,
    /// In Hz.
    pub clock_rate: u32,
}

impl Flow {
    pub fn note(&mut self, packet: Arrived, now: Instant) {
        if self.ssrc != packet.ssrc {
            *self = Self { ssrc: packet.ssrc, ..Self::default() };
        }
        self.came += 1;
        let Some(newest) = self.highest else {
            self.passed += 1;
            self.advance(Newest { seq: packet.seq, timestamp: packet.timestamp, at: now, transit: 0 });
            return;
        };
        // A late one, or one that was repaired, says nothing of the path.
        let Some(step) = packet.seq.checked_sub(newest.seq).filter(|step| *step > 0) else { return };
        self.passed += step;
        let ticks = i64::from(packet.timestamp.wrapping_sub(newest.timestamp) as i32);
        let spoken = ticks * 1_000_000 / i64::from(packet.clock_rate);
        let waited = now.saturating_duration_since(newest.at);
        let late = waited.as_micros() as i64 - spoken;
        let newest = Newest {
            seq: packet.seq,
            timestamp: packet.timestamp,
            at: now,
            transit: newest.transit.saturating_add(late),
        };
        if late.abs() > JUMP {
            self.base = Lowest::default();
            (self.quickest, self.transits) = (None, (0, 0));
            self.advance(Newest { transit: 0, ..newest });
            return;
        }
        if ticks > 0 && late > STILL_AFTER.as_micros() as i64 {
            self.still += Duration::from_micros(late as u64);
        }
        self.advance(newest);
    }

    /// Packets are missing that were not repaired yet, or were lately.
    pub fn is_missing(&self) -> bool {
        self.was_missing || self.passed > self.came
    }

    fn advance(&mut self, newest: Newest) {
        self.highest = Some(newest);
        self.base.note(newest.transit, newest.at);
        self.transits = (self.transits.0.saturating_add(newest.transit), self.transits.1 + 1);
        self.quickest = Some(self.quickest.map_or(newest.transit, |known| known.min(newest.transit)));
    }

    /// What the window shows that ends here; `None`: nothing came.
    pub fn close_window(&mut self) -> Option<FlowWindow> {
        let quickest = self.quickest.take();
        let (sum, count) = std::mem::take(&mut self.transits);
        let base = self.base.value().unwrap_or(0);
        let over = |transit: i64| Duration::from_micros((transit - base).max(0) as u64);
        let missing = self.passed.saturating_sub(self.came);
        self.was_missing = missing > 0;
        let window = FlowWindow {
            missing: if self.passed == 0 { 0.0 } else { missing as f32 / self.passed as f32 },
            queue: quickest.map_or(Duration::ZERO, over),
            waited: if count == 0 { Duration::ZERO } else { over(sum / count) },
            still: std::mem::take(&mut self.still),
        };
        let came = std::mem::take(&mut self.came);
        self.passed = 0;
        (came > 0).then_some(window)
    }
}

/// The least of what was noted in the last ten to twenty seconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lowest {
    before: Option<i64>,
    current: Option<i64>,
    since: Option<Instant>,
}

impl Lowest {
    pub fn note(&mut self, value: i64, now: Instant) {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= BASE_SPAN) {
            self.before = self.current.take();
            self.since = Some(now);
        }
        self.current = Some(self.current.map_or(value, |known| known.min(value)));
    }

    pub fn value(&self) -> Option<i64> {
        self.before.into_iter().chain(self.current).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: u32 = 90_000;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// 25 frames a second, two packets each; `delay` of a frame by its number, in ms; `None` loses it.
    fn frames(flow: &mut Flow, start: Instant, range: std::ops::Range<u64>, delay: impl Fn(u64) -> Option<u64>) {
        for frame in range {
            let Some(delay) = delay(frame) else { continue };
            for packet in 0..2 {
                let seq = 1000 + frame * 2 + packet;
                let timestamp = ((frame * 3600) as u32).wrapping_add(0xffff_0000);
                flow.note(Arrived { ssrc: 7, seq, timestamp, clock_rate: CLOCK }, start + ms(frame * 40 + delay));
            }
        }
    }

    #[test]
    fn a_good_path_shows_nothing() {
        let mut flow = Flow::default();
        assert_eq!(flow.close_window(), None);
        frames(&mut flow, Instant::now(), 0..50, |_| Some(20));
        assert_eq!(flow.close_window(), Some(FlowWindow::default()));
        assert_eq!(flow.close_window(), None);
    }

    #[test]
    fn what_never_came_is_missing_and_what_was_repaired_is_not() {
        let start = Instant::now();
        let mut flow = Flow::default();
        frames(&mut flow, start, 0..50, |frame| (frame % 10 != 3).then_some(20));
        assert_eq!(flow.close_window().unwrap().missing, 0.1);
        frames(&mut flow, start, 50..100, |frame| (frame % 10 != 3).then_some(20));
        frames(&mut flow, start, 53..54, |_| Some(300));
        assert!((flow.close_window().unwrap().missing - 0.08).abs() < 0.001);
    }

    #[test]
    fn a_queue_is_what_even_the_quickest_packet_waits() {
        let start = Instant::now();
        let mut flow = Flow::default();
        frames(&mut flow, start, 0..50, |_| Some(20));
        flow.close_window();
        frames(&mut flow, start, 50..100, |frame| Some(20 + frame * 7 % 30));
        assert!(flow.close_window().unwrap().queue < ms(5), "jitter is no queue");
        frames(&mut flow, start, 100..150, |_| Some(200));
        let queued = flow.close_window().unwrap();
        assert_eq!(queued.queue, ms(180));
        assert_eq!(queued.still, ms(177), "and the picture stood when it began");
        frames(&mut flow, start, 150..1200, |_| Some(200));
        flow.close_window();
        frames(&mut flow, start, 1200..1250, |_| Some(200));
        assert_eq!(flow.close_window().unwrap().queue, Duration::ZERO, "after a while it is the path");
    }

    #[test]
    fn an_encoder_that_pauses_is_no_still_picture() {
        let start = Instant::now();
        let mut flow = Flow::default();
        frames(&mut flow, start, 0..20, |_| Some(20));
        frames(&mut flow, start, 60..80, |_| Some(20));
        assert_eq!(flow.close_window().unwrap().still, Duration::ZERO);
    }

    #[test]
    fn another_ssrc_begins_anew_and_a_mad_clock_is_no_path() {
        let start = Instant::now();
        let mut flow = Flow::default();
        frames(&mut flow, start, 0..50, |_| Some(20));
        let mad = Arrived { ssrc: 7, seq: 5000, timestamp: 0x7fff_ffff, clock_rate: CLOCK };
        flow.note(mad, start + ms(2100));
        assert!(flow.close_window().unwrap().queue < ms(100));
        flow.note(Arrived { ssrc: 8, seq: 3, ..mad }, start + ms(2200));
        assert_eq!(flow.close_window().unwrap().missing, 0.0);
    }
}
