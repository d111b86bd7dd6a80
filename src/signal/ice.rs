//! The STUN and TURN servers that clients are told of, with credentials of their own where a server has a shared secret.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use sha1::Sha1;

use crate::base::{Timestamp, UserId};
use crate::config::{IceAccess, IceServer};

/// The servers as they are configured.
#[derive(Debug, Clone, Default)]
pub struct IceServers(pub Vec<IceServer>);

/// One server as a client is told of it: an RTCIceServer (WebRTC, 4.2.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Granted {
    pub urls: Vec<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Login {
    pub username: String,
    pub credential: String,
}

impl IceServers {
    /// What this user is told at `now`.
    pub fn grant(&self, user: &UserId, now: Timestamp) -> Vec<Granted> {
        let login = |access: &IceAccess| match access {
            IceAccess::Open => None,
            IceAccess::Fixed { username, credential } => {
                Some(Login { username: username.clone(), credential: credential.0.clone() })
            }
            IceAccess::Shared { secret, lifetime } => Some(timed(&secret.0, user, now + *lifetime)),
        };
        self.0.iter().map(|server| Granted { urls: server.urls.clone(), login: login(&server.access) }).collect()
    }
}

impl Granted {
    /// As values of the HTTP header `Link` (RFC 9725, 4.6), one for each URL.
    pub fn links(&self) -> impl Iterator<Item = String> + '_ {
        let login = self.login.as_ref().map(|Login { username, credential }| {
            let (username, credential) = (quoted(username), quoted(credential));
            format!("; username={username}; credential={credential}; credential-type=\"password\"")
        });
        self.urls.iter().map(move |url| format!("<{url}>; rel=\"ice-server\"{}", login.as_deref().unwrap_or_default()))
    }
}

/// RFC 9110, 5.6.4.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Credentials that a TURN server with the same secret believes until `expires` (draft-uberti-behave-turn-rest-00; coturn's
/// `use-auth-secret`).
fn timed(secret: &str, user: &UserId, expires: Timestamp) -> Login {
    let username = format!("{}:{user}", expires.since(Timestamp::default()).as_secs());
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("a key of any length is taken");
    mac.update(username.as_bytes());
    Login { credential: STANDARD.encode(mac.finalize().into_bytes()), username }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Secret;

    fn servers(access: IceAccess) -> IceServers {
        let urls = vec!["turn:turn.example:3478?transport=udp".to_owned(), "turns:turn.example:5349".to_owned()];
        IceServers(vec![IceServer { urls, access }])
    }

    fn granted(access: IceAccess) -> Granted {
        let now = Timestamp::from_millis(1_700_000_000_999);
        servers(access).grant(&"alice".parse().unwrap(), now).remove(0)
    }

    /// Worked out with `printf 1700003600:alice | openssl dgst -sha1 -hmac north -binary | base64`.
    #[test]
    fn a_shared_secret_makes_credentials_for_a_time() {
        let lifetime = Duration::from_secs(3600);
        let granted = granted(IceAccess::Shared { secret: Secret("north".into()), lifetime });
        let Some(Login { username, credential }) = granted.login else { panic!("no credentials") };
        assert_eq!(username, "1700003600:alice");
        assert_eq!(credential, "wjwSXO2ch1B6VaLTLMy2Avn5O9o=");
    }

    #[test]
    fn what_clients_are_told_is_what_browsers_and_whip_clients_read() {
        let fixed = IceAccess::Fixed { username: "u".into(), credential: Secret("c".into()) };
        assert_eq!(
            serde_json::to_value(granted(fixed.clone())).unwrap(),
            serde_json::json!({
                "urls": ["turn:turn.example:3478?transport=udp", "turns:turn.example:5349"],
                "username": "u",
                "credential": "c",
            })
        );
        assert_eq!(
            granted(fixed).links().next().unwrap(),
            "<turn:turn.example:3478?transport=udp>; rel=\"ice-server\"; username=\"u\"; credential=\"c\"; \
             credential-type=\"password\""
        );
        let open = granted(IceAccess::Open);
        assert_eq!(serde_json::to_value(&open).unwrap().as_object().unwrap().len(), 1);
        assert_eq!(open.links().nth(1).unwrap(), "<turns:turn.example:5349>; rel=\"ice-server\"");
    }
}
