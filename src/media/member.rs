//! A peer in its room: its connection, what it is shown, and how well it is heard. What it sends is its [`Publisher`]'s.
//!
//! [`Publisher`]: super::publisher::Publisher

use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::format::CodecConfig;
use str0m::media::MediaKind;

use super::budget::Budget;
use super::command::{Permissions, SlotWish};
use super::demux::Names;
use super::header::Ids;
use super::negotiate::{self, Plan};
use super::peer::Peer;
use super::slot::Slot;
use super::slots::{Feed, Wish};
use super::telemetry::Gauge;
use crate::base::PeerId;

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
    pub slots: Vec<Slot>,
    pub may_receive: Permissions,
    /// Of the assignment the client was last reported.
    pub version: u64,
    pub gauge: Gauge,
    /// Of the path to the client.
    pub budget: Budget,
    /// The bandwidth that the connection was last told to look for, in bits per second.
    pub planned: u64,
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
            slots: Vec::new(),
            may_receive,
            version: 0,
            gauge: Gauge::default(),
            budget: Budget::default(),
            planned: 0,
            wishes: Vec::new(),
        }
    }

    /// Takes over what was negotiated; slots that are still there go on as they were.
    pub fn negotiated(&mut self, plan: &Plan, answer: &str) {
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
            let ids = Ids::of(&negotiate::extensions(answer, &line.mid));
            slot.renegotiated(self.peer.outgoing(slot.mid, ids), known, ids.descriptor.is_some());
            if let Some(stream) = slot.stream() {
                self.peer.pace(stream, slot.pacing);
            }
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
            slot.max_height = wish.and_then(|wish| wish.max_height);
            slot.wish = match wish {
                None => Wish::Free,
                Some(SlotWish { publisher: None, .. }) => Wish::Empty,
                Some(SlotWish { publisher: Some(publisher), source, .. }) => {
                    Wish::Show(Feed { publisher: *publisher, source: *source })
                }
            };
        }
    }

    pub fn has_slots(&self, kind: MediaKind) -> bool {
        self.slots.iter().any(|slot| slot.kind == kind)
    }

    /// When the silence that began with the last datagram means something: that it is silent, or that it is gone.
    pub fn silence_at(&self, down_after: Duration, close_after: Duration) -> Instant {
        self.heard_at + if self.link == Link::Up { down_after } else { close_after }
    }
}
