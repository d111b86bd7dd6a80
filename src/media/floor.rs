//! Who has the floor of a room: the dominant speaker after Volfin and Cohen ("Dominant speaker identification for multipoint
//! videoconferencing", Computer Speech & Language 27, 2013), and the order in which voices get the few slots there are.

use std::time::{Duration, Instant};

use super::speaker::{Activity, Voice};
use crate::base::PeerId;

/// How often the dominant speaker is decided.
pub const DECISION_INTERVAL: Duration = Duration::from_millis(300);

/// Who takes the floor has spoken for so many tenths of the last second. Fewer lets a cough take it.
const TENTHS_TO_TAKE: u32 = 4;

/// By how much, as the logarithm of a ratio of scores, a challenger must exceed the dominant speaker on each time scale. Higher keeps the floor
/// longer with who has it.
const MARGIN: [f64; 3] = [3.0, 2.0, 0.0];

/// A voice that was silent for so long gives its slot to one that speaks. Shorter hands slots around in the pauses of a sentence.
const YIELDS_AFTER: Duration = Duration::from_secs(1);
/// A voice speaks when it was heard to within this.
const SPEAKING: Duration = Duration::from_millis(300);
/// Of two that speak, one this much louder, in dB, goes first. Less lets two equal voices take turns.
const LOUDER: f32 = 9.0;

/// Who has the floor.
#[derive(Debug, Default)]
pub struct Floor {
    dominant: Option<PeerId>,
    decided_at: Option<Instant>,
    /// Who had the floor, the latest first.
    speakers: Vec<PeerId>,
    /// Who was heard, those first whose sound matters most.
    voices: Vec<PeerId>,
}

/// A voice and whose it is.
pub type Heard<'a> = (PeerId, &'a Voice);

impl Floor {
    /// Who speaks, as far as the others care.
    pub fn dominant(&self) -> Option<PeerId> {
        self.dominant
    }

    /// 0 for who has the floor, then who had it before; all who never had it share the last.
    pub fn speaker_rank(&self, peer: PeerId) -> usize {
        rank(&self.speakers, peer)
    }

    /// 0 for the voice that matters most; all who were never heard share the last.
    pub fn voice_rank(&self, peer: PeerId) -> usize {
        rank(&self.voices, peer)
    }

    /// Looks at all voices of the room, settled to `now`. True: a rank changed.
    pub fn observe(&mut self, heard: &[Heard<'_>], now: Instant) -> bool {
        let gone = |peers: &mut Vec<PeerId>| {
            let had = peers.len();
            peers.retain(|peer| heard.iter().any(|(id, _)| id == peer));
            peers.len() != had
        };
        let left = gone(&mut self.speakers) | gone(&mut self.voices);
        self.dominant = self.dominant.filter(|peer| heard.iter().any(|(id, _)| id == peer));
        let reordered = self.order(heard, now);
        let due = self.decided_at.is_none_or(|at| now >= at + DECISION_INTERVAL);
        let taken = due && self.decide(heard, now);
        left | reordered | taken
    }

    fn decide(&mut self, heard: &[Heard<'_>], now: Instant) -> bool {
        self.decided_at = Some(now);
        let of = |peer| heard.iter().find(|(id, _)| *id == peer).map(|(_, voice)| Scores::of(voice.activity()));
        let present = self.dominant.and_then(of);
        let challenges = heard.iter().filter(|(peer, _)| Some(*peer) != self.dominant).filter_map(|(peer, voice)| {
            let activity = voice.activity();
            let margin = Scores::of(activity).over(&present.unwrap_or(Scores::SILENT));
            let wins = activity.long >= TENTHS_TO_TAKE && margin.iter().zip(MARGIN).all(|(m, needed)| *m > needed);
            wins.then_some((*peer, margin))
        });
        // Who exceeds by most in the last tenth of a second, then in the last second.
        let winner = challenges.max_by(|(a, x), (b, y)| {
            x[1].total_cmp(&y[1]).then(x[2].total_cmp(&y[2])).then(x[0].total_cmp(&y[0])).then(b.cmp(a))
        });
        let Some((peer, _)) = winner else { return false };
        self.dominant = Some(peer);
        self.speakers.retain(|other| *other != peer);
        self.speakers.insert(0, peer);
        true
    }

    /// Moves who speaks before those who yield.
    fn order(&mut self, heard: &[Heard<'_>], now: Instant) -> bool {
        let mut changed = false;
        let voice_of = |peer: PeerId| heard.iter().find(|(id, _)| *id == peer).map(|(_, voice)| *voice);
        for (peer, voice) in heard {
            if !speaks(voice, now) {
                continue;
            }
            let mut place = self.voices.iter().position(|other| other == peer).unwrap_or_else(|| {
                changed = true;
                self.voices.push(*peer);
                self.voices.len() - 1
            });
            while place > 0 && voice_of(self.voices[place - 1]).is_none_or(|other| yields(other, voice, now)) {
                self.voices.swap(place - 1, place);
                place -= 1;
                changed = true;
            }
        }
        changed
    }
}

fn rank(order: &[PeerId], peer: PeerId) -> usize {
    order.iter().position(|other| *other == peer).unwrap_or(order.len())
}

fn speaks(voice: &Voice, now: Instant) -> bool {
    voice.spoke_at().is_some_and(|at| now.saturating_duration_since(at) <= SPEAKING)
}

/// Whether `holder` gives way to `voice`, which speaks.
fn yields(holder: &Voice, voice: &Voice, now: Instant) -> bool {
    let silent = holder.spoke_at().is_none_or(|at| now.saturating_duration_since(at) >= YIELDS_AFTER);
    silent || voice.strength() > holder.strength() + LOUDER
}

/// How likely speech is against noise, on each time scale.
#[derive(Debug, Clone, Copy)]
struct Scores([f64; 3]);

/// The logarithm of a count's likelihood under speech, a binomial distribution with an even chance, over that under noise, an exponential
/// one whose parameter is the paper's.
struct Scale {
    of: u32,
    noise: f64,
}

const SCALES: [Scale; 3] = [Scale { of: 13, noise: 0.78 }, Scale { of: 5, noise: 24.0 }, Scale { of: 10, noise: 47.0 }];

/// Scores are compared by their ratio, so none is zero.
const LEAST_SCORE: f64 = 1e-10;

impl Scores {
    const SILENT: Scores = Scores([LEAST_SCORE; 3]);

    fn of(activity: Activity) -> Self {
        let counts = [activity.immediate, activity.medium, activity.long];
        let mut scores = [0.0; 3];
        for ((score, scale), count) in scores.iter_mut().zip(&SCALES).zip(counts) {
            *score = scale.score(count).max(LEAST_SCORE);
        }
        Self(scores)
    }

    fn over(&self, other: &Scores) -> [f64; 3] {
        std::array::from_fn(|scale| (self.0[scale] / other.0[scale]).ln())
    }
}

impl Scale {
    fn score(&self, count: u32) -> f64 {
        let ways: f64 = (0..count).map(|i| (f64::from(self.of - i) / f64::from(i + 1)).ln()).sum();
        let speech = ways + f64::from(self.of) * 0.5f64.ln();
        let noise = self.noise.ln() - self.noise * f64::from(count);
        speech - noise
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(20);
    const A: PeerId = PeerId(1);
    const B: PeerId = PeerId(2);
    const C: PeerId = PeerId(3);

    /// Synthetic talk: what each says, frame by frame, and who had the floor.
    struct Talk {
        now: Instant,
        voices: Vec<(PeerId, Voice)>,
        floor: Floor,
        random: u64,
        history: Vec<PeerId>,
        /// Who of the voices was first.
        first: Vec<PeerId>,
    }

    impl Talk {
        fn new(seed: u64, peers: u64) -> Self {
            let now = Instant::now();
            Self {
                now,
                voices: (1..=peers).map(|id| (PeerId(id), Voice::new(now))).collect(),
                floor: Floor::default(),
                random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
                history: Vec::new(),
                first: Vec::new(),
            }
        }

        fn pick(&mut self, below: u64) -> u64 {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            (self.random >> 11) % below
        }

        /// Frames of someone who talks: words of 200–600 ms, breaths of 60–160 ms, now and then a pause of up to 600 ms.
        fn sentence(&mut self, millis: u64, level: u8) -> Vec<u8> {
            let frames = (millis / 20) as usize;
            let mut levels = Vec::with_capacity(frames);
            while levels.len() < frames {
                for _ in 0..10 + self.pick(20) {
                    levels.push(level + self.pick(8) as u8);
                }
                let pause = if self.pick(5) == 0 { 10 + self.pick(20) } else { 3 + self.pick(5) };
                levels.extend(std::iter::repeat_n(80, pause as usize));
            }
            levels.truncate(frames);
            levels
        }

        fn noise(&mut self, millis: u64, level: u8) -> Vec<u8> {
            vec![level; (millis / 20) as usize]
        }

        /// Everyone sends a packet each 20 ms, also those who are silent.
        fn play(&mut self, parts: &[(PeerId, Vec<u8>)]) {
            let frames = parts.iter().map(|(_, levels)| levels.len()).max().unwrap_or(0);
            for frame in 0..frames {
                for (peer, voice) in &mut self.voices {
                    let said = parts.iter().find(|(id, _)| id == peer).and_then(|(_, levels)| levels.get(frame));
                    voice.heard(said.copied().unwrap_or(85), self.now);
                }
                self.now += FRAME;
                if frame % 5 == 0 {
                    self.observe();
                }
            }
        }

        fn observe(&mut self) {
            self.voices.iter_mut().for_each(|(_, voice)| voice.settle(self.now));
            let heard: Vec<Heard<'_>> = self.voices.iter().map(|(peer, voice)| (*peer, voice)).collect();
            self.floor.observe(&heard, self.now);
            if let Some(peer) = self.floor.voices.first().filter(|peer| self.first.last() != Some(peer)) {
                self.first.push(*peer);
            }
            if let Some(peer) = self.floor.dominant().filter(|peer| self.history.last() != Some(peer)) {
                self.history.push(peer);
            }
        }
    }

    const SEEDS: std::ops::Range<u64> = 0..100;

    #[test]
    fn nobody_has_the_floor_in_silence() {
        let mut talk = Talk::new(1, 3);
        talk.play(&[(A, vec![85; 500]), (B, vec![62; 500])]);
        assert_eq!(talk.floor.dominant(), None);
        assert_eq!((talk.floor.speaker_rank(A), talk.floor.voice_rank(B)), (0, 0), "all are equal");
    }

    #[test]
    fn who_talks_has_the_floor_and_keeps_it_through_pauses() {
        for seed in SEEDS {
            let mut talk = Talk::new(seed, 3);
            let said = talk.sentence(10_000, 25);
            talk.play(&[(A, said)]);
            assert_eq!(talk.history, [A], "seed {seed}");
            talk.play(&[(A, vec![85; 250])]);
            assert_eq!(talk.history, [A], "nor does silence take it away, seed {seed}");
        }
    }

    #[test]
    fn a_cough_does_not_win() {
        for seed in SEEDS {
            let mut talk = Talk::new(seed, 2);
            let said = talk.sentence(5_000, 25);
            talk.play(&[(A, said)]);
            for _ in 0..5 {
                let (said, cough) = (talk.sentence(2_000, 25), talk.noise(300, 10));
                talk.play(&[(A, said), (B, cough)]);
                // And into a pause.
                let cough = talk.noise(300, 10);
                talk.play(&[(A, vec![85; 60]), (B, cough)]);
            }
            assert_eq!(talk.history, [A], "seed {seed}");
        }
    }

    #[test]
    fn an_interruption_that_lasts_wins_within_two_seconds_of_the_others_silence() {
        for seed in SEEDS {
            let mut talk = Talk::new(seed, 2);
            let said = talk.sentence(5_000, 25);
            talk.play(&[(A, said)]);
            let (said, interrupting) = (talk.sentence(800, 25), talk.sentence(2_800, 25));
            talk.play(&[(A, said), (B, interrupting)]);
            assert_eq!(talk.history, [A, B], "seed {seed}");
        }
    }

    #[test]
    fn a_long_interruption_wins_even_over_who_talks_on() {
        let mut taken = 0;
        for seed in SEEDS {
            let mut talk = Talk::new(seed, 2);
            let said = talk.sentence(3_000, 25);
            talk.play(&[(A, said)]);
            let said = talk.sentence(20_000, 40);
            talk.play(&[(A, said), (B, vec![20; 1000])]);
            taken += usize::from(talk.history.get(1) == Some(&B));
            assert!(talk.history.len() <= 3, "nor do they take turns, seed {seed}: {:?}", talk.history);
        }
        assert!(taken >= 95, "{taken} of 100");
    }

    #[test]
    fn tiny_alternations_do_not_flap() {
        for seed in SEEDS {
            let mut talk = Talk::new(seed, 2);
            let said = talk.sentence(3_000, 25);
            talk.play(&[(A, said)]);
            for _ in 0..15 {
                let said = talk.sentence(1_000, 25);
                talk.play(&[(A, said)]);
                let assent = talk.noise(200, 25);
                talk.play(&[(B, assent)]);
            }
            assert_eq!(talk.history, [A], "\"mhm\" takes no floor, seed {seed}");
        }
    }

    #[test]
    fn a_dialogue_hands_the_floor_over_with_every_turn() {
        for seed in SEEDS {
            let mut talk = Talk::new(seed, 3);
            let mut expected = Vec::new();
            for turn in 0..6 {
                let peer = if turn % 2 == 0 { A } else { C };
                let said = talk.sentence(4_000, 25);
                talk.play(&[(peer, said)]);
                expected.push(peer);
            }
            assert_eq!(talk.history, expected, "seed {seed}");
            assert_eq!([C, A, B].map(|peer| talk.floor.speaker_rank(peer)), [0, 1, 2]);
        }
    }

    #[test]
    fn a_voice_that_begins_goes_before_one_that_was_silent_at_once() {
        let mut talk = Talk::new(7, 3);
        for peer in [A, B] {
            let said = talk.sentence(2_000, 25);
            talk.play(&[(peer, said)]);
        }
        talk.play(&[(A, vec![85; 100])]);
        assert_eq!(talk.floor.voice_rank(C), 2);
        talk.play(&[(C, vec![25; 6])]);
        assert_eq!(talk.floor.voice_rank(C), 0, "after a tenth of a second");
    }

    #[test]
    fn two_equal_voices_do_not_take_turns_and_a_much_louder_one_goes_first() {
        for seed in SEEDS {
            let mut talk = Talk::new(seed, 3);
            let (a, b) = (talk.sentence(13_000, 30), talk.sentence(13_000, 30));
            talk.play(&[(A, a), (B, b)]);
            assert_eq!(talk.first.len(), 1, "seed {seed}: {:?}", talk.first);
            let behind = if talk.floor.voice_rank(A) > talk.floor.voice_rank(B) { A } else { B };
            let ahead = if behind == A { B } else { A };
            let (quiet, loud) = (talk.sentence(3_000, 30), talk.sentence(3_000, 10));
            talk.play(&[(ahead, quiet), (behind, loud)]);
            assert_eq!(talk.floor.voice_rank(behind), 0, "seed {seed}");
        }
    }

    #[test]
    fn who_left_has_no_rank() {
        let mut talk = Talk::new(7, 2);
        let said = talk.sentence(2_000, 25);
        talk.play(&[(A, said)]);
        assert_eq!(talk.floor.dominant(), Some(A));
        talk.voices.remove(0);
        talk.observe();
        assert_eq!(talk.floor.dominant(), None);
        assert_eq!(talk.floor.speaker_rank(A), 0);
        let said = talk.sentence(2_000, 25);
        talk.play(&[(B, said)]);
        assert_eq!(talk.floor.dominant(), Some(B));
    }
}
