//! Callisto.
pub mod base;
pub mod call;
pub mod event;
pub mod media;
pub mod control;
