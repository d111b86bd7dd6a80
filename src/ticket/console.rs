//! Passes to the operator's console: a link that opens it once, and the pass that a browser then holds. Both are signed with a key made
//! from the API key, so the server keeps neither, any holder of the API key can make links, and another API key ends them all.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::base::Timestamp;
use crate::base::id::Entropy;

/// Long enough to walk over to a browser; a link in a log is worth nothing after it.
const LINK_LIFETIME: Duration = Duration::from_secs(600);
/// A working day.
const PASS_LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// The longest text that is looked at, in bytes.
const MAX_LEN: usize = 128;

/// Makes and checks links and passes.
#[derive(Clone)]
pub struct ConsoleKey(Hmac<Sha256>);

/// What a browser presents as the bearer of its requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    pub text: String,
    pub expires: Timestamp,
}

/// Links that were opened and have not run out: each opens the console once.
#[derive(Debug, Default)]
pub struct OpenedLinks(BTreeMap<String, Timestamp>);

#[derive(Clone, Copy)]
enum Use {
    Link,
    Pass,
}

impl Use {
    const fn word(self) -> &'static str {
        match self {
            Use::Link => "link",
            Use::Pass => "pass",
        }
    }
}

impl ConsoleKey {
    pub fn new(api_key: &str) -> Self {
        let mut derive = Hmac::<Sha256>::new_from_slice(api_key.as_bytes()).expect("a key of any length is taken");
        derive.update(b"callisto console");
        let key = derive.finalize().into_bytes();
        Self(Hmac::new_from_slice(&key).expect("a key of any length is taken"))
    }

    /// The text behind `/console#link=`.
    pub fn link(&self, now: Timestamp, entropy: Entropy) -> String {
        self.sign(Use::Link, now + LINK_LIFETIME, entropy)
    }

    pub fn pass(&self, now: Timestamp, entropy: Entropy) -> Pass {
        let expires = now + PASS_LIFETIME;
        Pass { text: self.sign(Use::Pass, expires, entropy), expires }
    }

    /// Whether the bearer of this text may do what the console does.
    pub fn admits(&self, pass: &str, now: Timestamp) -> bool {
        self.verify(Use::Pass, pass).is_some_and(|expires| now < expires)
    }

    fn sign(&self, purpose: Use, expires: Timestamp, entropy: Entropy) -> String {
        let named = format!("{}.{}.{}", purpose.word(), expires.as_millis(), URL_SAFE_NO_PAD.encode(entropy));
        let mac = self.mac(&named).finalize().into_bytes();
        format!("{named}.{}", URL_SAFE_NO_PAD.encode(mac))
    }

    fn verify(&self, purpose: Use, text: &str) -> Option<Timestamp> {
        if text.len() > MAX_LEN {
            return None;
        }
        let (named, mac) = text.rsplit_once('.')?;
        self.mac(named).verify_slice(&URL_SAFE_NO_PAD.decode(mac).ok()?).ok()?;
        let rest = named.strip_prefix(purpose.word())?.strip_prefix('.')?;
        Some(Timestamp::from_millis(rest.split_once('.')?.0.parse().ok()?))
    }

    fn mac(&self, named: &str) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(named.as_bytes());
        mac
    }
}

impl OpenedLinks {
    /// Whether the link is good; it is not, a second time.
    pub fn open(&mut self, key: &ConsoleKey, link: &str, now: Timestamp) -> bool {
        self.0.retain(|_, expires| now < *expires);
        match key.verify(Use::Link, link) {
            Some(expires) if now < expires => self.0.insert(link.to_owned(), expires).is_none(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    #[test]
    fn a_link_opens_once_and_not_for_ever() {
        let (key, mut opened) = (ConsoleKey::new("key"), OpenedLinks::default());
        let (first, second) = (key.link(NOW, [1; 10]), key.link(NOW, [2; 10]));
        assert!(opened.open(&key, &first, NOW));
        assert!(!opened.open(&key, &first, NOW));
        assert!(opened.open(&key, &second, NOW + Duration::from_secs(599)));
        assert!(!opened.open(&key, &key.link(NOW, [3; 10]), NOW + LINK_LIFETIME));
        opened.open(&key, "", NOW + LINK_LIFETIME);
        assert!(opened.0.is_empty(), "what has run out is forgotten");
    }

    #[test]
    fn a_pass_is_no_link_and_a_link_no_pass() {
        let (key, mut opened) = (ConsoleKey::new("key"), OpenedLinks::default());
        let (pass, link) = (key.pass(NOW, [1; 10]), key.link(NOW, [1; 10]));
        assert!(key.admits(&pass.text, NOW) && !key.admits(&link, NOW));
        assert!(!opened.open(&key, &pass.text, NOW));
        assert!(!key.admits(&pass.text, pass.expires));
    }

    #[test]
    fn nobody_else_makes_or_changes_one() {
        let key = ConsoleKey::new("key");
        let pass = key.pass(NOW, [1; 10]).text;
        assert!(!ConsoleKey::new("other").admits(&pass, NOW));
        let later = pass.replace(&(NOW + PASS_LIFETIME).as_millis().to_string(), "9999999999999");
        assert_ne!(later, pass);
        for bad in [later.as_str(), "", ".", "pass.1", "pass.1.x.y", "ü", &"x".repeat(1000), &pass[1..]] {
            assert!(!key.admits(bad, NOW), "{bad}");
        }
    }
}
