//! What is changed in the record beside facts and lanes. Each change does no harm when it is given twice.

use bytes::Bytes;

use crate::base::{CallId, EndpointId};

/// One change; those given together hold together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// What delivery keeps of an endpoint, in its own words.
    PutEndpoint {
        endpoint: EndpointId,
        row: Bytes,
    },
    RemoveEndpoint {
        endpoint: EndpointId,
    },
    /// How far a replay has come, in delivery's own words.
    PutReplay {
        endpoint: EndpointId,
        replay: u128,
        row: Bytes,
    },
    RemoveReplay {
        endpoint: EndpointId,
        replay: u128,
    },
    /// Dead letters that were delivered after all: those that begin in `from..=to`.
    Revive {
        endpoint: EndpointId,
        call: CallId,
        from: u64,
        to: u64,
    },
    /// Nothing more of the call goes to the endpoint.
    DropLane {
        endpoint: EndpointId,
        call: CallId,
    },
    /// The call's facts, its row and its dead letters go; nothing happens while it is open or a lane has something to do.
    Forget {
        call: CallId,
    },
    /// The call's facts go, though lanes have yet to say that they are gone; nothing happens while it is open or a lane waits for one.
    Empty {
        call: CallId,
    },
}
