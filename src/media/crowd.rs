//! More members than slots, told as scenarios over the simulated network.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use str0m::format::Codec;
use str0m::media::Mid as SdpMid;

use super::command::{Command, SlotWish};
use super::scenarios::{BOTH, assert_seamless, connect, forward};
use super::sim::{ROOM, Received, World, ms};
use super::{Report, Settings};
use crate::base::{PeerId, Source};

const LOUD: i8 = -22;
const QUIET: i8 = -90;

/// So many members who all send, in silence, and have fewer slots than that.
fn crowd(members: u64, slots: usize, loudest: usize) -> World {
    let mut world = World::new(Settings { loudest, ..Settings::default() });
    for id in 1..=members {
        world.join(id, &BOTH, slots, slots);
    }
    connect(&mut world);
    for id in 1..=members {
        BOTH.iter().for_each(|source| world.send(id, *source));
    }
    speakers(&mut world, &[]);
    world.run_for(ms(1000));
    world
}

/// These talk from here on, and nobody else.
fn speakers(world: &mut World, ids: &[u64]) {
    for (id, client) in &mut world.clients {
        client.feed(Source::Microphone).level = if ids.contains(id) { LOUD } else { QUIET };
    }
}

fn by_slot(world: &World, viewer: u64) -> BTreeMap<SdpMid, Vec<&Received>> {
    let mut slots: BTreeMap<SdpMid, Vec<&Received>> = BTreeMap::new();
    for packet in &world.clients[&viewer].received {
        slots.entry(packet.mid).or_default().push(packet);
    }
    slots
}

/// Every slot has one SSRC and one numbering, and pictures of another member begin with a key frame.
fn assert_slots_are_whole(world: &World, viewer: u64) -> usize {
    let mut hand_overs = 0;
    for (mid, packets) in by_slot(world, viewer) {
        assert!(packets.iter().all(|packet| packet.ssrc == packets[0].ssrc), "slot {mid} of {viewer} keeps its SSRC");
        assert_seamless(&packets);
        for two in packets.windows(2) {
            let (a, b) = (two[0].stamp(), two[1].stamp());
            if a.publisher == b.publisher {
                continue;
            }
            hand_overs += 1;
            if two[1].codec == Codec::Vp8 {
                assert!(b.key, "slot {mid} of {viewer}: a picture of {} begins with a key frame", b.publisher);
            } else {
                assert!(two[1].marker, "another voice is a talk spurt");
                let spoken = f64::from(two[1].timestamp.wrapping_sub(two[0].timestamp)) / 48_000.0;
                let heard = two[1].at.duration_since(two[0].at).as_secs_f64();
                assert!((spoken - heard).abs() < 0.025, "{spoken} s of sound in {heard} s");
            }
        }
    }
    hand_overs
}

fn shown(world: &World, viewer: u64, source: Source) -> BTreeSet<u64> {
    (1..=world.clients.len() as u64).filter(|id| world.clients[&viewer].shows(*id, source).is_some()).collect()
}

#[test]
fn slots_change_hands_among_ten_members_without_a_glitch() {
    let mut world = crowd(10, 3, 3);
    for turn in [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 1, 5], [2, 8, 4]] {
        speakers(&mut world, &turn);
        world.run_for(ms(3000));
        let viewer = (1..=10).find(|id| !turn.contains(id)).unwrap();
        assert_eq!(shown(&world, viewer, Source::Microphone), turn.into(), "who speaks is heard");
    }
    world.run_for(ms(500));
    let hand_overs: usize = (1..=10).map(|viewer| assert_slots_are_whole(&world, viewer)).sum();
    assert!(hand_overs > 100, "{hand_overs}");
}

#[test]
fn a_new_voice_is_heard_within_a_tenth_of_a_second() {
    let mut world = crowd(8, 2, 2);
    speakers(&mut world, &[2, 3]);
    world.run_for(ms(3000));
    speakers(&mut world, &[]);
    world.run_for(ms(1500));
    speakers(&mut world, &[7]);
    let began = world.now;
    world.run_for(ms(400));
    let heard = world.clients[&1].got(7, Source::Microphone);
    let first = heard.first().expect("it is heard").at.duration_since(began);
    // Three frames of speech, and the way there and back.
    assert!(first <= ms(130), "{first:?}");
}

#[test]
fn who_has_the_floor_is_shown_and_the_last_speakers_keep_their_places() {
    let mut world = crowd(9, 3, 3);
    let mut spoke = Vec::new();
    for speaker in [5, 7, 8, 4, 9, 5] {
        let before = shown(&world, 1, Source::Camera);
        speakers(&mut world, &[speaker]);
        world.run_for(ms(2500));
        spoke.retain(|id| *id != speaker);
        spoke.insert(0, speaker);
        let now = shown(&world, 1, Source::Camera);
        assert!(spoke.iter().take(3).all(|id| now.contains(id)), "{spoke:?} spoke and {now:?} are shown");
        assert!(before.difference(&now).count() <= 1, "one gives way: {before:?} {now:?}");
    }
    speakers(&mut world, &[]);
    let (before, had) = (shown(&world, 1, Source::Camera), reports_of_slots(&world));
    world.run_for(ms(5000));
    assert_eq!(shown(&world, 1, Source::Camera), before, "silence moves nobody");
    assert_eq!(reports_of_slots(&world), had);
}

fn reports_of_slots(world: &World) -> usize {
    world.reports.iter().filter(|(_, report)| matches!(report, Report::Slots { .. })).count()
}

#[test]
fn coughs_and_short_words_move_nobody() {
    let mut world = crowd(9, 3, 3);
    for speaker in [2, 3, 4] {
        speakers(&mut world, &[speaker]);
        world.run_for(ms(3000));
    }
    let cameras = shown(&world, 1, Source::Camera);
    for other in [5, 6, 7, 8, 9, 5, 6] {
        speakers(&mut world, &[4]);
        world.run_for(ms(1500));
        speakers(&mut world, &[4, other]);
        world.run_for(ms(240));
    }
    assert_eq!(shown(&world, 1, Source::Camera), cameras);
}

#[test]
fn with_as_many_voices_as_slots_plus_one_the_loudest_are_heard_and_do_not_take_turns() {
    let mut world = crowd(6, 2, 2);
    speakers(&mut world, &[2, 3, 4]);
    world.run_for(ms(2000));
    let (heard, had) = (shown(&world, 1, Source::Microphone), reports_of_slots(&world));
    assert_eq!(heard.len(), 2);
    world.run_for(ms(5000));
    assert_eq!((shown(&world, 1, Source::Microphone), reports_of_slots(&world)), (heard.clone(), had));
    let unheard = [2, 3, 4].into_iter().find(|id| !heard.contains(id)).unwrap();
    world.client(unheard).feed(Source::Microphone).level = -5;
    world.run_for(ms(2000));
    assert!(shown(&world, 1, Source::Microphone).contains(&unheard), "a voice that is much louder goes first");
    assert_slots_are_whole(&world, 1);
}

#[test]
fn a_muted_voice_leaves_its_place_to_others() {
    let mut world = crowd(5, 1, 1);
    speakers(&mut world, &[2]);
    world.run_for(ms(2000));
    speakers(&mut world, &[2, 3]);
    forward(&mut world, 2, Source::Microphone, false);
    world.run_for(ms(2000));
    assert_eq!(shown(&world, 1, Source::Microphone), [3].into());
}

#[test]
fn a_viewers_choice_holds_whoever_speaks() {
    let mut world = crowd(8, 2, 2);
    let mids: Vec<_> = world.clients[&1].slots.iter().filter(|(_, kind)| kind.is_video()).map(|(mid, _)| mid).collect();
    let wish = SlotWish { mid: mids[0].clone(), publisher: Some(PeerId(6)), source: Source::Camera, max_height: None };
    world.command(Command::View { room: ROOM, peer: PeerId(1), slots: vec![wish] });
    for speaker in [2, 3, 4] {
        speakers(&mut world, &[speaker]);
        world.run_for(ms(2500));
        assert_eq!(shown(&world, 1, Source::Camera), [6, speaker].into());
    }
    assert_slots_are_whole(&world, 1);
}

#[test]
fn a_slot_that_changes_hands_is_still_no_longer_than_its_key_frame_takes() {
    let mut world = crowd(8, 2, 2);
    for speaker in [2, 3, 4, 5, 6, 7] {
        speakers(&mut world, &[speaker]);
        world.run_for(ms(2500));
    }
    for (mid, packets) in by_slot(&world, 1) {
        for two in packets.windows(2).filter(|two| two[0].codec == Codec::Vp8) {
            let gap = two[1].at.duration_since(two[0].at);
            // A request and its answer over 20 ms of path, up to 500 ms between requests, and a frame.
            assert!(gap <= Duration::from_millis(620), "slot {mid} stood still for {gap:?}");
        }
    }
}
