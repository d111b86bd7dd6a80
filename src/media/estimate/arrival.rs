//! Packets that were sent at once, told by one pair of times: how much later than it was sent did a burst arrive, against the one before.

use super::Micros;

/// Packets sent within so long are one group (draft-ietf-rmcat-gcc-02, 5.2).
const GROUP: Micros = 5_000;

/// Packets that arrive so close upon another, faster than they were sent, were held up together: they belong to one group, for so long.
const BURST_GAP: Micros = 5_000;
const LONGEST_BURST: Micros = 100_000;

/// The group that is being filled and the one before it. Packets are noted in the order in which they were sent.
#[derive(Debug, Default)]
pub struct Groups {
    current: Option<Group>,
    previous: Option<Group>,
}

#[derive(Debug, Clone, Copy)]
struct Group {
    first_sent: Micros,
    last_sent: Micros,
    first_arrived: Micros,
    /// Of the packet that came last.
    arrived: Micros,
}

/// From one group to the next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    pub sent: Micros,
    pub arrived: Micros,
    /// When the later group had arrived.
    pub at: Micros,
}

impl Groups {
    /// The step to the group that this packet shows to be complete.
    pub fn note(&mut self, sent: Micros, arrived: Micros) -> Option<Step> {
        let fresh = Group { first_sent: sent, last_sent: sent, first_arrived: arrived, arrived };
        let Some(current) = &mut self.current else {
            self.current = Some(fresh);
            return None;
        };
        if sent < current.first_sent {
            return None;
        }
        if sent - current.first_sent <= GROUP || current.is_burst_with(sent, arrived) {
            current.last_sent = current.last_sent.max(sent);
            current.first_arrived = current.first_arrived.min(arrived);
            current.arrived = current.arrived.max(arrived);
            return None;
        }
        let complete = *current;
        *current = fresh;
        let before = self.previous.replace(complete)?;
        Some(Step {
            sent: complete.last_sent - before.last_sent,
            arrived: complete.arrived - before.arrived,
            at: complete.arrived,
        })
    }
}

impl Group {
    fn is_burst_with(&self, sent: Micros, arrived: Micros) -> bool {
        let gap = arrived - self.arrived;
        gap <= BURST_GAP && gap < sent - self.last_sent && arrived - self.first_arrived < LONGEST_BURST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(packets: &[(Micros, Micros)]) -> Vec<(Micros, Micros)> {
        let mut groups = Groups::default();
        let steps = packets.iter().filter_map(|(sent, arrived)| groups.note(sent * 1000, arrived * 1000));
        steps.map(|step| (step.sent / 1000, step.arrived / 1000)).collect()
    }

    #[test]
    fn packets_sent_together_are_one_group_that_has_arrived_with_its_last() {
        let packets = [(0, 50), (1, 51), (2, 54), (33, 83), (34, 90), (66, 116), (99, 149)];
        assert_eq!(steps(&packets), [(32, 36), (32, 26)]);
    }

    #[test]
    fn what_was_held_up_and_came_at_once_is_one_group() {
        let packets = [(0, 50), (20, 70), (40, 150), (60, 151), (80, 152), (100, 160), (120, 180)];
        assert_eq!(steps(&packets), [(20, 20), (60, 82), (20, 8)]);
    }

    #[test]
    fn a_packet_out_of_order_changes_nothing() {
        let packets = [(0, 50), (20, 70), (40, 90), (10, 95), (60, 110)];
        assert_eq!(steps(&packets), [(20, 20), (20, 20)]);
    }
}
