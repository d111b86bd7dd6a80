//! A call on several shards, seen from one of its parts: whom the other parts are told of, what they want, and what they send.

use std::time::{Duration, Instant};

use super::floor::DECISION_INTERVAL;
use super::publish::MAX_ENCODINGS;
use super::publisher::{Home, Publisher};
use super::relay::{Crossing, FrameGate, Note, Passage, Phases, PublisherState, Roster, Wanted};
use super::room::{Assignment, Room, Turn};
use super::route::Origin;
use super::share::SHARE_INTERVAL;
use super::slot::Packet;
use super::slots::Feed;
use super::speaker::Voice;
use crate::base::{PeerId, Source};

/// How long a part waits for the others' ladders before it draws up shares. Longer reacts later, shorter shares by what was.
const LADDERS_WITHIN: Duration = Duration::from_millis(20);

/// The other parts of a room's call.
#[derive(Debug, Default)]
pub struct Span {
    others: Vec<Other>,
    /// When this part last surveyed what its members send.
    surveyed_at: Option<Instant>,
    /// The others' ladders of that moment are awaited until then.
    ladders_by: Option<Instant>,
}

/// One other part.
#[derive(Debug)]
struct Other {
    shard: usize,
    /// Its ladders are known as of then.
    surveyed_at: Option<Instant>,
    roster_due: bool,
    wanted_due: bool,
    /// What this part's viewers are shown of it, as it was told.
    wanted: Vec<Wanted>,
    /// What its viewers are shown of this part.
    wants: Vec<Wanted>,
    /// The streams on their way to it.
    ways: Vec<Way>,
}

#[derive(Debug)]
struct Way {
    feed: Feed,
    gates: [FrameGate; MAX_ENCODINGS],
}

impl Span {
    pub fn is_alone(&self) -> bool {
        self.others.is_empty()
    }

    /// Whether this part speaks for all: one of them does, so that what concerns everyone is told once.
    pub fn leads(&self, shard: usize) -> bool {
        self.others.iter().all(|other| shard < other.shard)
    }

    /// When ladders are awaited no longer.
    pub fn deadline(&self) -> Option<Instant> {
        self.ladders_by
    }

    /// What the other parts know of this one's publishers is no longer so.
    pub fn roster_changed(&mut self) {
        self.others.iter_mut().for_each(|other| other.roster_due = true);
    }

    /// Which slots show what has changed.
    pub fn routes_changed(&mut self) {
        self.others.iter_mut().for_each(|other| other.wanted_due = true);
    }

    /// This part surveyed what its members send.
    pub fn surveyed(&mut self, now: Instant) {
        self.surveyed_at = Some(now);
        self.ladders_by = Some(now + LADDERS_WITHIN);
        self.roster_changed();
    }

    /// The ladders of all parts are known as of the last survey, or are awaited no longer. True once a survey.
    fn ladders_known(&mut self, now: Instant) -> bool {
        let (Some(by), Some(surveyed_at)) = (self.ladders_by, self.surveyed_at) else { return false };
        let known = |other: &Other| other.surveyed_at.is_some_and(|at| at + SHARE_INTERVAL / 2 > surveyed_at);
        let complete = now >= by || self.others.iter().all(known);
        if complete {
            self.ladders_by = None;
        }
        complete
    }

    fn other(&mut self, shard: usize) -> &mut Other {
        let index = self.others.iter().position(|other| other.shard == shard).unwrap_or_else(|| {
            self.others.push(Other::new(shard));
            self.others.len() - 1
        });
        &mut self.others[index]
    }
}

impl Other {
    fn new(shard: usize) -> Self {
        Self {
            shard,
            surveyed_at: None,
            roster_due: true,
            wanted_due: true,
            wanted: Vec::new(),
            wants: Vec::new(),
            ways: Vec::new(),
        }
    }

    fn way(&mut self, feed: Feed) -> &mut Way {
        let index = self.ways.iter().position(|way| way.feed == feed).unwrap_or_else(|| {
            self.ways.push(Way { feed, gates: Default::default() });
            self.ways.len() - 1
        });
        &mut self.ways[index]
    }
}

impl Room {
    /// The call has, or may have, parts on these shards.
    pub fn handle_span(&mut self, shards: &[usize], turn: &mut Turn<'_>) {
        for shard in shards {
            let known = self.span.others.iter().any(|other| other.shard == *shard);
            if *shard != turn.shard && !known {
                self.span.other(*shard);
                turn.outbox.post.note(*shard, self.key(), Note::Hello);
            }
        }
    }

    /// Another part lets this one know something.
    pub fn handle_note(&mut self, from: usize, note: Note, turn: &mut Turn<'_>) {
        match note {
            Note::Hello => {
                *self.span.other(from) = Other::new(from);
                self.forget(from);
            }
            Note::Roster(roster) => self.meet(from, roster, turn),
            Note::Wanted(wants) => {
                let other = self.span.other(from);
                other.ways.retain(|way| wants.iter().any(|want| want.feed == way.feed));
                other.wants = wants;
                self.count_demand(turn);
            }
            Note::KeyFrame { publisher, stream } => {
                let here = |(_, sender): &(usize, &Publisher)| sender.id == publisher && sender.home == Home::Here;
                let Some((member, sender)) = self.publishers().find(here) else { return };
                let Some(track) = sender.tracks.iter().flatten().find(|track| track.mid == stream.mid) else { return };
                if let Some(encoding) = track.encodings.iter().position(|encoding| encoding.rid == stream.rid) {
                    self.want_key_frame(Origin { member, source: track.source }, encoding, turn.now);
                }
            }
            Note::Gone => {
                self.span.others.retain(|other| other.shard != from);
                self.forget(from);
            }
        }
        self.share_when_known(turn);
    }

    /// A microphone of another part was so loud.
    pub fn handle_level(&mut self, publisher: PeerId, level: u8, now: Instant) {
        let there = |p: &&mut Publisher| p.id == publisher && p.home != Home::Here;
        if let Some(publisher) = self.publishers.iter_mut().flatten().find(there) {
            self.voice_began |= publisher.voice.heard(level, now);
        }
    }

    /// A packet of another part's publisher.
    pub fn handle_crossing(&mut self, from: usize, crossing: Crossing, turn: &mut Turn<'_>) {
        let Crossing { publisher, mut packet, resumes } = crossing;
        let Some(member) = self.remote(publisher, from) else { return };
        let (source, encoding) = (packet.origin.source, packet.stream.encoding);
        packet.origin = Origin { member, source };
        let sender = self.publishers[member].as_mut().expect("it was found above");
        let Some(track) = sender.track_mut(source).filter(|track| encoding < track.encodings.len()) else { return };
        let known = track.encodings[encoding].ssrc;
        track.crossed(encoding, packet.stream.ssrc);
        if resumes {
            self.restart_stream(packet.origin, encoding);
        }
        self.take(packet, known, turn);
    }

    /// The shards of the other parts.
    pub fn others(&self) -> impl Iterator<Item = usize> + '_ {
        self.span.others.iter().map(|other| other.shard)
    }

    /// Tells the other parts what has changed for them in this turn.
    pub(super) fn tell_others(&mut self, turn: &mut Turn<'_>) {
        if self.span.is_alone() {
            return;
        }
        let mut roster = None;
        for index in 0..self.span.others.len() {
            let shard = self.span.others[index].shard;
            if std::mem::take(&mut self.span.others[index].roster_due) {
                let roster = roster.get_or_insert_with(|| self.roster()).clone();
                turn.outbox.post.note(shard, self.key, Note::Roster(roster));
            }
            if !std::mem::take(&mut self.span.others[index].wanted_due) {
                continue;
            }
            let wanted = self.wanted_of(shard);
            if self.span.others[index].wanted != wanted {
                self.span.others[index].wanted.clone_from(&wanted);
                turn.outbox.post.note(shard, self.key, Note::Wanted(wanted));
            }
        }
    }

    /// Sends packets of one origin to the parts whose viewers are shown it.
    pub(super) fn cross(&mut self, packets: &[Packet], turn: &mut Turn<'_>) {
        let origin = packets[0].origin;
        let Some(publisher) = self.publishers[origin.member].as_ref().filter(|p| p.home == Home::Here) else { return };
        let feed = Feed { publisher: publisher.id, source: origin.source };
        let key = self.key;
        let mut cut = Vec::new();
        for other in self.span.others.iter_mut().filter(|other| other.wants.iter().any(|want| want.feed == feed)) {
            let shard = other.shard;
            let way = other.way(feed);
            for packet in packets {
                let enters = packet.glimpse.key_frame_start || !origin.source.is_video();
                let gate = &mut way.gates[packet.stream.encoding];
                let passage = gate.judge(packet.timestamp, enters, turn.outbox.post.free(shard));
                if passage == Passage::Drop {
                    turn.outbox.counts.drops.congested += 1;
                    cut.push(packet.stream.encoding);
                    continue;
                }
                // Each part counts references to a payload of its own: two cores that count the same one slow each other down.
                let packet = Packet { payload: packet.payload.to_vec().into(), ..packet.clone() };
                let crossing = Crossing { publisher: feed.publisher, packet, resumes: passage == Passage::Resume };
                turn.outbox.post.packet(shard, key, crossing);
            }
        }
        cut.dedup();
        for encoding in cut.into_iter().filter(|_| origin.source.is_video()) {
            self.want_key_frame(origin, encoding, turn.now);
        }
    }

    /// Lets the other parts hear a microphone of this one.
    pub(super) fn tell_level(&self, publisher: PeerId, level: u8, turn: &mut Turn<'_>) {
        for other in &self.span.others {
            turn.outbox.post.level(other.shard, self.key, publisher, level);
        }
    }

    /// Draws up shares when all ladders are known.
    pub(super) fn share_when_known(&mut self, turn: &mut Turn<'_>) {
        if self.span.ladders_known(turn.now) {
            self.share_all(turn);
        }
    }

    /// A bit for each encoding that the other parts' viewers watch.
    pub(super) fn watched_elsewhere(&self, origin: Origin) -> u32 {
        let Some(publisher) = &self.publishers[origin.member] else { return 0 };
        let feed = Feed { publisher: publisher.id, source: origin.source };
        let wants = self.span.others.iter().flat_map(|other| &other.wants);
        wants.filter(|want| want.feed == feed).fold(0, |bits, want| bits | want.encodings)
    }

    fn roster(&self) -> Roster {
        let here = self.publishers.iter().flatten().filter(|publisher| publisher.home == Home::Here);
        Roster {
            surveyed_at: self.span.surveyed_at,
            phases: Phases { listens_at: self.listens_at, volumes_at: self.volumes_at, share_at: self.share_at },
            publishers: here.map(Publisher::state).collect(),
        }
    }

    /// The feeds of that shard's publishers that somebody here is shown.
    fn wanted_of(&self, shard: usize) -> Vec<Wanted> {
        let there = self.publishers().filter(|(_, publisher)| publisher.home == Home::Shard(shard));
        let shown = there.flat_map(|(member, publisher)| {
            let origins = Source::ALL.into_iter().map(move |source| Origin { member, source });
            let shown = origins.filter(|origin| !self.routes.receivers(*origin).is_empty());
            shown.map(|origin| Wanted {
                feed: Feed { publisher: publisher.id, source: origin.source },
                encodings: self.watched(origin),
            })
        });
        shown.collect()
    }

    /// Takes over who sends in another part.
    fn meet(&mut self, from: usize, roster: Roster, turn: &mut Turn<'_>) {
        self.span.other(from).surveyed_at = roster.surveyed_at;
        if from < turn.shard {
            // The parts' clocks strike together, as those of the first do.
            let (now, theirs) = (turn.now, roster.phases);
            self.listens_at = in_phase(self.listens_at, theirs.listens_at, DECISION_INTERVAL, now);
            self.volumes_at = in_phase(self.volumes_at, theirs.volumes_at, turn.settings.volume_interval, now);
            self.share_at = in_phase(self.share_at, theirs.share_at, SHARE_INTERVAL, now);
        }
        let left = |publisher: &Publisher| roster.publishers.iter().all(|state| state.id != publisher.id);
        let left: Vec<usize> = self
            .publishers()
            .filter(|(_, publisher)| publisher.home == Home::Shard(from) && left(publisher))
            .map(|(seat, _)| seat)
            .collect();
        left.into_iter().for_each(|seat| self.end(seat));
        for state in roster.publishers {
            self.meet_one(from, state, turn);
        }
    }

    fn meet_one(&mut self, from: usize, state: PublisherState, turn: &mut Turn<'_>) {
        let seat = self
            .remote(state.id, from)
            .unwrap_or_else(|| self.seat(Publisher::new(state.id, Home::Shard(from), Voice::new(turn.now))));
        self.ended.retain(|ended| *ended != seat);
        let publisher = self.publishers[seat].as_mut().expect("it was seated above");
        let before = publisher.state();
        publisher.told(&state, turn.now);
        if before.active() != state.active() {
            self.assignment = Assignment::Due;
        }
        for source in Source::ALL {
            if before.muted[source as usize] != state.muted[source as usize] {
                self.restart_receivers(Origin { member: seat, source }, turn);
            }
        }
    }

    fn remote(&self, publisher: PeerId, shard: usize) -> Option<usize> {
        let it = |p: &Option<Publisher>| p.as_ref().is_some_and(|p| p.id == publisher && p.home == Home::Shard(shard));
        self.publishers.iter().position(it)
    }

    /// Everyone who sent in that part is gone.
    fn forget(&mut self, shard: usize) {
        let there = |(_, publisher): &(usize, &Publisher)| publisher.home == Home::Shard(shard);
        let seats: Vec<usize> = self.publishers().filter(there).map(|(seat, _)| seat).collect();
        seats.into_iter().for_each(|seat| self.end(seat));
    }

    /// What these receivers had of the stream is no base for what comes.
    fn restart_stream(&mut self, origin: Origin, encoding: usize) {
        for receiver in self.routes.receivers(origin).to_vec() {
            self.member_mut(receiver.member).slots[receiver.slot].switch.restart_on(encoding);
        }
    }
}

/// When to strike next for one whose clock says `mine` beside another's that says `theirs`. What is due soon is not put off: it is done first, and
/// the next one moves.
fn in_phase(mine: Instant, theirs: Instant, interval: Duration, now: Instant) -> Instant {
    if theirs > mine && mine <= now + interval / 2 { mine } else { theirs.clamp(now, now + interval) }
}
