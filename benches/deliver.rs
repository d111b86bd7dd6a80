//! What the way of a fact costs: into the record with an fsync, out of it, signed, and to the receiver's 2xx.
//!
//! ```sh
//! cargo bench --bench deliver              # all three parts
//! cargo bench --bench deliver -- latency   # facts at a steady rate: from the fact to the 2xx
//! cargo bench --bench deliver -- flood     # as many facts as go: into the record, and out of it
//! cargo bench --bench deliver -- backlog   # a million events wait for an endpoint that is down: memory
//! cargo bench --bench deliver -- repair    # the record is opened after kill -9: two sizes
//! ```
//! The receiver is in the same process and costs about as much as the sender, so the figures are worse than they would be apart. The
//! record is on the disk of the temporary folder (TMPDIR): on a file system in memory an fsync costs nothing.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use callisto::base::{CallId, EndpointId, Timestamp, UserId};
use callisto::config::EventFilter;
use callisto::event::{Event, Fact, ServerView};
use callisto::ledger::io::{Store, Told, Writer, WriterHandle, WriterNews};
use callisto::ledger::{Append, Record, Turn};
use callisto::node::record::LedgerRecord;
use callisto::webhook::io::{Client, ClientSettings, Deliverer, DelivererHandle, Parts};
use callisto::webhook::sign::Secret;
use callisto::webhook::{Endpoint, Observation, Settings};

/// Calls that go on at once, and the facts of each.
const CALLS_AT_ONCE: u64 = 200;
const FACTS_OF_A_CALL: u64 = 10;

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let wants = |part: &str| asked.is_empty() || asked.iter().any(|argument| argument == part);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        if wants("latency") {
            latency(2000, Duration::from_secs(10)).await;
        }
        if wants("flood") {
            flood(40_000).await;
        }
        if wants("backlog") {
            backlog(1_000_000).await;
        }
        if wants("repair") {
            [500_000, 2_000_000].into_iter().for_each(repair);
        }
        if let [part, folder, total] = &asked[..]
            && part == "fill"
        {
            fill(Path::new(folder), total.parse().unwrap()).await;
        }
    });
}

/// Facts at a steady rate, to one endpoint.
async fn latency(per_second: u64, span: Duration) {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let bench = Bench::start(folder.path(), receiver.url());
    let (busy, began) = (cpu_time(), Instant::now());
    let total = per_second * span.as_secs();
    // A tick of 5 ms: what happens in calls comes in small bursts.
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let mut given = 0;
    while given < total {
        tick.tick().await;
        let due = (began.elapsed().as_secs_f64() * per_second as f64) as u64;
        while given < due.min(total) {
            bench.fact(given).await;
            given += 1;
        }
    }
    bench.delivered(total).await;
    let took = began.elapsed();
    let cores = (cpu_time() - busy).as_secs_f64() / took.as_secs_f64();
    let mut latencies = std::mem::take(&mut *bench.seen.latencies.lock().unwrap());
    latencies.sort();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_millis();
    println!("latency: {per_second} facts/s for {} s, from the fact to the 2xx:", span.as_secs());
    println!("  p50 {} ms, p90 {} ms, p99 {} ms, worst {} ms", at(0.5), at(0.9), at(0.99), at(1.0));
    println!("  {:.2} cores with the receiver; {}", cores, bench.commits());
    bench.stop().await;
}

/// As many facts as go.
async fn flood(total: u64) {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let bench = Bench::start(folder.path(), receiver.url());
    let began = Instant::now();
    for n in 0..total {
        bench.fact(n).await;
    }
    bench.writer.flush().await.unwrap();
    let stored = began.elapsed();
    bench.delivered(total).await;
    let delivered = began.elapsed();
    let rate = |took: Duration| total as f64 / took.as_secs_f64();
    println!("flood: {total} facts at once: {:.0}/s stored, {:.0}/s delivered", rate(stored), rate(delivered));
    println!("  {}", bench.commits());
    bench.stop().await;
}

/// An endpoint that is down, while events pile up before it; then it is back.
async fn backlog(total: u64) {
    let folder = tempfile::tempdir().unwrap();
    // Nobody listens there.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let bench = Bench::start(folder.path(), format!("http://{closed}/"));
    let before = resident();
    let began = Instant::now();
    let mut most = 0;
    for n in 0..total {
        bench.fact(n).await;
        if n % 50_000 == 0 {
            most = most.max(resident());
        }
    }
    bench.writer.flush().await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    most = most.max(resident());
    let rate = total as f64 / began.elapsed().as_secs_f64();
    println!(
        "backlog: {total} events wait: {} MB resident at most, {} MB before, {:.0}/s stored",
        most >> 20,
        before >> 20,
        rate
    );
    println!(
        "  the record: {} MB of facts, {} MB on the disk",
        bench.store.fact_bytes().unwrap() >> 20,
        bench.store.size() >> 20
    );
    bench.stop_at_once().await;
    let began = Instant::now();
    let store = Store::open(&folder.path().join("ledger.redb")).unwrap();
    println!("  opened again after an orderly end in {:.1} s", began.elapsed().as_secs_f64());
    drop(store);
}

/// A process is killed while it writes; another one opens its record.
fn repair(total: u64) {
    let folder = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["fill", folder.path().to_str().unwrap(), &total.to_string()])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // It says that it has all of them, and goes on writing.
    let mut said = [0; 5];
    child.stdout.take().unwrap().read_exact(&mut said).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let began = Instant::now();
    let store = Store::open(&folder.path().join("ledger.redb")).unwrap();
    let took = began.elapsed().as_secs_f64();
    let (facts, size) = (store.fact_bytes().unwrap() >> 20, store.size() >> 20);
    println!("repair: {facts} MB of facts, {size} MB on the disk, opened after kill -9 in {took:.1} s");
}

async fn fill(folder: &Path, total: u64) {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let bench = Bench::start(folder, format!("http://{closed}/"));
    for n in 0.. {
        if n == total {
            bench.writer.flush().await.unwrap();
            print!("ready");
            std::io::stdout().flush().unwrap();
        }
        bench.fact(n).await;
    }
}

/// Ledger and delivery, joined as the node joins them.
struct Bench {
    store: Arc<Store>,
    writer: WriterHandle<()>,
    owner: Writer<()>,
    deliverer: Deliverer,
    lanes: Arc<[EndpointId]>,
    seen: Arc<Seen>,
    began: Timestamp,
}

/// What came of it.
#[derive(Default)]
struct Seen {
    delivered: AtomicU64,
    latencies: Mutex<Vec<Duration>>,
    commits: Mutex<Vec<Duration>>,
    changed: tokio::sync::Notify,
}

struct Nudge {
    delivery: Arc<OnceLock<DelivererHandle>>,
    seen: Arc<Seen>,
}

impl Told<()> for Nudge {
    fn told(&mut self, turn: Turn<()>) {
        if let Some(delivery) = self.delivery.get() {
            turn.append.calls().for_each(|call| delivery.stored(call));
        }
    }

    fn news(&mut self, news: WriterNews) {
        match news {
            WriterNews::Committed(committed) => self.seen.commits.lock().unwrap().push(committed.took),
            other => panic!("{other:?}"),
        }
    }
}

fn now() -> Timestamp {
    Timestamp::default() + SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

impl Bench {
    fn start(folder: &Path, url: String) -> Self {
        let store = Arc::new(Store::open(&folder.join("ledger.redb")).unwrap());
        let (delivery, seen) = (Arc::new(OnceLock::new()), Arc::new(Seen::default()));
        let owner = Writer::start(store.clone(), Nudge { delivery: delivery.clone(), seen: seen.clone() }).unwrap();
        let endpoint = Endpoint {
            id: "bench".parse().unwrap(),
            url: url.parse().unwrap(),
            secrets: vec![Secret::generate([1; 32])],
            retiring: Vec::new(),
            events: EventFilter { all_lifecycle: true, named: Default::default() },
            enabled: true,
        };
        let observed = seen.clone();
        let client =
            ClientSettings { timeout: Duration::from_secs(10), allow_private: ["127.0.0.0/8".parse().unwrap()].into() };
        let lanes = [endpoint.id.clone()].into();
        let deliverer = Deliverer::start(Parts {
            record: LedgerRecord { store: store.clone(), writer: owner.handle() },
            endpoints: vec![endpoint],
            settings: Settings { max_in_flight: 64, ..Settings::default() },
            client: Client::new(client).unwrap(),
            now: Box::new(now),
            observe: Box::new(move |observation| observed.observe(&observation)),
            runtime: tokio::runtime::Handle::current(),
            seed: 1,
        })
        .unwrap();
        assert!(delivery.set(deliverer.handle()).is_ok());
        Self { store, writer: owner.handle(), owner, deliverer, lanes, seen, began: now() }
    }

    /// The `n`th fact: calls take turns, each has some facts, then others take their places.
    async fn fact(&self, n: u64) {
        let round = n / (CALLS_AT_ONCE * FACTS_OF_A_CALL);
        let seq = n / CALLS_AT_ONCE % FACTS_OF_A_CALL + 1;
        let number = round * CALLS_AT_ONCE + n % CALLS_AT_ONCE;
        let mut entropy = [0; 10];
        entropy[2..].copy_from_slice(&number.to_be_bytes());
        let call = CallId::new(self.began + Duration::from_millis(round), entropy);
        let user_id: UserId = format!("user-{seq}").parse().unwrap();
        let fact = Fact { call, seq, time: now(), event: Event::UserJoin { user_id }, view: ServerView::default() };
        let body = Bytes::from(fact.to_json());
        let record = Record { call, seq, kind: fact.event.kind(), time: fact.time, body };
        let mut append = Append { records: vec![record], lanes: self.lanes.clone(), ..Append::default() };
        match seq == FACTS_OF_A_CALL {
            true => append.closed.push(call),
            // About what the state of a call of two takes.
            false => append.open.push((call, Bytes::from(vec![b'x'; 1200]))),
        }
        self.writer.submit(Turn { append, then: () }).await.unwrap();
    }

    async fn delivered(&self, total: u64) {
        while self.seen.delivered.load(Ordering::Relaxed) < total {
            let _ = tokio::time::timeout(Duration::from_millis(100), self.seen.changed.notified()).await;
        }
    }

    fn commits(&self) -> String {
        let mut commits = self.seen.commits.lock().unwrap().clone();
        commits.sort();
        let at = |share: f64| commits[((commits.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
        format!("{} commits, p50 {:.1} ms, p99 {:.1} ms", commits.len(), at(0.5), at(0.99))
    }

    async fn stop(self) {
        self.deliverer.shutdown(Duration::from_secs(30)).await;
        self.owner.close(Duration::from_secs(30)).await;
    }

    async fn stop_at_once(self) {
        self.deliverer.shutdown(Duration::ZERO).await;
        self.owner.close(Duration::from_secs(30)).await;
    }
}

impl Seen {
    fn observe(&self, observation: &Observation) {
        if let Observation::Delivered { latency, .. } = observation {
            self.latencies.lock().unwrap().push(*latency);
            self.delivered.fetch_add(1, Ordering::Relaxed);
            self.changed.notify_one();
        }
    }
}

/// Answers 204 to every request, with a thread for each connection: as little work as an HTTP/1.1 server can do.
struct Receiver(std::net::SocketAddr);

impl Receiver {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || serve(connection));
            }
        });
        Self(address)
    }

    fn url(&self) -> String {
        format!("http://{}/", self.0)
    }
}

fn serve(mut connection: TcpStream) {
    let _ = connection.set_nodelay(true);
    let mut pending = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        match connection.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(read) => pending.extend_from_slice(&buffer[..read]),
        }
        while let Some(length) = request(&pending) {
            pending.drain(..length);
            if connection.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").is_err() {
                return;
            }
        }
    }
}

/// The length of the first whole request.
fn request(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).ok()?.to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok())?;
    (bytes.len() >= head + length).then_some(head + length)
}

/// Memory of this process in RAM, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// CPU time of this process.
fn cpu_time() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the structure is of the kind that the call fills, and it is read only when the call has.
    let usage = unsafe {
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()), 0);
        usage.assume_init()
    };
    let time = |value: libc::timeval| Duration::new(value.tv_sec as u64, value.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}
