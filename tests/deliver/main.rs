//! Ledger and webhooks together: facts on a real disk, delivered over real sockets to a receiver that verifies them.

mod receiver;
mod rows;
mod world;
