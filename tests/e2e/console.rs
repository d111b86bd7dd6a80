//! The operator's console in a real browser: during a real call, and when an endpoint fails.

use crate::backend::Backend;
use crate::browser::Browser;
use crate::calls::TURN;
use crate::server::{Server, Site};

/// What a laptop shows.
const WINDOW: (u32, u32) = (1280, 900);

/// Opens the console as an operator does: by the link that the program prints.
async fn open(server: &Server, site: &Site) -> (Browser, String) {
    let link = site.console_link(server);
    let operator = Browser::start("operator").await;
    operator.visit(&link).await;
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
    let _turn = TURN.lock().await;
    let backend = Backend::start().await;
    let site = Site::new(&[&backend]);
    let server = site.serve().await;
    let page = server.page();
    let (alice, bob) = tokio::join!(Browser::open(&page, "alice"), Browser::open(&page, "bob"));
    alice.call("bob", "#call-video").await;
    bob.click("#accept").await;
    alice.expect_video().await;

    let (operator, link) = open(&server, &site).await;
    operator.see("[data-testid=tile-calls] strong", "it.textContent === '1'").await;
    operator.wait_for("charts with lines", "document.querySelectorAll('.chart .line[d*=L]').length > 2").await;
    operator.picture("console-overview", WINDOW).await;
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
    operator.picture("console-call", WINDOW).await;

    // The server mutes bob's camera: alice is told, whatever bob's client does.
    operator.click("[data-user=bob] [data-testid=source-camera] button").await;
    operator.see("[data-user=bob] [data-testid=source-camera]", "it.textContent.includes('muted by the server')").await;
    alice.expect_tile("bob", "tile.dataset.video === 'off'").await;

    operator.click("[data-testid=dismiss]").await;
    operator.picture("console-question", WINDOW).await;
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
    operator.visit("about:blank").await;
    operator.visit(&link).await;
    operator.see("[role=alert]", "it.textContent.includes('used')").await;
    operator.picture("console-signin", WINDOW).await;
    operator.write("#key", &site.api_key()).await;
    operator.click("button[type=submit]").await;
    operator.see("[data-testid=tile-calls]", "it").await;
}
