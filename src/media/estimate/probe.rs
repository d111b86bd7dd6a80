//! When to send more than is needed for a moment, how much more, and what came of it.
//!
//! After libwebrtc's `ProbeController` and `ProbeBitrateEstimator`, but one probe at a time: the next one knows what the last one found.

use super::Micros;
use super::history::Sent;

/// A probe lasts so long at its rate. Longer is surer and fills the path's queue.
const LENGTH: f64 = 0.030;
/// On thin paths it lasts longer, up to this and so many bytes: some packets are needed to measure anything …
const LONGEST: f64 = 0.120;
const LEAST_BYTES: f64 = 6000.0;
/// … and these at least.
const FEWEST_BYTES: f64 = 3000.0;

/// The first probes are at these multiples of the first estimate, whatever is looked for: what a viewer will be sent is known only when
/// some of it has come. All others are at twice the estimate.
const FIRST: [f64; 2] = [3.0, 6.0];
const NEXT: f64 = 2.0;
/// A probe that found so much of its rate is followed by another.
const GOES_ON: f64 = 0.7;
/// It probes up to so many times what is looked for, to be sure to find it, and only while there is less than this share of it.
const BEYOND: f64 = 1.15;
const ENOUGH: f64 = 1.0;
/// A probe for less than this multiple of the estimate, or that finds less, is not worth another.
const WORTH: f64 = 1.05;

/// From one probe to the next; twice as long after one that found nothing.
const INTERVAL: Micros = 5_000_000;
const LONGEST_INTERVAL: Micros = 10_000_000;
/// After one of which too little arrived to say anything, at first.
const AGAIN: Micros = 1_000_000;
/// After the estimate fell by a third it may have been for nothing.
const DEEP_FALL: f64 = 0.66;
const AFTER_DEEP_FALL: Micros = 1_000_000;
/// While a queue grows or has just been let drain no probe is sent.
const CALM: Micros = 500_000;
/// So many times more is looked for than by the last probe: soon. Lower probes at each change of what is sent.
const MORE: f64 = 1.2;
const AFTER_WISH: Micros = 500_000;

/// It is not known what a probe found without feedback for so long.
const WAIT: Micros = 1_000_000;
/// A sender who sent nothing of a probe for so long has stopped it, and what it sent is all there is.
const CUT: Micros = 200_000;
/// What a probe left in the path's queue has gone so long after it, or is not only the probe's.
const FELT: Micros = 300_000;
/// Nothing was sent for so long: a probe would be all there is.
const IDLE: Micros = 2_000_000;
/// After an idle time the path shows itself for so long.
const AFTER_IDLE: Micros = 300_000;
/// At first for so long: a viewer who comes waits for pictures, and a path that is full with the first packets shows it in this time.
const AFTER_FIRST: Micros = 100_000;

/// This share of what was sent must have arrived to say anything.
const ARRIVED: f64 = 0.7;
const FEWEST_PACKETS: u32 = 3;
/// Arriving this much slower than sent, a probe has filled the path.
const FILLS: f64 = 0.9;
/// Of what a filled path carried, this is used.
const USED_OF_FULL: f64 = 0.95;
/// Arriving this much faster than sent, it was held up on the way and says nothing.
const TOO_FAST: f64 = 2.0;

/// What is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    pub id: u32,
    /// Bits per second to send at …
    pub bitrate: u64,
    /// … until so many bytes are out.
    pub bytes: u32,
}

/// What a probe found, in bits per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// The path carries so much …
    pub bitrate: f64,
    /// … and not more than this, if the probe filled it.
    pub at_most: Option<f64>,
}

/// The probes of one path.
#[derive(Debug)]
pub struct Prober {
    desired: f64,
    /// The first probes go up to this.
    at_first: f64,
    /// What was desired when the last probe was sent.
    probed_for: f64,
    /// `None`: nothing is sent.
    next: Option<Micros>,
    interval: Micros,
    again: Micros,
    stage: usize,
    id: u32,
    cluster: Option<Cluster>,
    /// When the last one was over.
    over_at: Micros,
    lowered_at: Micros,
}

/// A probe on its way.
#[derive(Debug, Clone, Copy)]
struct Cluster {
    probe: Probe,
    taken: bool,
    /// When it was decided on; then when its last packet was sent.
    at: Micros,
    sent: Tally,
    arrived: Tally,
    /// Packets of which nothing is known.
    under_way: u32,
}

/// Packets of a probe.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    packets: u32,
    bytes: u32,
    sent: Ends,
    arrived: Ends,
}

/// Times of the first and the last packet, and their bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Ends {
    first: (Micros, u16),
    last: (Micros, u16),
}

impl Prober {
    pub fn new(first: f64) -> Self {
        Self {
            desired: first,
            at_first: first * FIRST[FIRST.len() - 1],
            probed_for: 0.0,
            next: None,
            interval: INTERVAL,
            again: AGAIN,
            stage: 0,
            id: 0,
            cluster: None,
            over_at: Micros::MIN / 2,
            lowered_at: Micros::MIN / 2,
        }
    }

    /// What could be used at most has changed.
    pub fn look_for(&mut self, desired: f64, now: Micros) {
        if desired > self.desired && desired >= self.probed_for * MORE {
            self.sooner(now + AFTER_WISH);
        }
        self.desired = desired;
    }

    /// A packet was sent. Returns the mark to know it by.
    pub fn sent(&mut self, probe: Option<u32>, bytes: u16, now: Micros) -> u8 {
        if self.next.is_none() {
            self.next = Some(now + if self.id == 0 { AFTER_FIRST } else { AFTER_IDLE });
        }
        let Some(id) = probe else { return 0 };
        if let Some(cluster) = self.cluster.as_mut().filter(|cluster| cluster.probe.id == id) {
            cluster.sent.note(now, 0, bytes);
            cluster.at = now;
            cluster.under_way += 1;
        }
        mark(id)
    }

    /// A packet of a probe has arrived, by the receiver's clock, or was lost.
    pub fn told(&mut self, sent: Sent, arrived: Option<Micros>) {
        let Some(cluster) = self.cluster.as_mut().filter(|cluster| mark(cluster.probe.id) == sent.mark) else { return };
        cluster.under_way = cluster.under_way.saturating_sub(1);
        if let Some(arrived) = arrived {
            cluster.arrived.note(sent.at, arrived, sent.bytes);
        }
    }

    /// What the probe found, when all that can be known of it is. `by_chance`: the share of packets that are lost whatever
    /// is sent.
    pub fn result(&mut self, estimate: f64, by_chance: f64, now: Micros) -> Option<Found> {
        let cluster = self.cluster.filter(|cluster| cluster.is_out(now))?;
        if cluster.under_way > 0 && now - cluster.at < WAIT {
            return None;
        }
        (self.cluster, self.over_at) = (None, now);
        let found = cluster.found(by_chance);
        let went_well =
            found.is_some_and(|found| found.bitrate >= (cluster.probe.bitrate as f64 * GOES_ON).max(estimate * WORTH));
        if went_well {
            (self.interval, self.again) = (INTERVAL, AGAIN);
            self.stage += 1;
            self.next = Some(now);
        } else if found.is_none() {
            self.next = Some(now + self.again);
            // Of what nobody reported on, nothing is known: it is no sign of a path that drops probes.
            if cluster.under_way == 0 {
                self.again = (self.again * 2).min(LONGEST_INTERVAL);
            }
        } else {
            self.stage = FIRST.len();
            self.next = Some(now + self.interval);
            self.interval = (self.interval * 2).min(LONGEST_INTERVAL);
        }
        found
    }

    /// A queue may be that of a probe.
    pub fn is_felt(&self, now: Micros) -> bool {
        self.cluster.is_some_and(|cluster| cluster.sent.packets > 0) || now - self.over_at < FELT
    }

    /// The estimate was lowered.
    pub fn lowered(&mut self, from: f64, to: f64, now: Micros) {
        self.lowered_at = now;
        self.stage = FIRST.len();
        if to < from * DEEP_FALL {
            self.interval = INTERVAL;
            self.next = self.next.map(|_| now + AFTER_DEEP_FALL);
        }
    }

    /// Decides whether to probe; `is_calm`: no queue grows.
    pub fn decide(&mut self, estimate: f64, is_calm: bool, last_sent: Micros, now: Micros) {
        if let Some(cluster) = &self.cluster {
            if now - cluster.at < WAIT {
                return;
            }
            self.cluster = None;
            self.next = Some(now + self.interval);
        }
        if self.next.is_none_or(|next| now < next) {
            return;
        }
        let bitrate = self.bitrate(estimate);
        self.next = if now - last_sent > IDLE {
            None
        } else if !self.wants(estimate) || bitrate < estimate * WORTH {
            self.stage = FIRST.len();
            Some(now + INTERVAL)
        } else if !is_calm || now - self.lowered_at < CALM {
            Some(now + CALM)
        } else {
            self.begin(bitrate, now);
            Some(now + self.interval)
        };
    }

    /// The probe that was decided on, once.
    pub fn take(&mut self) -> Option<Probe> {
        let cluster = self.cluster.as_mut().filter(|cluster| !cluster.taken)?;
        cluster.taken = true;
        Some(cluster.probe)
    }

    /// When to be asked next.
    pub fn deadline(&self, estimate: f64) -> Option<Micros> {
        match &self.cluster {
            Some(cluster) => Some(cluster.at + WAIT),
            None => self.next.filter(|_| self.wants(estimate)),
        }
    }

    fn bitrate(&self, estimate: f64) -> f64 {
        // The second is a multiple of the first estimate too, and the first has been found.
        let times = match self.stage {
            0 => FIRST[0],
            1 => FIRST[1] / FIRST[0],
            _ => NEXT,
        };
        (estimate * times).min(self.looked_for() * BEYOND)
    }

    fn begin(&mut self, bitrate: f64, now: Micros) {
        self.probed_for = self.desired;
        self.id = self.id.wrapping_add(1);
        let rate = bitrate / 8.0;
        let bytes = (rate * LONGEST).clamp(FEWEST_BYTES, LEAST_BYTES).max(rate * LENGTH) as u32;
        let probe = Probe { id: self.id, bitrate: bitrate as u64, bytes };
        let none = Tally::default();
        self.cluster = Some(Cluster { probe, taken: false, at: now, sent: none, arrived: none, under_way: 0 });
    }

    fn wants(&self, estimate: f64) -> bool {
        estimate < self.looked_for() * ENOUGH
    }

    fn looked_for(&self) -> f64 {
        if self.stage < FIRST.len() { self.desired.max(self.at_first) } else { self.desired }
    }

    fn sooner(&mut self, at: Micros) {
        self.next = self.next.map(|next| next.min(at));
    }
}

impl Cluster {
    /// No more of it will be sent.
    fn is_out(&self, now: Micros) -> bool {
        let was_cut = self.sent.packets >= FEWEST_PACKETS && now - self.at >= CUT;
        self.sent.bytes >= self.probe.bytes || was_cut
    }

    fn found(&self, by_chance: f64) -> Option<Found> {
        let Tally { packets, bytes, sent, arrived } = self.arrived;
        let least = f64::from(self.sent.bytes) * ARRIVED * (1.0 - by_chance);
        if packets < FEWEST_PACKETS || f64::from(bytes) < least {
            return None;
        }
        let asked = self.probe.bitrate as f64;
        let rate = |bytes: u32, ends: Ends| {
            let length = ends.last.0 - ends.first.0;
            (length > 0).then(|| f64::from(bytes) * 8e6 / length as f64 / (1.0 - by_chance))
        };
        // The last packet takes no time to be sent, the first none to arrive.
        let came = rate(bytes - u32::from(arrived.first.1), arrived)?;
        let went = rate(bytes - u32::from(sent.last.1), sent).unwrap_or(asked);
        if came > went * TOO_FAST {
            return None;
        }
        Some(if came < went * FILLS {
            Found { bitrate: came * USED_OF_FULL, at_most: Some(came) }
        } else {
            Found { bitrate: came.min(went), at_most: None }
        })
    }
}

impl Tally {
    fn note(&mut self, sent: Micros, arrived: Micros, bytes: u16) {
        self.sent.note(sent, bytes, self.packets == 0);
        self.arrived.note(arrived, bytes, self.packets == 0);
        self.packets += 1;
        self.bytes += u32::from(bytes);
    }
}

impl Ends {
    fn note(&mut self, at: Micros, bytes: u16, is_first: bool) {
        if is_first || at < self.first.0 {
            self.first = (at, bytes);
        }
        if is_first || at >= self.last.0 {
            self.last = (at, bytes);
        }
    }
}

fn mark(id: u32) -> u8 {
    (id % 255) as u8 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Micros = 1000;

    /// A prober of a path of some rate that media flows on, and its estimate.
    struct Lab {
        prober: Prober,
        estimate: f64,
        path: f64,
        now: Micros,
        probed: Vec<u64>,
    }

    impl Lab {
        fn new(estimate: f64, desired: f64, path: f64) -> Self {
            let mut prober = Prober::new(estimate);
            prober.look_for(desired, 0);
            Self { prober, estimate, path, now: 0, probed: Vec::new() }
        }

        fn run(&mut self, time: Micros) {
            let until = self.now + time;
            while self.now < until {
                self.now += 10 * MS;
                self.prober.sent(None, 1000, self.now);
                self.prober.decide(self.estimate, true, self.now, self.now);
                let Some(probe) = self.prober.take() else { continue };
                assert_eq!(self.prober.take(), None, "once");
                self.probed.push(probe.bitrate);
                let found = send(&mut self.prober, probe, self.path, |_| false, self.now);
                self.now += 100 * MS;
                let found = found.or_else(|| self.prober.result(self.estimate, 0.0, self.now));
                self.estimate = self.estimate.max(found.map_or(0.0, |found| found.bitrate));
            }
        }
    }

    /// Sends it over a path of that rate.
    fn send(prober: &mut Prober, probe: Probe, path: f64, lost: impl Fn(u32) -> bool, start: Micros) -> Option<Found> {
        let (mut at, mut free, mut left, mut count) = (start, start, i64::from(probe.bytes), 0);
        let mut packets = Vec::new();
        while left > 0 {
            let mark = prober.sent(Some(probe.id), 1000, at);
            free = free.max(at) + (8e9 / path) as Micros;
            packets.push((Sent { at, bytes: 1000, mark, name: 0 }, (!lost(count)).then_some(free - 7_000_000)));
            at += (8e9 / probe.bitrate as f64) as Micros;
            left -= 1000;
            count += 1;
        }
        packets.into_iter().for_each(|(sent, arrived)| prober.told(sent, arrived));
        prober.result(0.0, 0.0, at)
    }

    fn once(bitrate: f64, path: f64, lost: impl Fn(u32) -> bool) -> Option<Found> {
        let mut prober = Prober::new(bitrate);
        prober.begin(bitrate, 0);
        let probe = prober.take().unwrap();
        send(&mut prober, probe, path, lost, 0)
    }

    #[test]
    fn a_probe_finds_its_own_rate_or_that_of_the_path() {
        for (bitrate, path, found, fills) in
            [(2e6, 50e6, 2e6, false), (4e6, 1e6, 0.95e6, true), (10e6, 9.5e6, 9.5e6, false)]
        {
            let result = once(bitrate, path, |_| false).unwrap();
            assert!((result.bitrate / found - 1.0).abs() < 0.05, "{bitrate} over {path}: {result:?}");
            assert_eq!(result.at_most.is_some(), fills, "{bitrate} over {path}: {result:?}");
        }
    }

    #[test]
    fn a_probe_of_which_little_arrived_says_nothing() {
        assert_eq!(once(4e6, 50e6, |packet| packet % 2 == 0), None);
        assert!(once(4e6, 50e6, |packet| packet % 10 == 5).is_some());
    }

    #[test]
    fn a_wish_that_changes_a_little_all_the_time_is_no_reason_to_probe() {
        let mut lab = Lab::new(1e6, 4e6, 1e6);
        for step in 0..300 {
            lab.prober.look_for(if step % 2 == 0 { 4.4e6 } else { 4e6 }, lab.now);
            lab.run(200 * MS);
        }
        assert!(lab.probed.len() < 12, "{:?}", lab.probed);
    }

    #[test]
    fn a_probe_that_was_cut_is_judged_by_what_was_sent() {
        let mut prober = Prober::new(1e6);
        prober.begin(2e6, 0);
        let probe = prober.take().unwrap();
        let found = send(&mut prober, Probe { bytes: probe.bytes - 1000, ..probe }, 50e6, |_| false, 0);
        assert_eq!(found, None);
        assert_eq!(prober.result(1e6, 0.0, CUT), None, "more may come");
        assert!(prober.result(1e6, 0.0, CUT * 2).is_some());
    }

    #[test]
    fn a_new_wish_is_followed_soon() {
        let mut lab = Lab::new(1e6, 1e6, 100e6);
        lab.run(2000 * MS);
        assert_eq!(lab.probed.len(), 2, "only the first ones: {:?}", lab.probed);
        lab.prober.look_for(11e6, lab.now);
        assert_eq!(lab.prober.deadline(lab.estimate), Some(lab.now + AFTER_WISH));
        lab.run(AFTER_WISH + 200 * MS);
        assert!(lab.estimate >= 11e6);
    }

    #[test]
    fn a_probe_that_was_lost_is_repeated_soon_and_then_less_so() {
        let mut prober = Prober::new(1e6);
        let mut waits = Vec::new();
        for _ in 0..6 {
            prober.begin(2e6, 0);
            let probe = prober.take().unwrap();
            assert_eq!(send(&mut prober, probe, 50e6, |_| true, 0), None);
            waits.push(prober.next.unwrap() / 1_000_000);
        }
        assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn the_first_go_up_fast_and_not_beyond_what_is_looked_for() {
        let mut lab = Lab::new(1e6, 10e6, 100e6);
        lab.run(10_000 * MS);
        let rates: Vec<u64> = lab.probed.iter().map(|rate| rate / 100_000).collect();
        assert!(matches!(rates[..], [30, 58..=61, 105..=115]), "{rates:?}");
        assert!(lab.estimate >= 10e6);
        assert_eq!(lab.prober.deadline(lab.estimate), None, "there is nothing more to do");
    }

    #[test]
    fn a_path_that_has_no_more_is_asked_seldom() {
        let mut lab = Lab::new(1e6, 10e6, 1.5e6);
        lab.run(60_000 * MS);
        assert!((1.3e6..1.5e6).contains(&lab.estimate), "{}", lab.estimate);
        assert!((5..10).contains(&lab.probed.len()), "{:?}", lab.probed);
    }

    #[test]
    fn after_a_deep_fall_it_looks_whether_it_was_for_nothing() {
        let mut lab = Lab::new(1e6, 4e6, 100e6);
        lab.run(5000 * MS);
        let probes = lab.probed.len();
        lab.prober.lowered(lab.estimate, 1e6, lab.now);
        lab.estimate = 1e6;
        lab.run(AFTER_DEEP_FALL - 50 * MS);
        assert_eq!(lab.probed.len(), probes);
        lab.run(1000 * MS);
        assert!(lab.estimate >= 4e6, "{}", lab.estimate);
    }

    #[test]
    fn without_media_none_is_sent() {
        let mut prober = Prober::new(1e6);
        prober.look_for(4e6, 0);
        prober.decide(1e6, true, 0, 60_000 * MS);
        assert_eq!((prober.take(), prober.deadline(1e6)), (None, None));
        prober.sent(None, 1000, 60_000 * MS);
        assert_eq!(prober.deadline(1e6), Some(60_000 * MS + AFTER_FIRST));
        prober.decide(1e6, true, 60_000 * MS, 60_000 * MS + IDLE + 1);
        assert_eq!((prober.take(), prober.deadline(1e6)), (None, None), "it has stopped again");
    }

    #[test]
    fn a_probe_that_nobody_sends_or_answers_is_given_up() {
        let mut prober = Prober::new(1e6);
        prober.begin(2e6, 0);
        assert_eq!(prober.deadline(1e6), Some(WAIT));
        prober.decide(1e6, true, WAIT, WAIT);
        assert!(prober.cluster.is_none());
        prober.begin(2e6, WAIT);
        let probe = prober.take().unwrap();
        (0..9).for_each(|_| _ = prober.sent(Some(probe.id), 1000, WAIT));
        assert_eq!(prober.result(1e6, 0.0, WAIT + MS), None);
        assert!(prober.cluster.is_some(), "there may yet be feedback");
        assert_eq!(prober.result(1e6, 0.0, 2 * WAIT), None);
        assert!(prober.cluster.is_none());
    }
}
