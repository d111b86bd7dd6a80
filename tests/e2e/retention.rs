//! How long the record keeps calls, and that it says so when it does not.

use axum::http::StatusCode;
use reqwest::Method;
use serde_json::Value;

use crate::api::{Caller, fail};
use crate::backend::{Answer, Backend, names};
use crate::delivery::{CANCELLED, cancelled_call};
use crate::server::{Server, Site};
use crate::webhooks::until;

async fn metric(server: &Server, name: &str) -> u64 {
    let text = reqwest::get(format!("http://{}/metrics", server.admin())).await.expect("an answer");
    let text = text.text().await.expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).expect("the metric is there");
    line.parse::<f64>().expect("a number") as u64
}

#[tokio::test]
async fn what_is_older_than_ledger_keep_goes_and_what_was_not_delivered_is_told_as_a_gap() {
    let (up, down) = (Backend::start().await, Backend::start().await);
    let site = Site::new(&[&up]);
    let server = site.serve().await;
    let delivered = cancelled_call(&server, &site).await;
    assert_eq!(names(&up.whole_call(&delivered).await), CANCELLED);
    assert!(server.stop().await.success());

    let site = site.set("webhooks.timeout=5s");
    down.answer(Answer::Refuse(StatusCode::SERVICE_UNAVAILABLE));
    let (url, secret) = (down.url(), down.secret());
    let config = format!(
        "[webhooks]\nallow_private = [\"127.0.0.0/8\"]\n[[webhooks.endpoints]]\nid = \"down\"\nurl = \"{url}\"\nsecret = \"{secret}\"\nevents = [\"*\"]\n"
    );
    site.configure(&config);
    let server = site.serve().await;
    let caller = Caller::new(&server, &site);
    let undelivered = cancelled_call(&server, &site).await;
    down.wait_for_attempt("onCallReceived").await;
    let events = |call: &str| format!("/v1/calls/{call}/events");
    assert_eq!(caller.get(&events(&delivered)).await["items"].as_array().map(Vec::len), Some(2));

    // Everything is older than that at once.
    site.configure(&format!("{config}[ledger]\nkeep = \"1ms\"\n"));
    server.reload();
    server.logged("calls are not kept any longer").await;
    assert_eq!(fail(caller.request(Method::GET, &events(&delivered))).await, (404, "noSuchCall".into()));
    server.logged("too old to be kept").await;
    down.answer(Answer::Accept);
    assert_eq!(down.wait_for_gap().await, (1, 2));
    let dead = "/v1/webhooks/down/deliveries?state=dead";
    let dead = until(&caller, dead, |page| page["items"][0]["reason"] == "expired").await["items"][0].clone();
    assert_eq!(
        (dead["callId"].as_str(), dead["seq"].as_u64(), dead["toSeq"].as_u64()),
        (Some(&*undelivered), Some(1), Some(2))
    );
    assert!(metric(&server, "callisto_ledger_forgotten_calls_total").await >= 1);
    assert_eq!(metric(&server, "callisto_ledger_expired_events_total").await, 2);
    let _: Value = caller.get("/v1/webhooks").await;
}
