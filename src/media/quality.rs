//! How good a network feels: the E-model over what RTCP says, and the hysteresis that keeps a level from flickering.

use std::collections::VecDeque;
use std::time::Duration;

use super::report::Cause;
use crate::base::Quality;

/// R of a call without any impairment (ITU-T G.107 defaults).
const R_BEST: f32 = 93.2;
/// Opus as the codec: no impairment of its own, and as robust against loss as G.107 Appendix I has it for codecs with concealment. Lower
/// makes the same loss weigh more.
const EQUIPMENT_IMPAIRMENT: f32 = 0.0;
const LOSS_ROBUSTNESS: f32 = 20.0;
/// Losses are taken as random.
const BURST_RATIO: f32 = 1.0;
/// A receiver's jitter buffer holds about so many times the jitter, and at least a packet or two.
const BUFFER_JITTERS: u32 = 3;
const BUFFER_LEAST: Duration = Duration::from_millis(20);
/// Beyond this one-way delay a conversation suffers (G.107, 7.4 as simplified by Cole and Rosenbluth).
const DELAY_KNEE_MS: f32 = 177.3;

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
    pub rtt: Option<Duration>,
    /// 0.0–1.0, before repair.
    pub loss: f32,
    pub jitter: Duration,
}

/// What makes a window worse than the best, in points of R.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Impairments {
    delay: f32,
    jitter: f32,
    loss: f32,
}

impl Window {
    /// R of ITU-T G.107, −1.8 to 93.2.
    pub fn rating(&self) -> f32 {
        let i = self.impairments();
        R_BEST - i.delay - i.jitter - i.loss
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
        if i.loss >= i.delay && i.loss >= i.jitter {
            Cause::Loss
        } else if i.delay >= i.jitter {
            Cause::Delay
        } else {
            Cause::Jitter
        }
    }

    fn impairments(&self) -> Impairments {
        let path = self.rtt.unwrap_or_default() / 2;
        let buffer = (self.jitter * BUFFER_JITTERS).max(BUFFER_LEAST);
        let delay = delay_impairment(path + BUFFER_LEAST);
        let percent = self.loss.clamp(0.0, 1.0) * 100.0;
        Impairments {
            delay,
            jitter: delay_impairment(path + buffer) - delay,
            loss: EQUIPMENT_IMPAIRMENT
                + (95.0 - EQUIPMENT_IMPAIRMENT) * percent / (percent / BURST_RATIO + LOSS_ROBUSTNESS),
        }
    }
}

/// Id of a one-way delay.
fn delay_impairment(delay: Duration) -> f32 {
    let ms = delay.as_secs_f32() * 1000.0;
    0.024 * ms + 0.11 * (ms - DELAY_KNEE_MS).max(0.0)
}

/// The level of one direction as others are told of it: worse when two of the last three windows say so, better when all three do.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    last: VecDeque<Quality>,
    shown: Quality,
}

impl Meter {
    pub fn shown(&self) -> Quality {
        self.shown
    }

    /// A window ended.
    pub fn note(&mut self, level: Quality) -> Quality {
        if self.last.len() == WINDOWS {
            self.last.pop_front();
        }
        self.last.push_back(level);
        let mut sorted: Vec<Quality> = self.last.iter().copied().collect();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        if let Some(level) =
            sorted.get(WORSE_NEEDS - 1).filter(|level| **level > self.shown || self.shown == Quality::Unknown)
        {
            self.shown = *level;
        } else if sorted.len() == WINDOWS && sorted[0] < self.shown {
            self.shown = sorted[0];
        }
        self.shown
    }

    /// Nothing is heard any more; said at once.
    pub fn down(&mut self) {
        self.last.clear();
        self.shown = Quality::Down;
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

    fn window(rtt_ms: u64, loss: f32, jitter_ms: u64) -> Window {
        Window { rtt: Some(Duration::from_millis(rtt_ms)), loss, jitter: Duration::from_millis(jitter_ms) }
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
            (window(60, 0.0, 60), Good, Some(Cause::Jitter)),
            (window(60, 0.0, 80), Poor, Some(Cause::Jitter)),
            (window(60, 0.0, 200), Vbad, Some(Cause::Jitter)),
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
    fn the_rating_falls_with_every_impairment() {
        let base = window(100, 0.01, 10);
        for worse in [window(200, 0.01, 10), window(100, 0.02, 10), window(100, 0.01, 40)] {
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
                meter.note(*level);
            });
            assert_eq!(meter.shown(), *expected, "{windows:?}");
        }
    }

    #[test]
    fn down_is_said_at_once_and_forgotten_when_heard_again() {
        let mut meter = Meter::default();
        meter.note(Good);
        meter.note(Good);
        meter.down();
        assert_eq!(meter.shown(), Down);
        meter.reset();
        assert_eq!((meter.note(Poor), meter.note(Poor)), (Unknown, Poor));
    }
}
