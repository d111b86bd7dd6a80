//! Metrics that are read at the scrape: the shards' latest snapshots and the process's own figures.

use std::collections::BTreeMap;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::catalogue::{self, Declaration, Kind};
use super::io::{self, Shared};
use super::process::Usage;
use super::shard::{ShardSnapshot, TURN_BUCKETS};

/// The newest snapshot of each shard.
pub(super) type Shards = Shared<BTreeMap<usize, ShardSnapshot>>;

type ShardValue = (Declaration, fn(&ShardSnapshot) -> u64);
type ProcessValue = (Declaration, fn(&Usage) -> f64);

/// Everything of a snapshot that is one number.
const SHARD_VALUES: &[ShardValue] = &[
    (catalogue::PEERS, |shard| shard.peers),
    (catalogue::ROOMS, |shard| shard.rooms),
    (catalogue::RECEIVED_DATAGRAMS, |shard| shard.datagrams_in),
    (catalogue::SENT_DATAGRAMS, |shard| shard.datagrams_out),
    (catalogue::RECEIVED_BYTES, |shard| shard.bytes_in),
    (catalogue::SENT_BYTES, |shard| shard.bytes_out),
    (catalogue::RTP_RECEIVED, |shard| shard.rtp_in),
    (catalogue::RTP_FORWARDED, |shard| shard.rtp_forwarded),
    (catalogue::NACKS_RECEIVED, |shard| shard.nacks_received),
    (catalogue::NACKS_SENT, |shard| shard.nacks_sent),
    (catalogue::RETRANSMISSIONS, |shard| shard.retransmissions),
    (catalogue::KEYFRAME_REQUESTS_RECEIVED, |shard| shard.keyframe_requests_received),
    (catalogue::KEYFRAME_REQUESTS_SENT, |shard| shard.keyframe_requests_sent),
    (catalogue::SEND_CALLS, |shard| shard.send_calls),
    (catalogue::SEND_ERRORS, |shard| shard.send_errors),
];

const PROCESS_VALUES: &[ProcessValue] = &[
    (catalogue::PROCESS_CPU, |usage| usage.cpu_seconds),
    (catalogue::PROCESS_RESIDENT, |usage| usage.resident as f64),
    (catalogue::PROCESS_VIRTUAL, |usage| usage.address_space as f64),
    (catalogue::PROCESS_OPEN_FDS, |usage| usage.open_fds as f64),
    (catalogue::PROCESS_MAX_FDS, |usage| usage.max_fds as f64),
    (catalogue::PROCESS_THREADS, |usage| usage.threads as f64),
    (catalogue::PROCESS_START, |usage| usage.start_time),
];

#[derive(Clone)]
pub(super) struct ShardCollector {
    descs: Vec<Desc>,
    pub latest: Shards,
}

impl Default for ShardCollector {
    fn default() -> Self {
        let single = SHARD_VALUES.iter().map(|(declaration, _)| declaration.desc());
        let descs = single.chain([catalogue::DROPS.desc(), catalogue::TURN_TIME.desc()]).collect();
        Self { descs, latest: Shards::default() }
    }
}

impl Collector for ShardCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let shards: Vec<ShardSnapshot> = self.latest.with(|latest| latest.values().cloned().collect());
        let single = SHARD_VALUES.iter().map(|(declaration, read)| {
            family(declaration, shards.iter().map(|shard| value(declaration, &[&name(shard)], read(shard) as f64)))
        });
        let drops = family(&catalogue::DROPS, shards.iter().flat_map(drops));
        let turns = family(&catalogue::TURN_TIME, shards.iter().map(turn_time));
        single.chain([drops, turns]).collect()
    }
}

/// A shard's label value.
fn name(shard: &ShardSnapshot) -> String {
    shard.shard.to_string()
}

fn drops(shard: &ShardSnapshot) -> impl Iterator<Item = Metric> + use<> {
    let name = name(shard);
    let counts = shard.drops.by_reason().into_iter();
    counts.map(move |(reason, count)| value(&catalogue::DROPS, &[&name, reason], count as f64))
}

fn turn_time(shard: &ShardSnapshot) -> Metric {
    let buckets = TURN_BUCKETS.iter().zip(shard.turn_histogram).map(|(micros, count)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*micros as f64 / 1e6);
        bucket.set_cumulative_count(count);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(shard.turns);
    histogram.set_sample_sum(shard.turn_time.as_secs_f64());
    let mut metric = Metric::from_label(labels(&catalogue::TURN_TIME, &[&name(shard)]));
    metric.set_histogram(histogram);
    metric
}

#[derive(Clone)]
pub(super) struct ProcessCollector {
    descs: Vec<Desc>,
}

impl Default for ProcessCollector {
    fn default() -> Self {
        Self { descs: PROCESS_VALUES.iter().map(|(declaration, _)| declaration.desc()).collect() }
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(usage) = io::usage() else { return Vec::new() };
        let families = PROCESS_VALUES
            .iter()
            .map(|(declaration, read)| family(declaration, [value(declaration, &[], read(&usage))].into_iter()));
        families.collect()
    }
}

fn family(declaration: &Declaration, metrics: impl Iterator<Item = Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(declaration.name.into());
    family.set_help(declaration.help.into());
    family.set_field_type(match declaration.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram => MetricType::HISTOGRAM,
    });
    family.set_metric(metrics.collect());
    family
}

fn value(declaration: &Declaration, label_values: &[&str], number: f64) -> Metric {
    let mut metric = Metric::from_label(labels(declaration, label_values));
    match declaration.kind {
        Kind::Counter => {
            let mut counter = Counter::default();
            counter.set_value(number);
            metric.set_counter(counter);
        }
        Kind::Gauge => {
            let mut gauge = Gauge::default();
            gauge.set_value(number);
            metric.set_gauge(gauge);
        }
        Kind::Histogram => unreachable!("a histogram is not one number"),
    }
    metric
}

fn labels(declaration: &Declaration, values: &[&str]) -> Vec<LabelPair> {
    assert_eq!(declaration.labels.len(), values.len(), "each label of {} has a value", declaration.name);
    let pairs = declaration.labels.iter().zip(values).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).into());
        pair.set_value((*value).into());
        pair
    });
    pairs.collect()
}
