//! The record on the disk: redb's file and the one thread that writes it.

#[cfg(test)]
mod disk;
#[cfg(test)]
mod power;
pub mod store;
pub mod writer;

pub use store::{DeadPage, LanePage, Store, StoreError};
pub use writer::{Closed, Health, Told, Unstored, Writer, WriterHandle, WriterNews};
