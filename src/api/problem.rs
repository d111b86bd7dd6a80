//! Why a request was not carried out: `application/problem+json` (RFC 9457) with a stable code.

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::control::Denial;
use crate::control::io::Unanswered;
use crate::event::ErrorCode;

/// An error as the client reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub code: Code,
    /// What is wrong with this request, for the developer who reads it.
    pub detail: String,
}

/// The body of a [`Problem`].
#[derive(Serialize, ToSchema)]
#[schema(as = Problem, description = "Why the request was not carried out (RFC 9457). Programs go by `code`.")]
struct Wire<'a> {
    /// The phrase of the status.
    #[schema(example = "Not Found")]
    title: &'a str,
    /// The HTTP status.
    #[schema(example = 404)]
    status: u16,
    code: Code,
    /// What is wrong with this request, for people.
    #[schema(example = "no such call is going on")]
    detail: &'a str,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $variant:ident = $status:literal $title:literal $name:literal;)*) => {
        /// The stable names of errors. New ones may be added; none changes its meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ToSchema)]
        pub enum Code {
            $($(#[doc = $doc])* #[schema(rename = $name)] $variant),*
        }

        impl Code {
            pub const ALL: &[Code] = &[$(Code::$variant),*];

            /// The HTTP status and its phrase.
            pub const fn status(self) -> (u16, &'static str) {
                match self { $(Code::$variant => ($status, $title)),* }
            }

            /// The name on the wire.
            pub const fn name(self) -> &'static str {
                match self { $(Code::$variant => $name),* }
            }
        }
    };
}

codes! {
    /// The body is no JSON.
    MalformedBody = 400 "Bad Request" "malformedBody";
    /// The API key is missing or wrong.
    Unauthorized = 401 "Unauthorized" "unauthorized";
    /// The user may not do this.
    Blocked = 403 "Forbidden" "blocked";
    /// No such route.
    NotFound = 404 "Not Found" "notFound";
    /// No such call.
    NoSuchCall = 404 "Not Found" "noSuchCall";
    /// The user is not in the call.
    NoSuchMember = 404 "Not Found" "noSuchMember";
    /// No such webhook endpoint.
    NoSuchWebhook = 404 "Not Found" "noSuchWebhook";
    /// The endpoint's delivery, or replay, is not known.
    NoSuchDelivery = 404 "Not Found" "noSuchDelivery";
    /// The route has no such method.
    MethodNotAllowed = 405 "Method Not Allowed" "methodNotAllowed";
    /// No client of the caller is connected.
    CallerOffline = 409 "Conflict" "callerOffline";
    /// The call is not in a state for this.
    RefusedInThisState = 409 "Conflict" "refusedInThisState";
    /// It was done before.
    RepeatedRequest = 409 "Conflict" "repeatedRequest";
    /// Not with this kind of call.
    NotAvailableInThisCall = 409 "Conflict" "notAvailableInThisCall";
    /// The endpoint is the configuration's: what is asked is done there.
    WebhookConfigured = 409 "Conflict" "webhookConfigured";
    /// There are as many endpoints, or replays of one, as there may be.
    TooMany = 409 "Conflict" "tooMany";
    /// The body is larger than a request may be.
    BodyTooLarge = 413 "Content Too Large" "bodyTooLarge";
    /// The body is not said to be JSON.
    UnsupportedMediaType = 415 "Unsupported Media Type" "unsupportedMediaType";
    /// A member of the body is unknown, missing or has no such value.
    InvalidBody = 422 "Unprocessable Content" "invalidBody";
    /// A parameter of the query is unknown or has no such value.
    InvalidQuery = 422 "Unprocessable Content" "invalidQuery";
    /// The request is well-formed and asks for what cannot be.
    InvalidParameter = 422 "Unprocessable Content" "invalidParameter";
    /// The address is private or special, and `webhooks.allow_private` does not have it.
    AddressRefused = 422 "Unprocessable Content" "addressRefused";
    /// The server is at fault.
    Internal = 500 "Internal Server Error" "internal";
    /// The server cannot take this on: it is stopping, or its record cannot be written.
    Unavailable = 503 "Service Unavailable" "unavailable";
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.name())
    }
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    pub fn to_json(&self) -> String {
        let (status, title) = self.code.status();
        let wire = Wire { title, status, code: self.code, detail: &self.detail };
        serde_json::to_string(&wire).expect("a problem is plain data")
    }

    /// For the OpenAPI document.
    pub(super) fn schemas() -> [(String, utoipa::openapi::RefOr<utoipa::openapi::Schema>); 2] {
        use utoipa::{PartialSchema, ToSchema};
        [(Wire::name().into(), Wire::schema()), (<Code as ToSchema>::name().into(), Code::schema())]
    }
}

impl From<Unanswered> for Problem {
    fn from(error: Unanswered) -> Self {
        match error {
            Unanswered::Denied(denial) => denial.into(),
            Unanswered::Late | Unanswered::Stopped => Self::new(Code::Unavailable, error.to_string()),
        }
    }
}

impl From<Denial> for Problem {
    fn from(denial: Denial) -> Self {
        let code = match &denial {
            Denial::NoSuchCall => Code::NoSuchCall,
            Denial::NoSuchMember => Code::NoSuchMember,
            Denial::CallerOffline => Code::CallerOffline,
            Denial::Refused(refusal) => refused(refusal.code),
        };
        Self::new(code, denial.to_string())
    }
}

/// The contract's numbers are for clients of `/v1/ws`; what of them a backend can meet has a code here.
fn refused(code: ErrorCode) -> Code {
    match code {
        ErrorCode::InvalidParameter => Code::InvalidParameter,
        ErrorCode::RefusedInThisState | ErrorCode::NotLoggedIn => Code::RefusedInThisState,
        ErrorCode::RepeatedRequest => Code::RepeatedRequest,
        ErrorCode::NotAvailableInThisCall | ErrorCode::SwitchToVoiceFailed | ErrorCode::SwitchToVideoFailed => {
            Code::NotAvailableInThisCall
        }
        ErrorCode::Blocked => Code::Blocked,
        ErrorCode::Unavailable | ErrorCode::TooManyRequests => Code::Unavailable,
        ErrorCode::UserSigExpired
        | ErrorCode::UserSigInvalid
        | ErrorCode::UserSigWrongKey
        | ErrorCode::UserMismatch
        | ErrorCode::SdkAppIdMismatch
        | ErrorCode::KickedByAnotherLogin => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_name_of_its_own_and_an_error_status() {
        for (i, code) in Code::ALL.iter().enumerate() {
            assert!(Code::ALL[..i].iter().all(|other| other.name() != code.name()), "{}", code.name());
            assert!((400..600).contains(&code.status().0), "{}", code.name());
        }
    }

    #[test]
    fn a_problem_says_what_it_is() {
        let problem: serde_json::Value =
            serde_json::from_str(&Problem::from(Denial::NoSuchCall).to_json()).expect("a problem is JSON");
        assert_eq!(
            problem,
            serde_json::json!({
                "title": "Not Found",
                "status": 404,
                "code": "noSuchCall",
                "detail": "no such call is going on",
            })
        );
    }
}
