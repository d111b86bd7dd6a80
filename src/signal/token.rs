//! Resume tokens: the name of a session and how far its client has read, signed so that the server need not keep them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::base::{SessionId, UserId};

/// The longest token that is looked at, in bytes.
const MAX_LEN: usize = 256;

/// Signs and checks tokens; survives a restart, because its key is made from the app's secret.
#[derive(Clone)]
pub struct TokenKey(Hmac<Sha256>);

/// What a valid token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resume {
    pub session: SessionId,
    /// The last kept message that the client has.
    pub position: u64,
}

impl TokenKey {
    pub fn new(app_secret: &str) -> Self {
        let mut derive = Hmac::<Sha256>::new_from_slice(app_secret.as_bytes()).expect("a key of any length is taken");
        derive.update(b"callisto resume token");
        let key = derive.finalize().into_bytes();
        Self(Hmac::new_from_slice(&key).expect("a key of any length is taken"))
    }

    pub fn sign(&self, user: &UserId, resume: Resume) -> String {
        let Resume { session, position } = resume;
        let mac = self.mac(user, resume).finalize().into_bytes();
        format!("{session}.{position}.{}", URL_SAFE_NO_PAD.encode(mac))
    }

    /// The session a token names, when it is this user's and untouched.
    pub fn verify(&self, user: &UserId, token: &str) -> Option<Resume> {
        if token.len() > MAX_LEN {
            return None;
        }
        let mut parts = token.splitn(3, '.');
        let session = parts.next()?.parse().ok()?;
        let position = parts.next()?.parse().ok()?;
        let mac = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
        let resume = Resume { session, position };
        self.mac(user, resume).verify_slice(&mac).ok()?;
        Some(resume)
    }

    fn mac(&self, user: &UserId, resume: Resume) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(format!("{}\n{}\n{}", user, resume.session, resume.position).as_bytes());
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_resumes_its_own_users_session_only() {
        let (alice, bob): (UserId, UserId) = ("alice".parse().unwrap(), "bob".parse().unwrap());
        let key = TokenKey::new("secret");
        let resume = Resume { session: SessionId::from_u128(7), position: 42 };
        let token = key.sign(&alice, resume);
        assert_eq!(key.verify(&alice, &token), Some(resume));
        assert_eq!(key.verify(&bob, &token), None);
        assert_eq!(TokenKey::new("other").verify(&alice, &token), None);
        assert_eq!(key.verify(&alice, &token.replace(".42.", ".43.")), None);
        for bad in ["", ".", "..", "a.b.c", &"x".repeat(1000)] {
            assert_eq!(key.verify(&alice, bad), None, "{bad}");
        }
    }
}
