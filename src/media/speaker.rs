//! A voice: how loud it is, by time and not by packets, and whether it is speech, on the three time scales of Volfin and Cohen.

use std::time::{Duration, Instant};

use crate::base::Volume;

/// A level holds until the next packet, at most so long: an Opus sender with DTX sends one packet in 400 ms.
const LONGEST_HOLD: Duration = Duration::from_millis(450);
/// And at least so long: five packets that a network loses are no pause in a sentence.
const SHORTEST_HOLD: Duration = Duration::from_millis(100);

/// RFC 6464's silence, in −dBov.
const SILENCE: u8 = 127;
/// A mean quieter than this, in −dBov, is the room and not a voice: volume 0.
const ROOM_TONE: u8 = 70;

/// The shortest stretch that is judged.
const FRAME: Duration = Duration::from_millis(20);
/// Frames in a medium block, and medium blocks in the long stretch: 100 ms and 1 s.
const FRAMES_IN_BLOCK: u32 = 5;
const BLOCKS: u32 = 10;
/// A block is speech with so many frames of it; fewer make a cough last longer than it does.
const FRAMES_OF_SPEECH: u32 = 3;

/// Steps in which a frame stands out of the background, and their height in dB. The paper counts sub-bands of the spectrum; the level is all
/// that a forwarder has.
const BANDS: u8 = 13;
const BAND_DB: u8 = 4;
/// A frame is speech when it stands so many steps, 16 dB, out of the background. Lower takes a keyboard for a voice.
const BANDS_OF_SPEECH: u8 = 4;

/// The background is the quietest level of the last five to ten seconds: sentences have pauses, a fan has none.
const BACKGROUND_SPAN: Duration = Duration::from_secs(5);
/// Bounds of the background, as loudness over silence: −80 dBov, so that digital silence makes no voice of a rustle, and −50 dBov, so that
/// who talks without a breath is not taken for a fan.
const BACKGROUND: (u8, u8) = (47, 77);
/// What is taken for the background before anything was heard: −65 dBov.
const FIRST_BACKGROUND: u8 = 62;

/// How far the strength of a voice follows each frame of speech: over about half a second.
const STRENGTH_STEP: f32 = 0.04;

/// A member's voice.
#[derive(Debug, Clone)]
pub struct Voice {
    /// Loudness over silence: 127 − level.
    loudness: u8,
    holds_until: Instant,
    heard_at: Option<Instant>,
    /// Loudness · microseconds since the last reading, counted up to `counted_to`.
    sum: u64,
    counted_to: Instant,
    read_at: Instant,
    /// One bit for each frame, the newest lowest: it is speech.
    frames: u64,
    /// Steps by which the newest frame stands out.
    bands: u8,
    next_frame_at: Instant,
    background: Background,
    strength: f32,
    spoke_at: Option<Instant>,
}

/// How much a voice was speech on each of the three time scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activity {
    /// Of 13: the newest 20 ms.
    pub immediate: u32,
    /// Of 5: the newest 100 ms.
    pub medium: u32,
    /// Of 10: the newest second.
    pub long: u32,
}

impl Voice {
    pub fn new(now: Instant) -> Self {
        Self {
            loudness: 0,
            holds_until: now,
            heard_at: None,
            sum: 0,
            counted_to: now,
            read_at: now,
            frames: 0,
            bands: 0,
            next_frame_at: now + FRAME,
            background: Background::new(now),
            strength: 0.0,
            spoke_at: None,
        }
    }

    /// A packet with this RFC 6464 level (0 loudest – 127) came. True: with it a pause ended.
    pub fn heard(&mut self, audio_level: u8, now: Instant) -> bool {
        let paused = !self.is_speech();
        self.count_to(now);
        let gap = self.heard_at.replace(now).map_or(LONGEST_HOLD, |at| now.saturating_duration_since(at));
        self.loudness = SILENCE - audio_level.min(SILENCE);
        self.holds_until = now + (gap * 5 / 2).clamp(SHORTEST_HOLD, LONGEST_HOLD);
        paused && self.is_speech()
    }

    /// What it sends is not forwarded any more.
    pub fn mute(&mut self, now: Instant) {
        self.count_to(now);
        self.holds_until = now;
        self.sum = 0;
        (self.frames, self.bands) = (0, 0);
    }

    /// The mean volume since the last reading.
    pub fn read(&mut self, now: Instant) -> Volume {
        self.count_to(now);
        let span = now.saturating_duration_since(self.read_at).as_micros().max(1) as u64;
        let level = SILENCE - (self.sum / span).min(u64::from(SILENCE)) as u8;
        self.sum = 0;
        self.read_at = now;
        if level > ROOM_TONE { Volume::SILENT } else { Volume::from_audio_level(level) }
    }

    /// Lets the time pass in which nothing came.
    pub fn settle(&mut self, now: Instant) {
        self.count_to(now);
    }

    /// As of the last packet or [`Voice::settle`].
    pub fn activity(&self) -> Activity {
        let block = |index: u32| (self.frames >> (index * FRAMES_IN_BLOCK) & 0x1f).count_ones();
        Activity {
            immediate: u32::from(self.bands),
            medium: block(0),
            long: (0..BLOCKS).filter(|index| block(*index) >= FRAMES_OF_SPEECH).count() as u32,
        }
    }

    /// When it was last heard to speak, if it ever was.
    pub fn spoke_at(&self) -> Option<Instant> {
        self.spoke_at
    }

    /// Mean loudness over silence of its latest speech, in dB.
    pub fn strength(&self) -> f32 {
        self.strength
    }

    fn is_speech(&self) -> bool {
        (self.frames & 0x1f).count_ones() >= FRAMES_OF_SPEECH
    }

    fn count_to(&mut self, now: Instant) {
        let span = now.min(self.holds_until).saturating_duration_since(self.counted_to);
        self.sum += u64::from(self.loudness) * span.as_micros() as u64;
        self.counted_to = self.counted_to.max(now);
        self.frame_to(now);
    }

    fn frame_to(&mut self, now: Instant) {
        let span = FRAME * FRAMES_IN_BLOCK * BLOCKS;
        if now.saturating_duration_since(self.holds_until.max(self.next_frame_at)) > span {
            // A long silence: nothing of what was is in the last second.
            (self.frames, self.bands, self.next_frame_at) = (0, 0, now + FRAME);
        }
        while self.next_frame_at <= now {
            let loudness = if self.next_frame_at <= self.holds_until { self.loudness } else { 0 };
            self.frame(loudness, self.next_frame_at);
            self.next_frame_at += FRAME;
        }
    }

    fn frame(&mut self, loudness: u8, at: Instant) {
        if loudness > 0 {
            self.background.note(loudness, at);
        }
        self.bands = (loudness.saturating_sub(self.background.loudness()) / BAND_DB).min(BANDS);
        let speech = self.bands >= BANDS_OF_SPEECH;
        self.frames = self.frames << 1 | u64::from(speech);
        if speech {
            let step = if self.strength == 0.0 { 1.0 } else { STRENGTH_STEP };
            self.strength += (f32::from(loudness) - self.strength) * step;
        }
        if self.is_speech() {
            self.spoke_at = Some(at);
        }
    }
}

/// What is heard behind a voice: minimum statistics over two spans.
#[derive(Debug, Clone)]
struct Background {
    before: u8,
    quietest: u8,
    since: Instant,
}

impl Background {
    fn new(now: Instant) -> Self {
        Self { before: FIRST_BACKGROUND, quietest: FIRST_BACKGROUND, since: now }
    }

    fn note(&mut self, loudness: u8, at: Instant) {
        if at.saturating_duration_since(self.since) >= BACKGROUND_SPAN {
            self.before = self.quietest;
            self.quietest = loudness;
            self.since = at;
        }
        self.quietest = self.quietest.min(loudness);
    }

    fn loudness(&self) -> u8 {
        self.before.min(self.quietest).clamp(BACKGROUND.0, BACKGROUND.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn loudness_is_counted_by_time_and_not_by_packets() {
        let start = Instant::now();
        let mut dense = Voice::new(start);
        let mut sparse = Voice::new(start);
        for step in 0..15 {
            dense.heard(30, start + ms(step * 20));
        }
        sparse.heard(30, start);
        let end = start + ms(300);
        assert_eq!(dense.read(end), sparse.read(end));
    }

    #[test]
    fn half_the_time_is_half_as_loud() {
        let start = Instant::now();
        let mut voice = Voice::new(start);
        voice.heard(7, start);
        voice.heard(127, start + ms(150));
        assert_eq!(voice.read(start + ms(300)), Volume::from_audio_level(67));
    }

    #[test]
    fn a_sender_with_dtx_neither_flickers_nor_lingers() {
        let start = Instant::now();
        let mut voice = Voice::new(start);
        let mut readings = Vec::new();
        for step in 0..30 {
            if step % 4 == 0 && step < 20 {
                voice.heard(20, start + ms(step * 100));
            }
            if step % 3 == 0 && step > 0 {
                readings.push(voice.read(start + ms(step * 100)));
            }
        }
        let talking = Volume::from_audio_level(20);
        assert_eq!(readings[..6], [talking; 6], "one packet in 400 ms is a steady voice");
        // The last packet came at 1600 ms and holds to 2050 ms.
        assert_eq!(readings[7..], [Volume::SILENT; 2]);
    }

    #[test]
    fn a_sender_without_dtx_that_stops_is_silent_within_a_tenth_of_a_second() {
        let start = Instant::now();
        let mut voice = Voice::new(start);
        for step in 0..15 {
            voice.heard(20, start + ms(step * 20));
        }
        voice.read(start + ms(300));
        assert!(voice.read(start + ms(600)) < Volume::from_audio_level(90));
        assert_eq!(voice.read(start + ms(900)), Volume::SILENT);
    }

    #[test]
    fn the_tone_of_a_room_is_silence() {
        let start = Instant::now();
        for (level, silent) in [(60, false), (70, false), (71, true), (90, true), (127, true)] {
            let mut voice = Voice::new(start);
            voice.heard(level, start);
            assert_eq!(voice.read(start + ms(300)) == Volume::SILENT, silent, "{level}");
        }
    }

    #[test]
    fn a_muted_voice_is_silent_at_once() {
        let start = Instant::now();
        let mut voice = Voice::new(start);
        voice.heard(20, start);
        voice.mute(start + ms(100));
        assert_eq!(voice.read(start + ms(300)), Volume::SILENT);
        assert_eq!(voice.activity(), Activity { immediate: 0, medium: 0, long: 0 });
    }

    /// Twenty milliseconds a level.
    fn say(voice: &mut Voice, from: Instant, levels: impl Iterator<Item = u8>) -> Instant {
        let mut at = from;
        for level in levels {
            voice.heard(level, at);
            at += FRAME;
        }
        voice.settle(at);
        at
    }

    #[test]
    fn activity_is_counted_on_three_scales() {
        let start = Instant::now();
        let mut voice = Voice::new(start);
        let at = say(&mut voice, start, std::iter::repeat_n(90, 50));
        assert_eq!(voice.activity(), Activity { immediate: 0, medium: 0, long: 0 });
        let at = say(&mut voice, at, std::iter::repeat_n(25, 15));
        assert_eq!(voice.activity(), Activity { immediate: 13, medium: 5, long: 3 });
        assert_eq!(voice.spoke_at(), Some(at));
        say(&mut voice, at, std::iter::repeat_n(90, 10));
        assert_eq!(voice.activity(), Activity { immediate: 0, medium: 0, long: 3 });
        voice.settle(at + ms(5000));
        assert_eq!(voice.activity(), Activity { immediate: 0, medium: 0, long: 0 });
        assert_eq!(voice.spoke_at().map(|at| at > start), Some(true), "it is remembered when it spoke");
    }

    #[test]
    fn the_end_of_a_pause_is_said_once() {
        let start = Instant::now();
        let mut voice = Voice::new(start);
        let ends = (0..50).filter(|step| voice.heard(25, start + FRAME * *step)).count();
        assert_eq!(ends, 1);
    }

    #[test]
    fn a_loud_fan_is_no_voice_after_a_while_and_a_voice_is_heard_over_it() {
        let start = Instant::now();
        let mut voice = Voice::new(start);
        let at = say(&mut voice, start, std::iter::repeat_n(55, 600));
        assert_eq!(voice.activity().long, 0);
        say(&mut voice, at, std::iter::repeat_n(25, 50));
        assert!(voice.activity().long >= 9);
    }

    #[test]
    fn who_talks_without_a_breath_stays_a_voice() {
        let start = Instant::now();
        let mut voice = Voice::new(start);
        say(&mut voice, start, std::iter::repeat_n(30, 1500));
        assert_eq!(voice.activity().long, 10);
    }
}
