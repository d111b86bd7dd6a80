//! Where the cores meet: one task, one closed enum of inputs. Calls, presence and the media plane know nothing of each other;
//! control carries what one says to the others, and hands on in order what must be stored and told.

pub mod apply;
mod drain;
pub mod input;
pub mod io;
pub mod message;
mod operate;
pub mod operation;
mod report;
mod request;
pub mod room;
mod session;
pub mod timers;
pub mod view;

pub use crate::call::Refusal;
pub use apply::{Settings, State, Turn};
pub use input::{ConnectionId, Grant, Input, LogIn, Moment, Renewal, Request, RequestId, Restored};
pub use message::{CallBrief, Closing, MemberBrief, Message, Reply, SlotBrief};
pub use operation::{Answer, CallPage, CallQuery, Denial, Operation, OperationId, Order, Placement, Stage};
