//! Whether the delay grows: a line through the delays of the last groups, and a threshold that learns what is normal.
//!
//! After draft-ietf-rmcat-gcc-02, 5.3–5.5, with the line instead of the Kalman filter, as libwebrtc does, and its constants. The adaptive
//! threshold is that of Carlucci and others, "Analysis and Design of the Google Congestion Control for WebRTC" (MMSys 2016).

use super::Micros;
use super::arrival::Step;

/// Groups that the line goes through. More is calmer and slower.
const WINDOW: usize = 20;
/// A line is drawn through so many: the first moments of a path that is far too thin are worth a rough guess.
const FEWEST: usize = 10;

/// Divides the window.
const LANES: usize = 4;

/// How much of the smoothed delay is kept with each group.
const SMOOTHING: f64 = 0.9;

/// The slope is multiplied by this and by the number of groups, up to so many: at first little is known and much is forgiven.
const GAIN: f64 = 4.0;
const SURE_AFTER: f64 = 60.0;

/// Over-use is called when the slope has been over the threshold for so long, in milliseconds of sending.
const OVER_FOR: f64 = 10.0;

/// The threshold: where it begins, its bounds, how fast it follows up and down (for each millisecond), and what it does not follow: a
/// slope far above it is no jitter to get used to.
const FIRST_THRESHOLD: f64 = 12.5;
const LEAST_THRESHOLD: f64 = 6.0;
const MOST_THRESHOLD: f64 = 600.0;
const FOLLOW_UP: f64 = 0.0087;
const FOLLOW_DOWN: f64 = 0.039;
const NOT_FOLLOWED: f64 = 15.0;
const LONGEST_FOLLOW: f64 = 100.0;

/// What the delays say of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Usage {
    #[default]
    Normal,
    /// A queue grows.
    Over,
    /// A queue drains.
    Under,
}

/// The delays of the last groups.
#[derive(Debug)]
pub struct Trend {
    /// When each arrived, and its smoothed delay, in milliseconds; rings.
    times: [f64; WINDOW],
    delays: [f64; WINDOW],
    /// Groups there were.
    count: usize,
    first_at: Micros,
    delay: f64,
    smoothed: f64,
    slope: f64,
    threshold: f64,
    adapted_at: f64,
    /// For how long the slope has been over the threshold, and with how many groups.
    over: Option<(f64, u32)>,
    usage: Usage,
}

impl Default for Trend {
    fn default() -> Self {
        Self {
            times: [0.0; WINDOW],
            delays: [0.0; WINDOW],
            count: 0,
            first_at: 0,
            delay: 0.0,
            smoothed: 0.0,
            slope: 0.0,
            threshold: FIRST_THRESHOLD,
            adapted_at: 0.0,
            over: None,
            usage: Usage::Normal,
        }
    }
}

impl Trend {
    pub fn usage(&self) -> Usage {
        self.usage
    }

    pub fn note(&mut self, step: Step) {
        if self.count == 0 {
            self.first_at = step.at;
        }
        self.delay += (step.arrived - step.sent) as f64 / 1e3;
        self.smoothed = SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * self.delay;
        let at = (step.at - self.first_at) as f64 / 1e3;
        self.times[self.count % WINDOW] = at;
        self.delays[self.count % WINDOW] = self.smoothed;
        self.count += 1;
        let slope = self.line(at).unwrap_or(self.slope);
        self.judge(slope, step.sent as f64 / 1e3, at);
    }

    /// The slope of the line of least squares: milliseconds of delay for each millisecond. Times are taken from the newest, which keeps the
    /// sums small; four sums side by side take a third of the time of one.
    fn line(&self, newest: f64) -> Option<f64> {
        let count = self.count.min(WINDOW);
        if count < FEWEST {
            return None;
        }
        let mut lanes = [[0.0f64; LANES]; 4];
        for (times, delays) in self.times[..count].chunks(LANES).zip(self.delays[..count].chunks(LANES)) {
            for (lane, (time, delay)) in times.iter().zip(delays).enumerate() {
                let (x, y) = (time - newest, delay - self.smoothed);
                lanes[0][lane] += x;
                lanes[1][lane] += y;
                lanes[2][lane] += x * x;
                lanes[3][lane] += x * y;
            }
        }
        let [x, y, xx, xy] = lanes.map(|lane| lane.iter().sum::<f64>() / count as f64);
        let spread = xx - x * x;
        (spread > 0.0).then(|| (xy - x * y) / spread)
    }

    fn judge(&mut self, slope: f64, sent: f64, at: f64) {
        let scaled = slope * GAIN * (self.count as f64).min(SURE_AFTER);
        if scaled > self.threshold {
            let (time, groups) = self.over.map_or((sent / 2.0, 1), |(time, groups)| (time + sent, groups + 1));
            self.over = Some((time, groups));
            if time > OVER_FOR && groups > 1 && slope >= self.slope {
                self.over = Some((0.0, 0));
                self.usage = Usage::Over;
            }
        } else {
            self.over = None;
            self.usage = if scaled < -self.threshold { Usage::Under } else { Usage::Normal };
        }
        self.slope = slope;
        self.adapt(scaled.abs(), at);
    }

    fn adapt(&mut self, scaled: f64, at: f64) {
        let time = (at - self.adapted_at).clamp(0.0, LONGEST_FOLLOW);
        self.adapted_at = at;
        if scaled <= self.threshold + NOT_FOLLOWED {
            let speed = if scaled < self.threshold { FOLLOW_DOWN } else { FOLLOW_UP };
            let followed = self.threshold + speed * (scaled - self.threshold) * time;
            self.threshold = followed.clamp(LEAST_THRESHOLD, MOST_THRESHOLD);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A group each 20 ms; `delay` of a group by its number, in microseconds. What was said after each.
    fn run(trend: &mut Trend, groups: std::ops::Range<i64>, delay: impl Fn(i64) -> i64) -> Vec<Usage> {
        let step = |n: i64| {
            let arrived = 20_000 + delay(n) - delay(n - 1);
            Step { sent: 20_000, arrived, at: n * 20_000 + delay(n) }
        };
        groups
            .map(|n| {
                trend.note(step(n));
                trend.usage()
            })
            .collect()
    }

    #[test]
    fn a_steady_path_is_normal() {
        let said = run(&mut Trend::default(), 0..500, |n| n % 3 * 300);
        assert!(said.iter().all(|usage| *usage == Usage::Normal));
    }

    #[test]
    fn a_delay_that_grows_is_over_use_and_one_that_falls_under_use() {
        let mut trend = Trend::default();
        run(&mut trend, 0..100, |_| 0);
        let said = run(&mut trend, 100..130, |n| (n - 100) * 4000);
        assert!(said[..15].contains(&Usage::Over), "{said:?}");
        let said = run(&mut trend, 130..170, |n| 120_000 - (n - 130) * 3000);
        assert!(said.contains(&Usage::Under), "{said:?}");
        let said = run(&mut trend, 170..260, |_| 0);
        assert_eq!(said.last(), Some(&Usage::Normal));
    }

    #[test]
    fn a_path_that_is_far_too_thin_is_known_after_few_groups() {
        let said = run(&mut Trend::default(), 0..14, |n| n * 40_000);
        assert_eq!(said.last(), Some(&Usage::Over));
    }

    #[test]
    fn the_threshold_learns_jitter_and_forgets_it() {
        let mut trend = Trend::default();
        let noise = |n: i64| (n % 40 - 20).abs() * 1000;
        let mut highest = 0.0f64;
        let mut over = 0;
        for n in 0..1000 {
            over += usize::from(run(&mut trend, n..n + 1, noise)[0] == Usage::Over);
            highest = if n < 200 { 0.0 } else { highest.max(trend.threshold) };
        }
        assert!(over < 100, "{over} of 1000");
        assert!(highest > LEAST_THRESHOLD, "{highest}");
        run(&mut trend, 2000..3000, |_| 0);
        assert_eq!(trend.threshold, LEAST_THRESHOLD);
    }
}
