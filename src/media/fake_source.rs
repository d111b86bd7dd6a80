//! What simulated clients send: packets that say who sent them and the how many-th they are.

use std::time::{Duration, Instant};

use str0m::media::{Mid, Rid};
use str0m::rtp::{ExtensionValues, RtpWrite};

use super::sim::ms;
use crate::base::Source;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub publisher: u32,
    pub source: u8,
    pub key: bool,
    pub last: bool,
    pub layer: u8,
    pub number: u32,
    /// Counts from 0 in its source.
    pub frame: u32,
}

impl Stamp {
    pub fn read(frame: &[u8]) -> Self {
        let end = &frame[frame.len() - 16..];
        Self {
            publisher: u32::from_be_bytes(end[..4].try_into().unwrap()),
            source: end[4],
            key: end[5] == 1,
            last: end[6] == 1,
            layer: end[7],
            number: u32::from_be_bytes(end[8..12].try_into().unwrap()),
            frame: u32::from_be_bytes(end[12..].try_into().unwrap()),
        }
    }
}

/// Sends frames of a fixed size and rate; VP8 or Opus by the kind of its source.
pub struct FakeSource {
    pub mid: Mid,
    pub source: Source,
    pub rid: Option<Rid>,
    pub layer: u8,
    pub interval: Duration,
    pub packets_a_frame: usize,
    /// Of each packet of a picture.
    pub packet_bytes: usize,
    pub level: i8,
    pub on: bool,
    /// Each packet carries the sound before it again.
    pub red: bool,
    last_sound: Vec<u8>,
    /// 1 or 3.
    pub temporal_layers: u8,
    pub height: u16,
    pub next_at: Instant,
    begun_at: Instant,
    seq: u64,
    frame: u32,
    /// Frames since the last key frame, and the base frames of all.
    since_key: u32,
    base_frames: u8,
    number: u32,
    pub key_frame_due: bool,
}

impl FakeSource {
    pub fn new(mid: Mid, source: Source, rid: Option<Rid>, layer: u8, now: Instant) -> Self {
        Self {
            mid,
            source,
            rid,
            layer,
            interval: if source.is_video() { ms(40) } else { ms(20) },
            packets_a_frame: if source.is_video() { 3 } else { 1 },
            packet_bytes: 1000,
            level: -30,
            on: true,
            red: false,
            last_sound: Vec::new(),
            temporal_layers: 1,
            height: 180 << layer,
            next_at: now,
            begun_at: now,
            seq: 1000 + u64::from(layer) * 77,
            frame: 0,
            since_key: 0,
            base_frames: 0,
            number: 0,
            key_frame_due: true,
        }
    }

    /// Goes on after it was off.
    pub fn resume(&mut self, now: Instant) {
        self.on = true;
        self.next_at = self.next_at.max(now);
    }

    pub fn packets_sent(&self) -> u32 {
        self.number
    }

    /// Of the frame under way: 0 2 1 2 from each key frame on.
    fn temporal(&self) -> u8 {
        match (self.temporal_layers, self.since_key % 4) {
            (3, 1 | 3) => 2,
            (3, 2) => 1,
            _ => 0,
        }
    }

    fn clock_rate(&self) -> u32 {
        if self.source.is_video() { 90_000 } else { 48_000 }
    }

    pub fn frame(&mut self, publisher: u32, now: Instant) -> Vec<RtpWrite> {
        let key = std::mem::take(&mut self.key_frame_due) && self.source.is_video();
        let elapsed = self.next_at.duration_since(self.begun_at).as_micros() as u64;
        let timestamp =
            (elapsed * u64::from(self.clock_rate()) / 1_000_000) as u32 ^ (u32::from(self.layer) * 0x1000_0000);
        self.next_at += self.interval;
        self.frame += 1;
        self.since_key = if key { 0 } else { self.since_key + 1 };
        self.base_frames = self.base_frames.wrapping_add(u8::from(self.temporal() == 0));
        (0..self.packets_a_frame)
            .map(|index| {
                self.seq += 1;
                self.number += 1;
                let last = index + 1 == self.packets_a_frame;
                let mut payload = self.payload(publisher, key, index == 0, last);
                if self.red {
                    payload = self.with_the_last(payload);
                }
                let sound = !self.source.is_video();
                let ext = ExtensionValues {
                    audio_level: sound.then_some(self.level),
                    voice_activity: sound.then_some(self.level > -60),
                    ..Default::default()
                };
                let pt = match self.source {
                    Source::Microphone if self.red => 63,
                    Source::Microphone => 111,
                    _ => 96,
                };
                RtpWrite::new(pt.into(), self.seq.into(), timestamp, now, payload)
                    .marker(last)
                    .nackable(self.source.is_video())
                    .ext_vals(ext)
            })
            .collect()
    }

    /// RFC 2198, with Opus at payload type 111.
    fn with_the_last(&mut self, sound: Vec<u8>) -> Vec<u8> {
        let last = std::mem::replace(&mut self.last_sound, sound.clone());
        let offset = (960u32 << 10 | last.len() as u32).to_be_bytes();
        let mut payload = vec![0x80 | 111, offset[1], offset[2], offset[3], 111];
        payload.extend(last);
        payload.extend(sound);
        payload
    }

    fn payload(&self, publisher: u32, key: bool, first: bool, last: bool) -> Vec<u8> {
        let mut payload = Vec::with_capacity(1100);
        if self.source.is_video() {
            let [high, low] = ((self.frame + publisher * 1000) as u16 & 0x7fff).to_be_bytes();
            payload.extend([
                if first { 0x90 } else { 0x80 },
                0xe0,
                0x80 | high,
                low,
                self.base_frames,
                // The second of the highest layer builds on the one under it.
                self.temporal() << 6 | u8::from(self.since_key % 4 != 3) << 5,
                u8::from(!key),
            ]);
            if key && first {
                payload.extend([0, 0, 0x9d, 0x01, 0x2a, 0, 1]);
                payload.extend(self.height.to_le_bytes());
            }
            payload.resize(self.packet_bytes, 7);
        } else {
            payload.resize(80, 7);
        }
        payload.extend(publisher.to_be_bytes());
        payload.extend([self.source as u8, u8::from(key), u8::from(last), self.layer]);
        payload.extend(self.number.to_be_bytes());
        payload.extend((self.frame - 1).to_be_bytes());
        payload
    }
}
