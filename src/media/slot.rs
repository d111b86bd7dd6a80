//! One m-line a viewer receives on: what it shows, and how its packets are made from those that arrive.

use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::format::{CodecConfig, PayloadParams};
use str0m::media::{self, MediaKind, Pt};
use str0m::rtp::VideoOrientation;

use super::dependency::{Descriptor, FrameNumbers};
use super::layer::Layer;
use super::negotiate::SlotLine;
use super::outbound::Outbound;
use super::outgoing::StreamIndex;
use super::payload::{Glimpse, Patch};
use super::peer::{Pacing, Peer};
use super::red::{self, Wrapping};
use super::rewrite::{Left, Numbers, Rewriter, Rewritten};
use super::route::Origin;
use super::sender::Write;
use super::slots::{Feed, Wish};
use super::switch::{Entry, Stream, Switch, Verdict};
use super::thin::{Passage, Thinner};
use crate::base::Mid;

/// A publisher's packet on its way to receivers.
#[derive(Debug, Clone)]
pub struct Packet {
    pub origin: Origin,
    pub stream: Stream,
    pub seq: u64,
    pub timestamp: u32,
    pub captured: Instant,
    pub marker: bool,
    pub level: Option<i8>,
    pub voice: Option<bool>,
    pub orientation: Option<VideoOrientation>,
    /// The publisher's payload type, and what it stands for.
    pub pt: Pt,
    pub params: PayloadParams,
    pub wrapping: Wrapping,
    pub descriptor: Option<Descriptor>,
    pub glimpse: Glimpse,
    pub payload: Arc<[u8]>,
}

/// What a slot shows.
#[derive(Debug, Clone, Copy)]
pub struct Showing {
    pub feed: Feed,
    pub origin: Origin,
    /// The version of the assignment that the viewer must be told of first.
    pub version: u64,
    /// The viewer was told.
    pub open: bool,
}

/// How much of its source a slot shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// Nothing was decided.
    Open,
    /// Up to this layer of this encoding.
    Up { encoding: usize, layer: Layer },
    /// Nothing: the bandwidth does not allow even the lowest.
    Paused,
}

/// What became of a packet that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    Written,
    /// It is of an encoding or layer that is not on, or from before the one that is.
    NotSelected,
    /// The viewer does not decode it.
    NoCodec,
}

/// How often sound is said again, if its publisher says it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redundancy {
    /// Not at all: the viewer has too little bandwidth, and no need of it.
    Spared,
    AsItComes,
    /// Once more: the viewer loses many packets.
    Deep,
}

/// How a payload reaches the viewer.
#[derive(Debug, Clone, Copy)]
struct Translation {
    payload_type: u8,
    /// With which it is sent again.
    repeat_type: Option<u8>,
    clock_rate: u32,
    /// Of what came redundant the newest frame only.
    unwraps: bool,
}

/// A viewer's slot.
#[derive(Debug)]
pub struct Slot {
    pub name: Mid,
    pub mid: media::Mid,
    pub kind: MediaKind,
    pub pair: usize,
    pub wish: Wish,
    /// The height in pixels at which the viewer shows it.
    pub max_height: Option<u16>,
    pub switch: Switch,
    pub thinner: Thinner,
    pub grant: Grant,
    pub pacing: Pacing,
    /// What had waited too long was given up then; the viewer gets a fresh start.
    pub cut_at: Option<Instant>,
    /// Packets written, retransmissions not counted.
    pub written: u64,
    /// Sequence numbers used up to the newest packet, and of both that number and `written` what was when holes were last counted.
    numbered: u64,
    counted: (u64, u64),
    /// Layers less than the viewer wanted and there are.
    pub layers_short: f32,
    stillness: Stillness,
    stream: Option<(StreamIndex, u32)>,
    /// What the viewer decodes on this m-line.
    codecs: Arc<CodecConfig>,
    /// The viewer takes dependency descriptors on this m-line.
    takes_descriptors: bool,
    frames: FrameNumbers,
    rewriter: Rewriter,
    showing: Option<Showing>,
    /// The last translation of a payload type: all packets of a stream ask for the same.
    translated: Option<(Origin, Pt, Option<Translation>)>,
    redundancy: Redundancy,
    /// The timestamp and the payload of the last redundant packet, while sound is made more redundant.
    said: Option<(u32, Arc<[u8]>)>,
}

impl Slot {
    pub fn new(line: &SlotLine) -> Self {
        let SlotLine { mid: name, kind, pair } = line.clone();
        let entry = if kind.is_video() { Entry::KeyFrame } else { Entry::Anywhere };
        Self {
            mid: name.as_str().into(),
            name,
            kind,
            pair,
            wish: Wish::Free,
            max_height: None,
            switch: Switch::new(entry),
            thinner: Thinner::default(),
            grant: Grant::Open,
            pacing: pacing(kind),
            cut_at: None,
            written: 0,
            numbered: 0,
            counted: (0, 0),
            layers_short: 0.0,
            stillness: Stillness::default(),
            stream: None,
            codecs: Arc::default(),
            takes_descriptors: false,
            frames: FrameNumbers::default(),
            rewriter: Rewriter::new(0),
            showing: None,
            translated: None,
            redundancy: Redundancy::AsItComes,
            said: None,
        }
    }

    /// What its packets leave on.
    pub fn stream(&self) -> Option<StreamIndex> {
        self.stream.map(|(stream, _)| stream)
    }

    pub fn showing(&self) -> Option<&Showing> {
        self.showing.as_ref()
    }

    pub fn feed(&self) -> Option<Feed> {
        self.showing.map(|showing| showing.feed)
    }

    /// Packets of the origin may flow.
    pub fn is_open(&self) -> bool {
        self.showing.is_some_and(|showing| showing.open)
    }

    /// The slot is another's, or nobody's; what it showed ends here.
    pub fn hand_over(&mut self, showing: Option<Showing>) {
        self.showing = showing;
        self.layers_short = 0.0;
        self.stillness = Stillness::default();
        self.translated = None;
        self.switch.aim(None);
        self.grant = Grant::Open;
    }

    /// The encoding whose key frame the slot waits for.
    pub fn waits_for(&self) -> Option<usize> {
        let more_detail = self.kind.is_video() && self.thinner.waits_for_key_frame();
        self.switch.waits_for().or_else(|| self.switch.target().filter(|_| more_detail))
    }

    /// The viewer was told of `version`. True: the slot opens.
    pub fn told(&mut self, version: u64) -> bool {
        match &mut self.showing {
            Some(showing) if !showing.open && showing.version <= version => {
                showing.open = true;
                true
            }
            _ => false,
        }
    }

    /// Negotiation may have given payload types another meaning, or the m-line another stream.
    pub fn renegotiated(
        &mut self,
        stream: Option<(StreamIndex, u32)>,
        codecs: Arc<CodecConfig>,
        takes_descriptors: bool,
    ) {
        self.translated = None;
        self.takes_descriptors = takes_descriptors;
        self.codecs = codecs;
        if self.stream != stream {
            self.stream = stream;
            self.pacing = pacing(self.kind);
            self.rewriter = Rewriter::new(stream.map_or(0, |(_, ssrc)| ssrc));
            (self.written, self.numbered, self.counted) = (0, 0, (0, 0));
            self.switch.restart();
        }
    }

    /// Writes the packet to the viewer's connection, if it is the slot's.
    pub fn offer(&mut self, packet: &Packet, peer: &mut Peer, now: Instant, out: &mut Outbound) -> Offered {
        let Some(stream) = self.stream() else { return Offered::NotSelected };
        let numbers = Numbers {
            seq: packet.seq,
            timestamp: packet.timestamp,
            captured: packet.captured,
            glimpse: &packet.glimpse,
        };
        let Some(translation) = self.translate(packet) else { return Offered::NoCodec };
        let verdict = self.switch.judge(packet.stream, packet.glimpse.key_frame_start);
        match verdict {
            Verdict::Drop => return Offered::NotSelected,
            Verdict::Splice => {
                self.said = None;
                self.rewriter.splice(numbers, translation.clock_rate);
                self.frames.splice(packet.descriptor.as_ref());
                if let Grant::Up { layer, .. } = self.grant {
                    self.thinner.aim(layer);
                }
                self.thinner.begin();
            }
            Verdict::Forward => {}
        }
        if packet.glimpse.key_frame_start {
            self.stillness.end(packet.captured);
        }
        let passage = self.thin(packet);
        let left = match passage {
            Passage::Pass | Passage::PassLast => None,
            Passage::DropDetail => Some(Left::Detail),
            Passage::DropPicture => Some(Left::Picture),
        };
        if let Some(left) = left {
            // A hole that a late packet of a left-out frame leaves is filled with an empty one: the viewer would ask for it again and again.
            if let Some(filler) = self.rewriter.leave_out(numbers, left) {
                let empty = Write { payload: Arc::default(), ..plain(packet, translation, filler) };
                peer.write(stream, empty, now, out);
                self.written += 1;
            }
            return Offered::NotSelected;
        }
        let Some(rewritten) = self.rewriter.rewrite(numbers) else { return Offered::NotSelected };
        let Some(payload) = self.wrap(packet, translation) else { return Offered::NoCodec };
        // RFC 3551, 4.1: a player may set its buffer anew at the first packet of a talk spurt, and another voice is one.
        let begins_to_talk = self.kind.is_audio() && verdict == Verdict::Splice;
        let descriptor = packet.descriptor.as_ref().filter(|_| self.takes_descriptors);
        let write = Write {
            marker: packet.marker || begins_to_talk || passage == Passage::PassLast,
            level: packet.level.map(|level| (level, packet.voice.unwrap_or(false))),
            orientation: packet.orientation,
            descriptor: descriptor.map(|descriptor| self.frames.renumber(descriptor)),
            patch: packet.glimpse.renumber(rewritten.ids),
            payload,
            ..plain(packet, translation, rewritten)
        };
        peer.write(stream, write, now, out);
        self.written += 1;
        self.numbered = self.numbered.max(rewritten.seq + 1 - self.rewriter.first_seq());
        Offered::Written
    }

    /// The payload as the viewer takes it; `None`: it is malformed.
    fn wrap(&mut self, packet: &Packet, translation: Translation) -> Option<Arc<[u8]>> {
        if translation.unwraps {
            return red::primary(&packet.payload).map(Arc::from);
        }
        if self.redundancy != Redundancy::Deep || packet.wrapping != Wrapping::Red {
            return Some(packet.payload.clone());
        }
        let before = self.said.replace((packet.timestamp, packet.payload.clone()));
        let deep = before.and_then(|(timestamp, before)| {
            red::deepened(&before, packet.timestamp.wrapping_sub(timestamp), &packet.payload)
        });
        Some(deep.map_or_else(|| packet.payload.clone(), Arc::from))
    }

    fn thin(&mut self, packet: &Packet) -> Passage {
        if self.kind.is_audio() {
            return Passage::Pass;
        }
        self.thinner.judge(packet.timestamp, &packet.glimpse.place, packet.glimpse.key_frame_start)
    }

    /// The share of sequence numbers, since this was last asked, that never came from the publisher: 0.0–1.0. The viewer reports them as lost,
    /// but its network did not lose them.
    pub fn take_holes(&mut self) -> f32 {
        let (numbered, written) = (self.numbered - self.counted.0, self.written - self.counted.1);
        self.counted = (self.numbered, self.written);
        if numbered == 0 { 0.0 } else { numbered.saturating_sub(written) as f32 / numbered as f32 }
    }

    /// The viewer cannot show what it is sent.
    pub fn stands_still(&mut self, now: Instant) {
        // One that waits for its first picture is not still.
        if self.switch.waits_for().is_none() {
            self.stillness.begin(now);
        }
    }

    /// For how long, since this was last asked, the viewer had nothing to show.
    pub fn take_still(&mut self, now: Instant) -> Duration {
        self.stillness.take(now)
    }

    pub fn set_redundancy(&mut self, redundancy: Redundancy) {
        if self.redundancy != redundancy {
            self.redundancy = redundancy;
            (self.translated, self.said) = (None, None);
        }
    }

    /// The viewer's payload type for the packet's codec.
    fn translate(&mut self, packet: &Packet) -> Option<Translation> {
        if let Some((origin, from, to)) = self.translated
            && origin == packet.origin
            && from == packet.pt
        {
            return to;
        }
        let to = self.codecs.match_params(packet.params).map(|params| {
            let (pt, unwraps) = match (packet.wrapping, params.red()) {
                (Wrapping::Plain, _) => (params.pt(), false),
                (Wrapping::Red, Some(red)) if self.redundancy != Redundancy::Spared => (red, false),
                (Wrapping::Red, _) => (params.pt(), true),
            };
            // Sound that comes again comes too late.
            let repeat_type = params.resend().filter(|_| self.kind.is_video());
            let clock_rate = params.spec().clock_rate.get();
            Translation { payload_type: *pt, repeat_type: repeat_type.map(|pt| *pt), clock_rate, unwraps }
        });
        self.translated = Some((packet.origin, packet.pt, to));
        to
    }
}

/// Sound waits for nobody: it is little, and late is lost.
fn pacing(kind: MediaKind) -> Pacing {
    if kind.is_audio() { Pacing::Free } else { Pacing::Paced }
}

/// The packet with the viewer's numbers, and nothing else that could be said of it.
fn plain(packet: &Packet, translation: Translation, numbers: Rewritten) -> Write {
    Write {
        payload_type: translation.payload_type,
        repeat_type: translation.repeat_type,
        seq: numbers.seq,
        timestamp: numbers.timestamp,
        clock_rate: translation.clock_rate,
        captured: packet.captured,
        marker: false,
        level: None,
        orientation: None,
        descriptor: None,
        patch: Patch::default(),
        payload: packet.payload.clone(),
    }
}

/// How long a viewer's picture stood still: from its request for a key frame until one was on its way.
#[derive(Debug, Default)]
struct Stillness {
    since: Option<Instant>,
    counted: Duration,
}

impl Stillness {
    fn begin(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    fn end(&mut self, now: Instant) {
        if let Some(since) = self.since.take() {
            self.counted += now.saturating_duration_since(since);
        }
    }

    fn take(&mut self, now: Instant) -> Duration {
        if let Some(since) = &mut self.since {
            self.counted += now.saturating_duration_since(*since);
            *since = (*since).max(now);
        }
        std::mem::take(&mut self.counted)
    }
}
