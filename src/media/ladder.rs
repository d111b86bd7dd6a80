//! The ways to show a source, the worst first: measured from what arrives of its encodings and their layers.

use std::time::{Duration, Instant};

use super::allocate::Rung;
use super::layer::{Layer, Place, SPATIAL, TEMPORAL};

/// A rate is drawn up so often. Shorter sees key frames as a rise, longer follows an encoder late.
const WINDOW: Duration = Duration::from_millis(500);
/// How much of the newest window goes into the rate.
const WEIGHT: f64 = 0.3;
/// Below this frame rate a larger picture is no better than a smaller one.
const LEAST_FRAME_RATE: f64 = 12.0;
/// Of two encodings of unknown size, one is the larger when it is so much richer.
const RICHER: f64 = 1.25;
/// An encoding that was never seen is taken to cost so many times what the next smaller one does.
const STEP_UP: u64 = 3;

/// What arrives of one encoding, by layer.
#[derive(Debug)]
pub struct LayerRates {
    since: Option<Instant>,
    bits: [u64; SPATIAL * TEMPORAL],
    /// By temporal layer: a picture is of all spatial ones.
    pictures: [u32; TEMPORAL],
    bitrates: [f64; SPATIAL * TEMPORAL],
    frame_rates: [f64; TEMPORAL],
    /// The highest layer that was seen lately.
    top: Layer,
    newest_top: Layer,
}

impl Default for LayerRates {
    fn default() -> Self {
        Self {
            since: None,
            bits: Default::default(),
            pictures: Default::default(),
            bitrates: Default::default(),
            frame_rates: Default::default(),
            top: Layer::BASE,
            newest_top: Layer::BASE,
        }
    }
}

impl LayerRates {
    /// A packet of so many bytes came; `marker`: the last of its picture.
    pub fn add(&mut self, place: &Place, bytes: usize, marker: bool, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let layer = place.layer;
        self.bits[layer.index()] += bytes as u64 * 8;
        self.pictures[layer.temporal as usize] += u32::from(marker);
        self.newest_top.spatial = self.newest_top.spatial.max(layer.spatial);
        self.newest_top.temporal = self.newest_top.temporal.max(layer.temporal);
        let span = now.saturating_duration_since(since);
        if span >= WINDOW {
            self.close_window(span);
            self.since = Some(now);
        }
    }

    /// Nothing came for long: what comes next is measured anew, what was before is what it is expected to cost.
    pub fn pause(&mut self) {
        self.since = None;
        self.bits = Default::default();
        self.pictures = Default::default();
    }

    fn close_window(&mut self, span: Duration) {
        let weight = if self.total() == 0 { 1.0 } else { WEIGHT };
        let secs = span.as_secs_f64();
        for (rate, bits) in self.bitrates.iter_mut().zip(&mut self.bits) {
            *rate += (std::mem::take(bits) as f64 / secs - *rate) * weight;
        }
        for (rate, pictures) in self.frame_rates.iter_mut().zip(&mut self.pictures) {
            *rate += (f64::from(std::mem::take(pictures)) / secs - *rate) * weight;
        }
        self.top = std::mem::replace(&mut self.newest_top, Layer::BASE);
    }

    /// Bits per second of all up to `layer`.
    fn bitrate(&self, layer: Layer) -> u64 {
        let spatial = self.bitrates.chunks(TEMPORAL).take(layer.spatial as usize + 1);
        spatial.flat_map(|rates| &rates[..=layer.temporal as usize]).sum::<f64>() as u64
    }

    /// Pictures per second.
    fn frame_rate(&self, temporal: u8) -> f64 {
        self.frame_rates[..=temporal as usize].iter().sum()
    }

    fn total(&self) -> u64 {
        self.bitrate(Layer::TOP)
    }
}

/// An encoding as the ladder sees it.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// Its packets arrive, or would if it were wanted.
    pub available: bool,
    pub rates: &'a LayerRates,
    /// Of its full picture, in pixels.
    pub height: Option<u16>,
}

/// Writes the rungs of a track's encodings into `ladder`.
pub fn build(encodings: &[Step<'_>], ladder: &mut Vec<Rung>) {
    ladder.clear();
    let mut smaller_cost = 0;
    for (place, index) in by_size(encodings).into_iter().enumerate() {
        let Step { rates, height, .. } = encodings[index];
        let expected = smaller_cost * STEP_UP;
        add_rungs(index, rates, height, if place == 0 { 0.0 } else { LEAST_FRAME_RATE }, ladder);
        if rates.total() == 0
            && let Some(rung) = ladder.last_mut()
        {
            rung.bitrate = expected;
        }
        smaller_cost = ladder.last().map_or(0, |rung| rung.bitrate);
    }
}

/// The available encodings, the smallest first.
fn by_size(encodings: &[Step<'_>]) -> Vec<usize> {
    let smaller = |a: &Step<'_>, b: &Step<'_>| match (a.height, b.height) {
        (Some(a), Some(b)) if a != b => a < b,
        _ => a.rates.total() as f64 * RICHER < b.rates.total() as f64,
    };
    let mut order: Vec<usize> = Vec::with_capacity(encodings.len());
    for (index, step) in encodings.iter().enumerate().filter(|(_, step)| step.available) {
        let at = order.iter().position(|other| smaller(step, &encodings[*other])).unwrap_or(order.len());
        order.insert(at, index);
    }
    order
}

fn add_rungs(encoding: usize, rates: &LayerRates, height: Option<u16>, least: f64, ladder: &mut Vec<Rung>) {
    for spatial in 0..=rates.top.spatial {
        for temporal in 0..=rates.top.temporal {
            let is_top = temporal == rates.top.temporal;
            // The last layer is everything there is, also what was not seen yet.
            let layer = Layer {
                spatial: if spatial == rates.top.spatial { Layer::TOP.spatial } else { spatial },
                temporal: if is_top { Layer::TOP.temporal } else { temporal },
            };
            let least = if spatial == 0 { least } else { LEAST_FRAME_RATE };
            if is_top || rates.frame_rate(temporal) >= least {
                // Each spatial layer doubles the one under it.
                let height = height.map(|height| height >> (rates.top.spatial - spatial));
                ladder.push(Rung { encoding, layer, bitrate: rates.bitrate(layer), height });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two seconds of thirty pictures a second over three temporal layers, `bytes` a picture.
    fn rates(bytes: usize, temporal_layers: u8, spatial_layers: u8) -> LayerRates {
        let start = Instant::now();
        let mut rates = LayerRates::default();
        for picture in 0..90u32 {
            let now = start + Duration::from_micros(u64::from(picture) * 33_333);
            let temporal = match (temporal_layers, picture % 4) {
                (3, 1 | 3) => 2,
                (3, 2) => 1,
                _ => 0,
            };
            for spatial in 0..spatial_layers {
                let place = Place::stacked(Layer::new(spatial, temporal), false);
                rates.add(&place, bytes << (2 * spatial), spatial + 1 == spatial_layers, now);
            }
        }
        rates
    }

    fn ladder(steps: &[Step<'_>]) -> Vec<Rung> {
        let mut ladder = Vec::new();
        build(steps, &mut ladder);
        ladder
    }

    fn step(rates: &LayerRates, height: Option<u16>) -> Step<'_> {
        Step { available: true, rates, height }
    }

    #[test]
    fn an_encoding_without_layers_is_one_rung() {
        let one = rates(1000, 1, 1);
        let rungs = ladder(&[step(&one, Some(360))]);
        let [rung] = rungs[..] else { panic!("{rungs:?}") };
        assert_eq!((rung.encoding, rung.layer, rung.height), (0, Layer::TOP, Some(360)));
        assert!((228_000..252_000).contains(&rung.bitrate), "{rung:?}");
        assert_eq!(ladder(&[]), []);
        let none = LayerRates::default();
        assert_eq!(ladder(&[step(&none, None)]).len(), 1, "nothing came yet, and it can be waited for");
    }

    #[test]
    fn encodings_stand_in_the_order_of_their_size_with_their_frame_rates() {
        let (small, middle, large) = (rates(500, 3, 1), rates(1500, 3, 1), rates(6000, 3, 1));
        let rungs = ladder(&[step(&large, Some(720)), step(&small, Some(180)), step(&middle, Some(360))]);
        let found: Vec<(usize, u8)> = rungs.iter().map(|rung| (rung.encoding, rung.layer.temporal)).collect();
        // Seven pictures a second are for the smallest only.
        assert_eq!(found, [(1, 0), (1, 1), (1, 3), (2, 1), (2, 3), (0, 1), (0, 3)]);
        for two in rungs.windows(2).filter(|two| two[0].encoding == two[1].encoding) {
            assert!(two[1].bitrate > two[0].bitrate);
        }
    }

    #[test]
    fn what_does_not_arrive_and_is_not_to_be_had_has_no_rung() {
        let (small, large) = (rates(500, 1, 1), rates(6000, 1, 1));
        let gone = Step { available: false, ..step(&large, Some(720)) };
        assert_eq!(ladder(&[step(&small, Some(180)), gone]).len(), 1);
    }

    #[test]
    fn sizes_that_are_not_known_are_told_by_rates_that_differ_enough() {
        let (small, equal, large) = (rates(1000, 1, 1), rates(1100, 1, 1), rates(1500, 1, 1));
        let order = |steps: &[Step<'_>]| ladder(steps).iter().map(|rung| rung.encoding).collect::<Vec<_>>();
        assert_eq!(order(&[step(&large, None), step(&small, None)]), [1, 0]);
        assert_eq!(order(&[step(&equal, None), step(&small, None)]), [0, 1]);
    }

    #[test]
    fn an_encoding_that_was_never_seen_is_expected_to_cost_more_than_the_next_smaller() {
        let (small, never) = (rates(500, 1, 1), LayerRates::default());
        let rungs = ladder(&[step(&small, Some(180)), step(&never, Some(360))]);
        assert_eq!(rungs[1].bitrate, rungs[0].bitrate * STEP_UP);
    }

    #[test]
    fn spatial_layers_are_rungs_of_their_own_height() {
        let svc = rates(500, 3, 3);
        let rungs = ladder(&[step(&svc, Some(720))]);
        let found: Vec<(u8, u8, Option<u16>)> =
            rungs.iter().map(|rung| (rung.layer.spatial, rung.layer.temporal, rung.height)).collect();
        assert_eq!(
            found,
            [
                (0, 0, Some(180)),
                (0, 1, Some(180)),
                (0, 3, Some(180)),
                (1, 1, Some(360)),
                (1, 3, Some(360)),
                (2, 1, Some(720)),
                (2, 3, Some(720))
            ]
        );
    }
}
