//! The API key of the admin listener.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use axum::http::HeaderValue;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::base::Timestamp;
use crate::ticket::ConsoleKey;

/// Who may use the REST API: the holder of the API key, and a browser that it let in to the console. Clones are the same key.
#[derive(Clone)]
pub struct ApiKey(Arc<RwLock<Own>>);

struct Own {
    /// What others are compared with: neither the key's text nor its length shows in the time that takes.
    digest: [u8; 32],
    console: ConsoleKey,
}

impl Own {
    fn new(key: &str) -> Self {
        Self { digest: Sha256::digest(key).into(), console: ConsoleKey::new(key) }
    }
}

impl ApiKey {
    pub fn new(key: &str) -> Self {
        Self(Arc::new(RwLock::new(Own::new(key))))
    }

    /// The key from here on. Passes to the console end with the old one.
    pub fn set(&self, key: &str) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Own::new(key);
    }

    pub fn is(&self, key: &[u8]) -> bool {
        let given: [u8; 32] = Sha256::digest(key).into();
        self.own().digest.ct_eq(&given).into()
    }

    /// Whether the bearer has the key, or a pass to the console.
    pub fn admits(&self, bearer: &[u8], now: Timestamp) -> bool {
        self.is(bearer) || std::str::from_utf8(bearer).is_ok_and(|pass| self.console().admits(pass, now))
    }

    /// What makes passes to the console.
    pub fn console(&self) -> ConsoleKey {
        self.own().console.clone()
    }

    fn own(&self) -> RwLockReadGuard<'_, Own> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key in `Authorization: Bearer <key>` (RFC 6750, section 2.1; the scheme's case is free: RFC 9110, section 11.1).
pub fn bearer(header: &HeaderValue) -> Option<&[u8]> {
    let header = header.as_bytes();
    let (scheme, rest) = header.split_at_checked(6)?;
    (scheme.eq_ignore_ascii_case(b"bearer") && rest.first() == Some(&b' ')).then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_alone_is_the_key() {
        let key = ApiKey::new("secret");
        assert!(key.is(b"secret"));
        for other in [&b""[..], b"secre", b"secret ", b"Secret", b"secret2"] {
            assert!(!key.is(other), "{other:?}");
        }
        let same = key.clone();
        key.set("another");
        assert!(same.is(b"another") && !same.is(b"secret"));
    }

    #[test]
    fn a_pass_to_the_console_serves_until_the_key_is_another() {
        let (key, now) = (ApiKey::new("secret"), Timestamp::from_millis(1_700_000_000_000));
        let pass = key.console().pass(now, [1; 10]);
        assert!(key.admits(pass.text.as_bytes(), now) && key.admits(b"secret", now));
        assert!(!key.admits(pass.text.as_bytes(), pass.expires) && !key.admits(b"\xff", now));
        key.set("another");
        assert!(!key.admits(pass.text.as_bytes(), now));
    }

    #[test]
    fn a_bearer_key_is_found_whatever_the_case_of_its_scheme() {
        let header = |text: &'static str| HeaderValue::from_static(text);
        assert_eq!(bearer(&header("Bearer abc")), Some(&b"abc"[..]));
        assert_eq!(bearer(&header("bEARER   abc ")), Some(&b"abc"[..]));
        for other in ["", "Bearer", "Bearerabc", "Basic abc", "abc"] {
            assert_eq!(bearer(&header(other)), None, "{other}");
        }
    }
}
