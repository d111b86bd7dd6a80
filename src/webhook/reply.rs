//! What came of an attempt, and how much of it is remembered.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::address::Refused;

/// What is remembered of an answer's body, in bytes: it is kept for each lane that waits for a retry.
const REMEMBERED: usize = 200;

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Any status; only 2xx is a success.
    Answered {
        status: u16,
        retry_after: Option<Duration>,
        excerpt: String,
    },
    TimedOut,
    /// No answer could be had: no connection, broken TLS.
    Unreachable(String),
    /// Its address is not allowed; nothing was sent.
    Refused(Refused),
}

impl Reply {
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Answered { status: 200..=299, .. })
    }

    /// The failure in words, without what the receiver wrote.
    pub fn summary(&self) -> String {
        match self {
            Self::Answered { status, .. } => format!("status {status}"),
            Self::TimedOut => "no answer in time".into(),
            Self::Unreachable(why) => why.clone(),
            Self::Refused(refused) => refused.to_string(),
        }
    }

    /// RFC 9110, section 10.2.3; honoured where it says when a service is back or a limit ends.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Answered { status: 429 | 503, retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// What is remembered of the last attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// Of the HTTP response; `None`: there was none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    /// The failure in words.
    pub error: String,
    /// The beginning of the response's body.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub response: String,
}

impl Reply {
    /// What is remembered of it.
    pub fn answer(&self) -> Answer {
        let (status, response) = match self {
            Self::Answered { status, excerpt, .. } => (Some(*status), shortened(excerpt)),
            _ => (None, String::new()),
        };
        Answer { status, error: self.summary(), response }
    }
}

fn shortened(text: &str) -> String {
    let mut end = text.len().min(REMEMBERED);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_answers_are_remembered_in_part() {
        let excerpt = "ä".repeat(300);
        let answer = Reply::Answered { status: 500, retry_after: None, excerpt }.answer();
        assert_eq!((answer.status, answer.response.len(), answer.error.as_str()), (Some(500), 200, "status 500"));
        assert_eq!(Reply::TimedOut.answer().status, None);
    }
}
