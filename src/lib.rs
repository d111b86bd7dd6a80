//! Callisto.
