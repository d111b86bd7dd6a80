//! One shard: its rooms, its directory, its clock. It is fed commands, datagrams and time, and gives datagrams and reports.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use slab::Slab;

use super::Settings;
use super::command::Command;
use super::demux::{Demux, Found, Remote};
use super::export::ShardSnapshot;
use super::outbound::Outbound;
use super::peer::{Datagram, Identity, Refusal};
use super::relay::{Letter, Note, Post};
use super::report::{Connection, OfferError, Report};
use super::room::{Offer, Outbox, Room, Turn};
use super::timers::Timers;
use crate::base::{PeerId, RoomKey};

/// Where a peer sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seat {
    pub room: usize,
    pub member: usize,
}

/// One shard. A turn is any number of `handle_*` and then [`Shard::finish_turn`]; after it, what is to be sent and told is taken.
pub struct Shard {
    settings: Settings,
    identity: Identity,
    rooms: Slab<Room>,
    by_key: HashMap<RoomKey, usize>,
    /// The shards of each call that has several.
    spans: HashMap<RoomKey, Vec<usize>>,
    peers: HashMap<PeerId, Seat>,
    demux: Demux,
    timers: Timers,
    freed: Vec<PeerId>,
    /// Rooms that this turn touched.
    touched: Vec<usize>,
    outbox: Outbox,
}

impl Shard {
    pub fn new(index: usize, settings: Settings, identity: Identity) -> Self {
        let mut outbox = Outbox::default();
        outbox.counts.shard = index;
        Self {
            settings,
            identity,
            rooms: Slab::new(),
            by_key: HashMap::new(),
            spans: HashMap::new(),
            peers: HashMap::new(),
            demux: Demux::default(),
            timers: Timers::default(),
            freed: Vec::new(),
            touched: Vec::new(),
            outbox,
        }
    }

    pub fn index(&self) -> usize {
        self.outbox.counts.shard
    }

    pub fn handle_command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Offer { room, peer, request, sdp, sources, may_receive } => {
                let offer = Offer { sdp: &sdp, sources: &sources, may_receive };
                let result = self.handle_offer(room, peer, offer, now);
                if !self.peers.contains_key(&peer) {
                    self.freed.push(peer);
                }
                self.outbox.reports.push_back(Report::Answered { peer, request, result });
            }
            Command::Forward { peer, source, forward, .. } => {
                self.with_peer(peer, now, |room, seat, turn| room.handle_forward(seat, source, forward, turn));
            }
            Command::View { peer, slots, .. } => {
                self.with_peer(peer, now, |room, seat, _| room.handle_view(seat, slots))
            }
            Command::SlotsTold { peer, version, .. } => {
                self.with_peer(peer, now, |room, seat, turn| room.handle_told(seat, version, turn));
            }
            Command::Leave { peer, .. } => self.with_peer(peer, now, |room, seat, turn| room.handle_leave(seat, turn)),
            Command::Span { room, shards } => self.handle_span(room, shards, now),
        }
    }

    pub fn handle_datagram(&mut self, datagram: Datagram<'_>, now: Instant) {
        let counts = &mut self.outbox.counts;
        counts.datagrams_in += 1;
        counts.bytes_in += datagram.contents.len() as u64;
        let remote = datagram.remote();
        let found = self.demux.find(remote, datagram.contents);
        let (Found::Address(seat) | Found::Check(seat)) = found else {
            counts.drops.unknown_source += 1;
            return;
        };
        let taken = self.in_room(seat.room, now, |room, turn| room.handle_datagram(seat.member, datagram, turn));
        match taken {
            Some(Ok(())) if found == Found::Check(seat) => {
                if let Some(names) = self.rooms.get_mut(seat.room).and_then(|room| room.names_mut(seat.member)) {
                    self.demux.learn(remote, seat, names);
                }
            }
            Some(Err(Refusal::Malformed)) => self.outbox.counts.drops.malformed += 1,
            Some(Err(Refusal::Rejected)) => self.outbox.counts.drops.rejected += 1,
            Some(Ok(())) | None => {}
        }
    }

    /// Whether a peer has proved to be at the other end of this path, and is still here.
    pub fn knows(&self, remote: Remote) -> bool {
        self.demux.seat_at(remote).is_some()
    }

    /// What the shard with the index `from` has for this one; the caller gets it back empty.
    pub fn handle_letter(&mut self, from: usize, letter: &mut Letter, now: Instant) {
        for (key, note) in letter.notes.drain(..) {
            if let Some(index) = self.by_key.get(&key).copied() {
                self.in_room(index, now, |room, turn| room.handle_note(from, note, turn));
            }
        }
        for (key, publisher, level) in letter.levels.drain(..) {
            if let Some(index) = self.by_key.get(&key).copied() {
                self.in_room(index, now, |room, turn| room.handle_level(publisher, level, turn.now));
            }
        }
        for (key, crossing) in letter.packets.drain(..) {
            if let Some(index) = self.by_key.get(&key).copied() {
                self.in_room(index, now, |room, turn| room.handle_crossing(from, crossing, turn));
            }
        }
    }

    /// Serves what is due and completes the turn.
    pub fn finish_turn(&mut self, now: Instant) {
        while let Some(room) = self.timers.pop(now) {
            if self.rooms.contains(room) {
                self.in_room(room, now, |room, turn| room.handle_timeout(turn));
            }
        }
        let mut touched = std::mem::take(&mut self.touched);
        for room in touched.drain(..) {
            if self.rooms.contains(room) && self.guarded(room, now, |room, turn| room.finish_turn(turn)).is_some() {
                self.settle(room);
            }
        }
        self.touched = touched;
    }

    /// When [`Shard::finish_turn`] is wanted though nothing arrived.
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// What the turn wants sent; the caller empties it.
    pub fn datagrams(&mut self) -> &mut Outbound {
        &mut self.outbox.drain.datagrams
    }

    /// Letters to other shards, which the caller empties, and the room in their queues, of which it says.
    pub fn post(&mut self) -> &mut Post {
        &mut self.outbox.post
    }

    /// Peers that are not served any more, or never were.
    pub fn poll_freed(&mut self) -> Option<PeerId> {
        self.freed.pop()
    }

    pub fn poll_report(&mut self) -> Option<Report> {
        self.outbox.reports.pop_front()
    }

    /// The counters of this moment.
    pub fn snapshot(&self) -> ShardSnapshot {
        let mut counts = self.outbox.counts.clone();
        counts.peers = self.peers.len() as u64;
        counts.rooms = self.rooms.len() as u64;
        for (_, room) in &self.rooms {
            room.count_repairs(&mut counts);
        }
        counts
    }

    /// Everyone is told goodbye.
    pub fn close(&mut self, now: Instant) {
        let peers: Vec<PeerId> = self.peers.keys().copied().collect();
        for peer in peers {
            self.with_peer(peer, now, |room, seat, turn| room.handle_leave(seat, turn));
        }
        self.finish_turn(now);
    }

    fn handle_offer(
        &mut self,
        key: RoomKey,
        peer: PeerId,
        offer: Offer<'_>,
        now: Instant,
    ) -> Result<String, OfferError> {
        let seat = self.peers.get(&peer).copied();
        if seat.is_some_and(|seat| self.rooms[seat.room].key() != key) {
            return Err(OfferError::Invalid("the peer is in another room".into()));
        }
        if seat.is_none() && self.peers.len() >= self.settings.max_peers {
            return Err(OfferError::Full);
        }
        let room = self.by_key.get(&key).copied().unwrap_or_else(|| self.open(key, now));
        let member = seat.map(|seat| seat.member);
        let result = self.in_room(room, now, |room, turn| room.handle_offer(member, peer, offer, turn));
        let Some(result) = result else {
            return Err(OfferError::Invalid("it cannot be answered".into()));
        };
        let (member, answer) = result.inspect_err(|_| self.settle(room))?;
        let seat = Seat { room, member };
        self.peers.insert(peer, seat);
        let room = &mut self.rooms[room];
        let ufrag = room.ufrag(member).expect("who was answered has a seat");
        self.demux.rename(ufrag, seat, room.names_mut(member).expect("who was answered has a seat"));
        Ok(answer)
    }

    fn open(&mut self, key: RoomKey, now: Instant) -> usize {
        let room = self.rooms.insert(Room::new(key, &self.settings, now));
        self.by_key.insert(key, room);
        if let Some(shards) = self.spans.get(&key).cloned() {
            self.in_room(room, now, |room, turn| room.handle_span(&shards, turn));
        }
        room
    }

    fn handle_span(&mut self, key: RoomKey, shards: Vec<usize>, now: Instant) {
        if let Some(room) = self.by_key.get(&key).copied() {
            self.in_room(room, now, |room, turn| room.handle_span(&shards, turn));
        }
        if shards.len() < 2 {
            self.spans.remove(&key);
        } else {
            self.spans.insert(key, shards);
        }
    }

    fn with_peer(&mut self, peer: PeerId, now: Instant, handle: impl FnOnce(&mut Room, usize, &mut Turn<'_>)) {
        match self.peers.get(&peer).copied() {
            Some(seat) => {
                self.in_room(seat.room, now, |room, turn| handle(room, seat.member, turn));
            }
            None => tracing::debug!(peer = peer.0, "a command for a peer that is not here"),
        }
    }

    /// Runs a step of one room, which this turn then finishes. `None`: it panicked.
    fn in_room<T>(
        &mut self,
        index: usize,
        now: Instant,
        step: impl FnOnce(&mut Room, &mut Turn<'_>) -> T,
    ) -> Option<T> {
        let value = self.guarded(index, now, step)?;
        if !self.touched.contains(&index) {
            self.touched.push(index);
        }
        Some(value)
    }

    /// A panic in the step ends its room, and no other.
    fn guarded<T>(
        &mut self,
        index: usize,
        now: Instant,
        step: impl FnOnce(&mut Room, &mut Turn<'_>) -> T,
    ) -> Option<T> {
        let room = &mut self.rooms[index];
        let (shard, settings, identity) = (self.outbox.counts.shard, &self.settings, &self.identity);
        let mut turn = Turn { now, shard, settings, identity, outbox: &mut self.outbox };
        let done = catch_unwind(AssertUnwindSafe(|| step(room, &mut turn)));
        if done.is_err() {
            tracing::error!(room = self.rooms[index].key().0, "a room failed and is closed");
            self.bury(index);
        }
        done.ok()
    }

    /// Takes over who went, and sets the room's next deadline.
    fn settle(&mut self, index: usize) {
        let Some(room) = self.rooms.get_mut(index) else { return };
        for gone in room.take_gone() {
            let seat = Seat { room: index, member: gone.seat };
            self.demux.forget(seat, &gone.names);
            self.peers.remove(&gone.peer);
            self.freed.push(gone.peer);
        }
        if room.is_empty() {
            let room = self.rooms.remove(index);
            room.others().for_each(|shard| self.outbox.post.note(shard, room.key(), Note::Gone));
            self.by_key.remove(&room.key());
            self.timers.clear(index);
        } else {
            self.timers.set(index, room.deadline());
        }
    }

    /// Removes a room whose state cannot be trusted, without running any of its code but plain reads.
    fn bury(&mut self, index: usize) {
        let mut room = self.rooms.remove(index);
        self.by_key.remove(&room.key());
        room.others().for_each(|shard| self.outbox.post.note(shard, room.key(), Note::Gone));
        self.timers.clear(index);
        let dead: Vec<(PeerId, Seat)> =
            self.peers.iter().filter(|(_, seat)| seat.room == index).map(|(peer, seat)| (*peer, *seat)).collect();
        for (peer, seat) in dead {
            if let Some(names) = room.names_mut(seat.member) {
                self.demux.forget(seat, names);
            }
            self.peers.remove(&peer);
            self.freed.push(peer);
            self.outbox.reports.push_back(Report::Connection { peer, state: Connection::Closed });
        }
        for gone in room.take_gone() {
            self.demux.forget(Seat { room: index, member: gone.seat }, &gone.names);
            self.peers.remove(&gone.peer);
            self.freed.push(gone.peer);
        }
        // What was under way in the room is not another's.
        self.outbox.drain.packets.clear();
        self.outbox.drain.events.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Source;
    use crate::media::command::Permissions;
    use crate::media::sim::Client;
    use crate::media::wallclock::WallClock;

    fn shard() -> Shard {
        let identity = Identity {
            certificate: Identity::generate_certificate().unwrap(),
            shard: 0,
            addresses: vec!["10.9.9.9:7882".parse().unwrap()],
            stream_addresses: Vec::new(),
            stats_interval: Settings::default().quality_interval,
            wall: WallClock::new(Instant::now(), std::time::UNIX_EPOCH),
        };
        Shard::new(0, Settings::default(), identity)
    }

    fn join(shard: &mut Shard, room: u64, id: u64, now: Instant) -> Client {
        let mut client = Client::new(id, format!("10.0.0.{id}:5000").parse().unwrap(), now);
        let sdp = client.offer(&[Source::Microphone], 1, 0);
        let (room, peer, sources) = (RoomKey(room), PeerId(id), client.sources.clone());
        let may_receive = Permissions::ALL;
        shard.handle_command(Command::Offer { room, peer, request: id, sdp, sources, may_receive }, now);
        shard.finish_turn(now);
        client
    }

    fn reports(shard: &mut Shard) -> Vec<Report> {
        std::iter::from_fn(|| shard.poll_report()).collect()
    }

    #[test]
    fn a_panic_ends_its_room_and_no_other() {
        let now = Instant::now();
        let mut shard = shard();
        for (room, id) in [(1, 11), (1, 12), (2, 21)] {
            join(&mut shard, room, id, now);
        }
        reports(&mut shard);
        let index = shard.by_key[&RoomKey(1)];
        shard.in_room(index, now, |_, _| panic!("injected"));
        shard.finish_turn(now);
        let mut closed: Vec<u64> = reports(&mut shard)
            .into_iter()
            .map(|report| match report {
                Report::Connection { peer, state: Connection::Closed } => peer.0,
                other => panic!("{other:?}"),
            })
            .collect();
        closed.sort_unstable();
        assert_eq!(closed, [11, 12]);
        let counts = shard.snapshot();
        assert_eq!((counts.rooms, counts.peers), (1, 1));
        join(&mut shard, 1, 13, now);
        assert_eq!(shard.snapshot().peers, 2, "the room can be made anew");
    }

    #[test]
    fn a_peer_is_in_one_room_only() {
        let now = Instant::now();
        let mut shard = shard();
        join(&mut shard, 1, 11, now);
        reports(&mut shard);
        join(&mut shard, 2, 11, now);
        let said = reports(&mut shard);
        assert!(matches!(&said[..], [Report::Answered { result: Err(OfferError::Invalid(_)), .. }]), "{said:?}");
        assert_eq!((shard.snapshot().rooms, shard.snapshot().peers), (1, 1));
    }

    #[test]
    fn a_refused_offer_leaves_no_room_behind() {
        let now = Instant::now();
        let mut shard = shard();
        let sdp = "v=0".to_owned();
        let (room, peer, may_receive) = (RoomKey(1), PeerId(1), Permissions::ALL);
        shard.handle_command(Command::Offer { room, peer, request: 1, sdp, sources: vec![], may_receive }, now);
        shard.finish_turn(now);
        assert_eq!((shard.snapshot().rooms, shard.snapshot().peers), (0, 0));
        assert_eq!(
            shard.deadline().filter(|_| shard.timers.pop(now + std::time::Duration::from_secs(9)).is_some()),
            None
        );
    }
}
