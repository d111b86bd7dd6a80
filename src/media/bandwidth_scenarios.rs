//! Thin and bad links, told as scenarios over the simulated network, over many seeds.

use std::time::{Duration, Instant};

use super::Settings;
use super::command::{Command, SlotWish};
use super::report::{EncodingState, Report};
use super::sim::{Client, Path, ROOM, World, ms};
use super::viewer::{self, Shown};
use crate::base::{PeerId, Source};

const PUBLISHER: u64 = 1;
const VIEWER: u64 = 2;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A publisher of sound and a camera in three sizes of three frame rates, some 130, 400 and 1500 kbit/s, and one viewer.
fn broadcast(seed: u64, path: Path) -> World {
    let mut world = World::new(Settings::default());
    world.seed(seed);
    let mut publisher = Client::new(PUBLISHER, "10.0.0.1:5000".parse().unwrap(), world.now);
    let sdp = publisher.offer_simulcast(&["q", "h", "f"]);
    world.clients.insert(PUBLISHER, publisher);
    world.negotiate(PUBLISHER, sdp).unwrap();
    let sdp = world.client(PUBLISHER).offer(&[Source::Microphone], 0, 0);
    world.negotiate(PUBLISHER, sdp).unwrap();
    world.join(VIEWER, &[], 1, 1);
    world.paths.insert(VIEWER, path);
    world.run_until(secs(5), |world| world.clients.values().all(|client| client.connected));
    world.send(PUBLISHER, Source::Microphone);
    let now = world.now;
    for (layer, (rid, packets)) in [("q", 1), ("h", 2), ("f", 7)].into_iter().enumerate() {
        world.client(PUBLISHER).send_layer(rid, layer as u8, packets, now);
        let feed = world.client(PUBLISHER).feeds.last_mut().unwrap();
        feed.temporal_layers = 3;
        feed.interval = if layer == 0 { ms(50) } else { ms(40) };
    }
    world
}

fn shown(world: &World) -> Vec<Shown> {
    viewer::decoded(&world.clients[&VIEWER], PUBLISHER)
}

/// The share of the time each layer was shown, by frames.
fn layer_share(shown: &[Shown], layer: u8, since: Instant) -> f64 {
    let late: Vec<&Shown> = shown.iter().filter(|frame| frame.at >= since).collect();
    late.iter().filter(|frame| frame.layer == layer).count() as f64 / late.len().max(1) as f64
}

fn switches(shown: &[Shown], since: Instant) -> usize {
    let late: Vec<&Shown> = shown.iter().filter(|frame| frame.at >= since).collect();
    late.windows(2).filter(|two| two[0].layer != two[1].layer).count()
}

fn paused(world: &World) -> Vec<bool> {
    world.clients[&VIEWER].assignments.iter().map(|(_, slots)| slots.iter().any(|slot| slot.paused)).collect()
}

/// The share of the microphone's packets that came.
fn heard(world: &World, since: usize) -> f64 {
    let numbers = world.clients[&VIEWER].got(PUBLISHER, Source::Microphone);
    let last = world.clients[&PUBLISHER].feeds.iter().find(|feed| feed.source == Source::Microphone).unwrap();
    let sent = last.packets_sent() as usize - since;
    let mut got: Vec<u32> = numbers.iter().map(|packet| packet.stamp().number).collect();
    got.sort_unstable();
    got.dedup();
    got.iter().filter(|number| **number as usize > since).count() as f64 / sent as f64
}

fn view(world: &mut World, max_height: Option<u16>) {
    let mid = world.clients[&VIEWER].slots.iter().find(|(_, kind)| kind.is_video()).unwrap().0.clone();
    let wish = SlotWish { mid, publisher: Some(PeerId(PUBLISHER)), source: Source::Camera, max_height };
    world.command(Command::View { room: ROOM, peer: PeerId(VIEWER), slots: vec![wish] });
}

/// What the publisher was told of its encodings, by rid.
fn active(world: &World) -> Vec<(String, bool)> {
    let told = world.reports.iter().rev().find_map(|(_, report)| match report {
        Report::Encodings { peer: PeerId(PUBLISHER), encodings, .. } => Some(encodings),
        _ => None,
    });
    let state = |encoding: &EncodingState| (encoding.rid.clone().unwrap(), encoding.active);
    let mut active: Vec<_> = told.into_iter().flatten().map(state).collect();
    active.sort();
    active
}

#[test]
fn a_viewer_gets_what_its_link_carries() {
    // kbit/s of the link, the least frame rate, the layer that is shown most.
    for (kbps, frame_rate, layer) in [
        (200u64, 4.9, 0),
        (300, 4.9, 0),
        (500, 12.0, 1),
        (700, 24.0, 1),
        (1000, 12.0, 2),
        (2000, 24.0, 2),
        (20_000, 24.0, 2),
    ] {
        for seed in 1..=3 {
            let mut world = broadcast(seed, Path::thin(kbps * 1000));
            world.run_for(secs(10));
            let (since, heard_before) = (world.now, world.clients[&PUBLISHER].feeds[0].packets_sent() as usize);
            world.run_for(secs(20));
            let case = format!("{kbps} kbit/s, seed {seed}");
            let shown = shown(&world);
            let freeze = viewer::longest_freeze(&shown, since, world.now);
            assert!(freeze < ms(500), "{case}: {freeze:?}");
            let rate = viewer::frame_rate(&shown, since, world.now);
            assert!(rate >= frame_rate, "{case}: {rate} frames a second");
            assert!(layer_share(&shown, layer, since) > 0.8, "{case}");
            assert!(switches(&shown, since) <= 2, "{case}: {} switches", switches(&shown, since));
            assert!(heard(&world, heard_before) > 0.99, "{case}: {} heard", heard(&world, heard_before));
            let used = world.bytes_to(VIEWER) as u64 * 8 / 30_000;
            assert!(used <= kbps, "{case}: {used} used");
        }
    }
}

#[test]
fn a_link_that_thins_is_followed_down_fast_and_up_without_oscillation() {
    for seed in 1..=3 {
        let mut world = broadcast(seed, Path::thin(4_000_000));
        world.run_for(secs(10));
        let thinned = world.now;
        world.paths.insert(VIEWER, Path::thin(600_000));
        world.run_for(secs(20));
        let widened = world.now;
        world.paths.insert(VIEWER, Path::thin(4_000_000));
        world.run_for(secs(40));
        let shown = shown(&world);
        let before: Vec<Shown> = shown.iter().copied().filter(|frame| frame.at < thinned).collect();
        assert_eq!(before.last().unwrap().layer, 2, "seed {seed}");
        let freeze = viewer::longest_freeze(&shown, thinned, widened);
        assert!(freeze < ms(1500), "seed {seed}: {freeze:?}");
        let fell = shown.iter().find(|frame| frame.at > thinned && frame.layer < 2).unwrap().at.duration_since(thinned);
        assert!(fell < ms(2500), "seed {seed}: {fell:?}");
        let thin: Vec<Shown> = shown.iter().copied().filter(|frame| frame.at > thinned && frame.at < widened).collect();
        assert!(switches(&thin, thinned) <= 3, "seed {seed}: {} switches", switches(&thin, thinned));
        let rose =
            shown.iter().find(|frame| frame.at > widened && frame.layer == 2).unwrap().at.duration_since(widened);
        assert!(rose < secs(20), "seed {seed}: {rose:?}");
        assert!(switches(&shown, widened) <= 3, "seed {seed}: {} switches", switches(&shown, widened));
        assert_eq!(shown.last().unwrap().layer, 2);
        assert!(heard(&world, 0) > 0.97, "seed {seed}: {} heard", heard(&world, 0));
    }
}

#[test]
fn a_link_too_thin_for_any_picture_carries_the_sound_and_says_so() {
    for seed in 1..=3 {
        let mut world = broadcast(seed, Path::thin(90_000));
        world.run_for(secs(15));
        assert_eq!(paused(&world).last(), Some(&true), "seed {seed}");
        let had = world.clients[&PUBLISHER].feeds[0].packets_sent() as usize;
        world.run_for(secs(15));
        assert!(heard(&world, had) > 0.98, "seed {seed}: {} heard", heard(&world, had));
        world.paths.insert(VIEWER, Path::thin(4_000_000));
        let widened = world.now;
        world.run_for(secs(30));
        assert_eq!(paused(&world).last(), Some(&false), "seed {seed}");
        let first = shown(&world).into_iter().find(|frame| frame.at > widened).expect("it is seen again");
        assert!(
            first.key && first.at.duration_since(widened) < secs(20),
            "seed {seed}: {:?}",
            first.at.duration_since(widened)
        );
    }
}

#[test]
fn nobody_gets_more_than_is_looked_at_and_the_publisher_is_spared_the_rest() {
    let mut world = broadcast(1, Path::GOOD);
    world.run_for(secs(5));
    assert_eq!(shown(&world).last().unwrap().layer, 2);
    view(&mut world, Some(360));
    world.run_for(secs(2));
    let smaller = world.now;
    world.run_for(secs(2));
    assert!(layer_share(&shown(&world), 1, smaller) > 0.99);
    world.run_for(secs(6));
    let named = |f, h, q| [("f".to_owned(), f), ("h".to_owned(), h), ("q".to_owned(), q)];
    assert_eq!(active(&world), named(false, true, true), "the smallest is always there");
    world.client(PUBLISHER).feeds[3].on = false;
    world.run_for(secs(5));
    view(&mut world, Some(720));
    assert_eq!(active(&world), named(false, true, true));
    world.run_for(ms(500));
    assert_eq!(active(&world), named(true, true, true), "it is asked for at once");
    let now = world.now;
    world.client(PUBLISHER).feeds[3].resume(now);
    world.run_for(secs(1));
    assert_eq!(shown(&world).last().unwrap().layer, 2);
    let freeze = viewer::longest_freeze(&shown(&world), smaller, world.now);
    assert!(freeze < ms(200), "{freeze:?}");
}
