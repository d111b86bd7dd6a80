//! What publishers send: video in frames and sound every 20 ms, each packet with the time it was written at.

use std::time::{Duration, Instant};

use super::plan::{Pattern, Plan};

/// Every so many frames is a key frame: whoever joins begins within a second or two, also on a server that asks for none.
const KEY_FRAME_EVERY: u64 = 30;
const SOUND: Duration = Duration::from_millis(20);
const SOUND_BYTES: usize = 80;
/// Before the stamp: a VP8 payload descriptor with picture id, tl0 index and temporal layer.
const DESCRIPTOR: usize = 6;
/// Whoever fell behind by more does not catch up.
const BEHIND: Duration = Duration::from_millis(200);

/// A packet to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    pub video: bool,
    pub seq: u64,
    pub timestamp: u32,
    pub marker: bool,
    pub payload: Vec<u8>,
}

/// One publisher's sources.
#[derive(Debug, Clone)]
pub struct Source {
    video: Option<Paced>,
    sound: Option<Paced>,
    packets_a_frame: u64,
    frames_a_second: u64,
    bytes: usize,
    key_frame_due: bool,
    /// The frame under way is one.
    is_key: bool,
}

/// Steps of packets.
#[derive(Debug, Clone)]
struct Paced {
    next_at: Instant,
    interval: Duration,
    /// Packets of a step.
    packets: u64,
    sent: u64,
}

impl Source {
    /// `offset` spreads publishers over the time between two frames.
    pub fn new(plan: &Plan, offset: f64, now: Instant) -> Self {
        let packets_a_frame = u64::from(plan.packets_a_frame.max(1));
        let video = (plan.frames_a_second > 0).then(|| {
            let frame = Duration::from_secs(1) / plan.frames_a_second;
            let (interval, packets) = match plan.pattern {
                Pattern::Burst => (frame, packets_a_frame),
                Pattern::Even => (frame / plan.packets_a_frame.max(1), 1),
            };
            Paced { next_at: now + frame.mul_f64(offset), interval, packets, sent: 0 }
        });
        let sound =
            plan.audio.then(|| Paced { next_at: now + SOUND.mul_f64(offset), interval: SOUND, packets: 1, sent: 0 });
        Self {
            video,
            sound,
            packets_a_frame,
            frames_a_second: u64::from(plan.frames_a_second.max(1)),
            bytes: plan.payload,
            key_frame_due: false,
            is_key: false,
        }
    }

    pub fn next_at(&self) -> Option<Instant> {
        [&self.video, &self.sound].into_iter().flatten().map(|paced| paced.next_at).min()
    }

    /// The next frame is a key frame.
    pub fn want_key_frame(&mut self) {
        self.key_frame_due = true;
    }

    /// What is due; `stamp` is the time by the run's clock, in nanoseconds.
    pub fn due(&mut self, now: Instant, stamp: u64, mut each: impl FnMut(Packet)) {
        if let Some(video) = &mut self.video {
            while let Some(numbers) = video.step(now) {
                for number in numbers {
                    let (frame, index) = (number / self.packets_a_frame, number % self.packets_a_frame);
                    if index == 0 {
                        self.is_key = std::mem::take(&mut self.key_frame_due) || frame.is_multiple_of(KEY_FRAME_EVERY);
                    }
                    let last = index + 1 == self.packets_a_frame;
                    each(Packet {
                        video: true,
                        seq: number + 1,
                        timestamp: (frame * 90_000 / self.frames_a_second) as u32,
                        marker: last,
                        payload: vp8(frame, index == 0, self.is_key, stamp, self.bytes),
                    });
                }
            }
        }
        if let Some(sound) = &mut self.sound {
            while let Some(numbers) = sound.step(now) {
                for number in numbers {
                    let mut payload = stamp.to_be_bytes().to_vec();
                    payload.resize(SOUND_BYTES, 7);
                    let timestamp = (number * 960) as u32;
                    each(Packet { video: false, seq: number + 1, timestamp, marker: number == 0, payload });
                }
            }
        }
    }
}

impl Paced {
    fn step(&mut self, now: Instant) -> Option<std::ops::Range<u64>> {
        if self.next_at > now {
            return None;
        }
        if now.duration_since(self.next_at) > BEHIND {
            self.next_at = now;
        }
        self.next_at += self.interval;
        let first = self.sent;
        self.sent += self.packets;
        Some(first..self.sent)
    }
}

fn vp8(frame: u64, first: bool, key: bool, stamp: u64, bytes: usize) -> Vec<u8> {
    let [high, low] = (frame as u16 & 0x7fff).to_be_bytes();
    let mut payload = vec![if first { 0x90 } else { 0x80 }, 0xe0, 0x80 | high, low, frame as u8, 0x20];
    // The stamp's first byte is where VP8 tells key frames; nanoseconds of a run do not reach it.
    let mut stamp = stamp.to_be_bytes();
    stamp[0] = u8::from(!key);
    payload.extend(stamp);
    payload.resize(bytes, 7);
    payload
}

/// The time that a received payload carries, in nanoseconds of the run's clock; `None`: it is not of this program.
pub fn stamp_of(payload: &[u8], video: bool) -> Option<u64> {
    let at = if video { DESCRIPTOR } else { 0 };
    let mut stamp: [u8; 8] = payload.get(at..at + 8)?.try_into().ok()?;
    if video {
        stamp[0] = 0;
    }
    Some(u64::from_be_bytes(stamp))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Impairment, Scenario};

    fn plan(pattern: Pattern) -> Plan {
        Plan {
            scenario: Scenario::OneToMany { receivers: 1, rooms: 1 },
            duration: Duration::from_secs(10),
            joins_a_second: 20,
            stay: None,
            pattern,
            frames_a_second: 25,
            packets_a_frame: 8,
            payload: 1000,
            audio: true,
            up: Impairment::NONE,
            down: Impairment::NONE,
        }
    }

    fn collect(pattern: Pattern, step: Duration) -> Vec<(u64, Packet)> {
        let start = Instant::now();
        let mut source = Source::new(&plan(pattern), 0.0, start);
        let mut all = Vec::new();
        for tick in 0..(1_000_000 / step.as_micros() as u32) {
            let now = start + step * tick;
            let stamp = now.duration_since(start).as_nanos() as u64;
            source.due(now, stamp, |packet| all.push((stamp, packet)));
        }
        all
    }

    #[test]
    fn a_second_has_its_packets_in_both_patterns() {
        for (pattern, largest) in [(Pattern::Burst, 8), (Pattern::Even, 1)] {
            let all = collect(pattern, Duration::from_millis(1));
            let video: Vec<_> = all.iter().filter(|(_, packet)| packet.video).collect();
            assert_eq!((video.len(), all.len() - video.len()), (200, 50), "{pattern:?}");
            let burst = video.chunk_by(|a, b| a.0 == b.0).map(<[_]>::len).max();
            assert_eq!(burst, Some(largest));
            assert!(video.windows(2).all(|two| two[1].1.seq == two[0].1.seq + 1));
            assert_eq!(video.iter().filter(|(_, packet)| packet.marker).count(), 25);
            assert_eq!(video.last().unwrap().1.timestamp, 24 * 3600);
        }
    }

    #[test]
    fn the_stamp_survives_in_the_payload() {
        for (stamp, packet) in collect(Pattern::Burst, Duration::from_millis(7)) {
            assert_eq!(stamp_of(&packet.payload, packet.video), Some(stamp));
        }
        assert_eq!(stamp_of(&[1, 2], true), None);
    }

    #[test]
    fn a_key_frame_comes_when_it_is_asked_for_and_is_whole() {
        let start = Instant::now();
        let mut source = Source::new(&plan(Pattern::Even), 0.0, start);
        let mut keys = Vec::new();
        for tick in 0..1000 {
            if tick == 500 {
                source.want_key_frame();
            }
            source.due(start + Duration::from_millis(tick), 0, |packet| {
                if packet.video && packet.payload[DESCRIPTOR] & 1 == 0 {
                    keys.push(packet.timestamp / 3600);
                }
            });
        }
        keys.dedup();
        assert_eq!(keys, [0, 13]);
    }

    #[test]
    fn who_fell_behind_does_not_catch_up() {
        let start = Instant::now();
        let mut source = Source::new(&plan(Pattern::Burst), 0.0, start);
        let mut count = 0;
        source.due(start + Duration::from_secs(5), 0, |_| count += 1);
        assert_eq!(count, 9);
    }
}
