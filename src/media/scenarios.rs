//! What a call's media does, told as scenarios over the simulated network.

use std::time::Duration;

use str0m::format::Codec;

use super::command::{Command, Permissions, SlotWish};
use super::report::{Connection, OfferError, Report};
use super::sim::{Path, ROOM, Received, World, ms};
use super::{Cause, PeerQuality, Settings};
use crate::base::{PeerId, Quality, Source, Volume};

pub(super) const BOTH: [Source; 2] = [Source::Microphone, Source::Camera];

/// So many peers who all send sound and picture and have as many slots of each.
pub(super) fn call(peers: u64, slots: usize) -> World {
    let mut world = World::new(Settings::default());
    for id in 1..=peers {
        world.join(id, &BOTH, slots, slots);
    }
    connect(&mut world);
    for id in 1..=peers {
        BOTH.iter().for_each(|source| world.send(id, *source));
    }
    world
}

pub(super) fn connect(world: &mut World) {
    world.run_until(ms(5000), |world| world.clients.values().all(|client| client.connected));
}

/// Nothing lost, nothing twice, all in order, and the numbers of a decoder's liking.
pub(super) fn assert_seamless(packets: &[&Received]) {
    for two in packets.windows(2) {
        let (a, b) = (two[0], two[1]);
        assert_eq!(b.seq, a.seq + 1, "{:?} after {:?}", b.stamp(), a.stamp());
        assert!(b.timestamp.wrapping_sub(a.timestamp) < 90_000 * 10, "time goes on: {} {}", a.timestamp, b.timestamp);
        if b.codec == Codec::Vp8 {
            let step = u16::from(a.stamp().last || a.stamp().publisher != b.stamp().publisher);
            assert_eq!(b.vp8_ids().0, (a.vp8_ids().0 + step) & 0x7fff, "picture ids go on");
            assert_eq!(b.vp8_ids().1, a.vp8_ids().1.wrapping_add(step as u8), "tl0 goes on");
        }
    }
}

pub(super) fn forward(world: &mut World, id: u64, source: Source, forward: bool) {
    world.command(Command::Forward { room: ROOM, peer: PeerId(id), source, forward });
}

pub(super) fn leave(world: &mut World, id: u64) {
    world.command(Command::Leave { room: ROOM, peer: PeerId(id) });
}

pub(super) fn quality(world: &World, id: u64) -> PeerQuality {
    let last = world.reports.iter().rev().find_map(|(_, report)| match report {
        Report::Quality { peers, .. } => {
            peers.iter().find(|(peer, _)| peer.0 == id).map(|(_, quality)| quality.clone())
        }
        _ => None,
    });
    last.expect("quality was reported")
}

pub(super) fn volume(world: &World, id: u64) -> Option<Volume> {
    world.reports.iter().rev().find_map(|(_, report)| match report {
        Report::Volumes { volumes, .. } => volumes.iter().find(|(peer, _)| peer.0 == id).map(|(_, volume)| *volume),
        _ => None,
    })
}

#[test]
fn two_peers_hear_and_see_each_other() {
    let mut world = call(2, 2);
    world.run_for(ms(5000));
    for (me, other) in [(1, 2), (2, 1)] {
        let client = &world.clients[&me];
        let audio = client.got(other, Source::Microphone);
        let video = client.got(other, Source::Camera);
        assert!(audio.len() > 240 && video.len() > 360, "{} {}", audio.len(), video.len());
        assert_seamless(&audio);
        assert_seamless(&video);
        assert!(video[0].stamp().key, "video begins with a key frame");
        assert!(audio.iter().all(|p| p.codec == Codec::Opus && p.level == Some(-30)));
        assert!(video.iter().all(|p| p.codec == Codec::Vp8 && p.seq < 65536));
        assert!(client.received.iter().all(|p| p.stamp().publisher == other as u32), "nobody hears themself");
        assert_eq!(world.connections(me), [Connection::Connected]);
    }
}

#[test]
fn a_third_peer_joins_without_disturbing_the_two() {
    let mut world = call(2, 2);
    world.run_for(ms(1000));
    world.join(3, &BOTH, 2, 2);
    connect(&mut world);
    BOTH.iter().for_each(|source| world.send(3, *source));
    world.run_for(ms(2000));
    for (me, other) in [(1, 2), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2)] {
        for source in BOTH {
            let packets = world.clients[&me].got(other, source);
            assert!(packets.len() > 90, "{me} has {} of {other}'s {source:?}", packets.len());
            assert_seamless(&packets);
        }
    }
}

#[test]
fn a_slot_that_changes_hands_goes_on_without_a_jump() {
    let mut world = World::new(Settings::default());
    world.join(1, &[], 1, 1);
    world.join(2, &BOTH, 0, 0);
    connect(&mut world);
    BOTH.iter().for_each(|source| world.send(2, *source));
    world.run_for(ms(1000));
    world.join(3, &BOTH, 0, 0);
    connect(&mut world);
    BOTH.iter().for_each(|source| world.send(3, *source));
    world.run_for(ms(1000));
    assert!(world.clients[&1].got(3, Source::Camera).is_empty(), "the only slot is taken");
    leave(&mut world, 2);
    world.run_for(ms(1000));
    for source in BOTH {
        let all: Vec<_> = world.clients[&1].received.iter().filter(|p| p.stamp().source == source as u8).collect();
        assert_seamless(&all);
        let (before, after) = (world.clients[&1].got(2, source).len(), world.clients[&1].got(3, source));
        assert!(before > 20 && after.len() > 20, "{source:?}: {before} {}", after.len());
        assert!(after[0].stamp().key || source == Source::Microphone, "a picture begins with a key frame");
    }
}

#[test]
fn packets_of_a_new_user_wait_until_the_client_was_told() {
    let mut world = World::new(Settings::default());
    world.tells = false;
    world.join(1, &[], 1, 1);
    world.join(2, &BOTH, 0, 0);
    connect(&mut world);
    BOTH.iter().for_each(|source| world.send(2, *source));
    world.run_for(ms(1000));
    assert!(world.clients[&1].received.is_empty());
    let version = world.clients[&1].assignments.last().unwrap().0;
    let told = |version| Command::SlotsTold { room: ROOM, peer: PeerId(1), version };
    world.command(told(version - 1));
    world.run_for(ms(200));
    assert!(world.clients[&1].received.is_empty(), "an older version says nothing of the new user");
    world.command(told(version));
    world.run_for(ms(1000));
    for source in BOTH {
        let packets = world.clients[&1].got(2, source);
        assert!(packets.len() > 20);
        assert_seamless(&packets);
    }
}

#[test]
fn a_muted_source_stops_and_goes_on_where_it_was() {
    let mut world = call(2, 1);
    world.run_for(ms(1000));
    BOTH.iter().for_each(|source| forward(&mut world, 1, *source, false));
    world.run_for(ms(200));
    let had = BOTH.map(|source| world.clients[&2].got(1, source).len());
    world.run_for(ms(1000));
    assert_eq!(BOTH.map(|source| world.clients[&2].got(1, source).len()), had, "nothing passes");
    assert!(world.drops().muted > 100, "{:?}", world.drops());
    assert_eq!(volume(&world, 1), Some(Volume::SILENT));
    assert!(volume(&world, 2).unwrap() > Volume::SILENT);
    BOTH.iter().for_each(|source| forward(&mut world, 1, *source, true));
    world.run_for(ms(1000));
    for (source, had) in BOTH.into_iter().zip(had) {
        let packets = world.clients[&2].got(1, source);
        assert!(packets.len() > had + 40);
        for two in packets.windows(2) {
            assert_eq!(two[1].seq, two[0].seq + 1, "a muted stretch is no loss");
        }
        assert!(source == Source::Microphone || packets[had].stamp().key, "the picture begins anew");
    }
}

#[test]
fn key_frame_storms_do_not_reach_the_publisher() {
    let mut world = World::new(Settings::default());
    world.join(1, &[Source::Camera], 0, 0);
    for id in 2..8 {
        world.join(id, &[], 0, 1);
        world.client(id).begs = true;
    }
    connect(&mut world);
    world.send(1, Source::Camera);
    world.run_for(ms(10_000));
    let asked = &world.clients[&1].key_frames_asked;
    assert!((15..=21).contains(&asked.len()), "{} in ten seconds", asked.len());
    for two in asked.windows(2) {
        assert!(two[1].1.duration_since(two[0].1) >= ms(499), "{:?}", two[1].1.duration_since(two[0].1));
    }
    assert!(world.shard().snapshot().keyframe_requests_received > 100);
}

#[test]
fn an_ice_restart_keeps_the_media_going() {
    let mut world = call(2, 1);
    world.run_for(ms(1000));
    let sdp = world.client(1).offer_ice_restart();
    world.negotiate(1, sdp).unwrap();
    world.run_for(ms(500));
    let had = world.clients[&2].got(1, Source::Camera).len();
    world.run_for(ms(3000));
    for (me, other) in [(1, 2), (2, 1)] {
        for source in BOTH {
            assert_seamless(&world.clients[&me].got(other, source));
        }
    }
    assert!(world.clients[&2].got(1, Source::Camera).len() > had + 200);
    assert_eq!(world.connections(1), [Connection::Connected]);
}

#[test]
fn a_client_that_comes_from_another_address_goes_on() {
    let mut world = call(2, 1);
    world.run_for(ms(1000));
    world.move_client(1);
    let sdp = world.client(1).offer_ice_restart();
    world.negotiate(1, sdp).unwrap();
    world.run_for(ms(2000));
    let had = (world.clients[&1].got(2, Source::Camera).len(), world.clients[&2].got(1, Source::Camera).len());
    world.run_for(ms(1000));
    assert!(world.clients[&1].got(2, Source::Camera).len() > had.0 + 50);
    assert!(world.clients[&2].got(1, Source::Camera).len() > had.1 + 50);
}

#[test]
fn strangers_disturb_nobody_and_get_nothing() {
    let mut world = call(2, 1);
    world.run_for(ms(500));
    let stranger = "10.6.6.6:666".parse().unwrap();
    // A DTLS 1.2 client hello's start, RTP, RTCP, a STUN request for nobody, and garbage.
    let mut stun = vec![0, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 6, 0, 7];
    stun.extend(*b"abc:def\0");
    let datagrams: [&[u8]; 6] = [
        &[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1],
        &[0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 1],
        &[0x80, 201, 0, 1],
        &stun,
        &[],
        &[77; 1400],
    ];
    for _ in 0..100 {
        datagrams.iter().for_each(|datagram| world.inject(stranger, datagram));
        world.run_for(ms(5));
    }
    assert_eq!(world.drops().unknown_source, 600);
    assert_eq!(world.sent_to(stranger), 0);
    world.run_for(ms(1000));
    for (me, other) in [(1, 2), (2, 1)] {
        BOTH.iter().for_each(|source| assert_seamless(&world.clients[&me].got(other, *source)));
    }
}

#[test]
fn junk_from_a_peers_own_address_costs_that_peer_no_more_than_the_junk() {
    let mut world = call(2, 1);
    world.run_for(ms(500));
    let address = world.clients[&1].address;
    for n in 0..2000u32 {
        let mut junk = vec![0; (n % 60) as usize];
        junk.iter_mut().enumerate().for_each(|(i, byte)| *byte = (n.wrapping_mul(2_654_435_761) >> (i % 25)) as u8);
        if let Some(first) = junk.first_mut() {
            *first = [22, 23, 20, 0x80, 0x90, 0xa0, 0, 1, 0xff][n as usize % 9];
        }
        world.inject(address, &junk);
        world.run_for(ms(1));
    }
    assert!(world.drops().malformed > 100, "{:?}", world.drops());
    world.run_for(ms(1000));
    for (me, other) in [(1, 2), (2, 1)] {
        BOTH.iter().for_each(|source| assert_seamless(&world.clients[&me].got(other, *source)));
    }
}

#[test]
fn mutated_traffic_and_offers_never_stop_the_shard() {
    let mut world = call(2, 1);
    world.record = true;
    world.run_for(ms(500));
    world.record = false;
    let recorded = std::mem::take(&mut world.recorded);
    assert!(recorded.len() > 50);
    for round in 0..10_000usize {
        let (from, mut datagram) = recorded[round % recorded.len()].clone();
        let at = (world.chance() * datagram.len() as f64) as usize;
        match round % 3 {
            0 => datagram[at] ^= 1 << (round % 8),
            1 => datagram.truncate(at),
            _ => datagram.insert(at, round as u8),
        }
        world.inject(from, &datagram);
    }
    let mut fresh = super::sim::Client::new(50, "10.0.0.50:5000".parse().unwrap(), world.now);
    let offer = fresh.offer(&BOTH, 2, 2);
    for round in 0..2000u64 {
        let mut sdp = offer.clone().into_bytes();
        let at = (world.chance() * sdp.len() as f64) as usize;
        match round % 3 {
            0 => sdp[at] = b" 0a:=/-\r"[round as usize % 8],
            1 => sdp.truncate(at),
            _ => drop(sdp.drain(at..(at + round as usize % 40).min(offer.len()))),
        }
        let (peer, sources) = (PeerId(1000 + round), fresh.sources.clone());
        let sdp = String::from_utf8(sdp).unwrap();
        world.command(Command::Offer { room: ROOM, peer, request: round, sdp, sources, may_receive: Permissions::ALL });
        world.command(Command::Leave { room: ROOM, peer });
    }
    assert_eq!(world.shard().snapshot().peers, 2);
    let had = [(1, 2), (2, 1)].map(|(me, other)| world.clients[&me].got(other, Source::Camera).len());
    world.run_for(ms(2000));
    for ((me, other), had) in [(1, 2), (2, 1)].into_iter().zip(had) {
        assert!(world.clients[&me].got(other, Source::Camera).len() > had + 100);
    }
}

#[test]
fn a_peer_that_vanishes_is_silent_then_gone_and_may_come_back_between() {
    let mut world = call(2, 1);
    world.run_for(ms(1000));
    let gone_at = world.now;
    let lost = Path { delay: ms(10), loss_up: 1.0, loss_down: 1.0, ..Path::GOOD };
    world.paths.insert(1, lost);
    world.run_for(ms(3900));
    assert_eq!(world.connections(1), [Connection::Connected]);
    world.run_for(ms(200));
    assert_eq!(world.connections(1), [Connection::Connected, Connection::Silent]);
    let said_down = world.reports.iter().find(|(_, report)| match report {
        Report::Quality { peers, .. } => peers.iter().any(|(peer, q)| peer.0 == 1 && q.level == Quality::Down),
        _ => false,
    });
    let (at, _) = said_down.expect("Down is said");
    assert!(at.duration_since(gone_at) <= ms(4050), "{:?}", at.duration_since(gone_at));
    assert_eq!(quality(&world, 1).up.cause, Some(Cause::Silence));
    assert_ne!(quality(&world, 2).level, Quality::Down);

    world.paths.clear();
    world.run_for(ms(3000));
    assert_eq!(world.connections(1), [Connection::Connected, Connection::Silent, Connection::Connected]);
    assert_ne!(quality(&world, 1).level, Quality::Down);

    world.paths.insert(1, lost);
    world.run_for(Duration::from_secs(31));
    assert_eq!(world.connections(1)[3..], [Connection::Silent, Connection::Closed]);
    assert_eq!(world.shard().snapshot().peers, 1);
    assert_eq!(world.clients[&2].shows(1, Source::Camera), None, "the slot is free");
}

#[test]
fn nothing_is_sent_for_long_to_a_peer_of_which_nothing_is_heard() {
    let mut world = call(2, 1);
    world.run_for(ms(1000));
    world.paths.insert(1, Path { delay: ms(10), loss_up: 1.0, loss_down: 0.0, ..Path::GOOD });
    world.run_for(Duration::from_secs(30));
    let had = world.clients[&1].received.len();
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.clients[&1].received.len(), had, "consent is older than thirty seconds");
}

/// RFC 7675, 5.1: media that comes is no consent to be sent any.
#[test]
fn a_client_that_sends_media_but_no_checks_is_heard_and_not_answered() {
    let mut world = call(2, 1);
    world.run_for(ms(1000));
    world.client(1).checks = false;
    world.run_for(Duration::from_secs(31));
    let address = world.clients[&1].address;
    let (sent, heard) = (world.sent_to(address), world.clients[&2].received.len());
    world.run_for(Duration::from_secs(10));
    assert_eq!(world.sent_to(address), sent, "not a datagram");
    assert!(world.clients[&2].received.len() > heard + 500, "what it sends is forwarded");
    world.client(1).checks = true;
    // Its own agent has given the path up by then.
    let sdp = world.client(1).offer_ice_restart();
    world.negotiate(1, sdp).unwrap();
    let had = world.clients[&1].received.len();
    world.run_until(Duration::from_secs(20), |world| world.clients[&1].received.len() > had + 100);
}

#[test]
fn what_ceases_to_arrive_is_said_within_its_time() {
    let mut world = call(2, 1);
    world.run_for(ms(1000));
    assert!(matches!(world.flowing(1, Source::Camera)[..], [(_, true)]));
    world.client(1).feed(Source::Camera).on = false;
    let off_at = world.now;
    world.run_for(ms(3000));
    let [_, (ceased_at, false)] = world.flowing(1, Source::Camera)[..] else { panic!("it ceased") };
    let after = ceased_at.duration_since(off_at);
    assert!(after >= ms(1960) && after <= ms(2350), "{after:?}");
    assert!(matches!(world.flowing(1, Source::Microphone)[..], [(_, true)]));
    world.client(1).feed(Source::Camera).on = true;
    world.run_for(ms(200));
    assert!(matches!(world.flowing(1, Source::Camera)[..], [_, _, (_, true)]));
}

#[test]
fn volumes_are_said_when_they_differ() {
    let mut world = call(2, 1);
    world.client(2).feed(Source::Microphone).level = -60;
    world.run_for(ms(2000));
    assert_eq!(volume(&world, 1), Some(Volume::from_audio_level(30)));
    assert_eq!(volume(&world, 2), Some(Volume::from_audio_level(60)));
    let said = |world: &World| world.reports.iter().filter(|(_, r)| matches!(r, Report::Volumes { .. })).count();
    let had = said(&world);
    world.run_for(ms(3000));
    assert_eq!(said(&world), had, "nothing differed");
    world.client(1).feed(Source::Microphone).level = -127;
    world.run_for(ms(1000));
    assert_eq!(volume(&world, 1), Some(Volume::SILENT));
}

#[test]
fn lost_packets_are_repaired_on_both_ways() {
    let mut world = call(2, 1);
    for id in [1, 2] {
        world.paths.insert(id, Path::lossy(0.03));
    }
    world.run_for(Duration::from_secs(20));
    let sent = world.client(1).feed(Source::Camera).packets_sent();
    let mut got: Vec<u32> = world.clients[&2].got(1, Source::Camera).iter().map(|p| p.stamp().number).collect();
    got.sort_unstable();
    got.dedup();
    // The last half second may still be under way.
    let recovered = got.len() as f64 / f64::from(sent - 40);
    assert!(recovered >= 0.995, "{recovered}");
    world.run_for(ms(2000));
    let counts = world.shard().snapshot();
    assert!(counts.nacks_sent > 20 && counts.nacks_received > 20 && counts.retransmissions > 20, "{counts:?}");
}

#[test]
fn a_bad_network_is_reported_of_whom_and_in_which_direction_it_is() {
    for (path, up, down) in
        [(Path { loss_up: 0.12, ..Path::GOOD }, true, false), (Path { loss_down: 0.12, ..Path::GOOD }, false, true)]
    {
        let mut world = call(3, 2);
        world.paths.insert(1, path);
        world.run_for(Duration::from_secs(16));
        let bad = quality(&world, 1);
        assert_eq!((bad.up.level >= Quality::Poor, bad.down.level >= Quality::Poor), (up, down), "{bad:?}");
        assert!(bad.level >= Quality::Poor);
        let direction = if up { &bad.up } else { &bad.down };
        assert_eq!(direction.cause, Some(Cause::Loss), "{bad:?}");
        assert!((0.05..0.25).contains(&direction.loss), "{bad:?}");
        for other in [2, 3] {
            let good = quality(&world, other);
            assert_eq!(good.level, Quality::Excellent, "a bystander is not blamed: {good:?}");
            assert!(good.up.bitrate > 100_000 && good.down.bitrate > 100_000, "{good:?}");
            assert!(good.down.rtt.is_some_and(|rtt| rtt >= ms(19) && rtt < ms(60)), "{good:?}");
        }
    }
}

#[test]
fn delay_is_named_as_the_cause() {
    let mut world = call(2, 1);
    world.paths.insert(1, Path { delay: ms(300), loss_up: 0.0, loss_down: 0.0, ..Path::GOOD });
    world.run_for(Duration::from_secs(16));
    let slow = quality(&world, 1);
    assert!(slow.level >= Quality::Good, "{slow:?}");
    assert_eq!(slow.down.cause, Some(Cause::Delay), "{slow:?}");
    assert_eq!(quality(&world, 2).level, Quality::Excellent);
}

#[test]
fn the_richest_simulcast_layer_is_shown_and_the_next_when_it_ends() {
    let mut world = World::new(Settings::default());
    world.join(1, &[], 0, 1);
    let mut publisher = super::sim::Client::new(2, "10.0.0.2:5000".parse().unwrap(), world.now);
    let sdp = publisher.offer_simulcast(&["q", "h", "f"]);
    world.clients.insert(2, publisher);
    world.negotiate(2, sdp).unwrap();
    connect(&mut world);
    let now = world.now;
    for (layer, rid) in ["q", "h", "f"].into_iter().enumerate() {
        world.client(2).send_layer(rid, layer as u8, 1 + 3 * layer, now);
    }
    world.run_for(ms(4000));
    let layers = |packets: &[&Received]| packets.iter().map(|p| p.stamp().layer).collect::<Vec<_>>();
    let packets = world.clients[&1].got(2, Source::Camera);
    assert_eq!(layers(&packets).last(), Some(&2));
    let had = packets.len();
    world.client(2).feeds[2].on = false;
    world.run_for(ms(4000));
    let packets = world.clients[&1].got(2, Source::Camera);
    assert!(packets.len() > had + 100, "{} after {had}", packets.len());
    assert_eq!(layers(&packets).last(), Some(&1));
    for two in packets.windows(2) {
        assert_eq!(two[1].seq, two[0].seq + 1);
        assert!(two[1].timestamp.wrapping_sub(two[0].timestamp) < 90_000 * 10);
        let (a, b) = (two[0].stamp(), two[1].stamp());
        assert!(a.layer == b.layer || b.key, "layers change at key frames: {a:?} {b:?}");
    }
}

#[test]
fn sound_and_picture_keep_their_timing_through_the_server() {
    let mut world = call(2, 1);
    // Pictures take a slower way than sound and reports.
    world.paths.insert(1, Path { large_up: ms(40), ..Path::GOOD });
    world.run_for(Duration::from_secs(12));
    let viewer = &world.clients[&2];
    let captured = |source: Source| {
        let packets = viewer.got(1, source);
        let packet = packets.last().unwrap();
        let report = viewer.sender_reports.iter().rev().find(|(mid, ..)| *mid == packet.mid).expect("a report came");
        let clock_rate = if source.is_video() { 90_000.0 } else { 48_000.0 };
        let ticks = packet.timestamp.wrapping_sub(report.1.rtp_time.numer() as u32) as i32;
        let since_report = f64::from(ticks) / clock_rate;
        let reported = report.1.ntp_time.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        // Both sources began at one moment: where in their own time is this packet?
        let interval = if source.is_video() { 0.040 } else { 0.020 };
        let frames = if source.is_video() { (packet.stamp().number - 1) / 3 } else { packet.stamp().number - 1 };
        reported + since_report - f64::from(frames) * interval
    };
    let apart = captured(Source::Microphone) - captured(Source::Camera);
    assert!(apart.abs() < 0.010, "{apart} s apart");
}

#[test]
fn more_m_lines_can_be_negotiated_at_any_time() {
    let mut world = World::new(Settings::default());
    for id in [1, 2] {
        world.join(id, &[Source::Microphone], 1, 0);
    }
    connect(&mut world);
    for id in [1, 2] {
        world.send(id, Source::Microphone);
    }
    world.run_for(ms(500));
    let sdp = world.client(1).offer(&[Source::Camera], 0, 0);
    world.negotiate(1, sdp).unwrap();
    let sdp = world.client(2).offer(&[], 0, 1);
    world.negotiate(2, sdp).unwrap();
    world.send(1, Source::Camera);
    world.run_for(ms(1000));
    assert!(world.clients[&2].got(1, Source::Camera).len() > 50);
    for (me, other) in [(1, 2), (2, 1)] {
        let audio = world.clients[&me].got(other, Source::Microphone);
        assert!(audio.len() > 60);
        assert_seamless(&audio);
    }
}

#[test]
fn the_viewer_chooses_and_gives_the_choice_back() {
    let mut world = World::new(Settings::default());
    world.join(1, &[], 0, 2);
    for id in [2, 3, 4] {
        world.join(id, &[Source::Camera], 0, 0);
    }
    connect(&mut world);
    for id in [2, 3, 4] {
        world.send(id, Source::Camera);
    }
    world.run_for(ms(500));
    assert!(
        world.clients[&1].shows(2, Source::Camera).is_some() && world.clients[&1].shows(4, Source::Camera).is_none()
    );
    let mids: Vec<_> = world.clients[&1].slots.iter().map(|(mid, _)| mid.clone()).collect();
    let wish = |mid: usize, publisher| SlotWish {
        mid: mids[mid].clone(),
        publisher,
        source: Source::Camera,
        max_height: None,
    };
    let slots = vec![wish(0, Some(PeerId(4))), wish(1, None)];
    world.command(Command::View { room: ROOM, peer: PeerId(1), slots });
    world.run_for(ms(200));
    assert_eq!(world.clients[&1].shows(4, Source::Camera), Some(&mids[0]));
    let had = world.clients[&1].got(4, Source::Camera).len();
    let others = world.clients[&1].received.len() - had;
    world.run_for(ms(500));
    assert!(world.clients[&1].got(4, Source::Camera).len() > had + 20);
    assert_eq!(world.clients[&1].received.len() - world.clients[&1].got(4, Source::Camera).len(), others);
    world.command(Command::View { room: ROOM, peer: PeerId(1), slots: vec![] });
    world.run_for(ms(500));
    assert!(
        world.clients[&1].shows(4, Source::Camera).is_some() && world.clients[&1].shows(2, Source::Camera).is_some()
    );
}

#[test]
fn with_more_speakers_than_slots_those_who_speak_are_heard() {
    let mut world = World::new(Settings { loudest: 2, ..Settings::default() });
    world.join(1, &[], 2, 0);
    for id in 2..=5 {
        world.join(id, &[Source::Microphone], 0, 0);
    }
    connect(&mut world);
    for id in 2..=5 {
        world.send(id, Source::Microphone);
        world.client(id).feed(Source::Microphone).level = -100;
    }
    for speakers in [[4, 5], [2, 4]] {
        for id in 2..=5 {
            world.client(id).feed(Source::Microphone).level = if speakers.contains(&id) { -20 } else { -100 };
        }
        world.run_for(ms(1500));
        for id in 2..=5 {
            let shown = world.clients[&1].shows(id, Source::Microphone).is_some();
            assert_eq!(shown, speakers.contains(&id), "{id} while {speakers:?} speak");
        }
    }
}

#[test]
fn a_bad_offer_is_refused_with_its_reason_and_changes_nothing() {
    let mut world = World::new(Settings { max_peers: 2, ..Settings::default() });
    world.join(1, &BOTH, 1, 1);
    world.join(2, &BOTH, 1, 1);
    connect(&mut world);
    BOTH.iter().for_each(|source| world.send(1, *source));
    let mut offer = |peer: u64, sdp: &str| {
        world.command(Command::Offer {
            room: ROOM,
            peer: PeerId(peer),
            request: 99,
            sdp: sdp.into(),
            sources: vec![],
            may_receive: Permissions::ALL,
        });
        match world.reports.last().map(|(_, report)| report) {
            Some(Report::Answered { result, .. }) => result.clone().unwrap_err(),
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(offer(1, ""), OfferError::Invalid(_)));
    assert!(matches!(offer(1, "no sdp"), OfferError::Invalid(_)));
    assert!(matches!(offer(1, &"m=".repeat(40_000)), OfferError::Invalid(_)));
    assert_eq!(offer(3, "v=0"), OfferError::Full);
    world.run_for(ms(1000));
    assert!(world.clients[&2].got(1, Source::Camera).len() > 50);
    assert_eq!(world.shard().snapshot().peers, 2);
}

#[test]
fn a_client_that_leaves_is_told_goodbye_and_one_that_says_it_is_gone() {
    let mut world = call(3, 2);
    world.run_for(ms(500));
    leave(&mut world, 1);
    world.run_for(ms(100));
    assert!(world.clients[&1].closed);
    assert_eq!(world.connections(1), [Connection::Connected, Connection::Closed]);
    world.client(2).rtc.close().unwrap();
    world.run_for(ms(500));
    assert_eq!(world.connections(2), [Connection::Connected, Connection::Closed]);
    assert_eq!(world.connections(3), [Connection::Connected]);
    leave(&mut world, 3);
    assert_eq!((world.shard().snapshot().peers, world.shard().snapshot().rooms), (0, 0));
    leave(&mut world, 3);
}

#[test]
fn a_viewer_gets_only_what_it_may_receive_and_can_decode() {
    let mut world = World::new(Settings::default());
    world.join(1, &BOTH, 0, 0);
    for (id, may_receive) in [(2, Permissions { audio: true, video: false, screen: false }), (3, Permissions::ALL)] {
        let mut client = super::sim::Client::new(id, format!("10.0.0.{id}:5000").parse().unwrap(), world.now);
        if id == 3 {
            client.only_h264(world.now);
        }
        let sdp = client.offer(&[], 1, 1);
        world.clients.insert(id, client);
        world.negotiate_as(id, sdp, may_receive).unwrap();
    }
    connect(&mut world);
    BOTH.iter().for_each(|source| world.send(1, *source));
    world.run_for(ms(1000));
    for id in [2, 3] {
        assert!(world.clients[&id].got(1, Source::Microphone).len() > 40);
        assert_eq!(world.clients[&id].got(1, Source::Camera).len(), 0);
    }
    assert!(world.drops().no_codec > 50, "{:?}", world.drops());
}

#[test]
fn media_flows_paced_when_the_bandwidth_is_estimated() {
    let mut world = World::new(Settings { estimate_bandwidth: true, ..Settings::default() });
    for id in [1, 2] {
        world.join(id, &BOTH, 1, 1);
    }
    connect(&mut world);
    for id in [1, 2] {
        BOTH.iter().for_each(|source| world.send(id, *source));
    }
    world.run_for(ms(10_000));
    for (me, other) in [(1, 2), (2, 1)] {
        let audio = world.clients[&me].got(other, Source::Microphone);
        let video = world.clients[&me].got(other, Source::Camera);
        assert!(audio.len() > 490 && video.len() > 740, "{} {}", audio.len(), video.len());
        assert_seamless(&audio);
        assert_seamless(&video);
    }
}
