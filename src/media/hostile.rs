//! A hostile network: strangers, junk and replays disturb nobody, get no answer, and cost no memory.

use std::net::SocketAddr;

use super::command::{Command, Permissions};
use super::scenarios::{BOTH, assert_seamless, call, connect};
use super::sim::{Client, ROOM, World, ms};
use super::{OfferError, Report, Settings};
use crate::base::{PeerId, Source};

const STRANGER: &str = "10.6.6.6:666";

fn stranger() -> SocketAddr {
    STRANGER.parse().unwrap()
}

/// What the clients send in half a second of a call.
fn captured(world: &mut World) -> Vec<(SocketAddr, Vec<u8>)> {
    world.record = true;
    world.run_for(ms(500));
    world.record = false;
    let recorded = std::mem::take(&mut world.recorded);
    assert!(recorded.len() > 50);
    recorded
}

fn received(world: &World) -> Vec<usize> {
    world.clients.values().map(|client| client.received.len()).collect()
}

/// How many packets came to each in `span` ms.
fn flow(world: &mut World, span: u64) -> Vec<usize> {
    let before = received(world);
    world.run_for(ms(span));
    received(world).iter().zip(before).map(|(after, before)| after - before).collect()
}

fn assert_undisturbed(world: &World) {
    for (me, other) in [(1, 2), (2, 1)] {
        BOTH.iter().for_each(|source| assert_seamless(&world.clients[&me].got(other, *source)));
    }
}

/// DTLS records are 20 to 63 by their first byte (RFC 7983).
fn is_dtls(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| (20..64).contains(first))
}

#[test]
fn a_strangers_dtls_hello_between_ice_and_dtls_changes_nothing() {
    // Hellos of a real handshake, by a third party.
    let mut other = World::new(Settings::default());
    other.record = true;
    other.join(9, &BOTH, 1, 1);
    connect(&mut other);
    let hellos: Vec<Vec<u8>> =
        other.recorded.iter().filter(|(_, datagram)| is_dtls(datagram)).map(|(_, datagram)| datagram.clone()).collect();
    assert!(hellos.len() >= 2);

    let mut world = World::new(Settings::default());
    for id in [1, 2] {
        world.join(id, &BOTH, 1, 1);
    }
    for _ in 0..2000 {
        for hello in &hellos {
            world.inject(stranger(), hello);
        }
        world.run_for(ms(1));
        if world.clients.values().all(|client| client.connected) {
            break;
        }
    }
    connect(&mut world);
    for id in [1, 2] {
        BOTH.iter().for_each(|source| world.send(id, *source));
    }
    for _ in 0..100 {
        hellos.iter().for_each(|hello| world.inject(stranger(), hello));
        world.run_for(ms(10));
    }
    assert_eq!(world.sent_to(stranger()), 0, "nothing is sent to the attacker");
    assert!(received(&world).iter().all(|count| *count > 100));
    assert_undisturbed(&world);
}

#[test]
fn checks_for_unknown_names_and_unproven_ones_are_not_answered() {
    let mut world = call(2, 1);
    let checks: Vec<Vec<u8>> = captured(&mut world)
        .into_iter()
        .filter(|(_, datagram)| datagram.starts_with(&[0, 1]))
        .map(|(_, datagram)| datagram)
        .collect();
    let mut fresh = World::new(Settings::default());
    fresh.record = true;
    fresh.join(1, &BOTH, 1, 1);
    connect(&mut fresh);
    let of_others = fresh.recorded.iter().filter(|(_, datagram)| datagram.starts_with(&[0, 1]));
    let mut forged: Vec<Vec<u8>> = of_others.map(|(_, datagram)| datagram.clone()).collect();
    // A real check of a real peer whose integrity does not hold: one byte of its transaction is another.
    for check in &checks {
        let mut broken = check.clone();
        broken[10] ^= 1;
        forged.push(broken);
    }
    assert!(!forged.is_empty());
    for _ in 0..50 {
        forged.iter().for_each(|check| world.inject(stranger(), check));
        world.run_for(ms(10));
    }
    assert_eq!(world.sent_to(stranger()), 0);
    assert_undisturbed(&world);
}

#[test]
fn captured_media_from_a_strangers_address_is_nobodys() {
    let mut world = call(2, 1);
    let recorded = captured(&mut world);
    let dropped = world.drops().unknown_source;
    let media: Vec<&Vec<u8>> = recorded.iter().map(|(_, datagram)| datagram).filter(|d| d[0] >= 128).collect();
    for datagram in &media {
        world.inject(stranger(), datagram);
    }
    assert_eq!(world.drops().unknown_source - dropped, media.len() as u64);
    assert_eq!(world.sent_to(stranger()), 0);
    world.run_for(ms(500));
    assert_undisturbed(&world);
}

#[test]
fn replayed_packets_are_not_forwarded_again() {
    let mut world = call(2, 1);
    let recorded = captured(&mut world);
    // The originals come first.
    BOTH.iter().for_each(|source| [1, 2].iter().for_each(|id| world.client(*id).feed(*source).on = false));
    world.run_for(ms(300));
    let forwarded = |world: &World| world.shard().snapshot().rtp_forwarded;
    let before = forwarded(&world);
    for _ in 0..3 {
        for (from, datagram) in recorded.iter().filter(|(_, datagram)| datagram[0] >= 128) {
            world.inject(*from, datagram);
        }
    }
    world.run_for(ms(300));
    assert_eq!(forwarded(&world), before, "no copy goes on");
    assert_undisturbed(&world);
}

/// 100,000 mutations of a call's own traffic in CI; `HOSTILE_RUNS` says otherwise.
#[test]
fn mutations_of_real_traffic_do_no_harm() {
    let runs: u64 = std::env::var("HOSTILE_RUNS").ok().map_or(100_000, |text| text.parse().expect("a number"));
    let mut world = call(2, 1);
    let recorded = captured(&mut world);
    let mut dropped = 0;
    for round in 0..runs {
        let (from, mut datagram) = recorded[(world.chance() * recorded.len() as f64) as usize].clone();
        for _ in 0..=round % 3 {
            let at = (world.chance() * datagram.len().max(1) as f64) as usize;
            let byte = (world.chance() * 256.0) as u8;
            match (world.chance() * 4.0) as u8 {
                0 if at < datagram.len() => datagram[at] ^= byte.max(1),
                1 => datagram.truncate(at),
                2 => datagram.insert(at.min(datagram.len()), byte),
                _ => datagram.extend_from_within(at.min(datagram.len())..),
            }
        }
        datagram.truncate(1500);
        world.inject(if round % 5 == 0 { stranger() } else { from }, &datagram);
        if round % 50_000 == 49_999 {
            let now = world.drops();
            let all = now.unknown_source + now.rejected + now.malformed;
            assert!(all > dropped, "they are dropped and counted");
            dropped = all;
            world.run_for(ms(20));
        }
    }
    // A check that was changed behind its integrity only is a good one, and answered.
    assert!(world.sent_to(stranger()) as u64 <= runs / 1000, "{}", world.sent_to(stranger()));
    assert_eq!((world.shard().snapshot().peers, world.shard().snapshot().rooms), (2, 1));
    // A stranger may repeat a client's check unchanged, and is sent what the client should be until that checks again.
    world.run_for(ms(3000));
    assert!(flow(&mut world, 1000).iter().all(|count| *count > 100), "the call goes on");
}

#[test]
fn fifty_thousand_junk_packets_a_second_cost_no_call_a_packet() {
    let mut world = call(2, 1);
    world.run_for(ms(1000));
    let quiet = flow(&mut world, 1000);
    let own: Vec<SocketAddr> = world.clients.values().map(|client| client.address).collect();
    let before = received(&world);
    let mut junk = vec![0u8; 1200];
    for milli in 0..1000u64 {
        for n in 0..50u64 {
            let noise = milli.wrapping_mul(50).wrapping_add(n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            junk[..8].copy_from_slice(&noise.to_be_bytes());
            // From many strangers, and one in ten with the address of somebody in the call.
            let from = if n % 10 == 0 {
                own[(noise % 2) as usize]
            } else {
                SocketAddr::from(([10, 66, (noise >> 8) as u8, noise as u8], (noise >> 16) as u16 | 1))
            };
            world.inject(from, &junk);
        }
        world.run_for(ms(1));
    }
    let loud: Vec<usize> = received(&world).iter().zip(before).map(|(after, before)| after - before).collect();
    for (quiet, loud) in quiet.iter().zip(&loud) {
        assert!(*loud as f64 >= *quiet as f64 * 0.995, "{loud} of {quiet} packets");
    }
    let drops = world.drops();
    // What looks like SRTP is decrypted in vain, and counted by the connection.
    assert!(drops.unknown_source >= 45_000 && drops.rejected + drops.malformed >= 2_000, "{drops:?}");
    assert_undisturbed(&world);
}

#[test]
fn an_offer_that_names_a_payload_type_twice_is_refused_and_ends_nobody() {
    let mut world = call(2, 1);
    let mut fresh = Client::new(50, "10.0.0.50:5000".parse().unwrap(), world.now);
    let offer = fresh.offer(&[Source::Camera], 0, 1);
    for (from, to) in
        [("SAVPF 96", "SAVPF 96 96"), ("a=rtpmap:96 VP8/90000", "a=rtpmap:96 VP8/90000\r\na=rtpmap:96 VP8/90000")]
    {
        let sdp = offer.replace(from, to);
        assert_ne!(sdp, offer);
        let (peer, sources) = (PeerId(50), fresh.sources.clone());
        world.command(Command::Offer { room: ROOM, peer, request: 99, sdp, sources, may_receive: Permissions::ALL });
        let answered = world.reports.iter().rev().find_map(|(_, report)| match report {
            Report::Answered { request: 99, result, .. } => Some(result.clone()),
            _ => None,
        });
        let Some(Err(OfferError::Invalid(reason))) = answered else { panic!("{answered:?}") };
        assert!(reason.contains("twice"), "{reason}");
    }
    assert!(flow(&mut world, 500).iter().all(|count| *count > 30));
}
