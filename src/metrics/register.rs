//! From a line of the catalogue to a metric in a registry. A malformed or doubled line is a bug, found by the first test that makes any metrics.

use prometheus::core::{Collector, Desc};
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::catalogue::{Declaration, Kind};

const WELL_FORMED: &str = "the catalogue holds well-formed names only";

impl Declaration {
    pub(super) fn desc(&self) -> Desc {
        let labels = self.labels.iter().map(|label| (*label).to_owned()).collect();
        Desc::new(self.name.into(), self.help.into(), labels, Default::default()).expect(WELL_FORMED)
    }

    pub(super) fn counter(&self, registry: &Registry) -> IntCounter {
        register(registry, IntCounter::with_opts(self.opts(Kind::Counter)).expect(WELL_FORMED))
    }

    pub(super) fn counters(&self, registry: &Registry) -> IntCounterVec {
        register(registry, IntCounterVec::new(self.opts(Kind::Counter), self.labels).expect(WELL_FORMED))
    }

    pub(super) fn gauge(&self, registry: &Registry) -> IntGauge {
        register(registry, IntGauge::with_opts(self.opts(Kind::Gauge)).expect(WELL_FORMED))
    }

    pub(super) fn gauges(&self, registry: &Registry) -> IntGaugeVec {
        register(registry, IntGaugeVec::new(self.opts(Kind::Gauge), self.labels).expect(WELL_FORMED))
    }

    pub(super) fn float_gauges(&self, registry: &Registry) -> GaugeVec {
        register(registry, GaugeVec::new(self.opts(Kind::Gauge), self.labels).expect(WELL_FORMED))
    }

    pub(super) fn histogram(&self, registry: &Registry, bounds: &[f64]) -> Histogram {
        register(registry, Histogram::with_opts(self.histogram_opts(bounds)).expect(WELL_FORMED))
    }

    pub(super) fn histograms(&self, registry: &Registry, bounds: &[f64]) -> HistogramVec {
        register(registry, HistogramVec::new(self.histogram_opts(bounds), self.labels).expect(WELL_FORMED))
    }

    fn opts(&self, kind: Kind) -> Opts {
        assert_eq!(self.kind, kind, "{} is made as what it is declared to be", self.name);
        Opts::new(self.name, self.help)
    }

    fn histogram_opts(&self, bounds: &[f64]) -> HistogramOpts {
        HistogramOpts { common_opts: self.opts(Kind::Histogram), buckets: bounds.to_vec() }
    }
}

/// The collector itself, and its clone in the registry.
pub(super) fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> C {
    registry.register(Box::new(collector.clone())).expect("no name is in the catalogue twice");
    collector
}
