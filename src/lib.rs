//! Callisto.
pub mod base;
pub mod call;
pub mod event;
pub mod media;
pub mod control;
pub mod signal;
pub mod ticket;
