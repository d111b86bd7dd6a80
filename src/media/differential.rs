//! A call on one shard and the same call on several serve the same users the same frames, told over the simulated network.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Settings;
use super::command::{Command, SlotWish};
use super::report::Report;
use super::scenarios::{assert_seamless, connect};
use super::sim::{Client, ROOM, World, ms};
use crate::base::{PeerId, Source};

const BOTH: [Source; 2] = [Source::Microphone, Source::Camera];

/// What one viewer got: the slot's index, and publisher, source, layer and number of the packet; in order for each slot.
type Served = Vec<(usize, (u32, u8, u8, u32))>;

/// What one viewer was told: who is in its slots, from the first on.
type Told = Vec<Vec<(Option<PeerId>, Source)>>;

/// What happened in a world, without what differs between two runs of one: keys, ports, random numbers.
#[derive(Debug, PartialEq)]
struct Outcome {
    served: Vec<(u64, Served)>,
    /// Slots as each viewer was told them, one after the other.
    told: Vec<(u64, Told)>,
    key_frames_asked: Vec<(u64, Vec<Duration>)>,
    flowing: Vec<(Duration, u64, Source, bool)>,
    volumes: Vec<(Duration, Vec<(u64, crate::base::Volume)>)>,
    /// Which of its encodings a publisher was asked for.
    encodings: Vec<(Duration, u64, BTreeMap<String, bool>)>,
}

impl Outcome {
    fn of(world: &World, began: std::time::Instant) -> Self {
        let clients = || world.clients.iter();
        let served = |client: &Client| {
            let mut served: Served = client
                .received
                .iter()
                .map(|packet| (slot_of(client, &packet.mid.to_string()), packet.stamp()))
                .map(|(mid, stamp)| (mid, (stamp.publisher, stamp.source, stamp.layer, stamp.number)))
                .collect();
            // Slots are independent: within one instant either may come first.
            served.sort_by_key(|(slot, _)| *slot);
            served
        };
        let told = |client: &Client| {
            let told = client.assignments.iter();
            told.map(|(_, slots)| slots.iter().map(|slot| (slot.publisher, slot.source)).collect()).collect()
        };
        let asked = |client: &Client| client.key_frames_asked.iter().map(|(_, at)| *at - began).collect();
        let mut flowing = Vec::new();
        let (mut volumes, mut encodings) = (Vec::new(), Vec::new());
        for (at, report) in &world.reports {
            match report {
                Report::Flowing { peer, source, flowing: f } => flowing.push((*at - began, peer.0, *source, *f)),
                Report::Volumes { volumes: v, .. } => {
                    let mut of_all: Vec<_> = v.iter().map(|(peer, volume)| (peer.0, *volume)).collect();
                    of_all.sort_unstable_by_key(|(peer, _)| *peer);
                    volumes.push((*at - began, of_all));
                }
                Report::Encodings { peer, encodings: e, .. } => {
                    let active = e.iter().map(|encoding| (encoding.rid.clone().unwrap_or_default(), encoding.active));
                    encodings.push((*at - began, peer.0, active.collect()));
                }
                _ => {}
            }
        }
        flowing.sort_unstable_by_key(|(at, peer, source, _)| (*at, *peer, *source as usize));
        Self {
            served: clients().map(|(id, client)| (*id, served(client))).collect(),
            told: clients().map(|(id, client)| (*id, told(client))).collect(),
            key_frames_asked: clients().map(|(id, client)| (*id, asked(client))).collect(),
            flowing,
            volumes,
            encodings,
        }
    }
}

fn slot_of(client: &Client, mid: &str) -> usize {
    client.slots.iter().position(|(name, _)| name.as_str() == mid).expect("it came on a slot")
}

/// Seven users with fewer slots than that, of whom one sends simulcast: they come, speak in turn, mute, choose, leave.
fn story(shards: usize) -> Outcome {
    let mut world = World::spanned(Settings { loudest: 2, ..Settings::default() }, shards);
    let began = world.now;
    for id in 1..=6 {
        world.join(id, &BOTH, 3, 3);
    }
    connect(&mut world);
    for id in 1..=6 {
        BOTH.iter().for_each(|source| world.send(id, *source));
        world.client(id).feeds[0].level = -100;
        // What happens in one instant on two shards has no order.
        world.run_for(ms(37));
    }
    world.run_for(ms(1000));
    join_simulcast(&mut world, 7);
    for (round, speaker) in [4, 5, 6, 3, 7, 1].into_iter().enumerate() {
        if speaker != 7 {
            world.client(speaker).feeds[0].level = -20;
        }
        world.run_for(ms(900));
        match round {
            0 => mute(&mut world, 5, true),
            1 => choose(&mut world, 2, 7),
            2 => mute(&mut world, 5, false),
            3 => world.client(1).begs = true,
            4 => world.command(Command::Leave { room: ROOM, peer: PeerId(4) }),
            _ => world.client(7).feeds.iter_mut().filter(|feed| feed.layer == 2).for_each(|feed| feed.on = false),
        }
        if speaker != 7 {
            world.client(speaker).feeds[0].level = -100;
        }
        world.run_for(ms(700));
    }
    world.run_for(ms(8000));
    Outcome::of(&world, began)
}

fn join_simulcast(world: &mut World, id: u64) {
    let rids = ["q", "h", "f"];
    world.join(id, &[Source::Microphone], 3, 3);
    connect(world);
    let sdp = world.client(id).offer_simulcast(&rids);
    world.negotiate(id, sdp).unwrap();
    for (layer, rid) in rids.iter().enumerate() {
        let now = world.now;
        world.client(id).send_layer(rid, layer as u8, 1 + 2 * layer, now);
        world.run_for(ms(7));
    }
}

fn mute(world: &mut World, id: u64, muted: bool) {
    for source in BOTH {
        world.command(Command::Forward { room: ROOM, peer: PeerId(id), source, forward: !muted });
    }
}

fn choose(world: &mut World, viewer: u64, publisher: u64) {
    let (mid, _) = world.client(viewer).slots.iter().find(|(_, kind)| kind.is_video()).cloned().unwrap();
    let wish = SlotWish { mid, publisher: Some(PeerId(publisher)), source: Source::Camera, max_height: None };
    world.command(Command::View { room: ROOM, peer: PeerId(viewer), slots: vec![wish] });
}

#[test]
fn one_shard_and_several_serve_exactly_the_same_users_the_same_frames() {
    let one = story(1);
    let packets: usize = one.served.iter().map(|(_, served)| served.len()).sum();
    assert!(packets > 10_000, "{packets}");
    let layers: BTreeSet<u8> =
        one.served.iter().flat_map(|(_, served)| served.iter().map(|(_, (_, _, layer, _))| *layer)).collect();
    assert!(layers.len() > 1, "another layer than the first was seen: {layers:?}");
    assert!(one.told.iter().all(|(_, told)| told.len() > 3), "slots changed hands");
    assert!(!one.encodings.is_empty(), "an encoding was paused");
    for shards in [2, 3] {
        let several = story(shards);
        for ((id, several), (_, one)) in several.told.iter().zip(&one.told) {
            let differs = several.iter().zip(one).position(|(a, b)| a != b);
            let both = |at: usize| (&several[at], &one[at]);
            assert_eq!(differs.map(both), None, "{id}'s slots on {shards} shards, from change {differs:?}");
            assert_eq!(several.len(), one.len(), "changes of {id}'s slots on {shards} shards");
        }
        assert_eq!(several.key_frames_asked, one.key_frames_asked, "key frames on {shards} shards");
        assert_eq!(several.flowing, one.flowing, "flow on {shards} shards");
        assert_eq!(several.encodings, one.encodings, "encodings on {shards} shards");
        assert_eq!(several.volumes, one.volumes, "volumes on {shards} shards");
        for ((id, several), (_, one)) in several.served.iter().zip(&one.served) {
            let differs = several.iter().zip(one).position(|(a, b)| a != b);
            assert_eq!(several.len(), one.len(), "{id} on {shards} shards, differs at {differs:?}");
            assert_eq!(differs.map(|at| (&several[at], &one[at])), None, "{id} on {shards} shards");
        }
    }
}

/// A publisher on the second shard and a viewer on the first.
fn pair() -> World {
    let mut world = World::spanned(Settings::default(), 2);
    world.join(1, &BOTH, 0, 0);
    world.join(2, &[], 1, 1);
    connect(&mut world);
    BOTH.iter().for_each(|source| world.send(1, *source));
    world.run_for(ms(1000));
    world
}

#[test]
fn a_full_queue_between_shards_costs_whole_frames_and_the_viewer_sees_no_gap() {
    let mut world = pair();
    // Room for a part of a frame, then for none, then for all again.
    for free in [2, 0] {
        world.shards[1].post().set_free(0, free);
        world.run_for(ms(300));
    }
    world.shards[1].post().set_free(0, super::relay::CROSSING_QUEUE);
    world.run_for(ms(2000));
    assert!(world.shards[1].snapshot().drops.congested > 20, "{:?}", world.shards[1].snapshot().drops);
    let client = &world.clients[&2];
    let video = client.got(1, Source::Camera);
    let sent = world.clients[&1].feeds[1].packets_sent();
    assert!((video.len() as u32) < sent - 20, "{} of {sent}", video.len());
    for two in video.windows(2) {
        let (a, b) = (two[0], two[1]);
        assert_eq!(b.seq, a.seq + 1, "what did not cross is no loss to be repaired");
        if b.stamp().number != a.stamp().number + 1 {
            assert!(b.stamp().key, "after a gap comes a key frame: {:?} {:?}", a.stamp(), b.stamp());
        }
    }
    assert!(video.last().unwrap().stamp().number + 20 > sent, "and it goes on");
    assert!(world.clients[&1].key_frames_asked.len() <= 6, "{}", world.clients[&1].key_frames_asked.len());
}

#[test]
fn key_frame_storms_on_another_shard_do_not_reach_the_publisher() {
    let mut world = pair();
    let before = world.clients[&1].key_frames_asked.len();
    world.client(2).begs = true;
    world.run_for(ms(3000));
    let asked = world.clients[&1].key_frames_asked.len() - before;
    assert!((4..=7).contains(&asked), "{asked} in three seconds");
    assert!(world.shards[0].snapshot().keyframe_requests_received > 20);
}

#[test]
fn a_part_whose_members_left_is_gone_for_the_others_and_may_begin_anew() {
    let mut world = pair();
    world.command(Command::Leave { room: ROOM, peer: PeerId(1) });
    world.run_for(ms(200));
    assert_eq!((world.shards[1].snapshot().rooms, world.shards[0].snapshot().rooms), (0, 1));
    let (_, slots) = world.clients[&2].assignments.last().unwrap();
    assert!(slots.iter().all(|slot| slot.publisher.is_none()), "{slots:?}");
    world.join(3, &BOTH, 0, 0);
    connect(&mut world);
    BOTH.iter().for_each(|source| world.send(3, *source));
    world.run_for(ms(1000));
    for source in BOTH {
        let packets = world.clients[&2].got(3, source);
        assert!(packets.len() > 20, "{source:?}: {}", packets.len());
        assert_seamless(&packets);
    }
    for id in [2, 3] {
        world.command(Command::Leave { room: ROOM, peer: PeerId(id) });
    }
    assert!(world.shards.iter().all(|shard| shard.snapshot().rooms == 0 && shard.snapshot().peers == 0));
}
