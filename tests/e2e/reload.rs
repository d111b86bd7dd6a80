//! SIGHUP: the configuration is read again while the server runs.

use serde_json::json;

use crate::api::{Caller, fail};
use crate::backend::{Backend, names};
use crate::delivery::{CANCELLED, cancelled_call};
use crate::rpc::Client;
use crate::server::Site;

fn config(backends: &[&Backend], more: &str) -> String {
    let mut config = format!("{more}\n[webhooks]\nallow_private = [\"127.0.0.0/8\"]\n");
    for backend in backends {
        let (url, secret) = (backend.url(), backend.secret());
        config += &format!("[[webhooks.endpoints]]\nurl = \"{url}\"\nsecret = \"{secret}\"\nevents = [\"*\"]\n");
    }
    config
}

#[tokio::test]
async fn sighup_takes_up_endpoints_and_keys_and_a_bad_file_changes_nothing() {
    let (old, new) = (Backend::start().await, Backend::start().await);
    let site = Site::new(&[&old]);
    let server = site.serve().await;
    let first = cancelled_call(&server, &site).await;
    assert_eq!(names(&old.whole_call(&first).await), CANCELLED);
    let mut alice = Client::log_in(&server, &site, "alice2").await;
    let caller = Caller::new(&server, &site);

    site.configure("[webhooks]\nallow_private = 7\n");
    server.reload();
    let log = server.logged("the configuration stays as it was").await;
    assert!(log.contains("webhooks.allow_private"), "it says why: {log}");
    let placed = alice.ask("call", json!({"userIdList": ["bob"], "callMediaType": 0})).await;
    let second = placed["callId"].as_str().expect("a call id").to_owned();
    alice.ask("hangup", json!({"callId": second})).await;
    assert_eq!(names(&old.whole_call(&second).await), CANCELLED);

    let keys =
        "[app]\nsecret = \"another secret of the app\"\napi_key = \"another key\"\n[calls]\nring_timeout = \"7s\"";
    site.configure(&config(&[&new], keys));
    server.reload();
    let log = server.logged("the configuration was read again").await;
    assert!(log.contains("section=\"calls\""), "what waits for a restart is named: {log}");
    // Whoever was logged in stays; new log-ins have tickets of the new secret.
    alice.ask("ping", json!({})).await;
    let third = cancelled_call(&server, &site).await;
    assert_eq!(names(&new.whole_call(&third).await), CANCELLED);
    old.expect_calls(2);
    let path = format!("http://{}/v1/calls", server.admin());
    let asked = |key: &str| reqwest::Client::new().get(&path).bearer_auth(key);
    assert!(asked("another key").send().await.expect("an answer").status().is_success());
    assert_eq!(fail(caller.request(reqwest::Method::GET, "/v1/calls")).await, (401, "unauthorized".into()));
}
