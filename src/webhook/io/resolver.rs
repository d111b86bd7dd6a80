//! Names to addresses for deliveries: only vetted addresses come out, so that nothing connects to any other.

use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::webhook::address::is_allowed;

/// The system's resolver behind a filter.
#[derive(Debug, Clone)]
pub struct VettedResolver {
    pub allow_private: Arc<[IpNet]>,
}

/// Why a name cannot be delivered to.
#[derive(Debug, thiserror::Error)]
pub enum Unresolved {
    #[error("{0} has no address")]
    Nowhere(String),
    #[error("{0} resolves to private addresses only, and none is in webhooks.allow_private")]
    Private(String),
}

impl Resolve for VettedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private.clone();
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            if found.is_empty() {
                return Err(Unresolved::Nowhere(host).into());
            }
            let vetted: Vec<SocketAddr> =
                found.into_iter().filter(|address| is_allowed(address.ip(), &allow_private)).collect();
            if vetted.is_empty() {
                return Err(Unresolved::Private(host).into());
            }
            Ok(Box::new(vetted.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_of_this_machine_is_refused_unless_allowed() {
        let resolve = |allow: &[&str]| {
            let allow_private = allow.iter().map(|network| network.parse().unwrap()).collect();
            VettedResolver { allow_private }.resolve("localhost".parse().unwrap())
        };
        let error = resolve(&[]).await.err().expect("refused");
        assert!(matches!(error.downcast_ref(), Some(Unresolved::Private(_))), "{error}");
        let addresses: Vec<SocketAddr> = resolve(&["127.0.0.0/8"]).await.unwrap().collect();
        assert!(!addresses.is_empty() && addresses.iter().all(|address| address.ip().is_loopback()));
    }
}
