//! Every codec that a browser sends is seen, in the same browser and in the other make. Needs root for a network of its own: Firefox does
//! no media over a loopback address.

use serde_json::json;

use crate::browser::{Browser, Make, turn};
use crate::network::Network;
use crate::server::{Server, Site};

const SCRIPT: &str = include_str!("codecs.js");

/// Firefox as Debian has it brings no H264.
const CASES: [(Make, &str); 7] = [
    (Make::Chromium, "VP8"),
    (Make::Chromium, "VP9"),
    (Make::Chromium, "AV1"),
    (Make::Chromium, "H264"),
    (Make::Firefox, "VP8"),
    (Make::Firefox, "VP9"),
    (Make::Firefox, "AV1"),
];

#[tokio::test]
async fn every_codec_that_a_browser_sends_is_seen_in_both() {
    let _turn = turn().await;
    let network = Network::lay(1);
    let site = Site::new(&[]);
    let server = network.serve(&site).await;
    let page = server.page();
    let (chromium, firefox) = tokio::join!(
        Browser::visit(Make::Chromium, &page, "Chromium"),
        Browser::visit(Make::Firefox, &page, "Firefox")
    );
    tokio::join!(chromium.set_stage(), firefox.set_stage());
    for (make, codec) in CASES {
        let films = if make == Make::Chromium { &chromium } else { &firefox };
        let watch: &[&Browser] = if codec == "H264" { &[&chromium] } else { &[&chromium, &firefox] };
        let room = format!("{codec} of {make:?}");
        is_seen(&site, &server, (codec, &room), films, watch).await;
    }
}

async fn is_seen(site: &Site, server: &Server, (codec, room): (&str, &str), films: &Browser, watch: &[&Browser]) {
    // Nobody is in two calls.
    let name = |role: &str| format!("{role} {room}").replace(' ', "-");
    let sender = name("sender");
    let url = format!("ws://{}/v1/ws", server.public());
    let options = json!({"url": url, "codec": codec, "room": room, "sender": sender});
    let people = format!("({SCRIPT})({options})");
    films.begin("filming", &format!("{people}.film({:?})", site.ticket(&sender))).await;
    for (index, browser) in watch.iter().enumerate() {
        let user = name(&format!("watcher {index}"));
        browser.run(&format!("window.people = {people}")).await;
        browser.begin("watching", &format!("people.watch({user:?}, {:?})", site.ticket(&user))).await;
    }
    for browser in watch {
        let seen = browser.wait_for(room, "people.seen(watching)").await;
        println!("{room} in {}: {seen}", browser.name());
        assert_eq!(seen["codec"], format!("video/{codec}"), "{room} in {}: {seen}", browser.name());
        assert_eq!((&seen["frameWidth"], &seen["frameHeight"]), (&json!(320), &json!(240)), "{room}: {seen}");
        browser.run("watching.end()").await;
    }
    films.run("filming.end()").await;
}
