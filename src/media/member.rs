//! A peer in its room: its connection, what it sends, what it is shown, and how well it is heard.

use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::format::CodecConfig;
use str0m::media::{self, MediaKind};

use super::command::{Permissions, SlotWish};
use super::demux::Names;
use super::negotiate::{self, Plan};
use super::peer::Peer;
use super::publish::{CaptureClock, Track};
use super::slot::Slot;
use super::slots::{Feed, Wish};
use super::speaker::Voice;
use super::telemetry::Gauge;
use crate::base::{PeerId, Source};

/// What is known of the path to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// ICE and DTLS are not through yet.
    Connecting,
    Up,
    /// Up, but nothing was heard for some seconds.
    Silent,
}

/// A peer in its room.
pub struct Member {
    pub id: PeerId,
    pub peer: Peer,
    pub names: Names,
    pub link: Link,
    pub heard_at: Instant,
    pub tracks: [Option<Track>; Source::ALL.len()],
    /// Not forwarded, whether the track exists yet or not.
    pub muted: [bool; Source::ALL.len()],
    pub voice: Voice,
    pub clock: CaptureClock,
    pub slots: Vec<Slot>,
    pub may_receive: Permissions,
    /// Of the assignment the client was last reported.
    pub version: u64,
    pub gauge: Gauge,
    wishes: Vec<SlotWish>,
}

impl Member {
    pub fn new(id: PeerId, peer: Peer, may_receive: Permissions, now: Instant) -> Self {
        Self {
            id,
            peer,
            names: Names::default(),
            link: Link::Connecting,
            heard_at: now,
            tracks: Default::default(),
            muted: Default::default(),
            voice: Voice::new(now),
            clock: CaptureClock::default(),
            slots: Vec::new(),
            may_receive,
            version: 0,
            gauge: Gauge::default(),
            wishes: Vec::new(),
        }
    }

    /// Takes over what was negotiated; tracks and slots that are still there go on as they were.
    pub fn negotiated(&mut self, plan: &Plan, answer: &str) {
        let mut old = std::mem::take(&mut self.tracks);
        for (mid, source) in &plan.sources {
            let mid: media::Mid = mid.as_str().into();
            let kept = old[*source as usize].take().filter(|track| track.mid == mid);
            self.tracks[*source as usize] = Some(kept.unwrap_or_else(|| Track::new(mid, *source)));
        }
        let mut old = std::mem::take(&mut self.slots);
        let mut codecs: Vec<(Vec<u8>, Arc<CodecConfig>)> = Vec::new();
        for line in &plan.slots {
            let kept = old.iter().position(|slot| slot.name == line.mid && slot.kind == line.kind);
            let mut slot = kept.map_or_else(|| Slot::new(line), |index| old.swap_remove(index));
            slot.pair = line.pair;
            let types = negotiate::payload_types(answer, &line.mid);
            let known = codecs.iter().find(|(known, _)| *known == types).map(|(_, codecs)| codecs.clone());
            let known = known.unwrap_or_else(|| {
                let fresh = Arc::new(self.peer.codecs(&types));
                codecs.push((types, fresh.clone()));
                fresh
            });
            if kept.is_none() {
                self.peer.bound_retransmission(slot.mid);
            }
            slot.renegotiated(self.peer.outgoing(slot.mid), known);
            self.slots.push(slot);
        }
        self.apply_wishes();
    }

    /// The viewer's own choice; it holds for slots that are negotiated later, too.
    pub fn wish(&mut self, wishes: Vec<SlotWish>) {
        self.wishes = wishes;
        self.apply_wishes();
    }

    fn apply_wishes(&mut self) {
        for slot in &mut self.slots {
            let wish = self.wishes.iter().find(|wish| wish.mid == slot.name);
            slot.wish = match wish {
                None => Wish::Free,
                Some(SlotWish { publisher: None, .. }) => Wish::Empty,
                Some(SlotWish { publisher: Some(publisher), source, .. }) => {
                    Wish::Show(Feed { publisher: *publisher, source: *source })
                }
            };
        }
    }

    pub fn track(&self, source: Source) -> Option<&Track> {
        self.tracks[source as usize].as_ref()
    }

    pub fn track_mut(&mut self, source: Source) -> Option<&mut Track> {
        self.tracks[source as usize].as_mut()
    }

    pub fn track_by_mid(&mut self, mid: media::Mid) -> Option<&mut Track> {
        self.tracks.iter_mut().flatten().find(|track| track.mid == mid)
    }

    pub fn is_muted(&self, source: Source) -> bool {
        self.muted[source as usize]
    }

    pub fn has_slots(&self, kind: MediaKind) -> bool {
        self.slots.iter().any(|slot| slot.kind == kind)
    }

    /// When the silence that began with the last datagram means something: that it is silent, or that it is gone.
    pub fn silence_at(&self, down_after: Duration, close_after: Duration) -> Instant {
        self.heard_at + if self.link == Link::Up { down_after } else { close_after }
    }
}
