//! Redundant audio (RFC 2198): packets that carry the last sound again are forwarded as they are to who takes them, without it to who does
//! not, and with the sound before that to who loses many. A packet that was lost on its way here is made of what a later one says again, so
//! that it reaches those, too, who take none of that.

/// Redundant blocks of a packet that gets no more of them.
const ENOUGH: usize = 2;
/// In units of the clock: sound that is so much older is played already. 120 ms of Opus.
const OLDEST: u32 = 5760;
/// The header of a redundant block has 10 bits for its length.
const LONGEST: usize = 0x3ff;
/// With its headers and its seal it must fit what paths carry.
const LARGEST: usize = 1000;

/// How a payload is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrapping {
    /// One frame of the codec.
    Plain,
    /// Redundant blocks, and the frame at the end.
    Red,
}

/// The newest frame of a redundant payload; `None` when it is malformed.
pub fn primary(payload: &[u8]) -> Option<&[u8]> {
    let (mut at, mut redundant) = (0, 0);
    loop {
        let header = payload.get(at..)?;
        if header.first()? & 0x80 == 0 {
            return header.get(1 + redundant..);
        }
        redundant += usize::from(header.get(2)? & 0x03) << 8 | usize::from(*header.get(3)?);
        at += 4;
    }
}

/// One block of a redundant payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block<'a> {
    pub payload_type: u8,
    /// In units of the clock, before the packet's timestamp.
    pub age: u32,
    pub frame: &'a [u8],
}

/// The blocks of a redundant payload, the oldest first and the newest frame last, and the bytes of their headers; `None` when it is
/// malformed.
pub fn blocks(payload: &[u8]) -> Option<(impl Iterator<Item = Block<'_>>, usize)> {
    let mut headers = 0;
    while payload.get(headers)? & 0x80 != 0 {
        headers += 4;
    }
    headers += 1;
    let newest = primary(payload)?;
    let mut frames = payload.get(headers..)?;
    let redundant = payload[..headers - 1].chunks_exact(4).map(move |header| {
        let length = usize::from(header[2] & 0x03) << 8 | usize::from(header[3]);
        // The newest frame begins after all of them: they are there.
        let (frame, rest) = frames.split_at(length);
        frames = rest;
        Block { payload_type: header[0] & 0x7f, age: u32::from(header[1]) << 6 | u32::from(header[2]) >> 2, frame }
    });
    let newest = Block { payload_type: payload[headers - 1], age: 0, frame: newest };
    Some((redundant.chain(std::iter::once(newest)), headers))
}

/// Which packets of a stream of sound are there: those that came, and those that were made of what a later one said again.
#[derive(Debug, Default)]
pub struct Recovery {
    /// The number and the timestamp of the newest.
    newest: Option<(u64, u32)>,
    /// A bit for each number from that one down.
    there: u64,
}

/// A packet made of what a later one says again; its payload is redundant of form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    pub seq: u64,
    /// In units of the clock, before the later packet.
    pub age: u32,
    pub payload: Vec<u8>,
}

impl Recovery {
    /// A packet came. False: it is there already.
    pub fn came(
        &mut self,
        seq: u64,
        timestamp: u32,
        payload: &[u8],
        wrapping: Wrapping,
        made: &mut Vec<Recovered>,
    ) -> bool {
        let Some((newest, at)) = self.newest else {
            (self.newest, self.there) = (Some((seq, timestamp)), 1);
            return true;
        };
        let Some(advance) = seq.checked_sub(newest).filter(|advance| *advance > 0) else {
            return self.is_new(newest - seq);
        };
        self.there = u32::try_from(advance).ok().and_then(|advance| self.there.checked_shl(advance)).unwrap_or(0) | 1;
        self.newest = Some((seq, timestamp));
        if wrapping == Wrapping::Red && advance > 1 {
            self.recover(seq, advance, timestamp.wrapping_sub(at), payload, made);
        }
        true
    }

    /// Notes the packet that is so many before the newest. What is too old to be known of has come too late.
    fn is_new(&mut self, back: u64) -> bool {
        let Some(bit) = u32::try_from(back).ok().and_then(|back| 1u64.checked_shl(back)) else { return false };
        let is_new = self.there & bit == 0;
        self.there |= bit;
        is_new
    }

    /// Makes what is missing of the `advance` packets up to this one, which took `elapsed`.
    fn recover(&mut self, seq: u64, advance: u64, elapsed: u32, payload: &[u8], made: &mut Vec<Recovered>) {
        // Each took as long as the others: who was silent between them sent fewer, and which is which nobody knows.
        let Some(each) = u32::try_from(advance).ok().map(|advance| elapsed / advance).filter(|each| *each > 0) else {
            return;
        };
        if u64::from(each) * advance != u64::from(elapsed) {
            return;
        }
        let Some((blocks, _)) = blocks(payload) else { return };
        for Block { payload_type, age, frame } in blocks.filter(|block| block.age > 0 && block.age % each == 0) {
            let back = u64::from(age / each);
            if back < advance && !frame.is_empty() && self.is_new(back) {
                let payload = [&[payload_type][..], frame].concat();
                made.push(Recovered { seq: seq - back, age, payload });
            }
        }
    }
}

/// The payload with one frame more, of the packet `before`, whose timestamp was `elapsed` less. `None`: it needs none, or there is none to
/// add.
pub fn deepened(before: &[u8], elapsed: u32, payload: &[u8]) -> Option<Vec<u8>> {
    let (mut blocks, headers) = blocks(payload)?;
    let oldest = blocks.next()?.age;
    if blocks.count() >= ENOUGH {
        return None;
    }
    let age = |block: &Block<'_>| block.age.checked_add(elapsed).filter(|age| *age > oldest && *age <= OLDEST);
    let (earlier, _) = self::blocks(before)?;
    let (age, block) = earlier.filter_map(|block| Some((age(&block)?, block))).min_by_key(|(age, _)| *age)?;
    if block.frame.is_empty() || block.frame.len() > LONGEST || payload.len() + block.frame.len() + 4 > LARGEST {
        return None;
    }
    let [.., high, middle, low] = (age << 10 | block.frame.len() as u32).to_be_bytes();
    let mut deep = Vec::with_capacity(payload.len() + block.frame.len() + 4);
    deep.extend([0x80 | block.payload_type, high, middle, low]);
    deep.extend(&payload[..headers]);
    deep.extend(block.frame);
    deep.extend(&payload[headers..]);
    Some(deep)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of two bytes, each with its age in milliseconds; the newest last.
    fn packet(frames: &[(u8, u32)]) -> Vec<u8> {
        let (newest, redundant) = frames.split_last().unwrap();
        let header = |(_, age): &(u8, u32)| {
            let [.., high, middle, low] = ((age * 48) << 10 | 2).to_be_bytes();
            [0x80 | 111, high, middle, low]
        };
        let mut packet: Vec<u8> = redundant.iter().flat_map(header).collect();
        packet.push(111);
        packet.extend(redundant.iter().chain([newest]).flat_map(|(frame, _)| [*frame, *frame]));
        packet
    }

    fn said(payload: &[u8]) -> Vec<(u8, u32)> {
        let blocks = blocks(payload).unwrap().0;
        blocks.map(|block| (block.frame[0], block.age / 48)).collect()
    }

    #[test]
    fn blocks_are_read_as_they_were_written() {
        for frames in [&[(7, 0)][..], &[(6, 20), (7, 0)], &[(5, 40), (6, 20), (7, 0)]] {
            assert_eq!(said(&packet(frames)), frames);
        }
        let long = packet(&[(5, 40), (6, 20), (7, 0)]);
        for cut in 0..long.len() {
            let _ = blocks(&long[..cut]).map(|(blocks, _)| blocks.count());
        }
        assert!(blocks(&long[..12]).is_none());
    }

    #[test]
    fn the_frame_before_those_that_are_there_is_added() {
        let now = packet(&[(8, 20), (9, 0)]);
        let deep =
            |before: &[(u8, u32)], millis: u32| deepened(&packet(before), millis * 48, &now).map(|deep| said(&deep));
        assert_eq!(deep(&[(7, 20), (8, 0)], 20), Some(vec![(7, 40), (8, 20), (9, 0)]));
        assert_eq!(deep(&[(6, 20), (7, 0)], 40), Some(vec![(7, 40), (8, 20), (9, 0)]), "the one between was lost");
        assert_eq!(deep(&[(6, 40), (7, 20), (8, 0)], 20), Some(vec![(7, 40), (8, 20), (9, 0)]));
        assert_eq!(deep(&[(8, 0)], 20), None, "it is there");
        assert_eq!(deep(&[(1, 20), (2, 0)], 140), None, "it is played already");
        assert_eq!(deepened(&packet(&[(9, 0)]), 960u32.wrapping_neg(), &now), None, "it came before that");
        assert_eq!(said(&deepened(&packet(&[(7, 20), (8, 0)]), 960, &packet(&[(9, 0)])).unwrap()), [(8, 20), (9, 0)]);
        let three = packet(&[(7, 40), (8, 20), (9, 0)]);
        assert_eq!(deepened(&packet(&[(6, 40), (7, 20), (8, 0)]), 960, &three), None, "it has enough");
        let mut large = packet(&[(8, 0)]);
        large.resize(900, 1);
        assert_eq!(deepened(&large, 960, &[&[111][..], &[1; 200]].concat()), None, "it would not fit");
        assert_eq!(deepened(&[0x80], 960, &now), None);
    }

    #[test]
    fn the_newest_frame_is_what_stands_behind_the_redundant_ones() {
        assert_eq!(primary(&[111, 7, 8]), Some(&[7, 8][..]));
        assert_eq!(primary(&[0x80 | 111, 0, 0, 2, 111, 1, 2, 7, 8, 9]), Some(&[7, 8, 9][..]));
        let two = [0x80 | 111, 0, 0, 1, 0x80 | 111, 0, 0, 2, 111, 1, 2, 2, 7];
        assert_eq!(primary(&two), Some(&[7][..]));
        for cut in 0..9 {
            primary(&two[..cut]);
        }
        assert_eq!(primary(&[0x80 | 111, 0, 3, 255, 111, 1]), None);
        assert_eq!(primary(&[]), None);
    }

    #[test]
    fn a_lost_packet_is_made_of_what_a_later_one_says_again_and_once() {
        let mut recovery = Recovery::default();
        let mut made = Vec::new();
        let mut came = |seq: u64, millis: u32, frames: &[(u8, u32)]| {
            made.clear();
            let is_new = recovery.came(seq, millis * 48, &packet(frames), Wrapping::Red, &mut made);
            (is_new, made.iter().map(|made| (made.seq, made.age / 48, made.payload[1])).collect::<Vec<_>>())
        };
        assert_eq!(came(100, 0, &[(0, 20), (1, 0)]), (true, vec![]), "nobody knows what was before");
        assert_eq!(came(101, 20, &[(1, 20), (2, 0)]), (true, vec![]));
        assert_eq!(came(103, 60, &[(3, 20), (4, 0)]), (true, vec![(102, 20, 3)]));
        assert_eq!(came(102, 40, &[(2, 20), (3, 0)]), (false, vec![]), "it is there");
        assert_eq!(came(107, 140, &[(6, 40), (7, 20), (8, 0)]), (true, vec![(105, 40, 6), (106, 20, 7)]));
        assert_eq!(came(104, 80, &[(4, 20), (5, 0)]), (true, vec![]), "nobody had made it");
        assert_eq!(came(104, 80, &[(4, 20), (5, 0)]), (false, vec![]));
        assert_eq!(came(109, 400, &[(9, 20), (10, 0)]), (true, vec![]), "there was a silence");
        assert_eq!(came(108, 380, &[(8, 20), (9, 0)]), (true, vec![]));
        assert_eq!(came(500, 9000, &[(11, 20), (12, 0)]), (true, vec![]), "a long one");
        assert_eq!(came(110, 420, &[(11, 20), (12, 0)]), (false, vec![]), "too late");
    }

    #[test]
    fn nothing_is_made_of_plain_or_malformed_sound() {
        let mut made = Vec::new();
        for (payload, wrapping) in [(packet(&[(1, 20), (2, 0)]), Wrapping::Plain), (vec![0xef, 1], Wrapping::Red)] {
            let mut recovery = Recovery::default();
            assert!(recovery.came(1, 0, &payload, wrapping, &mut made));
            assert!(recovery.came(3, 1920, &payload, wrapping, &mut made));
            assert!(recovery.came(u64::MAX, 1920, &payload, wrapping, &mut made));
        }
        assert_eq!(made, []);
    }
}
