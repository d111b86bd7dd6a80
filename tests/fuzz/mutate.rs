//! Makes wrong inputs out of right ones.

/// A seeded source of mutations (splitmix64).
pub struct Mutator(u64);

/// Bytes at which parsers turn.
const TURNS: &[u8] = b"\0\x01\x7f\x80\xff \t\r\n\"\\/:=,.-_*{}[]09aA";
/// An input grows to so much at most.
const LONGEST: usize = 70_000;

impl Mutator {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// One of the samples, changed in one to six places.
    pub fn mutate(&mut self, samples: &[Vec<u8>]) -> Vec<u8> {
        let mut input = samples[self.below(samples.len())].clone();
        for _ in 0..=self.below(6) {
            self.change(&mut input, samples);
        }
        input.truncate(LONGEST);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, samples: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let end = (at + 1 + self.below(16)).min(input.len());
        match self.below(9) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = TURNS[self.below(TURNS.len())],
            2 => input.insert(at, TURNS[self.below(TURNS.len())]),
            3 => input.truncate(at),
            4 => drop(input.drain(at.min(end)..end)),
            5 => {
                let piece = input[at.min(end)..end].to_vec();
                let times = 1 + self.below(40);
                input.splice(at..at, piece.repeat(times));
            }
            6 => {
                let other = &samples[self.below(samples.len())];
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            7 => {
                let number = [0, 1, -1, 255, 65_536, i64::from(i32::MIN), i64::MAX][self.below(7)];
                input.splice(at..at, number.to_string().into_bytes());
            }
            _ if at < input.len() => input[at] = self.below(256) as u8,
            _ => {}
        }
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    }
}
