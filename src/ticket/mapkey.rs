//! The PrivateMapKey: the part of a ticket (its userbuf) that lets a user into one room, with some privileges.

use std::fmt;
use std::ops::BitOr;

use super::TicketError;
use crate::base::{Timestamp, UserId};
use crate::event::RoomId;

/// Room and privileges that a ticket grants. On the wire, all integers big-endian:
///
/// | bytes | what |
/// |---|---|
/// | 1 | 0: the room is a number, 1: it is a name |
/// | 2 + n | the user's id, its length first |
/// | 4 | SDKAppID |
/// | 4 | the room's number, 0 when it has a name |
/// | 4 | end of validity, seconds since 1970 |
/// | 4 | privileges |
/// | 4 | account type, always 0 |
/// | 2 + n | (first byte 1) the room's name, its length first |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapKey {
    pub user: UserId,
    pub sdk_app_id: u32,
    pub room: RoomId,
    /// In whole seconds, at most those of 32 bits (the year 2106).
    pub expires_at: Timestamp,
    pub privileges: Privileges,
}

/// What a user may do in the room, as a set of bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Privileges(u32);

impl Privileges {
    pub const CREATE_ROOM: Privileges = Privileges(1);
    pub const ENTER_ROOM: Privileges = Privileges(2);
    pub const SEND_AUDIO: Privileges = Privileges(4);
    pub const RECEIVE_AUDIO: Privileges = Privileges(8);
    pub const SEND_VIDEO: Privileges = Privileges(16);
    pub const RECEIVE_VIDEO: Privileges = Privileges(32);
    pub const SEND_SECOND_STREAM: Privileges = Privileges(64);
    pub const RECEIVE_SECOND_STREAM: Privileges = Privileges(128);
    pub const ALL: Privileges = Privileges(255);

    /// Bits without a meaning are kept, and grant nothing.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether every one of `wanted` is granted.
    pub const fn contains(self, wanted: Privileges) -> bool {
        self.0 & wanted.0 == wanted.0
    }
}

impl BitOr for Privileges {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Privileges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Privileges({:#010b})", self.0)
    }
}

impl MapKey {
    pub fn to_bytes(&self) -> Vec<u8> {
        let (version, number, name) = match &self.room {
            RoomId::Int(number) => (0, *number, None),
            RoomId::Str(name) => (1, 0, Some(name)),
        };
        let mut out = vec![version];
        put_text(&mut out, self.user.as_str());
        out.extend(self.sdk_app_id.to_be_bytes());
        out.extend(number.to_be_bytes());
        out.extend(u32::try_from(self.expires_at.as_secs()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend(self.privileges.bits().to_be_bytes());
        out.extend(ACCOUNT_TYPE.to_be_bytes());
        if let Some(name) = name {
            put_text(&mut out, name);
        }
        out
    }

    /// Reads a whole userbuf; bytes left over are an error.
    pub fn parse(bytes: &[u8]) -> Result<Self, TicketError> {
        let mut reader = Reader(bytes);
        let version = reader.u8()?;
        let user = reader.text()?.parse().map_err(|_| TicketError::MapKey("its account is no user id"))?;
        let sdk_app_id = reader.u32()?;
        let number = reader.u32()?;
        let expires_at = Timestamp::from_millis(u64::from(reader.u32()?) * 1000);
        let privileges = Privileges::from_bits(reader.u32()?);
        if reader.u32()? != ACCOUNT_TYPE {
            return Err(TicketError::MapKey("its account type is not 0"));
        }
        let room = match (version, number) {
            (0, 1..) => RoomId::Int(number),
            (1, 0) => RoomId::named(reader.text()?).ok_or(TicketError::MapKey("its room name is not one"))?,
            (0 | 1, _) => return Err(TicketError::MapKey("it does not name exactly one room")),
            _ => return Err(TicketError::MapKey("its version is neither 0 nor 1")),
        };
        if !reader.0.is_empty() {
            return Err(TicketError::MapKey("it has bytes left over"));
        }
        Ok(Self { user, sdk_app_id, room, expires_at, privileges })
    }
}

/// The only one there is.
const ACCOUNT_TYPE: u32 = 0;

/// `text` is a user id or a room name, both far shorter than 64 KiB.
fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend(u16::try_from(text.len()).expect("ids and names are bounded by their types").to_be_bytes());
    out.extend(text.as_bytes());
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], TicketError> {
        let (head, tail) = self.0.split_at_checked(len).ok_or(TicketError::MapKey("it is cut short"))?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TicketError> {
        Ok(self.take(N)?.try_into().expect("take gives what was asked for"))
    }

    fn u8(&mut self) -> Result<u8, TicketError> {
        Ok(self.array::<1>()?[0])
    }

    fn u32(&mut self) -> Result<u32, TicketError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<&'a str, TicketError> {
        let len = u16::from_be_bytes(self.array()?);
        str::from_utf8(self.take(len.into())?).map_err(|_| TicketError::MapKey("its text is not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITH_NUMBER: &str = "0000077869616f6a756e53724e00000027106553f22c000000ff00000000";
    const WITH_NAME: &str = "010008616c6963655f303153724e0000000000655542800000002a000000000008726f6f6d2d415f31";

    fn unhex(hex: &str) -> Vec<u8> {
        hex.as_bytes().chunks(2).map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
    }

    fn vectors() -> [(&'static str, MapKey); 2] {
        let number = MapKey {
            user: "xiaojun".parse().unwrap(),
            sdk_app_id: 1_400_000_000,
            room: RoomId::Int(10_000),
            expires_at: Timestamp::from_millis(1_700_000_300_000),
            privileges: Privileges::ALL,
        };
        let name = MapKey {
            user: "alice_01".parse().unwrap(),
            sdk_app_id: 1_400_000_000,
            room: RoomId::Str("room-A_1".into()),
            expires_at: Timestamp::from_millis(1_700_086_400_000),
            privileges: Privileges::from_bits(42),
        };
        [(WITH_NUMBER, number), (WITH_NAME, name)]
    }

    #[test]
    fn the_vectors_are_read_and_written_byte_for_byte() {
        for (hex, key) in vectors() {
            assert_eq!(MapKey::parse(&unhex(hex)).unwrap(), key);
            assert_eq!(key.to_bytes(), unhex(hex));
        }
    }

    #[test]
    fn privileges_are_a_set() {
        let privileges = Privileges::from_bits(42);
        assert!(privileges.contains(Privileges::ENTER_ROOM | Privileges::RECEIVE_AUDIO | Privileges::RECEIVE_VIDEO));
        assert!(!privileges.contains(Privileges::SEND_AUDIO));
        assert!(!privileges.contains(Privileges::ENTER_ROOM | Privileges::SEND_AUDIO), "all of them are asked for");
        assert!(Privileges::ALL.contains(privileges));
    }

    #[test]
    fn every_cut_and_every_extra_byte_is_refused() {
        for (hex, _) in vectors() {
            let whole = unhex(hex);
            for len in 0..whole.len() {
                assert!(MapKey::parse(&whole[..len]).is_err(), "{len} bytes of {hex}");
            }
            let longer = [&whole[..], &[0]].concat();
            assert_eq!(MapKey::parse(&longer), Err(TicketError::MapKey("it has bytes left over")));
        }
    }

    #[test]
    fn odd_fields_are_refused() {
        let odd = |hex: &str, at: usize, byte: u8| {
            let mut bytes = unhex(hex);
            bytes[at] = byte;
            MapKey::parse(&bytes)
        };
        for (case, message) in [
            (odd(WITH_NUMBER, 0, 2), "its version is neither 0 nor 1"),
            (odd(WITH_NUMBER, 0, 1), "it does not name exactly one room"),
            (odd(WITH_NAME, 0, 0), "it does not name exactly one room"),
            (odd(WITH_NAME, 18, 1), "it does not name exactly one room"),
            (odd(WITH_NUMBER, 3, b' '), "its account is no user id"),
            (odd(WITH_NUMBER, 3, 0xff), "its text is not UTF-8"),
            (odd(WITH_NUMBER, 29, 1), "its account type is not 0"),
            (odd(WITH_NAME, 33, 7), "its room name is not one"),
        ] {
            assert_eq!(case, Err(TicketError::MapKey(message)));
        }
    }
}
