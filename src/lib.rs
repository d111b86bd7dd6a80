//! Callisto.

pub mod base;
pub mod config;
pub mod event;
pub mod web;
