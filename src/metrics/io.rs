//! What metrics need from outside: a place that threads share, and the process's own figures from `/proc`.

use std::sync::{Arc, Mutex, PoisonError};
use std::{fs, io};

use super::process::{Machine, Usage};

/// A value that threads set and a scrape reads. The lock is held for one closure at a time, never across another lock.
#[derive(Debug, Default)]
pub(super) struct Shared<T>(Arc<Mutex<T>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Shared<T> {
    /// A panic in another thread's closure leaves a value that is a count old, at worst: it is used as it is.
    pub(super) fn with<R>(&self, look: impl FnOnce(&mut T) -> R) -> R {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the process uses at this moment; nothing where there is no `/proc`.
pub(super) fn usage() -> Option<Usage> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let boot = fs::read_to_string("/proc/stat").ok()?;
    let open_fds = open_fds().ok()?;
    Usage::parse(&stat, &limits, &boot, machine()?, open_fds)
}

fn open_fds() -> io::Result<u64> {
    // The listing itself holds one.
    Ok((fs::read_dir("/proc/self/fd")?.count() as u64).saturating_sub(1))
}

fn machine() -> Option<Machine> {
    Some(Machine { ticks_per_second: sysconf(libc::_SC_CLK_TCK)?, page_size: sysconf(libc::_SC_PAGESIZE)? })
}

fn sysconf(name: libc::c_int) -> Option<u64> {
    // SAFETY: sysconf takes any number and touches no memory of ours.
    u64::try_from(unsafe { libc::sysconf(name) }).ok().filter(|value| *value > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen() {
        let before = usage().expect("/proc is mounted");
        let file = fs::File::open("/proc/self/stat").unwrap();
        let after = usage().expect("/proc is mounted");
        drop(file);
        assert!(before.resident > 1 << 20 && before.resident < before.address_space);
        assert!(after.cpu_seconds >= before.cpu_seconds);
        assert!(before.open_fds > 0 && before.open_fds <= before.max_fds);
        assert!(before.threads >= 1);
        let day = 86_400.0;
        let age = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64() - before.start_time;
        assert!(age > -2.0 && age < day, "began {age} s ago");
    }

    #[test]
    fn a_panic_in_one_thread_does_not_end_the_others_view() {
        let shared = Shared::<u32>::default();
        let other = shared.clone();
        let ended = std::thread::spawn(move || other.with(|_| panic!("on purpose"))).join();
        assert!(ended.is_err());
        assert_eq!(shared.with(|value| *value), 0);
    }
}
