//! The SRTP keys of a connection, overheard when its DTLS handshake hands them to the library.
//!
//! The library seals nothing for others and says its keys to nobody, but lets its DTLS be replaced: [`provider`] is its own, which notes
//! the keys on their way. A handshake has no room for the name of its connection, so [`watch`] says which one is being built. Each
//! connection has a place of its own for its keys: one that breaks off in the middle cannot leave them to the next.

use std::cell::Cell;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, KeyingMaterial, ProtocolVersion,
    SrtpProfile,
};
use str0m::crypto::{CryptoError, CryptoProvider, from_feature_flags};
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
    fn of(profile: SrtpProfile) -> Option<Self> {
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

/// Where the keys of one connection come to.
#[derive(Debug)]
pub struct Watch(Arc<OnceLock<Keys>>);

impl Watch {
    /// The keys, once, when the handshake has agreed on them.
    pub fn take(&mut self) -> Option<Keys> {
        // The handshake lets go of the place when it has filled it.
        Arc::get_mut(&mut self.0)?.take()
    }
}

thread_local! {
    /// The place for the keys of the connection that is being built: an argument that the library does not pass on.
    static BUILT: Cell<Option<Arc<OnceLock<Keys>>>> = const { Cell::new(None) };
}

/// Builds a connection that uses [`provider`], and watches for its keys.
pub fn watch<T>(build: impl FnOnce() -> T) -> (T, Watch) {
    let place = Arc::new(OnceLock::new());
    BUILT.set(Some(place.clone()));
    let built = build();
    BUILT.set(None);
    (built, Watch(place))
}

/// The library's own cryptography with a DTLS that notes the keys of connections that are watched.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(listening(&Listening { inner: || from_feature_flags().dtls_provider }))
}

pub(super) fn listening(dtls_provider: &'static Listening) -> CryptoProvider {
    CryptoProvider { dtls_provider, ..from_feature_flags() }
}

/// Makes handshakes that are listened to of those that `inner` makes.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) inner: fn() -> &'static dyn DtlsProvider,
}

impl DtlsProvider for Listening {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        (self.inner)().generate_certificate()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let dtls = (self.inner)().new_dtls(cert, now, version, mtu)?;
        Ok(match BUILT.take() {
            Some(place) => Box::new(Heard { dtls, place: Some(place) }),
            None => dtls,
        })
    }

    fn is_test(&self) -> bool {
        (self.inner)().is_test()
    }
}

/// A handshake that is listened to.
#[derive(Debug)]
struct Heard {
    dtls: Box<dyn DtlsInstance>,
    place: Option<Arc<OnceLock<Keys>>>,
}

impl Heard {
    fn note(&mut self, material: &KeyingMaterial, profile: SrtpProfile) {
        let role = if self.dtls.is_active() { Role::Client } else { Role::Server };
        let keys = Profile::of(profile).and_then(|profile| Keys::new(profile, material, role));
        if let (Some(keys), Some(place)) = (keys, self.place.take()) {
            place.get_or_init(|| keys);
        }
    }
}

impl DtlsInstance for Heard {
    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        let output = self.dtls.poll_output(buf);
        if let DtlsOutput::KeyingMaterial(material, profile) = &output {
            self.note(material, *profile);
        }
        output
    }

    fn set_active(&mut self, active: bool) {
        self.dtls.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.dtls.handle_packet(packet)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.dtls.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.dtls.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.dtls.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.dtls.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.dtls.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.dtls.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.dtls.close()
    }
}

#[cfg(test)]
mod tests {
    use super::super::pair::Pair;
    use super::*;

    fn said(master: &Master) -> ([u8; LONGEST_KEY], [u8; LONGEST_SALT]) {
        (master.key, master.salt)
    }

    #[test]
    fn both_sides_learn_the_same_keys_once() {
        for profile in [Profile::Aes128CmSha1, Profile::Aes128Gcm, Profile::Aes256Gcm] {
            let mut pair = Pair::connected(profile);
            let [a, b] = pair.keys();
            assert_eq!((a.profile, b.profile), (profile, profile));
            assert_eq!(said(&a.outgoing), said(&b.incoming));
            assert_eq!(said(&b.outgoing), said(&a.incoming));
            assert_ne!(said(&a.outgoing), said(&a.incoming));
            assert!(pair.ends.iter_mut().all(|end| end.watch.take().is_none()), "they are said once");
        }
    }

    #[test]
    fn the_library_as_it_is_agrees_on_the_strongest() {
        let mut pair = Pair::with(provider);
        assert!(pair.keys().iter().all(|keys| keys.profile == Profile::Aes256Gcm));
    }

    /// A connection that broke off, or one that nobody watches, leaves no keys to the next.
    #[test]
    fn keys_come_to_their_own_connection_only() {
        let provider = provider();
        let dtls = |provider: &CryptoProvider| {
            let cert = provider.dtls_provider.generate_certificate().unwrap();
            provider.dtls_provider.new_dtls(&cert, Instant::now(), DtlsVersion::Dtls12, None).unwrap()
        };
        let (broken, mut first) = watch(|| dtls(&provider));
        let (_unbuilt, mut second) = watch(|| ());
        assert!(BUILT.take().is_none(), "a connection that is built later belongs to no watch");
        let _unwatched = dtls(&provider);
        assert!(first.take().is_none() && second.take().is_none());
        drop(broken);
        assert!(first.take().is_none(), "it had none");
        assert_eq!(Pair::with(super::provider).keys().len(), 2);
        assert!(first.take().is_none() && second.take().is_none());
    }

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
