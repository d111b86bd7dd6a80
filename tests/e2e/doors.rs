//! Calls of two as clients without a browser live them, and what the backend hears: every flow with its exact events.

use serde_json::{Value, json};

use crate::backend::{Backend, Envelope, names};
use crate::rpc::Client;
use crate::server::{Server, Site};

/// A server with a backend, and two users who are logged in.
struct Scene {
    backend: Backend,
    site: Site,
    server: Server,
    alice: Client,
    bob: Client,
}

impl Scene {
    async fn set() -> Self {
        let backend = Backend::start().await;
        let site = Site::new(&[&backend]);
        let server = site.serve().await;
        let alice = Client::log_in(&server, &site, "alice").await;
        let bob = Client::log_in(&server, &site, "bob").await;
        Self { backend, site, server, alice, bob }
    }

    /// alice calls bob, whose phone rings.
    async fn ring(&mut self) -> (String, Value) {
        let (call, room) =
            place(&mut self.alice, json!({"userIdList": ["bob"], "callMediaType": 1, "userData": "x"})).await;
        let received = self.bob.expect("onCallReceived", &call).await;
        assert_eq!(
            received,
            json!({
                "callerId": "alice",
                "calleeIdList": ["bob"],
                "groupId": "",
                "callMediaType": 1,
                "userData": "x",
            })
        );
        (call, room)
    }

    /// alice calls bob, who accepts.
    async fn talk(&mut self) -> (String, Value) {
        let (call, room) = self.ring().await;
        let entered = self.bob.ask("accept", json!({"callId": call})).await;
        assert_eq!(entered["roomId"], room);
        let begin = |role: u8| json!({"roomId": room, "callMediaType": 1, "callRole": role});
        assert_eq!(self.alice.expect("onUserJoin", &call).await, json!({"userId": "bob"}));
        assert_eq!(self.alice.expect("onCallBegin", &call).await, begin(1));
        assert_eq!(self.bob.expect("onCallBegin", &call).await, begin(2));
        assert_eq!(self.bob.expect("onUserJoin", &call).await, json!({"userId": "alice"}));
        (call, room)
    }

    /// Neither client was told anything else; the backend's stream of the call has exactly these names.
    async fn expect_stream(&mut self, call: &str, expected: &[&str]) -> Vec<Envelope> {
        let stream = self.backend.whole_call(call).await;
        assert_eq!(names(&stream), expected);
        self.alice.expect_nothing_more().await;
        self.bob.expect_nothing_more().await;
        stream
    }
}

/// The placed call's id and room.
async fn place(caller: &mut Client, params: Value) -> (String, Value) {
    let placed = caller.ask("call", params).await;
    let call = placed["callId"].as_str().expect("a call id").to_owned();
    let room = placed["roomId"].clone();
    assert!(room["intRoomId"].as_u64().is_some_and(|number| number > 0), "{room}");
    assert_eq!(room["strRoomId"], "");
    (call, room)
}

fn total_time(payload: &Value) -> u64 {
    payload["totalTime"].as_u64().unwrap_or_else(|| panic!("totalTime is whole seconds: {payload}"))
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
async fn a_call_is_told_from_ring_to_hang_up() {
    let mut scene = Scene::set().await;
    let (call, room) = scene.talk().await;
    assert_eq!(scene.alice.ask("hangup", json!({"callId": call})).await, json!({}));

    let for_alice = scene.alice.expect("onCallEnd", &call).await;
    let seconds = total_time(&for_alice);
    assert_eq!(for_alice, json!({"roomId": room, "callMediaType": 1, "callRole": 1, "totalTime": seconds}));
    assert_eq!(scene.bob.expect("onUserLeave", &call).await, json!({"userId": "alice"}));
    let for_bob = scene.bob.expect("onCallEnd", &call).await;
    let seconds = total_time(&for_bob);
    assert_eq!(for_bob, json!({"roomId": room, "callMediaType": 1, "callRole": 2, "totalTime": seconds}));

    let stream = scene.expect_stream(&call, &WHOLE_CALL).await;
    let (begin, end) = (&stream[1].data, &stream[6].data);
    for data in [begin, end] {
        assert_eq!(data["callerId"], "alice");
        assert_eq!(data["calleeIdList"], json!(["bob"]));
        assert_eq!(data["roomId"], room);
        assert_eq!(data["callMediaType"], 1);
    }
    assert_eq!(end["reason"], "hangup");
    total_time(end);
    let participants = end["participants"].as_array().expect("participants");
    let users: Vec<&Value> = participants.iter().map(|participant| &participant["userId"]).collect();
    assert_eq!(users, ["alice", "bob"]);
    for participant in participants {
        assert!(participant["joinedAt"].is_string() && participant["leftAt"].is_string(), "{participant}");
    }
    assert!(end.get("inferred").is_none(), "{end}");
}

#[tokio::test]
async fn the_callee_may_hang_up_too() {
    let mut scene = Scene::set().await;
    let (call, _) = scene.talk().await;
    scene.bob.ask("hangup", json!({"callId": call})).await;
    scene.bob.expect_all(&call, &["onCallEnd"]).await;
    scene.alice.expect_all(&call, &["onUserLeave bob", "onCallEnd"]).await;
    let mut expected = WHOLE_CALL;
    expected.swap(4, 5);
    scene.expect_stream(&call, &expected).await;
}

#[tokio::test]
async fn the_caller_may_cancel() {
    let mut scene = Scene::set().await;
    let (call, _) = scene.ring().await;
    scene.alice.ask("hangup", json!({"callId": call})).await;
    assert_eq!(scene.alice.expect("onCallCancelled", &call).await, json!({"callerId": "alice"}));
    assert_eq!(scene.bob.expect("onCallCancelled", &call).await, json!({"callerId": "alice"}));
    let stream = scene.expect_stream(&call, &["onCallReceived", "onCallCancelled"]).await;
    assert_eq!(stream[1].data["reason"], "cancelled");
    // What is over cannot be answered.
    let late = scene.bob.refused("accept", json!({"callId": call})).await;
    assert_eq!((late.code, late.name.as_str()), (-1203, "refusedInThisState"));
}

#[tokio::test]
async fn a_callee_may_reject() {
    let mut scene = Scene::set().await;
    let (call, _) = scene.ring().await;
    scene.bob.ask("reject", json!({"callId": call})).await;
    assert_eq!(scene.alice.expect("onUserReject", &call).await, json!({"userId": "bob"}));
    assert_eq!(scene.alice.expect("onCallCancelled", &call).await, json!({"callerId": "alice"}));
    scene.bob.expect_all(&call, &["onCallCancelled"]).await;
    let stream = scene.expect_stream(&call, &["onCallReceived", "onUserReject bob", "onCallCancelled"]).await;
    assert_eq!(stream[2].data["reason"], "reject");
    assert_eq!(stream[2].data["outcomes"], json!({"bob": "reject"}));
}

#[tokio::test]
async fn silence_ends_the_ringing_in_time() {
    let mut scene = Scene::set().await;
    let params = json!({"userIdList": ["bob"], "callMediaType": 0, "timeout": 1});
    let (call, _) = place(&mut scene.alice, params).await;
    scene.bob.expect_all(&call, &["onCallReceived", "onCallCancelled"]).await;
    scene.alice.expect_all(&call, &["onUserNoResponse bob", "onCallCancelled"]).await;
    let stream = scene.expect_stream(&call, &["onCallReceived", "onUserNoResponse bob", "onCallCancelled"]).await;
    assert_eq!(stream[2].data["reason"], "noResponse");
}

#[tokio::test]
async fn who_is_in_a_call_is_busy_and_hears_nothing_of_it() {
    let mut scene = Scene::set().await;
    let mut carol = Client::log_in(&scene.server, &scene.site, "carol").await;
    let (first, _) = scene.talk().await;
    let (second, _) = place(&mut carol, json!({"userIdList": ["bob"], "callMediaType": 0})).await;
    carol.expect_all(&second, &["onUserLineBusy bob", "onCallCancelled"]).await;
    carol.expect_nothing_more().await;
    let stream = scene.expect_stream(&second, &["onCallReceived", "onUserLineBusy bob", "onCallCancelled"]).await;
    assert_eq!(stream[2].data["reason"], "lineBusy");
    // Nobody calls while in a call.
    let again = scene.bob.refused("call", json!({"userIdList": ["carol"], "callMediaType": 0})).await;
    assert_eq!(again.code, -1203);
    scene.alice.ask("hangup", json!({"callId": first})).await;
    scene.backend.whole_call(&first).await;
}

#[tokio::test]
async fn a_second_log_in_takes_the_users_place() {
    let mut scene = Scene::set().await;
    let mut newer = Client::log_in(&scene.server, &scene.site, "bob").await;
    assert_eq!(scene.bob.expect_callless("onKickedOffline").await, json!({}));
    assert_eq!(scene.bob.expect_closed().await, Some(4001));
    let (call, _) = place(&mut scene.alice, json!({"userIdList": ["bob"], "callMediaType": 0})).await;
    newer.expect_all(&call, &["onCallReceived"]).await;
}

#[tokio::test]
async fn a_user_who_logs_in_while_rung_for_learns_of_the_call() {
    let backend = Backend::start().await;
    let site = Site::new(&[&backend]);
    let server = site.serve().await;
    let mut alice = Client::log_in(&server, &site, "alice").await;
    let (call, _) = place(&mut alice, json!({"userIdList": ["bob"], "callMediaType": 0})).await;
    let mut bob = Client::log_in(&server, &site, "bob").await;
    assert_eq!(bob.calls[0]["callId"], call.as_str());
    assert_eq!(bob.calls[0]["ringing"], true);
    bob.ask("accept", json!({"callId": call})).await;
    bob.expect_all(&call, &["onCallBegin", "onUserJoin alice"]).await;
    alice.expect_all(&call, &["onUserJoin bob", "onCallBegin"]).await;
}

#[tokio::test]
async fn malformed_frames_are_answered_and_harm_nobody() {
    let mut scene = Scene::set().await;
    let (call, _) = scene.talk().await;
    for (frame, id, code) in [
        ("{", Value::Null, -32700),
        ("\u{0}", Value::Null, -32700),
        ("[]", Value::Null, -32600),
        ("42", Value::Null, -32600),
        (r#"{"method":"ping","id":7}"#, json!(7), -32600),
        (r#"{"jsonrpc":"2.0","method":"ping","params":{}}"#, Value::Null, -32600),
    ] {
        scene.bob.send(frame.to_owned()).await;
        assert_eq!(scene.bob.reply(id).await["error"]["code"], code, "{frame}");
    }
    for (method, params, code) in [
        ("dance", json!({}), -32601),
        ("hangup", json!({"callId": call, "why": "bored"}), -32602),
        ("hangup", json!({}), -32602),
        ("hangup", json!({"callId": "call_1"}), -32602),
        ("hangup", json!({"callId": 1}), -32602),
        ("hangup", json!([call]), -32602),
        ("call", json!({"userIdList": ["b b"], "callMediaType": 1}), -32602),
        ("call", json!({"userIdList": ["carol"], "callMediaType": 7}), -32602),
        ("call", json!({"userIdList": ["carol"], "callMediaType": 1, "roomId": {"intRoomId": -1}}), -32602),
        ("mute", json!({"callId": call, "source": "nose", "muted": true}), -32602),
    ] {
        assert_eq!(scene.bob.refused(method, params.clone()).await.code, code, "{method} {params}");
    }
    let huge = scene.bob.refused("offer", json!({"callId": call, "sdp": "v=0\r\nnonsense", "sources": {}})).await;
    assert_ne!(huge.code, 0);
    scene.bob.ask("ping", json!({})).await;
    scene.alice.ask("hangup", json!({"callId": call})).await;
    scene.alice.expect_all(&call, &["onCallEnd"]).await;
    assert_eq!(names(&scene.backend.whole_call(&call).await), WHOLE_CALL);
}

#[tokio::test]
async fn a_frame_that_is_too_long_ends_that_connection_alone() {
    let mut scene = Scene::set().await;
    scene
        .bob
        .send(format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"x":"{}"}}}}"#, "x".repeat(70_000)))
        .await;
    scene.bob.expect_closed().await;
    scene.alice.ask("ping", json!({})).await;
    scene.alice.expect_nothing_more().await;
}

#[tokio::test]
async fn bad_tickets_are_refused_by_number_and_name() {
    let site = Site::new(&[]);
    let server = site.serve().await;
    let good = site.ticket("alice");
    let other_key = Site::new(&[]).ticket("alice");
    let app = 1_400_000_001u32;
    for (app, user, ticket, code, name) in [
        (app, "alice", "", 70003, "userSigInvalid"),
        (app, "alice", "nonsense", 70003, "userSigInvalid"),
        (app, "alice", &good[..good.len() / 2], 70003, "userSigInvalid"),
        (app, "alice", &"e".repeat(60_000), 70003, "userSigInvalid"),
        (app, "alice", &other_key, 70009, "userSigWrongKey"),
        (app, "bob", &good, 70013, "userMismatch"),
        (app + 1, "alice", &good, 70014, "sdkAppIdMismatch"),
    ] {
        let mut client = Client::connect(&server).await;
        let first = client.refused("call", json!({"userIdList": ["bob"], "callMediaType": 0})).await;
        assert_eq!(first.code, -1201, "nothing goes before the log-in");
        let params = json!({"sdkAppId": app, "userId": user, "userSig": ticket});
        let refused = client.refused("login", params).await;
        assert_eq!((refused.code, refused.name.as_str()), (code, name), "{user} {ticket:.40}");
        // The connection may try again.
        client.ask("login", json!({"sdkAppId": 1_400_000_001u32, "userId": "alice", "userSig": good})).await;
    }
}
