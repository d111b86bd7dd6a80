//! SIGHUP: the configuration is read again, and what can change while the node runs does.

use std::fmt::Debug;
use std::sync::Arc;

use tokio::sync::watch;

use super::{Retention, Webhooks};
use crate::api::io::auth::ApiKey;
use crate::api::io::endpoints::Endpoints;
use crate::config::Config;
use crate::config::io::Secrets;
use crate::signal::io::keyring::Keyring;
use crate::ticket::TicketKey;

/// The keys of both doors.
#[derive(Clone)]
pub struct Keys {
    pub api: ApiKey,
    pub tickets: Keyring,
}

impl Keys {
    pub fn new(config: &Config, secrets: &Secrets) -> Self {
        Self { api: ApiKey::new(&secrets.api_key.0), tickets: Keyring::new(ticket_key(config, secrets)) }
    }

    fn set(&self, config: &Config, secrets: &Secrets) {
        self.api.set(&secrets.api_key.0);
        self.tickets.set(ticket_key(config, secrets));
    }
}

fn ticket_key(config: &Config, secrets: &Secrets) -> TicketKey {
    TicketKey::new(config.app.id, &secrets.app_secret.0, config.app.clock_skew)
}

/// What a reload reaches.
pub struct Reload {
    pub keys: Keys,
    pub endpoints: Arc<Endpoints>,
    pub retention: watch::Sender<Retention>,
    /// As it was read last.
    pub config: Config,
}

impl Reload {
    /// With the keys as they are at the start.
    pub fn new(config: Config, secrets: &Secrets, endpoints: Arc<Endpoints>) -> Self {
        let (keys, retention) = (Keys::new(&config, secrets), watch::Sender::new(Retention::of(&config.ledger)));
        Self { keys, endpoints, retention, config }
    }

    /// Takes over what was read; what could not be read changes nothing.
    pub async fn take(&mut self, read: anyhow::Result<(Config, Secrets)>) {
        let (config, secrets) = match read {
            Ok(read) => read,
            Err(error) => {
                return tracing::error!(error = format!("{error:#}"), "the configuration stays as it was");
            }
        };
        self.keys.set(&config, &secrets);
        self.endpoints.reconfigure(Webhooks::configured(&config.webhooks)).await;
        self.retention.send_replace(Retention::of(&config.ledger));
        for section in left_out(&self.config, &config) {
            tracing::warn!(section, "a changed section of the configuration waits for a restart");
        }
        tracing::info!("the configuration was read again");
        self.config = config;
    }
}

/// Sections with changes that a running node does not take up.
fn left_out(old: &Config, new: &Config) -> Vec<&'static str> {
    let same = |old: &dyn Debug, new: &dyn Debug| format!("{old:?}") == format!("{new:?}");
    let sections = [
        ("data_dir", same(&old.data_dir, &new.data_dir)),
        ("app.id", old.app.id == new.app.id),
        ("http", same(&old.http, &new.http)),
        ("media", same(&old.media, &new.media)),
        ("ice", same(&old.ice, &new.ice)),
        ("calls", same(&old.calls, &new.calls)),
        ("drain", same(&old.drain, &new.drain)),
        ("telemetry", same(&old.telemetry, &new.telemetry)),
        ("quality", same(&old.quality, &new.quality)),
    ];
    sections.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::layer::{Layer, merge};

    #[test]
    fn what_a_running_node_cannot_change_is_named() {
        let config = |option: &str| merge(&[Layer::from_option(option).unwrap()]).unwrap();
        let old = config("http.try_page=loopback");
        assert_eq!(left_out(&old, &config("http.try_page=off")), ["http"]);
        assert_eq!(left_out(&old, &config("app.id=5")), ["app.id"]);
        assert!(left_out(&old, &config("webhooks.timeout=1s")).is_empty());
        assert!(left_out(&old, &config("app.secret=other")).is_empty());
    }
}
