//! What a forwarder must see of a payload without decoding it: where key frames start, and the picture numbers that must not jump.

use std::sync::Arc;

use str0m::format::Codec;
use str0m::rtp::{Vp8Descriptor, Vp8Patch};

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

#[derive(Debug, Clone, Copy)]
enum Descriptor {
    /// Nothing in it depends on who sent the frames before.
    Plain,
    Vp8(Vp8Descriptor),
    Vp9(Vp9Descriptor),
}

#[derive(Debug, Clone, Copy)]
struct Vp9Descriptor {
    picture: Option<Vp9Picture>,
    tl0: Option<(usize, u8)>,
}

#[derive(Debug, Clone, Copy)]
struct Vp9Picture {
    offset: usize,
    id: u16,
    long: bool,
}

/// How a payload leaves: as it came, or with its picture numbers replaced.
#[derive(Debug, Clone)]
pub enum Renumbered {
    AsIs,
    Vp8(Vp8Patch),
    Copied(Arc<[u8]>),
}

impl Glimpse {
    /// `None` when the payload is malformed for its codec.
    pub fn of(codec: Codec, payload: &[u8]) -> Option<Self> {
        let plain = |key_frame_start| Glimpse {
            key_frame_start,
            place: Place::SINGLE,
            height: None,
            descriptor: Descriptor::Plain,
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
        match &self.descriptor {
            Descriptor::Plain => PictureIds::default(),
            Descriptor::Vp8(d) => PictureIds { picture: d.picture_id(), tl0: d.tl0_pic_idx() },
            Descriptor::Vp9(d) => PictureIds { picture: d.picture.map(|p| p.id), tl0: d.tl0.map(|(_, value)| value) },
        }
    }

    /// The payload with `ids` in place of its own; numbers it does not carry are left out.
    pub fn renumber(&self, payload: &Arc<[u8]>, ids: PictureIds) -> Renumbered {
        if ids == self.ids() {
            return Renumbered::AsIs;
        }
        match &self.descriptor {
            Descriptor::Plain => Renumbered::AsIs,
            Descriptor::Vp8(descriptor) => renumber_vp8(descriptor, ids),
            Descriptor::Vp9(descriptor) => renumber_vp9(descriptor, payload, ids),
        }
    }

    /// The short form has 7 bits only.
    fn picture_mask(&self) -> u16 {
        match &self.descriptor {
            Descriptor::Vp9(Vp9Descriptor { picture: Some(Vp9Picture { long: false, .. }), .. }) => 0x7f,
            // A short VP8 id cannot be told from the parsed descriptor, but a patch that does not fit is refused by its builder.
            _ => 0x7fff,
        }
    }

    /// `id` wrapped to the width this payload writes it in.
    pub fn wrap_picture(&self, id: u16) -> u16 {
        id & self.picture_mask()
    }
}

fn renumber_vp8(descriptor: &Vp8Descriptor, ids: PictureIds) -> Renumbered {
    let build = |mask: u16| {
        let mut patch = descriptor.patch();
        if let Some(picture) = ids.picture {
            patch = patch.picture_id(picture & mask);
        }
        if let Some(tl0) = ids.tl0 {
            patch = patch.tl0_pic_idx(tl0);
        }
        patch.build()
    };
    match build(0x7fff).or_else(|_| build(0x7f)) {
        Ok(patch) => Renumbered::Vp8(patch),
        Err(_) => Renumbered::AsIs,
    }
}

fn renumber_vp9(descriptor: &Vp9Descriptor, payload: &Arc<[u8]>, ids: PictureIds) -> Renumbered {
    let mut copy: Arc<[u8]> = Arc::from(&payload[..]);
    let bytes = Arc::get_mut(&mut copy).expect("a fresh copy has one owner");
    if let (Some(place), Some(id)) = (descriptor.picture, ids.picture) {
        if place.long {
            bytes[place.offset] = 0x80 | (id >> 8) as u8 & 0x7f;
            bytes[place.offset + 1] = id as u8;
        } else {
            bytes[place.offset] = id as u8 & 0x7f;
        }
    }
    if let (Some((offset, _)), Some(tl0)) = (descriptor.tl0, ids.tl0) {
        bytes[offset] = tl0;
    }
    Renumbered::Copied(copy)
}

/// RFC 7741, 4.2.
fn vp8(payload: &[u8]) -> Option<Glimpse> {
    let descriptor = Vp8Descriptor::parse(payload).ok()?;
    let key_frame_start = descriptor.starts_keyframe(payload);
    let (mut at, mut place) = (1, Place::SINGLE);
    if payload[0] & 0x80 != 0 {
        let present = payload[1];
        at = 2;
        if present & 0x80 != 0 {
            at += if payload[at] & 0x80 != 0 { 2 } else { 1 };
        }
        at += usize::from(present & 0x40 != 0);
        if present & 0x30 != 0 {
            let layer = Layer::new(0, payload[at] >> 6);
            let sync = payload[at] & 0x20 != 0;
            if present & 0x20 != 0 {
                place = Place::stacked(layer, sync);
            }
            at += 1;
        }
    }
    let height = key_frame_start.then(|| picture_size::vp8(&payload[at..])).flatten();
    Some(Glimpse { key_frame_start, place, height, descriptor: Descriptor::Vp8(descriptor) })
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
        let high = *payload.get(at)?;
        let long = high & 0x80 != 0;
        let id = if long { u16::from(high & 0x7f) << 8 | u16::from(*payload.get(at + 1)?) } else { u16::from(high) };
        picture = Some(Vp9Picture { offset: at, id, long });
        at += if long { 2 } else { 1 };
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
    let descriptor = Descriptor::Vp9(Vp9Descriptor { picture, tl0 });
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
        let vp8: Arc<[u8]> = Arc::from(&[0x90u8, 0xe0, 0x81, 0x02, 9, 0x20, 0x01, 7][..]);
        let glimpse = Glimpse::of(Codec::Vp8, &vp8).unwrap();
        assert_eq!(glimpse.ids(), PictureIds { picture: Some(0x102), tl0: Some(9) });
        assert!(matches!(
            glimpse.renumber(&vp8, PictureIds { picture: Some(0x345), tl0: Some(3) }),
            Renumbered::Vp8(_)
        ));
        assert!(matches!(glimpse.renumber(&vp8, glimpse.ids()), Renumbered::AsIs));

        let vp9: Arc<[u8]> = Arc::from(&[0xa8u8, 0x81, 0x02, 0x00, 9, 7][..]);
        let glimpse = Glimpse::of(Codec::Vp9, &vp9).unwrap();
        assert_eq!(glimpse.ids(), PictureIds { picture: Some(0x102), tl0: Some(9) });
        let Renumbered::Copied(out) = glimpse.renumber(&vp9, PictureIds { picture: Some(0x345), tl0: Some(3) }) else {
            panic!()
        };
        assert_eq!(out[..], [0xa8, 0x83, 0x45, 0x00, 3, 7]);
        assert!(matches!(glimpse.renumber(&vp9, glimpse.ids()), Renumbered::AsIs));
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

    #[test]
    fn a_short_vp8_picture_id_that_outgrew_its_seven_bits_still_makes_a_patch() {
        let vp8: Arc<[u8]> = Arc::from(&[0x90u8, 0x80, 0x05, 0x01, 7][..]);
        let glimpse = Glimpse::of(Codec::Vp8, &vp8).unwrap();
        assert!(matches!(glimpse.renumber(&vp8, PictureIds { picture: Some(0x182), tl0: None }), Renumbered::Vp8(_)));
    }
}
