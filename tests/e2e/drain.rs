//! A server that is told to stop: it takes no new calls, waits for those that go on, and loses nothing.

use serde_json::{Value, json};

use crate::backend::{Backend, names};
use crate::rpc::{Client, Refused};
use crate::server::{Server, Site};

/// alice and bob in a call that goes on.
struct Talk {
    alice: Client,
    bob: Client,
    call: String,
}

impl Talk {
    async fn begin(server: &Server, site: &Site) -> Self {
        let mut alice = Client::log_in(server, site, "alice").await;
        let mut bob = Client::log_in(server, site, "bob").await;
        let placed = alice.ask("call", json!({"userIdList": ["bob"], "callMediaType": 0})).await;
        let call = placed["callId"].as_str().expect("a call id").to_owned();
        bob.expect_all(&call, &["onCallReceived"]).await;
        bob.ask("accept", json!({"callId": call})).await;
        bob.expect_all(&call, &["onCallBegin", "onUserJoin alice"]).await;
        alice.expect_all(&call, &["onUserJoin bob", "onCallBegin"]).await;
        Self { alice, bob, call }
    }

    async fn expect_stopping(&mut self, seconds: std::ops::RangeInclusive<u64>) {
        for client in [&mut self.alice, &mut self.bob] {
            expect_stopping(client, seconds.clone()).await;
        }
    }
}

async fn expect_stopping(client: &mut Client, seconds: std::ops::RangeInclusive<u64>) {
    let told = client.expect_callless("serverStopping").await;
    assert!(told["seconds"].as_u64().is_some_and(|told| seconds.contains(&told)), "{told}");
}

fn reasons(stream: &[crate::backend::Envelope]) -> Vec<&Value> {
    stream.iter().filter(|envelope| envelope.kind == "onCallEnd").map(|envelope| &envelope.data["reason"]).collect()
}

async fn status(address: std::net::SocketAddr, path: &str) -> u16 {
    reqwest::get(format!("http://{address}{path}")).await.expect("an answer").status().as_u16()
}

#[tokio::test]
async fn a_stopping_server_takes_no_new_calls_and_waits_for_the_open_one() {
    let backend = Backend::start().await;
    let site = Site::new(&[&backend]).set("drain.timeout=1h");
    let server = site.serve().await;
    let mut talk = Talk::begin(&server, &site).await;
    let mut carol = Client::log_in(&server, &site, "carol").await;
    server.send(libc::SIGTERM);
    talk.expect_stopping(3599..=3600).await;
    expect_stopping(&mut carol, 3599..=3600).await;

    assert_eq!((status(server.public(), "/healthz").await, status(server.public(), "/readyz").await), (200, 503));
    let unavailable = Refused { code: -1207, name: "unavailable".into() };
    assert_eq!(carol.refused("call", json!({"userIdList": ["dave"], "callMediaType": 0})).await, unavailable);
    assert_eq!(carol.refused("join", json!({"roomId": {"strRoomId": "new"}})).await, unavailable);
    // Who comes now may still take part, and is told.
    let mut dave = Client::log_in(&server, &site, "dave").await;
    expect_stopping(&mut dave, 1..=3600).await;

    talk.alice.ask("hangup", json!({"callId": talk.call})).await;
    talk.alice.expect_all(&talk.call, &["onCallEnd"]).await;
    talk.bob.expect_all(&talk.call, &["onUserLeave alice", "onCallEnd"]).await;
    for client in [&mut talk.alice, &mut talk.bob, &mut carol, &mut dave] {
        assert_eq!(client.expect_closed().await, Some(1012));
    }
    let status = server.ended().await;
    assert!(status.success(), "{status}");
    // Not by the next start: there is none.
    let stream = backend.whole_call(&talk.call).await;
    assert_eq!(reasons(&stream), ["hangup"]);
}

#[tokio::test]
async fn a_call_still_open_at_the_deadline_goes_on_after_the_next_start() {
    let backend = Backend::start().await;
    let site = Site::new(&[&backend]).set("drain.timeout=100ms");
    let server = site.serve().await;
    let mut talk = Talk::begin(&server, &site).await;
    server.send(libc::SIGTERM);
    talk.expect_stopping(0..=0).await;
    assert_eq!(talk.alice.expect_closed().await, Some(1012));
    assert_eq!(talk.bob.expect_closed().await, Some(1012));
    let status = server.ended().await;
    assert!(status.success(), "{status}");

    let server = site.serve().await;
    let mut alice = Client::resume(&server, &site, "alice", &talk.alice.resume_token).await;
    let mut bob = Client::resume(&server, &site, "bob", &talk.bob.resume_token).await;
    assert_eq!((&alice.session, &bob.session), (&talk.alice.session, &talk.bob.session));
    assert_eq!(alice.calls[0]["callId"], talk.call.as_str());
    bob.ask("hangup", json!({"callId": talk.call})).await;
    bob.expect_all(&talk.call, &["onCallEnd"]).await;
    alice.expect_all(&talk.call, &["onUserLeave bob", "onCallEnd"]).await;
    let stream = backend.whole_call(&talk.call).await;
    assert_eq!(
        names(&stream),
        [
            "onCallReceived",
            "onCallBegin",
            "onUserJoin alice",
            "onUserJoin bob",
            "onUserLeave bob",
            "onUserLeave alice",
            "onCallEnd",
        ]
    );
}

#[tokio::test]
async fn a_server_that_will_not_come_back_ends_its_calls() {
    let backend = Backend::start().await;
    let site = Site::new(&[&backend]).set("drain.timeout=0s").set("drain.open_calls=end");
    let server = site.serve().await;
    let mut talk = Talk::begin(&server, &site).await;
    server.send(libc::SIGTERM);
    talk.expect_stopping(0..=0).await;
    for client in [&mut talk.alice, &mut talk.bob] {
        client.expect_all(&talk.call, &["onCallEnd"]).await;
        assert_eq!(client.expect_closed().await, Some(1012));
    }
    let status = server.ended().await;
    assert!(status.success(), "{status}");
    let stream = backend.whole_call(&talk.call).await;
    assert_eq!(reasons(&stream), ["nodeLost"]);
    assert_eq!(stream.last().expect("an end").data["inferred"], Value::Null, "it was there");
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let site = Site::new(&[]).set("drain.timeout=1h");
    let server = site.serve().await;
    let mut talk = Talk::begin(&server, &site).await;
    server.send(libc::SIGINT);
    talk.expect_stopping(3599..=3600).await;
    server.send(libc::SIGINT);
    assert_eq!(talk.alice.expect_closed().await, Some(1012));
    let status = server.ended().await;
    assert!(status.success(), "{status}");
}

/// What systemd hears of a unit with Type=notify.
#[tokio::test]
async fn a_service_manager_hears_when_it_is_ready_and_when_it_stops() {
    let site = Site::new(&[]);
    let address = site.path().join("notify");
    let manager = tokio::net::UnixDatagram::bind(&address).expect("a socket");
    let hear = async || {
        let mut buffer = [0; 256];
        let length = tokio::time::timeout(crate::DEADLINE, manager.recv(&mut buffer)).await.expect("in time");
        String::from_utf8_lossy(&buffer[..length.expect("it is said")]).into_owned()
    };
    let server = site.serve_for(&address).await;
    assert_eq!(hear().await.trim(), "READY=1");
    assert_eq!(status(server.public(), "/readyz").await, 200);
    server.send(libc::SIGTERM);
    assert!(hear().await.starts_with("STOPPING=1"));
    assert!(server.ended().await.success());
}
