//! Delivery of events to backends: signed, in order for each call and endpoint, at least once. It knows events as bytes.

pub mod address;
pub mod endpoint;
pub mod io;
pub mod schedule;
pub mod sign;

pub use endpoint::Endpoint;
pub use sign::SigningSecret;
