//! The record on the disk: redb's file and the one thread that writes it.

mod batch;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod power;
mod query;
pub mod store;
pub mod writer;

pub use store::{DeadPage, LanePage, Store, StoreError};
pub use writer::{ChangeError, ChangeHandle, Closed, Health, Told, Unstored, Writer, WriterHandle, WriterNews};
