//! What a real Chromium shows of a call over a link that is thin, that loses packets, that breaks for a moment. Needs root and
//! /dev/net/tun: see `link.rs`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::browser::{Browser, Make, turn};
use crate::link::{Link, SITE_BY_LINK, Weather};
use crate::network::{Network, SITE};
use crate::server::Site;

const SCRIPT: &str = include_str!("bad_links.js");

/// The heights of the middle one and the largest of the three sizes that are filmed.
const MIDDLE: u16 = 270;
const LARGE: u16 = 540;

/// Kilobits a second that carry a small picture, and that carry the large one.
const THIN: u64 = 500;
const WIDE: u64 = 5000;

const LOSS: f32 = 0.05;
const MUCH_LOSS: f32 = 0.2;
/// Of the sound, with that: what cannot be had of redundancy or in time is made up by the browser.
const MADE_UP: f64 = 0.05;

const OUTAGE: Duration = Duration::from_millis(300);
/// Seconds in which the large picture is back once the link carries it again: an estimate that failed before is believed only when it has
/// held.
const BACK_WITHIN: f64 = 25.0;
/// Seconds of the picture that a link costs at most when it thins, and when it breaks for a moment; and key frames of the latter. Chromium
/// waits three seconds for what is not resent before it asks for a key frame: these hold when all is resent in time.
const NARROWED_WITHIN: f64 = 3.0;
const MENDED_WITHIN: f64 = 1.5;
const MENDED_BY: f64 = 1.0;

/// The watcher's tab, and its link.
struct Watcher<'a> {
    browser: &'a Browser,
    link: &'a Link,
}

#[tokio::test]
async fn a_browser_is_shown_what_its_link_carries() {
    let _turn = turn().await;
    let mut network = Network::lay(1);
    let link = network.lay_link();
    let site = Site::new(&[]);
    let server = network.serve(&site).await;
    let browser = Browser::visit(Make::Chromium, &server.page(), "the watcher").await;
    let options = json!({
        "url": format!("ws://{}/v1/ws", server.public()),
        "tickets": {"pat": site.ticket("pat"), "vic": site.ticket("vic")},
        "encodings": [
            {"rid": "q", "scaleResolutionDownBy": 4, "maxBitrate": 150_000},
            {"rid": "h", "scaleResolutionDownBy": 2, "maxBitrate": 500_000},
            {"rid": "f", "scaleResolutionDownBy": 1, "maxBitrate": 1_700_000},
        ],
        "good": format!(" {SITE} "),
        "bad": format!(" {SITE_BY_LINK} "),
    });
    browser.set_stage().await;
    link.becomes(Weather { kbps: Some(WIDE), ..Weather::default() });
    browser.run(&format!("({SCRIPT})({options})")).await;
    let watcher = Watcher { browser: &browser, link: &link };
    let begun = watcher.now().await;
    watcher.is_well().await;
    let sound = number(&watcher.since(begun).await, "soundPacket");
    watcher.loses_some().await;
    watcher.loses_many(sound).await;
    watcher.is_left_with_a_thin_one().await;
    watcher.is_given_a_wide_one().await;
    watcher.is_cut_off_for_a_moment().await;
    println!("{}", browser.run("link.story()").await);
}

impl Watcher<'_> {
    /// The whole picture with all its frames.
    async fn is_well(&self) {
        let begun = self.now().await;
        self.browser.wait_for("all frames of the large picture", &format!("link.steady({begun}, {LARGE})")).await;
    }

    async fn loses_some(&self) {
        let before = self.link.carried();
        self.link.becomes(Weather { loss: LOSS, kbps: Some(WIDE) });
        let seen = self.during(Duration::from_secs(10)).await;
        let after = self.link.carried();
        self.link.becomes(Weather { kbps: Some(WIDE), ..Weather::default() });
        let (lost, arrived) = (after.lost - before.lost, after.packets - before.packets);
        let lost = lost as f64 / (lost + arrived) as f64;
        println!("{} % lost: {seen}", lost * 100.0);
        assert!(lost > 0.6 * f64::from(LOSS), "the link lost {lost}");
        assert_runs(&seen, 20.0, "loss");
        assert!(number(&seen, "still") < 1.0, "loss: {seen}");
        // The browser's own count has also what the machine, busy with something else, did not film.
        assert!(number(&seen, "frozen") < 2.0, "loss: {seen}");
    }

    /// `sound`: the bytes of a packet of it before anything was lost.
    async fn loses_many(&self, sound: f64) {
        self.is_well().await;
        self.link.becomes(Weather { loss: MUCH_LOSS, kbps: Some(WIDE) });
        let first = self.during(Duration::from_secs(5)).await;
        let seen = self.during(Duration::from_secs(10)).await;
        self.link.becomes(Weather { kbps: Some(WIDE), ..Weather::default() });
        println!("{} % lost, at first: {first}, then: {seen}", MUCH_LOSS * 100.0);
        assert!(number(&seen, "concealed") < MADE_UP, "much loss: {seen}");
        // Two frames of sound in each packet, and three while many are lost.
        let grown = number(&seen, "soundPacket") / sound;
        assert!(grown > 1.3, "much loss: {grown} times the sound");
        assert_runs(&seen, 15.0, "much loss");
    }

    async fn is_cut_off_for_a_moment(&self) {
        self.is_well().await;
        let begun = self.now().await;
        let before = self.link.carried();
        self.link.interrupt(OUTAGE);
        let seen = self.during(Duration::from_secs(6)).await;
        println!("an outage of {OUTAGE:?}: {seen}");
        let lost = self.link.carried().lost - before.lost;
        assert!(lost > 10, "the link lost {lost} packets");
        assert!(number(&seen, "longestStill") < MENDED_WITHIN, "outage: {seen}");
        assert!(number(&seen, "keyFrames") <= MENDED_BY, "outage: {seen}");
        let late = self.browser.run(&format!("link.between({begun} + 5000)")).await;
        assert_runs(&late, 10.0, "after the outage");
    }

    /// As when somebody else at home begins a download.
    async fn is_left_with_a_thin_one(&self) {
        self.is_well().await;
        let begun = self.now().await;
        self.link.becomes(Weather { kbps: Some(THIN), ..Weather::default() });
        self.browser.wait_for("a smaller picture", &format!("link.settled({begun}, {MIDDLE})")).await;
        let settling = self.since(begun).await;
        println!("narrowed to {THIN} kbit/s, at first: {settling}");
        // Two of them to see that it has settled.
        assert!(number(&settling, "seconds") < 12.0, "narrowed: {settling}");
        assert!(number(&settling, "longestStill") < NARROWED_WITHIN, "narrowed: {settling}");
        let seen = self.during(Duration::from_secs(5)).await;
        println!("narrowed to {THIN} kbit/s, then: {seen}");
        assert!(number(&seen, "longestStill") < 1.0, "narrowed: {seen}");
        assert_runs(&seen, 4.0, "narrowed");
        let heights = seen["heights"].as_array().expect("a list");
        assert!(heights.iter().all(|height| height.as_u64() <= Some(MIDDLE.into())), "narrowed: {seen}");
        assert!(number(&seen, "lost") < 0.1 * number(&seen, "received"), "the link is not overrun: {seen}");
    }

    async fn is_given_a_wide_one(&self) {
        let begun = self.now().await;
        self.link.becomes(Weather { kbps: Some(WIDE), ..Weather::default() });
        self.browser.wait_for("the large picture", &format!("link.height() === {LARGE}")).await;
        let seen = self.since(begun).await;
        println!("widened, to the large picture: {seen}");
        assert!(number(&seen, "seconds") < BACK_WITHIN, "widened: {seen}");
        assert!(number(&seen, "longestStill") < 1.0, "widened: {seen}");
        self.is_well().await;
        println!("widened, to all frames of it: {}", self.since(begun).await);
    }

    async fn now(&self) -> f64 {
        self.browser.run("link.now()").await.as_f64().expect("a time")
    }

    /// What happened since.
    async fn since(&self, begun: f64) -> Value {
        self.browser.run(&format!("link.between({begun})")).await
    }

    /// What happens in so much of the page's time.
    async fn during(&self, time: Duration) -> Value {
        let begun = self.now().await;
        let until = begun + time.as_millis() as f64;
        self.browser.wait_for("time to pass", &format!("link.now() > {until}")).await;
        self.since(begun).await
    }
}

/// So many frames a second, unless the machine is so busy that the camera makes fewer: then nearly all of those.
#[track_caller]
fn assert_runs(seen: &Value, least: f64, case: &str) {
    let filmed = number(seen, "filmedPerSecond");
    assert!(number(seen, "framesPerSecond") >= least.min(0.8 * filmed), "{case}: {seen}");
}

fn number(seen: &Value, name: &str) -> f64 {
    seen[name].as_f64().unwrap_or_else(|| panic!("{name} in {seen}"))
}
