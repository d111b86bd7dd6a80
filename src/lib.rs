//! Callisto.

pub mod base;
pub mod event;
pub mod ticket;
