//! Thin and bad links, told as scenarios over the simulated network, over many seeds.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Settings;
use super::command::{Command, SlotWish};
use super::report::{EncodingState, Report};
use super::sim::{Client, Path, ROOM, Received, World, ms};
use super::viewer::{self, Shown};
use crate::base::{PeerId, Source};

const PUBLISHER: u64 = 1;
const VIEWER: u64 = 2;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A publisher of sound and a camera in three sizes of three frame rates, some 140, 430 and 1440 kbit/s, and one viewer.
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
    world.run_until(secs(30), |world| world.clients.values().all(|client| client.connected));
    world.send(PUBLISHER, Source::Microphone);
    let now = world.now;
    for (layer, (rid, packets)) in [("q", 1), ("h", 2), ("f", 7)].into_iter().enumerate() {
        world.client(PUBLISHER).send_layer(rid, layer as u8, packets, now);
        let feed = world.client(PUBLISHER).feeds.last_mut().unwrap();
        feed.temporal_layers = 3;
        if layer == 0 {
            (feed.interval, feed.packet_bytes) = (ms(33), 560);
        }
    }
    world.client(PUBLISHER).feed(Source::Microphone).red = true;
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

/// The share of the microphone's frames that came, in their own packet or a later one.
fn heard(world: &World, since: usize) -> f64 {
    let packets = world.clients[&VIEWER].got(PUBLISHER, Source::Microphone);
    let last = world.clients[&PUBLISHER].feeds.iter().find(|feed| feed.source == Source::Microphone).unwrap();
    // The last ones are under way.
    let sent = last.packets_sent() as usize - since - 4;
    let mut got: Vec<u32> = packets.into_iter().flat_map(Received::stamps).map(|stamp| stamp.number).collect();
    got.sort_unstable();
    got.dedup();
    got.iter().filter(|number| **number as usize > since).count() as f64 / sent as f64
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// A viewer that takes no redundant sound, and of pictures H.264 only, joins.
fn join_plain(world: &mut World, id: u64) {
    let mut plain = Client::new(id, SocketAddr::from(([10, 0, 0, id as u8], 5000)), world.now);
    plain.only_h264(world.now);
    let sdp = plain.offer(&[], 1, 0);
    world.clients.insert(id, plain);
    world.negotiate(id, sdp).unwrap();
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
    // kbit/s of the link, the least frame rate, the layers that may be shown most.
    for (kbps, frame_rate, layers) in [
        (200u64, 4.9, 0..=0),
        (300, 4.9, 0..=1),
        (500, 9.0, 0..=1),
        (700, 18.0, 1..=1),
        (1300, 12.0, 1..=2),
        (2000, 24.0, 2..=2),
        (20_000, 24.0, 2..=2),
    ] {
        for seed in 1..=3 {
            let mut world = broadcast(seed, Path::thin(kbps * 1000));
            world.run_for(secs(10));
            let (since, heard_before) = (world.now, world.clients[&PUBLISHER].feeds[0].packets_sent() as usize);
            let sent = world.bytes_to(VIEWER);
            world.run_for(secs(20));
            let case = format!("{kbps} kbit/s, seed {seed}");
            let shown = shown(&world);
            let freeze = viewer::longest_freeze(&shown, since, world.now);
            assert!(freeze < ms(500), "{case}: {freeze:?}");
            let rate = viewer::frame_rate(&shown, since, world.now);
            assert!(rate >= frame_rate, "{case}: {rate} frames a second");
            let share: f64 = layers.clone().map(|layer| layer_share(&shown, layer, since)).sum();
            assert!(share > 0.9, "{case}: {share}");
            // Up and back; where the larger picture does not quite fit, twice.
            let most = if kbps == 300 { 4 } else { 2 };
            assert!(switches(&shown, since) <= most, "{case}: {} switches", switches(&shown, since));
            assert!(heard(&world, heard_before) > 0.99, "{case}: {} heard", heard(&world, heard_before));
            let used = (world.bytes_to(VIEWER) - sent) as u64 * 8 / 20_000;
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
fn sound_is_heard_while_a_link_thins() {
    for seed in 1..=3 {
        let mut world = broadcast(seed, Path::thin(5_000_000));
        world.run_for(secs(10));
        let (thinned, had) = (world.now, world.client(PUBLISHER).feed(Source::Microphone).packets_sent());
        world.paths.insert(VIEWER, Path::thin(500_000));
        world.run_for(secs(6));
        assert!(heard(&world, had as usize) > 0.99, "seed {seed}: {} heard", heard(&world, had as usize));
        let sound = world.clients[&VIEWER].got(PUBLISHER, Source::Microphone);
        let late = |from: Duration, to: Duration| {
            let within = sound.iter().filter(|packet| packet.at >= thinned + from && packet.at < thinned + to);
            let spoken = |packet: &Received| thinned + ms(20) * packet.stamp().number.saturating_sub(had);
            within.map(|packet| packet.at.saturating_duration_since(spoken(packet))).max().unwrap()
        };
        // The queue before the link has room for 300 ms, and 20 more are the way.
        assert!(late(ms(0), secs(2)) < ms(380), "seed {seed}: {:?}", late(ms(0), secs(2)));
        assert!(late(secs(2), secs(6)) < ms(160), "seed {seed}: {:?}", late(secs(2), secs(6)));
    }
}

#[test]
fn a_link_too_thin_for_any_picture_carries_the_sound_and_says_so() {
    for seed in 1..=3 {
        let mut world = broadcast(seed, Path::thin(90_000));
        let cameras = world.client(PUBLISHER).feeds.iter_mut().filter(|feed| feed.source == Source::Camera);
        cameras.for_each(|feed| feed.packet_bytes = 1000);
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

/// The share of what was forwarded of the picture that came in the end: the server closes the gaps of what it leaves out.
fn repaired(world: &World, since: Instant) -> f64 {
    let until = world.now - ms(700);
    let came = world.clients[&VIEWER].received.iter();
    let mut seqs: Vec<u64> =
        came.filter(|p| p.codec.is_video() && p.at > since && p.at < until).map(|packet| packet.seq).collect();
    seqs.sort_unstable();
    seqs.dedup();
    let (first, last) = (seqs[0], seqs[seqs.len() - 1]);
    seqs.len() as f64 / (last - first + 1) as f64
}

/// So much is lost on the publisher's way up, and on the viewer's both ways.
fn lossy(seed: u64, up: f64, down: f64) -> World {
    let mut world = broadcast(seed, Path::lossy(down));
    world.paths.insert(PUBLISHER, Path { loss_down: 0.0, ..Path::lossy(up) });
    world.run_for(secs(8));
    world
}

#[test]
fn losses_are_repaired_on_both_ways() {
    for (loss, least) in [(0.05, 0.995), (0.1, 0.98)] {
        let (mut shares, mut worst) = (Vec::new(), 1.0f64);
        for (up, down) in [(loss, 0.0), (0.0, loss), (loss, loss)] {
            for seed in 1..=3 {
                let mut world = lossy(seed, up, down);
                let since = world.now;
                world.run_for(secs(15));
                let case = format!("{up} lost up, {down} down, seed {seed}");
                let shown = shown(&world);
                let freeze = viewer::longest_freeze(&shown, since, world.now - ms(200));
                assert!(freeze < if loss > 0.05 { secs(3) } else { secs(1) }, "{case}: {freeze:?}");
                let share = repaired(&world, since);
                assert!(share > least - 0.01, "{case}: {share}");
                (worst, _) = (worst.min(share), shares.push(share));
            }
        }
        let mean = mean(&shares);
        assert!(mean >= least, "{loss} lost: {mean}, {worst} at worst");
    }
}

#[test]
fn at_a_fifth_lost_there_is_sound_and_a_small_picture() {
    // Lost up and down; the share of the sound that is heard and the frames a second that are seen, in the mean.
    for (up, down, least_sound, least_rate) in [(0.2, 0.0, 0.95, 15.0), (0.0, 0.2, 0.97, 15.0), (0.2, 0.2, 0.92, 12.0)]
    {
        let (mut sound, mut rates) = (Vec::new(), Vec::new());
        for seed in 1..=8 {
            let mut world = lossy(seed, up, down);
            world.run_for(secs(5));
            let (since, had) = (world.now, world.client(PUBLISHER).feed(Source::Microphone).packets_sent() as usize);
            world.run_for(secs(15));
            rates.push(viewer::frame_rate(&shown(&world), since, world.now));
            sound.push(heard(&world, had));
        }
        assert!(mean(&sound) >= least_sound, "{up} lost up, {down} down: {sound:?} heard");
        assert!(mean(&rates) >= least_rate, "{up} lost up, {down} down: {rates:?} frames a second");
        assert!(rates.iter().all(|rate| *rate > 8.0), "{up} lost up, {down} down: {rates:?} frames a second");
    }
}

/// A fifth is lost before it reaches the server, which makes of what comes redundant what is missing.
#[test]
fn who_takes_no_redundant_sound_hears_what_was_lost_on_the_way_up() {
    for seed in 1..=3 {
        let mut world = World::new(Settings::default());
        world.seed(seed);
        world.join(PUBLISHER, &[Source::Microphone], 0, 0);
        join_plain(&mut world, VIEWER);
        world.run_until(secs(5), |world| world.clients.values().all(|client| client.connected));
        world.send(PUBLISHER, Source::Microphone);
        world.client(PUBLISHER).feed(Source::Microphone).red = true;
        world.paths.insert(PUBLISHER, Path { loss_down: 0.0, ..Path::lossy(0.2) });
        world.run_for(secs(40));
        let packets = world.clients[&VIEWER].got(PUBLISHER, Source::Microphone);
        assert!(packets.iter().all(|packet| !packet.red));
        let in_order = packets.is_sorted_by(|a, b| (a.seq, a.timestamp) < (b.seq, b.timestamp));
        assert!(in_order, "each has a number and a time of its own");
        assert!(packets.windows(2).all(|two| {
            u64::from(two[1].timestamp.wrapping_sub(two[0].timestamp)) == 960 * (two[1].seq - two[0].seq)
        }));
        assert!(heard(&world, 0) > 0.94, "seed {seed}: {}", heard(&world, 0));
    }
}

#[test]
fn who_joins_over_a_bad_path_is_connected_soon() {
    for (loss, half, most) in [(0.0, 0.15, 0.15), (0.1, 0.4, 5.0), (0.2, 0.7, 15.0)] {
        let took = |seed: u64| {
            let mut world = World::new(Settings::default());
            world.seed(seed);
            world.paths.insert(VIEWER, Path::lossy(loss));
            world.join(VIEWER, &[], 1, 1);
            let began = world.now;
            world.run_until(secs(30), |world| world.clients[&VIEWER].connected);
            world.now.duration_since(began).as_secs_f64()
        };
        let mut took: Vec<f64> = (1..=30).map(took).collect();
        took.sort_by(f64::total_cmp);
        assert!(took[14] <= half && took[29] <= most, "{loss} lost: {took:?}");
    }
}

#[test]
fn an_outage_is_over_within_a_second() {
    for away in [PUBLISHER, VIEWER] {
        for seed in 1..=4 {
            let mut world = lossy(seed, 0.0, 0.0);
            let asked = world.clients[&PUBLISHER].key_frames_asked.len();
            world.paths.insert(away, Path::lossy(1.0));
            world.run_for(ms(300));
            world.paths.insert(away, Path::lossy(0.0));
            let over = world.now;
            world.run_for(secs(6));
            let back =
                shown(&world).into_iter().find(|frame| frame.at > over).expect("it is back").at.duration_since(over);
            assert!(back < secs(1), "away {away}, seed {seed}: {back:?}");
            let asked = world.clients[&PUBLISHER].key_frames_asked.len() - asked;
            assert!(asked <= 1, "away {away}, seed {seed}: {asked} key frames");
            let freeze = viewer::longest_freeze(&shown(&world), over + secs(1), world.now);
            assert!(freeze < ms(300), "away {away}, seed {seed}: {freeze:?} after it");
        }
    }
}

#[test]
fn who_asks_for_everything_again_and_again_gets_a_share_of_it() {
    for loss in [0.5, 0.8] {
        let mut world = broadcast(1, Path::lossy(0.0));
        world.client(VIEWER).begs = true;
        world.run_for(secs(5));
        let (media, again) = world.pictures_to(VIEWER);
        let asked = world.clients[&PUBLISHER].key_frames_asked.len();
        world.paths.insert(VIEWER, Path { loss_up: 0.0, ..Path::lossy(loss) });
        world.run_for(secs(20));
        let (media, again) = (world.pictures_to(VIEWER).0 - media, world.pictures_to(VIEWER).1 - again);
        assert!(world.shard().snapshot().nacks_received > 50);
        assert!(again <= media / 4 + 200_000, "{loss}: {again} again of {media}");
        let asked = world.clients[&PUBLISHER].key_frames_asked.len() - asked;
        assert!(asked <= 2 * 20 * 3, "{asked} key frames of three encodings in twenty seconds");
    }
}

#[test]
fn redundant_sound_reaches_who_takes_it_whole_and_who_does_not_without_the_rest() {
    let mut world = World::new(Settings::default());
    world.join(PUBLISHER, &[Source::Microphone], 0, 0);
    world.join(VIEWER, &[], 1, 0);
    join_plain(&mut world, 3);
    world.run_until(secs(5), |world| world.clients.values().all(|client| client.connected));
    world.send(PUBLISHER, Source::Microphone);
    world.client(PUBLISHER).feed(Source::Microphone).red = true;
    world.run_for(secs(1));
    for (viewer, red, length) in [(VIEWER, true, 96 * 2 + 5), (3, false, 96)] {
        let packets = world.clients[&viewer].got(PUBLISHER, Source::Microphone);
        assert!(packets.len() > 45, "{viewer} has {}", packets.len());
        for packet in &packets[1..] {
            assert_eq!((packet.red, packet.payload.len()), (red, length), "{viewer}");
        }
    }
}

#[test]
fn who_comes_over_a_thin_link_that_widens_is_shown_the_large_picture() {
    for seed in 1..=2 {
        for (first, within) in [(90_000, secs(20)), (200_000, secs(12)), (700_000, secs(15))] {
            let mut world = broadcast(seed, Path { rate_down: Some(first), ..Path::lossy(0.0) });
            world.run_for(secs(25));
            assert!(shown(&world).last().is_none_or(|frame| frame.layer < 2), "{first} bit/s, seed {seed}");
            world.paths.insert(VIEWER, Path { rate_down: Some(4_000_000), ..Path::lossy(0.0) });
            let widened = world.now;
            world.run_for(within + secs(1));
            let large = shown(&world).into_iter().find(|frame| frame.at > widened && frame.layer == 2);
            let after = large.map(|frame| frame.at.duration_since(widened));
            assert!(after.is_some_and(|after| after < within), "{first} bit/s, seed {seed}: {after:?}");
        }
    }
}

#[test]
fn sound_over_a_thin_link_goes_without_its_redundancy_while_nothing_is_lost() {
    // The share of the sound that was redundant since then.
    let redundant = |world: &World, since: Instant| {
        let sound =
            world.clients[&VIEWER].received.iter().filter(|packet| packet.at > since && !packet.codec.is_video());
        let (redundant, plain): (Vec<_>, Vec<_>) = sound.partition(|packet| packet.red);
        redundant.len() as f64 / (redundant.len() + plain.len()) as f64
    };
    for (loss, shares) in [(0.0, 0.0..=0.0), (0.1, 0.6..=1.0)] {
        let mut seen = Vec::new();
        for seed in 1..=6 {
            let mut world = broadcast(seed, Path { rate_down: Some(300_000), ..Path::lossy(loss) });
            world.run_for(secs(6));
            let since = world.now;
            world.run_for(secs(10));
            seen.push(redundant(&world, since));
            world.paths.insert(VIEWER, Path::lossy(0.0));
            world.run_for(secs(35));
            let since = world.now;
            world.run_for(secs(2));
            assert_eq!(redundant(&world, since), 1.0, "{loss} lost, then a good link, seed {seed}");
        }
        let mean = mean(&seen);
        assert!(shares.contains(&mean), "{loss} lost: {seen:?}");
    }
}
