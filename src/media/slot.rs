//! One m-line a viewer receives on: what it shows, and how its packets are made from those that arrive.

use std::sync::Arc;
use std::time::Instant;

use str0m::format::{CodecConfig, PayloadParams};
use str0m::media::{self, MediaKind, Pt};
use str0m::rtp::{ExtensionValues, RtpWrite, Ssrc, VideoOrientation};

use super::negotiate::SlotLine;
use super::payload::{Glimpse, Renumbered};
use super::peer::Peer;
use super::rewrite::{Numbers, Rewriter};
use super::route::Origin;
use super::slots::{Feed, Wish};
use super::switch::{Entry, Stream, Switch, Verdict};
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
    pub params: PayloadParams,
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

/// What became of a packet that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    Written,
    /// It is of an encoding that is not on, or from before the one that is.
    NotSelected,
    /// The viewer does not decode it.
    NoCodec,
}

/// A viewer's slot.
#[derive(Debug)]
pub struct Slot {
    pub name: Mid,
    pub mid: media::Mid,
    pub kind: MediaKind,
    pub pair: usize,
    pub wish: Wish,
    pub switch: Switch,
    /// Packets written, retransmissions not counted.
    pub written: u64,
    /// Sequence numbers used up to the newest packet, and of both that number and `written` what was when holes were last counted.
    numbered: u64,
    counted: (u64, u64),
    ssrc: Option<Ssrc>,
    /// What the viewer decodes on this m-line.
    codecs: Arc<CodecConfig>,
    rewriter: Rewriter,
    showing: Option<Showing>,
    /// The last translation of a payload type: all packets of a stream ask for the same.
    translated: Option<(Origin, Pt, Option<Pt>)>,
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
            switch: Switch::new(entry),
            written: 0,
            numbered: 0,
            counted: (0, 0),
            ssrc: None,
            codecs: Arc::default(),
            rewriter: Rewriter::new(0),
            showing: None,
            translated: None,
        }
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
        self.translated = None;
        self.switch.aim(None);
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

    /// Negotiation may have given payload types another meaning, or the m-line another SSRC.
    pub fn renegotiated(&mut self, ssrc: Option<Ssrc>, codecs: Arc<CodecConfig>) {
        self.translated = None;
        self.codecs = codecs;
        if self.ssrc != ssrc {
            self.ssrc = ssrc;
            self.rewriter = Rewriter::new(ssrc.map_or(0, |ssrc| *ssrc));
            (self.written, self.numbered, self.counted) = (0, 0, (0, 0));
            self.switch.restart();
        }
    }

    /// Writes the packet to the viewer's connection, if it is the slot's.
    pub fn offer(&mut self, packet: &Packet, peer: &mut Peer) -> Offered {
        let Some(ssrc) = self.ssrc else { return Offered::NotSelected };
        let numbers = Numbers {
            seq: packet.seq,
            timestamp: packet.timestamp,
            captured: packet.captured,
            glimpse: &packet.glimpse,
        };
        let Some(pt) = self.translate(packet) else { return Offered::NoCodec };
        let verdict = self.switch.judge(packet.stream, packet.glimpse.key_frame_start);
        match verdict {
            Verdict::Drop => return Offered::NotSelected,
            Verdict::Splice => self.rewriter.splice(numbers, packet.params.spec().clock_rate.get()),
            Verdict::Forward => {}
        }
        let Some(out) = self.rewriter.rewrite(numbers) else { return Offered::NotSelected };
        let (payload, patch) = match packet.glimpse.renumber(&packet.payload, out.ids) {
            Renumbered::AsIs => (packet.payload.clone(), None),
            Renumbered::Vp8(patch) => (packet.payload.clone(), Some(patch)),
            Renumbered::Copied(copy) => (copy, None),
        };
        // RFC 3551, 4.1: a player may set its buffer anew at the first packet of a talk spurt, and another voice is one.
        let begins_to_talk = self.kind.is_audio() && verdict == Verdict::Splice;
        let mut write = RtpWrite::new(pt, out.seq.into(), out.timestamp, packet.captured, payload)
            .marker(packet.marker || begins_to_talk)
            .nackable(self.kind.is_video())
            .ext_vals(ExtensionValues {
                audio_level: packet.level,
                voice_activity: packet.voice,
                video_orientation: packet.orientation,
                ..Default::default()
            });
        if let Some(patch) = patch {
            write = write.vp8_patch(patch);
        }
        peer.write(ssrc, write);
        self.written += 1;
        self.numbered = self.numbered.max(out.seq + 1 - self.rewriter.first_seq());
        Offered::Written
    }

    /// The share of sequence numbers, since this was last asked, that never came from the publisher: 0.0–1.0. The viewer reports them as lost,
    /// but its network did not lose them.
    pub fn take_holes(&mut self) -> f32 {
        let (numbered, written) = (self.numbered - self.counted.0, self.written - self.counted.1);
        self.counted = (self.numbered, self.written);
        if numbered == 0 { 0.0 } else { numbered.saturating_sub(written) as f32 / numbered as f32 }
    }

    /// The viewer's payload type for the packet's codec.
    fn translate(&mut self, packet: &Packet) -> Option<Pt> {
        let pt = packet.params.pt();
        if let Some((origin, from, to)) = self.translated
            && origin == packet.origin
            && from == pt
        {
            return to;
        }
        let to = self.codecs.match_params(packet.params).map(PayloadParams::pt);
        self.translated = Some((packet.origin, pt, to));
        to
    }
}
