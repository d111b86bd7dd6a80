//! Why a WHIP or WHEP request was not carried out: `application/problem+json` (RFC 9457) with a stable code.

use serde_json::json;

use crate::control::Refusal;
use crate::event::ErrorCode;
use crate::ticket::TicketError;

/// An error as the client reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The stable name.
    pub code: &'static str,
    /// What is wrong, for the developer who reads it.
    pub detail: String,
}

impl Problem {
    pub fn new(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into() }
    }

    pub fn to_json(&self, title: &str) -> String {
        json!({"title": title, "status": self.status, "code": self.code, "detail": self.detail}).to_string()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.code {
            ErrorCode::InvalidParameter => 422,
            ErrorCode::Blocked => 403,
            ErrorCode::TooManyRequests => 429,
            ErrorCode::Unavailable => 503,
            ErrorCode::NotLoggedIn
            | ErrorCode::UserSigExpired
            | ErrorCode::UserSigInvalid
            | ErrorCode::UserSigWrongKey
            | ErrorCode::UserMismatch
            | ErrorCode::SdkAppIdMismatch => 401,
            ErrorCode::RefusedInThisState
            | ErrorCode::RepeatedRequest
            | ErrorCode::NotAvailableInThisCall
            | ErrorCode::SwitchToVoiceFailed
            | ErrorCode::SwitchToVideoFailed
            | ErrorCode::KickedByAnotherLogin => 409,
        };
        Self::new(status, refusal.code.name(), refusal.reason)
    }
}

impl From<TicketError> for Problem {
    fn from(error: TicketError) -> Self {
        Self::new(401, error.code().name(), error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_its_status_and_its_stable_name() {
        let problem = Problem::from(Refusal::state("a call goes on"));
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&problem.to_json("Conflict")).unwrap(),
            json!({"title": "Conflict", "status": 409, "code": "refusedInThisState", "detail": "a call goes on"})
        );
        assert_eq!(Problem::from(TicketError::Expired).status, 401);
    }
}
