//! What an operator can count: every metric of the node, kept here and written out for Prometheus.
//!
//! The names and help texts are in [`catalogue`]. The packet path never comes here: a shard hands over a [`ShardSnapshot`] once a second.

pub mod catalogue;
mod collect;
mod io;
mod network;
mod process;
mod register;
pub mod shard;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use prometheus::{
    GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
};

use crate::base::EndpointId;
use crate::event::{Class, EventKind};

use collect::{ProcessCollector, ShardCollector, Shards};
use io::Shared;
use register::register;

pub use network::{NetworkCensus, Way};
pub use shard::{Drops, ShardSnapshot, TURN_BUCKETS};

/// Endpoints with series of their own, 28 each; those beyond share [`OTHER_ENDPOINTS`]. More: a larger scrape; fewer: operators with many
/// receivers cannot tell them apart.
pub const MAX_ENDPOINTS: usize = 256;

/// The label of every endpoint without series of its own; no endpoint's id has a bracket.
pub const OTHER_ENDPOINTS: &str = "(other)";

/// All metrics of the node. Clones are the same metrics.
#[derive(Clone)]
pub struct Metrics(Arc<Parts>);

struct Parts {
    registry: Registry,
    calls: IntGaugeVec,
    sessions: IntGauge,
    events: IntCounterVec,
    ready: IntGauge,
    networks: IntGaugeVec,
    impairments: IntGaugeVec,
    websocket_connections: IntGauge,
    shards: Shards,
    endpoints: Shared<BTreeSet<EndpointId>>,
    deliveries: IntCounterVec,
    delivery_latency: HistogramVec,
    pending: IntGaugeVec,
    oldest_pending: GaugeVec,
    commits: IntCounter,
    commit_time: Histogram,
    facts: IntCounter,
    ledger_size: IntGauge,
    ledger_healthy: IntGauge,
    fact_bytes: IntGauge,
    forgotten: IntCounter,
    expired: IntCounter,
}

/// What became of a webhook request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryResult {
    /// 2xx, so long after the fact.
    Delivered { latency: Duration },
    /// Any other answer, or none.
    Failed,
    /// A request that is not the event's first is sent.
    Retried,
    /// The event is given up.
    Dead,
    /// The address is not allowed: no request was made.
    Refused,
}

impl DeliveryResult {
    const LABELS: [&str; 5] = ["delivered", "failed", "retried", "dead", "refused"];

    const fn label(self) -> &'static str {
        match self {
            DeliveryResult::Delivered { .. } => "delivered",
            DeliveryResult::Failed => "failed",
            DeliveryResult::Retried => "retried",
            DeliveryResult::Dead => "dead",
            DeliveryResult::Refused => "refused",
        }
    }
}

/// One connection, counted until this is dropped.
#[must_use = "the connection is counted only while this lives"]
pub struct OpenConnection(IntGauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Metrics of a node that has done nothing yet. Every series whose labels are known starts at zero, so that its first step is seen.
    pub fn new(version: &str) -> Self {
        let registry = Registry::new();
        catalogue::BUILD_INFO.gauges(&registry).with_label_values(&[version]).set(1);
        let shards = register(&registry, ShardCollector::default()).latest;
        register(&registry, ProcessCollector::default());
        let metrics = Self(Arc::new(Parts::new(registry, shards)));
        metrics.calls_by_state(0, 0);
        metrics.network(&NetworkCensus::default());
        for kind in EventKind::ALL.iter().filter(|kind| kind.class() == Class::Lifecycle) {
            metrics.0.events.with_label_values(&[kind.name()]);
        }
        metrics.0.begin_endpoint(OTHER_ENDPOINTS);
        metrics.ledger_recovered();
        metrics
    }

    /// Everything in Prometheus' text format, version 0.0.4.
    pub fn render(&self) -> String {
        let families = self.0.registry.gather();
        TextEncoder::new().encode_to_string(&families).expect("each family has a name and at least one sample")
    }

    /// Calls at this moment.
    pub fn calls_by_state(&self, ringing: usize, begun: usize) {
        for (state, calls) in [("ringing", ringing), ("begun", begun)] {
            self.0.calls.with_label_values(&[state]).set(as_gauge(calls as u64));
        }
    }

    /// Whether new calls are taken at this moment.
    pub fn ready(&self, ready: bool) {
        self.0.ready.set(i64::from(ready));
    }

    /// The members' networks at this moment.
    pub fn network(&self, census: &NetworkCensus) {
        census.show(&self.0.networks, &self.0.impairments);
    }

    /// Sessions at this moment.
    pub fn sessions(&self, sessions: usize) {
        self.0.sessions.set(as_gauge(sessions as u64));
    }

    /// A lifecycle event is stored and told.
    pub fn fact(&self, kind: EventKind) {
        self.0.events.with_label_values(&[kind.name()]).inc();
    }

    /// Counts a client's WebSocket until the answer is dropped.
    pub fn websocket(&self) -> OpenConnection {
        let gauge = self.0.websocket_connections.clone();
        gauge.inc();
        OpenConnection(gauge)
    }

    /// Takes the place of the shard's last snapshot.
    pub fn set_shard(&self, snapshot: ShardSnapshot) {
        self.0.shards.with(|shards| shards.insert(snapshot.shard, snapshot));
    }

    /// Gives an endpoint of the configuration or of the API series of its own, from zero. Endpoints that a call brought along are not declared:
    /// their number has no bound, and they count as [`OTHER_ENDPOINTS`].
    pub fn declare_endpoint(&self, endpoint: &EndpointId) {
        let own = self.0.endpoints.with(|known| {
            let own = known.contains(endpoint) || known.len() < MAX_ENDPOINTS;
            if own {
                known.insert(endpoint.clone());
            }
            own
        });
        if own {
            self.0.begin_endpoint(endpoint.as_str());
        }
    }

    /// Ends the series of an endpoint that is gone.
    pub fn forget_endpoint(&self, endpoint: &EndpointId) {
        if self.0.endpoints.with(|known| known.remove(endpoint)) {
            self.0.end_endpoint(endpoint.as_str());
        }
    }

    /// Something became of a webhook request.
    pub fn delivery(&self, endpoint: &EndpointId, result: DeliveryResult) {
        let endpoint = self.0.label(endpoint);
        self.0.deliveries.with_label_values(&[endpoint, result.label()]).inc();
        if let DeliveryResult::Delivered { latency } = result {
            self.0.delivery_latency.with_label_values(&[endpoint]).observe(latency.as_secs_f64());
        }
    }

    /// What a declared endpoint has not confirmed at this moment: how many events, and how old the oldest is. The age is as fresh as the last call.
    pub fn pending(&self, endpoint: &EndpointId, events: u64, oldest: Option<Duration>) {
        let endpoint = self.0.label(endpoint);
        self.0.pending.with_label_values(&[endpoint]).set(as_gauge(events));
        self.0.oldest_pending.with_label_values(&[endpoint]).set(oldest.unwrap_or_default().as_secs_f64());
    }

    /// A transaction with so many facts is durable.
    pub fn ledger_commit(&self, took: Duration, facts: usize) {
        self.0.commits.inc();
        self.0.commit_time.observe(took.as_secs_f64());
        self.0.facts.inc_by(facts as u64);
    }

    /// The size of the record on the disk.
    pub fn ledger_size(&self, bytes: u64) {
        self.0.ledger_size.set(as_gauge(bytes));
    }

    /// The bytes of the facts that are kept.
    pub fn fact_bytes(&self, bytes: u64) {
        self.0.fact_bytes.set(as_gauge(bytes));
    }

    /// Calls are not kept any longer.
    pub fn forgotten(&self, calls: u64) {
        self.0.forgotten.inc_by(calls);
    }

    /// Events that an endpoint had not got are not kept any longer.
    pub fn expired(&self, events: u64) {
        self.0.expired.inc_by(events);
    }

    /// The record cannot be written.
    pub fn ledger_failing(&self) {
        self.0.ledger_healthy.set(0);
    }

    /// The record can be written again.
    pub fn ledger_recovered(&self) {
        self.0.ledger_healthy.set(1);
    }
}

impl Parts {
    fn new(registry: Registry, shards: Shards) -> Self {
        Self {
            calls: catalogue::CALLS.gauges(&registry),
            sessions: catalogue::SESSIONS.gauge(&registry),
            events: catalogue::EVENTS.counters(&registry),
            ready: catalogue::READY.gauge(&registry),
            networks: catalogue::NETWORKS.gauges(&registry),
            impairments: catalogue::IMPAIRMENTS.gauges(&registry),
            websocket_connections: catalogue::WEBSOCKET_CONNECTIONS.gauge(&registry),
            shards,
            endpoints: Shared::default(),
            deliveries: catalogue::DELIVERIES.counters(&registry),
            delivery_latency: catalogue::DELIVERY_LATENCY.histograms(&registry, &catalogue::LATENCY_BUCKETS),
            pending: catalogue::PENDING.gauges(&registry),
            oldest_pending: catalogue::OLDEST_PENDING.float_gauges(&registry),
            commits: catalogue::LEDGER_COMMITS.counter(&registry),
            commit_time: catalogue::LEDGER_COMMIT_TIME.histogram(&registry, &catalogue::COMMIT_BUCKETS),
            facts: catalogue::LEDGER_FACTS.counter(&registry),
            ledger_size: catalogue::LEDGER_SIZE.gauge(&registry),
            ledger_healthy: catalogue::LEDGER_HEALTHY.gauge(&registry),
            fact_bytes: catalogue::LEDGER_FACT_BYTES.gauge(&registry),
            forgotten: catalogue::LEDGER_FORGOTTEN.counter(&registry),
            expired: catalogue::LEDGER_EXPIRED.counter(&registry),
            registry,
        }
    }

    /// What the endpoint is called in labels.
    fn label<'a>(&self, endpoint: &'a EndpointId) -> &'a str {
        if self.endpoints.with(|known| known.contains(endpoint)) { endpoint.as_str() } else { OTHER_ENDPOINTS }
    }

    fn begin_endpoint(&self, label: &str) {
        for result in DeliveryResult::LABELS {
            self.deliveries.with_label_values(&[label, result]);
        }
        self.delivery_latency.with_label_values(&[label]);
        self.pending.with_label_values(&[label]);
        self.oldest_pending.with_label_values(&[label]);
    }

    fn end_endpoint(&self, label: &str) {
        // A series that is not there is what was asked for.
        for result in DeliveryResult::LABELS {
            let _ = self.deliveries.remove_label_values(&[label, result]);
        }
        let _ = self.delivery_latency.remove_label_values(&[label]);
        let _ = self.pending.remove_label_values(&[label]);
        let _ = self.oldest_pending.remove_label_values(&[label]);
    }
}

/// The crate's gauges are signed; no count of ours comes near the limit.
fn as_gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Write;
    use std::process::{Command, Output, Stdio};

    use super::*;
    use crate::base::Quality;
    use catalogue::Kind;

    fn endpoint(id: &str) -> EndpointId {
        id.parse().unwrap()
    }

    /// A node that has done a little of everything.
    fn busy() -> Metrics {
        let metrics = Metrics::new("1.2.3");
        metrics.calls_by_state(2, 3);
        metrics.sessions(9);
        metrics.fact(EventKind::CallBegin);
        metrics.declare_endpoint(&endpoint("billing"));
        metrics.delivery(&endpoint("billing"), DeliveryResult::Delivered { latency: Duration::from_millis(30) });
        metrics.delivery(&endpoint("billing"), DeliveryResult::Failed);
        metrics.pending(&endpoint("billing"), 4, Some(Duration::from_millis(1500)));
        metrics.ledger_commit(Duration::from_millis(2), 5);
        metrics.ledger_size(1 << 40);
        metrics.set_shard(snapshot(0));
        metrics.set_shard(snapshot(1));
        metrics
    }

    fn snapshot(shard: usize) -> ShardSnapshot {
        ShardSnapshot {
            shard,
            peers: 4,
            bytes_out: 12_345_678_901_234,
            drops: Drops { muted: 17, ..Drops::default() },
            turns: 9,
            turn_time: Duration::from_millis(25),
            turn_histogram: [1, 2, 3, 4, 5, 6, 7, 8],
            ..ShardSnapshot::default()
        }
    }

    #[track_caller]
    fn assert_line(metrics: &Metrics, line: &str) {
        let text = metrics.render();
        assert!(text.lines().any(|candidate| candidate == line), "no line {line} in\n{text}");
    }

    /// Runs Prometheus' own checker, which the tests need: a format that only we accept is no format.
    fn promtool(arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new("promtool")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool, of Prometheus, is needed on the PATH (Debian: apt install prometheus)");
        child.stdin.take().expect("it is piped").write_all(input.as_bytes()).expect("promtool reads all of it");
        child.wait_with_output().expect("promtool ends")
    }

    #[track_caller]
    fn assert_accepted(output: &Output) {
        let said = [&output.stdout[..], &output.stderr[..]].concat();
        assert!(output.status.success(), "promtool: {}", String::from_utf8_lossy(&said));
    }

    #[test]
    fn promtool_finds_no_fault() {
        assert_accepted(&promtool(&["check", "metrics"], &Metrics::new("0.0.0").render()));
        assert_accepted(&promtool(&["check", "metrics"], &busy().render()));
    }

    #[test]
    fn promtool_does_find_faults() {
        let faulty = busy().render().replace("callisto_events_total", "callisto_events");
        assert!(!promtool(&["check", "metrics"], &faulty).status.success());
    }

    #[test]
    fn promtool_accepts_the_scrape_configuration() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus.yml");
        assert_accepted(&promtool(&["check", "config", file], ""));
    }

    #[test]
    fn what_is_declared_is_written_and_what_is_written_is_declared() {
        let text = busy().render();
        let header = |tag: &str| -> BTreeMap<String, String> {
            let lines = text.lines().filter_map(|line| line.strip_prefix(tag)?.split_once(' '));
            lines.map(|(name, rest)| (name.to_owned(), rest.to_owned())).collect()
        };
        let kind = |kind| match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let declared = |value: fn(&catalogue::Declaration) -> String| -> BTreeMap<String, String> {
            catalogue::ALL.iter().map(|metric| (metric.name.to_owned(), value(metric))).collect()
        };
        assert_eq!(header("# HELP "), declared(|metric| metric.help.to_owned()));
        let kinds = catalogue::ALL.iter().map(|metric| (metric.name.to_owned(), kind(metric.kind).to_owned()));
        assert_eq!(header("# TYPE "), kinds.collect());
    }

    #[test]
    fn a_node_begins_with_every_known_series_at_zero() {
        let metrics = Metrics::new("1.2.3");
        assert_line(&metrics, r#"callisto_build_info{version="1.2.3"} 1"#);
        assert_line(&metrics, r#"callisto_calls{state="ringing"} 0"#);
        assert_line(&metrics, r#"callisto_events_total{type="onCallEnd"} 0"#);
        assert_line(&metrics, r#"callisto_webhook_deliveries_total{endpoint="(other)",result="dead"} 0"#);
        assert_line(&metrics, "callisto_ledger_healthy 1");
        assert!(!metrics.render().contains("onUserVoiceVolumeChanged"), "telemetry is no fact");
    }

    #[test]
    fn networks_are_counted_each_way_and_nobody_is_kept() {
        let metrics = Metrics::new("1.2.3");
        let mut census = NetworkCensus::default();
        census.level(Way::Up, Quality::Bad);
        census.cause(Way::Up, "loss");
        census.level(Way::Down, Quality::Good);
        metrics.network(&census);
        assert_line(&metrics, r#"callisto_member_networks{direction="up",level="Bad"} 1"#);
        assert_line(&metrics, r#"callisto_member_network_impairments{cause="loss",direction="up"} 1"#);
        assert_line(&metrics, r#"callisto_member_networks{direction="down",level="Good"} 1"#);
        metrics.network(&NetworkCensus::default());
        assert_line(&metrics, r#"callisto_member_networks{direction="up",level="Bad"} 0"#);
        assert_line(&metrics, r#"callisto_member_network_impairments{cause="loss",direction="up"} 0"#);
    }

    #[test]
    fn each_shard_shows_its_latest_snapshot() {
        let metrics = busy();
        assert_line(&metrics, r#"callisto_media_peers{shard="1"} 4"#);
        assert_line(&metrics, r#"callisto_media_sent_bytes_total{shard="0"} 12345678901234"#);
        assert_line(&metrics, r#"callisto_media_dropped_packets_total{shard="0",reason="muted"} 17"#);
        metrics.set_shard(ShardSnapshot { peers: 7, ..snapshot(1) });
        assert_line(&metrics, r#"callisto_media_peers{shard="1"} 7"#);
        assert_line(&metrics, r#"callisto_media_peers{shard="0"} 4"#);
    }

    #[test]
    fn a_turn_beyond_the_last_bound_is_in_the_count_only() {
        let metrics = busy();
        assert_line(&metrics, r#"callisto_media_turn_duration_seconds_bucket{shard="0",le="0.00005"} 1"#);
        assert_line(&metrics, r#"callisto_media_turn_duration_seconds_bucket{shard="0",le="0.01"} 8"#);
        assert_line(&metrics, r#"callisto_media_turn_duration_seconds_bucket{shard="0",le="+Inf"} 9"#);
        assert_line(&metrics, r#"callisto_media_turn_duration_seconds_sum{shard="0"} 0.025"#);
    }

    #[test]
    fn deliveries_count_by_endpoint_and_result() {
        let metrics = busy();
        assert_line(&metrics, r#"callisto_webhook_deliveries_total{endpoint="billing",result="delivered"} 1"#);
        assert_line(&metrics, r#"callisto_webhook_deliveries_total{endpoint="billing",result="failed"} 1"#);
        assert_line(&metrics, r#"callisto_webhook_deliveries_total{endpoint="billing",result="retried"} 0"#);
        assert_line(&metrics, r#"callisto_webhook_delivery_latency_seconds_bucket{endpoint="billing",le="0.05"} 1"#);
        assert_line(&metrics, r#"callisto_webhook_delivery_latency_seconds_count{endpoint="billing"} 1"#);
        assert_line(&metrics, r#"callisto_webhook_oldest_pending_age_seconds{endpoint="billing"} 1.5"#);
        metrics.pending(&endpoint("billing"), 0, None);
        assert_line(&metrics, r#"callisto_webhook_oldest_pending_age_seconds{endpoint="billing"} 0"#);
    }

    #[test]
    fn every_result_has_its_series() {
        let results = [
            DeliveryResult::Delivered { latency: Duration::ZERO },
            DeliveryResult::Failed,
            DeliveryResult::Retried,
            DeliveryResult::Dead,
            DeliveryResult::Refused,
        ];
        assert_eq!(results.map(DeliveryResult::label), DeliveryResult::LABELS);
    }

    #[test]
    fn endpoints_of_single_calls_and_too_many_endpoints_share_their_series() {
        let metrics = Metrics::new("1.2.3");
        metrics.delivery(&endpoint("of-one-call"), DeliveryResult::Failed);
        for n in 0..=MAX_ENDPOINTS {
            metrics.declare_endpoint(&endpoint(&format!("e{n}")));
        }
        metrics.delivery(&endpoint(&format!("e{MAX_ENDPOINTS}")), DeliveryResult::Failed);
        assert_line(&metrics, r#"callisto_webhook_deliveries_total{endpoint="(other)",result="failed"} 2"#);
        assert!(!metrics.render().contains("of-one-call"));
        assert!(!metrics.render().contains(&format!("e{MAX_ENDPOINTS}")));
    }

    #[test]
    fn a_forgotten_endpoint_leaves_nothing_and_makes_room() {
        let metrics = busy();
        metrics.forget_endpoint(&endpoint("billing"));
        assert!(!metrics.render().contains("billing"));
        metrics.delivery(&endpoint("billing"), DeliveryResult::Dead);
        assert!(!metrics.render().contains("billing"), "a late result does not bring it back");
    }

    #[test]
    fn a_connection_counts_while_it_is_held() {
        let metrics = Metrics::new("1.2.3");
        let socket = metrics.websocket();
        assert_line(&metrics, "callisto_websocket_connections 1");
        drop(socket);
        assert_line(&metrics, "callisto_websocket_connections 0");
    }

    #[test]
    fn the_ledgers_trouble_shows() {
        let metrics = busy();
        metrics.ledger_failing();
        assert_line(&metrics, "callisto_ledger_healthy 0");
        metrics.ledger_recovered();
        assert_line(&metrics, "callisto_ledger_healthy 1");
        assert_line(&metrics, "callisto_ledger_commits_total 1");
        assert_line(&metrics, "callisto_ledger_facts_total 5");
        assert_line(&metrics, r#"callisto_ledger_commit_duration_seconds_bucket{le="0.0025"} 1"#);
        assert_line(&metrics, "callisto_ledger_size_bytes 1099511627776");
    }

    #[test]
    fn two_nodes_in_one_process_share_nothing() {
        let (one, other) = (Metrics::new("1"), Metrics::new("1"));
        one.clone().sessions(5);
        assert_line(&one, "callisto_sessions 5");
        assert_line(&other, "callisto_sessions 0");
    }
}
