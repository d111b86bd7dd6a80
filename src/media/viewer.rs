//! A viewer's decoder in simulations: which of the frames that came it could show, and when.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::sim::{Client, Received};
use crate::base::Source;

/// A frame that could be shown.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    pub at: Instant,
    pub layer: u8,
    pub temporal: u8,
    pub frame: u32,
    pub key: bool,
}

/// The frames of the publisher's camera that the viewer could decode, in order: all their packets came, and so did what they build on. A
/// frame counts when the last of that is there.
pub fn decoded(client: &Client, publisher: u64) -> Vec<Shown> {
    let mut frames: BTreeMap<u64, Vec<&Received>> = BTreeMap::new();
    let mut packets = client.got(publisher, Source::Camera);
    packets.sort_by_key(|packet| packet.seq);
    packets.dedup_by_key(|packet| packet.seq);
    for packet in packets {
        let stamp = packet.stamp();
        // The switch between layers goes forward in the sequence: the first packet's number names the frame.
        let name = (u64::from(stamp.layer) << 32) | u64::from(stamp.frame);
        frames.entry(name).or_default().push(packet);
    }
    let mut whole: Vec<(u64, Shown)> = frames.into_values().filter_map(|packets| assemble(&packets)).collect();
    whole.sort_by_key(|(seq, _)| *seq);
    let mut shown: Vec<Shown> = Vec::new();
    for (_, frame) in whole {
        if let Some(ready) = built_on(&frame, &shown) {
            shown.push(Shown { at: frame.at.max(ready), ..frame });
        }
    }
    shown
}

/// Its first sequence number and the frame, when it is whole.
fn assemble(packets: &[&Received]) -> Option<(u64, Shown)> {
    let (first, last) = (packets[0], packets[packets.len() - 1]);
    let whole = first.begins() && last.marker && last.seq - first.seq + 1 == packets.len() as u64;
    let at = packets.iter().map(|packet| packet.at).max().expect("it has packets");
    let stamp = first.stamp();
    let frame = Shown { at, layer: stamp.layer, temporal: first.temporal(), frame: stamp.frame, key: stamp.key };
    whole.then_some((first.seq, frame))
}

/// When all was there that the frame builds on.
fn built_on(frame: &Shown, shown: &[Shown]) -> Option<Instant> {
    if frame.key {
        return Some(frame.at);
    }
    let before = shown.iter().rev().find(|other| other.temporal < frame.temporal.max(1))?;
    // Base frames are one or four apart; the others build on what came within the same four.
    let reach = if frame.temporal == 0 { 4 } else { frame.temporal as u32 % 2 + 1 };
    let close = before.layer == frame.layer && frame.frame > before.frame && frame.frame - before.frame <= reach;
    close.then_some(before.at)
}

/// The longest time in which nothing new could be shown, from `since` to `until`.
pub fn longest_freeze(shown: &[Shown], since: Instant, until: Instant) -> Duration {
    let mut last = since;
    let mut longest = Duration::ZERO;
    for frame in shown.iter().filter(|frame| frame.at >= since && frame.at <= until) {
        longest = longest.max(frame.at.saturating_duration_since(last));
        last = last.max(frame.at);
    }
    longest.max(until.saturating_duration_since(last))
}

/// Frames a second from `since` to `until`.
pub fn frame_rate(shown: &[Shown], since: Instant, until: Instant) -> f64 {
    let frames = shown.iter().filter(|frame| frame.at >= since && frame.at < until).count();
    frames as f64 / until.duration_since(since).as_secs_f64()
}
