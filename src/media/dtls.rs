//! The DTLS of our connections: the library's, with timers for calls, and its keys overheard.
//!
//! The library seals nothing for others and says its keys to nobody, but lets its DTLS be replaced: [`provider`] makes its own, which notes
//! the keys on their way. A handshake has no room for the name of its connection, so [`watch`] says which one is being built. Each
//! connection has a place of its own for its keys: one that breaks off in the middle cannot leave them to the next.

use std::cell::Cell;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use dimpl::{Config, Dtls, DtlsCertificate};
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, KeyingMaterial, ProtocolVersion,
    SrtpProfile,
};
use str0m::crypto::{CryptoError, CryptoProvider, from_feature_flags};

use super::keys::{Keys, Profile, Role};

/// A flight that is not answered is sent again after so long, and then after twice as long each time. RFC 6347, 4.2.4.1, says a second, and
/// leaves less to those in a hurry: browsers begin with 50 ms. Shorter sends everything twice on long paths, longer keeps who joins over a
/// bad one waiting for seconds.
const FIRST_RETRANSMISSION: Duration = Duration::from_millis(100);
/// So often: for as long as the library lets a handshake take.
const RETRANSMISSIONS: usize = 8;

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
    Arc::new(with(&Handshakes { agrees: as_it_is }))
}

pub(super) fn with(dtls_provider: &'static Handshakes) -> CryptoProvider {
    CryptoProvider { dtls_provider, ..from_feature_flags() }
}

/// Makes handshakes.
#[derive(Debug)]
pub(super) struct Handshakes {
    /// What to make of the keys that were agreed on: tests have other profiles than the strongest.
    pub(super) agrees: fn(KeyingMaterial, SrtpProfile) -> (KeyingMaterial, SrtpProfile),
}

fn as_it_is(material: KeyingMaterial, profile: SrtpProfile) -> (KeyingMaterial, SrtpProfile) {
    (material, profile)
}

impl DtlsProvider for Handshakes {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        from_feature_flags().dtls_provider.generate_certificate()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        // A connectivity check has shown that the address is the client's: it needs no cookie.
        let mut config = Config::builder()
            .use_server_cookie(false)
            .flight_start_rto(FIRST_RETRANSMISSION)
            .flight_retries(RETRANSMISSIONS);
        if let Some(mtu) = mtu {
            config = config.mtu(mtu);
        }
        let failed = |error| CryptoError::Other(format!("DTLS cannot be configured: {error}"));
        let config = Arc::new(config.build().map_err(failed)?);
        let DtlsCert { certificate, private_key } = cert.clone();
        let certificate = DtlsCertificate { certificate, private_key };
        let dtls = match version {
            DtlsVersion::Dtls12 => Dtls::new_12(config, certificate, now),
            DtlsVersion::Dtls13 => Dtls::new_13(config, certificate, now),
            DtlsVersion::Auto => Dtls::new_auto(config, certificate, now),
            other => return Err(CryptoError::Other(format!("{other} is not known"))),
        };
        Ok(Box::new(Handshake { dtls, place: BUILT.take(), agrees: self.agrees }))
    }
}

/// A handshake that is listened to.
struct Handshake {
    dtls: Dtls,
    /// `None`: nobody watches, or the keys are known.
    place: Option<Arc<OnceLock<Keys>>>,
    agrees: fn(KeyingMaterial, SrtpProfile) -> (KeyingMaterial, SrtpProfile),
}

impl Handshake {
    fn note(&mut self, material: &KeyingMaterial, profile: SrtpProfile) {
        let role = if self.dtls.is_active() { Role::Client } else { Role::Server };
        let keys = Profile::of(profile).and_then(|profile| Keys::new(profile, material, role));
        if let (Some(keys), Some(place)) = (keys, self.place.take()) {
            place.get_or_init(|| keys);
        }
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake").field("is_watched", &self.place.is_some()).finish_non_exhaustive()
    }
}

impl DtlsInstance for Handshake {
    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        match self.dtls.poll_output(buf) {
            DtlsOutput::KeyingMaterial(material, profile) => {
                let (material, profile) = (self.agrees)(material, profile);
                self.note(&material, profile);
                DtlsOutput::KeyingMaterial(material, profile)
            }
            output => output,
        }
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
    use super::super::keys::Master;
    use super::super::pair::Pair;
    use super::*;

    fn said(profile: Profile, master: &Master) -> (Vec<u8>, Vec<u8>) {
        (master.key(profile).to_vec(), master.salt().to_vec())
    }

    #[test]
    fn both_sides_learn_the_same_keys_once() {
        for profile in [Profile::Aes128CmSha1, Profile::Aes128Gcm, Profile::Aes256Gcm] {
            let mut pair = Pair::connected(profile);
            let [a, b] = pair.keys();
            assert_eq!((a.profile, b.profile), (profile, profile));
            assert_eq!(said(profile, &a.outgoing), said(profile, &b.incoming));
            assert_eq!(said(profile, &b.outgoing), said(profile, &a.incoming));
            assert_ne!(said(profile, &a.outgoing), said(profile, &a.incoming));
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
}
