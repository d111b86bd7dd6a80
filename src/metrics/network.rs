//! How many members have which network, each way.

use std::collections::BTreeMap;

use prometheus::IntGaugeVec;

use super::as_gauge;
use crate::base::Quality;

const LEVELS: [Quality; 7] =
    [Quality::Unknown, Quality::Excellent, Quality::Good, Quality::Poor, Quality::Bad, Quality::Vbad, Quality::Down];

/// What can be wrong with a network, as the label has it.
const CAUSES: [&str; 5] = ["loss", "delay", "jitter", "bandwidth", "silence"];

/// From the member to the server, or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    Up,
    Down,
}

impl Way {
    const ALL: [Way; 2] = [Way::Up, Way::Down];

    const fn label(self) -> &'static str {
        match self {
            Way::Up => "up",
            Way::Down => "down",
        }
    }
}

/// One moment's count.
#[derive(Debug, Default)]
pub struct NetworkCensus(BTreeMap<(Way, &'static str), u64>);

impl NetworkCensus {
    /// One more member whose network is like this.
    pub fn level(&mut self, way: Way, level: Quality) {
        *self.0.entry((way, level.name())).or_default() += 1;
    }

    /// One more member whose network is bad for this reason: one of loss, delay, jitter, bandwidth, silence.
    pub fn cause(&mut self, way: Way, cause: &'static str) {
        assert!(CAUSES.contains(&cause), "a label comes from its closed set");
        *self.0.entry((way, cause)).or_default() += 1;
    }

    /// Every series, those that nobody is in as 0.
    pub(super) fn show(&self, levels: &IntGaugeVec, causes: &IntGaugeVec) {
        for way in Way::ALL {
            let set = |gauges: &IntGaugeVec, name: &'static str| {
                let count = self.0.get(&(way, name)).copied().unwrap_or_default();
                gauges.with_label_values(&[way.label(), name]).set(as_gauge(count));
            };
            LEVELS.into_iter().for_each(|level| set(levels, level.name()));
            CAUSES.into_iter().for_each(|cause| set(causes, cause));
        }
    }
}
