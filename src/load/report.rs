//! What came of a run, as text and as JSON.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::tally::{Histogram, Tally};

/// The measured span of a run.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Seconds that were measured.
    pub seconds: f64,
    /// It was ended before its time.
    pub interrupted: bool,
    pub clients: usize,
    pub connected: usize,
    /// Joins that failed, by what was said; at most a few.
    pub failures: Vec<String>,
    pub failed_joins: usize,
    pub joins: usize,
    pub leaves: usize,
    pub packets: Packets,
    pub latency_ms: Times,
    /// From the beginning of a join to ICE and DTLS being up.
    pub join_ms: Times,
    /// From the beginning of a join to the first packet.
    pub first_media_ms: Times,
    pub server: Option<Server>,
    /// Of this program, a share of one processor: near 1.0 it is the generator that is measured.
    pub generator_cpu: f64,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Packets {
    pub sent: u64,
    pub received: u64,
    /// After repair.
    pub lost: u64,
    pub received_a_second: f64,
    /// Of payload.
    pub megabits_a_second: f64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Times {
    pub count: u64,
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
    pub max: Option<f64>,
}

/// The server's process.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// A share of one processor.
    pub cpu: f64,
    /// Of user and kernel, for each packet that the clients received.
    pub cpu_micros_a_packet: Option<f64>,
    pub memory_mib: f64,
    /// Over what it had before anybody joined, for each client.
    pub memory_kib_a_client: f64,
}

/// What was counted.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    pub measured: Duration,
    pub interrupted: bool,
    pub clients: usize,
    pub connected: usize,
    pub failures: Vec<String>,
    pub failed_joins: usize,
    pub joins: usize,
    pub leaves: usize,
    pub tally: Tally,
    pub join: Histogram,
    pub first_media: Histogram,
    pub generator_cpu: Duration,
    pub server: Option<ServerUse>,
}

/// What a process used in the measured span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerUse {
    pub cpu: Duration,
    pub memory_before: u64,
    pub memory_after: u64,
}

impl Report {
    pub fn of(counts: Counts) -> Self {
        let seconds = counts.measured.as_secs_f64().max(f64::EPSILON);
        let Tally { sent, received, lost, bytes, latency } = &counts.tally;
        Self {
            seconds: counts.measured.as_secs_f64(),
            interrupted: counts.interrupted,
            clients: counts.clients,
            connected: counts.connected,
            failures: counts.failures,
            failed_joins: counts.failed_joins,
            joins: counts.joins,
            leaves: counts.leaves,
            packets: Packets {
                sent: *sent,
                received: *received,
                lost: *lost,
                received_a_second: *received as f64 / seconds,
                megabits_a_second: *bytes as f64 * 8.0 / seconds / 1e6,
            },
            latency_ms: Times::of(latency),
            join_ms: Times::of(&counts.join),
            first_media_ms: Times::of(&counts.first_media),
            server: counts.server.map(|used| Server {
                cpu: used.cpu.as_secs_f64() / seconds,
                cpu_micros_a_packet: (*received > 0).then(|| used.cpu.as_secs_f64() * 1e6 / *received as f64),
                memory_mib: used.memory_after as f64 / f64::from(1 << 20),
                memory_kib_a_client: used.memory_after.saturating_sub(used.memory_before) as f64
                    / 1024.0
                    / counts.connected.max(1) as f64,
            }),
            generator_cpu: counts.generator_cpu.as_secs_f64() / seconds,
        }
    }

    fn loss_percent(&self) -> f64 {
        let all = self.packets.received + self.packets.lost;
        if all == 0 { 0.0 } else { self.packets.lost as f64 * 100.0 / all as f64 }
    }
}

impl Times {
    fn of(histogram: &Histogram) -> Self {
        let ms = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
        let at = |q| histogram.quantile(q).map(ms);
        Self {
            count: histogram.count(),
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            max: (histogram.count() > 0).then(|| ms(histogram.max())),
        }
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.p50, self.p95, self.p99, self.max) {
            (Some(p50), Some(p95), Some(p99), Some(max)) => {
                write!(f, "p50 {p50:.2} ms, p95 {p95:.2} ms, p99 {p99:.2} ms, max {max:.2} ms")
            }
            _ => f.write_str("none"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ended = if self.interrupted { ", ended before its time" } else { "" };
        writeln!(f, "measured     {:.1} s{ended}", self.seconds)?;
        writeln!(f, "clients      {} of {} connected", self.connected, self.clients)?;
        if self.joins > self.clients || self.leaves > 0 {
            writeln!(f, "churn        {} joins, {} leaves", self.joins, self.leaves)?;
        }
        if self.failed_joins > 0 {
            writeln!(f, "failed joins {}: {}", self.failed_joins, self.failures.join("; "))?;
        }
        let Packets { sent, received, lost, received_a_second, megabits_a_second } = &self.packets;
        writeln!(f, "sent         {sent} packets")?;
        writeln!(f, "received     {received} packets, {received_a_second:.0}/s, {megabits_a_second:.1} Mbit/s")?;
        writeln!(f, "lost         {lost} packets, {:.3} %", self.loss_percent())?;
        writeln!(f, "latency      {}", self.latency_ms)?;
        writeln!(f, "join         {}", self.join_ms)?;
        writeln!(f, "first media  {}", self.first_media_ms)?;
        if let Some(server) = &self.server {
            let a_packet = server.cpu_micros_a_packet.map_or("–".into(), |micros| format!("{micros:.2} µs"));
            writeln!(f, "server       {:.0} % of a core, {a_packet} a packet", server.cpu * 100.0)?;
            let (all, each) = (server.memory_mib, server.memory_kib_a_client);
            writeln!(f, "memory       {all:.0} MiB, {each:.0} KiB a client over what it had")?;
        }
        write!(f, "generator    {:.0} % of a core", self.generator_cpu * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts() -> Counts {
        let mut counts = Counts { measured: Duration::from_secs(10), clients: 5, connected: 4, ..Counts::default() };
        counts.tally = Tally { sent: 1000, received: 3996, lost: 4, bytes: 4_000_000, ..Tally::default() };
        (1..=100).for_each(|n| counts.tally.latency.note(Duration::from_micros(n * 10)));
        counts.server =
            Some(ServerUse { cpu: Duration::from_secs(2), memory_before: 20 << 20, memory_after: 24 << 20 });
        counts
    }

    #[test]
    fn a_report_has_its_figures_by_second_and_by_packet() {
        let report = Report::of(counts());
        let server = report.server.as_ref().unwrap();
        assert_eq!((server.cpu, server.memory_mib, server.memory_kib_a_client), (0.2, 24.0, 1024.0));
        assert!((server.cpu_micros_a_packet.unwrap() - 500.5).abs() < 0.1);
        assert!((report.packets.megabits_a_second - 3.2).abs() < 1e-9);
        let text = report.to_string();
        for line in ["4 of 5 connected", "4 packets, 0.100 %", "20 % of a core, 500.50 µs a packet"] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["packets"]["lost"], 4);
        assert!(json["latencyMs"]["p50"].as_f64().unwrap() >= 0.5);
    }

    #[test]
    fn an_empty_run_has_a_report_too() {
        let report = Report::of(Counts::default());
        assert_eq!(report.latency_ms, Times::default());
        assert!(report.to_string().contains("latency      none"));
    }
}
