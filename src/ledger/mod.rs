//! The durable record: the facts of every call in order, which calls are open, and how far each lane has come.
//!
//! A *fact* is one event of one call, numbered from 1 without gaps; a *lane* is the way of one call's facts to one webhook endpoint.
//! A lane's row is made in the same transaction as the call's first fact, so nothing that is stored can be forgotten by delivery.
//! A row is *pending* while facts lie at or after its cursor, or while its state says that something is to be done.
//! The files beside this one are plain values and their encodings; `io/` keeps them in redb.

pub mod append;
pub mod change;
mod code;
pub mod io;
pub mod key;
pub mod row;

pub use append::{Append, Committed, OwnLane, Turn};
pub use change::Change;
pub use row::{CallRow, DeadRow, LaneRow, LaneSave, OpenCall, Record, Undecodable};
