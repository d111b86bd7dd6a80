//! Standard Webhooks signatures: HMAC-SHA256 over `id.timestamp.body`, one for each secret while secrets are being changed.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Key lengths that Standard Webhooks asks for, in bytes; shorter ones are weak, longer ones bring nothing.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 16..=64;
const PREFIX: &str = "whsec_";

/// An endpoint's signing secret; its text form is `whsec_` and base64.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(Vec<u8>);

/// The text is no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a webhook secret is \"whsec_\" and base64 of 16 to 64 bytes")]
pub struct InvalidSecret;

impl SigningSecret {
    /// From fresh random bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes.to_vec())
    }

    /// The text that the receiver is configured with.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }

    fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of any length is taken");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl FromStr for SigningSecret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        let bytes = text.strip_prefix(PREFIX).and_then(|key| STANDARD.decode(key).ok()).ok_or(InvalidSecret)?;
        if KEY_BYTES.contains(&bytes.len()) { Ok(Self(bytes)) } else { Err(InvalidSecret) }
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// The `webhook-signature` header of one attempt: a signature for each secret, parted by spaces. `timestamp` is in seconds
/// since 1970 and belongs to the attempt, not to the event.
pub fn signature_header(secrets: &[SigningSecret], id: &str, timestamp: u64, body: &[u8]) -> String {
    let signatures: Vec<String> = secrets.iter().map(|secret| secret.sign(id, timestamp, body)).collect();
    signatures.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vector_is_met() {
        // From the Standard Webhooks specification's reference libraries.
        let secret: SigningSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let header = signature_header(&[secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(header, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_survives_its_text_form_and_is_not_shown() {
        let secret = SigningSecret::from_bytes([7; 32]);
        assert_eq!(secret.reveal().parse::<SigningSecret>().unwrap(), secret);
        assert_eq!(format!("{secret:?}"), "[secret]");
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        for text in ["", "whsec_", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!!!", &format!("whsec_{}", "A".repeat(400))] {
            assert!(text.parse::<SigningSecret>().is_err(), "{text}");
        }
    }

    #[test]
    fn while_secrets_change_either_verifies() {
        let (old, new) = (SigningSecret::from_bytes([1; 32]), SigningSecret::from_bytes([2; 32]));
        let header = signature_header(&[new, old.clone()], "ev_1", 5, b"body");
        let parts: Vec<&str> = header.split(' ').collect();
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[1], signature_header(&[old], "ev_1", 5, b"body"));
    }
}
