//! Tickets through the whole server: those that run out, and those that narrow what a client may do.

use serde_json::{Value, json};

use crate::rpc::Client;
use crate::server::{Server, Site};

const APP: u32 = 1_400_000_001;

async fn log_in(server: &Server, user: &str, ticket: &str) -> Client {
    let mut client = Client::connect(server).await;
    client.ask("login", json!({"sdkAppId": APP, "userId": user, "userSig": ticket})).await;
    client
}

#[tokio::test]
async fn a_ticket_that_runs_out_is_told_may_be_renewed_and_ends_the_session_otherwise() {
    // Seconds enough for a slow machine to make a ticket and bring it: a ticket's times are whole seconds, so one of 4 may last for 3.
    let site = Site::new(&[]).set("calls.renew_grace=6s");
    let server = site.serve().await;
    let mut alice = log_in(&server, "alice", &site.ticket_for("alice", 4)).await;
    assert_eq!(alice.expect_callless("onUserSigExpired").await, json!({}));
    for (ticket, code) in [("nonsense".to_owned(), 70003), (site.ticket("bob"), 70013)] {
        assert_eq!(alice.refused("renewUserSig", json!({"userSig": ticket})).await.code, code);
    }
    let renewed = alice.ask("renewUserSig", json!({"userSig": site.ticket_for("alice", 4)})).await;
    assert_eq!(renewed, json!({}));
    assert_eq!(alice.expect_callless("onUserSigExpired").await, json!({}), "the next one runs out, too");
    assert_eq!(alice.expect_closed().await, Some(4002));
    let mut late = Client::connect(&server).await;
    let stale = site.ticket_for("alice", 0);
    let refused = late.refused("login", json!({"sdkAppId": APP, "userId": "alice", "userSig": stale})).await;
    assert_eq!((refused.code, refused.name.as_str()), (70001, "userSigExpired"));
}

/// The sum of what a PrivateMapKey allows.
const CREATE: u32 = 1;
const ENTER: u32 = 2;
const SEND_AUDIO: u32 = 4;

#[tokio::test]
async fn a_key_to_a_room_opens_that_room_for_what_it_allows() {
    let site = Site::new(&[]);
    let server = site.serve().await;
    let key = |user: &str, room: &str, privilege: u32| {
        site.ticket_with(user, &["--room", room, "--privilege", &privilege.to_string()])
    };
    let join = |room: Value| json!({"roomId": room});
    let meeting = || json!({"strRoomId": "meeting"});

    let mut nobody = log_in(&server, "nobody", &key("nobody", "meeting", SEND_AUDIO)).await;
    assert_eq!(nobody.refused("join", join(meeting())).await.code, 20007, "may not even enter");
    let mut guest = log_in(&server, "guest", &key("guest", "meeting", ENTER | SEND_AUDIO)).await;
    let refused = guest.refused("join", join(meeting())).await;
    assert_eq!((refused.code, refused.name.as_str()), (20007, "blocked"), "may not make it");
    let mut host = log_in(&server, "host", &key("host", "meeting", 255)).await;
    assert_eq!(host.refused("join", join(json!({"strRoomId": "other"}))).await.code, 20007);
    assert_eq!(host.refused("join", join(json!({"intRoomId": 7}))).await.code, 20007);
    let call = host.ask("join", join(meeting())).await["callId"].as_str().expect("a call id").to_owned();
    host.expect_all(&call, &["onCallBegin"]).await;
    guest.ask("join", join(meeting())).await;
    guest.expect_all(&call, &["onCallBegin", "onUserJoin host"]).await;
    let mute = |source: &str, muted: bool| json!({"callId": call, "source": source, "muted": muted});
    assert_eq!(guest.refused("mute", mute("camera", false)).await.code, 20007);
    guest.ask("mute", mute("microphone", true)).await;
    guest.ask("mute", mute("microphone", false)).await;

    // A call to someone whose key is for another room, and from them.
    let mut alice = Client::log_in(&server, &site, "alice").await;
    let mut bob = log_in(&server, "bob", &key("bob", "42", CREATE | ENTER)).await;
    let placed = alice.ask("call", json!({"userIdList": ["bob"], "callMediaType": 0})).await;
    let ring = placed["callId"].as_str().expect("a call id").to_owned();
    bob.expect_all(&ring, &["onCallReceived"]).await;
    assert_eq!(bob.refused("accept", json!({"callId": ring})).await.code, 20007);
    bob.ask("reject", json!({"callId": ring})).await;
    bob.expect_all(&ring, &["onCallCancelled"]).await;
    assert_eq!(bob.refused("call", json!({"userIdList": ["alice"], "callMediaType": 0})).await.code, 20007);
    let in_its_room = json!({"userIdList": ["alice"], "callMediaType": 0, "roomId": {"intRoomId": 42}});
    bob.ask("call", in_its_room).await;
}
