//! What the process uses, read from the text of `/proc` (proc_pid_stat(5), proc_pid_limits(5), proc_stat(5)).

/// Constants of the machine that the text of `/proc` counts in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Machine {
    pub ticks_per_second: u64,
    pub page_size: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Usage {
    /// User and system time of all threads.
    pub cpu_seconds: f64,
    /// Bytes in RAM.
    pub resident: u64,
    /// Bytes of address space.
    pub address_space: u64,
    pub threads: u64,
    pub open_fds: u64,
    /// `u64::MAX`: no limit.
    pub max_fds: u64,
    /// Seconds since 1970.
    pub start_time: f64,
}

impl Usage {
    /// From `/proc/self/stat`, `/proc/self/limits` and `/proc/stat`; `None` when one of them is not as Linux writes it.
    pub(super) fn parse(stat: &str, limits: &str, boot: &str, machine: Machine, open_fds: u64) -> Option<Usage> {
        // The second field is the program's name in brackets, and may itself hold blanks and brackets.
        let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().collect();
        // `number` is the manual's, which counts from 1; the first two fields are cut off.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let seconds = |ticks: u64| ticks as f64 / machine.ticks_per_second as f64;
        Some(Usage {
            cpu_seconds: seconds(field(14)? + field(15)?),
            threads: field(20)?,
            start_time: boot_time(boot)? as f64 + seconds(field(22)?),
            address_space: field(23)?,
            resident: field(24)? * machine.page_size,
            open_fds,
            max_fds: max_fds(limits)?,
        })
    }
}

fn max_fds(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_ascii_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        soft => soft.parse().ok(),
    }
}

fn boot_time(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "4242 (a b) c) S 1 4242 4242 0 -1 4194560 900 0 3 0 250 50 0 0 20 0 7 0 1000 8388608 512 18446744073709551615 1 1 0\n";
    const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units     \n\
                          Max processes             100                  100                  processes \n\
                          Max open files            1024                 524288               files     \n";
    const BOOT: &str = "cpu  1 2 3\nintr 9\nbtime 1700000000\nprocesses 5\n";
    const MACHINE: Machine = Machine { ticks_per_second: 100, page_size: 4096 };

    #[test]
    fn the_text_of_proc_is_understood() {
        let expected = Usage {
            cpu_seconds: 3.0,
            resident: 512 * 4096,
            address_space: 8_388_608,
            threads: 7,
            open_fds: 12,
            max_fds: 1024,
            start_time: 1_700_000_010.0,
        };
        assert_eq!(Usage::parse(STAT, LIMITS, BOOT, MACHINE, 12), Some(expected));
    }

    #[test]
    fn text_that_is_not_as_linux_writes_it_yields_nothing() {
        for (stat, limits, boot) in [
            ("", LIMITS, BOOT),
            ("4242 (x) S 1 2 3", LIMITS, BOOT),
            (STAT, "Max processes 1 1", BOOT),
            (STAT, LIMITS, "cpu 1"),
        ] {
            assert_eq!(Usage::parse(stat, limits, boot, MACHINE, 1), None);
        }
    }

    #[test]
    fn descriptors_may_have_no_limit() {
        assert_eq!(
            max_fds("Max open files            unlimited            unlimited            files\n"),
            Some(u64::MAX)
        );
    }
}
