//! Connections break; calls and what is told of them do not.

use serde_json::json;

use crate::backend::{Backend, names};
use crate::rpc::Client;
use crate::server::Site;

#[tokio::test]
async fn who_comes_back_gets_what_was_missed_in_order() {
    let backend = Backend::start().await;
    let site = Site::new(&[&backend]);
    let server = site.serve().await;
    let mut alice = Client::log_in(&server, &site, "alice").await;
    let mut bob = Client::log_in(&server, &site, "bob").await;
    let placed = alice.ask("call", json!({"userIdList": ["bob"], "callMediaType": 1})).await;
    let call = placed["callId"].as_str().expect("a call id").to_owned();
    bob.expect_all(&call, &["onCallReceived"]).await;

    let session = alice.session.clone();
    let token = alice.vanish().await;
    bob.ask("accept", json!({"callId": call})).await;
    bob.expect_all(&call, &["onCallBegin", "onUserJoin alice"]).await;

    let mut alice = Client::resume(&server, &site, "alice", &token).await;
    assert_eq!(alice.session, session);
    assert_eq!(alice.calls[0]["callId"], call.as_str());
    alice.expect_all(&call, &["onUserJoin bob", "onCallBegin"]).await;

    // Twice over, and what was had before does not come again.
    let token = alice.vanish().await;
    bob.ask("hangup", json!({"callId": call})).await;
    bob.expect_all(&call, &["onCallEnd"]).await;
    let mut alice = Client::resume(&server, &site, "alice", &token).await;
    assert_eq!(alice.calls, json!([]));
    alice.expect_all(&call, &["onUserLeave bob", "onCallEnd"]).await;
    alice.expect_nothing_more().await;
    bob.expect_nothing_more().await;
    let stream = backend.whole_call(&call).await;
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
async fn who_does_not_come_back_in_time_leaves_the_call() {
    let backend = Backend::start().await;
    let site = Site::new(&[&backend]).set("calls.resume_timeout=1s");
    let server = site.serve().await;
    let mut alice = Client::log_in(&server, &site, "alice").await;
    let mut bob = Client::log_in(&server, &site, "bob").await;
    let placed = alice.ask("call", json!({"userIdList": ["bob"], "callMediaType": 1})).await;
    let call = placed["callId"].as_str().expect("a call id").to_owned();
    bob.expect_all(&call, &["onCallReceived"]).await;
    bob.ask("accept", json!({"callId": call})).await;
    bob.expect_all(&call, &["onCallBegin", "onUserJoin alice"]).await;
    alice.vanish().await;
    bob.expect_all(&call, &["onUserLeave alice", "onCallEnd"]).await;
    bob.expect_nothing_more().await;
    let stream = backend.whole_call(&call).await;
    assert_eq!(stream.last().expect("an end").data["reason"], "offline");
}

#[tokio::test]
async fn a_token_does_not_open_another_users_session() {
    let site = Site::new(&[]);
    let server = site.serve().await;
    let alice = Client::log_in(&server, &site, "alice").await;
    let (session, token) = (alice.session.clone(), alice.resume_token.clone());
    let mallory = Client::resume(&server, &site, "mallory", &token).await;
    assert_ne!(mallory.session, session);
}
