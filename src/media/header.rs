//! RTP headers as they leave: RFC 3550, 5.1, with the header extensions of RFC 8285.

use str0m::rtp::VideoOrientation;

use super::dependency::{self, Descriptor};

const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
const ORIENTATION: &str = "urn:3gpp:video-orientation";
const TRANSPORT: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// What marks the one-byte and the two-byte form (RFC 8285, 4.2 and 4.3).
const ONE_BYTE: [u8; 2] = [0xbe, 0xde];
const TWO_BYTE: [u8; 2] = [0x10, 0x00];
/// The highest id and the longest value of the one-byte form.
const ONE_BYTE_ID: u8 = 14;
const ONE_BYTE_LEN: usize = 16;

/// The ids that were agreed on for one m-line; `None`: not agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ids {
    pub mid: Option<u8>,
    pub level: Option<u8>,
    pub orientation: Option<u8>,
    pub transport: Option<u8>,
    pub descriptor: Option<u8>,
}

impl Ids {
    /// Of an answer's `a=extmap` lines: ids and URIs.
    pub fn of(extensions: &[(u8, String)]) -> Self {
        let id = |wanted: &str| extensions.iter().find(|(_, uri)| uri == wanted).map(|(id, _)| *id);
        Self {
            mid: id(MID),
            level: id(AUDIO_LEVEL),
            orientation: id(ORIENTATION),
            transport: id(TRANSPORT),
            descriptor: id(dependency::URI),
        }
    }
}

/// The fixed part.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    pub payload_type: u8,
    pub marker: bool,
    /// The payload ends with padding.
    pub padded: bool,
    pub seq: u16,
    pub timestamp: u32,
    pub ssrc: u32,
}

/// Values of extensions; those without an id are left out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extensions<'a> {
    pub mid: Option<&'a str>,
    /// In dBov, 0 to -127, and whether it is a voice (RFC 6464).
    pub level: Option<(i8, bool)>,
    pub orientation: Option<VideoOrientation>,
    pub transport: Option<u16>,
    pub descriptor: Option<&'a Descriptor>,
}

/// Appends the header to `out`.
pub fn write(header: Header, ids: Ids, extensions: Extensions<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.push(0x80 | u8::from(header.padded) << 5);
    out.push(u8::from(header.marker) << 7 | header.payload_type & 0x7f);
    out.extend_from_slice(&header.seq.to_be_bytes());
    out.extend_from_slice(&header.timestamp.to_be_bytes());
    out.extend_from_slice(&header.ssrc.to_be_bytes());
    let descriptor = extensions.descriptor.map(Descriptor::bytes);
    let level = extensions.level.map(|(level, voice)| [u8::from(voice) << 7 | level.unsigned_abs().min(127)]);
    let orientation = extensions.orientation.map(|orientation| [orientation as u8]);
    let transport = extensions.transport.map(u16::to_be_bytes);
    let values: [(Option<u8>, Option<&[u8]>); 5] = [
        (ids.transport, transport.as_ref().map(|value| &value[..])),
        (ids.level, level.as_ref().map(|value| &value[..])),
        (ids.orientation, orientation.as_ref().map(|value| &value[..])),
        (ids.mid, extensions.mid.map(str::as_bytes)),
        (ids.descriptor, descriptor),
    ];
    let values = values.into_iter().filter_map(|(id, value)| Some((id?, value?)));
    let fits_one_byte = |(id, value): (u8, &[u8])| id <= ONE_BYTE_ID && (1..=ONE_BYTE_LEN).contains(&value.len());
    let one_byte = values.clone().all(fits_one_byte);
    let mut any = false;
    for (id, value) in values {
        if !any {
            any = true;
            out.extend_from_slice(if one_byte { &ONE_BYTE } else { &TWO_BYTE });
            out.extend_from_slice(&[0, 0]);
        }
        if one_byte {
            out.push(id << 4 | (value.len() - 1) as u8);
        } else {
            out.extend_from_slice(&[id, value.len() as u8]);
        }
        out.extend_from_slice(value);
    }
    if any {
        out[start] |= 0x10;
        let length = out.len() - start - 16;
        out.resize(out.len() + length.wrapping_neg() % 4, 0);
        let words = length.div_ceil(4) as u16;
        out[start + 14..start + 16].copy_from_slice(&words.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        payload_type: 96,
        marker: true,
        padded: false,
        seq: 0x1234,
        timestamp: 0x0102_0304,
        ssrc: 0xa0b0_c0d0,
    };
    const IDS: Ids =
        Ids { mid: Some(4), level: Some(1), orientation: Some(13), transport: Some(3), descriptor: Some(12) };

    fn written(header: Header, ids: Ids, extensions: Extensions<'_>) -> Vec<u8> {
        let mut out = vec![7];
        write(header, ids, extensions, &mut out);
        assert_eq!(out.remove(0), 7, "what was there stays");
        out
    }

    #[test]
    fn a_header_without_extensions_has_twelve_bytes() {
        let expected = [0x80, 0xe0, 0x12, 0x34, 1, 2, 3, 4, 0xa0, 0xb0, 0xc0, 0xd0];
        assert_eq!(written(HEADER, Ids::default(), Extensions { transport: Some(7), ..Default::default() }), expected);
        let padded = written(Header { padded: true, marker: false, ..HEADER }, IDS, Extensions::default());
        assert_eq!(padded[..2], [0xa0, 0x60]);
    }

    #[test]
    fn extensions_are_padded_to_words() {
        let extensions = Extensions {
            mid: Some("a1"),
            level: Some((-30, true)),
            orientation: Some(VideoOrientation::Deg90),
            transport: Some(0x0506),
            descriptor: None,
        };
        let out = written(HEADER, IDS, extensions);
        assert_eq!(out[0], 0x90);
        let expected = [0xbe, 0xde, 0, 3, 0x31, 5, 6, 0x10, 0x80 | 30, 0xd0, 3, 0x41, b'a', b'1', 0, 0];
        assert_eq!(out[12..], expected);
    }

    #[test]
    fn a_long_value_or_a_high_id_takes_the_two_byte_form() {
        let long = Descriptor::new(&[9; 20]).unwrap();
        let out = written(HEADER, IDS, Extensions { descriptor: Some(&long), ..Default::default() });
        assert_eq!(out[12..18], [0x10, 0, 0, 6, 12, 20]);
        assert_eq!(out.len(), 16 + 24);
        let ids = Ids { transport: Some(15), ..IDS };
        let out = written(HEADER, ids, Extensions { transport: Some(1), ..Default::default() });
        assert_eq!(out[12..], [0x10, 0, 0, 1, 15, 2, 0, 1]);
    }
}
