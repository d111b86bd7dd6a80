//! What was sent and not yet spoken of: a ring of small records, by transport-wide sequence number.

use std::collections::VecDeque;

use super::Micros;

/// What was not reported for so long is not waited for. Longer than any queue: what has waited there must still be known.
const KEEP: Micros = 5_000_000;

/// What was reported lost may yet come for so long after it was sent. Longer holds more records on a lossy path, shorter counts what was
/// late as lost.
const LATE: Micros = 800_000;

/// Records kept at most, 96 KiB: a second at 60 Mbit/s.
const MAX_RECORDS: usize = 8192;

/// Records there is room for at first.
const FIRST_RECORDS: usize = 64;

/// The packets that are under way.
#[derive(Debug, Default)]
pub struct History {
    records: VecDeque<Record>,
    /// The number of the packet that is sent next; the last record is of the one before.
    next: u64,
    newest_at: Micros,
}

/// Twelve bytes.
#[derive(Debug, Clone, Copy)]
struct Record {
    /// The low half of the time it was sent.
    at: u32,
    bytes: u16,
    mark: u8,
    fate: Fate,
    name: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    UnderWay,
    Lost,
    Arrived,
}

/// A packet as it was sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sent {
    pub at: Micros,
    pub bytes: u16,
    /// Of the probe that it was part of; zero: of none.
    pub mark: u8,
    /// What its sender knows it by.
    pub name: u32,
}

/// What a feedback says of a packet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Said {
    /// It was not known that it arrived; `was_lost`: it was taken for lost.
    Arrived {
        sent: Sent,
        was_lost: bool,
    },
    Lost(Sent),
    /// Nothing new, or of a packet that is forgotten.
    Old,
    /// Of a packet that was never sent.
    Beyond,
}

impl History {
    pub fn push(&mut self, seq: u64, sent: Sent) {
        if seq != self.next || sent.at.saturating_sub(self.newest_at) > KEEP {
            self.records.clear();
        }
        if self.records.len() == self.records.capacity() {
            self.make_room(sent.at);
        }
        let Sent { at, bytes, mark, name } = sent;
        self.records.push_back(Record { at: at as u32, bytes, mark, fate: Fate::UnderWay, name });
        (self.next, self.newest_at) = (seq.wrapping_add(1), sent.at);
    }

    /// The whole number of what is `base` on the wire; it may lie before the first packet there was.
    pub fn unwrap(&self, base: u16) -> Option<i64> {
        let last = self.next.checked_sub(1)?;
        Some(last as i64 - i64::from((last as u16).wrapping_sub(base)))
    }

    /// A feedback says whether the packet arrived.
    pub fn report(&mut self, seq: i64, arrived: bool, now: Micros) -> Said {
        if seq >= self.next as i64 {
            return Said::Beyond;
        }
        let oldest = self.next as i64 - self.records.len() as i64;
        let index = usize::try_from(seq - oldest).ok();
        let Some(record) = index.and_then(|index| self.records.get_mut(index)) else { return Said::Old };
        let Record { bytes, mark, name, .. } = *record;
        let sent = Sent { at: record.sent_at(now), bytes, mark, name };
        match (record.fate, arrived) {
            (Fate::Arrived, _) | (Fate::Lost, false) => Said::Old,
            (before, true) => {
                record.fate = Fate::Arrived;
                Said::Arrived { sent, was_lost: before == Fate::Lost }
            }
            (Fate::UnderWay, false) => {
                record.fate = Fate::Lost;
                Said::Lost(sent)
            }
        }
    }

    /// Lets go of what no feedback will say more about.
    pub fn forget(&mut self, now: Micros) {
        while let Some(record) = self.records.front() {
            let age = now - record.sent_at(now);
            let done = match record.fate {
                Fate::Arrived => true,
                Fate::Lost => age > LATE,
                Fate::UnderWay => age > KEEP,
            };
            if !done {
                break;
            }
            self.records.pop_front();
        }
    }

    fn make_room(&mut self, now: Micros) {
        self.forget(now);
        if self.records.len() == MAX_RECORDS {
            self.records.pop_front();
        } else if self.records.len() * 4 >= self.records.capacity() * 3 {
            let room = (self.records.capacity() * 2).clamp(FIRST_RECORDS, MAX_RECORDS);
            self.records.reserve_exact(room - self.records.len());
        }
    }
}

impl Record {
    /// Right while it is younger than an hour.
    fn sent_at(&self, now: Micros) -> Micros {
        now - Micros::from((now as u32).wrapping_sub(self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Micros = 1000;

    fn sent(at: Micros) -> Sent {
        Sent { at, bytes: 1000, mark: 0, name: 7 }
    }

    fn filled(seqs: std::ops::Range<u64>) -> History {
        let mut history = History::default();
        seqs.for_each(|seq| history.push(seq, sent(seq as Micros * MS)));
        history
    }

    #[test]
    fn a_packet_is_told_of_once_and_a_lost_one_may_yet_come() {
        let mut history = filled(0..10);
        let now = 50 * MS;
        assert_eq!(history.report(3, true, now), Said::Arrived { sent: sent(3 * MS), was_lost: false });
        assert_eq!(history.report(3, true, now), Said::Old);
        assert_eq!(history.report(3, false, now), Said::Old, "what came is not lost any more");
        assert_eq!(history.report(4, false, now), Said::Lost(sent(4 * MS)));
        assert_eq!(history.report(4, false, now), Said::Old);
        assert_eq!(history.report(4, true, now), Said::Arrived { sent: sent(4 * MS), was_lost: true });
        assert_eq!(history.report(10, true, now), Said::Beyond);
        assert_eq!(history.report(-70_000, true, now), Said::Old);
    }

    #[test]
    fn a_number_on_the_wire_is_of_the_latest_packets() {
        assert_eq!(History::default().unwrap(7), None);
        let history = filled(65_530..65_540);
        assert_eq!(history.unwrap(65_531), Some(65_531));
        assert_eq!(history.unwrap(2), Some(65_538));
        assert_eq!(history.unwrap(3), Some(65_539));
        assert_eq!(history.unwrap(4), Some(4), "not sent yet, so of the round before");
        assert_eq!(filled(0..3).unwrap(3), Some(2 - 65_535));
    }

    #[test]
    fn times_are_right_beyond_the_low_half() {
        let mut history = History::default();
        let at = Micros::from(u32::MAX) - 5;
        history.push(0, sent(at));
        assert_eq!(history.report(0, true, at + 100), Said::Arrived { sent: sent(at), was_lost: false });
    }

    #[test]
    fn what_arrived_takes_no_room() {
        let mut history = filled(0..50);
        (0..40).for_each(|seq| _ = history.report(seq, true, 60 * MS));
        history.forget(60 * MS);
        assert_eq!(history.records.len(), 10);
        assert_eq!(history.report(45, true, 60 * MS), Said::Arrived { sent: sent(45 * MS), was_lost: false });
    }

    #[test]
    fn without_feedback_it_is_bounded() {
        for gap in [1, 20, 1000] {
            let mut history = History::default();
            (0..200_000u64).for_each(|seq| history.push(seq, sent(seq as Micros * gap)));
            assert!(history.records.capacity() <= MAX_RECORDS, "{gap}: {}", history.records.capacity());
            assert!(history.records.len() >= (MAX_RECORDS / 2).min((KEEP / gap) as usize), "{gap}");
        }
    }

    #[test]
    fn a_jump_of_the_number_or_a_long_silence_begins_anew() {
        let mut history = filled(0..10);
        history.push(20, sent(10 * MS));
        assert_eq!(history.records.len(), 1);
        assert!(matches!(history.report(20, true, 11 * MS), Said::Arrived { .. }));
        history.push(21, sent(11 * MS + KEEP));
        assert_eq!(history.records.len(), 1);
    }
}
