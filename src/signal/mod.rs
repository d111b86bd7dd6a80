//! The clients' door: JSON-RPC 2.0 over WebSocket. `PROTOCOL.md` beside this file is the page that clients are written from.

pub mod attempts;
pub mod fragment;
pub mod ice;
pub mod io;
pub mod offer;
pub mod origin;
pub mod outbox;
pub mod problem;
pub mod protocol;
pub mod rate;
pub mod token;
