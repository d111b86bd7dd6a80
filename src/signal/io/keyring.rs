//! The key that tickets are verified with, which can be another one while the node runs.

use std::sync::{Arc, PoisonError, RwLock};

use crate::ticket::TicketKey;

/// Clones are the same place.
#[derive(Clone)]
pub struct Keyring(Arc<RwLock<TicketKey>>);

impl Keyring {
    pub fn new(key: TicketKey) -> Self {
        Self(Arc::new(RwLock::new(key)))
    }

    /// The key at this moment.
    pub fn key(&self) -> TicketKey {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The key for log-ins from here on; those who are logged in stay.
    pub fn set(&self, key: TicketKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = key;
    }
}
