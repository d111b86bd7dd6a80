//! Every parser of what comes from outside, fed with mutations of real inputs: none panics, and none takes what it should not keep.
//!
//! One seed is one input; a failure prints parser and seed. `FUZZ_RUNS=1000000 cargo test --release --test fuzz` looks longer than CI does,
//! `FUZZ_SEED=n` at one seed alone.

mod mutate;

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use callisto::base::{Mid, Source, Timestamp, UserId};
use callisto::config::layer::Layer;
use callisto::event::RoomId;
use callisto::media::demux::{Demux, Remote};
use callisto::media::negotiate::Plan;
use callisto::media::payload::{Glimpse, PictureIds};
use callisto::media::rtcp::{self, Block};
use callisto::media::ufrag;
use callisto::signal::{fragment, offer, protocol};
use callisto::ticket::{MapKey, Privileges, Ticket, TicketKey};
use callisto::webhook::retry_after;
use mutate::Mutator;
use str0m::format::Codec;
use str0m::net::Protocol;

/// Mutations of each parser's inputs in CI.
const RUNS: u64 = 20_000;

/// Feeds `parse` with mutations of the samples.
fn fuzz(name: &str, samples: &[Vec<u8>], parse: impl Fn(&[u8])) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match number("FUZZ_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FUZZ_RUNS").unwrap_or(RUNS),
    };
    samples.iter().for_each(|sample| parse(sample));
    for seed in seeds {
        let input = Mutator::new(seed).mutate(samples);
        if catch_unwind(AssertUnwindSafe(|| parse(&input))).is_err() {
            panic!("{name}, FUZZ_SEED={seed}: {}", String::from_utf8_lossy(&input).escape_debug());
        }
    }
}

fn texts(name: &str, samples: &[&str], parse: impl Fn(&str)) {
    let samples: Vec<Vec<u8>> = samples.iter().map(|text| text.as_bytes().to_vec()).collect();
    fuzz(name, &samples, |input| {
        if let Ok(text) = std::str::from_utf8(input) {
            parse(text);
        }
    });
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_700_000_100_000)
}

fn key() -> TicketKey {
    TicketKey::new(1_400_000_000, "secret", Duration::from_secs(300))
}

fn map_key(room: RoomId) -> MapKey {
    let expires_at = now() + Duration::from_secs(600);
    let user: UserId = "alice_01".parse().unwrap();
    MapKey { user, sdk_app_id: 1_400_000_000, room, expires_at, privileges: Privileges::from_bits(42) }
}

#[test]
fn tickets() {
    let user: UserId = "alice_01".parse().unwrap();
    let ticket = |map_key| Ticket {
        user: user.clone(),
        issued_at: now(),
        expires_at: now() + Duration::from_secs(86_400),
        map_key,
    };
    let signed: Vec<String> =
        [None, Some(map_key(RoomId::Int(7)))].map(|map_key| key().sign(&ticket(map_key))).to_vec();
    let samples: Vec<&str> = signed.iter().map(String::as_str).collect();
    let said: Vec<Ticket> = samples.iter().map(|text| key().open(text, now()).expect("it was signed")).collect();
    texts("UserSig", &samples, |text| {
        // A signature holds over all of it: what opens says what one of the samples said.
        if let Ok(opened) = key().open(text, now()) {
            assert!(said.contains(&opened), "{opened:?}");
        }
        let _ = key().verify(text, 1_400_000_000, &user, now());
    });
}

#[test]
fn map_keys() {
    let rooms = [RoomId::Int(10_000), RoomId::named("room-A_1").unwrap()];
    let samples = rooms.map(|room| map_key(room).to_bytes());
    fuzz("PrivateMapKey", &samples, |bytes| {
        // The lowest bits are all that a privilege has; everything else comes back as it was.
        if let Ok(key) = MapKey::parse(bytes) {
            assert_eq!(MapKey::parse(&key.to_bytes()), Ok(key));
        }
    });
}

#[test]
fn messages() {
    let samples = [
        r#"{"jsonrpc":"2.0","id":1,"method":"login","params":{"sdkAppId":1400000001,"userId":"alice","userSig":"eJyr"}}"#,
        r#"{"jsonrpc":"2.0","id":"x","method":"call","params":{"userIdList":["bob","carol"],"callMediaType":1,"roomId":{"intRoomId":7},"timeout":30,"userData":"é\u0000"}}"#,
        r#"{"jsonrpc":"2.0","id":2,"method":"join","params":{"roomId":{"strRoomId":"room"}}}"#,
        r#"{"jsonrpc":"2.0","id":3,"method":"offer","params":{"callId":"call_1","sdp":"v=0\r\n","sources":{"0":"microphone"}}}"#,
        r#"{"jsonrpc":"2.0","id":4,"method":"view","params":{"callId":"call_1","slots":[{"mid":"3","userId":null,"source":"camera","maxHeight":360}]}}"#,
        r#"{"jsonrpc":"2.0","id":5,"method":"ping"}"#,
    ];
    texts("JSON-RPC", &samples, |text| {
        if let Err(malformed) = protocol::parse(text) {
            assert!((-32_768..=-32_000).contains(&malformed.code) && !malformed.message.is_empty());
            assert!(malformed.message.len() < text.len() + 1000, "an error repeats a name once at most");
        }
    });
}

#[test]
fn configurations() {
    let defaults = include_str!("../../config/default.toml");
    let samples = [
        defaults,
        "[http]\npublic = \"127.0.0.1:0\"\n[[webhooks.endpoints]]\nurl = \"https://a.example\"\nsecret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\nevents = [\"*\"]\n",
    ];
    let base = Layer::from_toml("defaults", defaults).expect("the defaults are a configuration");
    // Parsing the whole file with every mutation is slow; most of what can go wrong is in the short one.
    fuzz("configuration", &[samples[1].as_bytes().to_vec()], |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        if let Ok(layer) = Layer::from_toml("file", text) {
            let _ = callisto::config::layer::merge(&[base.clone(), layer]);
        }
    });
    texts("option", &["http.public=0.0.0.0:80", "media.address=[\"10.0.0.1\"]", "calls.ring_timeout=30s"], |text| {
        if let Ok(layer) = Layer::from_option(text) {
            let _ = callisto::config::layer::merge(&[base.clone(), layer]);
        }
    });
}

const OFFER: &str = "v=0\r\no=- 4 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1 2\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdef012345\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendonly\r\na=rtpmap:111 opus/48000/2\r\n\
    m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:1\r\na=sendonly\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=rid:q send\r\na=simulcast:send q\r\n\
    m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:2\r\na=recvonly\r\na=rtpmap:96 VP8/90000\r\n";

#[test]
fn offers() {
    let sources: Vec<(Mid, Source)> =
        vec![("0".parse().unwrap(), Source::Microphone), ("1".parse().unwrap(), Source::Camera)];
    texts("SDP", &[OFFER], |text| {
        if let Ok(plan) = Plan::of(text, &sources, 8) {
            assert!(plan.slots.len() <= 8);
            let _ = plan.label_pairs(text);
        }
        let _ = (offer::sources(text), offer::wanted(text), fragment::of_answer(text));
        if let Some(credentials) = offer::credentials(text) {
            let _ = offer::restarted(text, &credentials);
        }
    });
    let fragment = "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdef012345\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
        a=candidate:1 1 UDP 2130706431 10.0.0.1 5000 typ host\r\na=end-of-candidates\r\n";
    texts("SDP fragment", &[fragment], |text| {
        let _ = fragment::Fragment::parse(text);
    });
}

#[test]
fn payloads() {
    let vp8 = vec![0x90, 0xe0, 0x80, 7, 3, 0x20, 0, 0, 0, 0x9d, 1, 0x2a, 0x40, 1, 0xf0, 0, 1, 2, 3];
    let vp9 = vec![0x8f, 0x80, 7, 0x28, 3, 0x38, 1, 0x40, 0, 0xf0, 2, 0x14, 1, 2, 3, 4, 5];
    let h264 = vec![0x78, 0, 9, 0x67, 0x42, 0xc0, 0x1f, 0x8c, 0x8d, 0x40, 0x50, 0x1e, 0, 4, 0x68, 0xce, 0x3c, 0x80];
    let av1 = vec![0x18, 0x0a, 0x0b, 0, 0, 0, 0x24, 0xc4, 0xff, 0xdf, 0x3f, 0xfe, 0x11, 0x22];
    for (codec, sample) in [(Codec::Vp8, vp8), (Codec::Vp9, vp9), (Codec::H264, h264), (Codec::Av1, av1)] {
        fuzz(&format!("{codec:?} payload"), &[sample], |payload| {
            let Some(glimpse) = Glimpse::of(codec, payload) else { return };
            // Other numbers fit where its own are.
            let ids = glimpse.ids();
            let other = |id: u16| glimpse.wrap_picture(id ^ 0x155);
            let ids = PictureIds { picture: ids.picture.map(other), tl0: ids.tl0.map(|id| id ^ 0x55) };
            glimpse.renumber(ids).apply(&mut payload.to_vec());
        });
    }
}

#[test]
fn datagrams() {
    let mut check = vec![0, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 6, 0, 7];
    check.extend(*b"abc:def\0");
    let from: SocketAddr = "10.0.0.1:5000".parse().unwrap();
    let demux = Demux::default();
    fuzz("STUN demux", &[check, vec![0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 1]], |datagram| {
        let _ = demux.find(Remote { proto: Protocol::Udp, address: from }, datagram);
    });
    texts("ufrag", &["s0abcdef", "abcd"], |text| {
        let _ = ufrag::shard_of(text);
    });
}

/// What a receiver sends once its SRTCP is opened: a client that has the keys can write anything.
#[test]
fn reports_and_feedback() {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    let reports = words(&[0x81c9_0007, 1, 5, 0x40ff_fffe, 0x0001_0203, 9, 0x1234_5678, 0x0001_0000]);
    let sender = words(&[0x80c8_0006, 1, 2, 3, 4, 5, 6, 0x81ca_0003, 1, 0x0104_6361, 0x6c6c_0000, 0x81cb_0001, 1]);
    let nack = words(&[0x81cd_0005, 1, 9, 0x0064_0000, 0xfffe_8003, 0x0000_0001]);
    let pictures = words(&[0x81ce_0002, 1, 9, 0x84ce_0006, 1, 0, 9, 0x0300_0000, 10, 0x0400_0000]);
    let rate = words(&[0x8fce_0005, 1, 0, 0x5245_4d42, 0x010e_86a0, 9]);
    let time = words(&[0x80cf_0006, 1, 0x0600_0001, 0, 0x0400_0002, 0x83aa_7e80, 0x8000_0000]);
    // Runs, a vector of one bit, one of two bits with a large delta, and padding.
    let transport = words(&[
        0xafcd_000a,
        1,
        9,
        0xfffe_001b,
        0x0000_0302,
        0x0004_2002,
        0x9f1c_e480,
        0x0102_0304,
        0x0506_0708,
        0x090a_0001,
        0x0200_0301,
    ]);
    let samples = [
        [reports.clone(), nack.clone(), pictures.clone()].concat(),
        [sender, reports.clone(), time].concat(),
        transport.clone(),
        [reports, transport, nack, rate, pictures].concat(),
    ];
    for sample in &samples {
        let mut blocks = rtcp::read(sample);
        assert!(blocks.by_ref().count() > 0 && blocks.malformed() == 0);
    }
    fuzz("RTCP", &samples, |compound| {
        let mut blocks = rtcp::read(compound);
        let mut said = 0;
        for block in blocks.by_ref() {
            said += 1 + match block {
                Block::SenderReport { reports, .. } | Block::ReceiverReport { reports, .. } => reports.count(),
                Block::Nack { lost, .. } => lost.count(),
                Block::FullIntra(asked) => asked.count(),
                Block::Transport(feedback) => {
                    let arrivals: Vec<Option<i64>> = feedback.arrivals().collect();
                    assert!(arrivals.len() <= usize::from(feedback.count));
                    let received: Vec<i64> = feedback.received().map(|(_, at)| at).collect();
                    assert_eq!(arrivals.into_iter().flatten().collect::<Vec<_>>(), received);
                    received.len()
                }
                _ => 0,
            };
        }
        let all = said + blocks.malformed() as usize;
        assert!(all <= 5 * compound.len(), "{all} things in {} bytes: 17 in four at most", compound.len());
        let _ = rtcp::must_reach_library(compound);
    });
}

#[test]
fn retry_after_headers() {
    texts("Retry-After", &["120", "Wed, 21 Oct 2026 07:28:00 GMT", "0"], |text| {
        let _ = retry_after::parse(text, now());
    });
}
