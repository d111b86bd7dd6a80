//! Callisto, a self-hosted call server: an SFU for the audio and video of calls, and a record of every fact of every call that
//! reaches the company's backend by signed webhooks.
//!
//! # The layers
//! A row may use the rows under it, never its own row; `tests/tidy.rs` holds this.
//!
//! | row | modules | what it is |
//! |---|---|---|
//! | top | `node`, `main`; [`load`] | builds every part and joins them; the load generator, a client of any server |
//! | doors | [`signal`], [`api`], [`web`] | speak to control's handle only |
//! | meeting place | [`control`] | one task, one closed enum of inputs: the only place where the cores meet |
//! | cores | [`call`], [`media`], [`ledger`], [`webhook`] | never name each other |
//! | declarations | [`config`], [`metrics`], [`ticket`] | the typed tree, every metric, the log-in ticket |
//! | contract | [`event`] | event kinds, payloads, the envelope |
//! | values | [`base`] | ids, time, units |
//!
//! Cores are sans-IO: time, randomness and fresh ids are arguments. Only files named `io.rs`, folders `io/`, `node.rs` and
//! `main.rs` touch sockets, files, clocks, threads and locks.
//!
//! # The path of a packet
//! kernel → `media::io::udp` (a batch, one timestamp) → `media::io::worker` (one turn) → `media::shard` → `media::demux` →
//! `media::peer` → `media::publish` → `media::route` → `media::slots` → `media::switch` → `media::rewrite` → `media::peer` →
//! one batch to the kernel.
//!
//! # The path of an event
//! client → `signal::io::ws` → `signal::protocol` → `control` → `call::machine` → facts → `ledger` (one fsync for all that
//! wait) → told: sessions, webhook lanes.
//!
//! # Glossary
//! - **call**: from its placing to its end; **room**: the name under which a call is entered; **member**: a user in a call;
//!   **party**: a user whom a call concerns, rung, in or gone.
//! - **session**: a log-in of one device; it survives a dropped **connection**. **seat**: a member's place, held by a session.
//! - **peer**: a client's media connection; **source**: microphone, camera or screen; **encoding**: one of a source's simulcast
//!   streams; **slot**: a receiving m-line into which the server puts a source.
//! - **fact**: a numbered, stored event of a call; **telemetry**: an event that is never stored; **lane**: the facts of one
//!   call on their way to one **endpoint**.

pub mod api;
pub mod base;
pub mod call;
pub mod config;
pub mod control;
pub mod event;
pub mod ledger;
pub mod load;
pub mod media;
pub mod metrics;
pub mod node;
pub mod signal;
pub mod ticket;
pub mod web;
pub mod webhook;
