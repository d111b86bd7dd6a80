//! How high the pictures of a stream are, read from the first packet of a key frame.

use super::bits::Bits;

/// Bytes of a parameter set that are looked at. Those of real encoders are shorter by far.
const MAX_SPS_LEN: usize = 256;

/// RFC 6386, 9.1: frame tag, start code, width and height. `frame` begins after the payload descriptor.
pub fn vp8(frame: &[u8]) -> Option<u16> {
    let header = frame.get(3..10)?;
    (header[..3] == [0x9d, 0x01, 0x2a]).then(|| u16::from_le_bytes([header[5], header[6]]) & 0x3fff)
}

/// VP9 bitstream specification, 6.2: the uncompressed header of a key frame. `frame` begins after the payload descriptor.
pub fn vp9(frame: &[u8]) -> Option<u16> {
    const RGB: u32 = 7;
    let mut bits = Bits::new(frame);
    if bits.take(2)? != 2 {
        return None;
    }
    let profile = bits.take(1)? | bits.take(1)? << 1;
    if profile == 3 {
        bits.skip(1)?;
    }
    let (shown_before, inter) = (bits.flag()?, bits.flag()?);
    if shown_before || inter {
        return None;
    }
    bits.skip(2)?;
    if bits.take(24)? != 0x49_83_42 {
        return None;
    }
    if profile >= 2 {
        bits.skip(1)?;
    }
    if bits.take(3)? == RGB {
        bits.skip(u32::from(profile & 1 == 1))?;
    } else {
        bits.skip(1)?;
        bits.skip(if profile & 1 == 1 { 3 } else { 0 })?;
    }
    let _width = bits.take(16)?;
    bits.take(16)?.checked_add(1)?.try_into().ok()
}

/// The sequence parameter set in an RTP payload (RFC 6184), alone or in a STAP-A.
pub fn h264(payload: &[u8]) -> Option<u16> {
    const SPS: u8 = 7;
    const STAP_A: u8 = 24;
    match payload.first()? & 0x1f {
        SPS => sps(&payload[1..]),
        STAP_A => {
            let mut rest = &payload[1..];
            loop {
                let size = usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]));
                let unit = rest.get(2..2 + size)?;
                if unit.first()? & 0x1f == SPS {
                    return sps(&unit[1..]);
                }
                rest = &rest[2 + size..];
            }
        }
        _ => None,
    }
}

/// H.264, 7.3.2.1.1.
fn sps(escaped: &[u8]) -> Option<u16> {
    let bytes = unescape(&escaped[..escaped.len().min(MAX_SPS_LEN)]);
    let mut bits = Bits::new(&bytes);
    let profile = bits.take(8)?;
    bits.skip(16)?;
    bits.golomb()?;
    let mut chroma = 1;
    if [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135].contains(&profile) {
        chroma = bits.golomb()?;
        if chroma == 3 {
            bits.skip(1)?;
        }
        bits.golomb()?;
        bits.golomb()?;
        bits.skip(1)?;
        if bits.flag()? {
            // Scaling matrices: no encoder of a call sends them.
            return None;
        }
    }
    bits.golomb()?;
    match bits.golomb()? {
        0 => {
            bits.golomb()?;
        }
        1 => {
            bits.skip(1)?;
            bits.skip_signed_golomb()?;
            bits.skip_signed_golomb()?;
            for _ in 0..bits.golomb()?.min(255) {
                bits.skip_signed_golomb()?;
            }
        }
        _ => {}
    }
    bits.golomb()?;
    bits.skip(1)?;
    bits.golomb()?;
    let map_units = bits.golomb()?.checked_add(1)?;
    let frames_only = bits.flag()?;
    if !frames_only {
        bits.skip(1)?;
    }
    bits.skip(1)?;
    let fields = if frames_only { 1 } else { 2 };
    let mut height = map_units.checked_mul(16 * fields)?;
    if bits.flag()? {
        bits.golomb()?;
        bits.golomb()?;
        let unit = fields * if chroma == 1 { 2 } else { 1 };
        let cropped = bits.golomb()?.checked_add(bits.golomb()?)?.checked_mul(unit)?;
        height = height.checked_sub(cropped)?;
    }
    height.try_into().ok()
}

/// Without the emulation prevention bytes (H.264, 7.4.1).
fn unescape(escaped: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut zeros = 0;
    for byte in escaped {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        bytes.push(*byte);
    }
    bytes
}

/// The sequence header in an RTP payload (AV1 RTP specification, 4; AV1 bitstream specification, 5.5).
pub fn av1(payload: &[u8]) -> Option<u16> {
    const SEQUENCE_HEADER: u8 = 1;
    let aggregation = *payload.first()?;
    let elements = aggregation >> 4 & 0x03;
    let mut rest = &payload[1..];
    let mut index = 0;
    while !rest.is_empty() && index < 8 {
        index += 1;
        let element = if elements != 0 && index == elements {
            std::mem::take(&mut rest)
        } else {
            let (size, used) = leb128(rest)?;
            let element = rest.get(used..used.checked_add(size)?)?;
            rest = &rest[used + size..];
            element
        };
        let header = *element.first()?;
        if header >> 3 & 0x0f == SEQUENCE_HEADER {
            let mut at = if header & 0x04 != 0 { 2 } else { 1 };
            if header & 0x02 != 0 {
                at += leb128(element.get(at..)?)?.1;
            }
            return sequence_header(element.get(at..)?);
        }
    }
    None
}

fn sequence_header(bytes: &[u8]) -> Option<u16> {
    let mut bits = Bits::new(bytes);
    bits.skip(4)?;
    if bits.flag()? {
        // A reduced still picture.
        bits.skip(5)?;
    } else {
        operating_points(&mut bits)?;
    }
    let (width_bits, height_bits) = (bits.take(4)? + 1, bits.take(4)? + 1);
    bits.skip(width_bits)?;
    bits.take(height_bits)?.checked_add(1)?.try_into().ok()
}

fn operating_points(bits: &mut Bits<'_>) -> Option<()> {
    let (mut decoder_model, mut delay_bits) = (false, 0);
    if bits.flag()? {
        bits.skip(64)?;
        if bits.flag()? {
            uvlc(bits)?;
        }
        decoder_model = bits.flag()?;
        if decoder_model {
            delay_bits = bits.take(5)? + 1;
            bits.skip(42)?;
        }
    }
    let display_delay = bits.flag()?;
    for _ in 0..=bits.take(5)? {
        bits.skip(12)?;
        if bits.take(5)? > 7 {
            bits.skip(1)?;
        }
        if decoder_model && bits.flag()? {
            bits.skip(2 * delay_bits + 1)?;
        }
        if display_delay && bits.flag()? {
            bits.skip(4)?;
        }
    }
    Some(())
}

/// AV1, 4.10.3; its value is not wanted.
fn uvlc(bits: &mut Bits<'_>) -> Option<()> {
    let mut zeros = 0;
    while !bits.flag()? {
        zeros += 1;
        if zeros == 32 {
            return Some(());
        }
    }
    bits.skip(zeros)
}

/// The number and the bytes it takes.
fn leb128(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    type Reader = fn(&[u8]) -> Option<u16>;

    /// First bytes of what libvpx, x264, libaom and SVT-AV1 encode.
    const KEY_FRAMES: &[(&str, Reader, &str, u16)] = &[
        ("VP8 320x180", vp8, "3051009d012a4001b4000047088585888584880202030725", 180),
        ("VP9 640x360", vp9, "824983420027f016760a38241c184a1005587fd1", 360),
        ("H.264 baseline 640x360", h264, "6742c01ed900a02ff970110000030001000003003c0f162e48", 360),
        ("H.264 high 1920x1080", h264, "67640028acd940780227e5c044000003000400000300f03c60c658", 1080),
        (
            "H.264 after a delimiter in a STAP-A",
            h264,
            "78000209f000196742c01ed900a02ff970110000030001000003003c0f162e48",
            360,
        ),
        ("AV1 640x360 of libaom", av1, "280c080000000cc4ff6736be401030aabbcc", 360),
        ("AV1 640x360 with a size in its header", av1, "280d0a0b0000000cc4ff6736be401032d72a10", 360),
        ("AV1 1280x720 of SVT, the only element", av1, "18080200002d6a67fd9e357cc020", 720),
    ];

    #[test]
    fn heights_are_read_from_what_encoders_write() {
        for (name, reader, hex, height) in KEY_FRAMES {
            assert_eq!(reader(&bytes(hex)), Some(*height), "{name}");
        }
    }

    #[test]
    fn what_is_cut_or_changed_is_no_danger() {
        for (_, reader, hex, _) in KEY_FRAMES {
            let whole = bytes(hex);
            for at in 0..whole.len() {
                reader(&whole[..at]);
                for bit in 0..8 {
                    let mut changed = whole.clone();
                    changed[at] ^= 1 << bit;
                    reader(&changed);
                }
            }
        }
        assert_eq!(vp9(&bytes("864983420027f01676")), None, "an inter frame says nothing");
        assert_eq!(h264(&bytes("6588843b")), None);
        assert_eq!(av1(&bytes("1830000000")), None);
    }
}
