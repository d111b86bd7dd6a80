//! How the bandwidth to one viewer is shared among its slots: a pure choice.
//!
//! Sound is taken off first. Then every slot gets the lowest there is of its picture; then every slot the full frame rate of the smallest
//! picture; then those who are shown largest, and among them screens and the speaker first, get more, step by step in turn. What cannot
//! have even the lowest is paused.

use super::layer::Layer;

/// What goes up must fit into so much less: what a slot has is not taken off it for a small dip. Lower makes slots flap, higher leaves
/// bandwidth unused.
const RAISE_MARGIN: f64 = 1.15;

/// One way to show a source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rung {
    /// Index in its track.
    pub encoding: usize,
    pub layer: Layer,
    /// Bits per second.
    pub bitrate: u64,
    /// In pixels.
    pub height: Option<u16>,
}

/// Who goes first among those shown equally large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    Screen,
    Speaker,
    Other,
}

/// One slot that shows video.
#[derive(Debug, Clone, Copy)]
pub struct Want<'a> {
    /// The ways to show its source, the worst first.
    pub ladder: &'a [Rung],
    /// The height in pixels at which it is shown; 0: not at all.
    pub max_height: Option<u16>,
    pub priority: Priority,
    /// What it shows, an index into `ladder`; `None`: nothing.
    pub present: Option<usize>,
}

impl Want<'_> {
    /// The best that is no waste; `None`: anything would be.
    pub fn ceiling(&self) -> Option<usize> {
        if self.max_height == Some(0) {
            return None;
        }
        let fits = |rung: &Rung| match (rung.height, self.max_height) {
            (Some(height), Some(max)) => height <= max,
            _ => true,
        };
        self.ladder.iter().rposition(fits).or_else(|| self.smallest_picture())
    }

    /// How many layers less than the best that is no waste this is: one for each smaller picture, half of one for each lower frame rate.
    pub fn layers_short(&self, given: Option<usize>) -> f32 {
        let (Some(given), Some(ceiling)) = (given, self.ceiling()) else { return 0.0 };
        let picture = |rung: &Rung| (rung.encoding, rung.layer.spatial);
        let steps = self.ladder.get(given..=ceiling).unwrap_or_default();
        steps.windows(2).map(|two| if picture(&two[0]) == picture(&two[1]) { 0.5 } else { 1.0 }).sum()
    }

    /// Bits per second of the smallest picture with all its frames.
    pub fn least_at_full_rate(&self) -> u64 {
        self.bitrate(self.smallest_picture().min(self.ceiling()))
    }

    fn bitrate(&self, rung: Option<usize>) -> u64 {
        rung.map_or(0, |rung| self.ladder[rung].bitrate)
    }

    /// The last rung that is as small as the first.
    fn smallest_picture(&self) -> Option<usize> {
        let first = self.ladder.first()?;
        self.ladder
            .iter()
            .rposition(|rung| (rung.encoding, rung.layer.spatial) == (first.encoding, first.layer.spatial))
    }
}

/// For each want the rung it gets; `None`: it is paused, or there is nothing to show. `budget` is in bits per second, sound taken off;
/// `None`: it is not known and everyone gets the best.
pub fn allocate(budget: Option<u64>, wants: &[Want<'_>]) -> Vec<Option<usize>> {
    let ceilings: Vec<Option<usize>> = wants.iter().map(Want::ceiling).collect();
    let Some(budget) = budget else { return ceilings };
    let most = fill(budget, wants, &ceilings);
    let sure = fill((budget as f64 / RAISE_MARGIN) as u64, wants, &ceilings);
    let settled: Vec<Option<usize>> = wants
        .iter()
        .zip(sure.iter().zip(&most))
        .map(|(want, (a, b))| want.present.clamp(*a.min(b), *a.max(b)))
        .collect();
    // More for one can be less for another: both ends together may be too much.
    let spent: u64 = wants.iter().zip(&settled).map(|(want, rung)| want.bitrate(*rung)).sum();
    if spent <= budget { settled } else { most }
}

fn fill(budget: u64, wants: &[Want<'_>], ceilings: &[Option<usize>]) -> Vec<Option<usize>> {
    let mut share = Share { wants, given: vec![None; wants.len()], left: budget };
    let mut order: Vec<usize> = (0..wants.len()).filter(|index| ceilings[*index].is_some()).collect();
    // Stable: among equals, those whose slot comes first.
    order.sort_by_key(|index| rank(&wants[*index]));
    for index in &order {
        share.raise(*index, 0);
    }
    for index in &order {
        let full_rate = wants[*index].smallest_picture().min(ceilings[*index]);
        share.raise_to(*index, full_rate.expect("who has a ceiling has rungs"));
    }
    for equals in order.chunk_by(|a, b| rank(&wants[*a]) == rank(&wants[*b])) {
        let mut raised = true;
        while raised {
            raised = false;
            for index in equals {
                let ceiling = ceilings[*index].expect("they were filtered");
                raised |=
                    share.given[*index].is_some_and(|rung| rung < ceiling && share.raise_past(*index, rung, ceiling));
            }
        }
    }
    share.given
}

/// Those shown largest go first.
fn rank(want: &Want<'_>) -> (std::cmp::Reverse<u16>, Priority) {
    (std::cmp::Reverse(want.max_height.unwrap_or(u16::MAX)), want.priority)
}

struct Share<'a> {
    wants: &'a [Want<'a>],
    given: Vec<Option<usize>>,
    left: u64,
}

impl Share<'_> {
    fn raise(&mut self, index: usize, rung: usize) -> bool {
        let want = &self.wants[index];
        let more = want.bitrate(Some(rung)).saturating_sub(want.bitrate(self.given[index]));
        if more > self.left {
            return false;
        }
        self.left -= more;
        self.given[index] = Some(rung);
        true
    }

    fn raise_to(&mut self, index: usize, ceiling: usize) {
        while self.given[index].is_some_and(|rung| rung < ceiling && self.raise_past(index, rung, ceiling)) {}
    }

    /// To the next rung that can be had: one that costs too much may lie below one that does not.
    fn raise_past(&mut self, index: usize, rung: usize, ceiling: usize) -> bool {
        (rung + 1..=ceiling).any(|next| self.raise(index, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three encodings of a browser, each of 15 and 30 frames a second.
    fn ladder() -> Vec<Rung> {
        let rung = |encoding, temporal, kbps: u64, height| Rung {
            encoding,
            layer: Layer { spatial: 0, temporal },
            bitrate: kbps * 1000,
            height: Some(height),
        };
        vec![
            rung(0, 0, 100, 180),
            rung(0, 1, 150, 180),
            rung(1, 0, 300, 360),
            rung(1, 1, 500, 360),
            rung(2, 0, 1000, 720),
            rung(2, 1, 1700, 720),
        ]
    }

    fn want(ladder: &[Rung], max_height: Option<u16>, priority: Priority, present: Option<usize>) -> Want<'_> {
        Want { ladder, max_height, priority, present }
    }

    use Priority::{Other, Screen, Speaker};

    #[test]
    fn one_slot_gets_the_best_that_fits_and_is_no_waste() {
        let ladder = ladder();
        let table = [
            // budget in kbit/s, height it is shown at, present, given
            (None, None, None, Some(5)),
            (None, Some(360), None, Some(3)),
            (None, Some(400), None, Some(3)),
            (None, Some(90), None, Some(1)),
            (None, Some(0), Some(5), None),
            (Some(5000), Some(0), Some(5), None),
            (Some(5000), None, None, Some(5)),
            (Some(5000), Some(180), None, Some(1)),
            (Some(1800), None, None, Some(4)),
            (Some(1800), None, Some(5), Some(5)),
            (Some(1699), None, Some(5), Some(4)),
            (Some(999), None, Some(5), Some(3)),
            (Some(510), None, Some(2), Some(2)),
            (Some(580), None, Some(2), Some(3)),
            (Some(120), None, None, Some(0)),
            (Some(110), None, None, None),
            (Some(110), None, Some(0), Some(0)),
            (Some(99), None, Some(0), None),
            (Some(0), None, None, None),
        ];
        for (kbps, height, present, given) in table {
            let wants = [want(&ladder, height, Other, present)];
            assert_eq!(allocate(kbps.map(|kbps: u64| kbps * 1000), &wants), [given], "{kbps:?} {height:?} {present:?}");
        }
        assert_eq!(allocate(Some(1), &[want(&[], None, Other, None)]), [None]);
        assert_eq!(allocate(None, &[want(&[], None, Other, None)]), [None]);
    }

    #[test]
    fn everyone_has_the_lowest_before_anyone_has_more() {
        let ladder = ladder();
        let wants = [
            want(&ladder, Some(720), Speaker, Some(5)),
            want(&ladder, Some(180), Other, Some(1)),
            want(&ladder, Some(180), Other, Some(1)),
        ];
        let table: &[(u64, [Option<usize>; 3])] = &[
            (2000, [Some(5), Some(1), Some(1)]),
            (1999, [Some(4), Some(1), Some(1)]),
            (449, [Some(1), Some(1), Some(0)]),
            (300, [Some(0), Some(0), Some(0)]),
            (299, [Some(1), Some(0), None]),
            (199, [Some(1), None, None]),
            (99, [None, None, None]),
        ];
        for (kbps, given) in table {
            assert_eq!(allocate(Some(kbps * 1000), &wants), given, "{kbps}");
        }
    }

    #[test]
    fn who_is_shown_largest_goes_first_then_the_screen_then_the_speaker() {
        let ladder = ladder();
        let table = [
            ([(Some(360), Other), (Some(720), Other), (Some(360), Speaker)], [Some(1), Some(4), Some(1)]),
            ([(None, Other), (None, Speaker), (None, Screen)], [Some(1), Some(1), Some(4)]),
            ([(None, Other), (None, Speaker), (None, Other)], [Some(1), Some(4), Some(1)]),
        ];
        for (slots, given) in table {
            let wants: Vec<Want<'_>> =
                slots.iter().map(|(height, priority)| want(&ladder, *height, *priority, None)).collect();
            assert_eq!(allocate(Some(1_500_000), &wants), given, "{slots:?}");
        }
    }

    #[test]
    fn equals_go_up_in_turn() {
        let ladder = ladder();
        let wants = [want(&ladder, None, Other, None); 4];
        assert_eq!(allocate(Some(2_400_000), &wants), [Some(3); 4]);
        assert_eq!(allocate(Some(1_800_000), &wants), [Some(3), Some(2), Some(2), Some(2)]);
    }

    #[test]
    fn no_share_exceeds_the_budget_and_more_budget_pauses_nobody() {
        let ladder = ladder();
        let mut seed = 7u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for _ in 0..2000 {
            let count = 1 + random(6) as usize;
            let wants: Vec<Want<'_>> = (0..count)
                .map(|_| {
                    let height = [None, Some(180), Some(360), Some(720)][random(4) as usize];
                    let present = random(7).checked_sub(1).map(|rung| rung as usize);
                    want(&ladder, height, [Screen, Speaker, Other][random(3) as usize], present)
                })
                .collect();
            let budget = random(6000) * 1000;
            let given = allocate(Some(budget), &wants);
            let spent: u64 = given.iter().flatten().map(|rung| ladder[*rung].bitrate).sum();
            assert!(spent <= budget, "{given:?} of {budget}");
            let paused = |given: &[Option<usize>]| given.iter().filter(|rung| rung.is_none()).count();
            let richer = allocate(Some(budget + 500_000), &wants);
            assert!(paused(&richer) <= paused(&given));
            for (want, rung) in wants.iter().zip(&given) {
                assert!(*rung <= want.ceiling());
            }
            // Applied, it is what is chosen again: nothing flaps while nothing changes.
            let settled: Vec<Want<'_>> =
                wants.iter().zip(&given).map(|(want, rung)| Want { present: *rung, ..*want }).collect();
            assert_eq!(allocate(Some(budget), &settled), given, "of {budget}");
        }
    }
}
