//! The dependency descriptor of AV1 and VP9 (AV1 RTP payload format, appendix A): which frame is of which layer and whom it is needed for.
//!
//! A key frame brings the structure of what follows; every packet names its frame's place in it. The descriptor is forwarded with
//! another frame number where the stream goes on from another, and is otherwise left as it is.

use std::sync::Arc;

use str0m::rtp::{ExtensionSerializer, ExtensionValues};

use super::bits::Bits;
use super::layer::{Layer, Layers, Place, SPATIAL, TEMPORAL};

pub const URI: &str = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

/// Bytes of the fields that every descriptor has.
const MANDATORY: usize = 3;
/// Longer is not sent in any form of header extension (RFC 8285, 4.3).
const MAX_LEN: usize = 255;
const MAX_TEMPLATES: usize = 64;
const MAX_TARGETS: usize = 32;
/// What a header extension of one-byte form holds (RFC 8285, 4.2).
const ONE_BYTE_FORM: usize = 16;

/// A descriptor as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor(Arc<[u8]>);

/// Hands descriptors through.
#[derive(Debug)]
pub struct DescriptorSerializer;

impl ExtensionSerializer for DescriptorSerializer {
    fn write_to(&self, buf: &mut [u8], values: &ExtensionValues) -> usize {
        let Some(Descriptor(bytes)) = values.user_values.get::<Descriptor>() else { return 0 };
        let Some(place) = buf.get_mut(..bytes.len()) else { return 0 };
        place.copy_from_slice(bytes);
        bytes.len()
    }

    fn parse_value(&self, buf: &[u8], values: &mut ExtensionValues) -> bool {
        let descriptor = Descriptor::new(buf);
        let fits = descriptor.is_some();
        if let Some(descriptor) = descriptor {
            values.user_values.set(descriptor);
        }
        fits
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        false
    }

    fn requires_two_byte_form(&self, values: &ExtensionValues) -> bool {
        values.user_values.get::<Descriptor>().is_some_and(|Descriptor(bytes)| bytes.len() > ONE_BYTE_FORM)
    }
}

impl Descriptor {
    /// `None`: no descriptor is so short, or so long.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (MANDATORY..=MAX_LEN).contains(&bytes.len()).then(|| Self(bytes.into()))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn frame_number(&self) -> u16 {
        u16::from_be_bytes([self.0[1], self.0[2]])
    }

    /// The same of another frame number.
    #[must_use]
    pub fn renumbered(&self, frame_number: u16) -> Self {
        if frame_number == self.frame_number() {
            return self.clone();
        }
        let mut bytes: Arc<[u8]> = Arc::from(&self.0[..]);
        Arc::get_mut(&mut bytes).expect("a fresh copy has one owner")[1..3]
            .copy_from_slice(&frame_number.to_be_bytes());
        Self(bytes)
    }
}

/// Frame numbers that go on across a change of streams: a receiver takes a lower one for the past.
#[derive(Debug, Clone, Copy, Default)]
pub struct FrameNumbers {
    shift: u16,
    newest: Option<u16>,
}

impl FrameNumbers {
    /// Another stream begins with this frame.
    pub fn splice(&mut self, first: Option<&Descriptor>) {
        if let (Some(newest), Some(first)) = (self.newest, first) {
            self.shift = newest.wrapping_add(1).wrapping_sub(first.frame_number());
        }
    }

    pub fn renumber(&mut self, descriptor: &Descriptor) -> Descriptor {
        let number = descriptor.frame_number().wrapping_add(self.shift);
        if self.newest.is_none_or(|newest| number.wrapping_sub(newest) < 0x8000) {
            self.newest = Some(number);
        }
        descriptor.renumbered(number)
    }
}

/// What a key frame says of the frames after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Structure {
    template_offset: u8,
    targets: usize,
    templates: Vec<Template>,
    /// The decode target that stands for all up to each layer.
    target_of: [u8; SPATIAL * TEMPORAL],
    nested: bool,
    /// Of the largest pictures, when it is said.
    pub height: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Template {
    layer: Layer,
    uses: Uses,
}

/// What a frame is to each decode target.
type Uses = [Use; MAX_TARGETS];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Use {
    #[default]
    NotPresent,
    Discardable,
    Switch,
    Required,
}

impl Use {
    fn read(bits: &mut Bits<'_>) -> Option<Self> {
        Some([Use::NotPresent, Use::Discardable, Use::Switch, Use::Required][bits.take(2)? as usize])
    }
}

/// What a descriptor says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    pub place: Place,
    /// The frame begins a new structure.
    pub structure: Option<Arc<Structure>>,
}

/// Reads a descriptor by the structure of the last key frame. `None`: it is malformed, or no structure came yet.
pub fn read(descriptor: &Descriptor, known: Option<&Arc<Structure>>) -> Option<Reading> {
    let bytes = &descriptor.0[..];
    let mut bits = Bits::new(bytes);
    bits.skip(1)?;
    let ends = bits.flag()?;
    let template_id = bits.take(6)? as u8;
    bits.skip(16)?;
    let (mut fresh, mut custom_uses) = (None, false);
    if bytes.len() > MANDATORY {
        let (has_structure, has_active) = (bits.flag()?, bits.flag()?);
        custom_uses = bits.flag()?;
        bits.skip(2)?;
        if has_structure {
            fresh = Some(Arc::new(Structure::read(&mut bits)?));
        }
        if has_active {
            bits.skip(fresh.as_ref().or(known)?.targets as u32)?;
        }
    }
    let structure = fresh.as_ref().or(known)?;
    let index = (template_id + 64 - structure.template_offset) % 64;
    let template = structure.templates.get(usize::from(index))?;
    let mut uses = template.uses;
    if custom_uses {
        for place in &mut uses[..structure.targets] {
            *place = Use::read(&mut bits)?;
        }
    }
    let place = structure.place(template.layer, &uses, ends);
    Some(Reading { place, structure: fresh })
}

impl Structure {
    fn read(bits: &mut Bits<'_>) -> Option<Self> {
        let template_offset = bits.take(6)? as u8;
        let targets = bits.take(5)? as usize + 1;
        let layers = read_layers(bits)?;
        let mut templates = Vec::with_capacity(layers.len());
        for layer in layers {
            let mut uses = Uses::default();
            for place in &mut uses[..targets] {
                *place = Use::read(bits)?;
            }
            templates.push(Template { layer, uses });
        }
        for _ in &templates {
            while bits.flag()? {
                bits.skip(4)?;
            }
        }
        let chains = bits.one_of(targets as u32 + 1)?;
        if chains > 0 {
            for _ in 0..targets {
                bits.one_of(chains)?;
            }
            bits.skip(4 * chains * templates.len() as u32)?;
        }
        let mut height = None;
        if bits.flag()? {
            for _ in 0..=templates.iter().map(|template| template.layer.spatial).max()? {
                bits.skip(16)?;
                height = Some(u16::try_from(bits.take(16)? + 1).ok()?);
            }
        }
        let target_layers = target_layers(&templates, targets);
        let target_of = targets_by_layer(&target_layers);
        let nested = is_nested(&templates, target_of[Layer::TOP.index()]);
        Some(Self { template_offset, targets, templates, target_of, nested, height })
    }

    fn place(&self, layer: Layer, uses: &Uses, ends: bool) -> Place {
        let (mut needed, mut entry) = (Layers::NONE, Layers::NONE);
        for spatial in 0..SPATIAL as u8 {
            for temporal in 0..TEMPORAL as u8 {
                let target = Layer { spatial, temporal };
                match uses[usize::from(self.target_of[target.index()])] {
                    Use::NotPresent => {}
                    Use::Switch => (needed, entry) = (needed.with(target), entry.with(target)),
                    Use::Discardable | Use::Required => needed = needed.with(target),
                }
            }
        }
        Place { layer, needed, entry, nested: self.nested, ends }
    }
}

fn read_layers(bits: &mut Bits<'_>) -> Option<Vec<Layer>> {
    let mut layers = Vec::new();
    let (mut spatial, mut temporal) = (0u8, 0u8);
    loop {
        if layers.len() == MAX_TEMPLATES {
            return None;
        }
        layers.push(Layer::new(spatial, temporal));
        match bits.take(2)? {
            0 => {}
            1 => temporal += 1,
            2 => (spatial, temporal) = (spatial + 1, 0),
            _ => return Some(layers),
        }
    }
}

/// The highest layers among a target's frames.
fn target_layers(templates: &[Template], targets: usize) -> Vec<Layer> {
    let layer_of = |target: usize| {
        let used = templates.iter().filter(|template| template.uses[target] != Use::NotPresent);
        used.fold(Layer::BASE, |highest, Template { layer, .. }| Layer {
            spatial: highest.spatial.max(layer.spatial),
            temporal: highest.temporal.max(layer.temporal),
        })
    };
    (0..targets).map(layer_of).collect()
}

/// For each layer the target that is the best up to it, or the least there is.
fn targets_by_layer(target_layers: &[Layer]) -> [u8; SPATIAL * TEMPORAL] {
    let mut targets = [0; SPATIAL * TEMPORAL];
    let least = (0..target_layers.len()).min_by_key(|target| target_layers[*target]).unwrap_or(0);
    for spatial in 0..SPATIAL as u8 {
        for temporal in 0..TEMPORAL as u8 {
            let fits = |target: &usize| {
                let layer = target_layers[*target];
                layer.spatial <= spatial && layer.temporal <= temporal
            };
            let best = (0..target_layers.len()).filter(fits).max_by_key(|target| target_layers[*target]);
            targets[Layer { spatial, temporal }.index()] = best.unwrap_or(least) as u8;
        }
    }
    targets
}

/// Whether who gets everything gets all lower pictures too, so that it can go down at once.
fn is_nested(templates: &[Template], top: u8) -> bool {
    templates.iter().all(|template| template.uses[usize::from(top)] != Use::NotPresent)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes bits, most significant first.
    #[derive(Default)]
    struct Writer {
        bytes: Vec<u8>,
        at: usize,
    }

    impl Writer {
        fn put(&mut self, value: u32, count: u32) -> &mut Self {
            for bit in (0..count).rev() {
                if self.at.is_multiple_of(8) {
                    self.bytes.push(0);
                }
                *self.bytes.last_mut().unwrap() |= ((value >> bit & 1) as u8) << (7 - self.at % 8);
                self.at += 1;
            }
            self
        }
    }

    /// `uses` as the specification writes them: a letter for each decode target.
    fn put_uses(writer: &mut Writer, uses: &str) {
        for letter in uses.chars() {
            writer.put("-DSR".find(letter).unwrap() as u32, 2);
        }
    }

    /// A key frame's descriptor with a structure of these templates: spatial and temporal layer, and the uses.
    fn key(template_offset: u32, templates: &[((u8, u8), &str)], heights: &[u32]) -> Descriptor {
        let targets = templates[0].1.len() as u32;
        let mut w = Writer::default();
        w.put(0b11, 2).put(template_offset, 6).put(77, 16).put(0b10000, 5);
        w.put(template_offset, 6).put(targets - 1, 5);
        for (index, ((spatial, temporal), _)) in templates.iter().enumerate() {
            let next = match templates.get(index + 1) {
                None => 3,
                Some(((s, _), _)) if s > spatial => 2,
                Some(((_, t), _)) if t > temporal => 1,
                Some(_) => 0,
            };
            w.put(next, 2);
        }
        templates.iter().for_each(|(_, uses)| put_uses(&mut w, uses));
        // One reference each, one frame back.
        for _ in templates {
            w.put(0b10_0000, 6);
        }
        // No chains: ns(targets + 1) of nought.
        w.put(0, 32 - (targets + 1).leading_zeros() - 1);
        w.put(u32::from(!heights.is_empty()), 1);
        for height in heights {
            w.put(height * 16 / 9 - 1, 16).put(height - 1, 16);
        }
        Descriptor(w.bytes.into())
    }

    fn frame(template: u8, number: u16, ends: bool) -> Descriptor {
        let [high, low] = number.to_be_bytes();
        Descriptor(Arc::from([0x80 | u8::from(ends) << 6 | template, high, low]))
    }

    const L1T3: &[((u8, u8), &str)] = &[((0, 0), "SSS"), ((0, 1), "-DS"), ((0, 2), "--D")];
    /// Targets S0T0, S0T1, S1T0, S1T1; the lower pictures of later frames are not for the higher targets.
    const L2T2_KEY: &[((u8, u8), &str)] =
        &[((0, 0), "SSSS"), ((0, 0), "SS--"), ((0, 1), "-D--"), ((1, 0), "--SS"), ((1, 1), "---D")];

    fn layer(spatial: u8, temporal: u8) -> Layer {
        Layer::new(spatial, temporal)
    }

    #[test]
    fn frames_are_placed_by_the_last_structure() {
        let descriptor = key(60, L1T3, &[360]);
        assert_eq!(read(&frame(60, 1, true), None), None, "no structure yet");
        let first = read(&descriptor, None).unwrap();
        let structure = first.structure.unwrap();
        assert_eq!((structure.height, descriptor.frame_number()), (Some(360), 77));
        assert!(first.place.ends && first.place.nested && first.place.needed == Layers::ALL);
        let second = read(&frame(62, 2, false), Some(&structure)).unwrap().place;
        assert_eq!((second.layer, second.ends), (layer(0, 2), false));
        assert!(second.needed.contains(Layer::TOP) && second.needed.contains(layer(0, 2)));
        assert!(!second.needed.contains(layer(2, 1)) && second.entry == Layers::NONE);
        let third = read(&frame(61, 2, true), Some(&structure)).unwrap().place;
        assert!(third.entry.contains(Layer::TOP) && !third.entry.contains(layer(0, 1)));
        assert_eq!(read(&frame(63, 2, true), Some(&structure)), None, "there is no such template");
    }

    #[test]
    fn pictures_that_do_not_build_on_the_lower_ones_are_known() {
        let structure = read(&key(0, L2T2_KEY, &[180, 360]), None).unwrap().structure.unwrap();
        assert_eq!(structure.height, Some(360), "that of the largest");
        let lower = read(&frame(1, 5, true), Some(&structure)).unwrap().place;
        assert!(!lower.nested && lower.needed.contains(layer(0, 3)) && !lower.needed.contains(Layer::TOP));
        let upper = read(&frame(3, 5, true), Some(&structure)).unwrap().place;
        assert!(
            !upper.needed.contains(layer(0, 3))
                && upper.needed.contains(Layer::TOP)
                && upper.needed.contains(layer(1, 0))
        );
    }

    #[test]
    fn a_frame_may_be_used_otherwise_than_its_template_says() {
        let structure = read(&key(0, L1T3, &[]), None).unwrap().structure.unwrap();
        let mut w = Writer::default();
        w.put(0b11, 2).put(2, 6).put(9, 16).put(0b00100, 5);
        put_uses(&mut w, "--S");
        let place = read(&Descriptor(w.bytes.into()), Some(&structure)).unwrap().place;
        assert!(place.entry.contains(Layer::TOP) && !place.needed.contains(layer(0, 1)));
    }

    #[test]
    fn the_frame_number_is_replaced_in_place() {
        let descriptor = key(3, L1T3, &[360]);
        let renumbered = descriptor.renumbered(0xabcd);
        assert_eq!(renumbered.frame_number(), 0xabcd);
        assert_eq!(read(&renumbered, None), read(&descriptor, None));
        assert_eq!(descriptor.renumbered(77), descriptor);
    }

    #[test]
    fn frame_numbers_go_on_across_a_change_of_streams() {
        let mut frames = FrameNumbers::default();
        frames.splice(Some(&frame(0, 65_534, true)));
        let mut out = |number| frames.renumber(&frame(0, number, true)).frame_number();
        assert_eq!([65_534, 65_535, 0, 65_533].map(&mut out), [65_534, 65_535, 0, 65_533]);
        frames.splice(Some(&frame(0, 500, true)));
        let mut out = |number| frames.renumber(&frame(0, number, true)).frame_number();
        assert_eq!([500, 501, 503].map(&mut out), [1, 2, 4], "after the newest, not the last");
    }

    #[test]
    fn descriptors_go_through_the_header_as_they_came() {
        let mut values = ExtensionValues::default();
        let serializer = DescriptorSerializer;
        assert!(!serializer.parse_value(&[1, 2], &mut values) && !serializer.requires_two_byte_form(&values));
        let descriptor = key(3, L2T2_KEY, &[180, 360]);
        assert!(serializer.parse_value(&descriptor.0, &mut values));
        assert!(serializer.requires_two_byte_form(&values), "{} bytes", descriptor.0.len());
        let mut out = [0; 300];
        let length = serializer.write_to(&mut out, &values);
        assert_eq!(out[..length], descriptor.0[..]);
        assert_eq!(serializer.write_to(&mut out[..5], &values), 0);
    }

    #[test]
    fn whatever_comes_is_no_danger() {
        let structure = read(&key(0, L2T2_KEY, &[180, 360]), None).unwrap().structure.unwrap();
        let whole = key(0, L2T2_KEY, &[180, 360]).0;
        for cut in MANDATORY..whole.len() {
            read(&Descriptor(whole[..cut].into()), Some(&structure));
        }
        let mut seed = 1u64;
        for round in 0..20_000usize {
            let mut bytes = whole.to_vec();
            for _ in 0..1 + round % 4 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (seed >> 33) as usize % bytes.len();
                bytes[at] = (seed >> 24) as u8;
            }
            if let Some(reading) = read(&Descriptor(bytes.into()), Some(&structure)) {
                let known = reading.structure.unwrap_or_else(|| structure.clone());
                for template in 0..64 {
                    read(&frame(template, 1, true), Some(&known));
                }
            }
        }
    }
}
