//! The door itself: sockets, and the registry of who is connected.

pub mod registry;
pub mod ws;
