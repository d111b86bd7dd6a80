//! Transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01, 3.1): which packets of a connection came, and when.

use super::half;

/// Before the chunks: base, count, reference time, number of the feedback.
const HEADER: usize = 8;
const CHUNK: usize = 2;

/// Microseconds of a unit of the reference time and of a delta.
const REFERENCE_UNIT: i64 = 64_000;
const DELTA_UNIT: i64 = 250;

/// One feedback: what became of `count` packets from `base` on.
#[derive(Debug, Clone, Copy)]
pub struct Feedback<'a> {
    pub base: u16,
    pub count: u16,
    /// The time that the first delta is counted from, in 64 ms on the receiver's clock; 24 bits with a sign, which wrap after 12 days.
    pub reference: i32,
    /// Counts the feedbacks.
    pub number: u8,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

impl<'a> Feedback<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (base, count) = (half(bytes, 0)?, half(bytes, 2)?);
        let &[high, middle, low, number] = bytes.get(4..HEADER)? else { return None };
        // Deltas begin where the chunks have said something of all packets: what follows the last chunk tells.
        let after = &bytes[HEADER..];
        let (mut said, mut chunks) = (0, 0);
        while said < u32::from(count) {
            said += u32::from(Chunk(half(after, chunks)?).len());
            chunks += CHUNK;
        }
        let (chunks, deltas) = after.split_at(chunks);
        let reference = i32::from_be_bytes([high, middle, low, 0]) >> 8;
        Some(Self { base, count, reference, number, chunks, deltas })
    }

    /// The packets that came: sequence number and time in microseconds on the receiver's clock. A run of missing ones is passed over in
    /// one step, so that the packet's length bounds the work.
    pub fn received(&self) -> Received<'a> {
        Received {
            feedback: *self,
            chunks: self.chunks,
            deltas: self.deltas,
            chunk: Chunk(0),
            in_chunk: 0,
            offset: 0,
            at: i64::from(self.reference) * REFERENCE_UNIT,
        }
    }

    /// What became of each packet from `base` on: `None`, it has not come. Ends early where the feedback has no more to say. A few bytes
    /// can speak of 65535 packets; who minds looks at [`Self::received`].
    pub fn arrivals(&self) -> Arrivals<'a> {
        Arrivals { received: self.received(), next: None, offset: 0 }
    }
}

/// What the feedback says of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Missing,
    SmallDelta,
    LargeDelta,
}

/// Statuses in two bytes: a run of one, 14 of a bit, or 7 of two bits.
#[derive(Debug, Clone, Copy)]
struct Chunk(u16);

impl Chunk {
    /// How many packets it speaks of.
    const fn len(self) -> u16 {
        match self.0 >> 14 {
            0 | 1 => self.0 & 0x1fff,
            2 => 14,
            _ => 7,
        }
    }

    /// `n`: less than its length.
    const fn status(self, n: u16) -> Status {
        let symbol = match self.0 >> 14 {
            0 | 1 => self.0 >> 13,
            2 => self.0 >> (13 - n) & 1,
            _ => self.0 >> (12 - 2 * n) & 3,
        };
        match symbol {
            1 => Status::SmallDelta,
            2 => Status::LargeDelta,
            // The fourth is reserved and has no delta.
            _ => Status::Missing,
        }
    }

    const fn is_run_of_missing(self) -> bool {
        self.0 >> 15 == 0 && matches!(self.status(0), Status::Missing)
    }
}

#[derive(Debug, Clone)]
pub struct Received<'a> {
    feedback: Feedback<'a>,
    chunks: &'a [u8],
    deltas: &'a [u8],
    chunk: Chunk,
    /// Of the chunk, how many have been looked at.
    in_chunk: u16,
    /// Of all.
    offset: u32,
    at: i64,
}

impl Received<'_> {
    /// Looks on to the next packet that came. `None`: there is no more, or its time is missing; `offset` has what was looked at.
    fn advance(&mut self) -> Option<i64> {
        while self.offset < u32::from(self.feedback.count) {
            if self.in_chunk == self.chunk.len() {
                self.chunk = Chunk(half(self.chunks, 0)?);
                self.chunks = &self.chunks[CHUNK..];
                self.in_chunk = 0;
                if self.chunk.is_run_of_missing() {
                    self.in_chunk = self.chunk.len();
                    self.offset += u32::from(self.in_chunk);
                }
                continue;
            }
            let delta = match self.chunk.status(self.in_chunk) {
                Status::Missing => None,
                status => Some(self.delta(status)?),
            };
            self.in_chunk += 1;
            self.offset += 1;
            if let Some(delta) = delta {
                self.at += delta * DELTA_UNIT;
                return Some(self.at);
            }
        }
        None
    }

    fn delta(&mut self, status: Status) -> Option<i64> {
        let (delta, length) = match status {
            Status::LargeDelta => (i64::from(half(self.deltas, 0)? as i16), 2),
            _ => (i64::from(*self.deltas.first()?), 1),
        };
        self.deltas = &self.deltas[length..];
        Some(delta)
    }
}

impl Iterator for Received<'_> {
    type Item = (u16, i64);

    fn next(&mut self) -> Option<(u16, i64)> {
        let at = self.advance()?;
        Some((self.feedback.base.wrapping_add((self.offset - 1) as u16), at))
    }
}

#[derive(Debug, Clone)]
pub struct Arrivals<'a> {
    received: Received<'a>,
    /// The next one that came.
    next: Option<i64>,
    offset: u32,
}

impl Iterator for Arrivals<'_> {
    type Item = Option<i64>;

    fn next(&mut self) -> Option<Option<i64>> {
        let count = u32::from(self.received.feedback.count);
        if self.offset == self.received.offset {
            self.next = self.received.advance();
        }
        // Those that were looked at before the next one that came have not come.
        let said = self.received.offset.min(count);
        if self.offset >= said {
            return None;
        }
        self.offset += 1;
        Some(if self.offset == said { self.next.take() } else { None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A feedback on so many packets from 65534 on, at 3 × 64 ms.
    fn feedback(count: u16, chunks: &[u16], deltas: &[u8]) -> Vec<u8> {
        let mut bytes = [&65_534u16.to_be_bytes()[..], &count.to_be_bytes(), &[0, 0, 3, 9]].concat();
        chunks.iter().for_each(|chunk| bytes.extend(chunk.to_be_bytes()));
        bytes.extend(deltas);
        bytes
    }

    /// Each packet's time since the reference, in units of 250 µs.
    fn arrivals(bytes: &[u8]) -> Vec<Option<i64>> {
        let feedback = Feedback::parse(bytes).expect("its chunks say enough");
        let units = |at: i64| {
            let units = at - i64::from(feedback.reference) * 64_000;
            assert_eq!(units % 250, 0);
            units / 250
        };
        let all: Vec<_> = feedback.arrivals().map(|arrival| arrival.map(units)).collect();
        let came = (0..).zip(&all).filter_map(|(n, at)| Some((65_534u16.wrapping_add(n), (*at)?)));
        let received: Vec<_> = feedback.received().map(|(seq, at)| (seq, units(at))).collect();
        assert_eq!(received, came.collect::<Vec<_>>(), "both ways say the same");
        all
    }

    /// The examples of the draft's 3.1.3 and 3.1.4, with deltas.
    #[test]
    fn each_kind_of_chunk_is_read() {
        let missing = |n| vec![None; n];
        // A run of 221 that have not come.
        assert_eq!(arrivals(&feedback(221, &[0x00dd], &[])), missing(221));
        // A run of 24 that came.
        let deltas: Vec<u8> = (0..24).collect();
        let times = deltas.iter().scan(0, |at, delta| {
            *at += i64::from(*delta);
            Some(Some(*at))
        });
        assert_eq!(arrivals(&feedback(24, &[0x2018], &deltas)), times.collect::<Vec<_>>());
        // One bit: 1 missing, 5 came, 3 missing, 3 came, 2 missing.
        let bits = arrivals(&feedback(14, &[0x9f1c], &[1; 8]));
        let came = [None, Some(1), Some(2), Some(3), Some(4), Some(5), None, None, None, Some(6), Some(7), Some(8)];
        assert_eq!(bits, [&came[..], &[None, None]].concat());
        // Two bits: 1 missing, 1 came without a delta of ours (reserved), then 3 small, 2 missing.
        assert_eq!(
            arrivals(&feedback(7, &[0xcd50], &[1, 2, 255])),
            [None, None, Some(1), Some(3), Some(258), None, None]
        );
        // Two bits with large deltas, one of them back in time; and a run of large ones.
        let large =
            [&[0, 4][..], &(-3i16).to_be_bytes(), &[5], &i16::MIN.to_be_bytes(), &i16::MAX.to_be_bytes()].concat();
        assert_eq!(
            arrivals(&feedback(9, &[0b1110_1001_0000_0000, 0x4002], &large)),
            [Some(4), Some(1), Some(6), None, None, None, None, Some(6 - 32_768), Some(5)]
        );
        // The last chunk says more than was asked for.
        assert_eq!(arrivals(&feedback(2, &[0xbfff], &[1; 14])), [Some(1), Some(2)]);
        assert_eq!(arrivals(&feedback(2, &[0x3fff], &[1; 14])), [Some(1), Some(2)]);
        assert_eq!(arrivals(&feedback(3, &[0x1fff], &[])), missing(3));
        assert_eq!(arrivals(&feedback(0, &[], &[])), []);
        // Runs of no length say nothing.
        assert_eq!(arrivals(&feedback(1, &[0, 0x2000, 0x2001], &[7])), [Some(7)]);
    }

    #[test]
    fn times_are_on_the_receivers_clock() {
        let mut bytes = feedback(1, &[0x2001], &[8]);
        assert_eq!(Feedback::parse(&bytes).unwrap().received().next(), Some((65_534, 3 * 64_000 + 2000)));
        bytes[4] = 0xff;
        let feedback = Feedback::parse(&bytes).unwrap();
        assert_eq!((feedback.reference, feedback.number), (3 - 0x1_0000, 9), "24 bits have a sign");
    }

    #[test]
    fn what_is_cut_off_ends_early_and_says_nothing_of_the_rest() {
        let whole = feedback(5, &[0x2002, 0x4003], &[1, 2, 0, 3, 0, 4, 0, 5]);
        assert_eq!(arrivals(&whole).len(), 5);
        assert!((0..12).all(|end| Feedback::parse(&whole[..end]).is_none()), "without its chunks");
        let said: Vec<usize> = (12..=whole.len()).map(|end| arrivals(&whole[..end]).len()).collect();
        assert_eq!(said, [0, 1, 2, 2, 3, 3, 4, 4, 5]);
        // One that came without a time ends it, also when missing ones come before it.
        assert_eq!(arrivals(&feedback(10, &[0x0004, 0x2006], &[7])), [None, None, None, None, Some(7)]);
    }

    #[test]
    fn many_missing_packets_cost_little_to_pass_over() {
        let bytes = feedback(u16::MAX, &[0x1fff; 9], &[]);
        let feedback = Feedback::parse(&bytes).unwrap();
        assert_eq!(feedback.arrivals().count(), 65_535);
        let mut received = feedback.received();
        assert_eq!(received.next(), None);
        assert_eq!(received.offset, 9 * 0x1fff, "each run was one step, the last one over the end");
        assert!(Feedback::parse(&bytes[..bytes.len() - 4]).is_none(), "seven runs do not say so many");
    }
}
