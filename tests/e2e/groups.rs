//! Calls of more than two: rung at once, entered later, invited to; rooms; more people than slots; shared screens.

use serde_json::{Value, json};

use crate::browser::{Browser, Make, turn, video_call};
use crate::network::Network;
use crate::rpc::APP;
use crate::server::{Server, Site};

/// Colours far apart.
const HUES: [u16; 6] = [0, 60, 120, 180, 240, 300];

fn account(site: &Site, user: &str, slot_pairs: u8) -> Value {
    json!({"sdkAppId": APP, "userId": user, "userSig": site.ticket(user), "slotPairs": slot_pairs})
}

async fn crowd(server: &Server, site: &Site, people: &[&str], slot_pairs: u8) -> Browser {
    let tab = Browser::crowd(&server.page()).await;
    for (user, hue) in people.iter().zip(HUES) {
        tab.admit(&account(site, user, slot_pairs), hue).await;
    }
    tab
}

#[tokio::test]
async fn four_people_in_two_makes_of_browser_call_decline_are_invited_and_leave() {
    let _turn = turn().await;
    let network = Network::lay(1);
    let site = Site::new(&[]);
    let server = network.serve(&site).await;
    let page = server.page();
    let (alice, bob) = tokio::join!(Browser::open(&page, "alice"), Browser::open_in(Make::Firefox, &page, "bob"));
    let others = crowd(&server, &site, &["carol", "dave"], 4).await;

    alice.call("bob, carol dave", "#call-video").await;
    bob.click("#accept").await;
    others.wait_for("the ringing", "crowd.people.carol.kit.currentCall?.phase === 'ringing'").await;
    others.run("crowd.people.carol.kit.accept().then(() => null)").await;
    others.wait_for("the ringing", "crowd.people.dave.kit.currentCall?.phase === 'ringing'").await;
    others.run("crowd.people.dave.kit.reject()").await;
    alice.events_to("onUserReject").await;
    alice.expect_no_tile("dave").await;

    alice.click("#invite").await;
    alice.type_into("#invitee", "dave").await;
    alice.click("#invite-send").await;
    others.wait_for("the invitation", "crowd.people.dave.kit.currentCall?.phase === 'ringing'").await;
    others.run("crowd.people.dave.kit.accept().then(() => null)").await;
    let everyone = ["alice", "bob", "carol", "dave"];
    for (tab, me) in [(&alice, "alice"), (&bob, "bob")] {
        for other in everyone.iter().filter(|other| **other != me) {
            tab.expect_tile(other, "tile.dataset.video === 'on' && tile.querySelector('video').videoWidth > 0").await;
        }
        tab.expect_video().await;
    }
    for (viewer, other) in [("carol", "dave"), ("dave", "carol")] {
        others.run(&format!("crowd.look({viewer:?}, {other:?}).then(() => null)")).await;
        others.wait_for("the right picture", &format!("crowd.sees({viewer:?}, {other:?})")).await;
    }

    others.run("crowd.people.carol.kit.hangup().then(() => null)").await;
    for tab in [&alice, &bob] {
        tab.expect_no_tile("carol").await;
    }
    alice.click("#hangup").await;
    alice.events_to("onCallEnd").await;
    bob.expect_no_tile("alice").await;
    bob.expect_tile("dave", "tile.dataset.video === 'on'").await;
    bob.click("#hangup").await;
    others.wait_for("the end", "crowd.people.dave.events.includes('onCallEnd')").await;
    let errors = others.run("Object.values(crowd.people).flatMap(({ errors }) => errors)").await;
    assert_eq!(errors, json!([]));
}

/// A viewer with two slot pairs, and one video slot more, in a room with five people who speak one after the other.
#[tokio::test]
async fn slots_change_hands_without_a_new_stream_and_show_whom_they_say() {
    let _turn = turn().await;
    let site = Site::new(&[]);
    let server = site.serve().await;
    let speakers = ["amy", "bea", "cleo", "dora", "emma"];
    let everyone: Vec<&str> = ["vera"].into_iter().chain(speakers).collect();
    let tab = crowd(&server, &site, &everyone, 2).await;
    for user in &everyone {
        let room = "{ roomId: { strRoomId: 'hall' }, callMediaType: 1 }";
        tab.run(&format!("crowd.people.{user}.kit.join({room}).then(() => null)")).await;
    }
    for user in speakers {
        let available = format!("crowd.people.vera.events.includes('onUserVideoAvailable {user}')");
        tab.wait_for("everyone's picture", &available).await;
        tab.run(&format!("crowd.look('vera', {user:?})")).await;
    }
    let mut ssrcs: Option<Value> = None;
    for user in speakers {
        tab.run(&format!("crowd.speak({user:?}, true)")).await;
        let heard = format!("crowd.shown('vera', 'microphone').includes({user:?})");
        tab.wait_for(&format!("{user}'s voice in a slot"), &heard).await;
        tab.wait_for(&format!("{user}'s picture"), &format!("crowd.sees('vera', {user:?})")).await;
        tab.run(&format!("crowd.speak({user:?}, false)")).await;
        let slots = tab.run("crowd.people.vera.slots.length").await;
        assert_eq!(slots, 5, "two pairs and a picture more");
        // No picture that a slot shows is somebody else's.
        let wrong = tab.run("crowd.shown('vera', 'camera').filter((user) => crowd.people.vera.views[user].videoWidth > 0 && !crowd.sees('vera', user))").await;
        tab.wait_for(
            &format!("everyone where they should be, not {wrong}"),
            "crowd.shown('vera', 'camera').every((user) => crowd.sees('vera', user))",
        )
        .await;
        let now = tab.run("crowd.counts('vera').then((counts) => Object.fromEntries(Object.entries(counts).map(([mid, { ssrc }]) => [mid, ssrc])))").await;
        let seen = ssrcs.get_or_insert_with(|| now.clone());
        for (mid, ssrc) in seen.as_object().expect("by mid") {
            assert_eq!(now[mid], *ssrc, "a slot keeps its stream");
        }
    }
    // What is shown was decoded to the end: no slot asked again for what it was given, none stood still for longer than a hand-over.
    let counts = tab.run("crowd.counts('vera')").await;
    let receivers: Vec<&Value> = counts.as_object().expect("by mid").values().collect();
    assert_eq!(receivers.len(), 3, "{counts:#}");
    for receiver in receivers {
        assert!(receiver["framesDecoded"].as_u64() > receiver["keyFramesDecoded"].as_u64(), "{counts:#}");
        assert!(receiver["pliCount"].as_u64() <= receiver["keyFramesDecoded"].as_u64(), "{counts:#}");
        assert!(receiver["totalFreezesDuration"].as_f64().is_some_and(|seconds| seconds < 5.0), "{counts:#}");
    }

    // Vera chooses: those two stay, whoever speaks; of a third in the last slot nothing is sent.
    for user in ["cleo", "dora", "emma"] {
        tab.run(&format!("crowd.people.vera.kit.stopRemoteView({user:?}, 'camera')")).await;
    }
    let chosen =
        "['amy', 'bea'].every((user) => crowd.shown('vera', 'camera').includes(user) && crowd.sees('vera', user))";
    tab.wait_for("those who were chosen", chosen).await;
    let unwatched = "crowd.people.vera.slots.filter(({ source, userId }) => source === 'camera' && !['amy', 'bea'].includes(userId))";
    tab.wait_for("the others paused", &format!("{unwatched}.every(({{ userId, paused }}) => !userId || paused)")).await;
    for user in ["cleo", "emma"] {
        tab.run(&format!("crowd.speak({user:?}, true)")).await;
        tab.wait_for("the voice", &format!("crowd.shown('vera', 'microphone').includes({user:?})")).await;
        let shown = tab.run("crowd.shown('vera', 'camera')").await;
        assert!(["amy", "bea"].iter().all(|user| shown.as_array().expect("a list").contains(&json!(user))), "{shown}");
        tab.run(&format!("crowd.speak({user:?}, false)")).await;
    }
}

#[tokio::test]
async fn people_meet_in_a_room_and_change_their_devices() {
    let _turn = turn().await;
    let site = Site::new(&[]);
    let server = site.serve().await;
    let page = server.page();
    let (alice, bob) = tokio::join!(Browser::open(&page, "alice"), Browser::open(&page, "bob"));
    for person in [&alice, &bob] {
        person.type_into("#room", "standup").await;
        person.click("#join-room").await;
    }
    for (person, other) in [(&alice, "bob"), (&bob, "alice")] {
        person.expect_tile(other, "tile.dataset.video === 'on' && tile.dataset.received === 'shown'").await;
        person.expect_video().await;
        person.expect_audio().await;
    }
    alice.click("#devices").await;
    let cameras = "document.querySelector('#devices-dialog select[data-kind=camera]')";
    alice.wait_for("a choice", &format!("{cameras}.options.length > 0")).await;
    alice.run(&format!("{cameras}.dispatchEvent(new Event('change'))")).await;
    alice.click("#devices-dialog [type=submit]").await;
    bob.expect_video().await;
    bob.expect_tile("alice", "tile.dataset.video === 'on'").await;
    assert!(!alice.events().await.contains(&"onError".to_owned()));

    // A room is left by one and goes on, and ends with the last.
    alice.click("#hangup").await;
    alice.events_to("onCallEnd").await;
    bob.expect_no_tile("alice").await;
    assert!(!bob.events().await.contains(&"onCallEnd".to_owned()));
    bob.click("#hangup").await;
    bob.events_to("onCallEnd").await;
}

#[tokio::test]
async fn a_shared_screen_is_seen_beside_the_camera_until_it_is_ended() {
    let _turn = turn().await;
    let site = Site::new(&[]);
    let server = site.serve().await;
    let page = server.page();
    let (alice, bob) = video_call(&page).await;
    bob.expect_video().await;
    let screen = "document.querySelector('#tiles .tile[data-screen-of=alice]')";
    let sharing = |state: &str| format!("document.querySelector('#share-screen').ariaPressed === '{state}'");

    alice.click("#share-screen").await;
    bob.wait_for("the screen", &format!("{screen}?.querySelector('video').videoWidth > 0")).await;
    bob.expect_tile("alice", "tile.dataset.video === 'on' && tile.querySelector('video').videoWidth > 0").await;
    alice.click("#share-screen").await;
    bob.wait_for("the screen to go", &format!("!{screen}")).await;

    // Shared again over the same m-line, and ended as the browser's own bar ends it.
    alice.click("#share-screen").await;
    bob.wait_for("the screen again", &format!("{screen}?.querySelector('video').videoWidth > 0")).await;
    alice.wait_for("sharing", &sharing("true")).await;
    alice.run("witness.endScreen()").await;
    alice.wait_for("no sharing", &sharing("false")).await;
    bob.wait_for("the screen to go", &format!("!{screen}")).await;
    bob.expect_tile("alice", "tile.dataset.video === 'on'").await;
    let errors = alice.events().await.into_iter().filter(|label| label == "onError").count();
    assert_eq!(errors, 0);
    alice.click("#hangup").await;
    bob.events_to("onCallEnd").await;
}
