//! The server is killed in the middle of a call and started again.

use crate::backend::{Backend, names};
use crate::browser::{turn, video_call};
use crate::server::Site;

#[tokio::test]
async fn after_a_crash_people_see_and_hear_each_other_in_the_same_call_without_a_click() {
    let _turn = turn().await;
    let backend = Backend::start().await;
    let site = Site::new(&[&backend]).keep_listeners().set("media.shards=1");
    let server = site.serve().await;
    let page = server.page();
    let (alice, bob) = video_call(&page).await;
    for person in [&alice, &bob] {
        person.expect_video().await;
        person.expect_audio().await;
    }
    let call = alice.run("callKit.currentCall.callId").await;

    let udp = server.udp();
    server.kill().await;
    for person in [&alice, &bob] {
        person.wait_for("the loss", "document.querySelector('#status').dataset.connection === 'reconnecting'").await;
    }
    let _server = site.serve_at(udp).await;
    for (person, other) in [(&alice, "bob"), (&bob, "alice")] {
        person.wait_for("a new connection", "witness.media().connections > 1").await;
        person.expect_video().await;
        person.expect_audio().await;
        person.expect_tile(other, "tile.dataset.video === 'on' && Number(tile.dataset.volume) > 0").await;
        assert_eq!(person.run("callKit.currentCall.callId").await, call);
        let heard = person.events().await;
        let of = |name: &str| heard.iter().filter(|label| label.split(' ').next() == Some(name)).count();
        assert_eq!(
            (of("onCallBegin"), of("onUserJoin"), of("onUserLeave"), of("onCallEnd")),
            (1, 1, 0, 0),
            "{heard:?}"
        );
    }
    alice.click("#hangup").await;
    bob.events_to("onCallEnd").await;
    let stream = backend.whole_call_of(0).await;
    backend.expect_calls(1);
    let labels = names(&stream);
    assert_eq!(labels.iter().filter(|label| label.starts_with("onCall")).count(), 3, "{labels:?}");
    let end = &stream.last().expect("an end").data;
    assert!(end["reason"] == "hangup" && end["inferred"].is_null(), "{end}");
}

#[tokio::test]
async fn whoever_does_not_come_back_after_a_crash_leaves_with_the_node() {
    let _turn = turn().await;
    let backend = Backend::start().await;
    let site = Site::new(&[&backend]).keep_listeners().set("media.shards=1").set("calls.resume_timeout=12s");
    let server = site.serve().await;
    let page = server.page();
    let (alice, bob) = video_call(&page).await;
    alice.expect_video().await;

    // alice comes back well within the time that seats are held, though she may wait 5 s between two attempts by now.
    let udp = server.udp();
    server.kill().await;
    bob.crash().await;
    let _server = site.serve_at(udp).await;
    let heard = alice.events_to("onCallEnd").await;
    assert_eq!(heard[heard.len() - 2..], ["onUserLeave bob", "onCallEnd"], "{heard:?}");
    let stream = backend.whole_call_of(0).await;
    let left = stream.iter().find(|fact| fact.kind == "onUserLeave").expect("bob left");
    assert!(left.data["userId"] == "bob" && left.data["reason"] == "nodeLost", "{}", left.data);
    let end = &stream.last().expect("an end").data;
    assert!(end["reason"] == "nodeLost" && end["inferred"] == true, "{end}");
    assert!(end["lastSeenAt"].is_string(), "{end}");
}
