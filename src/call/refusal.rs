//! Why a request about a call is refused: the contract's number with a sentence for the developer who reads it.

use crate::event::ErrorCode;

/// A refused request; nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    pub code: ErrorCode,
    pub reason: String,
}

impl Refusal {
    pub fn new(code: ErrorCode, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }

    pub fn state(reason: impl Into<String>) -> Self {
        Self::new(ErrorCode::RefusedInThisState, reason)
    }

    pub fn repeated(reason: impl Into<String>) -> Self {
        Self::new(ErrorCode::RepeatedRequest, reason)
    }

    pub fn parameter(reason: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidParameter, reason)
    }

    pub fn not_here(reason: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotAvailableInThisCall, reason)
    }
}
