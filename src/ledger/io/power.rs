//! The power goes at random moments: nothing that was told is lost, and the record always opens.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::disk::{Disk, Fault};
use super::store::Store;
use crate::base::{CallId, EndpointId, Timestamp};
use crate::event::EventKind;
use crate::ledger::{Append, Change, LaneRow, LaneSave, OwnLane, Record};

const ENDPOINTS: [&str; 2] = ["a", "b"];
/// Where each call has a lane of its own to.
const OWN: &str = "own";
const LANES: [&str; 3] = ["a", "b", OWN];

struct Coin(u64);

impl Coin {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// What the test was told is stored.
#[derive(Default)]
struct Expected {
    /// Each call's last number, and whether it is open.
    calls: BTreeMap<CallId, (u64, bool)>,
    cursors: BTreeMap<(EndpointId, CallId), u64>,
    /// The endpoints' rows.
    endpoints: BTreeMap<EndpointId, Bytes>,
    /// The one that the interrupted commit was to change: before or after, both are right.
    unknown_endpoint: Option<EndpointId>,
}

fn endpoint(name: &str) -> EndpointId {
    name.parse().unwrap()
}

fn record(call: CallId, seq: u64) -> Record {
    let body = Bytes::from(format!("{call} {seq} {}", "x".repeat((seq * 97 % 900) as usize)));
    Record { call, seq, kind: EventKind::UserJoin, time: Timestamp::from_millis(seq), body }
}

/// A few turns on a few calls.
fn turns(coin: &mut Coin, expected: &Expected, after: &mut BTreeMap<CallId, (u64, bool)>) -> Vec<Append> {
    after.clone_from(&expected.calls);
    let lanes: std::sync::Arc<[EndpointId]> = ENDPOINTS.map(endpoint).into();
    let mut turns = Vec::new();
    for _ in 0..1 + coin.below(6) {
        let call = CallId::from_u128(u128::from(coin.below(12)));
        let (last, open) = after.entry(call).or_insert((0, true));
        if !*open {
            continue;
        }
        let own = OwnLane { call, endpoint: endpoint(OWN), target: Bytes::from(call.to_string()) };
        let mut append = Append { lanes: lanes.clone(), own: vec![own], ..Append::default() };
        for _ in 0..1 + coin.below(4) {
            *last += 1;
            append.records.push(record(call, *last));
        }
        if coin.below(8) == 0 {
            *open = false;
            append.closed.push(call);
        } else {
            append.open.push((call, Bytes::from(last.to_string())));
        }
        turns.push(append);
    }
    turns
}

fn saves(coin: &mut Coin, expected: &Expected) -> Vec<LaneSave> {
    let mut saves = Vec::new();
    for (call, (last, _)) in &expected.calls {
        for name in LANES {
            let cursor = expected.cursors.get(&(endpoint(name), *call)).copied().unwrap_or(1);
            if cursor <= *last && coin.below(3) == 0 {
                let next = cursor + 1 + coin.below(*last - cursor + 1);
                let row = Some(LaneRow { next, state: Bytes::new() });
                saves.push(LaneSave { endpoint: endpoint(name), call: *call, row, dead: Vec::new() });
            }
        }
    }
    saves
}

/// An endpoint that comes, changes or goes.
fn changes(coin: &mut Coin, after: &mut BTreeMap<EndpointId, Bytes>) -> Vec<Change> {
    let endpoint = endpoint(&format!("wh_{}", coin.below(4)));
    match coin.below(4) {
        0 => {
            after.remove(&endpoint);
            vec![Change::RemoveEndpoint { endpoint }]
        }
        1 => {
            let row = Bytes::from(format!("{} {}", coin.below(1000), "r".repeat(coin.below(700) as usize)));
            after.insert(endpoint.clone(), row.clone());
            vec![Change::PutEndpoint { endpoint, row }]
        }
        _ => Vec::new(),
    }
}

/// Works until the power goes. What the interrupted commit did is not known, so it is left out of what is expected.
fn work(coin: &mut Coin, store: &Store, expected: &mut Expected) {
    let mut after = BTreeMap::new();
    loop {
        let turns = turns(coin, expected, &mut after);
        let saves = saves(coin, expected);
        let mut endpoints = expected.endpoints.clone();
        let changes = changes(coin, &mut endpoints);
        let (turns, rows): (Vec<&Append>, Vec<&LaneSave>) = (turns.iter().collect(), saves.iter().collect());
        if store.commit(&turns, &rows, &changes.iter().collect::<Vec<_>>()).is_err() {
            expected.unknown_endpoint = changes.first().map(|change| match change {
                Change::PutEndpoint { endpoint, .. } | Change::RemoveEndpoint { endpoint } => endpoint.clone(),
                other => unreachable!("{other:?} is not made here"),
            });
            return;
        }
        expected.endpoints = endpoints;
        expected.calls.clone_from(&after);
        for save in saves {
            let row = save.row.expect("no lane is ended here");
            expected.cursors.insert((save.endpoint, save.call), row.next);
        }
    }
}

/// The first promise that the record breaks; what it holds beyond what was told becomes expected.
fn check(store: &Store, expected: &mut Expected) -> Result<(), String> {
    let open: BTreeMap<CallId, Bytes> =
        store.open_calls().map_err(|e| e.to_string())?.into_iter().map(|open| (open.call, open.snapshot)).collect();
    check_endpoints(store, expected)?;
    let mut bytes = 0;
    for n in 0..12 {
        let call = CallId::from_u128(n);
        let facts = store.facts(call, 0, 10_000).map_err(|e| e.to_string())?;
        bytes += facts.iter().map(|fact| 24 + fact.encode().len() as u64).sum::<u64>();
        let (told, _) = expected.calls.get(&call).copied().unwrap_or((0, true));
        if (facts.len() as u64) < told {
            return Err(format!("{call}: {} facts of {told}", facts.len()));
        }
        if let Some(wrong) = (1..).zip(&facts).find(|(seq, fact)| **fact != record(call, *seq)) {
            return Err(format!("{call}: fact {} is another one", wrong.0));
        }
        let Some(row) = store.call(call).map_err(|e| e.to_string())? else { continue };
        if row.last_seq != facts.len() as u64 || row.open != open.contains_key(&call) {
            return Err(format!("{call}: its row does not fit its facts"));
        }
        if open.get(&call).is_some_and(|snapshot| *snapshot != row.last_seq.to_string()) {
            return Err(format!("{call}: its snapshot is of another time than its facts"));
        }
        for name in LANES {
            let lane = store.lane(&endpoint(name), call).map_err(|e| e.to_string())?;
            if lane.is_none() && row.open {
                return Err(format!("{call}: {name} has no lane"));
            }
            let cursor = lane.map_or(row.last_seq + 1, |lane| lane.next);
            let told = expected.cursors.get(&(endpoint(name), call)).copied().unwrap_or(1);
            if cursor < told {
                return Err(format!("{call}: {name}'s cursor went back from {told} to {cursor}"));
            }
            if cursor > row.last_seq + 1 {
                return Err(format!("{call}: {name}'s lane skips facts"));
            }
            expected.cursors.insert((endpoint(name), call), cursor);
        }
        let own = endpoint(OWN);
        let target = store.target(&own, call).map_err(|e| e.to_string())?;
        let has_lane = store.lane(&own, call).map_err(|e| e.to_string())?.is_some();
        if target != has_lane.then(|| Bytes::from(call.to_string())) {
            return Err(format!("{call}: its own lane and where it goes are not kept together"));
        }
        expected.calls.insert(call, (row.last_seq, row.open));
    }
    match store.fact_bytes().map_err(|e| e.to_string())? {
        counted if counted == bytes => Ok(()),
        counted => Err(format!("{bytes} bytes of facts are counted as {counted}")),
    }
}

fn check_endpoints(store: &Store, expected: &mut Expected) -> Result<(), String> {
    let mut found: BTreeMap<EndpointId, Bytes> = store.endpoints().map_err(|e| e.to_string())?.into_iter().collect();
    if let Some(unknown) = expected.unknown_endpoint.take() {
        match found.get(&unknown).cloned() {
            Some(row) => drop(expected.endpoints.insert(unknown, row)),
            None => drop(expected.endpoints.remove(&unknown)),
        }
    }
    if found == expected.endpoints {
        return Ok(());
    }
    found.retain(|endpoint, row| expected.endpoints.get(endpoint) != Some(row));
    Err(format!("endpoints differ: {:?}", found.keys().collect::<Vec<_>>()))
}

/// `cuts` power cuts on one disk, one after the other.
fn live_through(seed: u64, cuts: u32, fault: Fault) -> Result<(), String> {
    let mut coin = Coin(seed.wrapping_mul(2).wrapping_add(1));
    let disk = Disk::default();
    let mut expected = Expected::default();
    for _ in 0..cuts {
        let same = disk.clone();
        let store = Store::open_with(move || same.database()).map_err(|e| format!("it does not open: {e}"))?;
        check(&store, &mut expected)?;
        disk.set_fault(fault);
        disk.cut_after(1 + coin.below(120) as u32);
        work(&mut coin, &store, &mut expected);
        drop(store);
        let survival = coin.below(5);
        disk.revive(|| coin.below(4) < survival);
    }
    Ok(())
}

#[test]
fn no_power_cut_loses_what_was_told() {
    for seed in 0..250 {
        live_through(seed, 12, Fault::None).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
}

#[test]
fn a_disk_that_lies_about_syncing_is_caught() {
    let caught = (0..10).filter(|seed| live_through(*seed, 4, Fault::Lying).is_err()).count();
    assert!(caught >= 8, "only {caught} of 10 were caught: the simulation cuts no power");
}
