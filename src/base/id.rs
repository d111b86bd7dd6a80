//! Identifiers: newtypes with a prefix in their text form, parsed once at the door.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::time::Timestamp;

/// Crockford's base 32 in lower case: no `i`, `l`, `o`, `u`; sorts as the number does.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Digits of a 128-bit number in base 32.
const DIGITS: usize = 26;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} expected: {expected}")]
pub struct InvalidId {
    what: &'static str,
    expected: &'static str,
}

/// Ten random bytes, drawn by a shell and handed to a core that names something new.
pub type Entropy = [u8; 10];

/// 48 bits of milliseconds, then 80 random bits: ids sort by the time they were made (as ULID does).
fn compose(now: Timestamp, entropy: Entropy) -> u128 {
    let mut bytes = [0u8; 16];
    bytes[..6].copy_from_slice(&now.as_millis().to_be_bytes()[2..]);
    bytes[6..].copy_from_slice(&entropy);
    u128::from_be_bytes(bytes)
}

fn write_base32(f: &mut fmt::Formatter<'_>, prefix: &str, mut value: u128) -> fmt::Result {
    let mut digits = [b'0'; DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(value & 31) as usize];
        value >>= 5;
    }
    f.write_str(prefix)?;
    f.write_str(std::str::from_utf8(&digits).expect("the alphabet is ASCII"))
}

fn parse_base32(digits: &str) -> Option<u128> {
    if digits.len() != DIGITS {
        return None;
    }
    digits.bytes().enumerate().try_fold(0u128, |value, (i, byte)| {
        let digit = ALPHABET.iter().position(|a| *a == byte)? as u128;
        // 26 digits hold 130 bits: the first one may use only three of its five.
        (i > 0 || digit < 8).then_some(value << 5 | digit)
    })
}

macro_rules! prefixed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// A new id made at `now`; `entropy` keeps two of one millisecond apart.
            pub fn new(now: Timestamp, entropy: Entropy) -> Self {
                Self(compose(now, entropy))
            }

            /// When it was made.
            pub const fn made_at(self) -> Timestamp {
                Timestamp::from_millis((self.0 >> 80) as u64)
            }

            /// The number behind the text, for keys of the store.
            pub const fn as_u128(self) -> u128 {
                self.0
            }

            /// The id whose number is `value`.
            pub const fn from_u128(value: u128) -> Self {
                Self(value)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_base32(f, $prefix, self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.strip_prefix($prefix)
                    .and_then(parse_base32)
                    .map(Self)
                    .ok_or(InvalidId { what: stringify!($name), expected: $expected })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

prefixed_id!(
    /// A call, from its placing to its end; also the name of its stream of facts.
    CallId, "call_", "call_ and 26 digits of base 32"
);
prefixed_id!(
    /// A client's log-in; it survives a dropped connection.
    SessionId, "sess_", "sess_ and 26 digits of base 32"
);
prefixed_id!(
    /// One event as a receiver sees it; the same in every retry and replay.
    EventId, "ev_", "ev_ and 26 digits of base 32"
);

macro_rules! named_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $most:literal bytes of letters, digits and $others:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The longest text, in bytes.
            pub const MAX_LEN: usize = $most;

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let known = |b: u8| b.is_ascii_alphanumeric() || $others.contains(&b);
                if (1..=Self::MAX_LEN).contains(&text.len()) && text.bytes().all(known) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidId { what: $what, expected: $expected })
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

named_id!(
    /// A user as the ticket names them: 1–32 bytes of `a-zA-Z0-9_-`.
    UserId, "userId", 32 bytes of letters, digits and b"_-", "1 to 32 bytes of a-z, A-Z, 0-9, _ and -"
);
named_id!(
    /// A webhook endpoint's stable name: 1–64 bytes of `a-zA-Z0-9_.-`.
    EndpointId, "endpoint id", 64 bytes of letters, digits and b"_.-", "1 to 64 bytes of a-z, A-Z, 0-9, _, . and -"
);
named_id!(
    /// An m-line's identification tag (RFC 5888): 1–16 bytes, what a one-byte RTP header extension can carry, of the token
    /// characters that browsers use.
    Mid, "mid", 16 bytes of letters, digits and b"_-.+~", "1 to 16 token characters"
);

/// One client's media connection. Never reused while the node runs; the media plane knows no other name of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

/// A call as the media plane knows it: the peers that hear and see each other. Never reused while the node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomKey(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_form() {
        let id = CallId::new(Timestamp::from_millis(1_700_000_000_123), [7; 10]);
        let text = id.to_string();
        assert!(text.starts_with("call_"), "{text}");
        assert_eq!(text.parse::<CallId>().unwrap(), id);
        assert_eq!(serde_json::from_str::<CallId>(&format!("\"{text}\"")).unwrap(), id);
        let largest = CallId::from_u128(u128::MAX);
        assert_eq!(largest.to_string().parse::<CallId>().unwrap(), largest);
    }

    #[test]
    fn ids_sort_by_time_as_numbers_and_as_text() {
        let early = EventId::new(Timestamp::from_millis(1), [255; 10]);
        let late = EventId::new(Timestamp::from_millis(2), [0; 10]);
        assert!(early < late && early.to_string() < late.to_string());
    }

    #[test]
    fn what_is_no_id_is_refused() {
        let digits = "0".repeat(26);
        for text in [
            "",
            "call_",
            "call_0",
            &format!("sess_{digits}"),
            &format!("call_8{}", &digits[1..]),
            &format!("call_{}u", &digits[1..]),
        ] {
            assert!(text.parse::<CallId>().is_err(), "{text}");
        }
    }

    #[test]
    fn user_ids_keep_to_their_alphabet() {
        for good in ["a", "alice_01", "A-9", &"x".repeat(32)] {
            assert!(good.parse::<UserId>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "ä", "a/b", &"x".repeat(33)] {
            assert!(bad.parse::<UserId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn endpoint_ids_keep_to_their_alphabet() {
        for good in ["a", "billing.prod-1", &"x".repeat(64)] {
            assert!(good.parse::<EndpointId>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "a/b", "a\0", &"x".repeat(65)] {
            assert!(bad.parse::<EndpointId>().is_err(), "{bad}");
        }
    }
}
