//! People whose tab dies, whose connection breaks, who move to another network or another device.

use crate::DEADLINE;
use crate::backend::{Backend, names};
use crate::browser::{Browser, Make, turn, video_call};
use crate::network::Network;
use crate::rpc::{assert_turns, is_media};
use crate::server::Site;
use crate::wire::Wire;

#[tokio::test]
async fn the_seat_of_a_killed_tab_is_held_and_then_given_up() {
    let _turn = turn().await;
    let backend = Backend::start().await;
    let site = Site::new(&[&backend]).set("calls.resume_timeout=5s");
    let server = site.serve().await;
    let page = server.page();
    let (alice, bob) = video_call(&page).await;
    alice.expect_video().await;
    alice.expect_tile("bob", "['Excellent', 'Good', 'Poor', 'Bad', 'Vbad'].includes(tile.dataset.quality)").await;

    // It shows while the seat is held, and the driver may take longer to tell of the crash: so it is watched from before.
    let down = "document.querySelector('#tiles .tile[data-user-id=bob]')?.dataset.quality === 'Down'";
    alice.run(&format!("void (window.down = witness.until(() => {down}, {}))", DEADLINE.as_millis())).await;
    bob.crash().await;
    alice.wait_for("bob's tile to be down", "down").await;
    let heard = alice.events_to("onCallEnd").await;
    let after_begin: Vec<&str> = heard.iter().map(String::as_str).skip_while(|label| *label != "onCallBegin").collect();
    let ending = ["onUserVideoAvailable bob off", "onUserAudioAvailable bob off", "onUserLeave bob", "onCallEnd"];
    let told: Vec<&str> = after_begin.into_iter().filter(|label| ending.contains(label)).collect();
    assert_eq!(told[told.len() - 2..], ending[2..], "{heard:?}");
    for kind in ["Audio", "Video"] {
        assert_turns(&heard, kind, "bob", 2);
    }
    let stream = backend.whole_call_of(0).await;
    let left = stream.iter().find(|fact| fact.data["userId"] == "bob" && fact.kind == "onUserLeave").expect("bob left");
    assert_eq!(left.data["reason"], "offline");
}

#[tokio::test]
async fn a_connection_that_comes_back_brings_every_event_once_and_the_picture_never_left() {
    let _turn = turn().await;
    // The seat is held for as long as the others take.
    let site = Site::new(&[]).set("calls.resume_timeout=2m");
    let server = site.serve().await;
    let wire = Wire::to(server.public()).await;
    let (far, near) = (wire.page(), server.page());
    let (alice, bob) = tokio::join!(Browser::open(&far, "alice"), Browser::open(&near, "bob"));
    alice.call("bob", "#call-video").await;
    bob.click("#accept").await;
    for person in [&alice, &bob] {
        person.expect_video().await;
    }
    alice.expect_tile("bob", "tile.dataset.video === 'on' && tile.dataset.audio === 'on'").await;
    let before = alice.events().await;

    wire.cut();
    alice.wait_for("the loss", "document.querySelector('#status').dataset.connection === 'reconnecting'").await;
    bob.click("#toggle-mic").await;
    bob.wait_for("silence", "document.querySelector('#toggle-mic').ariaPressed === 'false'").await;
    bob.click("#toggle-camera").await;
    bob.expect_tile("bob", "tile.dataset.video === 'off'").await;
    bob.click("#toggle-mic").await;
    bob.wait_for("a voice", "document.querySelector('#toggle-mic').ariaPressed === 'true'").await;
    bob.click("#switch-media").await;
    bob.events_to("onCallMediaTypeChanged").await;
    wire.mend();

    let heard = alice.events_to("onCallMediaTypeChanged").await;
    assert_eq!(heard[..before.len()], before);
    let missed = &heard[before.len()..];
    let flow: Vec<&String> = missed.iter().filter(|label| !is_media(label)).collect();
    assert_eq!(flow, ["onCallMediaTypeChanged"], "{heard:?}");
    let mut missed = missed.iter();
    for told in [
        "onUserAudioAvailable bob off",
        "onUserVideoAvailable bob off",
        "onUserAudioAvailable bob on",
        "onCallMediaTypeChanged",
    ] {
        assert!(missed.any(|label| label == told), "{told} in its place: {heard:?}");
    }
    assert_turns(&heard, "Audio", "bob", 3);
    assert_turns(&heard, "Video", "bob", 2);
    alice.expect_audio().await;
    let media = alice.run("witness.media()").await;
    assert_eq!(media["connections"], 1, "{media}");
    bob.click("#hangup").await;
    alice.events_to("onCallEnd").await;
}

#[tokio::test]
async fn another_network_is_another_path_for_the_same_call() {
    let _turn = turn().await;
    let network = Network::lay(2);
    let site = Site::new(&[]);
    let server = network.serve(&site).await;
    let page = server.page();
    let (alice, bob) = video_call(&page).await;
    for person in [&alice, &bob] {
        person.expect_video().await;
    }
    network.pull(0);
    for person in [&alice, &bob] {
        person.wait_for("another path", "witness.media().paths > 1").await;
        person.expect_video().await;
        let media = person.run("witness.media()").await;
        assert_eq!(media["connections"], 1, "the keys of the connection are kept: {media}");
        let events = person.events().await;
        assert!(!events.iter().any(|label| label.starts_with("onUserLeave") || label == "onCallEnd"), "{events:?}");
    }
    alice.click("#hangup").await;
    bob.events_to("onCallEnd").await;
}

#[tokio::test]
async fn a_second_log_in_kicks_the_first_and_takes_its_call() {
    let _turn = turn().await;
    let backend = Backend::start().await;
    let site = Site::new(&[&backend]);
    let server = site.serve().await;
    let page = server.page();
    let (alice, bob) = video_call(&page).await;
    bob.expect_video().await;

    let elsewhere = Browser::visit(Make::Chromium, &format!("{page}?name=alice"), "alice elsewhere").await;
    alice.events_to("onKickedOffline").await;
    alice.wait_for("a word about it", "witness.usable('#login') && witness.usable('#denied')").await;
    elsewhere.click("#rejoin").await;
    elsewhere.expect_video().await;
    elsewhere.expect_audio().await;
    bob.expect_tile("alice", "tile.dataset.video === 'on' && tile.dataset.audio === 'on'").await;
    bob.expect_video().await;
    let heard = bob.events().await;
    assert!(!heard.iter().any(|label| label.starts_with("onUserLeave")), "{heard:?}");
    elsewhere.click("#hangup").await;
    bob.events_to("onCallEnd").await;
    let labels = names(&backend.whole_call_of(0).await);
    assert_eq!(labels.iter().filter(|label| *label == "onUserJoin alice").count(), 1, "{labels:?}");
}
