//! Chaos: calls by scripted clients, endpoints that are down, flaky and slow, a server that is killed with -9 again and again; and
//! nothing may be lost, doubled with a difference, or told out of order.
//!
//! `cargo test --test chaos` is the small run; `tests/chaos/long` the one of 200 calls and 20 kills. `CHAOS_SEED=n` repeats a seed's
//! decisions (what the clients do and when the server is killed; the machine's own timing stays its own).

mod actor;
mod receiver;
mod script;
#[path = "../e2e/server.rs"]
#[expect(dead_code, reason = "the end-to-end tests use the rest")]
mod server;
mod verdict;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use callisto::ticket::TicketKey;
use fastrand::Rng;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::actor::Gate;
use self::receiver::{Manner, Receiver};
use self::server::{Server, Site};

/// Within this the server has started or ended, or it never will.
const DEADLINE: Duration = Duration::from_secs(60);
/// Within this everything is delivered once the last trouble is over.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(60);
const APP: u32 = 1_400_000_001;
const APP_SECRET: &str = "the secret of this run's app";

/// How much of everything.
#[derive(Debug, Clone, Copy)]
struct Plan {
    seed: u64,
    calls: u64,
    kills: u32,
    /// Between kills, at most.
    pause: Duration,
    /// How long the one endpoint is down.
    down: Duration,
    /// How long the slow endpoint takes for an answer, at most.
    slow: Duration,
}

impl Plan {
    fn from_environment() -> Self {
        let seed = std::env::var("CHAOS_SEED").map_or_else(|_| fastrand::u64(..), |n| n.parse().expect("a number"));
        match std::env::var("CHAOS").as_deref() {
            Ok("long") => Self {
                seed,
                calls: 200,
                kills: 20,
                pause: Duration::from_secs(8),
                down: Duration::from_secs(60),
                slow: Duration::from_secs(5),
            },
            _ => Self {
                seed,
                calls: 40,
                kills: 6,
                pause: Duration::from_secs(3),
                down: Duration::from_secs(8),
                slow: Duration::from_secs(1),
            },
        }
    }

    /// Calls begin within this time.
    fn load(&self) -> Duration {
        (self.pause * self.kills / 2).max(self.down * 3 / 2)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_whatever_happens() {
    let plan = Plan::from_environment();
    eprintln!("{plan:?}; repeat its decisions with CHAOS_SEED={}", plan.seed);
    let mut rng = Rng::with_seed(plan.seed);
    let down = Receiver::start("down", Manner::Down { after: plan.load() / 4, lasting: plan.down }, rng.fork()).await;
    let flaky = Receiver::start("flaky", Manner::Flaky, rng.fork()).await;
    let slow = Receiver::start("slow", Manner::Slow { most: plan.slow }, rng.fork()).await;
    let receivers = [down, flaky, slow];
    let endpoints: Vec<_> = receivers.iter().map(|receiver| (receiver.url(), receiver.secret())).collect();
    let site = Site::with_endpoints(&endpoints)
        .set(&format!("app.secret={APP_SECRET}"))
        .set("calls.resume_timeout=4s")
        .set("calls.ring_timeout=5s")
        // A slow endpoint catches up by many requests at once.
        .set("webhooks.max_in_flight=64");

    let server = site.serve().await;
    let (address, gate) = gate(&server);
    let calls = play(plan, &gate, &mut rng);
    let server = trouble(plan, &site, server, &address, &mut rng).await;
    let told = calls.await.expect("the scripts end");
    let calm = Instant::now();
    for receiver in &receivers {
        receiver.be_well();
    }
    let caught_up = verdict::caught_up(&receivers, &told, calm + CAUGHT_UP_WITHIN).await;
    let took = calm.elapsed();
    let status = server.stop().await;
    assert!(status.success(), "{status}");
    verdict::judge(&receivers, &told, &site.path().join("data/ledger.redb"));
    caught_up.unwrap_or_else(|behind| panic!("not caught up within {CAUGHT_UP_WITHIN:?}: {behind}"));
    eprintln!("caught up {:.1} s after the last trouble", took.as_secs_f64());
}

/// Where the server is at the moment, told to all clients.
fn gate(server: &Server) -> (watch::Sender<Option<SocketAddr>>, Arc<Gate>) {
    let (address, server) = watch::channel(Some(server.public()));
    let tickets = TicketKey::new(APP, APP_SECRET, Duration::from_secs(300));
    (address, Arc::new(Gate { server, tickets }))
}

/// All calls, spread over the time of the trouble; gives what their clients were told.
fn play(plan: Plan, gate: &Arc<Gate>, rng: &mut Rng) -> tokio::task::JoinHandle<Vec<actor::Told>> {
    let mut calls = JoinSet::new();
    for number in 0..plan.calls {
        let (gate, rng) = (gate.clone(), rng.fork());
        let start = plan.load().mul_f64(number as f64 / plan.calls as f64);
        calls.spawn(async move {
            tokio::time::sleep(start).await;
            script::play(number, gate, rng).await
        });
    }
    tokio::spawn(async move { calls.join_all().await.into_iter().flatten().collect() })
}

/// Kills the server and starts it again, as often as planned.
async fn trouble(
    plan: Plan,
    site: &Site,
    mut server: Server,
    address: &watch::Sender<Option<SocketAddr>>,
    rng: &mut Rng,
) -> Server {
    for _ in 0..plan.kills {
        tokio::time::sleep(plan.pause.mul_f64(rng.f64())).await;
        address.send_replace(None);
        server.kill().await;
        server = site.serve().await;
        address.send_replace(Some(server.public()));
    }
    server
}
