//! The clients' door: JSON-RPC 2.0 over WebSocket. `PROTOCOL.md` beside this file is the page that clients are written from.

pub mod io;
pub mod outbox;
pub mod protocol;
pub mod rate;
pub mod token;
