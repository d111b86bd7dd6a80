//! A call that has ended in JSON: what the record keeps of it.

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::call::{Detail, Time};
use super::event::Envelope;
use crate::base::CallId;
use crate::ledger::{CallRow, Record};

/// A call, whether it goes on or not; `state` says which.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = AnyCall)]
pub enum Call {
    Running(Box<Detail>),
    Ended(Ended),
}

/// A call that has ended.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EndedCall)]
pub struct Ended {
    #[schema(value_type = String)]
    call_id: CallId,
    state: State,
    #[schema(value_type = String, format = DateTime)]
    placed_at: Time,
    #[schema(value_type = String, format = DateTime)]
    ended_at: Time,
    /// The number of its last event.
    seq: u64,
    /// That event as webhooks carry it, onCallEnd or onCallCancelled: who took part and for how long, the reason, a summary for each user.
    #[schema(value_type = Envelope)]
    end: Box<RawValue>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EndedState)]
enum State {
    Ended,
}

impl Ended {
    /// From the call's row and its last fact; none while it has not ended.
    pub fn new(call: CallId, row: &CallRow, last: &Record) -> Option<Self> {
        let end = serde_json::from_slice(&last.body).ok().filter(|_| !row.open)?;
        Some(Self {
            call_id: call,
            state: State::Ended,
            placed_at: Time(row.first),
            ended_at: Time(row.last),
            seq: row.last_seq,
            end,
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::*;
    use crate::base::Timestamp;
    use crate::event::EventKind;

    #[test]
    fn a_call_has_ended_when_its_row_is_closed() {
        let call = CallId::from_u128(1);
        let at = Timestamp::from_millis;
        let row = |open| CallRow { last_seq: 7, open, first: at(0), last: at(61_000), lanes: vec![] };
        let body = Bytes::from_static(b"{\"type\":\"onCallEnd\"}");
        let last = Record { call, seq: 7, kind: EventKind::CallEnd, time: at(61_000), body };
        assert!(Ended::new(call, &row(true), &last).is_none());
        let ended = Call::Ended(Ended::new(call, &row(false), &last).expect("it has ended"));
        let json: Value = serde_json::from_str(&serde_json::to_string(&ended).unwrap()).unwrap();
        assert_eq!(
            json,
            json!({
                "callId": call,
                "state": "ended",
                "placedAt": "1970-01-01T00:00:00.000Z",
                "endedAt": "1970-01-01T00:01:01.000Z",
                "seq": 7,
                "end": {"type": "onCallEnd"},
            })
        );
    }
}
