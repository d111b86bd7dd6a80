//! A call's events in JSON: the envelopes that webhooks carry, byte for byte.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::page::{Limit, Page};
use crate::ledger::Record;

/// Which of a call's events.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct EventFilter {
    /// Events with a `seq` above this.
    pub after: u64,
    /// At most so many: 1 to 500, usually 100.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500)]
    pub limit: Limit,
}

/// An event as webhooks carry it: `id`, `type`, `time`, `callId`, `seq` and `data`, the contract's payload with the server's view.
#[derive(Debug, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(as = Event, value_type = Object)]
pub struct Envelope(Box<RawValue>);

/// A page of a call's events; `records` may hold one more than the page takes.
///
/// # Errors
/// A stored event that is no JSON.
pub fn page(records: Vec<Record>, Limit(limit): Limit) -> Result<Page<Envelope>, serde_json::Error> {
    let more = records.len() > limit;
    let next = records.get(limit.saturating_sub(1)).filter(|_| more).map(|record| record.seq.to_string());
    let envelope = |record: &Record| serde_json::from_slice(&record.body).map(Envelope);
    Ok(Page { items: records.iter().take(limit).map(envelope).collect::<Result<_, _>>()?, next })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::base::{CallId, Timestamp};
    use crate::event::EventKind;

    fn record(seq: u64) -> Record {
        Record {
            call: CallId::from_u128(1),
            seq,
            kind: EventKind::UserJoin,
            time: Timestamp::from_millis(0),
            body: Bytes::from(format!("{{\"z\":{seq},  \"a\":0}}")),
        }
    }

    #[test]
    fn a_page_says_where_to_go_on_and_changes_no_byte() {
        let of = |records: &[u64], limit| {
            let page = page(records.iter().map(|seq| record(*seq)).collect(), Limit(limit)).unwrap();
            (page.items.len(), page.next)
        };
        assert_eq!(of(&[1, 2, 3], 2), (2, Some("2".into())));
        assert_eq!(of(&[1, 2], 2), (2, None));
        assert_eq!(of(&[], 2), (0, None));
        let whole = page(vec![record(7)], Limit(1)).unwrap();
        assert_eq!(serde_json::to_string(&whole.items).unwrap(), "[{\"z\":7,  \"a\":0}]");
    }
}
