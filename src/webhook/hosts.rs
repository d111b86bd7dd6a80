//! The places that lanes of single calls have at one receiver: a host that hangs holds no more than its own.

use std::collections::{BTreeMap, VecDeque};

use url::Url;

use crate::base::CallId;

/// Who is at which host, and who waits before it.
#[derive(Debug)]
pub struct Hosts {
    /// Requests under way to one host.
    each: usize,
    by_host: BTreeMap<String, Host>,
    seated: BTreeMap<CallId, String>,
}

#[derive(Debug, Default)]
struct Host {
    busy: usize,
    waiting: VecDeque<CallId>,
}

impl Hosts {
    pub fn new(each: usize) -> Self {
        Self { each: each.max(1), by_host: BTreeMap::new(), seated: BTreeMap::new() }
    }

    /// Whether `call` has a place now; without one it waits.
    pub fn enter(&mut self, call: CallId, url: &Url) -> bool {
        let name = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let host = self.by_host.entry(name.to_owned()).or_default();
        if host.busy >= self.each {
            host.waiting.push_back(call);
            return false;
        }
        host.busy += 1;
        self.seated.insert(call, name.to_owned());
        true
    }

    /// `call` gives its place back; the answer is who waited longest for it.
    pub fn leave(&mut self, call: CallId) -> Option<CallId> {
        let name = self.seated.remove(&call)?;
        let host = self.by_host.get_mut(&name).expect("a seat is at a known host");
        host.busy -= 1;
        let next = host.waiting.pop_front();
        if host.busy == 0 && next.is_none() {
            self.by_host.remove(&name);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_host_keeps_no_other_from_being_asked() {
        let call = |n: u32| CallId::from_u128(n.into());
        let (a, b) = ("https://a.example/x".parse().unwrap(), "https://b.example/".parse().unwrap());
        let mut hosts = Hosts::new(2);
        assert!(hosts.enter(call(1), &a) && hosts.enter(call(2), &a));
        assert!(!hosts.enter(call(3), &a) && !hosts.enter(call(4), &a));
        assert!(hosts.enter(call(5), &b));
        assert_eq!(hosts.leave(call(1)), Some(call(3)));
        assert!(hosts.enter(call(3), &a));
        assert_eq!(hosts.leave(call(2)), Some(call(4)));
        assert_eq!(hosts.leave(call(9)), None, "it had no place");
        assert_eq!((hosts.leave(call(3)), hosts.leave(call(5))), (None, None));
        assert!(hosts.by_host.is_empty(), "nothing is kept of hosts that nobody asks");
    }
}
