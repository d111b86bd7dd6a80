//! One attempt: signed at the time it is made, sent without redirects or proxies, judged by its status.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use ipnet::IpNet;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Response, redirect};
use url::Url;

use super::resolver::VettedResolver;
use crate::base::Timestamp;
use crate::webhook::address::Refused;
use crate::webhook::dispatch::{Reply, Request};
use crate::webhook::endpoint::{InvalidEndpoint, vet_url};
use crate::webhook::{retry_after, sign};

/// What is kept of an answer's body, in bytes: enough for an error message.
const EXCERPT: usize = 512;
/// What is read of it so that the connection can be used again; with more to come it is closed.
const BODY_READ: usize = 16 << 10;
/// The status has decided already, so the body is given little time.
const BODY_TIME: Duration = Duration::from_secs(1);

/// How requests are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSettings {
    /// From the connection's begin to the answer's status.
    pub timeout: Duration,
    /// Private networks that may be reached all the same.
    pub allow_private: Arc<[IpNet]>,
}

/// Sends requests. Cheap to clone; the clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    settings: Arc<RwLock<ClientSettings>>,
}

impl Client {
    pub fn new(settings: ClientSettings) -> anyhow::Result<Self> {
        let settings = Arc::new(RwLock::new(settings));
        let build = |builder: reqwest::ClientBuilder| {
            builder
                .redirect(redirect::Policy::none())
                .no_proxy()
                .referer(false)
                .user_agent(concat!("callisto/", env!("CARGO_PKG_VERSION")))
                .dns_resolver(VettedResolver { settings: settings.clone() })
                .build()
        };
        let http = build(reqwest::Client::builder()).or_else(|error| {
            tracing::warn!(%error, "no certificate authorities found; webhooks to https addresses will fail");
            build(reqwest::Client::builder().tls_certs_only([]))
        });
        Ok(Self { http: http.context("the webhook client")?, settings })
    }

    /// How requests are made from here on; those under way are not changed.
    pub fn set(&self, settings: ClientSettings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    pub fn settings(&self) -> ClientSettings {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether an address may be sent to, as far as that is seen without asking a resolver.
    pub fn vet(&self, url: &Url) -> Result<(), InvalidEndpoint> {
        vet_url(url, &self.settings().allow_private)
    }

    /// Makes one attempt.
    pub async fn post(&self, request: &Request) -> Reply {
        let ClientSettings { timeout, allow_private } = self.settings();
        // A host that is an address never comes to the resolver.
        match vet_url(&request.endpoint.url, &allow_private) {
            Ok(()) => {}
            Err(InvalidEndpoint::Refused(refused)) => return Reply::Refused(refused),
            Err(other) => return Reply::Unreachable(other.to_string()),
        }
        match tokio::time::timeout(timeout, self.send(request)).await {
            Err(_) => Reply::TimedOut,
            Ok(Err(error)) if error.is_timeout() => Reply::TimedOut,
            Ok(Err(error)) => unreachable_because(&error),
            Ok(Ok(response)) => judge(response).await,
        }
    }

    async fn send(&self, request: &Request) -> reqwest::Result<Response> {
        let id = request.id.to_string();
        let now = wall_clock();
        let timestamp = now.as_secs();
        let secrets = request.endpoint.signing(now);
        let signature = sign::signature(secrets, &id, timestamp, &request.body);
        self.http
            .post(request.endpoint.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(request.body.clone())
            .send()
            .await
    }
}

async fn judge(mut response: Response) -> Reply {
    let status = response.status().as_u16();
    let wish = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = wish.and_then(|text| retry_after::parse(text, wall_clock()));
    let mut body = Vec::new();
    let mut read = 0;
    let reading = async {
        while let Ok(Some(chunk)) = response.chunk().await
            && read <= BODY_READ
        {
            read += chunk.len();
            body.extend_from_slice(&chunk[..chunk.len().min(EXCERPT - body.len())]);
        }
    };
    // However the body ends, the status stands.
    let _ = tokio::time::timeout(BODY_TIME, reading).await;
    Reply::Answered { status, retry_after, excerpt: String::from_utf8_lossy(&body).into_owned() }
}

/// The time that a receiver compares with its own clock: the machine's, with its corrections.
fn wall_clock() -> Timestamp {
    Timestamp::default() + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The end of the chain says what is wrong; the rest repeats the address.
fn unreachable_because(error: &reqwest::Error) -> Reply {
    let mut cause: &dyn std::error::Error = error;
    loop {
        if let Some(refused) = cause.downcast_ref::<Refused>() {
            return Reply::Refused(*refused);
        }
        match cause.source() {
            Some(deeper) => cause = deeper,
            None => return Reply::Unreachable(cause.to_string()),
        }
    }
}
