//! Who is in whose slots: candidates are gathered from all members, each viewer's slots are filled, and viewers are told.

use str0m::media::MediaKind;

use super::publisher::Publisher;
use super::report::{Report, SlotAssignment};
use super::room::{Assignment, Room, Turn};
use super::route::Origin;
use super::slot::{Grant, Showing, Slot};
use super::slots::{self, Candidate, Feed, Limits, Place};
use crate::base::{PeerId, Source};

impl Room {
    /// Chooses who is in whose slots, and tells those for whom it changed.
    pub(super) fn assign(&mut self, turn: &mut Turn<'_>) {
        let candidates = self.candidates();
        self.assignment = Assignment::Settled;
        for seat in 0..self.seats.len() {
            let Some(member) = &self.seats[seat] else { continue };
            let others: Vec<Candidate> =
                candidates.iter().filter(|candidate| candidate.feed.publisher != member.id).copied().collect();
            let places: Vec<Place> = member
                .slots
                .iter()
                .map(|slot| Place { kind: slot.kind, pair: slot.pair, wish: slot.wish, holds: slot.feed() })
                .collect();
            if is_scarce(&places, &others) {
                self.assignment = Assignment::Scarce;
            }
            let limits = Limits { may_receive: member.may_receive, loudest: turn.settings.loudest };
            let chosen = slots::assign(&places, &others, limits);
            if chosen.iter().zip(&places).any(|(feed, place)| *feed != place.holds) {
                self.hand_over(seat, &chosen, turn);
            }
        }
        self.compile_routes();
    }

    /// What could be shown, of all publishers.
    fn candidates(&self) -> Vec<Candidate> {
        let mut publishers: Vec<&Publisher> = self.publishers.iter().flatten().collect();
        publishers.sort_by_key(|publisher| publisher.id);
        let mut candidates = Vec::new();
        for publisher in publishers {
            let tracks = publisher.tracks.iter().flatten().map(|track| Candidate {
                feed: Feed { publisher: publisher.id, source: track.source },
                rank: self.rank(publisher.id, track.source),
                active: track.is_flowing() && !publisher.is_muted(track.source),
            });
            // A screen that is not shared any more gives its slot back; a camera keeps its own, to be there at once again.
            candidates.extend(tracks.filter(|track| track.active || track.feed.source != Source::Screen));
        }
        candidates
    }

    /// Sound goes to whom there is to hear, pictures to who has or had the floor.
    fn rank(&self, peer: PeerId, source: Source) -> usize {
        if source.is_video() { self.floor.speaker_rank(peer) } else { self.floor.voice_rank(peer) }
    }

    fn hand_over(&mut self, seat: usize, chosen: &[Option<Feed>], turn: &mut Turn<'_>) {
        let version = self.member_mut(seat).version + 1;
        let origins: Vec<Option<Origin>> = chosen.iter().map(|feed| self.origin_of((*feed)?)).collect();
        let member = self.member_mut(seat);
        member.version = version;
        for (slot, (feed, origin)) in member.slots.iter_mut().zip(chosen.iter().zip(origins)) {
            if slot.feed() != *feed {
                let showing = feed.zip(origin).map(|(feed, origin)| Showing { feed, origin, version, open: false });
                slot.hand_over(showing);
            }
        }
        self.report_slots(seat, turn);
    }

    fn origin_of(&self, feed: Feed) -> Option<Origin> {
        let publisher = |at: &Option<Publisher>| at.as_ref().is_some_and(|publisher| publisher.id == feed.publisher);
        Some(Origin { member: self.publishers.iter().position(publisher)?, source: feed.source })
    }

    pub(super) fn report_slots(&mut self, seat: usize, turn: &mut Turn<'_>) {
        let member = self.member_mut(seat);
        if member.slots.is_empty() {
            return;
        }
        let assignment = |slot: &Slot| SlotAssignment {
            mid: slot.name.clone(),
            publisher: slot.feed().map(|feed| feed.publisher),
            source: slot
                .feed()
                .map_or(if slot.kind.is_audio() { Source::Microphone } else { Source::Camera }, |feed| feed.source),
            paused: slot.grant == Grant::Paused,
        };
        let slots = member.slots.iter().map(assignment).collect();
        turn.outbox.reports.push_back(Report::Slots { peer: member.id, version: member.version, slots });
    }
}

fn is_scarce(places: &[Place], candidates: &[Candidate]) -> bool {
    [MediaKind::Audio, MediaKind::Video].into_iter().any(|kind| {
        let wanted = candidates.iter().filter(|candidate| candidate.feed.kind() == kind).count();
        wanted > places.iter().filter(|place| place.kind == kind).count()
    })
}
