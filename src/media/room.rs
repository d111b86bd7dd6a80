//! The peers of one call: what each sends goes to the slots of the others.
//!
//! A turn: commands, datagrams and due timers change members one by one; what arrived is collected; then [`Room::finish_turn`] goes receiver by
//! receiver, writes all of the turn's packets to each, and drains it once.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

use str0m::bwe::Bitrate;

use super::Settings;
use super::command::{Permissions, SlotWish};
use super::demux::Names;
use super::export::ShardSnapshot;
use super::floor::{DECISION_INTERVAL, Floor};
use super::member::{Link, Member};
use super::negotiate::Plan;
use super::peer::{Datagram, Drain, Identity, Peer, Refusal, StreamName, Unanswered};
use super::publisher::{Home, Publisher};
use super::relay::{Note, Post};
use super::report::{Connection, OfferError, Report};
use super::route::{Origin, Receiver, Routes};
use super::share::SHARE_INTERVAL;
use super::slot::{Offered, Packet};
use super::span::Span;
use super::speaker::Voice;
use super::timers::Timers;
use crate::base::{PeerId, RoomKey, Source, Volume};

/// First guess of the bandwidth to a client. Higher fills the first second with packets that a thin link loses.
const FIRST_ESTIMATE: Bitrate = Bitrate::kbps(1000);

/// Everything a turn makes, of all rooms of a shard.
#[derive(Debug, Default)]
pub struct Outbox {
    pub drain: Drain,
    pub reports: VecDeque<Report>,
    /// Letters to other shards.
    pub post: Post,
    pub counts: ShardSnapshot,
}

/// What the room is served with.
pub struct Turn<'a> {
    pub now: Instant,
    /// The index of the shard that serves it.
    pub shard: usize,
    pub settings: &'a Settings,
    pub identity: &'a Identity,
    pub outbox: &'a mut Outbox,
}

/// A member that is gone, for the shard's directory.
pub struct Gone {
    pub seat: usize,
    pub peer: PeerId,
    pub names: Names,
}

/// The peers of one call.
pub struct Room {
    pub(super) key: RoomKey,
    pub(super) seats: Vec<Option<Member>>,
    /// What is sent, by the seats of those who send it.
    pub(super) publishers: Vec<Option<Publisher>>,
    pub(super) routes: Routes,
    timers: Timers,
    /// What arrived in this turn, and whom it goes to.
    pub(super) arrived: Vec<Packet>,
    pending: Vec<Pending>,
    /// Members that were changed without a drain, or whose drain is due.
    dirty: Vec<usize>,
    pub(super) ended: Vec<usize>,
    gone: Vec<Gone>,
    pub(super) assignment: Assignment,
    pub(super) floor: Floor,
    pub(super) listens_at: Instant,
    /// A voice began in this turn.
    pub(super) voice_began: bool,
    pub(super) volumes_at: Instant,
    pub(super) volumes: Vec<(PeerId, Volume)>,
    quality_at: Instant,
    pub(super) share_at: Instant,
    key_frames_at: Option<Instant>,
    /// Key frames to be asked for at the end of the turn.
    asks: Vec<(usize, StreamName)>,
    /// The call's parts on other shards.
    pub(super) span: Span,
}

/// Whether the slots are as they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Assignment {
    /// Everyone who could be shown is: who speaks does not matter.
    Settled,
    /// Somebody's slots are fewer than what could be in them.
    Scarce,
    Due,
}

/// The packets a receiver gets in this turn: for each of its slots, a range of what arrived.
#[derive(Debug, Default)]
struct Pending {
    writes: Vec<(usize, Range<usize>)>,
}

impl Room {
    pub fn new(key: RoomKey, settings: &Settings, now: Instant) -> Self {
        Self {
            key,
            seats: Vec::new(),
            publishers: Vec::new(),
            routes: Routes::default(),
            timers: Timers::default(),
            arrived: Vec::new(),
            pending: Vec::new(),
            dirty: Vec::new(),
            ended: Vec::new(),
            gone: Vec::new(),
            assignment: Assignment::Settled,
            floor: Floor::default(),
            listens_at: now + DECISION_INTERVAL,
            voice_began: false,
            volumes_at: now + settings.volume_interval,
            volumes: Vec::new(),
            quality_at: now + settings.quality_interval,
            share_at: now + SHARE_INTERVAL,
            key_frames_at: None,
            asks: Vec::new(),
            span: Span::default(),
        }
    }

    pub fn key(&self) -> RoomKey {
        self.key
    }

    pub fn is_empty(&self) -> bool {
        self.seats.iter().all(Option::is_none)
    }

    pub fn names_mut(&mut self, seat: usize) -> Option<&mut Names> {
        self.seats.get_mut(seat)?.as_mut().map(|member| &mut member.names)
    }

    pub fn ufrag(&mut self, seat: usize) -> Option<String> {
        self.seats.get_mut(seat)?.as_mut().map(|member| member.peer.ufrag())
    }

    pub fn peers(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.members().map(|(_, member)| member.id)
    }

    /// When [`Room::handle_timeout`] is wanted.
    pub fn deadline(&self) -> Instant {
        let ticks = self.volumes_at.min(self.listens_at).min(self.quality_at).min(self.share_at);
        let waits = [self.timers.next(), self.key_frames_at, self.span.deadline()];
        waits.into_iter().flatten().fold(ticks, Instant::min)
    }

    /// Adds what the members' streams repaired.
    pub fn count_repairs(&self, counts: &mut ShardSnapshot) {
        for (_, member) in self.members() {
            member.gauge.repairs().add_to(counts);
        }
    }

    /// The members that went in this turn.
    pub fn take_gone(&mut self) -> Vec<Gone> {
        std::mem::take(&mut self.gone)
    }

    /// A new peer, or a known one that has more to negotiate. Returns its seat and the answer.
    pub fn handle_offer(
        &mut self,
        seat: Option<usize>,
        peer: PeerId,
        offer: Offer<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(usize, String), OfferError> {
        let plan = Plan::of(offer.sdp, offer.sources, turn.settings.max_media_lines)?;
        let mut fresh = None;
        let member = match seat.and_then(|seat| self.seats[seat].as_mut()) {
            Some(member) => member,
            None => {
                let estimated = turn.settings.estimate_bandwidth && plan.reports_transport;
                let estimate = estimated.then_some(FIRST_ESTIMATE);
                let connection = Peer::new(turn.identity, estimate, turn.now);
                fresh.insert(Member::new(peer, connection, offer.may_receive, turn.now))
            }
        };
        let answer = match member.peer.answer(offer.sdp) {
            Ok(answer) => answer,
            Err(Unanswered::Refused(reason)) => return Err(OfferError::Invalid(reason)),
            Err(Unanswered::Broken(reason)) => {
                seat.into_iter().for_each(|seat| self.end(seat));
                return Err(OfferError::Invalid(reason));
            }
        };
        member.may_receive = offer.may_receive;
        member.negotiated(&plan, &answer);
        let answer = plan.label_pairs(&answer);
        let seat = match fresh {
            Some(member) => self.sit(member, Publisher::new(peer, Home::Here, Voice::new(turn.now))),
            None => seat.expect("a known member has a seat"),
        };
        self.publisher_mut(seat).negotiated(&plan.sources);
        self.touch(seat);
        self.assignment = Assignment::Due;
        // The client learns of its slots even if nobody is in them.
        self.member_mut(seat).version += 1;
        self.report_slots(seat, turn);
        Ok((seat, answer))
    }

    pub fn handle_forward(&mut self, seat: usize, source: Source, forward: bool, turn: &mut Turn<'_>) {
        let publisher = self.publisher_mut(seat);
        if publisher.muted[source as usize] != forward {
            return;
        }
        publisher.muted[source as usize] = !forward;
        if source == Source::Microphone && !forward {
            publisher.voice.mute(turn.now);
        }
        self.restart_receivers(Origin { member: seat, source }, turn);
        self.assignment = Assignment::Due;
    }

    pub fn handle_view(&mut self, seat: usize, slots: Vec<SlotWish>) {
        self.member_mut(seat).wish(slots);
        self.assignment = Assignment::Due;
    }

    /// The viewer knows who is in its slots: those of this version and before may flow.
    pub fn handle_told(&mut self, seat: usize, version: u64, turn: &mut Turn<'_>) {
        let slots = &mut self.member_mut(seat).slots;
        let opened: Vec<usize> = (0..slots.len()).filter(|index| slots[*index].told(version)).collect();
        if opened.is_empty() {
            return;
        }
        self.compile_routes();
        for slot in opened {
            self.show(seat, slot, turn);
        }
    }

    pub fn handle_leave(&mut self, seat: usize, turn: &mut Turn<'_>) {
        self.member_mut(seat).peer.close(turn.now, &mut turn.outbox.drain);
        self.absorb(seat, turn);
        self.end(seat);
    }

    /// A datagram for the member at this seat.
    pub fn handle_datagram(&mut self, seat: usize, datagram: Datagram<'_>, turn: &mut Turn<'_>) -> Result<(), Refusal> {
        let member = self.member_mut(seat);
        let taken = match member.peer.receive(datagram, turn.now, &mut turn.outbox.drain) {
            Ok(taken) => taken,
            Err(_) => {
                self.end(seat);
                Err(Refusal::Rejected)
            }
        };
        if taken.is_ok() {
            self.heard(seat, turn);
        }
        self.absorb(seat, turn);
        self.schedule(seat, turn.settings);
        taken
    }

    /// Serves what is due.
    pub fn handle_timeout(&mut self, turn: &mut Turn<'_>) {
        while let Some(seat) = self.timers.pop(turn.now) {
            if self.seats[seat].is_some() {
                self.check_silence(seat, turn);
                self.touch(seat);
            }
        }
        if self.key_frames_at.is_some_and(|at| at <= turn.now) {
            self.repeat_key_frames(turn);
        }
        if self.listens_at <= turn.now {
            self.listens_at = turn.now + DECISION_INTERVAL;
            self.listen(turn);
        }
        if self.volumes_at <= turn.now {
            self.volumes_at = turn.now + turn.settings.volume_interval;
            self.tell_volumes(turn);
        }
        if self.share_at <= turn.now {
            self.share_at = turn.now + SHARE_INTERVAL;
            self.survey_all(turn.now);
        }
        self.share_when_known(turn);
        if self.quality_at <= turn.now {
            self.quality_at = turn.now + turn.settings.quality_interval;
            self.report_quality(turn);
        }
    }

    /// Sends what arrived to whom it goes to, and drains everyone who was touched.
    pub fn finish_turn(&mut self, turn: &mut Turn<'_>) {
        self.remove_ended(turn);
        if std::mem::take(&mut self.voice_began) {
            self.observe_voices(turn.now);
        }
        // With several parts as with one: first what is there is shared, then slots change hands.
        if self.assignment == Assignment::Due && self.span.deadline().is_none() {
            self.span.roster_changed();
            self.assign(turn);
        }
        self.forward(turn);
        self.ask_key_frames(turn);
        while let Some(seat) = self.dirty.pop() {
            self.flush(seat, turn);
        }
        self.remove_ended(turn);
        self.tell_others(turn);
    }

    pub(super) fn members(&self) -> impl Iterator<Item = (usize, &Member)> + '_ {
        self.seats.iter().enumerate().filter_map(|(seat, member)| Some((seat, member.as_ref()?)))
    }

    pub(super) fn publishers(&self) -> impl Iterator<Item = (usize, &Publisher)> + '_ {
        self.publishers.iter().enumerate().filter_map(|(seat, publisher)| Some((seat, publisher.as_ref()?)))
    }

    pub(super) fn member_mut(&mut self, seat: usize) -> &mut Member {
        self.seats[seat].as_mut().expect("the shard's directory names members only")
    }

    pub(super) fn publisher_mut(&mut self, seat: usize) -> &mut Publisher {
        self.publishers[seat].as_mut().expect("every member is a publisher")
    }

    fn sit(&mut self, member: Member, publisher: Publisher) -> usize {
        let seat = self.seat(publisher);
        self.seats[seat] = Some(member);
        seat
    }

    /// A seat for one who sends.
    pub(super) fn seat(&mut self, publisher: Publisher) -> usize {
        let seat = self.publishers.iter().position(Option::is_none).unwrap_or(self.publishers.len());
        if seat == self.publishers.len() {
            self.seats.push(None);
            self.publishers.push(None);
            self.pending.push(Pending::default());
        }
        self.publishers[seat] = Some(publisher);
        seat
    }

    /// The member is to be drained in this turn.
    pub(super) fn touch(&mut self, seat: usize) {
        if !self.dirty.contains(&seat) {
            self.dirty.push(seat);
        }
    }

    pub(super) fn end(&mut self, seat: usize) {
        if !self.ended.contains(&seat) {
            self.ended.push(seat);
        }
    }

    fn heard(&mut self, seat: usize, turn: &mut Turn<'_>) {
        let member = self.member_mut(seat);
        member.heard_at = turn.now;
        if member.link == Link::Silent {
            member.link = Link::Up;
            member.gauge.reset();
            let peer = member.id;
            turn.outbox.reports.push_back(Report::Connection { peer, state: Connection::Connected });
            self.report_quality_of(seat, turn);
        }
    }

    fn check_silence(&mut self, seat: usize, turn: &mut Turn<'_>) {
        let settings = turn.settings;
        let member = self.member_mut(seat);
        if member.silence_at(settings.down_after, settings.close_after) > turn.now {
            return;
        }
        if member.link != Link::Up {
            self.end(seat);
            return;
        }
        member.link = Link::Silent;
        member.gauge.down();
        let peer = member.id;
        turn.outbox.reports.push_back(Report::Connection { peer, state: Connection::Silent });
        self.report_quality_of(seat, turn);
    }

    /// Lets time pass for the member, sends what was written to it, and takes what comes of that.
    fn flush(&mut self, seat: usize, turn: &mut Turn<'_>) {
        let Some(member) = &mut self.seats[seat] else { return };
        if member.peer.run_to(turn.now, &mut turn.outbox.drain).is_err() {
            self.end(seat);
        }
        self.absorb(seat, turn);
        self.schedule(seat, turn.settings);
    }

    fn schedule(&mut self, seat: usize, settings: &Settings) {
        let Some(member) = &self.seats[seat] else { return };
        let silence = member.silence_at(settings.down_after, settings.close_after);
        self.timers.set(seat, member.peer.deadline().min(silence));
    }

    fn ask_key_frames(&mut self, turn: &mut Turn<'_>) {
        for (seat, stream) in std::mem::take(&mut self.asks) {
            let Some(publisher) = &self.publishers[seat] else { continue };
            if let Home::Shard(shard) = publisher.home {
                turn.outbox.post.note(shard, self.key, Note::KeyFrame { publisher: publisher.id, stream });
            }
            let Some(member) = &mut self.seats[seat] else { continue };
            if member.peer.ask_key_frame(stream) {
                turn.outbox.counts.keyframe_requests_sent += 1;
                self.touch(seat);
            }
        }
    }

    /// Asks again where no key frame came, and for what was held back.
    fn repeat_key_frames(&mut self, turn: &mut Turn<'_>) {
        let mut soonest = None;
        for (seat, publisher) in self.publishers.iter_mut().enumerate() {
            for track in publisher.iter_mut().flat_map(|publisher| publisher.tracks.iter_mut().flatten()) {
                let (mid, flowing) = (track.mid, track.is_flowing());
                for encoding in &mut track.encodings {
                    if !flowing {
                        encoding.gate.forget();
                    } else if encoding.gate.handle_timeout(turn.now) {
                        self.asks.push((seat, StreamName { mid, rid: encoding.rid }));
                    }
                    soonest = encoding.gate.deadline().into_iter().chain(soonest).min();
                }
            }
        }
        self.key_frames_at = soonest;
    }

    fn forward(&mut self, turn: &mut Turn<'_>) {
        if self.arrived.is_empty() {
            return;
        }
        let mut arrived = std::mem::take(&mut self.arrived);
        // Stable: each origin's packets stay in the order they came.
        arrived.sort_by_key(|packet| (packet.origin.member, packet.origin.source));
        let mut receivers = std::mem::take(&mut self.dirty);
        let mut start = 0;
        for group in arrived.chunk_by(|a, b| a.origin == b.origin) {
            let range = start..start + group.len();
            start = range.end;
            self.cross(group, turn);
            for Receiver { member, slot } in self.routes.receivers(group[0].origin) {
                let pending = &mut self.pending[*member];
                if pending.writes.is_empty() {
                    receivers.push(*member);
                }
                pending.writes.push((*slot, range.clone()));
            }
        }
        for seat in receivers {
            let writes = std::mem::take(&mut self.pending[seat].writes);
            self.write(seat, &writes, &arrived, turn);
            self.pending[seat].writes = writes;
            self.pending[seat].writes.clear();
            self.flush(seat, turn);
        }
        arrived.clear();
        // A flush takes no packets from the network.
        debug_assert!(self.arrived.is_empty());
        self.arrived = arrived;
    }

    fn write(&mut self, seat: usize, writes: &[(usize, Range<usize>)], arrived: &[Packet], turn: &mut Turn<'_>) {
        let Some(member) = &mut self.seats[seat] else { return };
        let Outbox { drain, counts, .. } = &mut *turn.outbox;
        for (slot, range) in writes {
            for packet in &arrived[range.clone()] {
                match member.slots[*slot].offer(packet, &mut member.peer, turn.now, &mut drain.datagrams) {
                    Offered::Written => counts.rtp_forwarded += 1,
                    Offered::NotSelected => counts.drops.not_selected += 1,
                    Offered::NoCodec => counts.drops.no_codec += 1,
                }
            }
        }
    }

    fn remove_ended(&mut self, turn: &mut Turn<'_>) {
        let ended = std::mem::take(&mut self.ended);
        for seat in ended.iter().copied() {
            self.publishers[seat] = None;
            self.assignment = Assignment::Due;
            let Some(member) = self.seats[seat].take() else { continue };
            self.timers.clear(seat);
            // A member's counts outlive it.
            member.gauge.repairs().add_to(&mut turn.outbox.counts);
            turn.outbox.reports.push_back(Report::Connection { peer: member.id, state: Connection::Closed });
            self.gone.push(Gone { seat, peer: member.id, names: member.names });
        }
        if !ended.is_empty() {
            self.span.roster_changed();
            self.assign(turn);
        }
    }

    pub(super) fn compile_routes(&mut self) {
        let mut shown = Vec::new();
        for (member, viewer) in self.members() {
            for (slot, shows) in viewer.slots.iter().enumerate() {
                if let Some(showing) = shows.showing().filter(|showing| showing.open) {
                    shown.push((showing.origin, Receiver { member, slot }));
                }
            }
        }
        self.routes.compile(shown.into_iter());
        self.span.routes_changed();
    }

    /// Points an open slot at the encoding it should show.
    pub(super) fn aim(&mut self, seat: usize, slot: usize, turn: &mut Turn<'_>) {
        let aimed = &mut self.member_mut(seat).slots[slot];
        if aimed.kind.is_video() {
            self.share(seat, turn);
        } else if aimed.is_open() {
            aimed.switch.aim(Some(0));
        }
    }

    /// Aims, and asks for the key frame that the slot needs to begin.
    pub(super) fn show(&mut self, seat: usize, slot: usize, turn: &mut Turn<'_>) {
        self.aim(seat, slot, turn);
        self.want_missing(seat, turn.now);
    }

    pub(super) fn show_to_receivers(&mut self, origin: Origin, turn: &mut Turn<'_>) {
        for Receiver { member, slot } in self.routes.receivers(origin).to_vec() {
            self.show(member, slot, turn);
        }
    }

    /// What the origin sent so far is no base for what follows.
    pub(super) fn restart_receivers(&mut self, origin: Origin, turn: &mut Turn<'_>) {
        for Receiver { member, slot } in self.routes.receivers(origin).to_vec() {
            self.member_mut(member).slots[slot].switch.restart();
        }
        self.show_to_receivers(origin, turn);
    }

    pub(super) fn want_key_frame(&mut self, origin: Origin, encoding: usize, now: Instant) {
        let Some(publisher) = &mut self.publishers[origin.member] else { return };
        if publisher.is_muted(origin.source) {
            return;
        }
        let Some(track) = publisher.track_mut(origin.source) else { return };
        let Some(encoding) = track.encodings.get_mut(encoding) else { return };
        if encoding.gate.want(now) {
            self.asks.push((origin.member, StreamName { mid: track.mid, rid: encoding.rid }));
        }
        let at = encoding.gate.deadline();
        self.key_frames_at = at.into_iter().chain(self.key_frames_at).min();
    }
}

/// An offer, and what comes with it.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'a> {
    pub sdp: &'a str,
    pub sources: &'a [(crate::base::Mid, Source)],
    pub may_receive: Permissions,
}
