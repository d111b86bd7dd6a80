//! What the two listeners serve, joined from the doors.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;

use super::{Reload, Webhooks};
use crate::api::io::Api;
use crate::api::io::auth::ApiKey;
use crate::api::io::health::{Readiness, health, metrics};
use crate::base::UserId;
use crate::config::Config;
use crate::control::io::{Clock, Handle, entropy};
use crate::ledger::io::Store;
use crate::metrics::Metrics;
use crate::signal::ice::IceServers;
use crate::signal::io::door::Door;
use crate::signal::io::keyring::Keyring;
use crate::signal::io::registry::Registry;
use crate::signal::io::resource::Floor;
use crate::signal::io::{whep, whip, ws};
use crate::signal::origin::Origins;
use crate::ticket::Ticket;
use crate::web::console::io::Console;
use crate::web::{self, console};

/// The try-a-call page's tickets are good for a day.
const TRY_TICKET_LIFETIME: Duration = Duration::from_secs(86_400);

/// What the doors are made of.
pub struct Doors<'a> {
    /// The configuration and the keys.
    pub reload: &'a Reload,
    pub clock: Clock,
    pub control: &'a Handle,
    pub ledger: &'a Arc<Store>,
    pub registry: &'a Arc<Registry>,
    pub readiness: &'a Arc<Readiness>,
    pub metrics: &'a Metrics,
    pub webhooks: &'a Webhooks,
}

impl Doors<'_> {
    /// For clients.
    pub fn public(&self) -> Router {
        let Config { app, http, ice, .. } = &self.reload.config;
        let tickets = self.reload.keys.tickets.clone();
        let door = Arc::new(Door {
            control: self.control.clone(),
            registry: self.registry.clone(),
            tickets: tickets.clone(),
            clock: self.clock,
            origins: Origins { allowed: http.allowed_origins.clone() },
            ice_servers: IceServers(ice.servers.clone()),
            metrics: self.metrics.clone(),
            attempts: Mutex::default(),
            webhooks: self.webhooks.client.clone(),
        });
        let pages = web::Pages { try_page: http.try_page, sdk_app_id: app.id, sign: signer(tickets, self.clock) };
        let floor = Floor::new(door.clone());
        let media_over_http = whip::router(floor.clone()).merge(whep::router(floor));
        web::router(pages).merge(ws::router(door)).merge(media_over_http).merge(health(self.readiness.clone()))
    }

    /// Opens the console once.
    pub fn console_link(&self) -> String {
        self.reload.keys.api.console().link(self.clock.now(), entropy())
    }

    /// For operators and the backend.
    pub fn admin(&self) -> Router {
        let (key, clock) = (self.reload.keys.api.clone(), self.clock);
        let api = Api {
            key: key.clone(),
            clock,
            control: self.control.clone(),
            ledger: self.ledger.clone(),
            endpoints: self.webhooks.endpoints.clone(),
        };
        metrics(self.metrics.clone())
            .merge(health(self.readiness.clone()))
            .merge(crate::api::io::router(Arc::new(api)))
            .merge(console::io::router(gate(key, clock)))
    }
}

/// The console's sign-in, with the API key as it is at the time.
fn gate(key: ApiKey, clock: Clock) -> Console {
    let own = key.clone();
    Console {
        key: Box::new(move || own.console()),
        is_api_key: Box::new(move |given: &str| key.is(given.as_bytes())),
        clock,
    }
}

fn signer(tickets: Keyring, clock: Clock) -> web::io::Signer {
    Arc::new(move |user: &UserId| {
        let now = clock.now();
        tickets.key().sign(&Ticket {
            user: user.clone(),
            issued_at: now,
            expires_at: now + TRY_TICKET_LIFETIME,
            map_key: None,
        })
    })
}
