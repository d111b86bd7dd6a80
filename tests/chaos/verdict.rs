//! What must hold in the end: every endpoint has every fact, byte for byte what the record holds, in order, begun and ended.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use callisto::base::CallId;
use callisto::ledger::io::Store;

use crate::actor::Told;
use crate::receiver::{Journal, Receiver};

/// More facts than any scripted call has.
const MANY: usize = 10_000;

/// Waits until every endpoint has taken every call that anyone knows of to its end; gives what is missing when it is not so in time.
pub async fn caught_up(receivers: &[Receiver], told: &[Told], until: Instant) -> Result<(), String> {
    let mut changes: Vec<_> = receivers.iter().map(Receiver::changes).collect();
    loop {
        let Some(behind) = behind(receivers, told) else { return Ok(()) };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(behind);
        }
        let [first, second, third] = &mut changes[..] else { unreachable!("there are three endpoints") };
        tokio::select! {
            _ = first.changed() => {}
            _ = second.changed() => {}
            _ = third.changed() => {}
            // What a journal lacks may also become known by another's.
            () = tokio::time::sleep(left.min(Duration::from_millis(500))) => {}
        }
    }
}

/// The calls that anyone heard of.
fn known_calls(receivers: &[Receiver], told: &[Told]) -> BTreeSet<String> {
    let mut calls: BTreeSet<String> = told.iter().map(|told| told.call.clone()).collect();
    for receiver in receivers {
        calls.extend(receiver.journal().calls.keys().cloned());
    }
    calls
}

fn behind(receivers: &[Receiver], told: &[Told]) -> Option<String> {
    let calls = known_calls(receivers, told);
    receivers.iter().find_map(|receiver| {
        let journal = receiver.journal();
        let waiting: Vec<_> = calls.iter().filter(|call| !is_over(&journal, call)).collect();
        let first = waiting.first()?;
        let last = journal.calls.get(*first).and_then(|events| events.last_key_value());
        let last = last.map(|(seq, sighting)| format!("{seq} {} (taken: {})", sighting.kind, sighting.accepted));
        Some(format!("{} waits for the end of {} calls, such as {first} after {last:?}", receiver.name, waiting.len()))
    })
}

fn is_over(journal: &Journal, call: &str) -> bool {
    let last = journal.calls.get(call).and_then(|events| events.last_key_value());
    last.is_some_and(|(_, sighting)| sighting.accepted && is_end(&sighting.kind))
}

fn is_end(kind: &str) -> bool {
    matches!(kind, "onCallEnd" | "onCallCancelled")
}

/// Holds every endpoint's journal against the record and against what clients were told.
pub fn judge(receivers: &[Receiver], told: &[Told], record: &Path) {
    let store = Store::open(record).expect("the record opens");
    assert!(store.open_calls().expect("it is readable").is_empty(), "a call is open although everyone is gone");
    let backlog: u64 = store.backlog().values().sum();
    let calls = known_calls(receivers, told);
    assert!(!calls.is_empty(), "no call was made");
    let mut facts = 0;
    for receiver in receivers {
        let journal = receiver.journal();
        assert!(journal.wrongs.is_empty(), "{}: {:#?}", receiver.name, journal.wrongs);
        for call in &calls {
            facts += agrees(receiver.name, &journal, call, &store);
        }
        let sightings: usize = journal.calls.values().map(|events| events.len()).sum();
        let (requests, spoiled) = (journal.requests, journal.spoiled);
        eprintln!(
            "{}: {} calls, {sightings} facts in {requests} requests, {spoiled} spoiled",
            receiver.name,
            calls.len()
        );
        assert!(spoiled > 0, "{} was no trouble", receiver.name);
    }
    assert!(facts > 0, "nothing was compared");
    assert_eq!(backlog, 0, "delivery believes that something waits");
    let journal = receivers[0].journal();
    for told in told {
        assert!(was_stored(&journal, told), "a client was told what no webhook says: {told:?}");
    }
}

/// One call at one endpoint is what the record holds, and well formed. Gives the number of its facts.
fn agrees(name: &str, journal: &Journal, call: &str, store: &Store) -> usize {
    let id: CallId = call.parse().expect("a call's id");
    let facts = store.facts(id, 0, MANY).expect("the record is readable");
    let events = journal.calls.get(call).unwrap_or_else(|| panic!("{name} never heard of {call}"));
    let numbers: Vec<u64> = events.keys().copied().collect();
    let wanted: Vec<u64> = (1..=facts.len() as u64).collect();
    assert_eq!(numbers, wanted, "{name}, {call}: the numbers of its events");
    for (fact, (seq, sighting)) in facts.iter().zip(events) {
        assert_eq!(fact.seq, *seq, "{name}, {call}");
        assert!(sighting.accepted, "{name} has not taken {call} {seq}");
        assert!(fact.body == sighting.body, "{name}, {call} {seq}: not the bytes of the record");
    }
    let kinds: Vec<&str> = events.values().map(|sighting| sighting.kind.as_str()).collect();
    let count = |wanted: &str| kinds.iter().filter(|kind| **kind == wanted).count();
    let (begins, ends, cancels) = (count("onCallBegin"), count("onCallEnd"), count("onCallCancelled"));
    assert!(matches!((begins, ends, cancels), (1, 1, 0) | (0, 0, 1)), "{name}, {call}: {kinds:?}");
    assert!(is_end(kinds[kinds.len() - 1]), "{name}, {call}: {kinds:?}");
    assert_eq!(count("onUserJoin"), count("onUserLeave"), "{name}, {call}: {kinds:?}");
    facts.len()
}

/// Whether the fact behind what a client was told is among the call's events.
fn was_stored(journal: &Journal, told: &Told) -> bool {
    let Some(events) = journal.calls.get(&told.call) else { return false };
    let has = |kind: &str, user: &str| {
        events.values().any(|sighting| {
            let said = || String::from_utf8_lossy(&sighting.body).contains(&format!("\"userId\":\"{user}\""));
            sighting.kind == kind && (user.is_empty() || said())
        })
    };
    match told.kind.as_str() {
        "onCallBegin" => has("onCallBegin", ""),
        "onCallReceived" => has("onCallReceived", "") || has("onUserInviting", ""),
        // To a leaver the call is over although it goes on for others.
        "onCallEnd" => has("onUserLeave", "") || has("onCallEnd", ""),
        kind @ ("onUserJoin" | "onUserLeave" | "onUserReject" | "onUserNoResponse" | "onUserLineBusy"
        | "onUserInviting") => has(kind, &told.user),
        _ => true,
    }
}
