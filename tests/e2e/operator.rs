//! What an operator meets: health, metrics, and a configuration with a mistake in it.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::rpc::Client;
use crate::server::Site;

async fn fetch(address: std::net::SocketAddr, path: &str) -> (u16, String) {
    let response = reqwest::get(format!("http://{address}{path}")).await.expect("an answer");
    (response.status().as_u16(), response.text().await.expect("a body"))
}

#[tokio::test]
async fn the_metrics_pass_promtools_check_and_count_calls() {
    let site = Site::new(&[]);
    let server = site.serve().await;
    let mut alice = Client::log_in(&server, &site, "alice").await;
    let placed = alice.ask("call", json!({"userIdList": ["bob"], "callMediaType": 0})).await;
    let call = placed["callId"].as_str().expect("a call id").to_owned();
    alice.ask("hangup", json!({"callId": call})).await;
    alice.expect_all(&call, &["onCallCancelled"]).await;

    let (status, metrics) = fetch(server.admin(), "/metrics").await;
    assert_eq!(status, 200);
    assert!(metrics.contains("callisto_build_info{"), "{metrics}");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed (tests/run does it)");
    promtool.stdin.take().expect("stdin is piped").write_all(metrics.as_bytes()).expect("it reads");
    let verdict = promtool.wait_with_output().expect("it ends");
    let complaints = String::from_utf8_lossy(&verdict.stderr);
    assert!(verdict.status.success() && complaints.is_empty(), "{complaints}");

    let (status, _) = fetch(server.public(), "/metrics").await;
    assert_eq!(status, 404, "figures are not for the public");
}

#[tokio::test]
async fn the_server_says_that_it_is_well() {
    let site = Site::new(&[]);
    let server = site.serve().await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(fetch(server.public(), path).await.0, 200, "{path}");
    }
}

#[test]
fn a_mistake_in_the_configuration_is_named() {
    let site = Site::new(&[]);
    for (setting, named) in [
        ("http.pubic=127.0.0.1:0", "pubic"),
        ("http.public=somewhere", "http.public"),
        ("calls.ring_timeout=soon", "calls.ring_timeout"),
        ("media.udp_port=70000", "media.udp_port"),
        ("webhooks.allow_private=[\"everywhere\"]", "webhooks.allow_private"),
        ("nonsense", "key=value is expected"),
    ] {
        let output = site.program().args(["serve", "--set", setting]).output().expect("the program runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{setting}");
        assert!(said.contains(named), "{setting}: {said}");
        assert!(output.stdout.is_empty(), "nothing listens: {setting}");
    }
}
