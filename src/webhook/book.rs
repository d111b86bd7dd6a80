//! All endpoints, those of the configuration and those made over the API, and the rows by which the record keeps what the
//! configuration does not say.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use url::Url;

use super::endpoint::{Endpoint, Retiring, is_made};
use super::sign::Secret;
use crate::base::{EndpointId, Timestamp};
use crate::config::EventFilter;
use crate::event::EventKind;

/// Endpoints made over the API. More are refused: each has its share of memory, sockets and series of metrics.
pub const MAX_MADE: usize = 200;

/// Every endpoint, by its name.
#[derive(Debug, Clone, Default)]
pub struct Book {
    entries: BTreeMap<EndpointId, Entry>,
    /// Rows of endpoints that the configuration does not name at the moment: it may again.
    absent: BTreeMap<EndpointId, Row>,
}

/// One endpoint and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// As delivery has it: `enabled` holds what the configuration, the API and the receiver itself (410) came to.
    pub endpoint: Endpoint,
    pub origin: Origin,
    pub disabled: Option<Disabled>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The configuration says what it is; the API can only disable and enable it.
    Configured,
    Made {
        at: Timestamp,
    },
}

/// Since when and why nothing is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disabled {
    pub at: Timestamp,
    pub why: DisabledBy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DisabledBy {
    /// The receiver answered 410.
    Gone,
    /// The API.
    Operator,
}

/// What a change asks for; `None` leaves as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patch {
    pub url: Option<Url>,
    pub events: Option<EventFilter>,
    pub enabled: Option<bool>,
}

/// Why a change is not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotChanged {
    #[error("there is no such endpoint")]
    Unknown,
    #[error(
        "this endpoint is the configuration's: change it there and send SIGHUP; the API only disables and enables it"
    )]
    Configured,
    #[error("there are {MAX_MADE} endpoints already")]
    TooMany,
}

/// What the record keeps of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    made: Option<Made>,
    /// With the address that was: a configured endpoint with a new one begins anew.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    disabled: Option<(Disabled, Url)>,
}

/// All of an endpoint that the configuration does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    at: Timestamp,
    url: Url,
    secrets: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    retiring: Vec<(String, Timestamp)>,
    events: Vec<String>,
}

/// Where a call's own lane goes.
#[derive(Debug, Serialize, Deserialize)]
struct OwnRow {
    url: Url,
    secret: String,
}

impl Book {
    /// The endpoints of the configuration and of the record. The second list: rows that cannot be read.
    pub fn new(configured: Vec<Endpoint>, rows: Vec<(EndpointId, Bytes)>) -> (Self, Vec<EndpointId>) {
        let mut book = Self::default();
        let mut unread = Vec::new();
        for (id, bytes) in rows {
            match serde_json::from_slice::<Row>(&bytes).ok().map(|row| (row.made_entry(&id), row)) {
                Some((Some(entry), _)) => drop(book.entries.insert(id, entry)),
                Some((None, row)) if row.made.is_none() => drop(book.absent.insert(id, row)),
                _ => unread.push(id),
            }
        }
        book.reconfigure(configured);
        (book, unread)
    }

    /// The endpoints of the configuration from here on; those of the API stay.
    pub fn reconfigure(&mut self, configured: Vec<Endpoint>) {
        let old = std::mem::take(&mut self.entries);
        for (id, entry) in old {
            match entry.origin {
                Origin::Made { .. } => drop(self.entries.insert(id, entry)),
                Origin::Configured => self.absent.extend(entry.row().map(|row| (id, row))),
            }
        }
        for endpoint in configured {
            let row = self.absent.remove(&endpoint.id);
            let disabled =
                row.and_then(|row| row.disabled).filter(|(_, url)| *url == endpoint.url).map(|(since, _)| since);
            let mut entry = Entry { endpoint, origin: Origin::Configured, disabled };
            entry.settle();
            self.entries.insert(entry.endpoint.id.clone(), entry);
        }
    }

    /// A new endpoint of the API.
    pub fn make(&mut self, endpoint: Endpoint, at: Timestamp) -> Result<(), NotChanged> {
        if self.entries.values().filter(|entry| entry.origin != Origin::Configured).count() >= MAX_MADE {
            return Err(NotChanged::TooMany);
        }
        let disabled = (!endpoint.enabled).then_some(Disabled { at, why: DisabledBy::Operator });
        let entry = Entry { endpoint, origin: Origin::Made { at }, disabled };
        self.entries.insert(entry.endpoint.id.clone(), entry);
        Ok(())
    }

    pub fn change(&mut self, id: &EndpointId, patch: Patch, now: Timestamp) -> Result<(), NotChanged> {
        let entry = self.entries.get_mut(id).ok_or(NotChanged::Unknown)?;
        let Patch { url, events, enabled } = patch;
        if entry.origin == Origin::Configured && (url.is_some() || events.is_some()) {
            return Err(NotChanged::Configured);
        }
        entry.endpoint.url = url.unwrap_or_else(|| entry.endpoint.url.clone());
        entry.endpoint.events = events.unwrap_or_else(|| entry.endpoint.events.clone());
        match enabled {
            Some(true) => entry.disabled = None,
            Some(false) => {
                entry.disabled.get_or_insert(Disabled { at: now, why: DisabledBy::Operator });
            }
            None => {}
        }
        entry.settle();
        Ok(())
    }

    /// `secret` signs from here on; those before it do too until `until`.
    pub fn rotate(
        &mut self,
        id: &EndpointId,
        secret: Secret,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), NotChanged> {
        let entry = self.made(id)?;
        let old = std::mem::replace(&mut entry.endpoint.secrets, vec![secret]);
        let retiring = &mut entry.endpoint.retiring;
        retiring.retain(|retiring| retiring.until > now);
        for retiring in &mut *retiring {
            retiring.until = retiring.until.min(until);
        }
        retiring.splice(0..0, old.into_iter().map(|secret| Retiring { secret, until }));
        retiring.retain(|retiring| retiring.until > now);
        retiring.truncate(3);
        Ok(())
    }

    pub fn remove(&mut self, id: &EndpointId) -> Result<(), NotChanged> {
        self.made(id)?;
        self.entries.remove(id);
        Ok(())
    }

    /// The receiver said that it wants no more. False: that was known.
    pub fn gone(&mut self, id: &EndpointId, now: Timestamp) -> bool {
        let Some(entry) = self.entries.get_mut(id).filter(|entry| entry.disabled.is_none()) else { return false };
        entry.disabled = Some(Disabled { at: now, why: DisabledBy::Gone });
        entry.settle();
        true
    }

    fn made(&mut self, id: &EndpointId) -> Result<&mut Entry, NotChanged> {
        match self.entries.get_mut(id) {
            None => Err(NotChanged::Unknown),
            Some(entry) if entry.origin == Origin::Configured => Err(NotChanged::Configured),
            Some(entry) => Ok(entry),
        }
    }

    pub fn entry(&self, id: &EndpointId) -> Option<&Entry> {
        self.entries.get(id)
    }

    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// As delivery is to have them.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.entries.values().map(|entry| entry.endpoint.clone()).collect()
    }

    /// What the record is to keep of an endpoint; `None`: nothing.
    pub fn row(&self, id: &EndpointId) -> Option<Bytes> {
        let row = match self.entries.get(id) {
            Some(entry) => entry.row(),
            None => self.absent.get(id).cloned(),
        };
        row.map(|row| serde_json::to_vec(&row).expect("an endpoint's row is plain data").into())
    }

    /// Whether lanes to this name can be dropped: the API made it and it was removed.
    pub fn was_removed(&self, id: &EndpointId) -> bool {
        is_made(id) && !self.entries.contains_key(id)
    }
}

impl Entry {
    fn settle(&mut self) {
        self.endpoint.enabled = self.disabled.is_none();
    }

    fn row(&self) -> Option<Row> {
        let endpoint = &self.endpoint;
        let disabled = self.disabled.map(|since| (since, endpoint.url.clone()));
        let made = match self.origin {
            Origin::Configured => None,
            Origin::Made { at } => Some(Made {
                at,
                url: endpoint.url.clone(),
                secrets: endpoint.secrets.iter().map(Secret::reveal).collect(),
                retiring: endpoint.retiring.iter().map(|old| (old.secret.reveal(), old.until)).collect(),
                events: event_names(&endpoint.events),
            }),
        };
        (made.is_some() || disabled.is_some()).then_some(Row { made, disabled })
    }
}

impl Row {
    /// `None`: it is not of the API, or cannot be understood.
    fn made_entry(&self, id: &EndpointId) -> Option<Entry> {
        let made = self.made.as_ref()?;
        let secrets = made.secrets.iter().map(|secret| secret.parse().ok()).collect::<Option<Vec<Secret>>>()?;
        let retiring =
            made.retiring.iter().map(|(secret, until)| Some(Retiring { secret: secret.parse().ok()?, until: *until }));
        let endpoint = Endpoint {
            id: id.clone(),
            url: made.url.clone(),
            secrets,
            retiring: retiring.collect::<Option<_>>()?,
            events: filter_of(&made.events)?,
            enabled: true,
        };
        let disabled = self.disabled.as_ref().map(|(since, _)| *since);
        let mut entry = Entry { endpoint, origin: Origin::Made { at: made.at }, disabled };
        entry.settle();
        Some(entry)
    }
}

/// The filter as the configuration and the API write it.
pub fn event_names(filter: &EventFilter) -> Vec<String> {
    let all = filter.all_lifecycle.then(|| "*".to_owned());
    all.into_iter().chain(filter.named.iter().map(|kind| kind.name().to_owned())).collect()
}

fn filter_of(names: &[String]) -> Option<EventFilter> {
    let mut filter = EventFilter::default();
    for name in names {
        if name == "*" {
            filter.all_lifecycle = true;
        } else {
            filter.named.insert(name.parse::<EventKind>().ok()?);
        }
    }
    Some(filter)
}

/// The row of where a call's own lane goes.
pub fn encode_own(url: &Url, secret: &Secret) -> Bytes {
    let row = OwnRow { url: url.clone(), secret: secret.reveal() };
    serde_json::to_vec(&row).expect("an address and a secret are plain data").into()
}

/// `None`: no such row.
pub fn decode_own(row: &[u8]) -> Option<Endpoint> {
    let OwnRow { url, secret } = serde_json::from_slice(row).ok()?;
    Some(Endpoint {
        id: super::endpoint::own_of_calls(),
        url,
        secrets: vec![secret.parse().ok()?],
        retiring: Vec::new(),
        events: EventFilter { all_lifecycle: true, named: Default::default() },
        enabled: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn secret(n: u8) -> Secret {
        Secret::generate([n; 32])
    }

    fn endpoint(id: &str, url: &str) -> Endpoint {
        Endpoint {
            id: id.parse().unwrap(),
            url: url.parse().unwrap(),
            secrets: vec![secret(1)],
            retiring: Vec::new(),
            events: EventFilter { all_lifecycle: true, named: [EventKind::UserVoiceVolumeChanged].into() },
            enabled: true,
        }
    }

    fn id(name: &str) -> EndpointId {
        name.parse().unwrap()
    }

    /// The book that another run makes of this one's rows.
    fn again(book: &Book, configured: Vec<Endpoint>) -> Book {
        let names: Vec<EndpointId> = book.entries.keys().chain(book.absent.keys()).cloned().collect();
        let rows = names.into_iter().filter_map(|id| Some((id.clone(), book.row(&id)?))).collect();
        let (book, unread) = Book::new(configured, rows);
        assert!(unread.is_empty());
        book
    }

    #[test]
    fn what_the_api_made_is_the_same_after_a_restart() {
        let (mut book, _) = Book::new(vec![], vec![]);
        book.make(endpoint("wh_1", "https://a.example/x"), at(1)).unwrap();
        book.rotate(&id("wh_1"), secret(2), at(100), at(2)).unwrap();
        book.change(&id("wh_1"), Patch { enabled: Some(false), ..Patch::default() }, at(3)).unwrap();
        let again = again(&book, vec![]);
        assert_eq!(again.entry(&id("wh_1")), book.entry(&id("wh_1")));
        assert!(!again.endpoints()[0].enabled);
        assert_eq!(again.endpoints()[0].signing(at(50)).count(), 2);
    }

    #[test]
    fn a_configured_endpoint_that_is_gone_stays_so_until_it_is_enabled_or_moves() {
        let configured = || vec![endpoint("a", "https://a.example/"), endpoint("b", "https://b.example/")];
        let (mut book, _) = Book::new(configured(), vec![]);
        assert_eq!(book.row(&id("a")), None, "the configuration says it all");
        assert!(book.gone(&id("a"), at(1)) && !book.gone(&id("a"), at(2)));
        let enabled = |book: &Book| book.endpoints().iter().map(|endpoint| endpoint.enabled).collect::<Vec<_>>();
        assert_eq!(enabled(&again(&book, configured())), [false, true]);
        let mut absent = again(&book, vec![]);
        absent.reconfigure(configured());
        assert_eq!(enabled(&absent), [false, true], "it was away in between");
        assert_eq!(enabled(&again(&book, vec![endpoint("a", "https://new.example/")])), [true]);
        book.change(&id("a"), Patch { enabled: Some(true), ..Patch::default() }, at(3)).unwrap();
        assert_eq!((enabled(&book), book.row(&id("a"))), (vec![true, true], None));
    }

    #[test]
    fn the_api_does_not_change_what_the_configuration_says() {
        let (mut book, _) = Book::new(vec![endpoint("a", "https://a.example/")], vec![]);
        let url = Some("https://evil.example/".parse().unwrap());
        assert_eq!(book.change(&id("a"), Patch { url, ..Patch::default() }, at(1)), Err(NotChanged::Configured));
        assert_eq!(book.remove(&id("a")), Err(NotChanged::Configured));
        assert_eq!(book.rotate(&id("a"), secret(2), at(9), at(1)), Err(NotChanged::Configured));
        assert_eq!(book.remove(&id("x")), Err(NotChanged::Unknown));
        assert!(!book.was_removed(&id("x")) && book.was_removed(&id("wh_x")));
    }

    #[test]
    fn a_rotation_keeps_the_old_secrets_for_their_time_and_not_for_ever() {
        let (mut book, _) = Book::new(vec![], vec![]);
        book.make(endpoint("wh_1", "https://a.example/"), at(0)).unwrap();
        for n in 2..9 {
            book.rotate(&id("wh_1"), secret(n), at(100), at(u64::from(n))).unwrap();
        }
        let rotated = &book.entry(&id("wh_1")).unwrap().endpoint;
        assert_eq!((rotated.secrets[0].clone(), rotated.retiring.len()), (secret(8), 3));
        book.rotate(&id("wh_1"), secret(9), at(50), at(50)).unwrap();
        let rotated = &book.entry(&id("wh_1")).unwrap().endpoint;
        assert_eq!(rotated.signing(at(50)).collect::<Vec<_>>(), [&secret(9)], "at once");
    }

    #[test]
    fn there_is_a_limit() {
        let (mut book, _) = Book::new(vec![endpoint("a", "https://a.example/")], vec![]);
        for n in 0..MAX_MADE {
            book.make(endpoint(&format!("wh_{n}"), "https://a.example/"), at(0)).unwrap();
        }
        assert_eq!(book.make(endpoint("wh_x", "https://a.example/"), at(0)), Err(NotChanged::TooMany));
    }

    #[test]
    fn where_a_call_sends_survives_its_row() {
        let url: Url = "https://a.example/call?x=1".parse().unwrap();
        let own = decode_own(&encode_own(&url, &secret(3))).unwrap();
        assert_eq!((own.url, own.secrets), (url, vec![secret(3)]));
        assert!(decode_own(b"{}").is_none());
    }

    #[test]
    fn a_row_that_cannot_be_read_is_named() {
        let (_, unread) = Book::new(vec![], vec![(id("wh_1"), Bytes::from_static(b"?"))]);
        assert_eq!(unread, [id("wh_1")]);
    }
}
