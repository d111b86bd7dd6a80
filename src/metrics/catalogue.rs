//! Every metric, once: its name, its kind, its labels and what it means.
//!
//! Names carry base units, counters end in `_total`. Label values come from closed sets, the shard's number or the operator's own endpoint names; a
//! user's text is never one.

/// How a metric's values behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the node runs.
    Counter,
    Gauge,
    Histogram,
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Declaration {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

macro_rules! catalogue {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*], $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Declaration =
                Declaration { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )*

        /// The whole catalogue.
        pub const ALL: &[Declaration] = &[$($constant),*];
    };
}

catalogue! {
    BUILD_INFO = Gauge "callisto_build_info" ["version"], "Always 1; the label names the version that runs.";

    CALLS = Gauge "callisto_calls" ["state"], "Calls by state: ringing (nobody has accepted yet) or begun.";
    SESSIONS = Gauge "callisto_sessions" [], "Logged-in sessions, with those that may still resume after a lost connection.";
    EVENTS = Counter "callisto_events_total" ["type"], "Lifecycle events stored and then told, by the event's name.";

    READY = Gauge "callisto_ready" [], "1 while new calls are taken, 0 while they are refused: the server stops, or its record cannot be written.";
    NETWORKS = Gauge "callisto_member_networks" ["direction", "level"], "Members of calls by the level of their network, up (from them to the server) and down. Who they are is in the console and the REST API.";
    IMPAIRMENTS = Gauge "callisto_member_network_impairments" ["direction", "cause"], "Members of calls whose network is Poor or worse, by what is wrong with it.";

    WEBSOCKET_CONNECTIONS = Gauge "callisto_websocket_connections" [], "Open WebSocket connections of clients.";

    PEERS = Gauge "callisto_media_peers" ["shard"], "Peers (one for each client with media) that a shard serves.";
    ROOMS = Gauge "callisto_media_rooms" ["shard"], "Rooms that live on a shard.";
    RECEIVED_DATAGRAMS = Counter "callisto_media_received_datagrams_total" ["shard"], "UDP datagrams and framed TCP messages taken from the network.";
    SENT_DATAGRAMS = Counter "callisto_media_sent_datagrams_total" ["shard"], "UDP datagrams and framed TCP messages given to the network.";
    RECEIVED_BYTES = Counter "callisto_media_received_bytes_total" ["shard"], "Payload bytes of the datagrams received.";
    SENT_BYTES = Counter "callisto_media_sent_bytes_total" ["shard"], "Payload bytes of the datagrams sent.";
    RTP_RECEIVED = Counter "callisto_media_rtp_received_packets_total" ["shard"], "RTP packets taken from publishers.";
    RTP_FORWARDED = Counter "callisto_media_rtp_forwarded_packets_total" ["shard"], "RTP packets written to receivers, once for each receiver.";
    DROPS = Counter "callisto_media_dropped_packets_total" ["shard", "reason"], "Packets not forwarded and datagrams not taken, by reason.";
    NACKS_RECEIVED = Counter "callisto_media_nacks_received_total" ["shard"], "RTCP NACKs from receivers that miss packets.";
    NACKS_SENT = Counter "callisto_media_nacks_sent_total" ["shard"], "RTCP NACKs to publishers for packets that did not arrive.";
    RETRANSMISSIONS = Counter "callisto_media_retransmitted_packets_total" ["shard"], "Packets sent again to a receiver that asked for them.";
    KEYFRAME_REQUESTS_RECEIVED = Counter "callisto_media_keyframe_requests_received_total" ["shard"], "Key frame requests (PLI, FIR) from receivers.";
    KEYFRAME_REQUESTS_SENT = Counter "callisto_media_keyframe_requests_sent_total" ["shard"], "Key frame requests (PLI) to publishers.";
    SEND_CALLS = Counter "callisto_media_send_calls_total" ["shard"], "System calls that send datagrams.";
    SEND_ERRORS = Counter "callisto_media_send_errors_total" ["shard"], "System calls that send datagrams and failed.";
    TURN_TIME = Histogram "callisto_media_turn_duration_seconds" ["shard"], "Time of one turn of a shard's loop, from the first datagram of a batch to the last one sent.";

    DELIVERIES = Counter "callisto_webhook_deliveries_total" ["endpoint", "result"], "What became of webhook requests: delivered (2xx), failed (anything else), retried (a request that was not the first), dead (given up after the last retry), refused (the address is not allowed, no request made).";
    DELIVERY_LATENCY = Histogram "callisto_webhook_delivery_latency_seconds" ["endpoint"], "From the fact to the endpoint's 2xx, retries and waiting included.";
    PENDING = Gauge "callisto_webhook_pending_events" ["endpoint"], "Stored events that an endpoint has not confirmed yet.";
    OLDEST_PENDING = Gauge "callisto_webhook_oldest_pending_age_seconds" ["endpoint"], "Age of the oldest event that an endpoint has not confirmed yet; 0 when there is none.";

    LEDGER_COMMITS = Counter "callisto_ledger_commits_total" [], "Transactions made durable, one fsync each.";
    LEDGER_COMMIT_TIME = Histogram "callisto_ledger_commit_duration_seconds" [], "Time of one transaction, from its first write to the end of its fsync.";
    LEDGER_FACTS = Counter "callisto_ledger_facts_total" [], "Facts of calls that are stored.";
    LEDGER_SIZE = Gauge "callisto_ledger_size_bytes" [], "Size of the record on the disk.";
    LEDGER_FACT_BYTES = Gauge "callisto_ledger_fact_bytes" [], "Bytes of the events that are kept, what ledger.max_size limits; as fresh as the last look, once a minute.";
    LEDGER_FORGOTTEN = Counter "callisto_ledger_forgotten_calls_total" [], "Calls that are not kept any longer, by ledger.keep or ledger.max_size.";
    LEDGER_EXPIRED = Counter "callisto_ledger_expired_events_total" [], "Events that an endpoint had not got when they became too old to be kept.";
    LEDGER_HEALTHY = Gauge "callisto_ledger_healthy" [], "1 while the record can be written, 0 while it cannot: no new calls are taken then.";

    PROCESS_CPU = Counter "process_cpu_seconds_total" [], "CPU time of the process, user and system, in all its threads.";
    PROCESS_RESIDENT = Gauge "process_resident_memory_bytes" [], "Memory of the process in RAM.";
    PROCESS_VIRTUAL = Gauge "process_virtual_memory_bytes" [], "Address space of the process.";
    PROCESS_OPEN_FDS = Gauge "process_open_fds" [], "Open file descriptors.";
    PROCESS_MAX_FDS = Gauge "process_max_fds" [], "Most file descriptors that the process may open.";
    PROCESS_THREADS = Gauge "process_threads" [], "Threads of the process.";
    PROCESS_START = Gauge "process_start_time_seconds" [], "When the process began, in seconds since 1970.";
}

/// Bounds of [`LEDGER_COMMIT_TIME`] in seconds: an fsync is below 1 ms on a good disk and above 1 s on one that is about to fail.
pub(super) const COMMIT_BUCKETS: [f64; 13] =
    [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Bounds of [`DELIVERY_LATENCY`] in seconds: a request's time at the low end, the steps of the retry schedule up to its last at 72 h.
pub(super) const LATENCY_BUCKETS: [f64; 18] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0, 3_600.0, 21_600.0,
    259_200.0,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// What a label may be. Each has few values, and none that a user chose.
    const LABELS: &[&str] =
        &["version", "state", "type", "shard", "reason", "endpoint", "result", "direction", "level", "cause"];

    #[test]
    fn names_are_distinct_and_carry_their_unit() {
        for (i, metric) in ALL.iter().enumerate() {
            assert!(ALL[..i].iter().all(|other| other.name != metric.name), "{} twice", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
            assert!(metric.kind != Kind::Histogram || metric.name.ends_with("_seconds"), "{}", metric.name);
            assert!(metric.name.starts_with("callisto_") || metric.name.starts_with("process_"), "{}", metric.name);
            assert!(metric.help.ends_with('.') && metric.help.len() > 15, "{}", metric.name);
        }
    }

    #[test]
    fn no_label_holds_what_a_user_wrote() {
        for metric in ALL {
            assert!(metric.labels.iter().all(|label| LABELS.contains(label)), "{}: {:?}", metric.name, metric.labels);
        }
    }

    #[test]
    fn bounds_of_a_histogram_rise() {
        assert!(COMMIT_BUCKETS.is_sorted() && LATENCY_BUCKETS.is_sorted());
    }
}
