pub mod address;
pub mod endpoint;
pub mod schedule;
pub mod sign;
