//! Simulcast and scalable video of a real browser: the viewer sees the height it asks for, in every codec.

use serde_json::{Value, json};

use crate::backend::Backend;
use crate::browser::{Browser, turn};
use crate::server::Site;

const SCRIPT: &str = include_str!("layers.js");

fn simulcast() -> Value {
    json!([
        {"rid": "q", "scaleResolutionDownBy": 4, "maxBitrate": 80_000},
        {"rid": "h", "scaleResolutionDownBy": 2, "maxBitrate": 200_000},
        {"rid": "f", "scaleResolutionDownBy": 1, "maxBitrate": 500_000},
    ])
}

fn scalable(mode: &str) -> Value {
    json!([{"scalabilityMode": mode, "maxBitrate": 700_000}])
}

/// The heights that the viewer asked for and what it was shown, one after the other.
#[tokio::test]
async fn a_viewer_sees_the_height_it_asks_for_in_every_codec() {
    let _turn = turn().await;
    let backend = Backend::start().await;
    let site = Site::new(&[&backend]);
    let server = site.serve().await;
    let browser = Browser::open(&server.page(), "watcher").await;
    let tickets = json!({"pat": site.ticket("pat"), "vic": site.ticket("vic")});
    let cases =
        [("VP8", simulcast()), ("H264", simulcast()), ("VP9", scalable("L3T3_KEY")), ("AV1", scalable("L3T3_KEY"))];
    for (index, (codec, encodings)) in cases.into_iter().enumerate() {
        let heights = json!([576, 144, 288]);
        let options = json!({
            "url": format!("ws://{}/v1/ws", server.public()),
            "tickets": tickets,
            "codec": codec,
            "encodings": encodings,
            "heights": heights,
        });
        let run = format!("(window.layers{index} ??= ({SCRIPT})({options}))");
        let outcome = browser.wait_for(codec, &run).await;
        println!("{codec}: {outcome}");
        let shown = outcome["shown"].as_array().expect("a list");
        assert_eq!(shown.len(), heights.as_array().expect("a list").len(), "{codec}: {outcome}");
        for step in shown {
            assert_eq!(step["frameHeight"], step["height"], "{codec}: {outcome}");
            assert!(step["totalFreezesDuration"].as_f64() < Some(2.0), "{codec}: {outcome}");
        }
    }
}
