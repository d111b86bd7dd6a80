//! A disk that is full: nothing false is told, new calls are refused, those that go on do, and all is well again with room.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use serde_json::json;

use crate::DEADLINE;
use crate::api::{Caller, fail};
use crate::backend::{Backend, names};
use crate::rpc::Client;
use crate::server::{Server, Site};

/// Room for a record and little else.
const SIZE: &str = "8m";

async fn wait_for_readiness(server: &Server, status: StatusCode) {
    let begun = Instant::now();
    loop {
        let ready = reqwest::get(format!("http://{}/readyz", server.public())).await.expect("an answer").status();
        if ready.as_u16() == status.as_u16() {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "/readyz stays {ready}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// So many calls, one after the other. Does not return when one is not answered, or refused: delivery, too, finds that the disk is full.
async fn make_calls(caller: &mut Client, number: usize) {
    for _ in 0..number {
        let body = json!({"userIdList": ["dave"], "callMediaType": 0, "userData": "x".repeat(4096)});
        let placed = caller.request("call", body).await;
        if placed["error"]["code"] == -1207 {
            return std::future::pending().await;
        }
        caller.ask("hangup", json!({"callId": placed["result"]["callId"]})).await;
    }
}

/// Whether this machine lets the test mount a file system of its own. In CI it must.
fn may_mount() -> bool {
    let tried = Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).output();
    let may = tried.is_ok_and(|output| output.status.success());
    assert!(may || std::env::var_os("CI").is_none(), "CI runs as root, which may mount");
    may
}

#[tokio::test]
async fn a_full_disk_tells_nothing_false_and_with_room_all_goes_on() {
    if !may_mount() {
        eprintln!("left out: this user may not mount a file system");
        return;
    }
    let backend = Backend::start().await;
    let site = Site::new(&[&backend]);
    fs::create_dir(site.path().join("data")).expect("a folder");
    let server = site.serve_in_small_data_folder(SIZE).await;
    // As the server sees it: its mount is its own.
    let filler = PathBuf::from(format!("/proc/{}/root{}", server.pid(), site.path().join("data/filler").display()));
    let (mut alice, mut bob) =
        (Client::log_in(&server, &site, "alice").await, Client::log_in(&server, &site, "bob").await);
    let (mut carol, mut erin) =
        (Client::log_in(&server, &site, "carol").await, Client::log_in(&server, &site, "erin").await);
    let placed = alice.ask("call", json!({"userIdList": ["bob"], "callMediaType": 0})).await;
    let call = placed["callId"].as_str().expect("a call id").to_owned();
    bob.expect_all(&call, &["onCallReceived"]).await;
    bob.ask("accept", json!({"callId": call})).await;
    alice.expect_all(&call, &["onUserJoin bob", "onCallBegin"]).await;
    bob.expect_all(&call, &["onCallBegin", "onUserJoin alice"]).await;

    // Fills what is left, whole pages and the rest; then calls need what is not there.
    let full = std::io::copy(&mut std::io::repeat(7), &mut fs::File::create(&filler).expect("a file"));
    assert!(full.is_err_and(|error| error.kind() == std::io::ErrorKind::StorageFull));
    tokio::select! {
        () = wait_for_readiness(&server, StatusCode::SERVICE_UNAVAILABLE) => {}
        () = make_calls(&mut carol, 2000) => panic!("the disk takes everything"),
    }
    // What cannot be stored is not answered: not before what is asked after it and refused at once.
    let hangup = json!({"jsonrpc": "2.0", "id": "hangup", "method": "hangup", "params": {"callId": call}});
    alice.send(hangup.to_string()).await;
    alice.refused("call", json!({"userIdList": ["frank"], "callMediaType": 0})).await;
    let refused = erin.refused("call", json!({"userIdList": ["frank"], "callMediaType": 0})).await;
    assert_eq!((refused.code, refused.name.as_str()), (-1207, "unavailable"));
    let caller = Caller::new_with(&server, "known key");
    let body = json!({"callerId": "erin", "userIdList": ["frank"], "callMediaType": 0});
    assert_eq!(fail(caller.post("/v1/calls", &body)).await, (503, "unavailable".into()));
    let endpoint = json!({"url": "https://a.example/"});
    assert_eq!(fail(caller.post("/v1/webhooks", &endpoint)).await, (503, "unavailable".into()));
    bob.expect_nothing_more().await;

    fs::remove_file(&filler).expect("there is room again");
    wait_for_readiness(&server, StatusCode::OK).await;
    assert_eq!(alice.reply(json!("hangup")).await["result"], json!({}));
    assert_eq!(names(&backend.whole_call(&call).await).last().map(String::as_str), Some("onCallEnd"));
    erin.ask("call", json!({"userIdList": ["frank"], "callMediaType": 0})).await;
    assert_eq!(
        caller.get("/v1/webhooks").await["items"].as_array().map(Vec::len),
        Some(1),
        "what was refused is not there"
    );
}
