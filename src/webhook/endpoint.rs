//! Where events go: an address, its secrets, and which events it wants.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use sha2::{Digest, Sha256};
use url::{Host, Url};

use super::address::{self, Refused};
use super::sign::{InvalidSecret, Secret};
use crate::base::EndpointId;
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
    pub events: EventFilter,
    pub enabled: bool,
}

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
                Ok(endpoint) if !names.insert(endpoint.id.clone()) => {
                    roster.refused.push((place, InvalidEndpoint::Twice(endpoint.id)));
                }
                Ok(endpoint) => roster.endpoints.push(endpoint),
                Err(why) => roster.refused.push((place, why)),
            }
        }
        roster
    }

    /// The endpoints that get a lane for each new call.
    pub fn enabled(&self) -> impl Iterator<Item = &EndpointId> {
        self.endpoints.iter().filter(|endpoint| endpoint.enabled).map(|endpoint| &endpoint.id)
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
        Ok(Self { id, url: entry.url.clone(), secrets, events: entry.events.clone(), enabled: true })
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
        assert_eq!(roster.enabled().count(), 2);
    }

    #[test]
    fn address_literals_are_vetted_however_they_are_written() {
        for url in [
            "http://127.0.0.1/", "http://2130706433/", "http://0x7f.1/", "http://017700000001/", "http://[::1]/",
            "http://[::ffff:127.0.0.1]/", "http://169.254.169.254/latest", "http://[fe80::1]/", "http://10.1.2.3:8080/",
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
    fn two_secrets_are_read_while_one_is_being_replaced() {
        let mut rotating = entry("https://a.example/");
        rotating.secret =
            config::Secret(format!("{} {}", Secret::generate([1; 32]).reveal(), Secret::generate([2; 32]).reveal()));
        assert_eq!(Endpoint::read(&rotating, &[]).unwrap().secrets.len(), 2);
        rotating.secret = config::Secret(String::new());
        assert_eq!(Endpoint::read(&rotating, &[]), Err(InvalidEndpoint::Secret(InvalidSecret)));
    }
}
