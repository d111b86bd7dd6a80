//! Which shard serves whom: calls spread over the shards by load, and a call that is too big for one over several. A pure choice.

use std::collections::HashMap;

use crate::base::{PeerId, RoomKey};

/// When a call is served by more than one shard. It costs a copy of each packet for each further shard, so small calls stay together.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    /// Who comes when a shard has so many of the call's members goes to another.
    pub members: usize,
    /// So does who comes when the shard is busy for more than this share of its time, 0.0–1.0.
    pub load: f64,
}

impl Default for Spread {
    fn default() -> Self {
        Self { members: 64, load: 0.6 }
    }
}

/// The share of a shard's time that a peer is taken to cost until it is measured: a receiver of a few megabits.
const A_PEER: f64 = 0.002;

/// How much of what was foreseen is still not measured a second later: connecting takes a while.
const FORESEEN: f64 = 0.5;

/// Who is where.
#[derive(Debug)]
pub struct Placement {
    spread: Spread,
    max_peers: usize,
    shards: Vec<Load>,
    rooms: HashMap<RoomKey, Vec<Part>>,
    peers: HashMap<PeerId, (RoomKey, usize)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Load {
    /// Measured share of its time, and what its newest peers are foreseen to add.
    busy: f64,
    foreseen: f64,
    peers: usize,
}

/// Members of one call on one shard.
#[derive(Debug, Clone, Copy)]
struct Part {
    shard: usize,
    members: usize,
}

/// A peer's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub shard: usize,
    /// All shards that serve the call, when the peer is new and they are several.
    pub span: Vec<usize>,
}

impl Placement {
    pub fn new(shards: usize, max_peers: usize, spread: Spread) -> Self {
        let shards = vec![Load::default(); shards.max(1)];
        Self { spread, max_peers, shards, rooms: HashMap::new(), peers: HashMap::new() }
    }

    /// The shard of a peer that has one.
    pub fn shard_of(&self, peer: PeerId) -> Option<usize> {
        self.peers.get(&peer).map(|(_, shard)| *shard)
    }

    /// Where the peer is served; a new one gets its place.
    pub fn place(&mut self, room: RoomKey, peer: PeerId) -> Place {
        if let Some(shard) = self.shard_of(peer) {
            return Place { shard, span: Vec::new() };
        }
        let shard = self.choose(room);
        self.peers.insert(peer, (room, shard));
        self.shards[shard].peers += 1;
        self.shards[shard].foreseen += A_PEER;
        let parts = self.rooms.entry(room).or_default();
        match parts.iter_mut().find(|part| part.shard == shard) {
            Some(part) => part.members += 1,
            None => parts.push(Part { shard, members: 1 }),
        }
        let span = if parts.len() < 2 { Vec::new() } else { parts.iter().map(|part| part.shard).collect() };
        Place { shard, span }
    }

    /// The peer is not served any more.
    pub fn free(&mut self, peer: PeerId) {
        let Some((room, shard)) = self.peers.remove(&peer) else { return };
        self.shards[shard].peers -= 1;
        let parts = self.rooms.get_mut(&room).expect("a placed peer's room is known");
        parts.iter_mut().filter(|part| part.shard == shard).for_each(|part| part.members -= 1);
        parts.retain(|part| part.members > 0);
        if parts.is_empty() {
            self.rooms.remove(&room);
        }
    }

    /// For the last second the shard was busy for this share of its time.
    pub fn measured(&mut self, shard: usize, busy: f64) {
        let load = &mut self.shards[shard];
        load.busy = (load.busy + busy) / 2.0;
        load.foreseen *= FORESEEN;
    }

    fn choose(&self, room: RoomKey) -> usize {
        let parts = self.rooms.get(&room).map_or(&[][..], Vec::as_slice);
        let least = |shards: &mut dyn Iterator<Item = usize>| {
            let key =
                |shard: usize| (self.shards[shard].peers >= self.max_peers, self.load(shard), self.shards[shard].peers);
            shards.min_by(|a, b| key(*a).partial_cmp(&key(*b)).expect("loads are numbers"))
        };
        let serves = |shard: usize| parts.iter().any(|part| part.shard == shard);
        let takes = |part: &&Part| {
            part.members < self.spread.members
                && self.load(part.shard) < self.spread.load
                && self.shards[part.shard].peers < self.max_peers
        };
        let taking = least(&mut parts.iter().filter(takes).map(|part| part.shard));
        let present = least(&mut parts.iter().map(|part| part.shard));
        let other = least(&mut (0..self.shards.len()).filter(|shard| !serves(*shard)));
        match (taking, present, other) {
            (Some(shard), _, _) => shard,
            // A shard that is as busy as those that have the call would only pay for the crossing.
            (None, Some(present), Some(other)) if self.is_worse(other, present) => present,
            (None, _, Some(other)) => other,
            (None, Some(present), None) => present,
            (None, None, None) => 0,
        }
    }

    fn is_worse(&self, shard: usize, than: usize) -> bool {
        let full = |shard: usize| self.shards[shard].peers >= self.max_peers;
        full(shard) || (!full(than) && self.load(shard) >= self.spread.load && self.load(shard) >= self.load(than))
    }

    fn load(&self, shard: usize) -> f64 {
        self.shards[shard].busy + self.shards[shard].foreseen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placement(shards: usize, members: usize) -> Placement {
        Placement::new(shards, 100, Spread { members, load: 0.5 })
    }

    fn shards(placement: &mut Placement, room: u64, peers: std::ops::Range<u64>) -> Vec<usize> {
        peers.map(|peer| placement.place(RoomKey(room), PeerId(peer)).shard).collect()
    }

    #[test]
    fn a_call_stays_together_and_the_next_goes_to_the_least_busy_shard() {
        let mut placement = placement(3, 10);
        placement.measured(0, 0.4);
        placement.measured(1, 0.1);
        placement.measured(2, 0.3);
        assert_eq!(shards(&mut placement, 1, 0..5), [1; 5]);
        placement.measured(1, 0.9);
        assert_eq!(shards(&mut placement, 2, 10..12), [2, 2], "measured, not counted");
        assert_eq!(shards(&mut placement, 1, 0..5), [1; 5], "who has a place keeps it");
    }

    #[test]
    fn with_nothing_measured_yet_calls_are_dealt_round() {
        let mut placement = placement(3, 10);
        let mut dealt: Vec<usize> =
            (0..9).map(|room| shards(&mut placement, room, room * 2..room * 2 + 2)[1]).collect();
        dealt.sort_unstable();
        assert_eq!(dealt, [0, 0, 0, 1, 1, 1, 2, 2, 2]);
    }

    #[test]
    fn a_call_with_too_many_members_or_on_a_busy_shard_spreads() {
        let mut placement = placement(2, 3);
        assert_eq!(shards(&mut placement, 1, 0..6), [0, 0, 0, 1, 1, 1]);
        assert_eq!(shards(&mut placement, 1, 6..10), [0, 1, 0, 1], "more than all shards take is shared");
        let mut placement = Placement::new(2, 100, Spread { members: 50, load: 0.5 });
        assert_eq!(shards(&mut placement, 1, 0..2), [0, 0]);
        placement.measured(0, 1.2);
        assert_eq!(placement.place(RoomKey(1), PeerId(2)), Place { shard: 1, span: vec![0, 1] });
        placement.measured(0, 1.2);
        placement.measured(1, 1.9);
        placement.measured(1, 1.9);
        assert_eq!(shards(&mut placement, 1, 3..4), [0], "a busier shard is no help");
    }

    #[test]
    fn every_new_peer_of_a_spread_call_brings_its_span_and_those_who_left_free_it() {
        let mut placement = placement(2, 1);
        assert_eq!(placement.place(RoomKey(1), PeerId(1)).span, Vec::<usize>::new());
        assert_eq!(placement.place(RoomKey(1), PeerId(2)).span, [0, 1]);
        assert_eq!(placement.place(RoomKey(1), PeerId(3)).span, [0, 1]);
        assert_eq!(placement.place(RoomKey(1), PeerId(3)).span, Vec::<usize>::new(), "known already");
        for peer in [1, 2, 3, 3, 9] {
            placement.free(PeerId(peer));
        }
        assert_eq!(placement.shard_of(PeerId(1)), None);
        assert_eq!((placement.rooms.len(), placement.peers.len()), (0, 0));
        assert!(placement.shards.iter().all(|load| load.peers == 0));
    }

    #[test]
    fn a_full_shard_takes_nobody_while_another_has_room() {
        let mut placement = Placement::new(2, 2, Spread { members: 50, load: 0.5 });
        assert_eq!(shards(&mut placement, 1, 0..4), [0, 0, 1, 1]);
        assert_eq!(shards(&mut placement, 2, 4..5).len(), 1, "whoever asks of full shards is refused there");
    }
}
