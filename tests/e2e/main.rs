//! End to end: the real binary, real sockets, real browsers, and a backend that checks every webhook it gets.
//!
//! `CALLISTO_BIN=target/release/callisto cargo test --test e2e` tests that binary instead of the one cargo just built.

mod api;
mod backend;
mod bad_links;
mod browser;
mod calls;
mod chromium;
mod codecs;
mod console;
mod delivery;
mod doors;
mod drain;
mod firefox;
mod full;
mod groups;
mod layers;
mod link;
mod load;
mod lost;
mod network;
mod operator;
mod reload;
mod restart;
mod resume;
mod retention;
mod rpc;
mod server;
mod snippets;
mod sockets;
mod tickets;
mod tls;
mod verifiers;
mod webhooks;
mod whip;
mod wire;

use std::time::Duration;

/// Within this everything that a test waits for has happened, or it never will. Generous: nothing is waited for by sleeping,
/// so only a failing test takes so long.
const DEADLINE: Duration = Duration::from_secs(60);
