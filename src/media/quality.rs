//! How good a network feels: the E-model over what RTCP says, what pictures add to it, and the hysteresis that keeps a level from flickering.

use std::collections::VecDeque;
use std::time::Duration;

use super::report::{Cause, Picture};
use crate::base::Quality;

/// R of a call without any impairment (ITU-T G.107 defaults).
const R_BEST: f32 = 93.2;
/// Opus as the codec: no impairment of its own, and as robust against loss as G.107 Appendix I has it for codecs with concealment. Lower
/// makes the same loss weigh more.
const EQUIPMENT_IMPAIRMENT: f32 = 0.0;
const LOSS_ROBUSTNESS: f32 = 20.0;
/// Losses are taken as random.
const BURST_RATIO: f32 = 1.0;
/// A receiver's jitter buffer holds about so many times the jitter, and at least a packet or two. RTCP's figure is a mean of differences
/// between neighbours, and where packets queue up those that follow a late one differ little.
const BUFFER_JITTERS: u32 = 5;
const BUFFER_LEAST: Duration = Duration::from_millis(20);
/// Beyond this one-way delay a conversation suffers (G.107, 7.4 as simplified by Cole and Rosenbluth).
const DELAY_KNEE_MS: f32 = 177.3;

/// Pictures are less robust than sound: what repair leaves missing costs whole frames.
const PICTURE_LOSS_ROBUSTNESS: f32 = 10.0;
/// Points of R that a picture costs which stands still all the time. A fifth of a window, 400 ms, is 20: from Excellent to Poor.
const STILL_PICTURE: f32 = 100.0;
/// Points for each layer less than wanted, and for a picture that is not sent at all: Good, and Vbad.
const LAYER_SHORT: f32 = 8.0;
const PICTURE_PAUSED: f32 = 40.0;

/// Loss beside a queue that stands so long is a link that is too thin; without a queue it is a link that loses. Lower takes the ups and downs
/// of a good link for a queue.
const THIN_QUEUE: Duration = Duration::from_millis(50);
const THIN_LOSS: f32 = 0.01;

const WINDOWS: usize = 3;
const WORSE_NEEDS: usize = 2;

/// The lowest rating R of each level; below `bad` is Vbad.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    pub excellent: f32,
    pub good: f32,
    pub poor: f32,
    pub bad: f32,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { excellent: 90.0, good: 80.0, poor: 70.0, bad: 60.0 }
    }
}

/// One direction over one window.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Window {
    /// There and back, without what stands in queues.
    pub rtt: Option<Duration>,
    /// What even the quickest packet waits this way.
    pub queue: Duration,
    /// 0.0–1.0, before repair.
    pub loss: f32,
    pub jitter: Duration,
    pub picture: Picture,
}

/// What makes a window worse than the best, in points of R.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Impairments {
    delay: f32,
    jitter: f32,
    /// Of sound.
    loss: f32,
    /// What never came of pictures, and that they stood still.
    broken: f32,
    /// That pictures are less than what was wanted.
    short: f32,
}

impl Window {
    /// R of ITU-T G.107, −1.8 to 93.2, less what pictures suffer.
    pub fn rating(&self) -> f32 {
        let i = self.impairments();
        R_BEST - i.delay - i.jitter - i.loss.max(i.broken) - i.short
    }

    pub fn level(&self, thresholds: &Thresholds) -> Quality {
        let rating = self.rating();
        match rating {
            r if r >= thresholds.excellent => Quality::Excellent,
            r if r >= thresholds.good => Quality::Good,
            r if r >= thresholds.poor => Quality::Poor,
            r if r >= thresholds.bad => Quality::Bad,
            _ => Quality::Vbad,
        }
    }

    /// The impairment that weighs most.
    pub fn cause(&self) -> Cause {
        let i = self.impairments();
        // A picture that stands still though nothing is lost comes unevenly.
        let lossy = self.loss > 0.0 || self.picture.missing > 0.0;
        let (lost, uneven) = if lossy { (i.loss.max(i.broken), i.jitter) } else { (i.loss, i.jitter.max(i.broken)) };
        let thin = self.queue >= THIN_QUEUE && (self.loss >= THIN_LOSS || i.short > 0.0);
        let candidates = [
            (i.short, Cause::Bandwidth),
            (lost, if thin { Cause::Bandwidth } else { Cause::Loss }),
            (i.delay, if thin { Cause::Bandwidth } else { Cause::Delay }),
            (uneven, Cause::Jitter),
        ];
        let heaviest = candidates.into_iter().max_by(|a, b| a.0.total_cmp(&b.0));
        heaviest.expect("there are four").1
    }

    fn impairments(&self) -> Impairments {
        let path = self.rtt.unwrap_or_default() / 2 + self.queue;
        let buffer = (self.jitter * BUFFER_JITTERS).max(BUFFER_LEAST);
        let delay = delay_impairment(path + BUFFER_LEAST);
        let picture = &self.picture;
        let still = STILL_PICTURE * picture.still.clamp(0.0, 1.0);
        Impairments {
            delay,
            jitter: delay_impairment(path + buffer) - delay,
            loss: loss_impairment(self.loss, LOSS_ROBUSTNESS),
            broken: loss_impairment(picture.missing, PICTURE_LOSS_ROBUSTNESS) + still,
            short: if picture.paused { PICTURE_PAUSED } else { LAYER_SHORT * picture.layers_short },
        }
    }
}

/// Id of a one-way delay.
fn delay_impairment(delay: Duration) -> f32 {
    let ms = delay.as_secs_f32() * 1000.0;
    0.024 * ms + 0.11 * (ms - DELAY_KNEE_MS).max(0.0)
}

/// Ie,eff of a share that is lost.
fn loss_impairment(share: f32, robustness: f32) -> f32 {
    let percent = share.clamp(0.0, 1.0) * 100.0;
    EQUIPMENT_IMPAIRMENT + (95.0 - EQUIPMENT_IMPAIRMENT) * percent / (percent / BURST_RATIO + robustness)
}

/// The level of one direction as others are told of it: worse when two of the last three windows say so, better when all three do.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    last: VecDeque<(Quality, Cause)>,
    shown: Quality,
    cause: Option<Cause>,
}

impl Meter {
    pub fn shown(&self) -> Quality {
        self.shown
    }

    /// What made the level worse than Excellent.
    pub fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// A window ended.
    pub fn note(&mut self, level: Quality, cause: Cause) -> Quality {
        if self.last.len() == WINDOWS {
            self.last.pop_front();
        }
        self.last.push_back((level, cause));
        let mut sorted: Vec<Quality> = self.last.iter().map(|(level, _)| *level).collect();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        if let Some(level) =
            sorted.get(WORSE_NEEDS - 1).filter(|level| **level > self.shown || self.shown == Quality::Unknown)
        {
            self.shown = *level;
        } else if sorted.len() == WINDOWS && sorted[0] < self.shown {
            self.shown = sorted[0];
        }
        self.cause = match self.shown {
            Quality::Unknown | Quality::Excellent => None,
            // A level outlasts the windows that were as bad: then what made it is still its cause.
            shown => self.last.iter().rev().find(|(level, _)| *level >= shown).map(|(_, cause)| *cause).or(self.cause),
        };
        self.shown
    }

    /// Nothing is heard any more; said at once.
    pub fn down(&mut self) {
        self.last.clear();
        self.shown = Quality::Down;
        self.cause = Some(Cause::Silence);
    }

    /// Heard again after a silence: what was before says nothing.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Quality::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn window(rtt_ms: u64, loss: f32, jitter_ms: u64) -> Window {
        Window { rtt: Some(ms(rtt_ms)), loss, jitter: ms(jitter_ms), ..Window::default() }
    }

    fn queued(queue_ms: u64, loss: f32) -> Window {
        Window { queue: ms(queue_ms), ..window(40, loss, 5) }
    }

    fn picture(missing: f32, still: f32, layers_short: f32, paused: bool) -> Window {
        Window { picture: Picture { missing, still, layers_short, paused }, ..window(40, 0.0, 5) }
    }

    #[test]
    fn conditions_map_to_levels_and_causes() {
        let table = [
            (window(0, 0.0, 0), Excellent, None),
            (window(40, 0.0, 5), Excellent, None),
            (window(150, 0.0, 10), Excellent, None),
            (window(40, 0.01, 5), Good, Some(Cause::Loss)),
            (window(40, 0.02, 5), Good, Some(Cause::Loss)),
            (window(40, 0.05, 5), Poor, Some(Cause::Loss)),
            (window(40, 0.08, 5), Bad, Some(Cause::Loss)),
            (window(40, 0.20, 5), Vbad, Some(Cause::Loss)),
            (window(350, 0.0, 5), Good, Some(Cause::Delay)),
            (window(500, 0.0, 5), Poor, Some(Cause::Delay)),
            (window(700, 0.0, 5), Bad, Some(Cause::Delay)),
            (window(800, 0.0, 5), Vbad, Some(Cause::Delay)),
            (window(60, 0.0, 30), Good, Some(Cause::Jitter)),
            (window(60, 0.0, 45), Poor, Some(Cause::Jitter)),
            (window(60, 0.0, 200), Vbad, Some(Cause::Jitter)),
            (queued(30, 0.05), Poor, Some(Cause::Loss)),
            (queued(150, 0.0), Good, Some(Cause::Delay)),
            (queued(150, 0.05), Bad, Some(Cause::Bandwidth)),
            (queued(300, 0.30), Vbad, Some(Cause::Bandwidth)),
            (picture(0.005, 0.0, 0.0, false), Good, Some(Cause::Loss)),
            (picture(0.03, 0.0, 0.0, false), Poor, Some(Cause::Loss)),
            (picture(0.0, 0.05, 0.0, false), Good, Some(Cause::Jitter)),
            (picture(0.001, 0.2, 0.0, false), Poor, Some(Cause::Loss)),
            (picture(0.0, 0.5, 0.0, false), Vbad, Some(Cause::Jitter)),
            (picture(0.0, 0.0, 1.0, false), Good, Some(Cause::Bandwidth)),
            (picture(0.0, 0.0, 2.0, false), Poor, Some(Cause::Bandwidth)),
            (picture(0.0, 0.0, 0.0, true), Vbad, Some(Cause::Bandwidth)),
            (Window::default(), Excellent, None),
        ];
        for (window, level, cause) in table {
            assert_eq!(window.level(&Thresholds::default()), level, "{window:?} rates {}", window.rating());
            if let Some(cause) = cause {
                assert_eq!(window.cause(), cause, "{window:?}");
            }
        }
    }

    #[test]
    fn thresholds_are_the_operators() {
        let strict = Thresholds { excellent: 93.0, good: 92.0, poor: 91.0, bad: 90.0 };
        assert_eq!(window(150, 0.0, 10).level(&strict), Bad);
    }

    #[test]
    fn the_rating_falls_with_every_impairment() {
        let base = Window { queue: ms(20), picture: picture(0.01, 0.1, 1.0, false).picture, ..window(100, 0.01, 10) };
        let with = |picture: Picture| Window { picture, ..base };
        let worse = [
            Window { rtt: Some(ms(200)), ..base },
            Window { queue: ms(80), ..base },
            Window { loss: 0.2, ..base },
            Window { jitter: ms(40), ..base },
            with(Picture { missing: 0.02, ..base.picture }),
            with(Picture { still: 0.2, ..base.picture }),
            with(Picture { layers_short: 2.0, ..base.picture }),
            with(Picture { paused: true, ..base.picture }),
        ];
        for worse in worse {
            assert!(worse.rating() < base.rating(), "{worse:?}");
        }
    }

    #[test]
    fn a_level_changes_only_when_windows_agree() {
        let table: &[(&[Quality], Quality)] = &[
            (&[Good], Unknown),
            (&[Good, Good], Good),
            (&[Good, Bad], Good),
            (&[Good, Good, Bad], Good),
            (&[Good, Good, Bad, Good], Good),
            (&[Good, Good, Bad, Good, Bad], Bad),
            (&[Good, Good, Bad, Vbad], Bad),
            (&[Bad, Bad, Good, Good], Bad),
            (&[Bad, Bad, Good, Good, Good], Good),
            (&[Bad, Bad, Good, Good, Bad, Good, Good], Bad),
            (&[Bad, Bad, Excellent, Good, Excellent], Good),
        ];
        for (windows, expected) in table {
            let mut meter = Meter::default();
            windows.iter().for_each(|level| {
                meter.note(*level, Cause::Loss);
            });
            assert_eq!(meter.shown(), *expected, "{windows:?}");
        }
    }

    #[test]
    fn a_levels_cause_is_that_of_the_windows_that_made_it() {
        let mut meter = Meter::default();
        meter.note(Excellent, Cause::Jitter);
        meter.note(Excellent, Cause::Jitter);
        assert_eq!(meter.cause(), None);
        meter.note(Bad, Cause::Loss);
        meter.note(Bad, Cause::Loss);
        assert_eq!((meter.shown(), meter.cause()), (Bad, Some(Cause::Loss)));
        meter.note(Excellent, Cause::Delay);
        meter.note(Good, Cause::Delay);
        assert_eq!((meter.shown(), meter.cause()), (Bad, Some(Cause::Loss)), "the level outlasts them");
        meter.note(Good, Cause::Delay);
        assert_eq!((meter.shown(), meter.cause()), (Good, Some(Cause::Delay)));
    }

    #[test]
    fn down_is_said_at_once_and_forgotten_when_heard_again() {
        let mut meter = Meter::default();
        meter.note(Good, Cause::Loss);
        meter.note(Good, Cause::Loss);
        meter.down();
        assert_eq!((meter.shown(), meter.cause()), (Down, Some(Cause::Silence)));
        meter.reset();
        assert_eq!((meter.note(Poor, Cause::Loss), meter.note(Poor, Cause::Loss)), (Unknown, Poor));
    }
}
