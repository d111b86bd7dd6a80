//! The rows of the table of known webhook failures (webhooks.md) that are decided where calls are: what the stream of a call says.
//! The others are in tests/deliver/rows.rs.

use callisto::control::Request;
use callisto::control::input::Target;
use callisto::event::CallMediaType;

use crate::story::{SECOND, Story};

/// Who is in by the stream so far: joins and leaves, each in its turn. A count that goes below zero, or a second join without a leave
/// between, is what this is about.
fn members_after(stream: &[String]) -> Vec<String> {
    let mut members: Vec<String> = Vec::new();
    for fact in stream {
        if let Some(user) = fact.strip_prefix("onUserJoin ") {
            assert!(!members.iter().any(|member| member == user), "{user} joined twice: {stream:?}");
            members.push(user.to_owned());
        }
        if let Some(user) = fact.strip_prefix("onUserLeave ") {
            let place = members.iter().position(|member| member == user);
            members.remove(place.unwrap_or_else(|| panic!("{user} left without having joined: {stream:?}")));
        }
    }
    members
}

#[test]
fn row_h_a_leave_never_comes_after_the_re_joins_join_nor_without_a_join() {
    let mut story = Story::of(&["alice", "bob", "carol"]);
    let call = story.calls("alice", &["bob", "carol"], "group");
    story.accepts("bob");
    story.accepts("carol");
    for round in 0..5 {
        match round % 2 {
            0 => story.hangs_up("bob"),
            // The connection is lost for good, and the user is back before anyone else moves.
            _ => {
                story.drops("bob");
                story.passes(SECOND * 21);
                story.world.log_in(&"bob".parse().unwrap(), None);
            }
        }
        let join = Request::Join { target: Target::Call(call), media_type: CallMediaType::Video };
        let device =
            story.world.devices.iter().rfind(|device| device.user.as_str() == "bob").expect("logged in").clone();
        story.request_of(&device, join).unwrap();
    }
    let stream = story.stream();
    let mut members = members_after(&stream);
    members.sort();
    assert_eq!(members, ["alice", "bob", "carol"], "{stream:?}");
    let rounds = stream.iter().filter(|fact| *fact == "onUserLeave bob").count();
    assert_eq!(rounds, 5, "each of them is told: {stream:?}");
}

#[test]
fn row_i_a_user_who_never_got_media_connected_is_reported_all_the_same() {
    let mut story = Story::of(&["alice", "bob"]);
    story.calls("alice", &["bob"], "");
    story.accepts("bob");
    // No offer, no media: only the signalling knows of them.
    story.drops("bob");
    story.passes(SECOND * 20);
    let stream = story.stream();
    assert_eq!(
        stream,
        [
            "onCallReceived",
            "onCallBegin",
            "onUserJoin alice",
            "onUserJoin bob",
            "onUserLeave bob",
            "onUserLeave alice",
            "onCallEnd offline"
        ]
    );
    assert!(members_after(&stream).is_empty());
}

#[test]
fn row_k_who_leaves_is_first_told_to_send_nothing_any_more() {
    let mut story = Story::of(&["alice", "bob", "carol"]);
    story.calls("alice", &["bob", "carol"], "group");
    story.accepts("bob");
    story.accepts("carol");
    story.sends_media("bob");
    story.stream();
    story.hangs_up("bob");
    let stream = story.stream();
    let place =
        |fact: &str| stream.iter().position(|told| told == fact).unwrap_or_else(|| panic!("no {fact}: {stream:?}"));
    let leave = place("onUserLeave bob");
    assert!(place("onUserVideoAvailable bob false") < leave && place("onUserAudioAvailable bob false") < leave);
}
