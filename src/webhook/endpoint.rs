//! Where events go: an address, its secrets, and which events it wants.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use sha2::{Digest, Sha256};
use url::{Host, Url};

use super::address::{self, Refused};
use super::sign::{InvalidSecret, Secret};
use crate::base::id::Entropy;
use crate::base::{EndpointId, EventId, Timestamp};
use crate::config::{self, EventFilter};
use crate::event::{Class, EventKind};

/// Signatures that one request may carry: a rotation has two.
const MAX_SECRETS: usize = 4;

/// A receiver of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub id: EndpointId,
    pub url: Url,
    /// The newest first; one, or more while a secret is being replaced.
    pub secrets: Vec<Secret>,
    /// Those that were replaced, and until when they sign beside the others.
    pub retiring: Vec<Retiring>,
    pub events: EventFilter,
    pub enabled: bool,
}

/// Where a call wants its own events to go besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnWebhook {
    pub url: Url,
    pub secret: Secret,
}

/// A secret on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retiring {
    pub secret: Secret,
    pub until: Timestamp,
}

/// The name under which the record keeps the lanes to endpoints that single calls brought along; each lane has its own address.
pub fn own_of_calls() -> EndpointId {
    OWN_OF_CALLS.parse().expect("made of what an endpoint id allows")
}

const OWN_OF_CALLS: &str = "per-call";
/// What the record keeps lanes by must not be taken for it.
const MADE_PREFIX: &str = "wh_";

/// Why an entry is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    #[error("its id: {0}")]
    Id(#[from] crate::base::id::InvalidId),
    #[error("its secret: {0}")]
    Secret(#[from] InvalidSecret),
    #[error("its url: expected http:// or https:// and a host")]
    Url,
    #[error("its url: {0}")]
    Refused(#[from] Refused),
    #[error("its id {0} is another endpoint's too")]
    Twice(EndpointId),
    #[error("its id {0} is kept for endpoints of the API and of calls")]
    Reserved(EndpointId),
}

/// The entries of the configuration that can be used, and those that cannot: one that is malformed stops no other.
#[derive(Debug, Default)]
pub struct Roster {
    pub endpoints: Vec<Endpoint>,
    /// With the place in the configuration, from 0.
    pub refused: Vec<(usize, InvalidEndpoint)>,
}

impl Roster {
    /// Reads `webhooks.endpoints`; `allowed` is `webhooks.allow_private`.
    pub fn read(entries: &[config::Endpoint], allowed: &[IpNet]) -> Self {
        let mut roster = Self::default();
        let mut names = BTreeSet::new();
        for (place, entry) in entries.iter().enumerate() {
            match Endpoint::read(entry, allowed) {
                Ok(endpoint) if is_reserved(&endpoint.id) => {
                    roster.refused.push((place, InvalidEndpoint::Reserved(endpoint.id)));
                }
                Ok(endpoint) if !names.insert(endpoint.id.clone()) => {
                    roster.refused.push((place, InvalidEndpoint::Twice(endpoint.id)));
                }
                Ok(endpoint) => roster.endpoints.push(endpoint),
                Err(why) => roster.refused.push((place, why)),
            }
        }
        roster
    }
}

impl Endpoint {
    /// `entry` may hold several secrets, separated by spaces, the newest first.
    pub fn read(entry: &config::Endpoint, allowed: &[IpNet]) -> Result<Self, InvalidEndpoint> {
        vet_url(&entry.url, allowed)?;
        let secrets: Vec<Secret> =
            entry.secret.0.split_whitespace().take(MAX_SECRETS).map(str::parse).collect::<Result<_, _>>()?;
        if secrets.is_empty() {
            return Err(InvalidSecret.into());
        }
        let id = if entry.id.is_empty() { id_of(&entry.url) } else { entry.id.parse()? };
        let (url, events) = (entry.url.clone(), entry.events.clone());
        Ok(Self { id, url, secrets, retiring: Vec::new(), events, enabled: true })
    }

    /// A name for an endpoint that the API makes.
    pub fn fresh_id(now: Timestamp, entropy: Entropy) -> EndpointId {
        let number = EventId::new(now, entropy).to_string();
        let digits = number.rsplit('_').next().expect("rsplit yields something");
        format!("{MADE_PREFIX}{digits}").parse().expect("made of what an endpoint id allows")
    }

    /// The secrets that sign at this time, the newest first.
    pub fn signing(&self, now: Timestamp) -> impl Iterator<Item = &Secret> {
        let retiring =
            self.retiring.iter().filter(move |retiring| retiring.until > now).map(|retiring| &retiring.secret);
        self.secrets.iter().chain(retiring).take(MAX_SECRETS)
    }

    /// Whether an event of this kind is sent here. A gap in the delivery is told to everyone.
    pub fn wants(&self, kind: EventKind) -> bool {
        match kind.class() {
            _ if kind == EventKind::DeliveryGap => true,
            Class::Lifecycle => self.events.all_lifecycle || self.events.named.contains(&kind),
            Class::Telemetry => self.events.named.contains(&kind),
            Class::Client => false,
        }
    }
}

/// The parts of an address that need no resolver: scheme, host, and the address itself when the host is one.
pub fn vet_url(url: &Url, allowed: &[IpNet]) -> Result<(), InvalidEndpoint> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(InvalidEndpoint::Url);
    }
    match url.host() {
        Some(Host::Domain(_)) => Ok(()),
        Some(Host::Ipv4(literal)) => Ok(address::vet(IpAddr::V4(literal), allowed)?),
        Some(Host::Ipv6(literal)) => Ok(address::vet(IpAddr::V6(literal), allowed)?),
        None => Err(InvalidEndpoint::Url),
    }
}

/// Whether an operator may not choose this name.
fn is_reserved(id: &EndpointId) -> bool {
    id.as_str() == OWN_OF_CALLS || is_made(id)
}

/// Whether the API made this name.
pub fn is_made(id: &EndpointId) -> bool {
    id.as_str().starts_with(MADE_PREFIX)
}

/// A name that stays the same as long as the address does: the host, and a part of the address' hash.
fn id_of(url: &Url) -> EndpointId {
    let host: String = url
        .host_str()
        .unwrap_or_default()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '_' })
        .take(EndpointId::MAX_LEN - 17)
        .collect();
    let hash = Sha256::digest(url.as_str().as_bytes());
    let hash: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{host}-{hash}").parse().expect("made of what an endpoint id allows")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(url: &str) -> config::Endpoint {
        config::Endpoint {
            id: String::new(),
            url: url.parse().unwrap(),
            secret: config::Secret(Secret::generate([7; 32]).reveal()),
            events: EventFilter { all_lifecycle: true, named: BTreeSet::new() },
        }
    }

    /// Row c of the known failures: one malformed entry wedges all delivery.
    #[test]
    fn c_a_malformed_entry_stops_no_other() {
        let mut bad_secret = entry("https://b.example/");
        bad_secret.secret = config::Secret("hunter2".into());
        let mut bad_id = entry("https://c.example/");
        bad_id.id = "no spaces".into();
        let entries = [
            entry("https://a.example/hook"),
            bad_secret,
            bad_id,
            entry("ftp://d.example/"),
            entry("http://127.0.0.1/"),
            entry("https://a.example/hook"),
            entry("https://e.example/hook"),
        ];
        let roster = Roster::read(&entries, &[]);
        let hosts: Vec<&str> = roster.endpoints.iter().filter_map(|endpoint| endpoint.url.host_str()).collect();
        assert_eq!(hosts, ["a.example", "e.example"]);
        assert_eq!(roster.refused.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert!(matches!(roster.refused[4].1, InvalidEndpoint::Twice(_)));
    }

    #[test]
    fn address_literals_are_vetted_however_they_are_written() {
        for url in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://017700000001/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://169.254.169.254/latest",
            "http://[fe80::1]/",
            "http://10.1.2.3:8080/",
        ] {
            let url: Url = url.parse().unwrap();
            assert!(matches!(vet_url(&url, &[]), Err(InvalidEndpoint::Refused(_))), "{url}");
        }
        let loopback = ["127.0.0.0/8".parse().unwrap()];
        assert_eq!(vet_url(&"http://127.0.0.1:9/".parse().unwrap(), &loopback), Ok(()));
        assert_eq!(vet_url(&"https://example.com/".parse().unwrap(), &[]), Ok(()));
    }

    #[test]
    fn a_name_is_made_of_the_address_and_stays() {
        let id = |url: &str| Endpoint::read(&entry(url), &[]).unwrap().id;
        assert_eq!(id("https://a.example/x"), id("https://a.example/x"));
        assert_ne!(id("https://a.example/x"), id("https://a.example/y"));
        assert!(id("https://a.example/x").as_str().starts_with("a.example-"));
        let long = format!("https://{}.example/", "a".repeat(60));
        assert!(id(&long).as_str().len() <= EndpointId::MAX_LEN);
    }

    #[test]
    fn the_star_means_lifecycle_and_telemetry_must_be_named() {
        let mut endpoint = Endpoint::read(&entry("https://a.example/"), &[]).unwrap();
        assert!(endpoint.wants(EventKind::CallBegin) && endpoint.wants(EventKind::DeliveryGap));
        assert!(!endpoint.wants(EventKind::UserVoiceVolumeChanged) && !endpoint.wants(EventKind::Error));
        endpoint.events = EventFilter {
            all_lifecycle: false,
            named: [EventKind::UserVoiceVolumeChanged, EventKind::CallEnd, EventKind::Error].into(),
        };
        assert!(endpoint.wants(EventKind::UserVoiceVolumeChanged) && endpoint.wants(EventKind::CallEnd));
        assert!(!endpoint.wants(EventKind::CallBegin) && !endpoint.wants(EventKind::Error));
        assert!(endpoint.wants(EventKind::DeliveryGap));
    }

    #[test]
    fn names_of_the_api_and_of_calls_are_not_for_the_configuration() {
        let made = Endpoint::fresh_id(Timestamp::from_millis(5), [7; 10]);
        assert!(is_made(&made) && made.as_str().len() == 29, "{made}");
        for name in [made.as_str(), OWN_OF_CALLS] {
            let mut entry = entry("https://a.example/");
            entry.id = name.into();
            assert!(matches!(Roster::read(&[entry], &[]).refused[..], [(0, InvalidEndpoint::Reserved(_))]), "{name}");
        }
    }

    #[test]
    fn a_replaced_secret_signs_until_its_time() {
        let at = Timestamp::from_millis;
        let mut endpoint = Endpoint::read(&entry("https://a.example/"), &[]).unwrap();
        endpoint.retiring.push(Retiring { secret: Secret::generate([8; 32]), until: at(10) });
        assert_eq!((endpoint.signing(at(9)).count(), endpoint.signing(at(10)).count()), (2, 1));
    }

    #[test]
    fn two_secrets_are_read_while_one_is_being_replaced() {
        let mut rotating = entry("https://a.example/");
        rotating.secret =
            config::Secret(format!("{} {}", Secret::generate([1; 32]).reveal(), Secret::generate([2; 32]).reveal()));
        assert_eq!(Endpoint::read(&rotating, &[]).unwrap().secrets.len(), 2);
        rotating.secret = config::Secret(String::new());
        assert_eq!(Endpoint::read(&rotating, &[]), Err(InvalidEndpoint::Secret(InvalidSecret)));
    }
}
