//! Failed log-ins by address: a few are anyone's, many are someone's guesses.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::base::Timestamp;

/// Failures that an address may have at once: an office behind one address whose clients all hold an expired ticket.
const BURST: u32 = 60;
/// One more every so often.
const FORGIVEN_EVERY: Duration = Duration::from_secs(2);
/// Addresses remembered; with more, the one whose last failure is longest ago is forgotten.
const MOST_ADDRESSES: usize = 8192;

/// What is remembered, of each address that failed of late.
#[derive(Debug, Default)]
pub struct Attempts {
    failures: HashMap<IpAddr, Failures>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    /// When the count was last lowered or raised.
    at: Timestamp,
}

impl Attempts {
    /// Notes a failed log-in; false: the address has had too many.
    pub fn fail(&mut self, address: IpAddr, now: Timestamp) -> bool {
        let address = network(address);
        if !self.failures.contains_key(&address) && self.failures.len() >= MOST_ADDRESSES {
            self.forget(now);
        }
        let failures = self.failures.entry(address).or_insert(Failures { count: 0, at: now });
        failures.forgive(now);
        if failures.count >= BURST {
            return false;
        }
        failures.count += 1;
        true
    }

    fn forget(&mut self, now: Timestamp) {
        self.failures.retain(|_, failures| {
            failures.forgive(now);
            failures.count > 0
        });
        if self.failures.len() >= MOST_ADDRESSES
            && let Some(oldest) = self.failures.iter().min_by_key(|(_, failures)| failures.at).map(|(at, _)| *at)
        {
            self.failures.remove(&oldest);
        }
    }
}

impl Failures {
    fn forgive(&mut self, now: Timestamp) {
        let steps = now.since(self.at).as_millis() / FORGIVEN_EVERY.as_millis();
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        self.count = self.count.saturating_sub(steps);
        self.at = if self.count == 0 { now } else { self.at + FORGIVEN_EVERY * steps };
    }
}

/// An IPv6 client has a network of 64 bits to itself, and any address in it.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn many_failures_are_too_many_and_time_forgives_them() {
        let at = Timestamp::from_millis;
        let mut attempts = Attempts::default();
        for _ in 0..BURST {
            assert!(attempts.fail(address("192.0.2.1"), at(0)));
        }
        assert!(!attempts.fail(address("192.0.2.1"), at(1_999)));
        assert!(!attempts.fail(address("::ffff:192.0.2.1"), at(1_999)), "the same, written as IPv6");
        assert!(attempts.fail(address("192.0.2.2"), at(1_999)), "another address");
        assert!(attempts.fail(address("192.0.2.1"), at(2_000)));
        assert!(!attempts.fail(address("192.0.2.1"), at(3_999)), "one is forgiven at a time");
        assert!(attempts.fail(address("192.0.2.1"), at(4_000)));
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let mut attempts = Attempts::default();
        let now = Timestamp::from_millis(0);
        for n in 0..BURST {
            assert!(attempts.fail(address(&format!("2001:db8::{n:x}")), now));
        }
        assert!(!attempts.fail(address("2001:db8::ffff"), now));
        assert!(attempts.fail(address("2001:db8:0:1::1"), now));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut attempts = Attempts::default();
        for n in 0..MOST_ADDRESSES as u32 + 100 {
            let now = Timestamp::from_millis(n.into());
            assert!(attempts.fail(IpAddr::V4(n.into()), now));
            assert!(attempts.failures.len() <= MOST_ADDRESSES);
        }
        assert!(!attempts.failures.contains_key(&IpAddr::V4(0.into())), "the oldest is forgotten");
    }
}
