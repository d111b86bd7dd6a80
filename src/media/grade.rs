//! How well everyone in a room is connected: statistics become windows, windows become reports, and nobody is blamed for another's network.

use std::time::{Duration, Instant};

use str0m::media::Mid;
use str0m::stats::MediaIngressStats;

use super::flow::FlowWindow;
use super::peer::PeerEvent;
use super::report::Report;
use super::room::{Room, Turn};
use super::route::Origin;
use super::slot::Grant;
use super::telemetry::{Sent, stats_jitter};
use crate::base::Source;

impl Room {
    /// Takes one of a member's statistics.
    pub(super) fn measure(&mut self, seat: usize, event: PeerEvent, now: Instant) {
        match event {
            PeerEvent::Peer(stats) => {
                let member = self.member_mut(seat);
                if let Some(rtt) = stats.rtt {
                    member.budget.note_path(rtt, stats.egress_loss_fraction.unwrap_or(0.0));
                }
                member.gauge.peer(stats);
            }
            PeerEvent::Ingress(stats) => {
                if let Some((source, flow)) = self.close_flow(seat, &stats) {
                    self.member_mut(seat).gauge.ingress(&stats, source, flow);
                }
            }
            PeerEvent::Egress(mid, heard) => {
                let Some(slot) = self.member_mut(seat).slots.iter().position(|slot| slot.mid == mid) else {
                    return;
                };
                let sent = self.sent(seat, slot, now);
                self.member_mut(seat).gauge.egress(&heard, sent);
            }
            _ => {}
        }
    }

    /// A member's statistics are complete.
    pub(super) fn grade(&mut self, seat: usize, turn: &mut Turn<'_>) {
        let Some(member) = &mut self.seats[seat] else { return };
        if member.gauge.close_window(&turn.settings.thresholds, turn.now) {
            self.report_quality_of(seat, turn);
        }
    }

    pub(super) fn report_quality(&self, turn: &mut Turn<'_>) {
        let peers = self.members().map(|(_, member)| (member.id, member.gauge.report())).collect();
        turn.outbox.reports.push_back(Report::Quality { room: self.key, peers });
    }

    pub(super) fn report_quality_of(&self, seat: usize, turn: &mut Turn<'_>) {
        if let Some(member) = &self.seats[seat] {
            let peers = vec![(member.id, member.gauge.report())];
            turn.outbox.reports.push_back(Report::Quality { room: self.key, peers });
        }
    }

    /// The viewer cannot show what it is sent. When packets are missing that never came from the publisher, that is why.
    pub(super) fn stands_still(&mut self, seat: usize, mid: Mid, origin: Origin, now: Instant) {
        let track = self.publishers[origin.member].as_ref().and_then(|publisher| publisher.track(origin.source));
        if track.is_none_or(|track| track.encodings.iter().any(|encoding| encoding.flow.is_missing())) {
            return;
        }
        if let Some(slot) = self.member_mut(seat).slots.iter_mut().find(|slot| slot.mid == mid) {
            slot.stands_still(now);
        }
    }

    fn close_flow(&mut self, seat: usize, stats: &MediaIngressStats) -> Option<(Source, Option<FlowWindow>)> {
        let track = self.publisher_mut(seat).track_by_mid(stats.mid)?;
        let source = track.source;
        let encoding = track.encodings.iter_mut().find(|encoding| encoding.rid == stats.rid);
        let flow = encoding.and_then(|encoding| {
            let flow = encoding.flow.close_window();
            let by_chance = flow.map_or(Duration::ZERO, |flow| flow.waited.saturating_sub(flow.queue));
            encoding.jitter = stats_jitter(stats.jitter, source.is_video()).max(by_chance);
            flow
        });
        Some((source, flow))
    }

    fn sent(&mut self, seat: usize, slot: usize, now: Instant) -> Sent {
        let slot = &mut self.seats[seat].as_mut().expect("a measured member has a seat").slots[slot];
        let origin = slot.showing().map(|showing| showing.origin);
        let publisher = origin.and_then(|origin| self.publishers[origin.member].as_ref());
        let track = publisher.zip(origin).and_then(|(publisher, origin)| publisher.track(origin.source));
        let shows = slot.kind.is_video() && slot.is_open();
        let jitter = track.and_then(|track| track.encodings.iter().map(|encoding| encoding.jitter).max());
        Sent {
            is_video: slot.kind.is_video(),
            holes: slot.take_holes(),
            jitter: jitter.unwrap_or(Duration::ZERO),
            still: slot.take_still(now),
            layers_short: shows.then_some(slot.layers_short),
            paused: slot.grant == Grant::Paused,
        }
    }
}
