//! Sockets that want nothing, clients that want too much.
//!
//! `CALLISTO_TEST_SOCKETS=5000 cargo test --release --test e2e sockets -- --nocapture` holds 5000 silent sockets and 5000 WebSockets that do
//! not log in, and says what they cost.

use std::time::Instant;

use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::DEADLINE;
use crate::rpc::Client;
use crate::server::Site;

/// Silent sockets, and as many WebSockets.
fn sockets() -> usize {
    std::env::var("CALLISTO_TEST_SOCKETS").map_or(500, |number| number.parse().expect("a number"))
}

/// What one idle connection may hold of the server's memory, in bytes: task, socket, buffers of reading and writing.
const MOST_MEMORY: u64 = 48 * 1024;

#[tokio::test]
async fn idle_sockets_cost_little_and_are_closed_and_harm_nobody() {
    let site = Site::new(&[]);
    let server = site.serve().await;
    let mut alice = Client::log_in(&server, &site, "alice").await;
    let (number, before, began) = (sockets(), server.memory(), Instant::now());
    let mut silent = Vec::new();
    let mut strangers = Vec::new();
    for _ in 0..number {
        silent.push(TcpStream::connect(server.public()).await.expect("a connection"));
        strangers.push(Client::connect(&server).await);
    }
    alice.ask("ping", json!({})).await;
    let each = server.memory().saturating_sub(before) / (2 * number as u64);
    println!("{} idle sockets: {each} bytes each, connected within {:?}", 2 * number, began.elapsed());
    assert!(each < MOST_MEMORY, "{each} bytes for an idle connection");

    for stranger in &mut strangers {
        assert_eq!(stranger.expect_closed().await, Some(4000));
    }
    for stream in &mut silent {
        let mut bytes = [0; 64];
        let end = timeout(DEADLINE, stream.read(&mut bytes)).await.expect("closed in time");
        assert!(matches!(end, Ok(0) | Err(_)), "a silent socket is closed without a word");
    }
    alice.ask("ping", json!({})).await;
    alice.expect_nothing_more().await;
}

#[tokio::test]
async fn a_client_that_floods_is_told_so_then_closed_and_harms_nobody() {
    let site = Site::new(&[]);
    let server = site.serve().await;
    let mut bob = Client::log_in(&server, &site, "bob").await;
    let mut flood = Client::log_in(&server, &site, "alice").await;
    let params = json!({"callId": "call_00000000000000000000000000"});
    for _ in 0..20 {
        assert_eq!(flood.refused("reject", params.clone()).await.code, -1203, "taken as far as it goes");
    }
    let frame = json!({"jsonrpc": "2.0", "id": "x", "method": "reject", "params": params});
    let (mut taken, mut refused) = (0, 0);
    // What was sent before the server gave up may still be answered; the socket may break in the midst of it.
    for _ in 0..2000 {
        if !flood.try_send(frame.to_string()).await {
            break;
        }
    }
    let (replies, code) = flood.drain().await;
    for reply in replies {
        match reply["error"]["code"].as_i64() {
            Some(-1203) => taken += 1,
            Some(-1206) => {
                assert_eq!(reply["error"]["data"]["name"], "tooManyRequests");
                assert_eq!(reply["id"], "x");
                refused += 1;
            }
            _ => panic!("{reply}"),
        }
    }
    assert!(refused > 0, "told before it is closed");
    assert!(taken + refused < 2000, "it is closed before all is answered");
    assert!(matches!(code, Some(1008) | None), "{code:?}");
    bob.ask("ping", json!({})).await;
    bob.expect_nothing_more().await;
}

#[tokio::test]
async fn an_address_that_guesses_tickets_is_bounded_and_good_tickets_pass() {
    let site = Site::new(&[]);
    let server = site.serve().await;
    let guess = json!({"sdkAppId": 1_400_000_001, "userId": "alice", "userSig": "guess"});
    let mut tried = 0;
    let refused = 'bounded: loop {
        let mut client = Client::connect(&server).await;
        for _ in 0..20 {
            let refused = client.refused("login", guess.clone()).await;
            tried += 1;
            if refused.code != 70003 {
                assert_eq!(client.expect_closed().await, Some(1008));
                break 'bounded refused;
            }
            assert!(tried < 2000, "guesses are not bounded");
        }
    };
    assert_eq!((refused.code, refused.name.as_str()), (-1206, "tooManyRequests"));
    assert!(tried > 60, "an office with expired tickets is no attack: {tried}");
    Client::log_in(&server, &site, "alice").await.ask("ping", json!({})).await;
}
