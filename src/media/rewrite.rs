//! One outgoing stream made of many incoming ones: sequence numbers, timestamps and picture ids go on without a jump.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::payload::{Glimpse, PictureIds};

/// A frame that begins on a new stream is at least so much later than the last of the old one, even if the clocks say otherwise: timestamps
/// must grow. Longer would stretch the picture at each hand-over.
const MIN_STEP: Duration = Duration::from_millis(5);

/// A hand-over after a long silence steps at most this far, so that a 32-bit timestamp cannot wrap to the past.
const MAX_STEP: Duration = Duration::from_secs(3600);

/// Stretches of left-out packets that are remembered, for packets that come late: some seconds of them.
const MAX_CUTS: usize = 128;

/// A packet's numbers as they came.
#[derive(Debug, Clone, Copy)]
pub struct Numbers<'a> {
    /// Extended sequence number.
    pub seq: u64,
    pub timestamp: u32,
    /// When it was captured, by this server's clock.
    pub captured: Instant,
    pub glimpse: &'a Glimpse,
}

/// The numbers it leaves with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewritten {
    pub seq: u64,
    pub timestamp: u32,
    pub ids: PictureIds,
}

/// The numbering of one outgoing stream.
#[derive(Debug, Clone)]
pub struct Rewriter {
    /// What the next stream's first packet gets, until there is a newest packet.
    first_seq: u64,
    first_timestamp: u32,
    newest: Option<Newest>,
    splice: Option<Splice>,
    /// What was left out since the splice, in the order of sequence numbers.
    cuts: VecDeque<Cut>,
    /// The newest packet that came, whether it left or not.
    newest_in: Option<Incoming>,
}

/// How much of a picture is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    Picture,
    Detail,
}

/// Packets that do not leave; their numbers are given to those that follow.
#[derive(Debug, Clone, Copy)]
struct Cut {
    first: u64,
    last: u64,
    /// Packets and pictures left out up to and with this cut.
    packets: u64,
    pictures: u16,
}

#[derive(Debug, Clone, Copy)]
struct Incoming {
    seq: u64,
    timestamp: u32,
    left: Option<Left>,
}

/// The newest packet that left.
#[derive(Debug, Clone, Copy)]
struct Newest {
    seq: u64,
    timestamp: u32,
    captured: Instant,
    picture: u16,
    tl0: u8,
}

/// How the incoming numbers of the stream that is on map to outgoing ones.
#[derive(Debug, Clone, Copy)]
struct Splice {
    /// The first packet of it that may leave.
    since_seq: u64,
    first_out_seq: u64,
    timestamp_shift: u32,
    picture_shift: u16,
    tl0_shift: u8,
}

impl Rewriter {
    /// `seed` makes the first numbers hard to guess (RFC 3550, 5.1). The sequence begins low enough that its rollover counter is zero, as a
    /// receiver who joins assumes (RFC 3711, 3.3.1).
    pub fn new(seed: u32) -> Self {
        Self {
            first_seq: u64::from(seed as u16 & 0x7fff).max(1),
            first_timestamp: seed.rotate_left(16),
            newest: None,
            splice: None,
            cuts: VecDeque::new(),
            newest_in: None,
        }
    }

    /// The sequence number of the very first packet.
    pub fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// The next packets are another stream's, `first` being its first. `clock_rate` is in Hz.
    pub fn splice(&mut self, first: Numbers<'_>, clock_rate: u32) {
        let ids = first.glimpse.ids();
        let splice = match self.newest {
            None => Splice {
                since_seq: first.seq,
                first_out_seq: self.first_seq,
                timestamp_shift: self.first_timestamp.wrapping_sub(first.timestamp),
                picture_shift: 0,
                tl0_shift: 0,
            },
            Some(newest) => {
                let step = first.captured.saturating_duration_since(newest.captured).clamp(MIN_STEP, MAX_STEP);
                let step = (step.as_micros() as u64 * u64::from(clock_rate) / 1_000_000) as u32;
                Splice {
                    since_seq: first.seq,
                    first_out_seq: newest.seq + 1,
                    timestamp_shift: newest.timestamp.wrapping_add(step).wrapping_sub(first.timestamp),
                    picture_shift: newest.picture.wrapping_add(1).wrapping_sub(ids.picture.unwrap_or(0)),
                    tl0_shift: newest.tl0.wrapping_add(1).wrapping_sub(ids.tl0.unwrap_or(0)),
                }
            }
        };
        self.splice = Some(splice);
        self.cuts.clear();
        self.newest_in = None;
    }

    /// The packet does not leave. It closes the gap behind it, unless it is late: then `Some`, its numbers leave a hole that the receiver
    /// waits for.
    pub fn leave_out(&mut self, packet: Numbers<'_>, left: Left) -> Option<Rewritten> {
        let since = self.splice?.since_seq;
        let newest = self.newest_in;
        if packet.seq < since {
            return None;
        }
        if newest.is_some_and(|newest| packet.seq <= newest.seq) {
            return self.number(packet);
        }
        self.newest_in = Some(Incoming { seq: packet.seq, timestamp: packet.timestamp, left: Some(left) });
        let goes_on = newest.filter(|newest| newest.left.is_some());
        let same_picture = newest.is_some_and(|newest| newest.timestamp == packet.timestamp);
        // What is missing within a picture that is left out is left out with it.
        let first = match goes_on {
            Some(newest) if same_picture => newest.seq + 1,
            _ => packet.seq,
        };
        let pictures = u16::from(left == Left::Picture && !(same_picture && goes_on.is_some()));
        let before = self.cuts.back().copied();
        let (packets_before, pictures_before) = before.map_or((0, 0), |cut| (cut.packets, cut.pictures));
        let packets = packets_before + (packet.seq + 1 - first);
        let pictures = pictures_before.wrapping_add(pictures);
        match self.cuts.back_mut().filter(|cut| cut.last + 1 == first) {
            Some(cut) => (cut.last, cut.packets, cut.pictures) = (packet.seq, packets, pictures),
            None => {
                if self.cuts.len() == MAX_CUTS {
                    self.cuts.pop_front();
                }
                self.cuts.push_back(Cut { first, last: packet.seq, packets, pictures });
            }
        }
        None
    }

    /// `None`: the packet is from before the splice, or among what was left out.
    pub fn rewrite(&mut self, packet: Numbers<'_>) -> Option<Rewritten> {
        let rewritten = self.number(packet)?;
        if self.newest_in.is_none_or(|newest| packet.seq > newest.seq) {
            self.newest_in = Some(Incoming { seq: packet.seq, timestamp: packet.timestamp, left: None });
        }
        Some(rewritten)
    }

    /// Packets and pictures left out before this one; `None`: it is one of them, or too old to be known.
    fn left_out(&self, seq: u64) -> Option<(u64, u16)> {
        match self.cuts.iter().rev().find(|cut| cut.first <= seq) {
            Some(cut) => (cut.last < seq).then_some((cut.packets, cut.pictures)),
            None if self.cuts.len() == MAX_CUTS => None,
            None => Some((0, 0)),
        }
    }

    fn number(&mut self, packet: Numbers<'_>) -> Option<Rewritten> {
        let splice = self.splice?;
        let (packets, pictures) = self.left_out(packet.seq)?;
        let seq = (splice.first_out_seq + packet.seq.checked_sub(splice.since_seq)?).checked_sub(packets)?;
        let timestamp = packet.timestamp.wrapping_add(splice.timestamp_shift);
        let ids = packet.glimpse.ids();
        let picture_shift = splice.picture_shift.wrapping_sub(pictures);
        let ids = PictureIds {
            picture: ids.picture.map(|id| packet.glimpse.wrap_picture(id.wrapping_add(picture_shift))),
            tl0: ids.tl0.map(|id| id.wrapping_add(splice.tl0_shift)),
        };
        if self.newest.is_none_or(|newest| seq > newest.seq) {
            let (picture, tl0) = self.newest.map_or((0, 0), |newest| (newest.picture, newest.tl0));
            self.newest = Some(Newest {
                seq,
                timestamp,
                captured: packet.captured,
                picture: ids.picture.unwrap_or(picture),
                tl0: ids.tl0.unwrap_or(tl0),
            });
        }
        Some(Rewritten { seq, timestamp, ids })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use str0m::format::Codec;

    const CLOCK: u32 = 90_000;

    fn vp8(picture: u16, tl0: u8) -> Glimpse {
        let [high, low] = picture.to_be_bytes();
        Glimpse::of(Codec::Vp8, &[0x90, 0xe0, 0x80 | high, low, tl0, 0x20, 0x00, 7]).unwrap()
    }

    fn numbers(seq: u64, timestamp: u32, captured: Instant, glimpse: &Glimpse) -> Numbers<'_> {
        Numbers { seq, timestamp, captured, glimpse }
    }

    #[test]
    fn a_stream_starts_below_the_first_rollover() {
        for seed in [0, 1, 0x7fff, 0x8000, u32::MAX] {
            let glimpse = vp8(5, 5);
            let mut rewriter = Rewriter::new(seed);
            let first = numbers(1_000_000, 77, Instant::now(), &glimpse);
            rewriter.splice(first, CLOCK);
            let out = rewriter.rewrite(first).unwrap();
            assert!((1..65536).contains(&out.seq), "{out:?}");
            assert_eq!(out.ids, PictureIds { picture: Some(5), tl0: Some(5) });
        }
    }

    #[test]
    fn numbers_go_on_across_a_hand_over() {
        let start = Instant::now();
        let mut rewriter = Rewriter::new(7);
        let (a, b) = (vp8(0x7fff, 255), vp8(100, 9));
        rewriter.splice(numbers(500, 1000, start, &a), CLOCK);
        let before = rewriter.rewrite(numbers(503, 1000, start, &a)).unwrap();
        let first = numbers(9, 4_000_000_000, start + Duration::from_millis(100), &b);
        rewriter.splice(first, CLOCK);
        let after = rewriter.rewrite(first).unwrap();
        assert_eq!(after.seq, before.seq + 1);
        assert_eq!(after.timestamp.wrapping_sub(before.timestamp), 9000, "100 ms at 90 kHz");
        assert_eq!(after.ids, PictureIds { picture: Some(0), tl0: Some(0) }, "both wrap");
        let second = vp8(101, 10);
        let next = rewriter.rewrite(numbers(10, 4_000_003_000, first.captured, &second)).unwrap();
        assert_eq!((next.seq, next.timestamp), (after.seq + 1, after.timestamp.wrapping_add(3000)));
        assert_eq!(next.ids, PictureIds { picture: Some(1), tl0: Some(1) });
    }

    #[test]
    fn loss_stays_a_hole_and_what_came_before_the_splice_is_refused() {
        let start = Instant::now();
        let glimpse = vp8(1, 1);
        let mut rewriter = Rewriter::new(7);
        rewriter.splice(numbers(100, 0, start, &glimpse), CLOCK);
        let first = rewriter.rewrite(numbers(100, 0, start, &glimpse)).unwrap();
        let third = rewriter.rewrite(numbers(102, 0, start, &glimpse)).unwrap();
        let late = rewriter.rewrite(numbers(101, 0, start, &glimpse)).unwrap();
        assert_eq!((third.seq, late.seq), (first.seq + 2, first.seq + 1));
        assert_eq!(rewriter.rewrite(numbers(99, 0, start, &glimpse)), None);
        let next = numbers(7, 0, start, &glimpse);
        rewriter.splice(next, CLOCK);
        assert_eq!(rewriter.rewrite(next).unwrap().seq, first.seq + 3, "the newest counts, not the last written");
    }

    #[test]
    fn what_is_left_out_leaves_no_gap() {
        let start = Instant::now();
        let mut rewriter = Rewriter::new(7);
        // Pictures of two packets; every second one is left out.
        let packet = |seq: u64| (seq, 3000 * (seq / 2) as u32, vp8((seq / 2) as u16, 1));
        let (_, _, first) = packet(10);
        rewriter.splice(numbers(10, 15_000, start, &first), CLOCK);
        let mut out = Vec::new();
        for seq in 10..30 {
            let (seq, timestamp, glimpse) = packet(seq);
            let numbers = numbers(seq, timestamp, start, &glimpse);
            if seq / 2 % 2 == 0 {
                assert_eq!(rewriter.leave_out(numbers, Left::Picture), None);
            } else {
                out.push(rewriter.rewrite(numbers).unwrap());
            }
        }
        for (index, two) in out.windows(2).enumerate() {
            assert_eq!(two[1].seq, two[0].seq + 1);
            let step = u16::from(index % 2 == 1);
            assert_eq!(two[1].ids.picture.unwrap(), two[0].ids.picture.unwrap() + step);
        }
        assert_eq!(out.len(), 10);
    }

    #[test]
    fn late_packets_find_their_place_among_what_was_left_out() {
        let start = Instant::now();
        let mut rewriter = Rewriter::new(7);
        let glimpse = vp8(1, 1);
        let at = |seq, timestamp| numbers(seq, timestamp, start, &glimpse);
        rewriter.splice(at(100, 0), CLOCK);
        let first = rewriter.rewrite(at(100, 0)).unwrap().seq;
        // 101 is lost; 102 and 104 of the left-out picture come, 103 is lost; 105 is lost; 106 is shown.
        assert_eq!(rewriter.leave_out(at(102, 1), Left::Picture), None);
        assert_eq!(rewriter.leave_out(at(104, 1), Left::Picture), None);
        assert_eq!(rewriter.rewrite(at(106, 2)).unwrap().seq, first + 3, "two holes may be of shown pictures");
        assert_eq!(rewriter.leave_out(at(103, 1), Left::Picture), None, "its place is closed");
        assert_eq!(rewriter.leave_out(at(101, 1), Left::Picture).map(|out| out.seq), Some(first + 1), "a hole to fill");
        assert_eq!(rewriter.rewrite(at(105, 2)).unwrap().seq, first + 2);
        assert_eq!(rewriter.rewrite(at(102, 1)), None);
        assert_eq!(rewriter.rewrite(at(107, 2)).unwrap().seq, first + 4);
    }

    #[test]
    fn what_is_remembered_of_left_out_packets_is_bounded() {
        let start = Instant::now();
        let mut rewriter = Rewriter::new(7);
        let glimpse = vp8(1, 1);
        rewriter.splice(numbers(1, 0, start, &glimpse), CLOCK);
        let mut last = 0;
        for seq in 1..10_000u64 {
            let packet = numbers(seq, seq as u32, start, &glimpse);
            if seq % 2 == 0 {
                rewriter.leave_out(packet, Left::Picture);
            } else {
                let out = rewriter.rewrite(packet).unwrap().seq;
                assert!(last == 0 || out == last + 1);
                last = out;
            }
        }
        assert_eq!(rewriter.cuts.len(), MAX_CUTS);
        assert_eq!(rewriter.rewrite(numbers(5, 5, start, &glimpse)), None, "too old to be placed");
    }

    #[test]
    fn timestamps_grow_even_when_the_new_stream_was_captured_earlier() {
        let start = Instant::now() + Duration::from_secs(10);
        let glimpse = vp8(1, 1);
        let mut rewriter = Rewriter::new(0);
        rewriter.splice(numbers(1, 0, start, &glimpse), CLOCK);
        let before = rewriter.rewrite(numbers(1, 0, start, &glimpse)).unwrap();
        let earlier = numbers(1, 0, start - Duration::from_secs(1), &glimpse);
        rewriter.splice(earlier, CLOCK);
        let after = rewriter.rewrite(earlier).unwrap();
        assert_eq!(after.timestamp.wrapping_sub(before.timestamp), 450);
    }
}
