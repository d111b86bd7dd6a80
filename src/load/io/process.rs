//! What a process used, as /proc tells it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, ensure};

/// Processor time and resident memory of a process.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    pub cpu: Duration,
    /// In bytes.
    pub memory: u64,
}

/// # Errors
/// There is no such process, or this is no Linux.
pub fn usage(pid: u32) -> anyhow::Result<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("no process {pid}"))?;
    // The second field is the name in parentheses, which may hold anything; utime and stime are the 14th and 15th.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok());
    let ticks = ticks(11).zip(ticks(12)).map(|(user, system)| user + system).context("/proc/…/stat cannot be read")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = resident.split_whitespace().next().and_then(|text| text.parse().ok()).context("no VmRSS")?;
    // SAFETY: it takes a number and gives one.
    let a_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    ensure!(a_second > 0, "the length of a clock tick is not known");
    Ok(Usage { cpu: Duration::from_secs_f64(ticks as f64 / a_second as f64), memory: kib * 1024 })
}

/// Processor time of this program.
pub fn own_cpu() -> Duration {
    usage(std::process::id()).map_or(Duration::ZERO, |usage| usage.cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_its_time_and_its_memory_and_nobody_is_not_there() {
        let own = usage(std::process::id()).unwrap();
        assert!(own.memory > 1 << 20);
        assert!(usage(u32::MAX).is_err());
    }
}
