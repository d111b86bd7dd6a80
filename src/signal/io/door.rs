//! What every client's door has of the server: control, the registry of sessions, and who may come in.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{HeaderMap, header};

use super::keyring::Keyring;
use super::registry::Registry;
use crate::control::Grant;
use crate::control::io::{Clock, Handle};
use crate::metrics::Metrics;
use crate::signal::attempts::Attempts;
use crate::signal::ice::IceServers;
use crate::signal::origin::Origins;
use crate::ticket::{MapKey, Privileges};
use crate::webhook::io::Client;

/// Why an address is not heard out.
pub const TOO_MANY_FAILURES: &str = "too many failed log-ins from this address";

/// What a door needs.
pub struct Door {
    pub control: Handle,
    pub registry: Arc<Registry>,
    pub tickets: Keyring,
    pub clock: Clock,
    pub origins: Origins,
    pub ice_servers: IceServers,
    pub metrics: Metrics,
    /// Failed log-ins by address.
    pub attempts: Mutex<Attempts>,
    /// Vets the addresses of calls' own webhooks.
    pub webhooks: Client,
}

impl Door {
    /// A page of another site has no business here unless it is allowed (RFC 6455, section 10.2).
    pub fn allows_origin(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else { return true };
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        origin.to_str().is_ok_and(|origin| self.origins.allows(origin, host))
    }

    /// Notes a failed log-in; false: the address has had too many, and is not heard out.
    pub fn failed(&self, address: IpAddr) -> bool {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.fail(address, self.clock.now())
    }
}

/// What a PrivateMapKey's bits mean here.
pub fn grant(key: MapKey) -> Grant {
    let may = |privilege| key.privileges.contains(privilege);
    Grant {
        create: may(Privileges::CREATE_ROOM),
        enter: may(Privileges::ENTER_ROOM),
        send_audio: may(Privileges::SEND_AUDIO),
        receive_audio: may(Privileges::RECEIVE_AUDIO),
        send_video: may(Privileges::SEND_VIDEO),
        receive_video: may(Privileges::RECEIVE_VIDEO),
        send_screen: may(Privileges::SEND_SECOND_STREAM),
        receive_screen: may(Privileges::RECEIVE_SECOND_STREAM),
        room: key.room,
    }
}
