//! Reads bits, most significant first, as codec headers write them; past the end there is nothing.

/// A place in some bytes.
#[derive(Debug, Clone)]
pub struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub fn flag(&mut self) -> Option<bool> {
        let byte = *self.bytes.get(self.at / 8)?;
        let set = byte >> (7 - self.at % 8) & 1 == 1;
        self.at += 1;
        Some(set)
    }

    /// `count` bits, at most 32.
    pub fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | u32::from(self.flag()?);
        }
        Some(value)
    }

    pub fn skip(&mut self, count: u32) -> Option<()> {
        self.at += count as usize;
        (self.at <= self.bytes.len() * 8).then_some(())
    }

    /// Exp-Golomb, `ue(v)` of H.264, 9.1.
    pub fn golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1 << zeros) - 1 + self.take(zeros)?)
    }

    /// `se(v)` of H.264, whose value nobody here wants.
    pub fn skip_signed_golomb(&mut self) -> Option<()> {
        self.golomb().map(|_| ())
    }

    /// `ns(n)` of AV1, 4.10.7: one of `n` values.
    pub fn one_of(&mut self, n: u32) -> Option<u32> {
        let width = 32 - n.leading_zeros();
        let short = (1u64 << width) as u32 - n;
        let value = self.take(width.checked_sub(1)?)?;
        if value < short {
            return Some(value);
        }
        Some((value << 1 | self.take(1)?) - short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_as_they_are_written() {
        let mut bits = Bits::new(&[0b1010_0011, 0b0000_0010]);
        assert_eq!((0..3).map(|_| bits.golomb()).collect::<Vec<_>>(), [Some(0), Some(1), Some(5)]);
        assert_eq!(bits.take(3), Some(0));
        assert_eq!(bits.golomb(), None, "past the end");
        assert_eq!(Bits::new(&[0, 0, 0, 0, 0]).golomb(), None, "longer than any number");
        // Five values: 00, 01, 10, 110, 111.
        let mut bits = Bits::new(&[0b0001_1011, 0b0111_0000]);
        assert_eq!((0..5).map(|_| bits.one_of(5)).collect::<Vec<_>>(), [0, 1, 2, 3, 4].map(Some));
        assert_eq!(Bits::new(&[]).one_of(1), Some(0));
        let mut bits = Bits::new(&[0xff]);
        assert_eq!((bits.skip(8), bits.flag(), bits.skip(1)), (Some(()), None, None));
    }
}
