//! The API key of the admin listener.

use std::sync::{Arc, PoisonError, RwLock};

use axum::http::HeaderValue;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The key, as the digest that others are compared with: neither its text nor its length shows in the time a comparison takes. Clones
/// are the same key.
#[derive(Clone)]
pub struct ApiKey(Arc<RwLock<[u8; 32]>>);

impl ApiKey {
    pub fn new(key: &str) -> Self {
        Self(Arc::new(RwLock::new(Sha256::digest(key).into())))
    }

    /// The key from here on.
    pub fn set(&self, key: &str) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Sha256::digest(key).into();
    }

    pub fn is(&self, key: &[u8]) -> bool {
        let given: [u8; 32] = Sha256::digest(key).into();
        let own = *self.0.read().unwrap_or_else(PoisonError::into_inner);
        own.ct_eq(&given).into()
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
    fn a_bearer_key_is_found_whatever_the_case_of_its_scheme() {
        let header = |text: &'static str| HeaderValue::from_static(text);
        assert_eq!(bearer(&header("Bearer abc")), Some(&b"abc"[..]));
        assert_eq!(bearer(&header("bEARER   abc ")), Some(&b"abc"[..]));
        for other in ["", "Bearer", "Bearerabc", "Basic abc", "abc"] {
            assert_eq!(bearer(&header(other)), None, "{other}");
        }
    }
}
