//! How many files and sockets the process may have open: raised as far as it goes, and shared out.

/// Kept for the record, webhooks, media over TCP, TLS handshakes and the admin listener; of few, half.
const RESERVED: u64 = 4096;
/// With less, a busy evening of one company runs into it.
const ENOUGH: u64 = 10_000;

/// Connections for clients, out of what the system allows this process.
pub fn for_clients() -> usize {
    let allowed = raise();
    let clients = allowed - RESERVED.min(allowed / 2);
    if allowed < ENOUGH {
        tracing::warn!(
            allowed,
            clients,
            "few files may be open at once, so few clients can be connected: raise the limit (ulimit -n, LimitNOFILE= of systemd, \
             --ulimit nofile= of a container)"
        );
    } else {
        tracing::debug!(allowed, clients, "files that may be open at once");
    }
    usize::try_from(clients).unwrap_or(usize::MAX).min(tokio::sync::Semaphore::MAX_PERMITS)
}

/// Raises the soft limit to the hard one; the limit that holds then.
fn raise() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call writes one `rlimit`, which `limit` is.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        // The least that POSIX knows.
        return 1024;
    }
    let wanted = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
    // SAFETY: the call reads one `rlimit`.
    let raised = limit.rlim_cur < limit.rlim_max && unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &wanted) } == 0;
    if raised { limit.rlim_max } else { limit.rlim_cur }
}
