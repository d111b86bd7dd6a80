pub mod address;
pub mod circuit;
pub mod endpoint;
pub mod lane;
pub mod record;
pub mod schedule;
pub mod sign;
