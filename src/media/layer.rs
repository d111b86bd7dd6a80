//! The layers of one encoding: a receiver gets the pictures of some, and of each picture the detail of some.

/// Spatial layers told apart; what is above the last is taken for it.
pub const SPATIAL: usize = 3;
/// Temporal layers told apart; what is above the last is taken for it.
pub const TEMPORAL: usize = 4;

/// One layer, or all up to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Layer {
    /// 0 is the smallest picture.
    pub spatial: u8,
    /// 0 is the lowest frame rate.
    pub temporal: u8,
}

impl Layer {
    pub const BASE: Layer = Layer { spatial: 0, temporal: 0 };
    /// Everything there is.
    pub const TOP: Layer = Layer { spatial: SPATIAL as u8 - 1, temporal: TEMPORAL as u8 - 1 };

    /// Numbers as they come from the wire.
    pub fn new(spatial: u8, temporal: u8) -> Self {
        Self { spatial: spatial.min(Self::TOP.spatial), temporal: temporal.min(Self::TOP.temporal) }
    }

    pub const fn index(self) -> usize {
        self.spatial as usize * TEMPORAL + self.temporal as usize
    }
}

/// A set of layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Layers(u16);

impl Layers {
    pub const NONE: Layers = Layers(0);
    pub const ALL: Layers = Layers((1 << (SPATIAL * TEMPORAL)) - 1);

    /// `layer` and those that build on it when every layer builds on all under it.
    pub fn from(layer: Layer) -> Self {
        let mut set = Self::NONE;
        for spatial in layer.spatial..SPATIAL as u8 {
            for temporal in layer.temporal..TEMPORAL as u8 {
                set = set.with(Layer { spatial, temporal });
            }
        }
        set
    }

    #[must_use]
    pub const fn with(self, layer: Layer) -> Self {
        Self(self.0 | 1 << layer.index())
    }

    pub const fn contains(self, layer: Layer) -> bool {
        self.0 & 1 << layer.index() != 0
    }
}

/// Where a frame stands among the layers of its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub layer: Layer,
    /// Receivers of these need the frame.
    pub needed: Layers,
    /// From this frame on, a receiver of fewer temporal layers can be one of these.
    pub entry: Layers,
    /// A receiver of a spatial layer gets all under it too, so that it can go down at any picture.
    pub nested: bool,
    /// This packet is the last of the frame; where it is not known, the RTP marker says it.
    pub ends: bool,
}

impl Place {
    /// Of a stream without layers.
    pub const SINGLE: Place =
        Place { layer: Layer::BASE, needed: Layers::ALL, entry: Layers::ALL, nested: true, ends: false };

    /// Each layer builds on all under it; `sync`: the frame builds on the base layer only.
    pub fn stacked(layer: Layer, sync: bool) -> Self {
        let entry = if sync { Layers::from(Layer { spatial: 0, ..layer }).up_to(layer.temporal) } else { Layers::NONE };
        Self { layer, needed: Layers::from(layer), entry, nested: true, ends: false }
    }
}

impl Layers {
    /// Without those above this temporal layer.
    fn up_to(self, temporal: u8) -> Self {
        let mut set = Self::NONE;
        for spatial in 0..SPATIAL as u8 {
            for temporal in 0..=temporal {
                let layer = Layer { spatial, temporal };
                if self.contains(layer) {
                    set = set.with(layer);
                }
            }
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_needed_by_those_above_it() {
        let needed = Layers::from(Layer::new(1, 1));
        for (layer, expected) in [((0, 3), false), ((1, 0), false), ((1, 1), true), ((2, 1), true), ((2, 3), true)] {
            assert_eq!(needed.contains(Layer::new(layer.0, layer.1)), expected, "{layer:?}");
        }
        assert_eq!(Layers::from(Layer::BASE), Layers::ALL);
        assert_eq!(Layer::new(9, 9), Layer::TOP);
    }

    #[test]
    fn a_sync_frame_lets_in_those_who_want_its_own_temporal_layer() {
        let place = Place::stacked(Layer::new(0, 1), true);
        assert!(place.entry.contains(Layer::new(0, 1)) && place.entry.contains(Layer::new(2, 1)));
        assert!(!place.entry.contains(Layer::new(0, 2)) && !place.entry.contains(Layer::new(0, 0)));
        assert_eq!(Place::stacked(Layer::new(0, 1), false).entry, Layers::NONE);
    }
}
