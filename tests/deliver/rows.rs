//! The rows of the table of known webhook failures (webhooks.md) that live at this level, and what else only real sockets show. Rows h, i
//! and k are about the stream of a call: tests/sim/rows.rs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use callisto::base::{EndpointId, Timestamp};
use callisto::config::{self, EventFilter};
use callisto::event::{Event, EventKind, TelemetryEnvelope};
use callisto::ledger::Append;
use callisto::ledger::io::Store;
use callisto::webhook::dispatch::Reply as Outcome;
use callisto::webhook::endpoint::Roster;
use callisto::webhook::lane::Patience;
use callisto::webhook::sign::Secret;
use callisto::webhook::{EndpointState, Observation, Settings};

use crate::receiver::{Receiver, Reply};
use crate::world::{Ways, World, call, event_id, record};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_arrive_signed_in_order_at_every_endpoint() {
    let folder = folder();
    let (mut a, mut b) = (Receiver::friendly().await, Receiver::friendly().await);
    let mut world = World::start(folder.path(), vec![a.endpoint("a"), b.endpoint("b")]);
    for first in [1, 4, 7] {
        world.store(call(1), first..=first + 2).await;
    }
    for receiver in [&mut a, &mut b] {
        assert_eq!(receiver.next_seqs(9).await, (1..=9).collect::<Vec<_>>());
    }
    let seen = world.observation(|seen| matches!(seen, Observation::Delivered { .. })).await;
    assert!(matches!(seen, Observation::Delivered { attempt: 1, kind: EventKind::UserJoin, .. }));
    let stored = world.store.facts(call(1), 0, 9).unwrap();
    world.stop().await;
    assert!(a.rest().is_empty() && b.rest().is_empty(), "each once");
    assert_eq!(stored.len(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_a_errors_and_redirects_are_no_delivery() {
    let folder = folder();
    let mut elsewhere = Receiver::friendly().await;
    let elsewhere_url = elsewhere.url.to_string();
    let mut replies = [Reply::Status(401), Reply::Moved(elsewhere_url), Reply::Status(500)].into_iter();
    let mut receiver = Receiver::start(move |_| replies.next().unwrap_or(Reply::Status(204))).await;
    let mut world = World::start(folder.path(), vec![receiver.endpoint("a")]);
    world.store(call(1), 1..=2).await;
    let mut attempts = Vec::new();
    for _ in 0..4 {
        attempts.push(receiver.next().await);
    }
    assert!(attempts.iter().all(|attempt| attempt.seq() == 1 && attempt.body == attempts[0].body));
    assert_eq!(receiver.next().await.seq(), 2, "only then the next");
    for status in [401, 302, 500] {
        let failed = world.observation(|seen| matches!(seen, Observation::Failed { .. })).await;
        assert!(
            matches!(failed, Observation::Failed { reply: Outcome::Answered { status: s, .. }, .. } if s == status)
        );
    }
    assert!(elsewhere.rest().is_empty(), "no redirect is followed");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_b_one_endpoints_error_hides_nothing_from_another() {
    let folder = folder();
    let bad = Receiver::start(|_| Reply::Status(500)).await;
    let mut good = Receiver::friendly().await;
    let world = World::start(folder.path(), vec![bad.endpoint("a-bad"), good.endpoint("b-good")]);
    world.store(call(1), 1..=20).await;
    assert_eq!(good.next_seqs(20).await, (1..=20).collect::<Vec<_>>());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_c_a_malformed_endpoint_entry_wedges_nothing() {
    let folder = folder();
    let mut good = Receiver::friendly().await;
    let entry = |url: &str, secret: &str| config::Endpoint {
        id: String::new(),
        url: url.parse().unwrap(),
        secret: config::Secret(secret.to_owned()),
        events: EventFilter { all_lifecycle: true, named: Default::default() },
    };
    let secret = good.endpoint("good").secrets[0].reveal();
    let entries = [
        entry("http://10.0.0.1/", &secret),
        entry("https://a.example/", "no secret"),
        entry("ftp://a.example/", &secret),
        entry(good.url.as_str(), &secret),
    ];
    let roster = Roster::read(&entries, &["127.0.0.0/8".parse().unwrap()]);
    assert_eq!(roster.refused.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [0, 1, 2]);
    let world = World::start(folder.path(), roster.endpoints);
    world.store(call(1), 1..=3).await;
    assert_eq!(good.next_seqs(3).await, [1, 2, 3]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_g_the_receiver_can_tell_that_something_is_missing() {
    let folder = folder();
    let mut receiver = Receiver::start(|arrival| match arrival.json["data"]["userId"].as_str() {
        Some("user-2") if arrival.json["callId"] == call(1).to_string() => Reply::Status(400),
        _ => Reply::Status(200),
    })
    .await;
    let patience = Patience { poisoned_after: Duration::from_secs(1), ..Settings::default().patience };
    let ways = Ways { patience, ..Ways::default() };
    let mut world = World::start_with(folder.path(), vec![receiver.endpoint("a")], ways);
    world.store(call(1), 1..=3).await;
    // The endpoint takes other calls' events meanwhile, so it is this one that it does not like.
    let mut other = 0;
    let (mut seen, mut gap) = (Vec::new(), None);
    while seen.last() != Some(&3) {
        let arrival = receiver.next().await;
        if arrival.json["callId"] != call(1).to_string() {
            continue;
        }
        match arrival.json["type"].as_str() {
            Some("delivery.gap") => gap = Some((arrival.json["data"].clone(), seen.clone())),
            _ => seen.push(arrival.seq()),
        }
        other += 1;
        world.store(call(2), other..=other).await;
        world.observation(|seen| matches!(seen, Observation::Delivered { call: of, .. } if *of == call(2))).await;
    }
    let (gap, before) = gap.expect("a gap is told");
    assert_eq!(gap, serde_json::json!({"fromSeq": 2, "toSeq": 2, "reason": "undeliverable"}));
    assert!(!before.contains(&3), "and it comes before what follows it: {before:?}");
    let letters = world.store.dead(&"a".parse().unwrap(), None, 9).unwrap().letters;
    assert_eq!(letters.iter().map(|(of, letter)| (*of, letter.from)).collect::<Vec<_>>(), [(call(1), 2)]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_d_and_l_a_hanging_endpoint_times_out_is_retried_and_costs_only_itself() {
    let folder = folder();
    let mut hanging = Receiver::start(|_| Reply::Silence).await;
    let mut good = Receiver::friendly().await;
    // Long enough for the good one on a busy machine: what times out is sent again.
    let ways = Ways { timeout: Duration::from_secs(3), ..Ways::default() };
    let mut world = World::start_with(folder.path(), vec![hanging.endpoint("hanging"), good.endpoint("good")], ways);
    world.store(call(1), 1..=20).await;
    assert_eq!(good.next_seqs(20).await, (1..=20).collect::<Vec<_>>());
    let first = hanging.next().await;
    let failed = world.observation(|seen| matches!(seen, Observation::Failed { .. })).await;
    assert!(matches!(failed, Observation::Failed { reply: Outcome::TimedOut, retry_at: Some(_), .. }), "{failed:?}");
    assert_eq!(hanging.next().await.id, first.id);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_e_each_attempt_is_signed_anew_over_the_same_bytes() {
    let folder = folder();
    let tries = AtomicUsize::new(0);
    let mut receiver = Receiver::start(move |_| {
        let status = if tries.fetch_add(1, Ordering::Relaxed) < 2 { 503 } else { 200 };
        Reply::Status(status)
    })
    .await;
    let world = World::start(folder.path(), vec![receiver.endpoint("a")]);
    world.store(call(1), 1..=1).await;
    let attempts = [receiver.next().await, receiver.next().await, receiver.next().await];
    assert!(attempts.iter().all(|attempt| attempt.id == attempts[0].id && attempt.body == attempts[0].body));
    assert!(attempts[2].timestamp > attempts[0].timestamp, "three seconds lie between them");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_f_what_is_queued_at_shutdown_is_delivered_by_the_next_start() {
    let folder = folder();
    let release = Arc::new(AtomicUsize::new(0));
    let seen = release.clone();
    let mut receiver = Receiver::start(move |_| match seen.load(Ordering::Relaxed) {
        0 => Reply::Status(503),
        _ => Reply::Status(200),
    })
    .await;
    let world = World::start(folder.path(), vec![receiver.endpoint("a")]);
    for n in 1..=5 {
        world.store(call(n), 1..=3).await;
    }
    receiver.next().await;
    world.stop_at_once().await;
    receiver.rest();
    release.store(1, Ordering::Relaxed);
    let mut world = World::start(folder.path(), vec![receiver.endpoint("a")]);
    assert_eq!(world.store.backlog()[&"a".parse::<EndpointId>().unwrap()], 15);
    for _ in 0..15 {
        world.observation(|seen| matches!(seen, Observation::Delivered { .. })).await;
    }
    let arrivals = receiver.rest();
    for n in 1..=5 {
        let id = call(n).to_string();
        let mut seqs: Vec<u64> =
            arrivals.iter().filter(|arrival| arrival.json["callId"] == id).map(|a| a.seq()).collect();
        // The first world's last request may only be looked at by now.
        seqs.dedup();
        assert_eq!(seqs, [1, 2, 3]);
    }
    let store = world.store.clone();
    world.stop().await;
    assert_eq!(store.backlog()[&"a".parse::<EndpointId>().unwrap()], 0, "and the record knows it");
}

/// Stored, and killed before delivery heard of it.
#[tokio::test(flavor = "multi_thread")]
async fn row_j_what_was_stored_and_never_queued_is_delivered() {
    let folder = folder();
    let mut receiver = Receiver::friendly().await;
    let endpoint = receiver.endpoint("a");
    let store = Store::open(&folder.path().join("ledger.redb")).unwrap();
    let append = Append {
        records: vec![record(call(1), 1), record(call(1), 2)],
        closed: vec![call(1)],
        lanes: Arc::new([endpoint.id.clone()]),
        ..Append::default()
    };
    store.commit(&[&append], &[], &[]).unwrap();
    drop(store);
    let world = World::start(folder.path(), vec![endpoint.clone()]);
    assert_eq!(receiver.next_seqs(2).await, [1, 2]);
    let store = world.store.clone();
    world.stop().await;
    assert_eq!(store.lane(&endpoint.id, call(1)).unwrap(), None, "a finished lane is dropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn private_addresses_are_refused_by_name_and_by_number() {
    let folder = folder();
    let mut receiver = Receiver::friendly().await;
    let mut by_name = receiver.endpoint("by-name");
    by_name.url.set_host(Some("localhost")).unwrap();
    let mut by_number = receiver.endpoint("by-number");
    by_number.url.set_host(Some("[::ffff:127.0.0.1]")).unwrap();
    let ways = Ways { allow: &["10.0.0.0/8"], ..Ways::default() };
    let mut world = World::start_with(folder.path(), vec![by_name, by_number], ways);
    world.store(call(1), 1..=1).await;
    let mut refused = std::collections::BTreeSet::new();
    while refused.len() < 2 {
        let seen = world.observation(|seen| matches!(seen, Observation::Failed { .. })).await;
        let Observation::Failed { endpoint, reply, .. } = seen else { unreachable!() };
        assert!(matches!(reply, Outcome::Refused(_)), "{reply:?}");
        refused.insert(endpoint);
    }
    world.stop().await;
    assert!(receiver.rest().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_to_be_asked_later_is_honoured() {
    let folder = folder();
    let mut first = true;
    let mut receiver = Receiver::start(move |_| match std::mem::replace(&mut first, false) {
        true => Reply::RetryAfter(429, 3),
        false => Reply::Status(200),
    })
    .await;
    let mut world = World::start(folder.path(), vec![receiver.endpoint("a")]);
    world.store(call(1), 1..=1).await;
    let asked = receiver.next().await;
    let failed = world.observation(|seen| matches!(seen, Observation::Failed { .. })).await;
    let Observation::Failed { retry_at: Some(retry_at), .. } = failed else { panic!("{failed:?}") };
    assert!(retry_at >= Timestamp::from_millis(asked.timestamp * 1000) + Duration::from_secs(3));
    assert_eq!(receiver.next().await.id, asked.id);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_410_disables_the_endpoint_and_new_calls_get_no_lane_to_it() {
    let folder = folder();
    let mut receiver = Receiver::start(|_| Reply::Status(410)).await;
    let mut world = World::start(folder.path(), vec![receiver.endpoint("a")]);
    let handle = world.deliverer.handle();
    assert_eq!(handle.enabled().len(), 1);
    world.store(call(1), 1..=5).await;
    world.observation(|seen| matches!(seen, Observation::Disabled { .. })).await;
    receiver.next().await;
    world.stop().await;
    assert!(receiver.rest().is_empty(), "one request was enough");
    assert!(handle.enabled().is_empty());
    let statuses = handle.status();
    let status = statuses.iter().find(|status| status.id.as_str() == "a").unwrap();
    assert_eq!(status.state, EndpointState::Disabled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_secret_verifies_for_those_who_know_either() {
    let folder = folder();
    let mut receiver = Receiver::friendly().await;
    let mut endpoint = receiver.endpoint("a");
    endpoint.secrets.insert(0, Secret::generate([9; 32]));
    let world = World::start(folder.path(), vec![endpoint]);
    world.store(call(1), 1..=1).await;
    assert_eq!(receiver.next().await.seq(), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn telemetry_goes_to_those_who_name_it_and_is_not_stored() {
    let folder = folder();
    let (mut named, mut star) = (Receiver::friendly().await, Receiver::friendly().await);
    let mut endpoint = named.endpoint("named");
    endpoint.events.named.insert(EventKind::UserVoiceVolumeChanged);
    let world = World::start(folder.path(), vec![endpoint, star.endpoint("star")]);
    let id = event_id(5);
    let event = Event::UserVoiceVolumeChanged { volume_map: Default::default() };
    let kind = event.kind();
    let body = TelemetryEnvelope { id, call: call(1), time: Timestamp::from_millis(1), event }.to_json();
    world.deliverer.handle().telemetry(call(1), kind, id, body.into());
    let arrival = named.next().await;
    assert_eq!((arrival.id, arrival.json.get("seq")), (id.to_string(), None));
    let store = world.store.clone();
    world.stop().await;
    assert!(star.rest().is_empty());
    assert!(store.facts(call(1), 0, 9).unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_brings_new_endpoints_without_a_restart() {
    let folder = folder();
    let (mut a, mut b) = (Receiver::friendly().await, Receiver::friendly().await);
    let endpoints = vec![a.endpoint("a"), b.endpoint("b")];
    let world = World::start(folder.path(), endpoints.clone());
    world.deliverer.handle().reload(vec![endpoints[0].clone()]);
    world.store(call(1), 1..=1).await;
    assert_eq!(a.next_seqs(1).await, [1]);
    world.deliverer.handle().reload(endpoints);
    assert_eq!(b.next_seqs(1).await, [1], "its lane had stayed in the record");
    world.stop().await;
}
