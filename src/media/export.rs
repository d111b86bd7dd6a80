//! A shard's counters as absolute values, handed over once a second so that the packet path shares nothing.

pub use crate::metrics::shard::{Drops, ShardSnapshot, TURN_BUCKETS};
