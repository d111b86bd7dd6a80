//! Webhooks when things go wrong: receivers that hang or refuse, a server that stops or is killed.

use axum::http::StatusCode;
use serde_json::json;

use crate::backend::{Answer, Backend, names};
use crate::rpc::Client;
use crate::server::{Server, Site};

pub const CANCELLED: [&str; 2] = ["onCallReceived", "onCallCancelled"];

/// alice calls someone and thinks better of it.
pub async fn cancelled_call(server: &Server, site: &Site) -> String {
    let mut alice = Client::log_in(server, site, "alice").await;
    let placed = alice.ask("call", json!({"userIdList": ["bob"], "callMediaType": 0})).await;
    let call = placed["callId"].as_str().expect("a call id").to_owned();
    alice.ask("hangup", json!({"callId": call})).await;
    alice.expect_all(&call, &["onCallCancelled"]).await;
    call
}

#[tokio::test]
async fn a_hanging_endpoint_delays_no_other() {
    let (hanging, healthy) = (Backend::start().await, Backend::start().await);
    hanging.answer(Answer::Hang);
    let site = Site::new(&[&hanging, &healthy]);
    let server = site.serve().await;
    let first = cancelled_call(&server, &site).await;
    hanging.wait_for_attempt("onCallReceived").await;
    assert_eq!(names(&healthy.whole_call(&first).await), CANCELLED);
    let second = cancelled_call(&server, &site).await;
    assert_eq!(names(&healthy.whole_call(&second).await), CANCELLED);
}

#[tokio::test]
async fn what_an_endpoint_refuses_comes_again_in_order() {
    for status in
        [StatusCode::UNAUTHORIZED, StatusCode::NOT_FOUND, StatusCode::INTERNAL_SERVER_ERROR, StatusCode::FOUND]
    {
        let backend = Backend::start().await;
        backend.answer(Answer::Refuse(status));
        let site = Site::new(&[&backend]);
        let server = site.serve().await;
        let call = cancelled_call(&server, &site).await;
        backend.wait_for_attempt("onCallReceived").await;
        backend.answer(Answer::Accept);
        assert_eq!(names(&backend.whole_call(&call).await), CANCELLED, "{status}");
    }
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_in_time_is_asked_again() {
    let backend = Backend::start().await;
    backend.answer(Answer::Hang);
    let site = Site::new(&[&backend]).set("webhooks.timeout=500ms");
    let server = site.serve().await;
    let call = cancelled_call(&server, &site).await;
    backend.wait_for_attempt("onCallReceived").await;
    backend.answer(Answer::Accept);
    assert_eq!(names(&backend.whole_call(&call).await), CANCELLED);
}

#[tokio::test]
async fn what_was_pending_when_the_server_stopped_is_delivered_by_the_next() {
    let backend = Backend::start().await;
    backend.answer(Answer::Refuse(StatusCode::SERVICE_UNAVAILABLE));
    let site = Site::new(&[&backend]);
    let server = site.serve().await;
    let call = cancelled_call(&server, &site).await;
    backend.wait_for_attempt("onCallReceived").await;
    let status = server.stop().await;
    assert!(status.success(), "{status}");
    backend.answer(Answer::Accept);
    let _server = site.serve().await;
    assert_eq!(names(&backend.whole_call(&call).await), CANCELLED);
}

#[tokio::test]
async fn what_was_pending_when_the_server_was_killed_is_delivered_by_the_next() {
    let backend = Backend::start().await;
    backend.answer(Answer::Refuse(StatusCode::SERVICE_UNAVAILABLE));
    let site = Site::new(&[&backend]);
    let server = site.serve().await;
    // The caller was told that it is over: so it is stored.
    let call = cancelled_call(&server, &site).await;
    server.kill().await;
    backend.answer(Answer::Accept);
    let _server = site.serve().await;
    assert_eq!(names(&backend.whole_call(&call).await), CANCELLED);
}

#[tokio::test]
async fn a_call_that_was_open_when_the_server_was_killed_is_reported_as_ended() {
    let backend = Backend::start().await;
    let site = Site::new(&[&backend]).set("calls.resume_timeout=1s");
    let server = site.serve().await;
    let mut alice = Client::log_in(&server, &site, "alice").await;
    let mut bob = Client::log_in(&server, &site, "bob").await;
    let placed = alice.ask("call", json!({"userIdList": ["bob"], "callMediaType": 1})).await;
    let call = placed["callId"].as_str().expect("a call id").to_owned();
    bob.expect_all(&call, &["onCallReceived"]).await;
    bob.ask("accept", json!({"callId": call})).await;
    alice.expect_all(&call, &["onUserJoin bob", "onCallBegin"]).await;
    server.kill().await;
    let _server = site.serve().await;
    let stream = backend.whole_call(&call).await;
    let names = names(&stream);
    assert_eq!(names[..4], ["onCallReceived", "onCallBegin", "onUserJoin alice", "onUserJoin bob"]);
    let mut leaving = names[4..6].to_vec();
    leaving.sort();
    assert_eq!(leaving, ["onUserLeave alice", "onUserLeave bob"]);
    assert_eq!(names[6..], ["onCallEnd"]);
    assert_eq!(stream[6].data["inferred"], true);
    assert_eq!(stream[6].data["reason"], "nodeLost");
}
