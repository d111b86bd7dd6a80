//! Values that the configuration writes as text: durations, addresses, event names, URLs, secrets.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserialize, Deserializer, Error};

use super::{EventFilter, Secret};

/// A span such as "30s".
pub mod duration {
    use super::*;

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(d)?;
        humantime::parse_duration(&text)
            .map_err(|error| Error::custom(format!("{text:?} is no duration such as \"30s\" or \"500ms\": {error}")))
    }
}

/// A span after which something is done again: 100 ms or more, so that no zero makes it run hot.
pub mod interval {
    use super::*;

    const SHORTEST: Duration = Duration::from_millis(100);

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        let span = duration::deserialize(d)?;
        if span < SHORTEST { Err(Error::custom("100ms or more is expected")) } else { Ok(span) }
    }
}

/// A number of bytes such as "10GiB".
pub fn size<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    const UNITS: [(&str, u64); 5] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40), ("B", 1)];
    let text = String::deserialize(d)?;
    let parsed = UNITS.iter().find_map(|(unit, bytes)| {
        let number: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
        number.checked_mul(*bytes)
    });
    parsed.ok_or_else(|| Error::custom(format!("{text:?} is no size such as \"10GiB\"")))
}

/// "", one address, or several.
pub mod addresses {
    use std::net::IpAddr;

    use super::*;

    #[derive(serde::Deserialize)]
    #[serde(untagged, expecting = "\"\", an IP address, or a list of them is expected")]
    enum Written {
        One(String),
        Several(Vec<String>),
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<IpAddr>, D::Error> {
        let texts = match Written::deserialize(d)? {
            Written::One(text) if text.is_empty() => Vec::new(),
            Written::One(text) => vec![text],
            Written::Several(texts) => texts,
        };
        let parse = |text: String| text.parse().map_err(|_| Error::custom(format!("{text:?} is no IP address")));
        texts.into_iter().map(parse).collect()
    }
}

/// "" or one address.
pub mod maybe_address {
    use std::net::IpAddr;

    use super::*;

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<IpAddr>, D::Error> {
        match String::deserialize(d)?.as_str() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| Error::custom(format!("{text:?} is no IP address"))),
        }
    }
}

pub fn at_least_one<'de, D: Deserializer<'de>>(d: D) -> Result<usize, D::Error> {
    at_least(d, 1)
}

pub fn at_least_two<'de, D: Deserializer<'de>>(d: D) -> Result<usize, D::Error> {
    at_least(d, 2)
}

/// A part of a whole, 0.0–1.0.
pub fn share<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    let number = f64::deserialize(d)?;
    if (0.0..=1.0).contains(&number) { Ok(number) } else { Err(Error::custom("a number from 0.0 to 1.0 is expected")) }
}

fn at_least<'de, D: Deserializer<'de>>(d: D, least: usize) -> Result<usize, D::Error> {
    let number = usize::deserialize(d)?;
    if number < least { Err(Error::custom(format!("{least} or more is expected"))) } else { Ok(number) }
}

pub fn web_url<'de, D: Deserializer<'de>>(d: D) -> Result<url::Url, D::Error> {
    let text = String::deserialize(d)?;
    let url: url::Url = text.parse().map_err(|error| Error::custom(format!("{text:?} is no URL: {error}")))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err(Error::custom(format!("{text:?} is no http or https URL"))),
    }
}

/// One secret, or while they are being changed several, the newest first, parted by spaces.
pub fn signing_secret<'de, D: Deserializer<'de>>(d: D) -> Result<Secret, D::Error> {
    let text = String::deserialize(d)?;
    let is_secret = |secret: &str| {
        let key = secret.strip_prefix("whsec_").and_then(|key| STANDARD.decode(key).ok());
        key.is_some_and(|key| (24..=64).contains(&key.len()))
    };
    if !text.trim().is_empty() && text.split_whitespace().all(is_secret) {
        Ok(Secret(text))
    } else {
        Err(Error::custom("\"whsec_\" and base64 of 24 to 64 bytes is expected"))
    }
}

impl<'de> Deserialize<'de> for EventFilter {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let mut filter = EventFilter::default();
        for name in Vec::<String>::deserialize(d)? {
            if name == "*" {
                filter.all_lifecycle = true;
            } else {
                let kind = name.parse().map_err(|error| Error::custom(format!("{name:?}: {error}")))?;
                filter.named.insert(kind);
            }
        }
        Ok(filter)
    }
}
