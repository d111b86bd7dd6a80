//! Webhook endpoints, deliveries and replays in JSON.

use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::{IntoParams, ToSchema};

use super::call::Time;
use super::page::Limit;
use crate::base::{CallId, EndpointId, EventId, Timestamp};
use crate::config::EventFilter;
use crate::event::{EventKind, GapReason};
use crate::webhook::book::{DisabledBy, Entry, Origin, event_names};
use crate::webhook::dispatch::{Answer, Reply};
use crate::webhook::record::Note;
use crate::webhook::replay::{Order, ReplayId, ReplayPhase, ReplayStatus};
use crate::webhook::sign::Secret;
use crate::webhook::{EndpointState, EndpointStatus, LastReply};

/// The longest address, in bytes.
pub const MAX_URL: usize = 2048;
/// The longest time a replaced secret signs, in seconds: 30 days.
const MAX_OVERLAP: u64 = 30 * 86_400;

/// An endpoint and how it does.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    #[schema(value_type = String, example = "wh_01hqk3v6c7f4m2n8p0r5s9t1wx")]
    id: EndpointId,
    #[schema(value_type = String)]
    url: Url,
    /// Names of events; `*`: every event of a call's life.
    events: Vec<String>,
    enabled: bool,
    /// Since when and why nothing is sent.
    disabled: Option<Disabled>,
    origin: From,
    #[schema(value_type = Option<String>, format = DateTime)]
    made_at: Option<Time>,
    /// Secrets that sign at the moment: more than one while one is being replaced.
    signing_secrets: usize,
    state: State,
    /// Since when only single probes are sent, because the endpoint fails.
    #[schema(value_type = Option<String>, format = DateTime)]
    circuit_open_since: Option<Time>,
    /// Stored events that it has not confirmed.
    pending_events: u64,
    /// When the oldest of them happened.
    #[schema(value_type = Option<String>, format = DateTime)]
    oldest_pending_at: Option<Time>,
    /// Requests under way.
    in_flight: usize,
    /// Since the server started.
    counts: Counts,
    last_reply: Option<LastReplied>,
}

/// A new endpoint, with the secret that it must verify by. The secret is not shown again.
#[derive(Debug, Serialize, ToSchema)]
pub struct Made {
    #[serde(flatten)]
    pub webhook: Webhook,
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    pub secret: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookOrigin)]
#[serde(rename_all = "camelCase")]
enum From {
    /// Of the configuration file: the API can only disable and enable it.
    Configured,
    Api,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookState)]
#[serde(rename_all = "camelCase")]
enum State {
    Active,
    /// It fails: single probes are sent until it takes one.
    CircuitOpen,
    Disabled,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookDisabled)]
#[serde(rename_all = "camelCase")]
struct Disabled {
    #[schema(value_type = String, format = DateTime)]
    at: Time,
    by: By,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookDisabledBy)]
#[serde(rename_all = "camelCase")]
enum By {
    /// The receiver, with status 410.
    Gone,
    /// This API.
    Operator,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookCounts)]
#[serde(rename_all = "camelCase")]
struct Counts {
    /// Answered with 2xx.
    delivered: u64,
    /// Attempts that were not.
    failed: u64,
    /// Attempts on an event beyond its first.
    retried: u64,
    /// Given up.
    dead: u64,
}

/// What an endpoint said last.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookReply)]
#[serde(rename_all = "camelCase")]
struct LastReplied {
    #[schema(value_type = String, format = DateTime)]
    at: Time,
    #[schema(value_type = String)]
    event_id: EventId,
    #[serde(flatten)]
    outcome: Outcome,
}

/// What came of one attempt.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookOutcome)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// 2xx.
    success: bool,
    /// The HTTP status; null: there was no response.
    status: Option<u16>,
    /// The failure in words.
    error: Option<String>,
    /// The beginning of the response's body.
    response: String,
}

/// A new endpoint.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewWebhook {
    #[schema(value_type = String, example = "https://backend.example/calls")]
    url: Url,
    /// `whsec_` and base64 of 24 to 64 bytes; without one the server makes one.
    secret: Option<String>,
    /// Names of events; `*` (the default): every event of a call's life. Volume and quality must be named.
    #[schema(value_type = Option<Vec<String>>)]
    events: Option<EventFilter>,
    enabled: Option<bool>,
}

/// A new endpoint whose form is right.
pub struct Parsed {
    pub url: Url,
    pub secret: Option<Secret>,
    pub events: EventFilter,
    pub enabled: bool,
}

/// What is to be changed; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookPatch {
    #[schema(value_type = Option<String>)]
    pub url: Option<Url>,
    #[schema(value_type = Option<Vec<String>>)]
    pub events: Option<EventFilter>,
    /// `true` also takes back that the receiver answered 410.
    pub enabled: Option<bool>,
}

/// A new secret for an endpoint of the API.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rotation {
    /// Without one the server makes one.
    secret: Option<String>,
    /// How many seconds the old secret signs beside the new one: 0 to 2592000; usually `webhooks.rotation_overlap`.
    overlap: Option<u64>,
}

/// The secret that signs from here on. It is not shown again.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rotated {
    pub secret: String,
    /// Until when the old one signs too.
    #[schema(value_type = String, format = DateTime)]
    pub old_until: Time,
}

/// What is sent again: all of these together.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReplayRequest {
    /// Of this call only.
    #[schema(value_type = Option<String>)]
    call_id: Option<CallId>,
    /// Events that happened then or later (RFC 3339).
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Moment>,
    /// Events that happened then or earlier.
    #[schema(value_type = Option<String>, format = DateTime)]
    to: Option<Moment>,
    /// Of each call the events with a higher `seq`.
    #[serde(default)]
    after_seq: u64,
}

/// A time as requests write it.
#[derive(Debug, Clone, Copy)]
struct Moment(Timestamp);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        let expected = || serde::de::Error::custom("a time such as 2026-01-01T00:00:00Z is expected");
        let time = humantime::parse_rfc3339_weak(&text).map_err(|_| expected())?;
        let since = time.duration_since(std::time::UNIX_EPOCH).map_err(|_| expected())?;
        Ok(Self(Timestamp::default() + since))
    }
}

/// A replay and how far it has come.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replay {
    #[schema(value_type = String, example = "replay_01hqk3v6c7f4m2n8p0r5s9t1wx")]
    #[serde(serialize_with = "shown")]
    id: ReplayId,
    state: ReplayState,
    #[schema(value_type = String, format = DateTime)]
    made_at: Time,
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Time>,
    #[schema(value_type = Option<String>)]
    call_id: Option<CallId>,
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Time>,
    #[schema(value_type = Option<String>, format = DateTime)]
    to: Option<Time>,
    after_seq: u64,
    delivered: u64,
    /// Given up after all retries.
    failed: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
enum ReplayState {
    /// Another one of this endpoint is before it.
    Queued,
    Running,
    Done,
    Cancelled,
}

fn shown<S: serde::Serializer>(value: &impl std::fmt::Display, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(value)
}

/// Which deliveries to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeliveryFilter {
    /// `pending`: stored and not confirmed; `dead`: given up.
    #[param(inline)]
    pub state: DeliveryQuery,
    /// `next` of the page before.
    #[param(value_type = Option<String>)]
    #[serde(default)]
    pub after: Option<Place>,
    /// At most so many: 1 to 500, usually 100.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500)]
    #[serde(default)]
    pub limit: Limit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum DeliveryQuery {
    Pending,
    Dead,
}

/// An event's place: `<callId>.<seq>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub call: CallId,
    pub seq: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.call, self.seq)
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        let parsed = text.split_once('.').and_then(|(call, seq)| Some((call.parse().ok()?, seq.parse().ok()?)));
        let (call, seq) = parsed.ok_or_else(|| serde::de::Error::custom("`next` of the page before is expected"))?;
        Ok(Self { call, seq })
    }
}

/// One event on its way to one endpoint.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    #[schema(value_type = String)]
    pub call_id: CallId,
    pub seq: u64,
    /// Of a dead letter that stands for several: the last number; null: all to the call's end. Else `seq`.
    pub to_seq: Option<u64>,
    /// Null: the record does not keep the event any longer. So are `type` and `time`.
    #[schema(value_type = Option<String>)]
    pub event_id: Option<EventId>,
    #[serde(rename = "type")]
    #[schema(value_type = Option<String>)]
    pub kind: Option<EventKind>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub time: Option<Time>,
    pub state: DeliveryState,
    /// Those that failed.
    pub attempts: u32,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub first_attempt_at: Option<Time>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_attempt_at: Option<Time>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_attempt_at: Option<Time>,
    /// What the last attempt came to.
    pub last_reply: Option<Outcome>,
    /// Of a dead letter: why it is one.
    #[schema(value_type = Option<String>, example = "undeliverable")]
    pub reason: Option<GapReason>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum DeliveryState {
    Pending,
    Dead,
    Delivered,
    /// The endpoint's filter leaves it out, or the endpoint was not there when the call began.
    NotSent,
}

/// One delivery in full.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryDetail {
    #[serde(flatten)]
    pub delivery: Delivery,
    /// The body of the request, as every endpoint gets it. Null: the record does not keep the event any longer.
    #[schema(value_type = Option<Object>)]
    pub body: Option<Box<serde_json::value::RawValue>>,
}

/// What a test came to.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookTest)]
#[serde(rename_all = "camelCase")]
pub struct Tested {
    #[schema(value_type = String)]
    pub event_id: EventId,
    #[serde(flatten)]
    pub outcome: Outcome,
    /// From the begin of the request to its end, in milliseconds.
    pub took_ms: u64,
}

impl NewWebhook {
    /// # Errors
    /// In words, with the member's name.
    pub fn parse(self) -> Result<Parsed, String> {
        check_length(&self.url)?;
        let secret = self.secret.as_deref().map(parse_secret).transpose()?;
        let all = || EventFilter { all_lifecycle: true, named: Default::default() };
        let (events, enabled) = (self.events.unwrap_or_else(all), self.enabled.unwrap_or(true));
        Ok(Parsed { url: self.url, secret, events, enabled })
    }
}

impl WebhookPatch {
    /// # Errors
    /// In words, with the member's name.
    pub fn check(&self) -> Result<(), String> {
        self.url.as_ref().map_or(Ok(()), check_length)
    }
}

impl Rotation {
    /// The secret, if one was given, and for how many seconds the old one signs.
    ///
    /// # Errors
    /// In words, with the member's name.
    pub fn parse(self) -> Result<(Option<Secret>, Option<u64>), String> {
        if self.overlap.is_some_and(|overlap| overlap > MAX_OVERLAP) {
            return Err(format!("overlap: 0 to {MAX_OVERLAP} seconds are expected"));
        }
        Ok((self.secret.as_deref().map(parse_secret).transpose()?, self.overlap))
    }
}

fn check_length(url: &Url) -> Result<(), String> {
    match url.as_str().len() {
        0..=MAX_URL => Ok(()),
        _ => Err(format!("url: at most {MAX_URL} bytes")),
    }
}

/// The error does not repeat the secret.
fn parse_secret(text: &str) -> Result<Secret, String> {
    text.parse().map_err(|error| format!("secret: {error}"))
}

impl ReplayRequest {
    pub fn order(self, id: ReplayId, endpoint: EndpointId, made: Timestamp) -> Order {
        let Self { call_id, from, to, after_seq } = self;
        let time = |moment: Option<Moment>| moment.map(|Moment(time)| time);
        Order { id, endpoint, made, call: call_id, from: time(from), to: time(to), after_seq }
    }
}

impl Webhook {
    /// `pending`: stored events that it has not confirmed; `status`: how it does, once delivery has heard of it.
    pub fn new(entry: &Entry, status: Option<&EndpointStatus>, pending: u64, now: Timestamp) -> Self {
        let endpoint = &entry.endpoint;
        let counts = status.map(|status| status.counts).unwrap_or_default();
        let circuit_open_since = status.and_then(|status| match status.state {
            EndpointState::CircuitOpen { since } => Some(Time(since)),
            EndpointState::Active | EndpointState::Disabled => None,
        });
        Self {
            id: endpoint.id.clone(),
            url: endpoint.url.clone(),
            events: event_names(&endpoint.events),
            enabled: endpoint.enabled,
            disabled: entry.disabled.map(|disabled| Disabled { at: Time(disabled.at), by: disabled.why.into() }),
            origin: match entry.origin {
                Origin::Configured => From::Configured,
                Origin::Made { .. } => From::Api,
            },
            made_at: match entry.origin {
                Origin::Configured => None,
                Origin::Made { at } => Some(Time(at)),
            },
            signing_secrets: endpoint.signing(now).count(),
            state: match (endpoint.enabled, &circuit_open_since) {
                (false, _) => State::Disabled,
                (true, Some(_)) => State::CircuitOpen,
                (true, None) => State::Active,
            },
            circuit_open_since,
            pending_events: pending,
            oldest_pending_at: status.and_then(|status| status.oldest).map(Time),
            in_flight: status.map_or(0, |status| status.in_flight),
            counts: Counts {
                delivered: counts.delivered,
                failed: counts.failed,
                retried: counts.retried,
                dead: counts.dead,
            },
            last_reply: status.and_then(|status| status.last.as_ref()).map(LastReplied::from),
        }
    }
}

impl std::convert::From<DisabledBy> for By {
    fn from(why: DisabledBy) -> Self {
        match why {
            DisabledBy::Gone => Self::Gone,
            DisabledBy::Operator => Self::Operator,
        }
    }
}

impl std::convert::From<&LastReply> for LastReplied {
    fn from(last: &LastReply) -> Self {
        Self { at: Time(last.at), event_id: last.event, outcome: Outcome::from(&last.reply) }
    }
}

impl std::convert::From<&Reply> for Outcome {
    fn from(reply: &Reply) -> Self {
        let success = reply.is_success();
        let response = match reply {
            Reply::Answered { excerpt, .. } => excerpt.clone(),
            _ => String::new(),
        };
        let Answer { status, error, .. } = reply.answer();
        Self { success, status, error: (!success).then_some(error), response }
    }
}

impl std::convert::From<Answer> for Outcome {
    /// Only failures are remembered.
    fn from(answer: Answer) -> Self {
        let Answer { status, error, response } = answer;
        Self { success: false, status, error: Some(error), response }
    }
}

impl std::convert::From<ReplayStatus> for Replay {
    fn from(status: ReplayStatus) -> Self {
        let ReplayStatus { order, phase, delivered, failed } = status;
        let (state, ended_at) = match phase {
            ReplayPhase::Queued => (ReplayState::Queued, None),
            ReplayPhase::Running => (ReplayState::Running, None),
            ReplayPhase::Done(at) => (ReplayState::Done, Some(Time(at))),
            ReplayPhase::Cancelled(at) => (ReplayState::Cancelled, Some(Time(at))),
        };
        Self {
            id: order.id,
            state,
            made_at: Time(order.made),
            ended_at,
            call_id: order.call,
            from: order.from.map(Time),
            to: order.to.map(Time),
            after_seq: order.after_seq,
            delivered,
            failed,
        }
    }
}

impl Delivery {
    /// One of which nothing is known but its place.
    pub fn at(call: CallId, seq: u64, state: DeliveryState) -> Self {
        Self {
            call_id: call,
            seq,
            to_seq: Some(seq),
            event_id: None,
            kind: None,
            time: None,
            state,
            attempts: 0,
            first_attempt_at: None,
            last_attempt_at: None,
            next_attempt_at: None,
            last_reply: None,
            reason: None,
        }
    }

    /// A dead letter: until which number, since when, and how it came to that.
    pub fn dead(mut self, to: u64, died: Timestamp, note: Note) -> Self {
        self.state = DeliveryState::Dead;
        self.to_seq = Some(to).filter(|to| *to < u64::MAX);
        self.attempts = note.attempts;
        self.first_attempt_at = note.since.map(Time);
        self.last_attempt_at = Some(Time(died));
        self.last_reply = note.answer.map(Outcome::from);
        self.reason = Some(note.reason);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_its_text() {
        let place = Place { call: CallId::from_u128(9), seq: 12 };
        let json = format!("\"{place}\"");
        assert_eq!(serde_json::from_str::<Place>(&json).unwrap(), place);
        for bad in ["\"\"", "\"call_1.2\"", "\"9\""] {
            assert!(serde_json::from_str::<Place>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_rfc_3339() {
        let request: ReplayRequest =
            serde_json::from_str(r#"{"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:00:00.5Z"}"#).unwrap();
        let order = request.order(ReplayId::from_u128(1), "a".parse().unwrap(), Timestamp::default());
        assert_eq!(order.from, Some(Timestamp::from_millis(1_767_225_600_000)));
        assert_eq!(order.to, Some(Timestamp::from_millis(1_767_225_600_500)));
        assert!(serde_json::from_str::<ReplayRequest>(r#"{"from": "yesterday"}"#).is_err());
        assert!(serde_json::from_str::<ReplayRequest>(r#"{"since": 1}"#).is_err());
    }

    #[test]
    fn a_bad_secret_is_not_repeated() {
        let new: NewWebhook = serde_json::from_str(r#"{"url": "https://a.example/", "secret": "hidden"}"#).unwrap();
        let why = new.parse().err().unwrap();
        assert!(why.starts_with("secret: ") && !why.contains("hidden"), "{why}");
    }
}
