//! Calls as people make them: Chromium on the try-a-call page, with media through the server, and what the backend hears.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;
use tokio::sync::MutexGuard;

use crate::backend::{Backend, Envelope, names};
use crate::browser::{Browser, Make, turn, video_call};
use crate::network::Network;
use crate::rpc::{Client, assert_turns, is_media};
use crate::server::{Server, Site};

/// A server with a backend, and two people at their browsers.
struct Stage {
    alice: Browser,
    bob: Browser,
    server: Server,
    site: Site,
    backend: Backend,
    _turn: MutexGuard<'static, ()>,
}

impl Stage {
    async fn set() -> Self {
        Self::set_with(&[]).await
    }

    async fn set_with(settings: &[&str]) -> Self {
        let turn = turn().await;
        let backend = Backend::start().await;
        let site = settings.iter().fold(Site::new(&[&backend]), |site, setting| site.set(setting));
        let server = site.serve().await;
        let page = server.page();
        let (alice, bob) = tokio::join!(Browser::open(&page, "alice"), Browser::open(&page, "bob"));
        Self { alice, bob, server, site, backend, _turn: turn }
    }

    async fn talk(&self, button: &str) {
        self.alice.call("bob", button).await;
        self.bob.click("#accept").await;
    }

    /// The stream of the only call there was.
    async fn stream(&self) -> Vec<Envelope> {
        let stream = self.backend.whole_call_of(0).await;
        self.backend.expect_calls(1);
        stream
    }
}

fn flow(labels: &[String]) -> Vec<&str> {
    labels.iter().map(String::as_str).filter(|label| !is_media(label)).collect()
}

/// The user's media events all lie between the user's joining and leaving.
fn assert_media_within(labels: &[String], user: &str) {
    let place = |event: &str| labels.iter().position(|label| *label == format!("{event} {user}"));
    for (index, label) in labels.iter().enumerate().filter(|(_, label)| is_media_of(label, user)) {
        assert!(place("onUserJoin").is_some_and(|join| join < index), "{label} before the joining: {labels:?}");
        assert!(place("onUserLeave").is_none_or(|leave| index < leave), "{label} after the leaving: {labels:?}");
    }
}

fn is_media_of(label: &str, user: &str) -> bool {
    is_media(label) && label.split(' ').nth(1) == Some(user)
}

const WHOLE_CALL: [&str; 7] = [
    "onCallReceived",
    "onCallBegin",
    "onUserJoin alice",
    "onUserJoin bob",
    "onUserLeave alice",
    "onUserLeave bob",
    "onCallEnd",
];

#[tokio::test]
async fn two_people_see_and_hear_each_other() {
    let stage = Stage::set().await;
    stage.talk("#call-video").await;
    for (person, other) in [(&stage.alice, "bob"), (&stage.bob, "alice")] {
        person.expect_video().await;
        person.expect_audio().await;
        let sound = person.run("witness.soundFormats()").await;
        let formats = sound.as_array().expect("a list");
        assert!(!formats.is_empty() && formats.iter().all(|format| format == "red/48000/2"), "{sound}");
        person.expect_tile(other, "tile.dataset.video === 'on' && tile.dataset.audio === 'on'").await;
        person.expect_tile(other, "Number(tile.dataset.volume) > 0").await;
        person.expect_tile(other, "['Excellent', 'Good', 'Poor', 'Bad', 'Vbad'].includes(tile.dataset.quality)").await;
    }
    stage.alice.click("#hangup").await;

    let heard_by_alice = stage.alice.events_to("onCallEnd").await;
    let heard_by_bob = stage.bob.events_to("onCallEnd").await;
    assert_eq!(flow(&heard_by_alice), ["onUserJoin bob", "onCallBegin", "onCallEnd"]);
    assert!(!heard_by_alice.iter().any(|label| is_media_of(label, "alice")), "nobody is told of their own media");
    assert_eq!(
        flow(&heard_by_bob),
        ["onCallReceived", "onCallBegin", "onUserJoin alice", "onUserLeave alice", "onCallEnd"]
    );

    let stream = stage.stream().await;
    let labels = names(&stream);
    assert_eq!(flow(&labels), WHOLE_CALL);
    for kind in ["Audio", "Video"] {
        assert_turns(&heard_by_alice, kind, "bob", 1);
        assert_turns(&heard_by_bob, kind, "alice", 2);
        assert_turns(&labels, kind, "alice", 2);
        assert_turns(&labels, kind, "bob", 2);
    }
    for (labels, user) in [(&heard_by_alice, "bob"), (&heard_by_bob, "alice"), (&labels, "alice"), (&labels, "bob")] {
        assert_media_within(labels, user);
    }
    let end = &stream.last().expect("an end").data;
    for user in ["alice", "bob"] {
        assert!(end["summary"][user]["qualityP5"].is_string(), "{end}");
    }
}

#[tokio::test]
async fn a_voice_call_has_voices_and_no_video() {
    let stage = Stage::set().await;
    stage.talk("#call-voice").await;
    for (person, other) in [(&stage.alice, "bob"), (&stage.bob, "alice")] {
        person.expect_audio().await;
        person.expect_tile(other, "tile.dataset.video === 'off' && tile.dataset.audio === 'on'").await;
        assert_eq!(person.decoded_frames().await, 0);
    }
    stage.bob.click("#hangup").await;
    let stream = stage.stream().await;
    let labels = names(&stream);
    let mut expected = WHOLE_CALL;
    expected.swap(4, 5);
    assert_eq!(flow(&labels), expected);
    for user in ["alice", "bob"] {
        assert_turns(&labels, "Audio", user, 2);
        assert_media_within(&labels, user);
    }
    assert!(!labels.iter().any(|label| label.starts_with("onUserVideoAvailable")), "{labels:?}");
    assert_eq!(stream[0].data["callMediaType"], 0);
}

#[tokio::test]
async fn a_voice_call_becomes_a_video_call_and_a_voice_call_again() {
    let stage = Stage::set().await;
    stage.talk("#call-voice").await;
    stage.alice.expect_audio().await;
    stage.alice.click("#switch-media").await;
    stage.bob.expect_tile("alice", "tile.dataset.video === 'on' && tile.querySelector('video').videoWidth > 0").await;
    stage.bob.click("#toggle-camera").await;
    stage.alice.expect_tile("bob", "tile.dataset.video === 'on' && tile.querySelector('video').videoWidth > 0").await;
    stage.alice.expect_video().await;
    stage.bob.click("#switch-media").await;
    for (person, other) in [(&stage.alice, "bob"), (&stage.bob, "alice")] {
        person.expect_tile(other, "tile.dataset.video === 'off' && tile.dataset.audio === 'on'").await;
        person.expect_audio().await;
    }
    stage.alice.click("#hangup").await;
    let labels = names(&stage.stream().await);
    assert_eq!(labels.iter().filter(|label| *label == "onCallMediaTypeChanged").count(), 2);
}

#[tokio::test]
async fn the_camera_goes_off_and_comes_back() {
    let stage = Stage::set().await;
    stage.talk("#call-video").await;
    stage.bob.expect_video().await;
    stage.alice.expect_tile("alice", "tile.dataset.video === 'on'").await;
    stage.alice.click("#toggle-camera").await;
    stage.bob.expect_tile("alice", "tile.dataset.video === 'off' && tile.dataset.audio === 'on'").await;
    stage.alice.click("#toggle-camera").await;
    stage.bob.expect_tile("alice", "tile.dataset.video === 'on'").await;
    stage.bob.expect_video().await;
    stage.bob.click("#toggle-mic").await;
    stage.alice.expect_tile("bob", "tile.dataset.audio === 'off' && tile.dataset.video === 'on'").await;
    stage.alice.click("#hangup").await;
    let labels = names(&stage.stream().await);
    assert_turns(&labels, "Video", "alice", 4);
    assert_turns(&labels, "Audio", "bob", 2);
    for user in ["alice", "bob"] {
        assert_media_within(&labels, user);
    }
    assert_eq!(flow(&labels), WHOLE_CALL);
}

#[tokio::test]
async fn a_person_declines() {
    let stage = Stage::set().await;
    stage.alice.call("bob", "#call-video").await;
    stage.bob.click("#reject").await;
    assert_eq!(stage.alice.events_to("onCallCancelled").await, ["onUserReject bob", "onCallCancelled"]);
    assert_eq!(stage.bob.events_to("onCallCancelled").await, ["onCallReceived", "onCallCancelled"]);
    assert_eq!(names(&stage.stream().await), ["onCallReceived", "onUserReject bob", "onCallCancelled"]);
}

#[tokio::test]
async fn nobody_answers() {
    let stage = Stage::set_with(&["calls.ring_timeout=2s"]).await;
    stage.alice.call("bob", "#call-video").await;
    assert_eq!(stage.alice.events_to("onCallCancelled").await, ["onUserNoResponse bob", "onCallCancelled"]);
    assert_eq!(stage.bob.events_to("onCallCancelled").await, ["onCallReceived", "onCallCancelled"]);
    assert_eq!(names(&stage.stream().await), ["onCallReceived", "onUserNoResponse bob", "onCallCancelled"]);
}

#[tokio::test]
async fn whoever_calls_someone_in_a_call_finds_them_busy() {
    let stage = Stage::set().await;
    let mut carol = Client::log_in(&stage.server, &stage.site, "carol").await;
    let mut dave = Client::log_in(&stage.server, &stage.site, "dave").await;
    let placed = carol.ask("call", json!({"userIdList": ["dave"], "callMediaType": 0})).await;
    let first = placed["callId"].as_str().expect("a call id").to_owned();
    dave.expect_all(&first, &["onCallReceived"]).await;
    dave.ask("accept", json!({"callId": first})).await;
    // Each call has a lane of its own: only what was told is told before the next.
    stage.backend.wait_for("the first call", |accepted| accepted.iter().any(|fact| fact.call == first)).await;
    stage.alice.call("dave", "#call-video").await;
    assert_eq!(stage.alice.events_to("onCallCancelled").await, ["onUserLineBusy dave", "onCallCancelled"]);
    assert_eq!(
        names(&stage.backend.whole_call_of(1).await),
        ["onCallReceived", "onUserLineBusy dave", "onCallCancelled"]
    );
    assert!(stage.bob.events().await.is_empty());
}

#[tokio::test]
async fn a_caller_who_gives_up_stops_the_ringing() {
    let stage = Stage::set().await;
    stage.alice.call("bob", "#call-voice").await;
    stage.bob.wait_for("ringing", "witness.usable('#accept')").await;
    stage.alice.click("#hangup").await;
    assert_eq!(stage.bob.events_to("onCallCancelled").await, ["onCallReceived", "onCallCancelled"]);
    assert_eq!(stage.alice.events_to("onCallCancelled").await, ["onCallCancelled"]);
    assert_eq!(names(&stage.stream().await), ["onCallReceived", "onCallCancelled"]);
}

/// Nothing is configured but addresses that keep out of the way of other tests.
#[tokio::test]
async fn one_command_starts_a_server_that_people_can_talk_over() {
    let _turn = turn().await;
    let site = Site::new(&[]);
    let server = site.serve_by_default().await;
    let page = server.page();
    let (alice, bob) = video_call(&page).await;
    for person in [&alice, &bob] {
        person.expect_video().await;
        person.expect_audio().await;
    }
    alice.click("#hangup").await;
    bob.events_to("onCallEnd").await;

    // Secrets were made, and nobody else may read them.
    let data = site.path().join("data");
    let files: Vec<_> =
        fs::read_dir(&data).expect("the data folder").map(|entry| entry.expect("an entry").path()).collect();
    assert!(!files.is_empty());
    for file in files.iter().filter(|path| path.is_file()) {
        let mode = file.metadata().expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", file.display());
    }
    let status = server.stop().await;
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn two_makes_of_browser_see_and_hear_each_other() {
    let _turn = turn().await;
    let network = Network::lay(1);
    let site = Site::new(&[]);
    let server = network.serve(&site).await;
    let page = server.page();
    let (alice, bob) = tokio::join!(Browser::open(&page, "alice"), Browser::open_in(Make::Firefox, &page, "bob"));
    alice.call("bob", "#call-video").await;
    bob.click("#accept").await;
    for (person, other) in [(&alice, "bob"), (&bob, "alice")] {
        person.expect_video().await;
        person.expect_audio().await;
        person.expect_tile(other, "tile.dataset.video === 'on' && Number(tile.dataset.volume) > 0").await;
    }
    // Nothing that one of them cannot decode is ever sent: every frame that came was shown.
    bob.click("#hangup").await;
    alice.events_to("onCallEnd").await;
}
