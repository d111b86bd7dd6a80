//! What a forwarder must see of a payload without decoding it: where key frames start, and the picture numbers that must not jump.

use str0m::format::Codec;
use str0m::rtp::Vp8Descriptor;

use super::layer::{Layer, Layers, Place};
use super::picture_size;

/// The numbers a payload descriptor carries; both wrap at their own width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PictureIds {
    /// 15 bits, or 7 where the sender uses the short form.
    pub picture: Option<u16>,
    /// Index of the last frame of temporal layer 0.
    pub tl0: Option<u8>,
}

/// The parsed start of one RTP payload.
#[derive(Debug, Clone, Copy)]
pub struct Glimpse {
    /// The packet is the first of a frame that can be decoded without any other.
    pub key_frame_start: bool,
    pub place: Place,
    /// Of the pictures from this key frame on, in pixels.
    pub height: Option<u16>,
    descriptor: Descriptor,
}

/// Where a payload's descriptor has its numbers.
#[derive(Debug, Clone, Copy, Default)]
struct Descriptor {
    picture: Option<PictureField>,
    /// With its offset.
    tl0: Option<(usize, u8)>,
}

#[derive(Debug, Clone, Copy)]
struct PictureField {
    offset: usize,
    id: u16,
    /// It has 15 bits, not 7.
    long: bool,
}

/// Numbers to be written over those of a payload, which keeps its length. Descriptors are short: the offsets fit a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Patch {
    picture: Option<(u8, u16, bool)>,
    tl0: Option<(u8, u8)>,
}

impl Patch {
    /// `payload` is the one that the patch was made of, or a copy.
    pub fn apply(&self, payload: &mut [u8]) {
        match self.picture {
            Some((offset, id, true)) => {
                let field = &mut payload[usize::from(offset)..][..2];
                field.copy_from_slice(&(0x8000 | id).to_be_bytes());
            }
            Some((offset, id, false)) => payload[usize::from(offset)] = id as u8 & 0x7f,
            None => {}
        }
        if let Some((offset, tl0)) = self.tl0 {
            payload[usize::from(offset)] = tl0;
        }
    }
}

impl Glimpse {
    /// `None` when the payload is malformed for its codec.
    pub fn of(codec: Codec, payload: &[u8]) -> Option<Self> {
        let plain = |key_frame_start| Glimpse {
            key_frame_start,
            place: Place::SINGLE,
            height: None,
            descriptor: Descriptor::default(),
        };
        let sized = |key_frame_start: bool, height: fn(&[u8]) -> Option<u16>| Glimpse {
            height: key_frame_start.then(|| height(payload)).flatten(),
            ..plain(key_frame_start)
        };
        Some(match codec {
            // Padding: it has a place in the sequence and nothing else.
            _ if payload.is_empty() => plain(false),
            Codec::Vp8 => vp8(payload)?,
            Codec::Vp9 => vp9(payload)?,
            Codec::H264 => sized(h264_starts_key_frame(payload)?, picture_size::h264),
            // RTP payload format for AV1, 4.4: the N bit marks the first packet of a new coded video sequence.
            Codec::Av1 => sized(payload[0] & 0x08 != 0, picture_size::av1),
            _ => plain(false),
        })
    }

    pub fn ids(&self) -> PictureIds {
        PictureIds {
            picture: self.descriptor.picture.map(|field| field.id),
            tl0: self.descriptor.tl0.map(|(_, value)| value),
        }
    }

    /// What writes `ids` over the payload's own numbers; those it does not carry are left out.
    pub fn renumber(&self, ids: PictureIds) -> Patch {
        let Descriptor { picture, tl0 } = self.descriptor;
        let picture = picture.zip(ids.picture).filter(|(field, id)| field.id != *id);
        let tl0 = tl0.zip(ids.tl0).filter(|((_, value), tl0)| value != tl0);
        Patch {
            picture: picture.map(|(field, id)| (field.offset as u8, id, field.long)),
            tl0: tl0.map(|((offset, _), tl0)| (offset as u8, tl0)),
        }
    }

    /// `id` wrapped to the width this payload writes it in.
    pub fn wrap_picture(&self, id: u16) -> u16 {
        id & if self.descriptor.picture.is_some_and(|field| !field.long) { 0x7f } else { 0x7fff }
    }
}

/// RFC 7741, 4.2.
fn vp8(payload: &[u8]) -> Option<Glimpse> {
    let descriptor = Vp8Descriptor::parse(payload).ok()?;
    let key_frame_start = descriptor.starts_keyframe(payload);
    let (mut at, mut place, mut numbers) = (1, Place::SINGLE, Descriptor::default());
    if payload[0] & 0x80 != 0 {
        let present = payload[1];
        at = 2;
        if present & 0x80 != 0 {
            let field = picture_field(payload, at)?;
            numbers.picture = Some(field);
            at += if field.long { 2 } else { 1 };
        }
        if present & 0x40 != 0 {
            numbers.tl0 = Some((at, *payload.get(at)?));
            at += 1;
        }
        if present & 0x30 != 0 {
            let byte = *payload.get(at)?;
            if present & 0x20 != 0 {
                place = Place::stacked(Layer::new(0, byte >> 6), byte & 0x20 != 0);
            }
            at += 1;
        }
    }
    let height = key_frame_start.then(|| picture_size::vp8(payload.get(at..)?)).flatten();
    Some(Glimpse { key_frame_start, place, height, descriptor: numbers })
}

/// Seven bits, or fifteen after a bit that says so: in both of VP8 and VP9.
fn picture_field(payload: &[u8], offset: usize) -> Option<PictureField> {
    let high = *payload.get(offset)?;
    let long = high & 0x80 != 0;
    let id = if long { u16::from(high & 0x7f) << 8 | u16::from(*payload.get(offset + 1)?) } else { u16::from(high) };
    Some(PictureField { offset, id, long })
}

/// RFC 9628, 4.2.
fn vp9(payload: &[u8]) -> Option<Glimpse> {
    let first = *payload.first()?;
    let bit = |mask: u8| first & mask != 0;
    let (has_picture, inter, has_layers, flexible, starts_frame) =
        (bit(0x80), bit(0x40), bit(0x20), bit(0x10), bit(0x08));
    let mut at = 1;
    let mut picture = None;
    if has_picture {
        let field = picture_field(payload, at)?;
        picture = Some(field);
        at += if field.long { 2 } else { 1 };
    }
    let (mut layer, mut sync, mut tl0) = (Layer::BASE, false, None);
    if has_layers {
        let byte = *payload.get(at)?;
        layer = Layer::new(byte >> 1 & 0x07, byte >> 5);
        sync = byte & 0x10 != 0;
        at += 1;
        if !flexible {
            tl0 = Some((at, *payload.get(at)?));
            at += 1;
        }
    }
    if flexible && inter {
        at += vp9_references(payload.get(at..)?)?;
    }
    let top_height = if bit(0x02) { vp9_structure(payload, &mut at)? } else { None };
    let key_frame_start = !inter && starts_frame && layer.spatial == 0;
    let height = top_height.or_else(|| picture_size::vp9(payload.get(at..)?)).filter(|_| key_frame_start);
    let place = if has_layers { Place { ends: bit(0x04), ..vp9_place(layer, sync) } } else { Place::SINGLE };
    let descriptor = Descriptor { picture, tl0 };
    Some(Glimpse { key_frame_start, place, height, descriptor })
}

/// A switching up point lets in those who want any higher frame rate.
fn vp9_place(layer: Layer, up: bool) -> Place {
    let entry = if up { Layers::from(Layer { spatial: 0, ..layer }) } else { Layers::NONE };
    Place { entry, ..Place::stacked(layer, false) }
}

/// The length of the reference indices of flexible mode: at most three.
fn vp9_references(bytes: &[u8]) -> Option<usize> {
    let more = bytes.iter().take(3).take_while(|byte| **byte & 1 == 1).count();
    (more < 3 && more < bytes.len()).then_some(more + 1)
}

/// The scalability structure: the height of its highest layer when it says one. `at` moves past it.
fn vp9_structure(payload: &[u8], at: &mut usize) -> Option<Option<u16>> {
    let header = *payload.get(*at)?;
    *at += 1;
    let mut height = None;
    if header & 0x10 != 0 {
        for _ in 0..=header >> 5 {
            let size = payload.get(*at..*at + 4)?;
            height = Some(u16::from_be_bytes([size[2], size[3]]));
            *at += 4;
        }
    }
    if header & 0x08 != 0 {
        let pictures = *payload.get(*at)?;
        *at += 1;
        for _ in 0..pictures {
            *at += 1 + usize::from(*payload.get(*at)? >> 2 & 0x03);
        }
    }
    (*at <= payload.len()).then_some(height)
}

/// RFC 6184: a parameter set or the first slice of an IDR picture, alone, aggregated (STAP-A) or as the first fragment (FU-A).
fn h264_starts_key_frame(payload: &[u8]) -> Option<bool> {
    const IDR: u8 = 5;
    const SPS: u8 = 7;
    const STAP_A: u8 = 24;
    const FU_A: u8 = 28;
    let starts = |nal: u8| nal & 0x1f == SPS || nal & 0x1f == IDR;
    match payload.first()? & 0x1f {
        STAP_A => {
            let mut rest = &payload[1..];
            while let [high, low, tail @ ..] = rest {
                let size = usize::from(u16::from_be_bytes([*high, *low]));
                if starts(*tail.first()?) {
                    return Some(true);
                }
                rest = tail.get(size..)?;
            }
            Some(false)
        }
        FU_A => {
            let header = *payload.get(1)?;
            Some(header & 0x80 != 0 && starts(header))
        }
        _ => Some(starts(payload[0])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_frames_are_seen_in_every_codec() {
        let table: &[(Codec, &[u8], bool)] = &[
            (Codec::Vp8, &[0x10, 0x00, 1, 2], true),
            (Codec::Vp8, &[0x10, 0x01, 1, 2], false),
            (Codec::Vp8, &[0x00, 0x00, 1, 2], false),
            (Codec::Vp9, &[0x88, 0x81, 0x02, 0], true),
            (Codec::Vp9, &[0xc8, 0x81, 0x02, 0], false),
            (Codec::Vp9, &[0xa8, 0x05, 0x02, 0x00, 0], false),
            (Codec::H264, &[0x67, 1, 2], true),
            (Codec::H264, &[0x65, 1, 2], true),
            (Codec::H264, &[0x61, 1, 2], false),
            (Codec::H264, &[0x78, 0, 2, 0x67, 1, 0, 1, 0x68], true),
            (Codec::H264, &[0x78, 0, 2, 0x61, 1, 0, 1, 0x65], true),
            (Codec::H264, &[0x7c, 0x85, 1], true),
            (Codec::H264, &[0x7c, 0x05, 1], false),
            (Codec::Av1, &[0x08, 1], true),
            (Codec::Av1, &[0x10, 1], false),
            (Codec::Opus, &[0x08, 1], false),
        ];
        for (codec, payload, expected) in table {
            assert_eq!(Glimpse::of(*codec, payload).unwrap().key_frame_start, *expected, "{codec:?} {payload:?}");
        }
    }

    #[test]
    fn a_cut_payload_is_malformed_and_an_empty_one_is_padding() {
        let table: &[(Codec, &[u8])] = &[
            (Codec::Vp8, &[0x90, 0x80]),
            (Codec::Vp9, &[0x80]),
            (Codec::H264, &[0x78, 0, 9, 1]),
            (Codec::H264, &[0x7c]),
        ];
        for (codec, payload) in table {
            assert!(Glimpse::of(*codec, payload).is_none(), "{codec:?} {payload:?}");
            assert!(!Glimpse::of(*codec, &[]).unwrap().key_frame_start);
        }
    }

    #[test]
    fn picture_numbers_are_replaced_in_place() {
        type Case<'a> = (Codec, &'a [u8], PictureIds, &'a [u8]);
        let ids = |picture, tl0| PictureIds { picture: Some(picture), tl0 };
        let table: &[Case<'_>] = &[
            (
                Codec::Vp8,
                &[0x90, 0xe0, 0x81, 0x02, 9, 0x20, 0x01, 7],
                ids(0x345, Some(3)),
                &[0x90, 0xe0, 0x83, 0x45, 3, 0x20, 0x01, 7],
            ),
            // A short id that outgrew its seven bits.
            (Codec::Vp8, &[0x90, 0x80, 0x05, 0x01, 7], ids(0x182, Some(3)), &[0x90, 0x80, 0x02, 0x01, 7]),
            (Codec::Vp9, &[0xa8, 0x81, 0x02, 0x00, 9, 7], ids(0x345, Some(3)), &[0xa8, 0x83, 0x45, 0x00, 3, 7]),
            (Codec::H264, &[0x41, 1, 2], ids(0x345, Some(3)), &[0x41, 1, 2]),
        ];
        for (codec, payload, ids, expected) in table {
            let glimpse = Glimpse::of(*codec, payload).unwrap();
            let mut out = payload.to_vec();
            glimpse.renumber(glimpse.ids()).apply(&mut out);
            assert_eq!(&out, payload, "{codec:?}: its own numbers change nothing");
            glimpse.renumber(*ids).apply(&mut out);
            assert_eq!(&out, expected, "{codec:?}");
        }
        let glimpse = Glimpse::of(Codec::Vp8, &[0x90, 0xe0, 0x81, 0x02, 9, 0x20, 0x01, 7]).unwrap();
        assert_eq!(glimpse.ids(), ids(0x102, Some(9)));
        assert_eq!(glimpse.renumber(glimpse.ids()), Patch::default());
    }

    #[test]
    fn layers_and_heights_are_seen_where_descriptors_say_them() {
        let mut vp8 =
            vec![0x90u8, 0xe0, 0x81, 0x02, 9, 0x60, 0x30, 0x51, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xb4, 0x00];
        let glimpse = Glimpse::of(Codec::Vp8, &vp8).unwrap();
        assert_eq!((glimpse.place, glimpse.height), (Place::stacked(Layer::new(0, 1), true), Some(180)));
        vp8[6] |= 1;
        assert_eq!(Glimpse::of(Codec::Vp8, &vp8).unwrap().height, None, "no key frame");
        assert_eq!(Glimpse::of(Codec::Vp8, &[0x10, 0x00, 1, 2]).unwrap().place, Place::SINGLE);

        // Not flexible, spatial layer 1 of temporal layer 2, a switching up point, the end of its frame.
        let vp9 = Glimpse::of(Codec::Vp9, &[0xec, 0x81, 0x02, 0b0101_0011, 7, 0]).unwrap();
        assert_eq!(vp9.place.layer, Layer::new(1, 2));
        assert!(vp9.place.ends && vp9.place.entry.contains(Layer::new(1, 3)) && !vp9.key_frame_start);
        // A key frame with a structure of two sizes, 320x180 and 640x360, and one picture of a group.
        let key = [0x8a, 0x81, 0x02, 0b0011_1000, 1, 64, 0, 180, 2, 128, 1, 104, 1, 0, 0x82];
        assert_eq!(Glimpse::of(Codec::Vp9, &key).unwrap().height, Some(360));
    }
}
