//! The UserSig: who logs in, to which application, until when, signed with the application's secret.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::{MapKey, TicketError};
use crate::base::{Timestamp, UserId};

/// The longest ticket that is looked at, in characters; one with the longest names is about 400.
pub const MAX_TEXT: usize = 4096;
/// The most that a ticket may inflate to, in bytes. Deflate could make 4 MiB of 4 KiB.
pub const MAX_JSON: usize = 8192;

const VERSION: &str = "2.0";

/// An application's id and secret: makes its tickets and checks them. It has no `Debug`: nothing shows the secret.
#[derive(Clone)]
pub struct TicketKey {
    sdk_app_id: u32,
    secret: String,
    clock_skew: Duration,
}

/// A ticket whose signature, application and time were found right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    pub user: UserId,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
    /// The one room it opens and what its user may do there; `None`: any room, everything.
    pub map_key: Option<MapKey>,
}

impl TicketKey {
    /// `secret` is used as the text it is. `clock_skew` is how far ahead of the server's the clock of a ticket's maker may be.
    pub fn new(sdk_app_id: u32, secret: &str, clock_skew: Duration) -> Self {
        Self { sdk_app_id, secret: secret.to_owned(), clock_skew }
    }

    pub const fn sdk_app_id(&self) -> u32 {
        self.sdk_app_id
    }

    /// The text of `ticket`. Times are cut to whole seconds.
    pub fn sign(&self, ticket: &Ticket) -> String {
        let claims = Claims {
            identifier: ticket.user.clone(),
            sdk_app_id: self.sdk_app_id.into(),
            time: ticket.issued_at.as_secs(),
            expire: ticket.expires_at.as_secs().saturating_sub(ticket.issued_at.as_secs()),
            userbuf: ticket.map_key.as_ref().map(|key| STANDARD.encode(key.to_bytes())),
        };
        let json = Wire {
            version: VERSION,
            identifier: claims.identifier.as_str(),
            sdk_app_id: claims.sdk_app_id,
            time: claims.time,
            expire: claims.expire,
            userbuf: claims.userbuf.as_deref(),
            signature: STANDARD.encode(self.mac(&claims)),
        };
        armor(&serde_json::to_vec(&json).expect("a ticket is plain data"))
    }

    /// Checks the text of a ticket with which `user` logs in to `sdk_app_id`.
    pub fn verify(&self, text: &str, sdk_app_id: u32, user: &UserId, now: Timestamp) -> Result<Ticket, TicketError> {
        if sdk_app_id != self.sdk_app_id {
            return Err(TicketError::OtherApp);
        }
        let ticket = self.open(text, now)?;
        if ticket.user != *user {
            return Err(TicketError::OtherUser);
        }
        Ok(ticket)
    }

    /// Checks the text of a ticket that alone says who its user is.
    pub fn open(&self, text: &str, now: Timestamp) -> Result<Ticket, TicketError> {
        let (claims, signature) = Claims::parse(&dearmor(text)?)?;
        if claims.sdk_app_id != u64::from(self.sdk_app_id) {
            return Err(TicketError::OtherApp);
        }
        if !bool::from(self.mac(&claims).ct_eq(&signature)) {
            return Err(TicketError::WrongKey);
        }
        let ticket = claims.into_ticket()?;
        if ticket.issued_at > now + self.clock_skew {
            return Err(TicketError::FromTheFuture);
        }
        if ticket.expires_at <= now {
            return Err(TicketError::Expired);
        }
        Ok(ticket)
    }

    fn mac(&self, claims: &Claims) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).expect("HMAC takes a key of any length");
        mac.update(claims.text_to_sign().as_bytes());
        mac.finalize().into_bytes().into()
    }
}

/// What a ticket says, well-formed but not yet believed.
struct Claims {
    identifier: UserId,
    sdk_app_id: u64,
    /// Seconds since 1970.
    time: u64,
    /// Seconds after `time`.
    expire: u64,
    /// In base64, as it was signed.
    userbuf: Option<String>,
}

/// The ticket's JSON as it is written.
#[derive(Serialize)]
struct Wire<'a> {
    #[serde(rename = "TLS.ver")]
    version: &'static str,
    #[serde(rename = "TLS.identifier")]
    identifier: &'a str,
    #[serde(rename = "TLS.sdkappid")]
    sdk_app_id: u64,
    #[serde(rename = "TLS.time")]
    time: u64,
    #[serde(rename = "TLS.expire")]
    expire: u64,
    #[serde(rename = "TLS.userbuf", skip_serializing_if = "Option::is_none")]
    userbuf: Option<&'a str>,
    #[serde(rename = "TLS.sig")]
    signature: String,
}

impl Claims {
    /// The claims and the signature. Members with other names are not signed, so they mean nothing and are passed over.
    fn parse(json: &[u8]) -> Result<(Self, [u8; 32]), TicketError> {
        let members: Members = serde_json::from_slice(json).map_err(|_| TicketError::Json)?;
        if members.has_duplicates() {
            return Err(TicketError::DuplicateMember);
        }
        if members.text("TLS.ver")? != VERSION {
            return Err(TicketError::Version);
        }
        let identifier = members.text("TLS.identifier")?;
        let signature = STANDARD.decode(members.text("TLS.sig")?).ok().and_then(|bytes| bytes.try_into().ok());
        let userbuf = members.optional_text("TLS.userbuf")?.map(str::to_owned);
        let claims = Self {
            identifier: identifier.parse().map_err(|_| TicketError::Member("TLS.identifier", "a user id"))?,
            sdk_app_id: members.number("TLS.sdkappid")?,
            time: members.number("TLS.time")?,
            expire: members.number("TLS.expire")?,
            userbuf,
        };
        Ok((claims, signature.ok_or(TicketError::Member("TLS.sig", "32 bytes in base64"))?))
    }

    /// Unambiguous, because neither a user id nor a number has a line end and userbuf comes last.
    fn text_to_sign(&self) -> String {
        let Self { identifier, sdk_app_id, time, expire, userbuf } = self;
        let mut text =
            format!("TLS.identifier:{identifier}\nTLS.sdkappid:{sdk_app_id}\nTLS.time:{time}\nTLS.expire:{expire}\n");
        if let Some(userbuf) = userbuf {
            text.push_str(&format!("TLS.userbuf:{userbuf}\n"));
        }
        text
    }

    /// What the signed claims mean. A userbuf that cannot be read is refused: it was meant to narrow what its user may do.
    fn into_ticket(self) -> Result<Ticket, TicketError> {
        let issued_at = Timestamp::from_millis(self.time.saturating_mul(1000));
        let mut expires_at = issued_at + Duration::from_secs(self.expire);
        let map_key = self.userbuf.as_deref().map(read_userbuf).transpose()?;
        if let Some(key) = &map_key {
            if key.user != self.identifier {
                return Err(TicketError::OtherUser);
            }
            if u64::from(key.sdk_app_id) != self.sdk_app_id {
                return Err(TicketError::OtherApp);
            }
            expires_at = expires_at.min(key.expires_at);
        }
        Ok(Ticket { user: self.identifier, issued_at, expires_at, map_key })
    }
}

fn read_userbuf(base64: &str) -> Result<MapKey, TicketError> {
    MapKey::parse(&STANDARD.decode(base64).map_err(|_| TicketError::MapKey("it is not base64"))?)
}

/// A JSON object with its members in the order they were written, doubled ones included.
struct Members(Vec<(String, Value)>);

impl Members {
    fn has_duplicates(&self) -> bool {
        self.0.iter().enumerate().any(|(i, (name, _))| self.0[..i].iter().any(|(earlier, _)| earlier == name))
    }

    fn find(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    fn text(&self, name: &'static str) -> Result<&str, TicketError> {
        self.optional_text(name)?.ok_or(TicketError::Member(name, "a string"))
    }

    fn optional_text(&self, name: &'static str) -> Result<Option<&str>, TicketError> {
        match self.find(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(TicketError::Member(name, "a string")),
        }
    }

    fn number(&self, name: &'static str) -> Result<u64, TicketError> {
        self.find(name).and_then(Value::as_u64).ok_or(TicketError::Member(name, "a whole number"))
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        d.deserialize_map(Visitor)
    }
}

/// UserSig's own replacement of the base64 characters that a URL would escape.
const REPLACED: [(u8, u8); 3] = [(b'+', b'*'), (b'/', b'-'), (b'=', b'_')];

fn armor(json: &[u8]) -> String {
    let mut zlib = Vec::with_capacity(json.len() + 64);
    let status = Compress::new(Compression::default(), true).compress_vec(json, &mut zlib, FlushCompress::Finish);
    assert!(matches!(status, Ok(Status::StreamEnd)), "deflate adds less than 64 bytes to a short text: {status:?}");
    let replace =
        |c: char| REPLACED.iter().find(|(from, _)| char::from(*from) == c).map_or(c, |(_, to)| char::from(*to));
    STANDARD.encode(zlib).chars().map(replace).collect()
}

fn dearmor(text: &str) -> Result<Vec<u8>, TicketError> {
    if text.len() > MAX_TEXT {
        return Err(TicketError::TextTooLong);
    }
    let restore = |byte: u8| match REPLACED.iter().find(|(standard, own)| byte == *standard || byte == *own) {
        Some((standard, own)) if byte == *own => Ok(*standard),
        Some(_) => Err(TicketError::Base64),
        None => Ok(byte),
    };
    let base64 = text.bytes().map(restore).collect::<Result<Vec<u8>, _>>()?;
    inflate(&STANDARD.decode(base64).map_err(|_| TicketError::Base64)?)
}

/// The whole stream, nothing behind it, its checksum right, and no more than [`MAX_JSON`].
fn inflate(zlib: &[u8]) -> Result<Vec<u8>, TicketError> {
    let mut json = Vec::with_capacity(MAX_JSON);
    let mut decompress = Decompress::new(true);
    match decompress.decompress_vec(zlib, &mut json, FlushDecompress::Finish) {
        Ok(Status::StreamEnd) if decompress.total_in() == zlib.len() as u64 => Ok(json),
        Ok(Status::Ok | Status::BufError) if json.len() == MAX_JSON => Err(TicketError::JsonTooLong),
        _ => Err(TicketError::Zlib),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Privileges;
    use super::*;
    use crate::event::{ErrorCode, RoomId};
    use serde_json::json;

    const APP: u32 = 1_400_000_000;
    const SECRET: &str = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e";
    const ISSUED: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const SKEW: Duration = Duration::from_secs(60);

    const PLAIN: &str = "eJyrVgrxCdYrSy1SslIy0jNQ0gHzM1NS80oy0zLBwhWZiflZpXlQqeKU7MSCgswUJStDEwMogMiUZOamKlkZmqOKplYUZBaBxE1NTY3gosWZ6UpWSj5ljuYp*p7l5unBxXnF2WVhVU4uAf7Ozi5JpX7O5SbuHuUhzgZJmQXaTia2SrUAohcx8g__";
    const WITH_NUMBER: &str = "eJxVjU0LgkAURf-L2xoympUMtHgEWWShJEHutJmxUTPxq5Hov0eWi*7iwj1ncZ8QuEe94xVQMHUCk2FLxotGCjlgJaN72hY-VbMsKkvJgBoW*eVrGnnjQI3FP*WqlBUHOh1BW-MqbgVQQMQNd-JrbJZGnB-6IEHE1cUPT17vIiJ69qdxfJYJUCDa3trNrXwbrGeZZqeN70S5IiJRzIgePFREhGfBii7MlvB6A36tQqM_";
    const WITH_NAME: &str = "eJxVjrsOgkAURP-lthrcJQRhEwt8hqgFEVFsDI8Fr4CugEgw-rsJYOFUM*c08wZ7s5MqngMDWSIwbDeG-FZihC32Ugz4mdDeFWHiCYEhMKqQPp0pMePA6Pif8lpgzoFpqvJDz4Ln-jMCBoZlmO6hFq7sRNv50g4SxWizchzr3rZHBwwzyPTK39HpsVlMfl8wBgbNicdEuZJZReupuW6IOkruNZFLDV*5ltn7QbpXU3G56u4EPl8az0do";

    fn key() -> TicketKey {
        TicketKey::new(APP, SECRET, SKEW)
    }

    fn user(name: &str) -> UserId {
        name.parse().unwrap()
    }

    fn ticket(name: &str, lifetime: Duration) -> Ticket {
        Ticket { user: user(name), issued_at: ISSUED, expires_at: ISSUED + lifetime, map_key: None }
    }

    /// The vectors with what they say and the signature that they carry.
    fn vectors() -> [(&'static str, Ticket, &'static str); 3] {
        let with_key = |name: &str, lifetime: u64, room: RoomId, bits: u32| {
            let plain = ticket(name, Duration::from_secs(lifetime));
            let map_key = MapKey {
                user: plain.user.clone(),
                sdk_app_id: APP,
                room,
                expires_at: plain.expires_at,
                privileges: Privileges::from_bits(bits),
            };
            Ticket { map_key: Some(map_key), ..plain }
        };
        [
            (PLAIN, ticket("xiaojun", Duration::from_secs(15_552_000)), "LvA7d/Iw7gSsnskvVzBDPOCCDbuNCw4GHwTC0bip+B4="),
            (
                WITH_NUMBER,
                with_key("xiaojun", 300, RoomId::Int(10_000), 255),
                "0+M4K64lITF5k+8jtQGalx0fgxd1aweZx0fZYfdnvZk=",
            ),
            (
                WITH_NAME,
                with_key("alice_01", 86_400, RoomId::Str("room-A_1".into()), 42),
                "zZeg04j0Cv1xBIKz06/kox02t8iwr8mTU+lU6lphj9Y=",
            ),
        ]
    }

    fn members(text: &str) -> Value {
        serde_json::from_slice(&dearmor(text).unwrap()).unwrap()
    }

    /// A ticket's text around any JSON.
    fn wrap(json: &str) -> String {
        armor(json.as_bytes())
    }

    /// The first vector's JSON with one member put in place of its own, or taken away.
    fn with_member(name: &str, value: Option<Value>) -> String {
        let mut json = members(PLAIN);
        let object = json.as_object_mut().unwrap();
        match value {
            Some(value) => object.insert(name.into(), value),
            None => object.remove(name),
        };
        wrap(&json.to_string())
    }

    #[test]
    fn the_vectors_verify() {
        for (text, expected, _) in vectors() {
            assert_eq!(key().verify(text, APP, &expected.user, ISSUED), Ok(expected.clone()));
            assert_eq!(key().open(text, ISSUED), Ok(expected));
        }
    }

    #[test]
    fn a_ticket_is_signed_as_the_vectors_are() {
        for (text, ticket, signature) in vectors() {
            let ours = members(&key().sign(&ticket));
            assert_eq!(ours, members(text), "the same members with the same values");
            assert_eq!(ours["TLS.sig"], signature);
        }
    }

    #[test]
    fn what_is_signed_verifies_until_it_expires() {
        let ticket = ticket("bob", Duration::from_secs(10));
        let text = key().sign(&ticket);
        let at = |millis| key().open(&text, Timestamp::from_millis(ISSUED.as_millis() + millis));
        assert_eq!(at(9_999), Ok(ticket));
        assert_eq!(at(10_000), Err(TicketError::Expired));
    }

    #[test]
    fn a_ticket_from_the_future_passes_within_the_skew_only() {
        let at = |early: u64| key().open(PLAIN, Timestamp::from_millis(ISSUED.as_millis() - early));
        assert!(at(60_000).is_ok());
        assert_eq!(at(60_001), Err(TicketError::FromTheFuture));
    }

    #[test]
    fn a_map_key_that_expires_first_ends_the_ticket() {
        let mut long = vectors()[1].1.clone();
        long.expires_at = ISSUED + Duration::from_secs(9_000);
        let text = key().sign(&long);
        let key_ends = long.map_key.unwrap().expires_at;
        assert_eq!(key().open(&text, ISSUED).unwrap().expires_at, key_ends);
        assert_eq!(key().open(&text, key_ends), Err(TicketError::Expired));
    }

    #[test]
    fn the_wrong_key_user_and_application_have_their_own_errors() {
        let other_key = TicketKey::new(APP, &SECRET.replace('5', "6"), SKEW);
        let other_app = TicketKey::new(APP + 1, SECRET, SKEW);
        let xiaojun = user("xiaojun");
        for (result, error, code) in [
            (other_key.verify(PLAIN, APP, &xiaojun, ISSUED), TicketError::WrongKey, ErrorCode::UserSigWrongKey),
            (key().verify(PLAIN, APP, &user("alice"), ISSUED), TicketError::OtherUser, ErrorCode::UserMismatch),
            (key().verify(PLAIN, APP + 1, &xiaojun, ISSUED), TicketError::OtherApp, ErrorCode::SdkAppIdMismatch),
            (other_app.open(PLAIN, ISSUED), TicketError::OtherApp, ErrorCode::SdkAppIdMismatch),
            (
                key().open(PLAIN, ISSUED + Duration::from_secs(15_552_000)),
                TicketError::Expired,
                ErrorCode::UserSigExpired,
            ),
        ] {
            assert_eq!(result, Err(error));
            assert_eq!(error.code(), code);
        }
    }

    #[test]
    fn a_map_key_for_another_user_or_application_is_refused() {
        let sign = |change: fn(&mut MapKey)| {
            let mut ticket = vectors()[1].1.clone();
            change(ticket.map_key.as_mut().unwrap());
            key().sign(&ticket)
        };
        let other_user = sign(|map_key| map_key.user = "mallory".parse().unwrap());
        let other_app = sign(|map_key| map_key.sdk_app_id += 1);
        assert_eq!(key().open(&other_user, ISSUED), Err(TicketError::OtherUser));
        assert_eq!(key().open(&other_app, ISSUED), Err(TicketError::OtherApp));
    }

    /// Signs anything as a userbuf, as a maker of tickets with other ideas might.
    fn sign_userbuf(userbuf: &str) -> String {
        let claims = Claims {
            identifier: user("xiaojun"),
            sdk_app_id: APP.into(),
            time: ISSUED.as_secs(),
            expire: 300,
            userbuf: Some(userbuf.into()),
        };
        let mut json = members(PLAIN);
        json["TLS.expire"] = json!(300);
        json["TLS.userbuf"] = json!(userbuf);
        json["TLS.sig"] = json!(STANDARD.encode(key().mac(&claims)));
        wrap(&json.to_string())
    }

    #[test]
    fn a_userbuf_that_cannot_be_read_is_refused_though_it_is_signed() {
        for (userbuf, message) in [("*", "it is not base64"), ("", "it is cut short"), ("AAAB", "it is cut short")] {
            assert_eq!(key().open(&sign_userbuf(userbuf), ISSUED), Err(TicketError::MapKey(message)));
        }
        let unsigned = with_member("TLS.userbuf", Some(json!("AAAB")));
        assert_eq!(key().open(&unsigned, ISSUED), Err(TicketError::WrongKey), "a userbuf is covered by the signature");
    }

    #[test]
    fn every_malformed_text_has_its_own_error() {
        let garbage_behind = |text: &str| {
            let mut zlib = STANDARD.decode(text.replace('*', "+").replace('-', "/").replace('_', "=")).unwrap();
            zlib.push(0);
            STANDARD.encode(zlib).replace('+', "*").replace('/', "-").replace('=', "_")
        };
        let bomb = wrap(&format!("\"{}\"", " ".repeat(2 * MAX_JSON)));
        assert!(bomb.len() < 200, "a bomb is small: {}", bomb.len());
        for (text, error) in [
            ("A".repeat(MAX_TEXT + 1), TicketError::TextTooLong),
            (bomb, TicketError::JsonTooLong),
            (PLAIN.replace('*', "+"), TicketError::Base64),
            (PLAIN.replace('_', "="), TicketError::Base64),
            (PLAIN.trim_end_matches('_').into(), TicketError::Base64),
            (format!("{PLAIN}\n"), TicketError::Base64),
            ("\u{e4}".into(), TicketError::Base64),
            (String::new(), TicketError::Zlib),
            ("AAAA".into(), TicketError::Zlib),
            (PLAIN[..PLAIN.len() - 8].into(), TicketError::Zlib),
            (garbage_behind(PLAIN), TicketError::Zlib),
            (wrap(""), TicketError::Json),
            (wrap("{"), TicketError::Json),
            (wrap("[]"), TicketError::Json),
            (wrap("{} {}"), TicketError::Json),
            (wrap(&"[".repeat(4000)), TicketError::Json),
            (wrap("{\"TLS.ver\": \"2.0\", \"TLS.ver\": \"2.0\"}"), TicketError::DuplicateMember),
            (wrap("{}"), TicketError::Member("TLS.ver", "a string")),
        ] {
            assert_eq!(key().open(&text, ISSUED), Err(error), "{text}");
            assert_eq!(error.code(), ErrorCode::UserSigInvalid);
        }
    }

    #[test]
    fn every_member_is_needed_in_its_own_type() {
        use TicketError::{Member, Version};
        for (name, value, error) in [
            ("TLS.ver", Some(json!(2.0)), Member("TLS.ver", "a string")),
            ("TLS.ver", Some(json!("1.0")), Version),
            ("TLS.identifier", None, Member("TLS.identifier", "a string")),
            ("TLS.identifier", Some(json!(7)), Member("TLS.identifier", "a string")),
            ("TLS.identifier", Some(json!("a\nTLS.sdkappid:1")), Member("TLS.identifier", "a user id")),
            ("TLS.identifier", Some(json!("")), Member("TLS.identifier", "a user id")),
            ("TLS.sdkappid", None, Member("TLS.sdkappid", "a whole number")),
            ("TLS.sdkappid", Some(json!("1400000000")), Member("TLS.sdkappid", "a whole number")),
            ("TLS.sdkappid", Some(json!(1.4e9)), Member("TLS.sdkappid", "a whole number")),
            ("TLS.time", None, Member("TLS.time", "a whole number")),
            ("TLS.time", Some(json!(null)), Member("TLS.time", "a whole number")),
            ("TLS.expire", None, Member("TLS.expire", "a whole number")),
            ("TLS.expire", Some(json!(-1)), Member("TLS.expire", "a whole number")),
            ("TLS.expire", Some(json!([1])), Member("TLS.expire", "a whole number")),
            ("TLS.userbuf", Some(json!(null)), Member("TLS.userbuf", "a string")),
            ("TLS.sig", None, Member("TLS.sig", "a string")),
            ("TLS.sig", Some(json!(1)), Member("TLS.sig", "a string")),
            ("TLS.sig", Some(json!("")), Member("TLS.sig", "32 bytes in base64")),
            ("TLS.sig", Some(json!("AAAA")), Member("TLS.sig", "32 bytes in base64")),
            ("TLS.sig", Some(json!("\u{e4}")), Member("TLS.sig", "32 bytes in base64")),
        ] {
            assert_eq!(key().open(&with_member(name, value.clone()), ISSUED), Err(error), "{name} {value:?}");
        }
    }

    #[test]
    fn every_signed_member_is_covered_by_the_signature() {
        for (name, value) in [
            ("TLS.identifier", json!("mallory")),
            ("TLS.time", json!(ISSUED.as_secs() - 1)),
            ("TLS.expire", json!(15_552_001)),
            ("TLS.expire", json!(u64::MAX)),
        ] {
            assert_eq!(key().open(&with_member(name, Some(value)), ISSUED), Err(TicketError::WrongKey), "{name}");
        }
        assert!(key().open(&with_member("note", Some(json!("ignored"))), ISSUED).is_ok());
    }

    #[test]
    fn any_level_of_compression_and_any_order_of_members_will_do() {
        let json = members(PLAIN);
        let reversed: Vec<String> =
            json.as_object().unwrap().iter().rev().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let json = format!("{{{}}}", reversed.join(","));
        for level in 0..=9 {
            let mut zlib = Vec::with_capacity(4096);
            let mut compress = Compress::new(Compression::new(level), true);
            compress.compress_vec(json.as_bytes(), &mut zlib, FlushCompress::Finish).unwrap();
            let text = STANDARD.encode(zlib).replace('+', "*").replace('/', "-").replace('=', "_");
            assert!(key().open(&text, ISSUED).is_ok(), "level {level}");
        }
    }

    /// The bits that fill deflate's last byte mean nothing, so a ticket has more than one spelling; it never has two meanings.
    #[test]
    fn no_change_of_a_single_character_says_anything_else() {
        for (text, ticket, _) in vectors() {
            for at in 0..text.len() {
                for other in "AZaz09*-_+/= \u{0}".chars() {
                    if text[at..].starts_with(other) {
                        continue;
                    }
                    let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
                    let result = key().open(&changed, ISSUED);
                    assert!(result.as_ref().is_err() || result.as_ref() == Ok(&ticket), "{at} {other}: {result:?}");
                }
            }
        }
    }
}
