//! Standard Webhooks: secrets, and the signature that each attempt carries.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const PREFIX: &str = "whsec_";
/// The lengths that the Standard Webhooks specification allows for a key, in bytes.
const KEY_LEN: std::ops::RangeInclusive<usize> = 24..=64;

/// The key that an endpoint shares with this server. No log shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// The text is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected whsec_ and the base64 of 24 to 64 random bytes")]
pub struct InvalidSecret;

impl Secret {
    /// A new secret; `entropy` comes from the operating system.
    pub fn generate(entropy: [u8; 32]) -> Self {
        Self(entropy.to_vec())
    }

    /// The text form, for the one who is to verify.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }

    fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl FromStr for Secret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        let key = text.strip_prefix(PREFIX).and_then(|key| STANDARD.decode(key).ok()).ok_or(InvalidSecret)?;
        if KEY_LEN.contains(&key.len()) { Ok(Self(key)) } else { Err(InvalidSecret) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// The value of `webhook-signature`: one signature for each secret, as while one is being replaced by another.
/// `timestamp` is whole seconds since 1970 at this attempt.
pub fn signature<'a>(secrets: impl IntoIterator<Item = &'a Secret>, id: &str, timestamp: u64, body: &[u8]) -> String {
    let signatures: Vec<String> = secrets.into_iter().map(|secret| secret.sign(id, timestamp, body)).collect();
    signatures.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// The example of the specification's own libraries.
    #[test]
    fn the_known_signature_comes_out() {
        let secret: Secret = TEXT.parse().unwrap();
        let signed = signature(&[secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn the_reference_library_verifies_with_either_secret_of_a_rotation() {
        let old = Secret::generate([1; 32]);
        let new = Secret::generate([2; 32]);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let body = r#"{"a":"ä"}"#.as_bytes();
        let headers: reqwest::header::HeaderMap = [
            ("webhook-id", "ev_1".to_owned()),
            ("webhook-timestamp", now.to_string()),
            ("webhook-signature", signature(&[new.clone(), old.clone()], "ev_1", now, body)),
        ]
        .into_iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect();
        for secret in [&old, &new] {
            let receiver = standardwebhooks::Webhook::new(&secret.reveal()).unwrap();
            receiver.verify(body, &headers).unwrap();
            assert!(receiver.verify(b"{}", &headers).is_err(), "another body");
        }
        let stranger = standardwebhooks::Webhook::new(&Secret::generate([3; 32]).reveal()).unwrap();
        assert!(stranger.verify(body, &headers).is_err());
    }

    #[test]
    fn secrets_are_parsed_strictly_and_never_shown() {
        let secret: Secret = TEXT.parse().unwrap();
        assert_eq!(secret.reveal(), TEXT);
        assert_eq!(format!("{secret:?}"), "[secret]");
        let short = format!("whsec_{}", STANDARD.encode([0; 23]));
        let long = format!("whsec_{}", STANDARD.encode([0; 65]));
        for bad in ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_***", &short, &long] {
            assert_eq!(bad.parse::<Secret>(), Err(InvalidSecret), "{bad}");
        }
    }
}
