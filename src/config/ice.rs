//! STUN and TURN servers that clients are told of.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error};

use super::{Secret, text};

/// How long credentials made of a shared secret are good when nothing else is said: longer than any call.
const LIFETIME: Duration = Duration::from_secs(86_400);

/// One server, by all the ways to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceServer {
    /// `stun:`, `stuns:`, `turn:` and `turns:` (RFC 7064, RFC 7065); at least one.
    pub urls: Vec<String>,
    pub access: IceAccess,
}

/// How clients log in to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IceAccess {
    /// Not at all: STUN.
    Open,
    /// All alike.
    Fixed { username: String, credential: Secret },
    /// Each with credentials of its own, made with a secret that the server knows and good for a while.
    Shared { secret: Secret, lifetime: Duration },
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    urls: Urls,
    username: Option<String>,
    credential: Option<Secret>,
    secret: Option<Secret>,
    #[serde(default = "lifetime", with = "text::interval")]
    lifetime: Duration,
}

#[derive(serde::Deserialize)]
#[serde(untagged, expecting = "a URL or a list of them is expected")]
enum Urls {
    One(String),
    Several(Vec<String>),
}

fn lifetime() -> Duration {
    LIFETIME
}

impl<'de> Deserialize<'de> for IceServer {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let Written { urls, username, credential, secret, lifetime } = Written::deserialize(d)?;
        let urls = match urls {
            Urls::One(url) => vec![url],
            Urls::Several(urls) => urls,
        };
        if urls.is_empty() {
            return Err(D::Error::custom("urls: at least one is expected"));
        }
        if let Some(url) = urls.iter().find(|url| !is_ice_url(url)) {
            return Err(D::Error::custom(format!("urls: {url:?} is no stun:, stuns:, turn: or turns: URL")));
        }
        let is_turn = urls.iter().any(|url| url.starts_with("turn"));
        let access = match (username, credential, secret) {
            (None, None, Some(secret)) => IceAccess::Shared { secret, lifetime },
            (Some(username), Some(credential), None) => IceAccess::Fixed { username, credential },
            (None, None, None) if !is_turn => IceAccess::Open,
            (None, None, None) => {
                return Err(D::Error::custom("a TURN server needs secret, or username and credential"));
            }
            _ => return Err(D::Error::custom("either secret, or username and credential are expected")),
        };
        Ok(Self { urls, access })
    }
}

fn is_ice_url(url: &str) -> bool {
    let rest = url.split_once(':').filter(|(scheme, _)| matches!(*scheme, "stun" | "stuns" | "turn" | "turns"));
    rest.is_some_and(|(_, host)| {
        !host.is_empty() && host.bytes().all(|c| c.is_ascii_graphic() && !b"<>\"\\".contains(&c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<IceServer, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    #[test]
    fn the_three_ways_in_are_read() {
        let stun = read("urls = \"stun:stun.example\"").unwrap();
        assert_eq!(stun, IceServer { urls: vec!["stun:stun.example".into()], access: IceAccess::Open });
        let fixed = read("urls = [\"turn:t.example\"]\nusername = \"u\"\ncredential = \"c\"").unwrap();
        assert_eq!(fixed.access, IceAccess::Fixed { username: "u".into(), credential: Secret("c".into()) });
        let shared = read("urls = \"turns:t.example:5349?transport=tcp\"\nsecret = \"s\"\nlifetime = \"1h\"").unwrap();
        let lifetime = Duration::from_secs(3600);
        assert_eq!(shared.access, IceAccess::Shared { secret: Secret("s".into()), lifetime });
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for (text, reason) in [
            ("urls = []", "at least one"),
            ("urls = \"https://t.example\"", "no stun:"),
            ("urls = \"turn:\"", "no stun:"),
            ("urls = \"turn:a>b\"", "no stun:"),
            ("urls = \"turn:t.example\"", "needs secret"),
            ("urls = \"turn:t.example\"\nusername = \"u\"", "either secret"),
            ("urls = \"turn:t.example\"\nusername = \"u\"\ncredential = \"c\"\nsecret = \"s\"", "either secret"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
