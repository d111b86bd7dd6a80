//! The typed tree of the configuration. `config/default.toml` is its documentation and its defaults at once.

mod ice;
pub mod io;
pub mod layer;
mod place;
mod text;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

pub use self::ice::{IceAccess, IceServer};
use crate::event::EventKind;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub data_dir: PathBuf,
    pub app: App,
    pub http: Http,
    pub media: Media,
    pub ice: Ice,
    pub calls: Calls,
    pub drain: Drain,
    pub telemetry: Telemetry,
    pub quality: Quality,
    pub webhooks: Webhooks,
    pub ledger: Ledger,
}

/// Who may log in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// The SDKAppID that tickets name.
    pub id: u32,
    /// The key that signs tickets; empty: generated and kept in the data folder.
    pub secret: Secret,
    /// The key of the admin REST API; empty: generated and kept in the data folder.
    pub api_key: Secret,
    /// How far ahead of the server's a ticket's clock may be.
    #[serde(with = "text::duration")]
    pub clock_skew: Duration,
}

/// A text that no log shows.
#[derive(Clone, PartialEq, Eq, Deserialize, Default)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// The two listeners.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    pub public: SocketAddr,
    pub admin: SocketAddr,
    /// Origins of web pages that may open `/v1/ws` besides pages of this server; `"*"`: any.
    pub allowed_origins: Vec<String>,
    pub try_page: TryPage,
    pub tls: Tls,
}

/// The public listener's certificate chain and its key, PEM files. Both empty: plain http.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Tls {
    pub fn is_on(&self) -> bool {
        !self.certificate.as_os_str().is_empty() || !self.key.as_os_str().is_empty()
    }
}

/// Who may use the try-a-call page, which makes tickets for any name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TryPage {
    Off,
    Loopback,
    All,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Media {
    /// The addresses clients reach this machine at; empty: those of its interfaces.
    #[serde(with = "text::addresses")]
    pub address: Vec<IpAddr>,
    /// The machine's own address that the ports are bound to; `None`: one of `address`, or all.
    #[serde(with = "text::maybe_address")]
    pub bind: Option<IpAddr>,
    /// The first shard's UDP port; shard n has `udp_port + n`; 0: any free ports.
    pub udp_port: u16,
    /// Media over TCP, of all shards; 0: a free one.
    pub tcp_port: u16,
    /// 0: one for each core.
    pub shards: usize,
    #[serde(deserialize_with = "text::at_least_one")]
    pub max_peers_per_shard: usize,
    /// A call that has so many members on a shard spreads to another.
    #[serde(deserialize_with = "text::at_least_one")]
    pub spread_members: usize,
    /// So does one whose shard is busy for more than this share of its time; 0.0–1.0.
    #[serde(deserialize_with = "text::share")]
    pub spread_load: f64,
    /// With more speakers than audio slots, how many of the loudest are forwarded.
    #[serde(deserialize_with = "text::at_least_one")]
    pub loudest: usize,
}

/// The STUN and TURN servers that clients are told of.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ice {
    pub servers: Vec<IceServer>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calls {
    #[serde(with = "text::interval")]
    pub ring_timeout: Duration,
    #[serde(with = "text::interval")]
    pub resume_timeout: Duration,
    /// Two or more.
    #[serde(deserialize_with = "text::at_least_two")]
    pub max_members: usize,
    #[serde(deserialize_with = "text::at_least_one")]
    pub sessions_per_user: usize,
    /// How long a session whose ticket expired may renew it before it is closed.
    #[serde(with = "text::duration")]
    pub renew_grace: Duration,
}

/// How the node stops.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// How long open calls may go on once the node is told to stop.
    #[serde(with = "text::duration")]
    pub timeout: Duration,
    pub open_calls: OpenCalls,
}

/// What becomes of calls that are open when the node has waited long enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OpenCalls {
    /// The next start takes them up.
    Keep,
    /// They end: no node will have this record again.
    End,
}

/// How often the two telemetry events are looked at.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    #[serde(with = "text::interval")]
    pub volume_interval: Duration,
    #[serde(with = "text::interval")]
    pub webhook_volume_interval: Duration,
    #[serde(with = "text::interval")]
    pub quality_interval: Duration,
}

/// The lowest E-model rating R (ITU-T G.107) of each level; below `bad` is Vbad.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quality {
    pub excellent: f32,
    pub good: f32,
    pub poor: f32,
    pub bad: f32,
    /// Nothing heard for so long: Down.
    #[serde(with = "text::interval")]
    pub down_after: Duration,
}

/// How long the record keeps calls that have ended.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// Zero: for ever.
    #[serde(with = "text::duration")]
    pub keep: Duration,
    /// Bytes of facts; 0: without a limit.
    #[serde(deserialize_with = "text::size")]
    pub max_size: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhooks {
    #[serde(with = "text::interval")]
    pub timeout: Duration,
    /// Networks endpoints may resolve to although they are private, loopback or link-local.
    pub allow_private: Vec<ipnet::IpNet>,
    /// Requests under way at once to one endpoint.
    #[serde(deserialize_with = "text::at_least_one")]
    pub max_in_flight: usize,
    /// How long an event is tried at an endpoint that takes none.
    #[serde(with = "text::interval")]
    pub give_up_after: Duration,
    /// How long an event that an endpoint refuses while it takes others holds up the rest of its call.
    #[serde(with = "text::interval")]
    pub poisoned_after: Duration,
    /// How long a replaced secret signs beside the new one, unless the API says otherwise.
    #[serde(with = "text::duration")]
    pub rotation_overlap: Duration,
    pub endpoints: Vec<Endpoint>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Stable name; empty: made from the URL.
    #[serde(default)]
    pub id: String,
    #[serde(deserialize_with = "text::web_url")]
    pub url: url::Url,
    #[serde(deserialize_with = "text::signing_secret")]
    pub secret: Secret,
    pub events: EventFilter,
}

/// Which events an endpoint gets: `"*"` stands for every lifecycle event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventFilter {
    pub all_lifecycle: bool,
    pub named: BTreeSet<EventKind>,
}
