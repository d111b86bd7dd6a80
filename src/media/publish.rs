//! What a peer sends: tracks, their encodings, and when their pictures and sounds were captured.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use str0m::format::Codec;
use str0m::media::{Mid, Rid};
use str0m::rtp::RtpPacket;

use super::allocate::Rung;
use super::demand::Demand;
use super::dependency::{self, Descriptor, Structure};
use super::flow::{Arrived, Flow};
use super::gaps::Gaps;
use super::keyframe::KeyFrameGate;
use super::ladder::{self, LayerRates, Step};
use super::layer::Place;
use super::payload::Glimpse;
use super::red::{Recovered, Recovery, Wrapping};
use crate::base::Source;

/// Encodings of one track; browsers send three.
pub const MAX_ENCODINGS: usize = 4;

/// An encoding whose last packet is older does not flow. Shorter takes a slow screen share for a stopped one.
const ENCODING_STALLS_AFTER: Duration = Duration::from_millis(1500);

/// One thing a peer sends.
#[derive(Debug)]
pub struct Track {
    pub mid: Mid,
    pub source: Source,
    pub encodings: Vec<Encoding>,
    /// The ways to show it, the worst first.
    pub ladder: Vec<Rung>,
    arrived_at: Option<Instant>,
    flowing: bool,
}

/// A track as other parts of its call are told of it.
#[derive(Debug, Clone, PartialEq)]
pub struct TrackState {
    pub mid: Mid,
    pub source: Source,
    pub flowing: bool,
    /// Its encodings; they are in one order everywhere.
    rids: Vec<Option<Rid>>,
    ladder: Vec<Rung>,
}

/// One stream of a track.
#[derive(Debug)]
pub struct Encoding {
    pub rid: Option<Rid>,
    pub ssrc: u32,
    pub gate: KeyFrameGate,
    pub report: Option<SenderReport>,
    pub demand: Demand,
    /// Of its pictures, in pixels.
    pub height: Option<u16>,
    /// What its arrivals show of the path.
    pub flow: Flow,
    /// Of its arrivals, as last reported to the publisher.
    pub jitter: Duration,
    pub gaps: Gaps,
    /// Of sound.
    recovery: Recovery,
    /// What its last key frame said of its layers.
    structure: Option<Arc<Structure>>,
    arrived_at: Instant,
    rates: LayerRates,
}

/// A packet as the measuring sees it.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    pub ssrc: u32,
    pub bytes: usize,
    pub place: &'a Place,
    pub marker: bool,
}

/// The publisher's own pairing of its clock with the stream's timestamps (RFC 3550, 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderReport {
    pub ntp: SystemTime,
    pub timestamp: u32,
}

impl Track {
    pub fn new(mid: Mid, source: Source) -> Self {
        Self { mid, source, encodings: Vec::new(), ladder: Vec::new(), arrived_at: None, flowing: false }
    }

    /// The index of the encoding named `rid`, made when it is new; `None` when there are too many.
    pub fn encoding(&mut self, rid: Option<Rid>, now: Instant) -> Option<usize> {
        if let Some(index) = self.encodings.iter().position(|e| e.rid == rid) {
            return Some(index);
        }
        if self.encodings.len() == MAX_ENCODINGS {
            return None;
        }
        self.encodings.push(Encoding {
            rid,
            ssrc: 0,
            gate: KeyFrameGate::default(),
            report: None,
            demand: Demand::default(),
            height: None,
            flow: Flow::default(),
            jitter: Duration::ZERO,
            gaps: Gaps::default(),
            recovery: Recovery::default(),
            structure: None,
            arrived_at: now,
            rates: LayerRates::default(),
        });
        Some(self.encodings.len() - 1)
    }

    /// A packet came. True: the track was not flowing before it.
    pub fn arrived(&mut self, encoding: usize, arrival: Arrival<'_>, now: Instant) -> bool {
        let encoding = &mut self.encodings[encoding];
        if encoding.ssrc != arrival.ssrc {
            encoding.gaps.reset();
            encoding.recovery = Recovery::default();
        }
        encoding.ssrc = arrival.ssrc;
        if now >= encoding.arrived_at + ENCODING_STALLS_AFTER {
            encoding.rates.pause();
        }
        encoding.arrived_at = now;
        if self.source.is_video() {
            encoding.rates.add(arrival.place, arrival.bytes, arrival.marker, now);
        }
        self.arrived_at = Some(now);
        !std::mem::replace(&mut self.flowing, true)
    }

    /// A packet came from the publisher's own part, which measures it.
    pub fn crossed(&mut self, encoding: usize, ssrc: u32) {
        self.encodings[encoding].ssrc = ssrc;
    }

    /// True: the track flowed and has been silent for `silent_after`.
    pub fn fell_silent(&mut self, silent_after: Duration, now: Instant) -> bool {
        let silent = self.arrived_at.is_none_or(|at| now >= at + silent_after);
        silent && std::mem::replace(&mut self.flowing, false)
    }

    pub fn is_flowing(&self) -> bool {
        self.flowing
    }

    /// What other parts of the call are told.
    pub fn state(&self) -> TrackState {
        let rids = self.encodings.iter().map(|encoding| encoding.rid).collect();
        TrackState { mid: self.mid, source: self.source, flowing: self.flowing, rids, ladder: self.ladder.clone() }
    }

    /// Takes over what the publisher's own part tells.
    pub fn told(&mut self, state: &TrackState, now: Instant) {
        self.flowing = state.flowing;
        self.ladder.clone_from(&state.ladder);
        for rid in &state.rids {
            self.encoding(*rid, now);
        }
    }

    /// Brings the ladder up to date.
    pub fn survey(&mut self, now: Instant) {
        let stalled = |encoding: &Encoding| now >= encoding.arrived_at + ENCODING_STALLS_AFTER;
        let step = |encoding| Step {
            available: !stalled(encoding) || encoding.demand.excuses_silence(now),
            rates: &encoding.rates,
            height: encoding.height,
        };
        let steps: Vec<Step<'_>> = self.encodings.iter().map(step).collect();
        ladder::build(&steps, &mut self.ladder);
    }
}

impl Encoding {
    /// Looks into a packet of the stream; `None`: its payload is malformed.
    pub fn inspect(&mut self, codec: Codec, packet: &RtpPacket) -> Option<(Glimpse, Option<Descriptor>)> {
        let mut glimpse = Glimpse::of(codec, &packet.payload)?;
        let descriptor = packet.header.ext_vals.user_values.get::<Descriptor>().cloned();
        if let Some(place) = descriptor.as_ref().and_then(|descriptor| self.depend(descriptor)) {
            glimpse.place = place;
        }
        self.height = glimpse.height.or(self.height);
        Some((glimpse, descriptor))
    }

    /// Where the frame stands, by its descriptor.
    fn depend(&mut self, descriptor: &Descriptor) -> Option<Place> {
        let reading = dependency::read(descriptor, self.structure.as_ref())?;
        if let Some(structure) = reading.structure {
            self.height = structure.height.or(self.height);
            self.structure = Some(structure);
        }
        Some(reading.place)
    }

    /// What a packet of sound says again that was lost; `None`: it is there already, made of a later one.
    pub fn recover(&mut self, source: Source, packet: &RtpPacket, wrapping: Wrapping) -> Option<Vec<Recovered>> {
        let mut recovered = Vec::new();
        let (seq, timestamp) = (*packet.seq_no, packet.header.timestamp);
        let is_new = source.is_video() || self.recovery.came(seq, timestamp, &packet.payload, wrapping, &mut recovered);
        is_new.then_some(recovered)
    }

    /// A packet of the stream came that may be forwarded.
    pub fn note(&mut self, arrived: Arrived, key_frame_start: bool, now: Instant) {
        self.gaps.arrived(arrived.seq, now);
        if key_frame_start {
            self.gaps.forgive();
        }
        self.flow.note(arrived, now);
    }
}

/// Where a publisher's wall clock stands against this server's, so that what it captured at one moment leaves with one wallclock whatever
/// path it took: lip sync.
#[derive(Debug, Clone, Copy, Default)]
pub struct CaptureClock {
    anchor: Option<Anchor>,
}

/// The publisher's clock showed `ntp` when ours was at `at`, as far as the quickest report tells.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    ntp: SystemTime,
    at: Instant,
}

impl CaptureClock {
    /// A report later than foreseen by more is a clock that was set, not a slow network.
    const CLOCK_WAS_SET: Duration = Duration::from_secs(1);
    /// How fast the anchor follows reports that come late: the drift of two quartz clocks.
    const DRIFT_PER_MILLION: u32 = 100;
    /// A capture time further from the arrival is not believed.
    const MAX_AGE: Duration = Duration::from_secs(5);

    /// A sender report with this NTP time arrived.
    pub fn note(&mut self, ntp: SystemTime, now: Instant) {
        let fresh = Anchor { ntp, at: now };
        let Some((anchor, foreseen)) = self.anchor.and_then(|anchor| Some((anchor, anchor.instant_of(ntp)?))) else {
            self.anchor = Some(fresh);
            return;
        };
        let late = now.saturating_duration_since(foreseen);
        let early = foreseen.saturating_duration_since(now);
        if early > Duration::ZERO || late > Self::CLOCK_WAS_SET {
            self.anchor = Some(fresh);
        } else {
            let drift = now.saturating_duration_since(anchor.at) * Self::DRIFT_PER_MILLION / 1_000_000;
            self.anchor = Some(Anchor { ntp, at: foreseen + late.min(drift) });
        }
    }

    /// When, by our clock, a packet with `timestamp` that arrived at `now` was captured. Never after its arrival.
    pub fn captured(&self, report: Option<SenderReport>, timestamp: u32, clock_rate: u32, now: Instant) -> Instant {
        let at = || {
            let report = report?;
            let ticks = i64::from(timestamp.wrapping_sub(report.timestamp) as i32);
            let span = Duration::from_micros(ticks.unsigned_abs() * 1_000_000 / u64::from(clock_rate));
            let ntp = if ticks < 0 { report.ntp.checked_sub(span) } else { report.ntp.checked_add(span) };
            self.anchor?.instant_of(ntp?)
        };
        at().filter(|at| *at <= now && now.duration_since(*at) <= Self::MAX_AGE).unwrap_or(now)
    }
}

impl Anchor {
    fn instant_of(&self, ntp: SystemTime) -> Option<Instant> {
        match ntp.duration_since(self.ntp) {
            Ok(after) => self.at.checked_add(after),
            Err(before) => self.at.checked_sub(before.duration()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn arrive(track: &mut Track, encoding: usize, bytes: usize, now: Instant) -> bool {
        track.arrived(encoding, Arrival { ssrc: 1, bytes, place: &Place::SINGLE, marker: true }, now)
    }

    #[test]
    fn a_track_flows_with_its_first_packet_and_ceases_after_the_silence() {
        let start = Instant::now();
        let mut track = Track::new("0".into(), Source::Camera);
        assert!(!track.fell_silent(ms(2000), start), "it never flowed");
        let encoding = track.encoding(None, start).unwrap();
        assert!(arrive(&mut track, encoding, 1000, start));
        assert!(!arrive(&mut track, encoding, 1000, start + ms(20)));
        assert!(!track.fell_silent(ms(2000), start + ms(2019)));
        assert!(track.fell_silent(ms(2000), start + ms(2020)));
        assert!(!track.fell_silent(ms(2000), start + ms(9000)), "said once");
        assert!(arrive(&mut track, encoding, 1000, start + ms(9000)));
    }

    #[test]
    fn encodings_are_bounded_and_those_that_flow_are_on_the_ladder() {
        let start = Instant::now();
        let mut track = Track::new("0".into(), Source::Camera);
        for (rid, expected) in
            [("a", Some(0)), ("b", Some(1)), ("a", Some(0)), ("c", Some(2)), ("d", Some(3)), ("e", None)]
        {
            assert_eq!(track.encoding(Some(rid.into()), start), expected);
        }
        for step in 0..100 {
            let now = start + ms(step * 10);
            arrive(&mut track, 0, 900, now);
            arrive(&mut track, 1, 100, now);
        }
        let order = |track: &mut Track, at| {
            track.survey(at);
            track.ladder.iter().map(|rung| rung.encoding).collect::<Vec<_>>()
        };
        assert_eq!(order(&mut track, start + ms(1600)), [1, 0], "two never came");
        arrive(&mut track, 1, 100, start + ms(2600));
        assert_eq!(order(&mut track, start + ms(2600)), [1], "the richer one stalled");
    }

    #[test]
    fn sound_and_picture_of_one_moment_get_one_wallclock() {
        let start = Instant::now() + Duration::from_secs(100);
        let ntp = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let mut clock = CaptureClock::default();
        clock.note(ntp, start + ms(40));
        clock.note(ntp + ms(1000), start + ms(1010));
        clock.note(ntp + ms(2000), start + ms(2300));
        let audio = SenderReport { ntp: ntp + ms(1000), timestamp: 48_000 };
        let video = SenderReport { ntp: ntp + ms(2000), timestamp: u32::MAX - 89_999 };
        let now = start + ms(2500);
        let sound = clock.captured(Some(audio), 96_000, 48_000, now);
        let picture = clock.captured(Some(video), u32::MAX - 89_999, 90_000, now);
        assert_eq!(sound, picture);
        assert!(sound >= start + ms(2009) && sound <= start + ms(2012), "the quickest report is the base, drift apart");
        assert_eq!(clock.captured(Some(video), 0, 90_000, now), now, "never after the arrival");
        assert_eq!(clock.captured(None, 7, 90_000, now), now, "no report yet");
    }

    #[test]
    fn an_absurd_report_is_not_believed() {
        let now = Instant::now();
        let mut clock = CaptureClock::default();
        clock.note(SystemTime::UNIX_EPOCH, now);
        clock.note(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(u32::MAX)), now);
        let report = SenderReport { ntp: SystemTime::UNIX_EPOCH, timestamp: 0 };
        assert_eq!(clock.captured(Some(report), 5, 1, now + ms(1)), now + ms(1));
    }
}
