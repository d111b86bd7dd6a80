//! What losses say of the path. Packets that are lost by chance are lost whatever is sent; those that a full path drops are not if less is
//! sent. Where no queue tells them apart, less is sent for a moment to see.
//!
//! It stands where libwebrtc has `LossBasedBweV2`, which asks the same with a model of the path; this asks the path.

use super::Micros;
use super::history::Sent;

/// A share lost by chance that nobody worries about. Lower tries lossy paths more often; higher lets a path that drops the excess drop it.
const NO_WORRY: f64 = 0.10;
/// A share is worth a worry when it is beyond that by so many standard deviations: few packets say little.
const SURE: f64 = 2.5;
/// So many intervals in a row.
const WORRIES: u32 = 2;
/// On a path that is known to drop the excess.
const NO_WORRY_POLICED: f64 = 0.04;
/// Less than this share of what such a path carries is no excess.
const NO_EXCESS: f64 = 0.9;

/// An interval has so many packets and lasts so long, when much more than that is lost …
const PACKETS: u32 = 20;
const INTERVAL: Micros = 300_000;
const MUCH: f64 = 0.15;
/// … and otherwise more of one of them, to be sure …
const CALM_PACKETS: u32 = 160;
const CALM_INTERVAL: Micros = 1_500_000;
/// … and a trial less, for it costs the picture.
const TRIAL_PACKETS: u32 = 80;
/// An interval that takes longer has no rate to speak of.
const LONGEST_INTERVAL: Micros = 10_000_000;

/// Where all is lost there is no path: an outage is no congestion.
const OUTAGE: f64 = 0.9;

/// Packets that wait so long while others are lost have met a full queue: nothing needs to be tried.
const FULL_QUEUE: Micros = 60_000;
const FULL_QUEUE_LEAVES: f64 = 0.95;

/// A trial sends a little more than was delivered, but not under this share of what was sent.
const TRIAL: f64 = 1.03;
const TRIAL_LEAST: f64 = 0.7;
/// The sender followed when it sends less than this share of before; it has so long for it.
const FOLLOWED: f64 = 0.93;
const FOLLOWS_WITHIN: Micros = 4_000_000;
/// Of the delivered rate, while a path drops the excess.
const POLICED_LEAVES: f64 = 0.98;

/// A verdict is believed for so long. Longer wastes what a path got better by; shorter tries more often.
const BELIEVED: Micros = 60_000_000;

/// The losses of one path.
#[derive(Debug)]
pub struct Loss {
    recent: Recent,
    interval: Interval,
    cause: Cause,
    worries: u32,
}

/// Why packets are lost.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Cause {
    Unknown,
    /// Less is sent to see whether less is lost.
    Tried(Trial),
    /// By chance, this share of them.
    Chance {
        share: f64,
        until: Micros,
    },
    /// What is beyond this rate is dropped.
    Policed {
        rate: f64,
        estimate: f64,
        until: Micros,
        /// What was sent and lost though it was no excess.
        below: Counted,
    },
}

/// What it was like before a trial.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Trial {
    sent: f64,
    lost: f64,
    estimate: f64,
    since: Micros,
}

/// What to make of the estimate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Advice {
    Keep,
    Lower(f64),
    Raise(f64),
}

impl Default for Loss {
    fn default() -> Self {
        Self { recent: Recent::default(), interval: Interval::default(), cause: Cause::Unknown, worries: 0 }
    }
}

impl Loss {
    /// A feedback said for the first time what became of a packet.
    pub fn note(&mut self, sent: Sent, lost: bool, now: Micros) {
        self.recent.note(lost, now);
        if sent.mark == 0 {
            self.interval.note(sent, lost);
        }
    }

    /// A packet that was said to be lost has come.
    pub fn came(&mut self, sent: Sent) {
        self.recent.came();
        self.interval.came(sent);
    }

    /// How long packets waited.
    pub fn waited(&mut self, queue: Micros) {
        self.interval.waited = (self.interval.waited.0 + queue, self.interval.waited.1 + 1);
    }

    /// The share lost in the last second.
    pub fn share(&self, now: Micros) -> Option<f32> {
        self.recent.share(now)
    }

    /// The share that is known to be lost by chance.
    pub fn by_chance(&self) -> f64 {
        if let Cause::Chance { share, .. } = self.cause { share } else { 0.0 }
    }

    /// Looks at an interval when it is over; `estimate` in bits per second.
    pub fn judge(&mut self, estimate: f64, now: Micros) -> Advice {
        let interval = self.interval;
        if !self.is_over(&interval) {
            if interval.length() > LONGEST_INTERVAL {
                self.begin(now);
            }
            return Advice::Keep;
        }
        let seen = interval.seen();
        self.interval = Interval { not_before: interval.not_before, ..Interval::default() };
        if seen.lost > OUTAGE {
            return Advice::Keep;
        }
        self.conclude(seen, estimate, now)
    }

    fn is_over(&self, interval: &Interval) -> bool {
        let packets = match self.cause {
            Cause::Tried(_) | Cause::Policed { .. } => TRIAL_PACKETS,
            _ if interval.seen().lost > self.normal() + MUCH => PACKETS,
            _ => CALM_PACKETS,
        };
        let enough = interval.counted.packets >= packets || interval.length() >= CALM_INTERVAL;
        enough && interval.counted.packets >= PACKETS && interval.length() >= INTERVAL
    }

    /// The share of which nobody makes anything.
    fn normal(&self) -> f64 {
        let by_chance = self.by_chance();
        by_chance + (1.0 - by_chance) * NO_WORRY
    }

    fn conclude(&mut self, seen: Seen, estimate: f64, now: Micros) -> Advice {
        if let Cause::Chance { until, .. } | Cause::Policed { until, .. } = self.cause
            && now >= until
        {
            self.cause = Cause::Unknown;
        }
        let normal = self.normal();
        let is_worrying = is_beyond(seen.lost, seen.counted.packets, normal);
        self.worries = if is_worrying { self.worries + 1 } else { 0 };
        if is_worrying && seen.waited >= FULL_QUEUE {
            return self.lower(seen.delivered() / (1.0 - self.by_chance()) * FULL_QUEUE_LEAVES, now);
        }
        if let Cause::Policed { rate, below, .. } = &mut self.cause
            && seen.sent < *rate * NO_EXCESS
        {
            below.add(seen.counted);
        }
        match self.cause {
            Cause::Tried(trial) => self.decide(trial, seen, now),
            // As much is lost of less than that rate: it was not that.
            Cause::Policed { estimate, until, below, .. }
                if is_beyond(below.share(), below.packets, NO_WORRY_POLICED) =>
            {
                self.cause = Cause::Chance { share: below.share(), until };
                Advice::Raise(estimate)
            }
            Cause::Policed { .. } if seen.lost > NO_WORRY_POLICED => self.lower(seen.delivered() * POLICED_LEAVES, now),
            Cause::Chance { share, until } if !is_worrying => {
                self.cause = Cause::Chance { share: share + (seen.lost - share) / 8.0, until };
                Advice::Keep
            }
            Cause::Unknown | Cause::Chance { .. } if self.worries >= WORRIES => self.try_less(seen, estimate, now),
            _ => Advice::Keep,
        }
    }

    fn try_less(&mut self, seen: Seen, estimate: f64, now: Micros) -> Advice {
        self.cause = Cause::Tried(Trial { sent: seen.sent, lost: seen.lost, estimate, since: now });
        self.lower((seen.delivered() * TRIAL).max(seen.sent * TRIAL_LEAST), now)
    }

    /// Less was sent: is less lost?
    fn decide(&mut self, trial: Trial, seen: Seen, now: Micros) -> Advice {
        let followed = seen.sent < trial.sent * FOLLOWED;
        if !followed && now - trial.since < FOLLOWS_WITHIN {
            return Advice::Keep;
        }
        self.worries = 0;
        let until = now + BELIEVED;
        let delivered = trial.sent * (1.0 - trial.lost);
        let if_policed = (1.0 - delivered / seen.sent).max(0.0);
        // As much is lost as before, or nobody can do with less.
        if !followed || (seen.lost - trial.lost).abs() < (seen.lost - if_policed).abs() {
            self.cause = Cause::Chance { share: seen.lost.min(trial.lost), until };
            return Advice::Raise(trial.estimate);
        }
        self.cause =
            Cause::Policed { rate: seen.delivered(), estimate: trial.estimate, until, below: Counted::default() };
        if seen.lost > NO_WORRY_POLICED { self.lower(seen.delivered() * POLICED_LEAVES, now) } else { Advice::Keep }
    }

    fn lower(&mut self, to: f64, now: Micros) -> Advice {
        self.begin(now);
        Advice::Lower(to)
    }

    /// What was sent before says nothing of what is tried from here on.
    fn begin(&mut self, now: Micros) {
        self.interval = Interval { not_before: now, ..Interval::default() };
    }
}

/// Packets from one time of sending to another.
#[derive(Debug, Clone, Copy, Default)]
struct Interval {
    not_before: Micros,
    first_sent: Micros,
    last_sent: Micros,
    counted: Counted,
    bytes: u64,
    lost_bytes: u64,
    /// Sum and number.
    waited: (Micros, i64),
}

/// What an interval showed; rates in bits per second.
#[derive(Debug, Clone, Copy)]
struct Seen {
    sent: f64,
    lost: f64,
    counted: Counted,
    waited: Micros,
}

impl Interval {
    fn note(&mut self, sent: Sent, lost: bool) {
        if sent.at < self.not_before {
            return;
        }
        if self.counted.packets == 0 {
            (self.first_sent, self.last_sent) = (sent.at, sent.at);
        }
        self.last_sent = self.last_sent.max(sent.at);
        self.counted.packets += 1;
        self.bytes += u64::from(sent.bytes);
        if lost {
            self.counted.lost += 1;
            self.lost_bytes += u64::from(sent.bytes);
        }
    }

    fn came(&mut self, sent: Sent) {
        if sent.mark == 0 && self.counted.lost > 0 && sent.at >= self.first_sent {
            self.counted.lost -= 1;
            self.lost_bytes = self.lost_bytes.saturating_sub(u64::from(sent.bytes));
        }
    }

    fn length(&self) -> Micros {
        self.last_sent - self.first_sent
    }

    fn seen(&self) -> Seen {
        Seen {
            sent: self.bytes as f64 * 8e6 / self.length().max(1) as f64,
            lost: self.lost_bytes as f64 / self.bytes.max(1) as f64,
            counted: self.counted,
            waited: self.waited.0 / self.waited.1.max(1),
        }
    }
}

impl Seen {
    fn delivered(&self) -> f64 {
        self.sent * (1.0 - self.lost)
    }
}

/// Packets of the last half to whole second.
#[derive(Debug, Default)]
struct Recent {
    before: Counted,
    current: Counted,
    since: Micros,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counted {
    packets: u32,
    lost: u32,
}

impl Counted {
    fn add(&mut self, more: Self) {
        self.packets += more.packets;
        self.lost += more.lost;
    }

    fn share(self) -> f64 {
        f64::from(self.lost) / f64::from(self.packets.max(1))
    }
}

/// More was lost of so many packets than chance would have it, were `normal` lost in the long run.
fn is_beyond(lost: f64, packets: u32, normal: f64) -> bool {
    lost > normal + SURE * (normal * (1.0 - normal) / f64::from(packets.max(1))).sqrt()
}

const RECENT: Micros = 500_000;

impl Recent {
    fn note(&mut self, lost: bool, now: Micros) {
        let age = now - self.since;
        if age >= RECENT {
            self.before = if age < 2 * RECENT { self.current } else { Counted::default() };
            (self.current, self.since) = (Counted::default(), now);
        }
        self.current.packets += 1;
        self.current.lost += u32::from(lost);
    }

    fn came(&mut self) {
        let of = if self.current.lost > 0 { &mut self.current } else { &mut self.before };
        of.lost = of.lost.saturating_sub(1);
    }

    fn share(&self, now: Micros) -> Option<f32> {
        let age = now - self.since;
        let mut all = Counted::default();
        if age < 2 * RECENT {
            all = self.current;
        }
        if age < RECENT {
            all.add(self.before);
        }
        (all.packets > 0).then(|| all.share() as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Micros = 1000;

    /// A path that loses, and a sender at some rate.
    struct Lab {
        loss: Loss,
        now: Micros,
        /// In bits per second.
        sent: f64,
        queue: Micros,
        count: u64,
    }

    impl Lab {
        fn at(sent: f64) -> Self {
            Self { loss: Loss::default(), now: 0, sent, queue: 0, count: 0 }
        }

        /// Packets of 1000 bytes, of which some are lost by their number and the rate; feedback each 100 ms. What was advised.
        fn run(&mut self, time: Micros, is_lost: impl Fn(u64, f64) -> bool) -> Vec<Advice> {
            let until = self.now + time;
            let mut advice = Vec::new();
            let mut due = self.now;
            while self.now < until {
                self.now += 100 * MS;
                while due < self.now {
                    self.count += 1;
                    let lost = is_lost(self.count, self.sent);
                    self.loss.note(Sent { at: due, bytes: 1000, mark: 0, name: 0 }, lost, self.now);
                    self.loss.waited(self.queue);
                    due += (8e9 / self.sent) as Micros;
                }
                let said = self.loss.judge(2e6, self.now);
                if let Advice::Lower(to) = said {
                    self.sent = to;
                }
                if said != Advice::Keep {
                    advice.push(said);
                }
            }
            advice
        }
    }

    /// By a number that is spread evenly.
    fn one_of(count: u64, share: f64) -> bool {
        (count as f64 * share).floor() != ((count - 1) as f64 * share).floor()
    }

    #[test]
    fn a_tenth_by_chance_is_no_worry() {
        let mut lab = Lab::at(1e6);
        assert_eq!(lab.run(60_000 * MS, |count, _| one_of(count, 0.1)), []);
        assert!((lab.loss.share(lab.now).unwrap() - 0.1).abs() < 0.02);
    }

    #[test]
    fn what_is_lost_whatever_is_sent_is_lost_by_chance_and_the_estimate_comes_back() {
        let mut lab = Lab::at(1e6);
        let advice = lab.run(10_000 * MS, |count, _| one_of(count, 0.25));
        assert!(matches!(advice[..], [Advice::Lower(_), Advice::Raise(2e6)]), "{advice:?}");
        assert!((lab.loss.by_chance() - 0.25).abs() < 0.05);
        assert_eq!(lab.run(40_000 * MS, |count, _| one_of(count, 0.25)), [], "and it is not tried again");
        let advice = lab.run(10_000 * MS, |count, _| one_of(count, 0.5));
        assert!(!advice.is_empty(), "but when much more is lost");
    }

    #[test]
    fn what_is_lost_for_being_too_much_is_not_sent() {
        let mut lab = Lab::at(1e6);
        let policed = |count: u64, sent: f64| one_of(count, (1.0 - 500e3 / sent).max(0.0));
        let advice = lab.run(10_000 * MS, policed);
        assert!(advice.iter().all(|advice| matches!(advice, Advice::Lower(_))), "{advice:?}");
        assert!((450e3..530e3).contains(&lab.sent), "{}", lab.sent);
    }

    #[test]
    fn a_trial_that_chance_misled_is_found_out() {
        for share in [0.12, 0.15, 0.2] {
            let mut lab = Lab::at(1e6);
            let policed = |count: u64, sent: f64| one_of(count, (1.0 - 500e3 / sent).max(0.0));
            lab.run(10_000 * MS, policed);
            assert!(matches!(lab.loss.cause, Cause::Policed { .. }));
            let advice = lab.run(30_000 * MS, |count, _| one_of(count, share));
            assert_eq!(advice.last(), Some(&Advice::Raise(2e6)), "{share}: {advice:?}");
            assert!((lab.loss.by_chance() - share).abs() < 0.05, "{share}: {}", lab.loss.by_chance());
        }
    }

    #[test]
    fn a_full_queue_needs_no_trial() {
        let mut lab = Lab::at(1e6);
        lab.queue = FULL_QUEUE;
        let advice = lab.run(600 * MS, |count, _| one_of(count, 0.5));
        let Advice::Lower(to) = advice[0] else { panic!("{advice:?}") };
        assert!((450e3..500e3).contains(&to), "{to}");
    }

    #[test]
    fn an_outage_is_left_to_pass() {
        let mut lab = Lab::at(1e6);
        assert_eq!(lab.run(3000 * MS, |_, _| true), []);
    }

    #[test]
    fn who_cannot_send_less_is_left_in_peace() {
        let mut lab = Lab::at(1e6);
        lab.run(1000 * MS, |count, _| one_of(count, 0.3));
        lab.sent = 1e6;
        let advice = lab.run(6000 * MS, |count, _| one_of(count, 0.3));
        assert_eq!(advice, [Advice::Raise(2e6)]);
    }

    #[test]
    fn what_comes_late_was_not_lost() {
        let mut loss = Loss::default();
        let sent = |n: Micros| Sent { at: n * MS, bytes: 1000, mark: 0, name: 0 };
        (0..10).for_each(|n| loss.note(sent(n), n < 5, 20 * MS));
        assert_eq!(loss.share(20 * MS), Some(0.5));
        (0..5).for_each(|n| loss.came(sent(n)));
        assert_eq!(loss.share(20 * MS), Some(0.0));
        assert_eq!(loss.share(2100 * MS), None);
        assert_eq!(loss.interval.counted.lost, 0);
    }
}
