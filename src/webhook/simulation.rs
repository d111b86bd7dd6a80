//! Delivery on a virtual clock: endpoints that fail in every way, a record that writes late, and a server that is killed at random.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::book;
use super::dispatch::{Dispatcher, Input, Observation, Output, PostId, Reply, Request, Settings};
use super::endpoint::{Endpoint, own_of_calls};
use super::outbox::Telemetry;
use super::record::{CallSpan, DeadLetter, LanePage, LaneRow, LaneSave, Record, ReplaySave, StoredEvent, Unreadable};
use super::replay::{self, Order, Progress, ReplayId};
use super::sign::Secret;
use crate::base::{CallId, EndpointId, EventId, Timestamp};
use crate::config::EventFilter;
use crate::event::EventKind;

/// The record in memory: the other implementor of [`Record`]. Rows are written when the test says so.
#[derive(Default)]
struct MemoryRecord {
    facts: BTreeMap<CallId, Vec<StoredEvent>>,
    closed: BTreeSet<CallId>,
    lanes: BTreeMap<(EndpointId, CallId), LaneRow>,
    dead: BTreeMap<(EndpointId, CallId), Vec<DeadLetter>>,
    targets: BTreeMap<CallId, Bytes>,
    replays: BTreeMap<(EndpointId, ReplayId), Bytes>,
    unreadable: bool,
}

impl MemoryRecord {
    fn has_work(&self, call: CallId, row: &LaneRow) -> bool {
        row.next <= self.facts[&call].len() as u64 || !row.memory.is_empty()
    }

    fn write(&mut self, rows: Vec<LaneSave>) {
        for save in rows {
            let key = (save.endpoint, save.call);
            self.dead.entry(key.clone()).or_default().extend(save.dead);
            match save.row {
                Some(row) if !self.closed.contains(&save.call) || self.has_work(save.call, &row) => {
                    self.lanes.insert(key, row);
                }
                _ => drop(self.lanes.remove(&key)),
            }
        }
    }

    fn write_replay(&mut self, save: ReplaySave) {
        for (call, from, to) in save.delivered {
            let dead = self.dead.entry((save.endpoint.clone(), call)).or_default();
            dead.retain(|letter| !(from..=to).contains(&letter.from));
        }
        match save.row {
            Some(row) => drop(self.replays.insert((save.endpoint, save.replay), row)),
            None => drop(self.replays.remove(&(save.endpoint, save.replay))),
        }
    }

    fn row(&self, endpoint: &EndpointId, call: CallId, row: &LaneRow) -> LaneRow {
        let own = *endpoint == own_of_calls();
        let target = self.targets.get(&call).filter(|_| own).and_then(|row| book::decode_own(row)).map(Arc::new);
        LaneRow { target, ..row.clone() }
    }

    fn check(&self) -> Result<(), Unreadable> {
        if self.unreadable { Err(Unreadable("no such device".into())) } else { Ok(()) }
    }
}

impl Record for MemoryRecord {
    fn lanes(&self, endpoint: &EndpointId, after: Option<CallId>, limit: usize) -> Result<LanePage, Unreadable> {
        self.check()?;
        let mut page = LanePage::default();
        for ((of, call), row) in &self.lanes {
            if of != endpoint || after.is_some_and(|after| *call <= after) || !self.has_work(*call, row) {
                continue;
            }
            page.lanes.push((*call, self.row(endpoint, *call, row)));
            if page.lanes.len() == limit {
                page.next = Some(*call);
                break;
            }
        }
        Ok(page)
    }

    fn lane(&self, endpoint: &EndpointId, call: CallId) -> Result<Option<LaneRow>, Unreadable> {
        self.check()?;
        Ok(self.lanes.get(&(endpoint.clone(), call)).map(|row| self.row(endpoint, call, row)))
    }

    fn events(&self, call: CallId, from: u64, limit: usize) -> Result<Vec<StoredEvent>, Unreadable> {
        self.check()?;
        Ok(self.facts[&call].iter().skip(from as usize - 1).take(limit).cloned().collect())
    }

    fn save(&self, _: Vec<LaneSave>, _: Box<dyn FnOnce() + Send>) {
        unreachable!("the simulation writes by itself")
    }

    fn calls(&self, first: CallId, limit: usize) -> Result<Vec<CallSpan>, Unreadable> {
        self.check()?;
        let span = |(call, facts): (&CallId, &Vec<StoredEvent>)| CallSpan {
            call: *call,
            last_seq: facts.len() as u64,
            first: facts[0].time,
            last: facts[facts.len() - 1].time,
        };
        Ok(self.facts.range(first..).take(limit).map(span).collect())
    }

    fn save_replay(&self, _: ReplaySave, _: Box<dyn FnOnce() + Send>) {
        unreachable!("the simulation writes by itself")
    }
}

/// How an endpoint takes an event.
#[derive(Debug, Clone, Copy)]
enum Manner {
    Healthy,
    Slow,
    /// A third of the answers are 500.
    Flaky,
    /// No connection until then.
    DownUntil(u64),
    /// Never answers.
    Hanging,
    /// Does not take this number, of any call.
    Poisoned(u64),
    /// 429 with Retry-After: 7 to every other request.
    Limited,
    /// Redirects, which is no success.
    Moved,
    Gone,
}

enum Happening {
    Fact(CallId),
    Arrive { run: u32, post: PostId, request: Request },
    Answer { run: u32, post: PostId, reply: Reply },
    Written { run: u32, rows: Vec<LaneSave> },
    ReplayWritten { run: u32, save: ReplaySave },
    Kill,
    Disk { readable: bool },
    Telemetry(CallId, u64),
}

/// One arrival at an endpoint that was answered with 2xx.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Taken {
    at: Timestamp,
    id: EventId,
    body: Bytes,
}

struct World {
    random: u64,
    now: Timestamp,
    record: MemoryRecord,
    endpoints: Vec<(Endpoint, Manner)>,
    settings: Settings,
    dispatcher: Dispatcher,
    /// Grows with each kill: what belongs to an earlier run is lost.
    run: u32,
    agenda: BTreeMap<(Timestamp, u64), Happening>,
    number: u64,
    taken: BTreeMap<EndpointId, Vec<Taken>>,
    arrivals: BTreeMap<EndpointId, u64>,
    in_flight: BTreeMap<EndpointId, usize>,
    most_in_flight: usize,
    facts_left: BTreeMap<CallId, u64>,
    own: BTreeMap<String, Manner>,
    observed: Vec<Observation>,
}

fn endpoint(name: &str) -> Endpoint {
    Endpoint {
        id: name.parse().unwrap(),
        url: format!("https://{name}.example/").parse().unwrap(),
        secrets: vec![Secret::generate([1; 32])],
        retiring: Vec::new(),
        events: EventFilter { all_lifecycle: true, named: BTreeSet::new() },
        enabled: true,
    }
}

impl World {
    fn new(seed: u64, manners: &[(&str, Manner)]) -> Self {
        Self::with(seed, manners, Settings { max_in_flight: 8, window: 16, ..Settings::default() })
    }

    fn with(seed: u64, manners: &[(&str, Manner)], settings: Settings) -> Self {
        let endpoints: Vec<_> = manners.iter().map(|(name, manner)| (endpoint(name), *manner)).collect();
        Self {
            random: seed.wrapping_mul(2).wrapping_add(1),
            now: Timestamp::from_millis(1_000_000),
            record: MemoryRecord::default(),
            dispatcher: Dispatcher::new(
                settings,
                endpoints.iter().map(|(endpoint, _)| endpoint.clone()).collect(),
                seed,
            ),
            endpoints,
            settings,
            run: 0,
            agenda: BTreeMap::new(),
            number: 0,
            taken: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            most_in_flight: 0,
            facts_left: BTreeMap::new(),
            own: BTreeMap::new(),
            observed: Vec::new(),
        }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    fn at(&mut self, millis: u64, happening: Happening) {
        self.number += 1;
        self.agenda.insert((self.now + Duration::from_millis(millis), self.number), happening);
    }

    /// `calls` calls of some facts each, spread over `span` milliseconds.
    fn plan_calls(&mut self, calls: u128, span: u64) {
        for n in 1..=calls {
            let call = CallId::from_u128(n << 80 | n);
            let facts = 2 + self.draw(12);
            self.facts_left.insert(call, facts);
            let mut when = self.draw(span);
            for _ in 0..facts {
                self.at(when, Happening::Fact(call));
                when += self.draw(span / 8 + 1);
            }
        }
    }

    fn run_for(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        loop {
            self.drain();
            let wake = self.dispatcher.deadline(self.now).map(|at| at.max(self.now));
            let next = self.agenda.first_key_value().map(|(key, _)| key.0);
            match (next, wake) {
                (Some(at), wake) if at <= end && wake.is_none_or(|wake| at <= wake) => {
                    self.now = at;
                    let (_, happening) = self.agenda.pop_first().unwrap();
                    self.happen(happening);
                }
                (_, Some(wake)) if wake <= end => {
                    self.now = wake;
                    self.dispatcher.handle(Input::Tick, self.now);
                }
                _ => break,
            }
        }
        self.now = end;
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Fact(call) => self.store(call),
            Happening::Arrive { run, post, request } => self.arrive(run, post, &request),
            Happening::Answer { run, post, reply } if run == self.run => {
                self.dispatcher.handle(Input::Answered { post, reply }, self.now);
            }
            Happening::Written { run, rows } if run == self.run => {
                self.record.write(rows);
                self.dispatcher.handle(Input::Saved, self.now);
            }
            Happening::ReplayWritten { run, save } if run == self.run => {
                let endpoint = save.endpoint.clone();
                self.record.write_replay(save);
                self.dispatcher.handle(Input::ReplaySaved(endpoint), self.now);
            }
            Happening::Answer { .. } | Happening::Written { .. } | Happening::ReplayWritten { .. } => {}
            Happening::Kill => self.kill(),
            Happening::Disk { readable } => self.record.unreadable = !readable,
            Happening::Telemetry(call, value) => {
                let event = Telemetry {
                    id: EventId::from_u128(value.into()),
                    kind: EventKind::UserVoiceVolumeChanged,
                    body: value.to_string().into(),
                };
                self.dispatcher.handle(Input::Telemetry { call, event }, self.now);
            }
        }
    }

    fn kill(&mut self) {
        self.run += 1;
        self.in_flight.clear();
        let endpoints = self.endpoints.iter().map(|(endpoint, _)| endpoint.clone()).collect();
        self.dispatcher = Dispatcher::new(self.settings, endpoints, self.run.into());
        for row in self.record.replays.values() {
            let (order, progress) = replay::decode(row).unwrap();
            self.dispatcher.handle(Input::Replay { order, progress }, self.now);
        }
    }

    /// Asks for a replay; the record knows of it before delivery does.
    fn replay(&mut self, name: &str, change: impl FnOnce(&mut Order)) {
        self.number += 1;
        let mut order = Order {
            id: ReplayId::from_u128(self.number.into()),
            endpoint: name.parse().unwrap(),
            made: self.now,
            call: None,
            from: None,
            to: None,
            after_seq: 0,
        };
        change(&mut order);
        let progress = Progress::default();
        self.record.replays.insert((order.endpoint.clone(), order.id), replay::encode(&order, &progress));
        self.dispatcher.handle(Input::Replay { order, progress }, self.now);
    }

    /// A fact and, with the first, the lanes: in one transaction, as the ledger does it.
    fn store(&mut self, call: CallId) {
        let left = self.facts_left.get_mut(&call).unwrap();
        *left -= 1;
        let last = *left == 0;
        let facts = self.record.facts.entry(call).or_default();
        let seq = facts.len() as u64 + 1;
        let kind = match (seq, last) {
            (1, _) => EventKind::CallReceived,
            (_, true) => EventKind::CallEnd,
            _ => EventKind::UserJoin,
        };
        let id = EventId::from_u128(call.as_u128() << 16 | u128::from(seq));
        facts.push(StoredEvent { seq, id, kind, time: self.now, body: format!("{call} {seq}").into() });
        if seq == 1 {
            for (endpoint, _) in &self.endpoints {
                self.record
                    .lanes
                    .insert((endpoint.id.clone(), call), LaneRow { next: 1, memory: Bytes::new(), target: None });
            }
            if self.record.targets.contains_key(&call) {
                let row = LaneRow { next: 1, memory: Bytes::new(), target: None };
                self.record.lanes.insert((own_of_calls(), call), row);
            }
        }
        if last {
            self.record.closed.insert(call);
        }
        self.dispatcher.handle(Input::Stored(call), self.now);
    }

    fn drain(&mut self) {
        while let Some(output) = self.dispatcher.poll(self.now) {
            let input = match output {
                Output::Sweep { endpoint, after, limit } => {
                    Input::Swept { page: self.record.lanes(&endpoint, after, limit.min(5)).ok(), endpoint }
                }
                Output::Load { endpoint, call } => {
                    let row = self.record.lane(&endpoint, call).map_err(|_| super::dispatch::Unread);
                    Input::Loaded { endpoint, call, row }
                }
                Output::Read { endpoint, call, from, limit } => {
                    let events = self.record.events(call, from, limit).map_err(|_| super::dispatch::Unread);
                    Input::Read { endpoint, call, events }
                }
                Output::Post { post, request } => {
                    let host =
                        request.endpoint.url.host_str().unwrap().trim_end_matches(".own.example").parse().unwrap();
                    let name = if request.endpoint.id == own_of_calls() { host } else { request.endpoint.id.clone() };
                    let count = self.in_flight.entry(name).or_default();
                    *count += 1;
                    self.most_in_flight = self.most_in_flight.max(*count);
                    let run = self.run;
                    let delay = self.draw(10);
                    self.at(delay, Happening::Arrive { run, post, request });
                    continue;
                }
                Output::Save(rows) => {
                    let run = self.run;
                    let delay = 20 + self.draw(60);
                    self.at(delay, Happening::Written { run, rows });
                    continue;
                }
                Output::Walk { endpoint, first, limit } => {
                    Input::Walked { endpoint, page: self.record.calls(first, limit).ok() }
                }
                Output::ReadAgain { endpoint, call, from, limit } => {
                    let events = self.record.events(call, from, limit).map_err(|_| super::dispatch::Unread);
                    Input::ReadAgain { endpoint, call, events }
                }
                Output::SaveReplay(save) => {
                    let run = self.run;
                    let delay = 20 + self.draw(60);
                    self.at(delay, Happening::ReplayWritten { run, save });
                    continue;
                }
                Output::Observe(observation) => {
                    self.observed.push(observation);
                    continue;
                }
            };
            self.dispatcher.handle(input, self.now);
        }
    }

    fn arrive(&mut self, run: u32, post: PostId, request: &Request) {
        // Endpoints of calls have one name in the record; here each goes by its host.
        let id = match request.endpoint.url.host_str().unwrap().strip_suffix(".own.example") {
            Some(host) => host.parse().unwrap(),
            None => request.endpoint.id.clone(),
        };
        let manner = self.manner_of(&id);
        *self.arrivals.entry(id.clone()).or_default() += 1;
        let arrivals = self.arrivals[&id];
        let status = |status| Reply::Answered { status, retry_after: None, excerpt: String::new() };
        let (after, reply) = match manner {
            Manner::Healthy => (5, status(200)),
            Manner::Slow => (5000, status(204)),
            Manner::Flaky => (5, if self.draw(3) == 0 { status(500) } else { status(200) }),
            Manner::DownUntil(end) if self.now < Timestamp::from_millis(1_000_000 + end) => {
                (1, Reply::Unreachable("connection refused".into()))
            }
            Manner::DownUntil(_) => (5, status(200)),
            Manner::Hanging => (10_000, Reply::TimedOut),
            Manner::Poisoned(seq) if request.body.ends_with(format!(" {seq}").as_bytes()) => (5, status(400)),
            Manner::Poisoned(_) => (5, status(200)),
            Manner::Limited if arrivals % 2 == 1 => {
                let retry_after = Some(Duration::from_secs(7));
                (5, Reply::Answered { status: 429, retry_after, excerpt: String::new() })
            }
            Manner::Limited => (5, status(200)),
            Manner::Moved => (5, status(302)),
            Manner::Gone => (5, status(410)),
        };
        if run == self.run {
            *self.in_flight.get_mut(&id).unwrap() -= 1;
        }
        if reply.is_success() {
            let taken = Taken { at: self.now, id: request.id, body: request.body.clone() };
            self.taken.entry(id).or_default().push(taken);
        }
        self.at(after, Happening::Answer { run, post, reply });
    }

    fn manner_of(&self, id: &EndpointId) -> Manner {
        let own = self.own.get(id.as_str());
        let shared = || self.endpoints.iter().find(|(endpoint, _)| endpoint.id == *id).map(|(_, manner)| manner);
        *own.or_else(shared).expect("a known endpoint")
    }

    /// `call` brings an endpoint of its own along.
    fn give_own(&mut self, call: CallId, host: &str, manner: Manner) {
        let url = format!("https://{host}.own.example/").parse().unwrap();
        self.record.targets.insert(call, book::encode_own(&url, &Secret::generate([2; 32])));
        self.own.insert(host.to_owned(), manner);
    }

    fn taken_by(&self, name: &str) -> &[Taken] {
        self.taken.get(&name.parse::<EndpointId>().unwrap()).map_or(&[], Vec::as_slice)
    }

    /// The numbers of a call in the order of their first sightings; a gap's come from its event.
    fn first_sightings(&self, name: &str, call: CallId) -> Vec<u64> {
        let prefix = format!("{call} ");
        let mut seen = Vec::new();
        for taken in self.taken_by(name) {
            let text = std::str::from_utf8(&taken.body).unwrap();
            let seqs = match text.strip_prefix(&prefix) {
                Some(seq) => seq.parse::<u64>().unwrap()..=seq.parse().unwrap(),
                None => match gap_of(text, call) {
                    Some(gap) => gap,
                    None => continue,
                },
            };
            for seq in seqs {
                if !seen.contains(&seq) {
                    seen.push(seq);
                }
            }
        }
        seen
    }

    /// Everything was taken, in order, without a gap; a duplicate is byte-identical; the record knows that nothing is left.
    fn assert_all_delivered(&self, name: &str) {
        for (call, facts) in &self.record.facts {
            let expected: Vec<u64> = facts.iter().map(|fact| fact.seq).collect();
            assert_eq!(self.first_sightings(name, *call), expected, "{name} {call}");
        }
        let mut bodies: BTreeMap<EventId, &Bytes> = BTreeMap::new();
        for taken in self.taken_by(name) {
            assert_eq!(
                *bodies.entry(taken.id).or_insert(&taken.body),
                &taken.body,
                "{name}: the same id, the same bytes"
            );
        }
        let left: Vec<_> = self.record.lanes.keys().filter(|(endpoint, _)| endpoint.as_str() == name).collect();
        assert!(left.is_empty(), "{name} has lanes left: {left:?}");
    }

    fn duplicates(&self, name: &str) -> usize {
        let ids: BTreeSet<EventId> = self.taken_by(name).iter().map(|taken| taken.id).collect();
        self.taken_by(name).len() - ids.len()
    }

    /// From the fact to its first arrival.
    fn slowest(&self, name: &str) -> Duration {
        let mut slowest = Duration::ZERO;
        for facts in self.record.facts.values() {
            for fact in facts {
                let first = self.taken_by(name).iter().find(|taken| taken.id == fact.id).unwrap();
                slowest = slowest.max(first.at.since(fact.time));
            }
        }
        slowest
    }
}

fn gap_of(text: &str, call: CallId) -> Option<std::ops::RangeInclusive<u64>> {
    let json: serde_json::Value = serde_json::from_str(text).ok()?;
    let of_this_call = json["callId"] == call.to_string();
    of_this_call.then(|| json["data"]["fromSeq"].as_u64().unwrap()..=json["data"]["toSeq"].as_u64().unwrap())
}

const HOUR: u64 = 3_600_000;
const MINUTE: u64 = 60_000;

#[test]
fn every_fact_comes_once_in_order_to_healthy_endpoints() {
    for seed in 0..50 {
        let mut world = World::new(seed, &[("a", Manner::Healthy), ("b", Manner::Healthy)]);
        world.plan_calls(40, 20_000);
        world.run_for(2 * MINUTE);
        for name in ["a", "b"] {
            world.assert_all_delivered(name);
            assert_eq!(world.duplicates(name), 0, "seed {seed}");
        }
        assert!(world.most_in_flight <= 8, "seed {seed}");
        assert!(
            world.dispatcher.is_quiet() && world.dispatcher.status().iter().all(|status| status.pending_lanes == 0)
        );
    }
}

/// Rows a, b, d and l of the known failures: an error is no delivery, and nobody's trouble is another's.
#[test]
fn a_b_d_l_failing_endpoints_get_everything_and_cost_the_others_nothing() {
    for seed in 0..60 {
        let mut world = World::new(
            seed,
            &[
                ("healthy", Manner::Healthy),
                ("slow", Manner::Slow),
                ("flaky", Manner::Flaky),
                ("down", Manner::DownUntil(60_000)),
                ("limited", Manner::Limited),
                ("hanging", Manner::Hanging),
                ("moved", Manner::Moved),
            ],
        );
        world.plan_calls(30, 20_000);
        world.run_for(3 * HOUR);
        for name in ["healthy", "slow", "flaky", "down", "limited"] {
            world.assert_all_delivered(name);
            assert_eq!(world.duplicates(name), 0, "seed {seed} {name}");
        }
        assert!(world.slowest("healthy") < Duration::from_millis(500), "seed {seed}: {:?}", world.slowest("healthy"));
        assert!(world.taken_by("hanging").is_empty() && world.taken_by("moved").is_empty());
    }
}

#[test]
fn an_endpoint_that_was_down_catches_up_within_a_minute_of_its_return() {
    for seed in 0..20 {
        for down in [MINUTE, 5 * HOUR] {
            let mut world = World::new(seed, &[("down", Manner::DownUntil(down))]);
            world.plan_calls(40, 50_000);
            world.run_for(down + MINUTE);
            world.assert_all_delivered("down");
        }
    }
}

/// Rows f and j: what was stored is delivered, whenever the server dies.
#[test]
fn f_j_a_server_that_is_killed_again_and_again_loses_nothing() {
    for seed in 0..80 {
        let manners = [
            ("healthy", Manner::Healthy),
            ("slow", Manner::Slow),
            ("flaky", Manner::Flaky),
            ("down", Manner::DownUntil(30_000)),
        ];
        let mut world = World::new(seed, &manners);
        world.plan_calls(30, 30_000);
        for _ in 0..20 {
            let when = world.draw(40_000);
            world.at(when, Happening::Kill);
        }
        world.run_for(30 * MINUTE);
        for (name, _) in manners {
            world.assert_all_delivered(name);
        }
    }
}

#[test]
fn a_record_that_cannot_be_read_for_a_while_loses_nothing() {
    for seed in 0..60 {
        let mut world = World::new(seed, &[("a", Manner::Healthy), ("b", Manner::Flaky)]);
        world.plan_calls(30, 30_000);
        for round in 0..5 {
            world.at(round * 6000 + 1000, Happening::Disk { readable: false });
            world.at(round * 6000 + 4000, Happening::Disk { readable: true });
        }
        world.run_for(10 * MINUTE);
        world.assert_all_delivered("a");
        world.assert_all_delivered("b");
    }
}

/// Row g: the receiver is told what it does not get, and gets the rest.
#[test]
fn g_a_poisoned_event_becomes_a_dead_letter_and_a_gap_and_the_lane_goes_on() {
    for seed in 0..5 {
        let mut world = World::new(seed, &[("picky", Manner::Poisoned(2)), ("other", Manner::Healthy)]);
        world.plan_calls(20, HOUR);
        // While other calls come, the endpoint is seen alive.
        world.run_for(80 * HOUR);
        world.assert_all_delivered("picky");
        world.assert_all_delivered("other");
        let dead: Vec<_> = world.record.dead.iter().filter(|(_, letters)| !letters.is_empty()).collect();
        assert_eq!(dead.len(), 20, "each call's second event");
        for ((endpoint, call), letters) in dead {
            assert_eq!((endpoint.as_str(), letters.len(), letters[0].from), ("picky", 1, 2));
            let answer = letters[0].note.answer.as_ref().unwrap();
            assert_eq!((answer.status, answer.error.as_str()), (Some(400), "status 400"));
            assert_eq!(world.record.facts[call][1].seq, 2, "the event itself is kept");
        }
        let statuses = world.dispatcher.status();
        let status = statuses.iter().find(|status| status.id.as_str() == "picky").unwrap();
        assert_eq!((status.id.as_str(), status.counts.dead), ("picky", 20));
    }
}

#[test]
fn a_dead_endpoint_is_asked_by_single_probes_and_its_backlog_stays_on_the_disk() {
    let mut world = World::new(3, &[("dead", Manner::DownUntil(10 * HOUR))]);
    world.plan_calls(200, MINUTE);
    world.run_for(10 * MINUTE);
    let before = world.arrivals[&"dead".parse().unwrap()];
    world.run_for(HOUR);
    let probes = world.arrivals[&"dead".parse().unwrap()] - before;
    assert!((100..=160).contains(&probes), "{probes} probes in an hour");
    assert!(world.dispatcher.status()[0].pending_lanes <= 16 && world.dispatcher.status()[0].more);
    assert!(world.observed.contains(&Observation::CircuitOpened { endpoint: "dead".parse().unwrap() }));
    world.run_for(10 * HOUR);
    world.assert_all_delivered("dead");
    assert!(world.observed.contains(&Observation::CircuitClosed { endpoint: "dead".parse().unwrap() }));
}

#[test]
fn an_endpoint_that_never_answers_gets_its_events_parked_after_three_days() {
    let mut world = World::new(4, &[("dead", Manner::DownUntil(1000 * HOUR))]);
    world.plan_calls(1, 100);
    world.run_for(71 * HOUR);
    assert!(world.record.dead.values().all(Vec::is_empty));
    world.run_for(2 * HOUR);
    let letters: Vec<_> = world.record.dead.values().flatten().collect();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].from, 1);
}

#[test]
fn a_410_disables_the_endpoint_until_a_reload_enables_it() {
    let mut world = World::new(5, &[("gone", Manner::Gone), ("other", Manner::Healthy)]);
    world.plan_calls(20, 10_000);
    world.run_for(HOUR);
    let arrivals = world.arrivals[&"gone".parse().unwrap()];
    assert!(arrivals <= 8, "{arrivals} requests: those that were under way");
    assert_eq!(world.observed.iter().filter(|seen| matches!(seen, Observation::Disabled { .. })).count(), 1);
    assert_eq!(world.dispatcher.enabled().map(EndpointId::as_str).collect::<Vec<_>>(), ["other"]);
    world.assert_all_delivered("other");
    world.endpoints[0].1 = Manner::Healthy;
    let endpoints = world.endpoints.iter().map(|(endpoint, _)| endpoint.clone()).collect();
    world.dispatcher.handle(Input::Reload(endpoints), world.now);
    world.run_for(MINUTE);
    world.assert_all_delivered("gone");
}

#[test]
fn a_reload_adds_and_removes_endpoints_and_the_lanes_of_a_removed_one_stay() {
    let mut world = World::new(6, &[("a", Manner::Healthy), ("b", Manner::DownUntil(30_000))]);
    world.plan_calls(20, 10_000);
    world.run_for(20_000);
    let (a, b) = (world.endpoints[0].0.clone(), world.endpoints[1].0.clone());
    world.dispatcher.handle(Input::Reload(vec![a.clone()]), world.now);
    world.run_for(MINUTE);
    assert!(world.taken_by("b").is_empty());
    world.dispatcher.handle(Input::Reload(vec![a, b]), world.now);
    world.run_for(MINUTE);
    world.assert_all_delivered("b");
}

#[test]
fn a_wide_backlog_is_swept_through_a_narrow_window() {
    let settings = Settings { max_in_flight: 2, window: 4, ..Settings::default() };
    let mut world = World::with(7, &[("a", Manner::DownUntil(20_000)), ("b", Manner::Poisoned(1))], settings);
    world.plan_calls(100, 5000);
    world.run_for(80 * HOUR);
    world.assert_all_delivered("a");
    world.assert_all_delivered("b");
}

#[test]
fn only_wanted_events_are_sent_and_the_rest_is_passed() {
    let mut world = World::new(8, &[("a", Manner::Healthy)]);
    world.endpoints[0].0.events =
        EventFilter { all_lifecycle: false, named: [EventKind::CallReceived, EventKind::CallEnd].into() };
    world.kill();
    world.plan_calls(20, 10_000);
    world.run_for(MINUTE);
    for (call, facts) in &world.record.facts {
        assert_eq!(world.first_sightings("a", *call), [1, facts.len() as u64]);
    }
    assert!(world.record.lanes.is_empty());
}

#[test]
fn telemetry_is_the_newest_value_one_at_a_time_and_only_for_those_who_name_it() {
    let mut world = World::new(9, &[("slow", Manner::Slow), ("star", Manner::Healthy)]);
    world.endpoints[0].0.events =
        EventFilter { all_lifecycle: true, named: [EventKind::UserVoiceVolumeChanged].into() };
    world.kill();
    let call = CallId::from_u128(77);
    for second in 0..30 {
        world.at(second * 1000 + 500, Happening::Telemetry(call, second));
    }
    world.run_for(MINUTE);
    assert!(world.taken_by("star").is_empty());
    let values: Vec<u64> =
        world.taken_by("slow").iter().map(|taken| String::from_utf8_lossy(&taken.body).parse().unwrap()).collect();
    assert!(values.is_sorted() && (6..=8).contains(&values.len()), "{values:?}");
    assert_eq!(*values.last().unwrap(), 29, "the newest comes in the end");
    assert_eq!(world.most_in_flight, 1);
}

#[test]
fn telemetry_never_delays_lifecycle_events() {
    let mut world = World::new(10, &[("a", Manner::Slow)]);
    world.endpoints[0].0.events =
        EventFilter { all_lifecycle: true, named: [EventKind::UserVoiceVolumeChanged].into() };
    world.kill();
    for n in 0..200u64 {
        world.at(n, Happening::Telemetry(CallId::from_u128(n.into()), n));
    }
    world.facts_left.insert(CallId::from_u128(5000), 1);
    world.at(500, Happening::Fact(CallId::from_u128(5000)));
    world.run_for(1000);
    let lifecycle = world.taken_by("a").iter().filter(|taken| taken.body.starts_with(b"call_")).count();
    assert_eq!(lifecycle, 1, "it is sent at once, beside the telemetry");
    assert!(world.taken_by("a").len() <= 3, "a quarter of the slots");
}

#[test]
fn one_seed_is_one_run() {
    let run = || {
        let mut world = World::new(11, &[("a", Manner::Flaky), ("b", Manner::DownUntil(10_000))]);
        world.plan_calls(20, 10_000);
        world.run_for(10 * MINUTE);
        world.taken
    };
    assert_eq!(run(), run());
}

fn calls_of(world: &World) -> Vec<CallId> {
    world.facts_left.keys().copied().collect()
}

#[test]
fn endpoints_that_calls_brought_along_get_their_own_calls_and_no_other() {
    for seed in 0..30 {
        let mut world = World::new(seed, &[("shared", Manner::Healthy)]);
        world.plan_calls(40, 20_000);
        let manners =
            [("a", Manner::Healthy), ("b", Manner::Flaky), ("c", Manner::DownUntil(60_000)), ("d", Manner::Hanging)];
        let calls = calls_of(&world);
        for (n, call) in calls.iter().enumerate() {
            let (host, manner) = manners[n % 4];
            world.give_own(*call, host, manner);
        }
        for _ in 0..10 {
            let when = world.draw(40_000);
            world.at(when, Happening::Kill);
        }
        world.run_for(30 * MINUTE);
        world.assert_all_delivered("shared");
        for (n, call) in calls.iter().enumerate() {
            let facts: Vec<u64> = (1..=world.record.facts[call].len() as u64).collect();
            for (m, (host, _)) in manners.iter().enumerate() {
                let expected = if m == n % 4 && m < 3 { facts.clone() } else { Vec::new() };
                assert_eq!(world.first_sightings(host, *call), expected, "seed {seed} {host} {call}");
            }
        }
        let left = world.record.lanes.keys().filter(|(_, call)| calls.iter().position(|c| c == call).unwrap() % 4 < 3);
        assert_eq!(left.count(), 0, "a lane that is done leaves nothing");
    }
}

#[test]
fn a_host_that_hangs_holds_up_no_other_calls_endpoint() {
    let settings = Settings { max_in_flight: 8, ..Settings::default() };
    let mut world = World::with(1, &[], settings);
    world.plan_calls(300, 1000);
    for (n, call) in calls_of(&world).into_iter().enumerate() {
        let (host, manner) = if n % 10 == 0 { ("good", Manner::Healthy) } else { ("bad", Manner::Hanging) };
        world.give_own(call, host, manner);
    }
    world.run_for(5000);
    assert!(world.most_in_flight <= 8, "requests to one host");
    for (n, call) in calls_of(&world).into_iter().enumerate().filter(|(n, _)| n % 10 == 0) {
        assert_eq!(world.first_sightings("good", call).len(), world.record.facts[&call].len(), "call {n}");
    }
}

#[test]
fn a_calls_endpoint_that_answers_410_is_asked_no_more_and_the_rest_is_a_dead_letter() {
    let mut world = World::new(2, &[("shared", Manner::Healthy)]);
    world.plan_calls(10, 10_000);
    for call in calls_of(&world) {
        world.give_own(call, "gone", Manner::Gone);
    }
    world.run_for(HOUR);
    world.assert_all_delivered("shared");
    assert_eq!(world.arrivals[&"gone".parse().unwrap()], 10, "one request for each call");
    assert!(world.record.lanes.is_empty());
    let dead =
        world.record.dead.iter().filter(|((endpoint, _), letters)| *endpoint == own_of_calls() && letters.len() == 1);
    assert_eq!(dead.count(), 10);
    let ended = world.observed.iter().filter(|seen| matches!(seen, Observation::LaneEnded { .. }));
    assert_eq!(ended.count(), 10);
}

#[test]
fn a_replay_sends_the_same_bytes_in_order_whoever_is_killed_meanwhile() {
    for seed in 0..40 {
        let manner = if seed % 2 == 0 { Manner::Healthy } else { Manner::Flaky };
        let mut world = World::new(seed, &[("a", manner), ("b", Manner::Healthy)]);
        world.plan_calls(40, 20_000);
        world.run_for(20 * MINUTE);
        world.assert_all_delivered("a");
        let before = world.taken_by("a").len();
        let others = world.taken_by("b").len();
        world.replay("a", |_| ());
        for _ in 0..6 {
            let when = world.draw(20_000);
            world.at(when, Happening::Kill);
        }
        world.run_for(20 * MINUTE);
        let again = world.taken_by("a")[before..].to_vec();
        for (call, facts) in &world.record.facts {
            let ids: Vec<EventId> = facts.iter().map(|fact| fact.id).collect();
            let mut seen = Vec::new();
            for taken in again.iter().filter(|taken| ids.contains(&taken.id)) {
                let fact = &facts[ids.iter().position(|id| *id == taken.id).unwrap()];
                assert_eq!(taken.body, fact.body);
                if !seen.contains(&taken.id) {
                    seen.push(taken.id);
                }
            }
            assert_eq!(seen, ids, "seed {seed} {call}");
        }
        assert_eq!(world.taken_by("b").len(), others, "nobody else hears of it");
        assert!(world.record.replays.is_empty(), "seed {seed}: a replay that is done is forgotten");
        assert!(world.observed.iter().any(|seen| matches!(seen, Observation::ReplayDone { failed: 0, .. })));
    }
}

#[test]
fn a_replay_is_as_narrow_as_it_was_asked_for() {
    let mut world = World::new(3, &[("a", Manner::Healthy)]);
    world.plan_calls(30, 60_000);
    world.run_for(10 * MINUTE);
    let facts: Vec<StoredEvent> = world.record.facts.values().flatten().cloned().collect();
    let call = *world.record.facts.keys().nth(7).unwrap();
    let (from, to) = (Timestamp::from_millis(1_020_000), Timestamp::from_millis(1_040_000));
    type Narrowing<'a> = (Box<dyn FnOnce(&mut Order)>, Box<dyn Fn(&StoredEvent) -> bool + 'a>);
    let cases: Vec<Narrowing<'_>> = vec![
        (
            Box::new(move |order| (order.from, order.to) = (Some(from), Some(to))),
            Box::new(move |fact| (from..=to).contains(&fact.time)),
        ),
        (
            Box::new(move |order| (order.call, order.after_seq) = (Some(call), 1)),
            Box::new(move |fact| fact.seq > 1 && fact.id.as_u128() >> 16 == call.as_u128()),
        ),
        (Box::new(|order| order.call = Some(CallId::from_u128(5))), Box::new(|_| false)),
    ];
    for (narrow, is_in) in cases {
        let before = world.taken_by("a").len();
        world.replay("a", narrow);
        world.run_for(MINUTE);
        let again: BTreeSet<EventId> = world.taken_by("a")[before..].iter().map(|taken| taken.id).collect();
        let expected: BTreeSet<EventId> = facts.iter().filter(|fact| is_in(fact)).map(|fact| fact.id).collect();
        assert_eq!(again, expected);
        assert!(world.record.replays.is_empty());
    }
}

#[test]
fn dead_letters_that_a_replay_delivers_are_none_any_more() {
    let mut world = World::new(4, &[("picky", Manner::Poisoned(2)), ("other", Manner::Healthy)]);
    world.plan_calls(20, HOUR);
    world.run_for(80 * HOUR);
    assert_eq!(world.record.dead.values().flatten().count(), 20);
    world.endpoints[0].1 = Manner::Healthy;
    world.replay("picky", |_| ());
    world.run_for(HOUR);
    assert_eq!(world.record.dead.values().flatten().count(), 0);
}

#[test]
fn live_events_do_not_wait_for_a_replay() {
    let settings = Settings { max_in_flight: 8, ..Settings::default() };
    let mut world = World::with(5, &[("slow", Manner::Slow)], settings);
    world.plan_calls(200, MINUTE);
    world.run_for(HOUR);
    world.replay("slow", |_| ());
    let call = CallId::from_u128(u128::MAX - 1);
    world.facts_left.insert(call, 1);
    world.at(10_000, Happening::Fact(call));
    world.run_for(11_000);
    assert_eq!(world.first_sightings("slow", call), [1], "it is sent at once, beside the replay");
    assert!(world.most_in_flight <= 8 + 2);
}

#[test]
fn what_is_too_old_to_be_kept_is_told_as_a_gap() {
    for seed in 0..10 {
        let mut world = World::new(seed, &[("down", Manner::DownUntil(HOUR)), ("up", Manner::Healthy)]);
        world.plan_calls(20, 30_000);
        world.run_for(30 * MINUTE);
        for call in calls_of(&world) {
            let to = world.record.facts[&call].len() as u64;
            world.dispatcher.handle(Input::Expire { call, to }, world.now);
        }
        world.run_for(2 * HOUR);
        world.assert_all_delivered("up");
        world.assert_all_delivered("down");
        let expired = world.observed.iter().filter(|seen| matches!(seen, Observation::Expired { .. })).count();
        assert_eq!(expired, 20, "seed {seed}");
        assert!(world.taken_by("down").iter().all(|taken| taken.body.starts_with(b"{")), "gaps only");
        assert!(world.record.dead.iter().all(|((endpoint, _), dead)| dead.is_empty() || endpoint.as_str() == "down"));
    }
}

#[test]
fn an_endpoint_with_a_new_address_is_asked_at_once() {
    let mut world = World::new(12, &[("moved", Manner::DownUntil(HOUR))]);
    world.plan_calls(1, 1000);
    // It was tried for a while, so that the next attempt is far away.
    world.run_for(50 * MINUTE);
    world.endpoints[0].1 = Manner::Healthy;
    world.endpoints[0].0.url = "https://elsewhere.example/".parse().unwrap();
    let endpoints = vec![world.endpoints[0].0.clone()];
    world.dispatcher.handle(Input::Reload(endpoints), world.now);
    world.run_for(1000);
    world.assert_all_delivered("moved");
}
