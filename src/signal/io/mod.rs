//! The door itself: sockets, and the registry of who is connected.

pub mod door;
pub mod http;
pub mod keyring;
pub mod registry;
pub mod resource;
pub mod whep;
pub mod whip;
pub mod ws;
