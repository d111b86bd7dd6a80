//! The backend's and the operator's door: health for both listeners, metrics and REST for the admin one.
//!
//! A noun has two files: `<noun>.rs` says what it looks like in JSON and where that comes from, `io/<noun>s.rs` has its routes.
//! `#[utoipa::path]` stands at each route and `routes!` adds it, so `/v1/openapi.json` has what the router has and nothing else.

pub mod call;
pub mod event;
pub mod io;
pub mod order;
pub mod page;
pub mod past;
pub mod problem;
pub mod user;
pub mod webhook;
