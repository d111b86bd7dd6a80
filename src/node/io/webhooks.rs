//! Delivery and the endpoints, as the node builds them.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::api::io::endpoints::{self, Configured, Endpoints};
use crate::base::EndpointId;
use crate::config::{self, Config};
use crate::control::io::{Clock, entropy};
use crate::ledger::io::{Store, Writer};
use crate::metrics::{DeliveryResult, Metrics};
use crate::node::record::LedgerRecord;
use crate::webhook::book::{Book, MAX_MADE};
use crate::webhook::dispatch;
use crate::webhook::endpoint::Roster;
use crate::webhook::io::{Client, ClientSettings, Deliverer, Parts};
use crate::webhook::lane::Patience;
use crate::webhook::{Observation, Settings};

/// Endpoints that answered 410 and wait for that to be kept.
const GONE_QUEUE: usize = MAX_MADE;

/// The running parts.
pub struct Webhooks {
    pub deliverer: Deliverer,
    pub endpoints: Arc<Endpoints>,
    pub client: Client,
}

impl Webhooks {
    /// Begins with what the record holds from before.
    pub fn start<T: Send + 'static>(
        config: &Config,
        store: &Arc<Store>,
        writer: &Writer<T>,
        clock: Clock,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        let Configured { endpoints, client, settings, rotation_overlap } = Self::configured(&config.webhooks);
        let (book, unread) = Book::new(endpoints, store.endpoints()?);
        for endpoint in unread {
            tracing::error!(%endpoint, "an endpoint of the record cannot be read and is left out");
        }
        let client = Client::new(client)?;
        let mut seed = [0; 8];
        seed.copy_from_slice(&entropy()[..8]);
        let (gone_in, gone) = mpsc::channel(GONE_QUEUE);
        let counted = metrics.clone();
        let deliverer = Deliverer::start(Parts {
            record: LedgerRecord { store: store.clone(), writer: writer.handle() },
            endpoints: book.endpoints(),
            settings,
            client: client.clone(),
            now: Box::new(move || clock.now()),
            observe: Box::new(move |observation| observe(&counted, &gone_in, observation)),
            runtime: tokio::runtime::Handle::current(),
            seed: u64::from_be_bytes(seed),
        })?;
        let endpoints = Endpoints::new(endpoints::Parts {
            book,
            store: store.clone(),
            changes: writer.handle().changes(),
            delivery: deliverer.handle(),
            client: client.clone(),
            clock,
            metrics: metrics.clone(),
            rotation_overlap,
        });
        tokio::spawn(keep_gone(gone, endpoints.clone()));
        Ok(Self { deliverer, endpoints, client })
    }
}

impl Webhooks {
    /// What the configuration says; entries that cannot be used are left out and logged.
    pub fn configured(webhooks: &config::Webhooks) -> Configured {
        let roster = Roster::read(&webhooks.endpoints, &webhooks.allow_private);
        for (place, why) in &roster.refused {
            tracing::error!(place, %why, "an endpoint of webhooks.endpoints is left out");
        }
        let patience = Patience { give_up_after: webhooks.give_up_after, poisoned_after: webhooks.poisoned_after };
        Configured {
            endpoints: roster.endpoints,
            client: ClientSettings { timeout: webhooks.timeout, allow_private: webhooks.allow_private.clone().into() },
            settings: Settings { max_in_flight: webhooks.max_in_flight, patience, ..Settings::default() },
            rotation_overlap: webhooks.rotation_overlap,
        }
    }
}

async fn keep_gone(mut gone: mpsc::Receiver<EndpointId>, endpoints: Arc<Endpoints>) {
    while let Some(endpoint) = gone.recv().await {
        endpoints.gone(&endpoint).await;
    }
}

fn observe(metrics: &Metrics, gone: &mpsc::Sender<EndpointId>, observation: Observation) {
    if let Observation::Disabled { endpoint } = &observation
        && gone.try_send(endpoint.clone()).is_err()
    {
        tracing::error!(%endpoint, "that the endpoint is gone will not be kept: it is asked again after a restart");
    }
    observe_delivery(metrics, observation);
}

/// Counts what became of a request, and logs what an operator should look at.
fn observe_delivery(metrics: &Metrics, observation: Observation) {
    match observation {
        Observation::Delivered { endpoint, attempt, latency, .. } => {
            if attempt > 1 {
                metrics.delivery(&endpoint, DeliveryResult::Retried);
            }
            metrics.delivery(&endpoint, DeliveryResult::Delivered { latency });
        }
        Observation::Failed { endpoint, call, kind, attempt, reply, retry_at } => {
            if attempt > 1 {
                metrics.delivery(&endpoint, DeliveryResult::Retried);
            }
            let refused = matches!(reply, dispatch::Reply::Refused(_));
            metrics.delivery(&endpoint, if refused { DeliveryResult::Refused } else { DeliveryResult::Failed });
            let why = reply.summary();
            let retry_at = retry_at.map(|at| at.to_string());
            tracing::warn!(%endpoint, %call, %kind, attempt, why, retry_at, "a webhook was not taken");
        }
        Observation::Parked { endpoint, call, seq, why } => {
            metrics.delivery(&endpoint, DeliveryResult::Dead);
            tracing::error!(%endpoint, %call, seq, why, "an event could not be delivered and is kept as a dead letter");
        }
        Observation::GapDropped { endpoint, call } => {
            tracing::error!(%endpoint, %call, "not even the gap could be told");
        }
        Observation::CircuitOpened { endpoint } => tracing::warn!(%endpoint, "an endpoint fails; single probes only"),
        Observation::CircuitClosed { endpoint } => tracing::info!(%endpoint, "an endpoint works again"),
        Observation::Disabled { endpoint } => {
            tracing::error!(%endpoint, "an endpoint answered 410 Gone and is disabled");
        }
        Observation::LaneEnded { endpoint, call } => {
            metrics.delivery(&endpoint, DeliveryResult::Dead);
            tracing::error!(%endpoint, %call, "a call's own endpoint answered 410 Gone and gets nothing more of the call");
        }
        Observation::Expired { endpoint, call, from, to } => {
            (from..=to).for_each(|_| metrics.delivery(&endpoint, DeliveryResult::Dead));
            metrics.expired(to + 1 - from);
            tracing::error!(%endpoint, %call, from, to, "events are too old to be kept and will not be delivered");
        }
        Observation::ReplayDone { endpoint, replay, delivered, failed } => {
            tracing::info!(%endpoint, %replay, delivered, failed, "a replay is done");
        }
    }
}
