//! Receivers in three languages verify one captured delivery, each with its Standard Webhooks library.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use axum::body::Bytes;
use axum::http::HeaderMap;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::DEADLINE;
use crate::api::{Caller, succeed};
use crate::delivery::cancelled_call;
use crate::server::Site;

/// Where tests/run puts the libraries of npm and PyPI.
fn verifiers() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/verifiers");
    assert!(folder.join("node_modules/standardwebhooks").is_dir(), "missing: tests/run --install installs it");
    folder
}

fn run(program: &str, script: &str, arguments: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e").join(script);
    let mut command = Command::new(program);
    command.arg(script).args(arguments).env("VERIFIERS", verifiers()).env("PYTHONPATH", verifiers().join("python"));
    let output = command.output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it prints text").trim().to_owned()
}

#[tokio::test]
async fn libraries_in_rust_javascript_and_python_verify_a_delivery() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/hook", listener.local_addr().expect("it is bound"));
    let (captured_in, mut captured) = mpsc::unbounded_channel::<(HeaderMap, Bytes)>();
    let take = move |headers: HeaderMap, body: Bytes| async move { drop(captured_in.send((headers, body))) };
    let serving = tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(take)).await });
    let site = Site::new(&[]);
    let server = site.serve().await;
    let caller = Caller::new(&server, &site);
    let made = succeed(caller.post("/v1/webhooks", &json!({"url": url}))).await;
    let secret = made["secret"].as_str().expect("a secret");
    cancelled_call(&server, &site).await;
    let (headers, body) = tokio::time::timeout(DEADLINE, captured.recv()).await.expect("in time").expect("a delivery");
    serving.abort();

    standardwebhooks::Webhook::new(secret).expect("a secret").verify(&body, &headers).expect("Rust's verifies");
    let of_webhook = headers.iter().filter(|(name, _)| name.as_str().starts_with("webhook-"));
    let plain: serde_json::Map<String, Value> =
        of_webhook.map(|(name, value)| (name.to_string(), value.to_str().expect("ASCII").into())).collect();
    let (headers_file, body_file) = (site.path().join("headers.json"), site.path().join("body"));
    fs::write(&headers_file, Value::from(plain).to_string()).expect("a file");
    fs::write(&body_file, &body).expect("a file");
    let json: Value = serde_json::from_slice(&body).expect("JSON");
    let expected = format!("{} {}", json["type"].as_str().expect("a type"), json["id"].as_str().expect("an id"));
    let arguments = [secret, headers_file.to_str().expect("UTF-8"), body_file.to_str().expect("UTF-8")];
    assert_eq!(run("node", "verify.mjs", &arguments), expected);
    assert_eq!(run("python3", "verify.py", &arguments), expected);
}
