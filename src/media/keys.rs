//! The SRTP keys of a connection, from what its DTLS handshake agreed on.

use std::fmt;

use str0m::crypto::dtls::SrtpProfile;
use zeroize::Zeroize;

/// The longest master key and master salt of the profiles.
const LONGEST_KEY: usize = 32;
const LONGEST_SALT: usize = 14;

/// How packets are protected (RFC 5764, 4.1.2; RFC 7714, 14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    Aes128CmSha1,
    Aes128Gcm,
    Aes256Gcm,
}

impl Profile {
    pub fn of(profile: SrtpProfile) -> Option<Self> {
        match profile {
            SrtpProfile::AES128_CM_SHA1_80 => Some(Self::Aes128CmSha1),
            SrtpProfile::AEAD_AES_128_GCM => Some(Self::Aes128Gcm),
            SrtpProfile::AEAD_AES_256_GCM => Some(Self::Aes256Gcm),
            _ => None,
        }
    }

    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128CmSha1 | Self::Aes128Gcm => 16,
            Self::Aes256Gcm => 32,
        }
    }

    pub const fn salt_len(self) -> usize {
        match self {
            Self::Aes128CmSha1 => 14,
            Self::Aes128Gcm | Self::Aes256Gcm => 12,
        }
    }
}

/// Which side of the handshake we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Client,
    Server,
}

/// What the SRTP keys of one direction are derived of (RFC 3711, 3.2.1); wiped when dropped.
pub struct Master {
    key: [u8; LONGEST_KEY],
    salt: [u8; LONGEST_SALT],
}

impl Master {
    /// Panics if one is longer than that of any profile.
    pub fn new(key: &[u8], salt: &[u8]) -> Self {
        let mut master = Self { key: [0; LONGEST_KEY], salt: [0; LONGEST_SALT] };
        master.key[..key.len()].copy_from_slice(key);
        master.salt[..salt.len()].copy_from_slice(salt);
        master
    }

    pub fn key(&self, profile: Profile) -> &[u8] {
        &self.key[..profile.key_len()]
    }

    /// A shorter salt ends in zeros: that is how RFC 7714, 11, fills it up to derive keys.
    pub const fn salt(&self) -> &[u8; LONGEST_SALT] {
        &self.salt
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        self.key.zeroize();
        self.salt.zeroize();
    }
}

/// The keys of a connection, said from our side.
pub struct Keys {
    pub profile: Profile,
    pub outgoing: Master,
    pub incoming: Master,
}

impl Keys {
    /// `material`: key of the client, key of the server, salt of the client, salt of the server (RFC 5764, 4.2). `None`: it has not
    /// the profile's length.
    pub fn new(profile: Profile, material: &[u8], role: Role) -> Option<Self> {
        let (key, salt) = (profile.key_len(), profile.salt_len());
        if material.len() != 2 * (key + salt) {
            return None;
        }
        let (keys, salts) = material.split_at(2 * key);
        let client = Master::new(&keys[..key], &salts[..salt]);
        let server = Master::new(&keys[key..], &salts[salt..]);
        Some(match role {
            Role::Client => Self { profile, outgoing: client, incoming: server },
            Role::Server => Self { profile, outgoing: server, incoming: client },
        })
    }
}

/// Keys are never written anywhere.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("profile", &self.profile).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn material_is_cut_as_rfc_5764_says() {
        let material: Vec<u8> = (0..60).collect();
        let keys = Keys::new(Profile::Aes128CmSha1, &material, Role::Server).unwrap();
        assert_eq!(keys.incoming.key(keys.profile), &material[..16], "the client's");
        assert_eq!(keys.outgoing.key(keys.profile), &material[16..32]);
        assert_eq!((&keys.incoming.salt()[..], &keys.outgoing.salt()[..]), (&material[32..46], &material[46..]));
        let keys = Keys::new(Profile::Aes128Gcm, &material[..56], Role::Client).unwrap();
        assert_eq!((&keys.outgoing.salt()[..12], &keys.outgoing.salt()[12..]), (&material[32..44], &[0, 0][..]));
        assert!(Keys::new(Profile::Aes256Gcm, &material, Role::Client).is_none());
    }

    #[test]
    fn keys_are_not_written_anywhere() {
        let keys = Keys::new(Profile::Aes128CmSha1, &[77; 60], Role::Server).unwrap();
        assert_eq!(format!("{keys:?}"), "Keys { profile: Aes128CmSha1, .. }");
    }
}
