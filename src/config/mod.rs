//! The typed tree of the configuration. `config/default.toml` is its documentation and its defaults at once.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::event::EventKind;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub data_dir: PathBuf,
    pub app: App,
    pub http: Http,
    pub media: Media,
    pub calls: Calls,
    pub telemetry: Telemetry,
    pub quality: Quality,
    pub webhooks: Webhooks,
}

/// Who may log in.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// The SDKAppID that tickets name.
    pub id: u32,
    /// The key that signs tickets; empty: generated and kept in the data folder.
    pub secret: Secret,
    /// The key of the admin REST API; empty: generated and kept in the data folder.
    pub api_key: Secret,
    /// How far ahead of the server's a ticket's clock may be.
    pub clock_skew: Duration,
}

/// A text that no log shows.
#[derive(Clone, PartialEq, Eq, Deserialize, Default)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

/// The two listeners.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    pub public: SocketAddr,
    pub admin: SocketAddr,
    /// Origins of web pages that may open `/v1/ws`; empty: those served by this server itself and clients that send none; `"*"`: any.
    pub allowed_origins: Vec<String>,
    pub try_page: TryPage,
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
    pub address: Vec<IpAddr>,
    /// The first shard's UDP port; shard n has `udp_port + n`; 0: any free ports.
    pub udp_port: u16,
    pub tcp_port: u16,
    /// 0: one for each core.
    pub shards: usize,
    pub max_peers_per_shard: usize,
    /// With more speakers than audio slots, how many of the loudest are forwarded.
    pub loudest: usize,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calls {
    pub ring_timeout: Duration,
    pub resume_timeout: Duration,
    pub max_members: usize,
    pub sessions_per_user: usize,
    /// How long a session whose ticket expired may renew it before it is closed.
    pub renew_grace: Duration,
}

/// How often the two telemetry events are looked at.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    pub volume_interval: Duration,
    pub webhook_volume_interval: Duration,
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
    pub down_after: Duration,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhooks {
    pub timeout: Duration,
    /// Networks endpoints may resolve to although they are private, loopback or link-local.
    pub allow_private: Vec<ipnet::IpNet>,
    /// Requests under way at once to one endpoint.
    pub max_in_flight: usize,
    pub endpoints: Vec<Endpoint>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Stable name; empty: made from the URL.
    #[serde(default)]
    pub id: String,
    pub url: url::Url,
    pub secret: Secret,
    pub events: EventFilter,
}

/// Which events an endpoint gets: `"*"` stands for every lifecycle event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventFilter {
    pub all_lifecycle: bool,
    pub named: BTreeSet<EventKind>,
}
