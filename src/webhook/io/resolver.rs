//! Names to addresses, of which only those that webhooks may reach come out.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::post::ClientSettings;
use crate::webhook::address;

/// The system's resolver behind the check of addresses. The client connects to what it returns and nothing else, so a name
/// cannot be good when it is looked at and bad when it is used.
pub struct VettedResolver {
    pub settings: Arc<RwLock<ClientSettings>>,
}

impl Resolve for VettedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = self.settings.read().unwrap_or_else(PoisonError::into_inner).allow_private.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let vetted = vetted(found, &allowed)?;
            Ok(Box::new(vetted.into_iter()) as Addrs)
        })
    }
}

/// Those of `found` that may be reached; an error when there is none.
fn vetted(
    found: impl Iterator<Item = SocketAddr>,
    allowed: &[IpNet],
) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
    let (good, bad): (Vec<_>, Vec<_>) =
        found.map(|at| address::vet(at.ip(), allowed).map(|()| at)).partition(Result::is_ok);
    match bad.into_iter().find_map(Result::err) {
        Some(refused) if good.is_empty() => Err(refused.into()),
        _ if good.is_empty() => Err("the name has no address".into()),
        _ => Ok(good.into_iter().flatten().collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_vetted_addresses_of_a_name_come_out() {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let mixed = addresses(&["10.0.0.1:0", "8.8.8.8:0", "[::1]:0", "[::ffff:192.168.0.1]:0"]);
        assert_eq!(vetted(mixed.into_iter(), &[]).unwrap(), addresses(&["8.8.8.8:0"]));
        let private = addresses(&["10.0.0.1:0", "[fd00::1]:0"]);
        let why = vetted(private.iter().copied(), &[]).unwrap_err().to_string();
        assert!(why.contains("10.0.0.1") && why.contains("webhooks.allow_private"), "{why}");
        let allowed = ["fd00::/8".parse().unwrap()];
        assert_eq!(vetted(private.into_iter(), &allowed).unwrap(), addresses(&["[fd00::1]:0"]));
        assert!(vetted(std::iter::empty(), &[]).is_err());
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_refused() {
        let resolver = |allowed: &[&str]| {
            let allow_private = allowed.iter().map(|net| net.parse().unwrap()).collect();
            let settings = ClientSettings { timeout: std::time::Duration::from_secs(1), allow_private };
            VettedResolver { settings: Arc::new(RwLock::new(settings)) }
        };
        assert!(resolver(&[]).resolve("localhost".parse().unwrap()).await.is_err());
        let resolver = resolver(&["127.0.0.0/8", "::1/128"]);
        assert!(resolver.resolve("localhost".parse().unwrap()).await.unwrap().count() > 0);
    }
}
