//! One thread, one shard: wait, take what came, finish the turn, send, report.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use str0m::net::Protocol;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use super::Register;
use super::batch::Sent;
use super::link::Links;
use super::streams::Streams;
use super::udp::Socket;
use super::wait::Sleeper;
use crate::media::command::Command;
use crate::media::export::TURN_BUCKETS;
use crate::media::peer::Datagram;
use crate::media::report::Report;
use crate::media::shard::Shard;

/// Commands taken in one turn, so that datagrams get theirs.
const COMMANDS_A_TURN: usize = 256;

/// Batches received in one turn.
const BATCHES_A_TURN: usize = 2;

/// While control does not keep up with reports, it is tried again so often.
const REPORT_RETRY: Duration = Duration::from_millis(5);

/// With more reports waiting, those that the next one replaces are left out.
const TELEMETRY_BACKLOG: usize = 256;

const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(1);

/// What a shard's thread owns.
pub struct Worker {
    pub shard: Shard,
    pub socket: Socket,
    pub streams: Streams,
    pub sleeper: Sleeper,
    pub commands: Receiver<Command>,
    pub reports: Sender<Report>,
    pub links: Links,
    pub placement: Register,
}

/// What became of the queues that ring a bell, in this turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Commands {
    Taken,
    /// More wait.
    Waiting,
    /// Nobody can command any more.
    Ended,
}

/// What the loop counts itself.
#[derive(Debug, Default)]
struct Loop {
    turns: u64,
    time: Duration,
    /// As much of `time` was told to the placement.
    measured: Duration,
    histogram: [u64; TURN_BUCKETS.len()],
    datagrams: u64,
    bytes: u64,
    calls: u64,
    refused: u64,
    errors: u64,
}

impl Worker {
    /// On a thread of its own.
    pub fn spawn(self, index: usize) -> anyhow::Result<JoinHandle<()>> {
        let name = format!("media-{index}");
        std::thread::Builder::new().name(name).spawn(move || self.run()).context("a shard's thread")
    }

    /// Runs until nobody can command it any more; then says goodbye to every peer.
    fn run(mut self) {
        let mut counts = Loop::default();
        let mut backlog = VecDeque::new();
        let mut snapshot_at = Instant::now() + SNAPSHOT_INTERVAL;
        let mut commands = Commands::Taken;
        while commands != Commands::Ended {
            let readable = commands == Commands::Waiting || self.sleep(snapshot_at, &backlog);
            let now = Instant::now();
            commands = self.take_commands(now);
            self.take_letters(now);
            if readable {
                self.take_datagrams(now);
            }
            if self.take_frames(now) && commands == Commands::Taken {
                commands = Commands::Waiting;
            }
            self.shard.finish_turn(now);
            if commands == Commands::Ended {
                self.shard.close(now);
            }
            self.send_letters();
            self.send(&mut counts);
            self.free_places();
            self.report(&mut backlog);
            if now >= snapshot_at {
                self.streams.close_unknown(|remote| self.shard.knows(remote));
                self.measure(&mut counts, now + SNAPSHOT_INTERVAL - snapshot_at);
                snapshot_at = now + SNAPSHOT_INTERVAL;
                self.push_report(self.snapshot(&counts), &mut backlog);
            }
            counts.turn(now.elapsed());
        }
    }

    /// False: no datagram has come.
    fn sleep(&mut self, snapshot_at: Instant, backlog: &VecDeque<Report>) -> bool {
        let now = Instant::now();
        let mut until = self.shard.deadline().map_or(snapshot_at, |at| at.min(snapshot_at));
        if !backlog.is_empty() {
            until = until.min(now + REPORT_RETRY);
        }
        self.sleeper.sleep(self.socket.raw(), Some(until.saturating_duration_since(now)))
    }

    fn take_commands(&mut self, now: Instant) -> Commands {
        for _ in 0..COMMANDS_A_TURN {
            match self.commands.try_recv() {
                Ok(command) => self.shard.handle_command(command, now),
                Err(TryRecvError::Empty) => return Commands::Taken,
                Err(TryRecvError::Disconnected) => return Commands::Ended,
            }
        }
        Commands::Waiting
    }

    fn take_letters(&mut self, now: Instant) {
        self.links.take(|from, letter| self.shard.handle_letter(from, letter, now));
        self.links.free().for_each(|(shard, packets)| self.shard.post().set_free(shard, packets));
    }

    fn send_letters(&mut self) {
        for (shard, letter) in self.shard.post().letters() {
            self.links.send(shard, letter);
        }
    }

    /// Before who goes is reported: who comes in its stead finds its place free.
    fn free_places(&mut self) {
        while let Some(peer) = self.shard.poll_freed() {
            self.placement.lock().free(peer);
        }
    }

    fn measure(&self, counts: &mut Loop, span: Duration) {
        let busy = (counts.time - counts.measured).as_secs_f64() / span.as_secs_f64();
        counts.measured = counts.time;
        self.placement.lock().measured(self.shard.index(), busy);
    }

    fn take_datagrams(&mut self, now: Instant) {
        for _ in 0..BATCHES_A_TURN {
            let shard = &mut self.shard;
            let received = self.socket.receive(|source, destination, contents| {
                shard.handle_datagram(Datagram { proto: Protocol::Udp, source, destination, contents }, now);
            });
            match received {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::debug!(%error, "receiving failed");
                    return;
                }
            }
        }
    }

    /// True: more wait.
    fn take_frames(&mut self, now: Instant) -> bool {
        let shard = &mut self.shard;
        self.streams.receive(|datagram| shard.handle_datagram(datagram, now))
    }

    fn send(&mut self, counts: &mut Loop) {
        let datagrams = self.shard.datagrams();
        if datagrams.is_empty() {
            return;
        }
        counts.add(self.streams.send(datagrams));
        counts.add(self.socket.send(datagrams));
        datagrams.clear();
    }

    fn report(&mut self, backlog: &mut VecDeque<Report>) {
        while let Some(report) = backlog.pop_front() {
            if let Some(report) = self.tell(report) {
                backlog.push_front(report);
                break;
            }
        }
        while let Some(report) = self.shard.poll_report() {
            self.push_report(report, backlog);
        }
    }

    /// In order, and lossless but for what the next one replaces.
    fn push_report(&self, report: Report, backlog: &mut VecDeque<Report>) {
        let replaced_by_next = matches!(report, Report::Volumes { .. } | Report::Snapshot(_));
        if backlog.is_empty() {
            backlog.extend(self.tell(report));
        } else if backlog.len() < TELEMETRY_BACKLOG || !replaced_by_next {
            backlog.push_back(report);
        }
    }

    /// Gives the report back when there is no room for it. With nobody to hear it, it is gone.
    fn tell(&self, report: Report) -> Option<Report> {
        match self.reports.try_send(report) {
            Err(TrySendError::Full(report)) => Some(report),
            Ok(()) | Err(TrySendError::Closed(_)) => None,
        }
    }

    fn snapshot(&self, counts: &Loop) -> Report {
        let mut snapshot = self.shard.snapshot();
        snapshot.turns = counts.turns;
        snapshot.turn_time = counts.time;
        snapshot.turn_histogram = counts.histogram;
        snapshot.datagrams_out = counts.datagrams;
        snapshot.bytes_out = counts.bytes;
        snapshot.send_calls = counts.calls;
        snapshot.send_errors = counts.errors;
        snapshot.drops.send_full = counts.refused;
        Report::Snapshot(Box::new(snapshot))
    }
}

impl Loop {
    fn add(&mut self, sent: Sent) {
        self.datagrams += sent.datagrams;
        self.bytes += sent.bytes;
        self.calls += sent.calls;
        self.refused += sent.refused;
        self.errors += sent.errors;
    }

    fn turn(&mut self, time: Duration) {
        self.turns += 1;
        self.time += time;
        let micros = time.as_micros() as u64;
        for (bucket, bound) in self.histogram.iter_mut().zip(TURN_BUCKETS) {
            *bucket += u64::from(micros <= bound);
        }
    }
}
