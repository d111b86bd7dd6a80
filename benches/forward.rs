//! What a forwarded packet costs: one publisher's video to 10, 50 and 200 receivers through a real shard over loopback sockets, beside the
//! floor: the same packets encrypted and sent with the same system calls, and nothing else; and the floor of who has to be woken by them and
//! to read them first. All in one run, so that their ratios mean something on any machine.
//!
//! `cargo bench --bench forward [-- receivers…] [--room members] [--seconds N] [--rounds N] [--no-feedback] [--pattern burst|even]`: the cost
//! of a packet, from one to many, or in a room where everyone sends. Shard and floor take turns for so many rounds; the median of each counts.
//! `… -- --idle peers` what peers cost that do nothing; `… -- --memory` what a receiver takes; `… -- --delay receivers` what forwarding adds, at a
//! load that leaves half of a core: the receivers but one only empty their sockets; `… -- --spread receivers` the same call on one shard and on
//! two.

#![expect(clippy::disallowed_methods, reason = "a load generator keeps its pace by sleeping")]

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use callisto::base::{Mid, PeerId, RoomKey, Source};
use callisto::media::command::Permissions;
use callisto::media::io::bind::Addresses;
use callisto::media::io::udp::Socket;
use callisto::media::io::{Plane, Ports};
use callisto::media::outbound::{Outbound, Path};
use callisto::media::{Command, Report, Settings, ShardSnapshot, Spread};
use str0m::change::SdpAnswer;
use str0m::crypto::AeadAes256GcmCipher;
use str0m::media::{Direction, MediaKind};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, ExtensionMap, RtpWrite};
use str0m::{Candidate, Event, Input, Output, Rtc};
use tokio::sync::mpsc::{Receiver, channel};

const ROOM: RoomKey = RoomKey(1);
const PACKETS_A_FRAME: usize = 10;
const FRAME: Duration = Duration::from_nanos(33_333_333);
const PAYLOAD: usize = 1060;
const WARM_UP: Duration = Duration::from_secs(2);
/// Bytes around the payload on the wire: RTP header with extensions, and the tag of AES-256-GCM, which is what the two libraries agree on.
const HEADER: usize = 28;
const TAG: usize = 16;

/// How a frame's packets leave the publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pattern {
    /// All at once, as browsers send them.
    Burst,
    /// One by one, evenly.
    Even,
}

struct Options {
    calls: Vec<Shape>,
    other: Option<Other>,
    patterns: Vec<Pattern>,
    seconds: u64,
    rounds: usize,
    /// Receivers send transport-wide feedback, as browsers do.
    feedback: bool,
}

/// Who sends to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// One to so many.
    Fan(usize),
    /// Everyone to everyone else.
    Room(usize),
}

/// What can be measured besides the cost of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Other {
    Idle(usize),
    Memory,
    Delay(usize),
    Spread(usize),
}

impl Shape {
    fn publishers(self) -> usize {
        match self {
            Shape::Fan(_) => 1,
            Shape::Room(members) => members,
        }
    }

    /// Of each publisher.
    fn receivers(self) -> usize {
        match self {
            Shape::Fan(receivers) => receivers,
            Shape::Room(members) => members - 1,
        }
    }

    fn name(self) -> String {
        match self {
            Shape::Fan(receivers) => format!("1 to {receivers}"),
            Shape::Room(members) => format!("room of {members}"),
        }
    }
}

/// What one run measured.
struct Measured {
    packets: u64,
    cpu: Duration,
    delays: Vec<Duration>,
    turns: u64,
    calls: u64,
    datagrams_in: u64,
}

fn main() {
    let options = Options::read();
    match options.other {
        Some(Other::Idle(peers)) => return idle(peers, &options),
        Some(Other::Memory) => return memory(&options),
        Some(Other::Delay(receivers)) => return delay(receivers, &options),
        Some(Other::Spread(receivers)) => return spread(receivers, &options),
        None => {}
    }
    let feedback = if options.feedback { "with" } else { "without" };
    println!(
        "1 publisher, {PACKETS_A_FRAME} packets a frame of {PAYLOAD} B, {:.0} frames/s, receivers {feedback} transport feedback",
        1.0 / FRAME.as_secs_f64()
    );
    println!(
        "{:>11} {:>7} {:>9} {:>9} {:>9} {:>6} {:>9} {:>6} {:>9} {:>9} {:>9} {:>8}",
        "call",
        "pattern",
        "packets/s",
        "µs/packet",
        "floor µs",
        "ratio",
        "woken µs",
        "ratio",
        "p50 ms",
        "p99 ms",
        "pkts/call",
        "in/turn"
    );
    for pattern in &options.patterns {
        for call in &options.calls {
            let (mut shards, mut floors, mut woken) = (vec![], vec![], vec![]);
            for _ in 0..options.rounds {
                shards.push(forward(*call, *pattern, &options));
                floors.push(floor(*call, *pattern, options.seconds, false));
                woken.push(floor(*call, *pattern, options.seconds, true));
            }
            let floors = [median(floors), median(woken)].map(|floor| cost(&floor));
            print_row(*call, *pattern, &median(shards), floors, options.seconds);
        }
    }
}

impl Options {
    fn read() -> Self {
        let mut options = Self {
            calls: vec![],
            other: None,
            patterns: vec![Pattern::Burst, Pattern::Even],
            seconds: 5,
            rounds: 3,
            feedback: true,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--bench" => {}
                "--no-feedback" => options.feedback = false,
                "--seconds" => options.seconds = number(&mut arguments) as u64,
                "--rounds" => options.rounds = number(&mut arguments).max(1),
                "--room" => options.calls.push(Shape::Room(number(&mut arguments))),
                "--idle" => options.other = Some(Other::Idle(number(&mut arguments))),
                "--memory" => options.other = Some(Other::Memory),
                "--delay" => options.other = Some(Other::Delay(number(&mut arguments))),
                "--spread" => options.other = Some(Other::Spread(number(&mut arguments))),
                "--pattern" => match arguments.next().as_deref() {
                    Some("burst") => options.patterns = vec![Pattern::Burst],
                    Some("even") => options.patterns = vec![Pattern::Even],
                    _ => panic!("--pattern burst|even"),
                },
                count => options.calls.push(Shape::Fan(count.parse().expect("a number of receivers"))),
            }
        }
        if options.calls.is_empty() {
            options.calls = vec![Shape::Fan(10), Shape::Fan(50), Shape::Fan(200), Shape::Room(10)];
        }
        options
    }
}

fn number(arguments: &mut impl Iterator<Item = String>) -> usize {
    arguments.next().and_then(|n| n.parse().ok()).expect("a number after the option")
}

/// CPU microseconds of a packet.
fn cost(measured: &Measured) -> f64 {
    measured.cpu.as_secs_f64() * 1e6 / measured.packets.max(1) as f64
}

/// By the cost of a packet.
fn median(mut runs: Vec<Measured>) -> Measured {
    runs.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
    runs.swap_remove(runs.len() / 2)
}

fn print_row(call: Shape, pattern: Pattern, shard: &Measured, [floor, woken]: [f64; 2], seconds: u64) {
    let at = |share: f64| {
        let index = (shard.delays.len() as f64 * share) as usize;
        shard.delays.get(index.min(shard.delays.len().saturating_sub(1))).map_or(0.0, |d| d.as_secs_f64() * 1e3)
    };
    println!(
        "{:>11} {:>7} {:>9} {:>9.2} {:>9.2} {:>6.2} {:>9.2} {:>6.2} {:>9.2} {:>9.2} {:>9.1} {:>8.1}",
        call.name(),
        format!("{pattern:?}").to_lowercase(),
        shard.packets / seconds,
        cost(shard),
        floor,
        cost(shard) / floor,
        woken,
        cost(shard) / woken,
        at(0.50),
        at(0.99),
        shard.packets as f64 / shard.calls.max(1) as f64,
        shard.datagrams_in as f64 / shard.turns.max(1) as f64,
    );
}

/// What a client offers: whether it sends a picture, and what it has slots for.
#[derive(Debug, Clone, Copy, Default)]
struct Lines {
    sends: bool,
    audio: usize,
    video: usize,
}

/// A str0m client on its own socket.
struct Client {
    rtc: Rtc,
    socket: UdpSocket,
    address: SocketAddr,
    deadline: Instant,
    connected: bool,
    received: u64,
    delays: Vec<Duration>,
    /// What it sends on, and how much it has sent.
    mid: Option<str0m::media::Mid>,
    number: u64,
}

impl Client {
    fn new(feedback: bool) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.set_nonblocking(true).expect("a socket option");
        let address = socket.local_addr().expect("an address");
        let now = Instant::now();
        let mut map = ExtensionMap::empty();
        map.set(4, Extension::RtpMid);
        if feedback {
            map.set(3, Extension::TransportSequenceNumber);
        }
        let mut rtc = Rtc::builder()
            .set_rtp_mode(true)
            .clear_codecs()
            .enable_opus(true, false)
            .enable_vp8(true)
            .set_extension_map(map)
            .build(now);
        rtc.add_local_candidate(Candidate::host(address, "udp").expect("a candidate"));
        let (connected, received, delays, mid, number) = (false, 0, vec![], None, 0);
        Self { rtc, socket, address, deadline: now, connected, received, delays, mid, number }
    }

    fn join(&mut self, plane: &Plane, reports: &mut Receiver<Report>, id: u64, lines: Lines) {
        let mut api = self.rtc.sdp_api();
        if lines.sends {
            self.mid = Some(api.add_media(MediaKind::Video, Direction::SendOnly, None, None, None));
        }
        for (kind, count) in [(MediaKind::Audio, lines.audio), (MediaKind::Video, lines.video)] {
            for _ in 0..count {
                api.add_media(kind, Direction::RecvOnly, None, None, None);
            }
        }
        let (offer, pending) = api.apply().expect("an offer");
        let name = |mid: str0m::media::Mid| mid.to_string().parse::<Mid>().expect("a mid");
        let sources = self.mid.map(|mid| (name(mid), Source::Camera)).into_iter().collect();
        let (peer, sdp) = (PeerId(id), offer.to_sdp_string());
        plane
            .send(Command::Offer { room: ROOM, peer, request: id, sdp, sources, may_receive: Permissions::ALL })
            .expect("the plane runs");
        loop {
            match next_report(plane, reports) {
                Report::Answered { request, result, .. } if request == id => {
                    let answer = SdpAnswer::from_sdp_string(&result.expect("an answer")).expect("an answer");
                    self.rtc.sdp_api().accept_answer(pending, answer).expect("a fitting answer");
                    return;
                }
                _ => {}
            }
        }
    }

    /// Serves the socket and the clock.
    fn serve(&mut self, epoch: Instant) {
        let mut buffer = [0; 2000];
        while let Ok((length, source)) = self.socket.recv_from(&mut buffer) {
            let now = Instant::now();
            let Ok(received) = Receive::new(Protocol::Udp, source, self.address, &buffer[..length]) else { continue };
            self.rtc.handle_input(Input::Receive(now, received)).expect("a client that takes what comes");
            self.drain(now, epoch);
        }
        let now = Instant::now();
        if self.deadline <= now {
            self.rtc.handle_input(Input::Timeout(now)).expect("time passes");
            self.drain(now, epoch);
        }
    }

    fn drain(&mut self, now: Instant, epoch: Instant) {
        loop {
            match self.rtc.poll_output().expect("a client that runs") {
                Output::Timeout(at) => {
                    self.deadline = at;
                    return;
                }
                Output::Transmit(out) => {
                    let _ = self.socket.send_to(&out.contents, out.destination);
                }
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(Event::RtpPacket(packet)) => {
                    self.received += 1;
                    let mut stamp: [u8; 8] = packet.payload[6..14].try_into().expect("a stamp");
                    stamp[0] = 0;
                    let sent_at = epoch + Duration::from_nanos(u64::from_be_bytes(stamp));
                    self.delays.push(now.saturating_duration_since(sent_at));
                }
                Output::Event(_) => {}
            }
        }
    }

    fn write(&mut self, epoch: Instant) {
        let now = Instant::now();
        let number = self.number;
        self.number += 1;
        let frame = number / PACKETS_A_FRAME as u64;
        let index = number % PACKETS_A_FRAME as u64;
        let [high, low] = (frame as u16 & 0x7fff).to_be_bytes();
        let start = if index == 0 { 0x90 } else { 0x80 };
        // Every thirtieth frame is a key frame: whoever joins begins within a second.
        let inter = u8::from(!frame.is_multiple_of(30));
        let mut payload = vec![start, 0xe0, 0x80 | high, low, frame as u8, 0x20];
        // The stamp's first byte is where VP8 tells key frames; nanoseconds do not reach it.
        let mut stamp = (now.duration_since(epoch).as_nanos() as u64).to_be_bytes();
        stamp[0] = inter;
        payload.extend(stamp);
        payload.resize(PAYLOAD, 7);
        let mid = self.mid.expect("it joined");
        let timestamp = (frame * 3000) as u32;
        let packet = RtpWrite::new(96.into(), (number + 1).into(), timestamp, now, payload)
            .marker(index + 1 == PACKETS_A_FRAME as u64)
            .nackable(true);
        if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(mid, None) {
            stream.write_rtp(packet);
        }
    }

    fn flush(&mut self, epoch: Instant) {
        let now = Instant::now();
        self.rtc.handle_input(Input::Timeout(now)).expect("time passes");
        self.drain(now, epoch);
    }
}

/// The next report; says of slots at once that they were told.
fn next_report(plane: &Plane, reports: &mut Receiver<Report>) -> Report {
    let report = reports.blocking_recv().expect("the plane runs");
    tell(plane, &report);
    report
}

fn tell(plane: &Plane, report: &Report) {
    if let Report::Slots { peer, version, .. } = report {
        plane.send(Command::SlotsTold { room: ROOM, peer: *peer, version: *version }).expect("the plane runs");
    }
}

/// A media plane with everyone of a call connected.
struct Stage {
    plane: Plane,
    reports: Receiver<Report>,
    clocks: Vec<ThreadClock>,
    clients: Vec<Client>,
    paces: Vec<Pace>,
    epoch: Instant,
}

impl Stage {
    fn open(call: Shape, pattern: Pattern, feedback: bool, settings: Settings, shards: usize) -> Self {
        let (sends, receives) = (Lines { sends: true, ..Lines::default() }, Lines { video: 1, ..Lines::default() });
        let lines = match call {
            Shape::Fan(receivers) => std::iter::once(sends).chain(std::iter::repeat_n(receives, receivers)).collect(),
            Shape::Room(members) => vec![Lines { sends: true, audio: 0, video: members - 1 }; members],
        };
        let mut stage = Self::with(&lines, feedback, settings, shards);
        let publishers = call.publishers();
        stage.paces =
            (0..publishers).map(|index| Pace::new(pattern, FRAME * index as u32 / publishers as u32)).collect();
        stage
    }

    fn with(lines: &[Lines], feedback: bool, settings: Settings, shards: usize) -> Self {
        let (sender, mut reports) = channel(4096);
        let plane = Plane::start(settings, Ports::default(), shards, sender).expect("a media plane");
        let clocks = (0..shards).map(|shard| ThreadClock::find(&format!("media-{shard}"))).collect();
        let epoch = Instant::now();
        let mut clients: Vec<Client> = Vec::new();
        for (index, lines) in lines.iter().enumerate() {
            let mut client = Client::new(feedback || lines.sends);
            client.join(&plane, &mut reports, 1 + index as u64, *lines);
            clients.push(client);
        }
        let mut stage = Self { plane, reports, clocks, clients, paces: Vec::new(), epoch };
        while !stage.clients.iter().all(|client| client.connected) {
            stage.serve();
            std::thread::yield_now();
        }
        stage
    }

    fn serve(&mut self) {
        self.clients.iter_mut().for_each(|client| client.serve(self.epoch));
        self.tell_all();
    }

    fn tell_all(&mut self) {
        while let Ok(report) = self.reports.try_recv() {
            tell(&self.plane, &report);
        }
    }

    fn publish(&mut self) {
        for (client, pace) in self.clients.iter_mut().zip(&mut self.paces) {
            let due = pace.due();
            (0..due).for_each(|_| client.write(self.epoch));
            if due > 0 {
                client.flush(self.epoch);
            }
        }
    }

    fn until_next(&self) -> Duration {
        let next = self.paces.iter().map(Pace::until_next).min().unwrap_or_default();
        next.min(Duration::from_micros(500))
    }

    fn run(&mut self, span: Duration) {
        let end = Instant::now() + span;
        while Instant::now() < end {
            self.publish();
            self.serve();
            std::thread::sleep(self.until_next());
        }
    }

    fn cpu(&self) -> Duration {
        self.clocks.iter().map(ThreadClock::read).sum()
    }
}

fn forward(call: Shape, pattern: Pattern, options: &Options) -> Measured {
    let mut stage = Stage::open(call, pattern, options.feedback, Settings::default(), 1);
    measure(&mut stage, call, options.seconds)
}

fn measure(stage: &mut Stage, call: Shape, seconds: u64) -> Measured {
    stage.run(WARM_UP);
    stage.clients.iter_mut().for_each(|client| client.delays.clear());
    let before = snapshot(stage);
    let began = stage.cpu();
    stage.run(Duration::from_secs(seconds));
    let after = snapshot(stage);
    let cpu = stage.cpu() - began;
    let mut delays: Vec<Duration> = stage.clients.iter_mut().flat_map(|client| client.delays.drain(..)).collect();
    delays.sort_unstable();
    let packets = after.rtp_forwarded - before.rtp_forwarded;
    let meant = (after.rtp_in - before.rtp_in) * call.receivers() as u64;
    if packets * 1000 < meant * 999 {
        println!("only {packets} of {meant} packets were forwarded: {:?}", after.drops);
    }
    Measured {
        packets,
        cpu,
        delays,
        turns: after.turns - before.turns,
        calls: after.send_calls - before.send_calls,
        datagrams_in: after.datagrams_in - before.datagrams_in,
    }
}

/// Peers with one audio and one video slot each, in pairs, of which nobody sends.
fn idle(peers: usize, options: &Options) {
    let lines = vec![Lines { sends: false, audio: 1, video: 1 }; peers];
    let mut stage = Stage::with(&lines, options.feedback, Settings::default(), 1);
    stage.run(WARM_UP);
    let began = stage.cpu();
    stage.run(Duration::from_secs(options.seconds));
    let spent = (stage.cpu() - began).as_secs_f64() * 1e6;
    println!("{peers} idle peers: {:.1} µs/s each", spent / (peers as u64 * options.seconds) as f64);
    stage.plane.stop();
}

/// Heap of the shard for each receiver, while a publisher sends 10 packets a frame and the receivers' retransmission caches are full.
fn memory(options: &Options) {
    for (audio, video, receivers) in [(1, 1, 100), (10, 10, 20)] {
        let publisher = Lines { sends: true, ..Lines::default() };
        let mut stage = Stage::with(&[publisher], options.feedback, Settings::default(), 1);
        let alone = heap::of_shards();
        for index in 0..receivers {
            let mut client = Client::new(options.feedback);
            client.join(&stage.plane, &mut stage.reports, 100 + index, Lines { sends: false, audio, video });
            stage.clients.push(client);
        }
        while !stage.clients.iter().all(|client| client.connected) {
            stage.serve();
            std::thread::yield_now();
        }
        stage.paces = vec![Pace::new(Pattern::Burst, Duration::ZERO)];
        stage.run(WARM_UP);
        let mut sizes = Vec::new();
        for _ in 0..options.seconds.max(3) {
            stage.run(Duration::from_secs(1));
            sizes.push((heap::of_shards() - alone) / 1024 / receivers as isize);
        }
        println!(
            "{audio} audio and {video} video slots, one of them filled: KiB a receiver, second by second: {sizes:?}"
        );
        stage.plane.stop();
    }
}

/// Delay that forwarding adds, from the publisher's write to a receiver's read. The other receivers only empty their sockets, so that their
/// decrypting takes no time from the shard.
fn delay(receivers: usize, options: &Options) {
    for pattern in &options.patterns {
        let mut stage = Stage::open(Shape::Fan(receivers), *pattern, false, Settings::default(), 1);
        let mut mute = stage.clients.split_off(2);
        let run = |stage: &mut Stage, mute: &mut [Client], span: Duration| {
            let end = Instant::now() + span;
            let mut buffer = [0; 2000];
            while Instant::now() < end {
                stage.publish();
                stage.serve();
                for client in mute.iter_mut() {
                    while client.socket.recv_from(&mut buffer).is_ok() {
                        stage.clients[1].serve(stage.epoch);
                    }
                }
                std::thread::sleep(stage.until_next().min(Duration::from_micros(50)));
            }
        };
        run(&mut stage, &mut mute, WARM_UP);
        stage.clients[1].delays.clear();
        let began = stage.cpu();
        run(&mut stage, &mut mute, Duration::from_secs(options.seconds));
        let busy = (stage.cpu() - began).as_secs_f64() / options.seconds as f64;
        let mut delays = std::mem::take(&mut stage.clients[1].delays);
        delays.sort_unstable();
        let at = |share: f64| delays[(delays.len() as f64 * share) as usize].as_secs_f64() * 1e3;
        println!(
            "1 to {receivers}, {pattern:?}: p50 {:.2} ms, p99 {:.2} ms, the shard busy for {:.0} % of a core",
            at(0.5),
            at(0.99),
            busy * 100.0
        );
        stage.plane.stop();
    }
}

/// What a packet costs when its call is on one shard, and when it is on two.
fn spread(receivers: usize, options: &Options) {
    for shards in [1, 2] {
        let members = if shards == 1 { usize::MAX } else { receivers / 2 + 1 };
        let spread = Spread { members, ..Spread::default() };
        let settings = Settings { spread, ..Settings::default() };
        let call = Shape::Fan(receivers);
        let mut stage = Stage::open(call, Pattern::Burst, false, settings, shards);
        stage.run(WARM_UP);
        let before: Vec<Duration> = stage.clocks.iter().map(ThreadClock::read).collect();
        let heard: u64 = stage.clients.iter().map(|client| client.received).sum();
        stage.run(Duration::from_secs(options.seconds));
        let packets = stage.clients.iter().map(|client| client.received).sum::<u64>() - heard;
        let spent = stage.clocks.iter().zip(before).map(|(clock, before)| (clock.read() - before).as_secs_f64() * 1e6);
        let spent: Vec<f64> = spent.collect();
        let total = spent.iter().sum::<f64>() / packets as f64;
        let most = spent.iter().copied().fold(0.0, f64::max) / packets as f64;
        println!(
            "1 to {receivers} on {shards} shards: {total:.2} µs a packet in all, {most:.2} on the busiest: {:.0} packets/s fill it",
            1e6 / most
        );
        stage.plane.stop();
    }
}

/// The shard's counters, in a pause of the publishers so that nothing is under way.
fn snapshot(stage: &mut Stage) -> ShardSnapshot {
    stage.tell_all();
    loop {
        stage.clients.iter_mut().for_each(|client| client.serve(stage.epoch));
        while let Ok(report) = stage.reports.try_recv() {
            tell(&stage.plane, &report);
            if let Report::Snapshot(snapshot) = report {
                return *snapshot;
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The same packets encrypted and sent, and nothing else: by a thread that knows when they are due, or (`woken`) by one that waits for them
/// on its socket, as whoever forwards must.
fn floor(call: Shape, pattern: Pattern, seconds: u64, woken: bool) -> Measured {
    let mut pace = Pace::new(pattern, Duration::ZERO).of(call.publishers());
    let sinks: Vec<UdpSocket> =
        (0..call.receivers()).map(|_| UdpSocket::bind("127.0.0.1:0").expect("a port")).collect();
    sinks.iter().for_each(|sink| sink.set_nonblocking(true).expect("a socket option"));
    let floor = Floor::new(sinks.iter().map(|sink| sink.local_addr().expect("an address")).collect());
    let (source, publisher) = (floor.source, UdpSocket::bind("127.0.0.1:0").expect("a port"));
    let done = Arc::new(AtomicBool::new(false));
    let stop = done.clone();
    let own = pace.clone();
    let thread = std::thread::spawn(move || {
        let measured = if woken { floor.run_woken(seconds) } else { floor.run(own, seconds) };
        stop.store(true, Ordering::Release);
        measured
    });
    let mut buffer = [0; HEADER + PAYLOAD + TAG];
    while !done.load(Ordering::Acquire) {
        if woken {
            (0..pace.due()).for_each(|_| _ = publisher.send_to(&buffer, source));
        }
        for sink in &sinks {
            while sink.recv_from(&mut buffer).is_ok() {}
        }
        std::thread::sleep(Duration::from_micros(500).min(if woken { pace.until_next() } else { Duration::MAX }));
    }
    thread.join().expect("the floor")
}

/// Who encrypts and sends.
struct Floor {
    addresses: Vec<SocketAddr>,
    ciphers: Vec<Box<dyn AeadAes256GcmCipher>>,
    socket: Socket,
    source: SocketAddr,
    payload: Vec<u8>,
    datagrams: Outbound,
    measured: Measured,
}

impl Floor {
    fn new(addresses: Vec<SocketAddr>) -> Self {
        let provider = str0m::crypto::from_feature_flags();
        let factory = provider.srtp_provider.aead_aes_256_gcm();
        let addresses_told = Addresses { told: vec!["127.0.0.1".parse().expect("an address")], bound: None };
        let socket = Socket::bind(&addresses_told, 0).expect("a socket");
        Self {
            ciphers: (0..addresses.len()).map(|n| factory.create_cipher([n as u8; 32], true)).collect(),
            addresses,
            source: socket.candidates()[0],
            socket,
            payload: vec![7; PAYLOAD],
            datagrams: Outbound::default(),
            measured: Measured { packets: 0, cpu: Duration::ZERO, delays: vec![], turns: 0, calls: 0, datagrams_in: 0 },
        }
    }

    /// So many packets to each.
    fn send(&mut self, due: usize) {
        let source = self.source;
        for (cipher, destination) in self.ciphers.iter_mut().zip(&self.addresses) {
            for n in 0..due {
                let path = Path { proto: Protocol::Udp, source, destination: *destination };
                let length = HEADER + PAYLOAD + TAG;
                let contents = self.datagrams.write(path, |bytes| bytes.resize(bytes.len() + length, 0));
                contents[0] = n as u8;
                let (header, body) = contents.split_at_mut(HEADER);
                cipher.encrypt(&[9; 12], header, &self.payload, body).expect("a cipher that works");
            }
        }
        let sent = self.socket.send(&self.datagrams);
        self.datagrams.clear();
        self.measured.packets += sent.datagrams;
        self.measured.calls += sent.calls;
    }

    fn run(mut self, mut pace: Pace, seconds: u64) -> Measured {
        for span in [1, seconds] {
            (self.measured.packets, self.measured.cpu) = (0, Duration::ZERO);
            let end = Instant::now() + Duration::from_secs(span);
            while Instant::now() < end {
                let (due, began) = (pace.due(), own_cpu());
                self.send(due);
                self.measured.cpu += own_cpu() - began;
                std::thread::sleep(pace.until_next());
            }
        }
        self.measured
    }

    fn run_woken(mut self, seconds: u64) -> Measured {
        for span in [1, seconds] {
            self.measured.packets = 0;
            let (end, began) = (Instant::now() + Duration::from_secs(span), own_cpu());
            while Instant::now() < end {
                let mut readable = libc::pollfd { fd: self.socket.raw().as_raw_fd(), events: libc::POLLIN, revents: 0 };
                // SAFETY: one entry, which outlives the call.
                unsafe { libc::poll(&raw mut readable, 1, 50) };
                let mut due = 0;
                if readable.revents != 0 {
                    self.socket.receive(|_, _, _| due += 1).expect("a socket that works");
                }
                self.send(due);
            }
            self.measured.cpu = own_cpu() - began;
        }
        self.measured
    }
}

/// When packets are due.
#[derive(Debug, Clone)]
struct Pace {
    step: Duration,
    packets: usize,
    next: Instant,
}

impl Pace {
    fn new(pattern: Pattern, offset: Duration) -> Self {
        let (step, packets) = match pattern {
            Pattern::Burst => (FRAME, PACKETS_A_FRAME),
            Pattern::Even => (FRAME / PACKETS_A_FRAME as u32, 1),
        };
        Self { step, packets, next: Instant::now() + offset }
    }

    /// That of so many publishers, one after the other.
    fn of(self, publishers: usize) -> Self {
        Self { step: self.step / publishers as u32, ..self }
    }

    fn due(&mut self) -> usize {
        let now = Instant::now();
        // Whoever fell behind does not catch up in one burst.
        self.next = self.next.max(now.checked_sub(self.step).unwrap_or(now));
        if self.next > now {
            return 0;
        }
        self.next += self.step;
        self.packets
    }

    fn until_next(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }
}

/// The time one thread of this process was on a processor.
struct ThreadClock {
    path: String,
}

impl ThreadClock {
    fn find(name: &str) -> Self {
        loop {
            let tasks = std::fs::read_dir("/proc/self/task").expect("this bench needs Linux");
            let newest = tasks
                .filter_map(|task| task.ok()?.file_name().into_string().ok())
                .filter(|id| {
                    std::fs::read_to_string(format!("/proc/self/task/{id}/comm")).is_ok_and(|comm| comm.trim() == name)
                })
                .filter_map(|id| id.parse::<u32>().ok())
                .max();
            if let Some(id) = newest {
                return Self { path: format!("/proc/self/task/{id}/schedstat") };
            }
            // A thread gives itself its name when it first runs.
            std::thread::yield_now();
        }
    }

    fn read(&self) -> Duration {
        let text = std::fs::read_to_string(&self.path).expect("schedstat");
        Duration::from_nanos(text.split(' ').next().and_then(|n| n.parse().ok()).expect("nanoseconds"))
    }
}

fn own_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on Linux, and `time` outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The heap of the shards' threads, counted where it is asked for.
mod heap {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::cell::Cell;
    use std::sync::atomic::{AtomicIsize, Ordering};

    static BYTES: AtomicIsize = AtomicIsize::new(0);

    thread_local! {
        /// How often the thread's name was looked at in vain, or that it is a shard's.
        static SEEN: Cell<u8> = const { Cell::new(0) };
    }

    const SHARD: u8 = u8::MAX;
    /// A thread has its name before it asks for memory so often.
    const LOOKS: u8 = 100;

    /// Bytes that the shards' threads have asked for and not given back.
    pub fn of_shards() -> isize {
        BYTES.load(Ordering::Relaxed)
    }

    struct Counting;

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    // SAFETY: everything is handed to the system's allocator as it came.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            count(layout.size() as isize);
            // SAFETY: the caller's promise is passed on.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            count(-(layout.size() as isize));
            // SAFETY: the caller's promise is passed on.
            unsafe { System.dealloc(pointer, layout) }
        }

        unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            count(size as isize - layout.size() as isize);
            // SAFETY: the caller's promise is passed on.
            unsafe { System.realloc(pointer, layout, size) }
        }
    }

    fn count(bytes: isize) {
        if is_shard() {
            BYTES.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn is_shard() -> bool {
        SEEN.try_with(|seen| {
            if seen.get() < LOOKS {
                let mut name = [0u8; 16];
                // SAFETY: the kernel writes 16 bytes at most.
                unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
                seen.set(if name.starts_with(b"media-") { SHARD } else { seen.get() + 1 });
            }
            seen.get() == SHARD
        })
        .unwrap_or(false)
    }
}
