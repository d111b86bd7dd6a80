//! A link to the site that is as bad as a test wants it: delay, loss, a rate with a queue before it, an outage.
//!
//! Two TUN devices, one on each side, and a thread that carries packets between them through `str0m-netem`. Needs root and /dev/net/tun.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use str0m_netem::{Bitrate, DataSize, Input, Netem, NetemConfig, Output, Probability, RandomLoss};

/// Each way takes so long, whatever else there is: a round trip of 40 ms.
const DELAY: Duration = Duration::from_millis(20);

/// What is in the queue before a link of some rate leaves it within this time; more is dropped. As home routers have it.
const QUEUE: Duration = Duration::from_millis(300);

/// What a link does to the packets that go down it, from the site to the people. Up, it only takes its time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    /// Of all packets, this share is lost.
    pub loss: f32,
    /// Kilobits a second that it carries; `None`: any number.
    pub kbps: Option<u64>,
}

/// A link that lies. It is taken up with its value.
pub struct Link {
    orders: Sender<Order>,
    /// Rung after an order; hung up at the end.
    bell: UnixStream,
    down: Arc<Counts>,
    carrier: Option<JoinHandle<()>>,
}

/// What went into one way, and what came out of it.
#[derive(Debug, Default)]
struct Counts {
    packets_in: AtomicU64,
    packets_out: AtomicU64,
}

/// What a link has carried down so far.
#[derive(Debug, Clone, Copy)]
pub struct Carried {
    pub packets: u64,
    /// Those under way are among them.
    pub lost: u64,
}

enum Order {
    Become(Weather),
    /// For so long nothing gets in, on either side.
    Interrupt(Duration),
}

impl Link {
    /// Joins two TUN devices, the people's and the site's. What this thread starts from here on is in a [`hurry`].
    pub fn between(people: File, site: File) -> Self {
        MEASURES.set(true);
        let (bell, heard) = UnixStream::pair().expect("a pair of sockets");
        let (orders, ordered) = mpsc::channel();
        let down = Arc::<Counts>::default();
        let ways =
            [Way::new(site, Weather::default(), down.clone()), Way::new(people, Weather::default(), Arc::default())];
        let carrier = Carrier { ways, orders: ordered, bell: heard, dark_until: Instant::now() };
        let carrier = std::thread::spawn(move || {
            // A link that is late because the machine is busy would be another link than was asked for.
            let _ = be_on_time();
            carrier.run();
        });
        Self { orders, bell, down, carrier: Some(carrier) }
    }

    /// From here on, the link is like this.
    pub fn becomes(&self, weather: Weather) {
        self.order(Order::Become(weather));
    }

    /// From now on and for so long, whatever is sent is lost, both ways.
    pub fn interrupt(&self, time: Duration) {
        self.order(Order::Interrupt(time));
    }

    pub fn carried(&self) -> Carried {
        let Counts { packets_in, packets_out } = &*self.down;
        // What came out went in before: read in this order, the difference is never negative.
        let packets = packets_out.load(Ordering::SeqCst);
        let lost = packets_in.load(Ordering::SeqCst) - packets;
        Carried { packets, lost }
    }

    fn order(&self, order: Order) {
        self.orders.send(order).expect("the carrier lives");
        (&self.bell).write_all(b"!").expect("the carrier listens");
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let _ = self.bell.shutdown(std::net::Shutdown::Both);
        let carrier = self.carrier.take().expect("it is taken once");
        if carrier.join().is_err() && !std::thread::panicking() {
            panic!("the carrier of the link panicked");
        }
    }
}

/// One direction: where packets are taken from, and what is done to them.
struct Way {
    device: File,
    netem: Netem<Vec<u8>>,
    counts: Arc<Counts>,
}

impl Way {
    fn new(device: File, weather: Weather, counts: Arc<Counts>) -> Self {
        Self { device, netem: Netem::new(weather.rules()), counts }
    }
}

/// The thread's own: first the way down, then the way up; what comes out of one is written to the other's device.
struct Carrier {
    ways: [Way; 2],
    orders: Receiver<Order>,
    bell: UnixStream,
    dark_until: Instant,
}

impl Carrier {
    fn run(mut self) {
        while self.wait() {
            let now = Instant::now();
            self.take_orders(now);
            for way in 0..2 {
                self.take_in(way, now);
                self.let_out(way, now);
            }
        }
    }

    /// Until there is something to do; false: the link has been taken up.
    fn wait(&self) -> bool {
        let due = self.ways.iter().filter(|way| !way.netem.is_empty()).map(|way| way.netem.poll_timeout()).min();
        let left = due.map(|due| due.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| libc::timespec {
            tv_sec: left.as_secs() as libc::time_t,
            tv_nsec: left.subsec_nanos() as libc::c_long,
        });
        let poll = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut polled =
            [self.ways[0].device.as_raw_fd(), self.ways[1].device.as_raw_fd(), self.bell.as_raw_fd()].map(poll);
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the descriptors are open, the array and the time live as long as the call.
        let ready = unsafe { libc::ppoll(polled.as_mut_ptr(), 3, timeout, std::ptr::null()) };
        assert!(ready >= 0, "waiting for packets: {}", io::Error::last_os_error());
        polled[2].revents & libc::POLLHUP == 0
    }

    fn take_orders(&mut self, now: Instant) {
        for order in self.orders.try_iter() {
            self.bell.read_exact(&mut [0]).expect("each order rings");
            match order {
                Order::Become(weather) => self.ways[0].netem.set_config(weather.rules()),
                Order::Interrupt(time) => self.dark_until = now + time,
            }
        }
    }

    fn take_in(&mut self, way: usize, now: Instant) {
        let Way { device, netem, counts } = &mut self.ways[way];
        let mut packet = [0; 2048];
        while let Ok(length @ 1..) = device.read(&mut packet) {
            counts.packets_in.fetch_add(1, Ordering::SeqCst);
            if now >= self.dark_until {
                netem.handle_input(Input::Packet(now, packet[..length].to_vec()));
            }
        }
    }

    fn let_out(&mut self, way: usize, now: Instant) {
        let [a, b] = &mut self.ways;
        let (from, to) = if way == 0 { (a, b) } else { (b, a) };
        from.netem.handle_input(Input::Timeout(now));
        while let Some(Output::Packet(packet)) = from.netem.poll_output() {
            from.counts.packets_out.fetch_add(1, Ordering::SeqCst);
            // What a machine does not take is its own loss, as on every network.
            let _ = to.device.write(&packet);
        }
    }
}

impl Weather {
    fn rules(self) -> NetemConfig {
        let rules = NetemConfig::new().latency(DELAY).seed(1);
        let rules = rules.loss(RandomLoss::new(Probability::new(self.loss)));
        match self.kbps {
            Some(kbps) => {
                rules.link(Bitrate::kbps(kbps), DataSize::bytes((kbps * QUEUE.as_millis() as u64 / 8) as i64))
            }
            None => rules,
        }
    }
}

thread_local! {
    /// Whether a test of this thread measures what a link does.
    static MEASURES: Cell<bool> = const { Cell::new(false) };
}

/// The command of a test that has laid a link will run before what else a busy machine does: bandwidth is estimated by times. It gets a
/// session of its own for that, because it is sessions that Linux divides its time among (`sched(7)`, autogroups).
pub fn hurry(command: &mut Command) {
    if !MEASURES.get() {
        return;
    }
    let first = || {
        // SAFETY: between fork and exec there are system calls without memory, but for constants. Where they are not allowed, the test is
        // only less sure of itself.
        unsafe {
            libc::setsid();
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
            libc::setpriority(libc::PRIO_PROCESS, 0, -10);
            let autogroup = libc::open(c"/proc/self/autogroup".as_ptr(), libc::O_WRONLY);
            libc::write(autogroup, c"-19".as_ptr().cast(), 3);
            libc::close(autogroup);
        }
        Ok(())
    };
    // SAFETY: as above.
    unsafe { command.pre_exec(first) };
}

/// From here on the calling thread, which sleeps nearly always, runs as soon as it wakes.
fn be_on_time() -> io::Result<()> {
    let urgent = libc::sched_param { sched_priority: 1 };
    // SAFETY: a system call that reads what lives as long as it.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &raw const urgent) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A new TUN device of this name on the network that the calling thread is on.
pub fn tun(name: &str) -> File {
    let device =
        File::options().read(true).write(true).open("/dev/net/tun").expect("/dev/net/tun is there and we are root");
    // As `struct ifreq` has it: 16 bytes of name, then the flags.
    let mut request = [0u8; size_of::<libc::ifreq>()];
    request[..name.len()].copy_from_slice(name.as_bytes());
    let flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    request[libc::IFNAMSIZ..][..2].copy_from_slice(&flags.to_ne_bytes());
    // SAFETY: the kernel reads and writes a `struct ifreq` there, and it is as long as one.
    let made = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, request.as_mut_ptr()) };
    assert_eq!(made, 0, "a TUN device: {}", io::Error::last_os_error());
    // SAFETY: a system call without memory.
    let unblocked = unsafe { libc::fcntl(device.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
    assert_eq!(unblocked, 0, "a TUN device that does not block: {}", io::Error::last_os_error());
    device
}

/// The site's address that this link alone leads to.
pub const SITE_BY_LINK: Ipv4Addr = Ipv4Addr::new(10, 99, 200, 1);

/// The people's end.
pub const PEOPLE_BY_LINK: Ipv4Addr = Ipv4Addr::new(10, 99, 200, 2);
