//! Simulcast and scalable video of a real browser: the viewer sees the height it asks for, in every codec.

use serde_json::{Value, json};

use crate::backend::Backend;
use crate::browser::{Browser, Make, turn};
use crate::network::Network;
use crate::server::{Server, Site};

const SCRIPT: &str = include_str!("layers.js");

fn simulcast() -> Value {
    json!([
        {"rid": "q", "scaleResolutionDownBy": 4, "maxBitrate": 80_000},
        {"rid": "h", "scaleResolutionDownBy": 2, "maxBitrate": 200_000},
        {"rid": "f", "scaleResolutionDownBy": 1, "maxBitrate": 500_000},
    ])
}

/// Without a mode these codecs put all sizes into one stream.
fn simulcast_in(mode: &str) -> Value {
    let mut encodings = simulcast();
    let each = encodings.as_array_mut().expect("a list");
    each.iter_mut().for_each(|encoding| encoding["scalabilityMode"] = mode.into());
    encodings
}

fn scalable(mode: &str) -> Value {
    json!([{"scalabilityMode": mode, "maxBitrate": 700_000}])
}

/// What a viewer asks for, one after the other.
const HEIGHTS: [u16; 3] = [576, 144, 288];

#[tokio::test]
async fn a_viewer_sees_the_height_it_asks_for_in_every_codec() {
    let _turn = turn().await;
    let backend = Backend::start().await;
    let site = Site::new(&[&backend]);
    let server = site.serve().await;
    let browser = Browser::open(&server.page(), "watcher").await;
    let cases = [
        ("VP8", simulcast()),
        ("H264", simulcast()),
        ("VP9", scalable("L3T3_KEY")),
        ("VP9", simulcast_in("L1T2")),
        ("AV1", scalable("L3T3_KEY")),
        ("AV1", simulcast_in("L1T2")),
    ];
    browser.set_stage().await;
    for (turn, (codec, encodings)) in cases.into_iter().enumerate() {
        sees_each_height(&browser, &site, &server, turn, (codec, encodings)).await;
    }
}

/// Firefox does not do media over a loopback address: this needs root for a network of its own.
#[tokio::test]
async fn a_viewer_sees_the_height_it_asks_for_of_what_firefox_sends_in_three_sizes() {
    let _turn = turn().await;
    let network = Network::lay(1);
    let site = Site::new(&[]);
    let server = network.serve(&site).await;
    let browser = Browser::visit(Make::Firefox, &server.page(), "watcher").await;
    browser.set_stage().await;
    sees_each_height(&browser, &site, &server, 0, ("VP8", simulcast())).await;
}

async fn sees_each_height(
    browser: &Browser,
    site: &Site,
    server: &Server,
    turn: usize,
    (codec, encodings): (&str, Value),
) {
    let options = json!({
        "url": format!("ws://{}/v1/ws", server.public()),
        "tickets": {"pat": site.ticket("pat"), "vic": site.ticket("vic")},
        "codec": codec,
        "encodings": encodings,
        "heights": HEIGHTS,
    });
    // Asked for again and again, it is begun once.
    let outcome = browser.wait_for(codec, &format!("(window.layers{turn} ??= ({SCRIPT})({options}))")).await;
    println!("{codec}, {}: {outcome}", options["encodings"]);
    let shown = outcome["shown"].as_array().expect("a list");
    assert_eq!(shown.len(), HEIGHTS.len(), "{codec}: {outcome}");
    for step in shown {
        assert_eq!(step["frameHeight"], step["height"], "{codec}: {outcome}");
        assert!(step["totalFreezesDuration"].as_f64() < Some(2.0), "{codec}: {outcome}");
    }
}
