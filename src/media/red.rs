//! Redundant audio (RFC 2198): packets that carry the last sound again are forwarded as they are to who takes them, and without it to who
//! does not.

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
