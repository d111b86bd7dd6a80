//! The backend's and the operator's door: health for both listeners, metrics and REST for the admin one.

pub mod io;
