//! The operator's console in a real browser: during a real call, and when an endpoint fails.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::browser::{Browser, Make, turn, video_call};
use crate::rpc::Client;
use crate::server::{Server, Site};

/// Opens the console as an operator does: by the link that the program prints.
async fn open(server: &Server, site: &Site) -> (Browser, String) {
    let link = site.console_link(server);
    let operator = Browser::visit(Make::Chromium, &link, "operator").await;
    operator.widen().await;
    operator.wait_for("the overview", "document.querySelector('[data-testid=tile-calls]')").await;
    (operator, link)
}

impl Browser {
    async fn see(&self, selector: &str, condition: &str) {
        let what = format!("{selector}: {condition}");
        let found = format!("[...document.querySelectorAll({selector:?})].some((it) => {condition})");
        self.wait_for(&what, &found).await;
    }
}

#[tokio::test]
async fn an_operator_sees_a_call_and_ends_it() {
    let _turn = turn().await;
    let backend = Backend::start().await;
    let site = Site::new(&[&backend]);
    let server = site.serve().await;
    let page = server.page();
    let (alice, bob) = video_call(&page).await;
    alice.expect_video().await;

    let (operator, link) = open(&server, &site).await;
    operator.see("[data-testid=tile-calls] strong", "it.textContent === '1'").await;
    operator.wait_for("charts with lines", "document.querySelectorAll('.chart .line[d*=L]').length > 2").await;
    operator.picture("console-overview").await;
    operator.click("nav a[href='#/calls']").await;
    operator.click("[data-testid=call-row]").await;
    for user in ["alice", "bob"] {
        let member = format!("[data-testid=member][data-user={user}]");
        operator
            .see(&format!("{member} [data-testid=quality]"), "/Excellent|Good|Poor|Bad/.test(it.textContent)")
            .await;
        operator.see(&format!("{member} [data-testid=network-up]"), "/ms/.test(it.textContent)").await;
        operator.see(&format!("{member} [data-testid=source-camera]"), "it.textContent.includes('on')").await;
        operator.see(&format!("{member} [data-testid=volume]"), "Number(it.ariaValueNow) > 0").await;
    }
    operator.see("[data-testid=event]", "it.textContent.includes('onCallBegin')").await;
    operator.picture("console-call").await;

    // The server mutes bob's camera: alice is told, whatever bob's client does.
    operator.click("[data-user=bob] [data-testid=source-camera] button").await;
    operator.see("[data-user=bob] [data-testid=source-camera]", "it.textContent.includes('muted by the server')").await;
    alice.expect_tile("bob", "tile.dataset.video === 'off'").await;

    operator.click("[data-testid=dismiss]").await;
    operator.picture("console-question").await;
    operator.click("[data-testid=confirm]").await;
    alice.events_to("onCallEnd").await;
    bob.events_to("onCallEnd").await;
    operator.see("[data-testid=call-detail] h2", "it.textContent === 'This call is over'").await;
    operator.see("[data-testid=call-count]", "it.textContent === '0'").await;
    let stream = backend.whole_call_of(0).await;
    assert_eq!(stream.last().expect("an end").data["reason"], "dismissed");

    // The link is spent; the pass that it gave is not in the address.
    operator.wait_for("an address without the link", "!location.href.includes('link')").await;
    operator.click("header button:last-of-type").await;
    operator.go("about:blank").await;
    operator.go(&link).await;
    operator.see("[role=alert]", "it.textContent.includes('used')").await;
    operator.picture("console-signin").await;
    operator.type_into("#key", &site.api_key()).await;
    operator.click("button[type=submit]").await;
    operator.see("[data-testid=tile-calls]", "it").await;
}

/// A receiver that cannot stand some calls.
struct Picky {
    url: String,
    refused: Arc<Mutex<Refused>>,
}

#[derive(Clone, PartialEq)]
enum Refused {
    All,
    One(String),
    None,
}

impl Picky {
    async fn start() -> Self {
        let refused = Arc::new(Mutex::new(Refused::All));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/picky", listener.local_addr().expect("it is bound"));
        let router = Router::new().route("/picky", post(pick)).with_state(refused.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, refused }
    }

    fn refuse(&self, refused: Refused) {
        *self.refused.lock().expect("nobody panics with it") = refused;
    }
}

async fn pick(State(refused): State<Arc<Mutex<Refused>>>, body: String) -> (StatusCode, &'static str) {
    let envelope: Value = serde_json::from_str(&body).unwrap_or_default();
    let refused = refused.lock().expect("nobody panics with it").clone();
    match refused {
        Refused::One(call) if envelope["callId"] != call.as_str() => (StatusCode::NO_CONTENT, ""),
        Refused::None => (StatusCode::NO_CONTENT, ""),
        Refused::All | Refused::One(_) => (StatusCode::INTERNAL_SERVER_ERROR, "<b>no such tenant</b>"),
    }
}

/// alice calls someone and thinks better of it.
async fn cancelled_call(alice: &mut Client) -> String {
    let placed = alice.ask("call", json!({"userIdList": ["bob"], "callMediaType": 0})).await;
    let call = placed["callId"].as_str().expect("a call id").to_owned();
    alice.ask("hangup", json!({"callId": call})).await;
    alice.expect_all(&call, &["onCallCancelled"]).await;
    call
}

/// Now and then a call that nobody answers.
async fn keep_calling(alice: &mut Client) {
    let mut pace = tokio::time::interval(Duration::from_millis(500));
    loop {
        pace.tick().await;
        cancelled_call(alice).await;
    }
}

#[tokio::test]
async fn an_operator_sees_a_failing_endpoint_and_replays_what_was_given_up() {
    let _turn = turn().await;
    let (picky, healthy) = (Picky::start().await, Backend::start().await);
    let endpoints = [(picky.url.clone(), healthy.secret()), (healthy.url(), healthy.secret())];
    let site = Site::with_endpoints(&endpoints).set("webhooks.poisoned_after=1s");
    let server = site.serve().await;
    let mut alice = Client::log_in(&server, &site, "alice").await;
    cancelled_call(&mut alice).await;

    let (operator, _) = open(&server, &site).await;
    operator.click("nav a[href='#/webhooks']").await;
    operator
        .see("[data-testid=webhook-row]", "it.textContent.includes('picky') && it.textContent.includes('waiting')")
        .await;
    operator.click("[data-testid=webhook-row][data-url$=picky]").await;
    operator.see("[data-testid=last-reply]", "it.textContent.includes('500')").await;
    // What a receiver writes is text, whatever it looks like.
    operator
        .see("[data-testid=last-reply] pre", "it.textContent === '<b>no such tenant</b>' && !it.querySelector('b')")
        .await;
    operator.see("[data-testid=delivery-pending]", "it.textContent.includes('onCall')").await;
    operator.picture("console-webhook").await;

    // While it takes others, it is this call that is at fault: what it refuses is given up. A call of its own, for the pauses between
    // attempts on the first one have grown with the time that all this took.
    let call = cancelled_call(&mut alice).await;
    picky.refuse(Refused::One(call.clone()));
    // It is given up when others are taken between two attempts; their pauses are not all alike.
    tokio::select! {
        () = operator.see("[data-testid=delivery-dead]", "it.textContent.includes('onCallReceived')") => {}
        () = keep_calling(&mut alice) => unreachable!("it has no end"),
    }
    operator.click("[data-testid=delivery-dead] [data-testid=open-delivery]").await;
    operator.see("[data-testid=body]", &format!("it.textContent.includes({call:?})")).await;
    operator.picture("console-delivery").await;
    operator.click("[data-testid=delivery] .primary").await;

    picky.refuse(Refused::None);
    operator.click("[data-testid=delivery-dead] [data-testid=replay]").await;
    operator.see("li[data-testid=replay]", "it.textContent.includes('delivered')").await;
    operator.wait_for("no dead letter", "document.querySelector('[data-testid=delivery-dead]') === null").await;
    operator.see("[data-testid=deliveries-dead]", "it.textContent.includes('No event was given up')").await;
    operator.click("[data-testid=test]").await;
    operator.see("#toasts p", "it.textContent.includes('took the test')").await;
}
