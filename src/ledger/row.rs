//! The rows of the record and the bytes they are kept as.

use bytes::Bytes;

use super::code::{Reader, put_text};
use crate::base::{CallId, EndpointId, Timestamp};
use crate::event::EventKind;

/// The first byte of a call's row; a change of its shape changes it.
const CALL_FORMAT: u8 = 1;

/// A row's bytes are not what its table holds: the file was damaged or written by a later version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a row of the {table} table cannot be read")]
pub struct Undecodable {
    pub table: &'static str,
}

/// One fact of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub call: CallId,
    /// From 1 without gaps.
    pub seq: u64,
    pub kind: EventKind,
    pub time: Timestamp,
    /// The envelope's JSON, byte for byte what every endpoint gets.
    pub body: Bytes,
}

impl Record {
    /// The row's value; the key holds the call and the number.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1 + self.kind.name().len() + 8 + self.body.len());
        put_text(&mut out, self.kind.name());
        out.extend_from_slice(&self.time.as_millis().to_be_bytes());
        out.extend_from_slice(&self.body);
        out
    }

    pub fn decode(call: CallId, seq: u64, value: &[u8]) -> Result<Self, Undecodable> {
        let read = || {
            let mut reader = Reader(value);
            let kind = reader.text()?.parse().ok()?;
            let time = Timestamp::from_millis(reader.u64()?);
            Some(Self { call, seq, kind, time, body: Bytes::copy_from_slice(reader.rest()) })
        };
        read().ok_or(Undecodable { table: "facts" })
    }
}

/// What is known of a call without reading its facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRow {
    /// The number of its last fact; 0: none yet.
    pub last_seq: u64,
    pub open: bool,
    /// When its first and its last fact happened.
    pub first: Timestamp,
    pub last: Timestamp,
    /// The endpoints that got a lane with its first fact.
    pub lanes: Vec<EndpointId>,
}

impl CallRow {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![CALL_FORMAT, u8::from(self.open)];
        for number in [self.last_seq, self.first.as_millis(), self.last.as_millis()] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        for endpoint in &self.lanes {
            put_text(&mut out, endpoint.as_str());
        }
        out
    }

    pub fn decode(value: &[u8]) -> Result<Self, Undecodable> {
        let read = || {
            let mut reader = Reader(value);
            if reader.u8()? != CALL_FORMAT {
                return None;
            }
            let open = reader.u8()? != 0;
            let last_seq = reader.u64()?;
            let first = Timestamp::from_millis(reader.u64()?);
            let last = Timestamp::from_millis(reader.u64()?);
            let mut lanes = Vec::new();
            while !reader.0.is_empty() {
                lanes.push(reader.text()?.parse().ok()?);
            }
            Some(Self { last_seq, open, first, last, lanes })
        };
        read().ok_or(Undecodable { table: "calls" })
    }
}

/// A call that had not ended when the record was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCall {
    pub call: CallId,
    pub row: CallRow,
    /// What [`Append::open`](super::Append::open) gave last.
    pub snapshot: Bytes,
}

/// How far one call's facts have come on their way to one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LaneRow {
    /// The number of the fact that is delivered next.
    pub next: u64,
    /// Delivery's own memory of the lane (attempts, due time, a gap to tell); empty: nothing to remember.
    pub state: Bytes,
}

impl LaneRow {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + self.state.len());
        out.extend_from_slice(&self.next.to_be_bytes());
        out.extend_from_slice(&self.state);
        out
    }

    pub fn decode(value: &[u8]) -> Result<Self, Undecodable> {
        let mut reader = Reader(value);
        let next = reader.u64().ok_or(Undecodable { table: "lanes" })?;
        Ok(Self { next, state: Bytes::copy_from_slice(reader.rest()) })
    }

    /// Facts between the cursor and the call's last one.
    pub fn pending(&self, last_seq: u64) -> u64 {
        (last_seq + 1).saturating_sub(self.next)
    }
}

/// A lane's new row, with what it gave up on the way there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneSave {
    pub endpoint: EndpointId,
    pub call: CallId,
    /// `None`: the lane ends, whatever else the call has to tell.
    pub row: Option<LaneRow>,
    pub dead: Vec<DeadRow>,
}

/// Facts that an endpoint could not be given: kept, listed, replayable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadRow {
    pub from: u64,
    pub to: u64,
    pub time: Timestamp,
    /// How it came to that, in delivery's own words.
    pub note: Bytes,
}

impl DeadRow {
    /// The row's value; the key holds the lane and `from`.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + self.note.len());
        out.extend_from_slice(&self.to.to_be_bytes());
        out.extend_from_slice(&self.time.as_millis().to_be_bytes());
        out.extend_from_slice(&self.note);
        out
    }

    pub fn decode(from: u64, value: &[u8]) -> Result<Self, Undecodable> {
        let read = || {
            let mut reader = Reader(value);
            let to = reader.u64()?;
            let time = Timestamp::from_millis(reader.u64()?);
            Some(Self { from, to, time, note: Bytes::copy_from_slice(reader.rest()) })
        };
        read().ok_or(Undecodable { table: "dead letters" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_survives_its_bytes() {
        for kind in EventKind::ALL {
            let record = Record {
                call: CallId::from_u128(7),
                seq: 3,
                kind: *kind,
                time: Timestamp::from_millis(1_767_225_600_123),
                body: Bytes::from_static(b"{\"a\":\"\xc3\xa4\"}"),
            };
            assert_eq!(Record::decode(record.call, record.seq, &record.encode()), Ok(record));
        }
    }

    #[test]
    fn a_call_survives_its_bytes() {
        for lanes in [vec![], vec!["a".parse().unwrap(), "b.c".parse().unwrap()]] {
            let row = CallRow {
                last_seq: 300,
                open: true,
                first: Timestamp::from_millis(1),
                last: Timestamp::from_millis(2),
                lanes,
            };
            assert_eq!(CallRow::decode(&row.encode()), Ok(row));
        }
    }

    #[test]
    fn lanes_and_dead_letters_survive_their_bytes() {
        let row = LaneRow { next: 9, state: Bytes::from_static(b"{}") };
        assert_eq!(LaneRow::decode(&row.encode()), Ok(row));
        let dead = DeadRow { from: 4, to: 6, time: Timestamp::from_millis(5), note: Bytes::from_static(b"500") };
        assert_eq!(DeadRow::decode(4, &dead.encode()), Ok(dead));
    }

    #[test]
    fn a_cut_row_is_refused_and_never_panics() {
        let row = CallRow {
            last_seq: 1,
            open: false,
            first: Timestamp::default(),
            last: Timestamp::default(),
            lanes: vec!["name".parse().unwrap()],
        };
        let whole = row.encode();
        for cut in (0..whole.len()).filter(|cut| *cut != 26) {
            assert!(CallRow::decode(&whole[..cut]).is_err(), "{cut}");
        }
        assert!(Record::decode(CallId::from_u128(1), 1, b"\x03abc").is_err());
        assert!(LaneRow::decode(&[0; 7]).is_err());
        assert!(DeadRow::decode(1, &[0; 15]).is_err());
    }

    #[test]
    fn pending_counts_what_lies_at_or_after_the_cursor() {
        for (next, last, pending) in [(1, 0, 0), (1, 1, 1), (3, 5, 3), (6, 5, 0), (9, 5, 0)] {
            assert_eq!(LaneRow { next, state: Bytes::new() }.pending(last), pending, "{next} of {last}");
        }
    }
}
