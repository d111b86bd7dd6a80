//! Sleeping until a socket has something, another thread calls, or time is up.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Wakes one sleeper from any thread.
#[derive(Debug, Clone)]
pub struct Bell {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    rung: AtomicBool,
    stream: UnixStream,
}

/// The sleeper's side.
#[derive(Debug)]
pub struct Sleeper {
    shared: Arc<Shared>,
    stream: UnixStream,
}

/// A bell and who it wakes.
pub fn bell() -> io::Result<(Bell, Sleeper)> {
    let (ring, hear) = UnixStream::pair()?;
    ring.set_nonblocking(true)?;
    hear.set_nonblocking(true)?;
    let shared = Arc::new(Shared { rung: AtomicBool::new(false), stream: ring });
    Ok((Bell { shared: shared.clone() }, Sleeper { shared, stream: hear }))
}

impl Bell {
    pub fn ring(&self) {
        if !self.shared.rung.swap(true, Ordering::AcqRel) {
            // The stream holds one byte at most: there is room, and if the sleeper is gone nobody needs waking.
            let _ = (&self.shared.stream).write(&[1]);
        }
    }
}

impl Sleeper {
    /// Until the socket is readable, the bell rings, or the time is up. What was written before a ring is seen after the return. True: the
    /// socket is readable.
    pub fn sleep(&mut self, socket: &impl AsFd, timeout: Option<Duration>) -> bool {
        let mut fds = [entry(socket), entry(&self.stream)];
        poll(&mut fds, timeout);
        if fds[1].revents != 0 {
            let mut byte = [0; 8];
            let _ = self.stream.read(&mut byte);
            // Acquires what the ringer had done.
            self.shared.rung.swap(false, Ordering::AcqRel);
        }
        fds[0].revents != 0
    }
}

/// False: the time was up first.
#[cfg(test)]
pub fn readable(socket: &impl AsFd, timeout: Duration) -> bool {
    let mut fds = [entry(socket)];
    poll(&mut fds, Some(timeout));
    fds[0].revents != 0
}

fn entry(fd: &impl AsFd) -> libc::pollfd {
    libc::pollfd { fd: fd.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 }
}

#[cfg(target_os = "linux")]
fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) {
    let limit = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs().min(3600) as _,
        tv_nsec: timeout.subsec_nanos() as _,
    });
    let limit = limit.as_ref().map_or(std::ptr::null(), |limit| &raw const *limit);
    // SAFETY: the array and the time outlive the call; no signal mask is given. An interrupted sleep is a short one.
    unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as _, limit, std::ptr::null()) };
}

#[cfg(not(target_os = "linux"))]
fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) {
    let limit = timeout.map_or(-1, |timeout| timeout.as_micros().div_ceil(1000).min(3_600_000) as libc::c_int);
    // SAFETY: the array outlives the call. An interrupted sleep is a short one.
    unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as _, limit) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn a_ring_wakes_once_however_often_it_was_rung() {
        let quiet = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (bell, mut sleeper) = bell().unwrap();
        for _ in 0..100_000 {
            bell.ring();
        }
        sleeper.sleep(&quiet, None);
        assert!(!readable(&sleeper.stream, Duration::ZERO), "all of it was heard");
        let other = bell.clone();
        let thread = std::thread::spawn(move || other.ring());
        sleeper.sleep(&quiet, None);
        thread.join().unwrap();
    }
}
