//! The members of all calls, counted by how their network is and why: what a metric can say of it without naming anyone.

use crate::base::Quality;
use crate::control::State;
use crate::media::{Cause, Direction};
use crate::metrics::{Metrics, NetworkCensus, Way};

/// Counts everyone whose media has been judged, each way by itself.
pub fn count(state: &State, metrics: &Metrics) {
    let mut census = NetworkCensus::default();
    for network in state.calls().flat_map(|room| room.members.values()).filter_map(|member| member.quality.as_ref()) {
        for (way, direction) in [(Way::Up, &network.up), (Way::Down, &network.down)] {
            census.level(way, direction.level);
            if let Some(cause) = cause(direction) {
                census.cause(way, cause);
            }
        }
    }
    metrics.network(&census);
}

/// The label of what is wrong with this way, when something is that a person notices.
fn cause(direction: &Direction) -> Option<&'static str> {
    let noticed = matches!(direction.level, Quality::Poor | Quality::Bad | Quality::Vbad | Quality::Down);
    direction.cause.filter(|_| noticed).map(|cause| match cause {
        Cause::Loss => "loss",
        Cause::Delay => "delay",
        Cause::Jitter => "jitter",
        Cause::Bandwidth => "bandwidth",
        Cause::Silence => "silence",
    })
}
