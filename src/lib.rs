//! Callisto.
pub mod base;
pub mod call;
pub mod config;
pub mod control;
pub mod event;
pub mod ledger;
pub mod media;
pub mod signal;
pub mod ticket;
pub mod webhook;
pub mod web;
