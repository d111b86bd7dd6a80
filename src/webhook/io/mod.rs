//! Delivery's way out of the process.

pub mod resolver;
