//! The operator's console, on the admin listener: how a person gets in. What it then shows and does goes through the REST API, with the
//! pass as its bearer; the pages themselves hold nothing secret.

pub mod io;

use serde::{Deserialize, Serialize};

use crate::ticket::ConsolePass;

/// What a person signs in with.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Proof {
    /// What the server or `callisto console` printed; good once.
    Link(String),
    ApiKey(String),
}

/// What the browser holds from then on.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SignedIn {
    pass: String,
    /// RFC 3339.
    expires_at: String,
}

impl From<ConsolePass> for SignedIn {
    fn from(pass: ConsolePass) -> Self {
        Self { expires_at: pass.expires.to_string(), pass: pass.text }
    }
}
