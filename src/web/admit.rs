//! Who may have a ticket made by the try-a-call page.

use std::net::{IpAddr, SocketAddr};

use crate::config::TryPage;

/// What is known of the one who asks, as the listener and the request say it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Caller<'a> {
    /// The other end of the connection.
    pub peer: Option<SocketAddr>,
    pub host: Option<&'a str>,
    pub origin: Option<&'a str>,
    /// `Sec-Fetch-Site` (Fetch Metadata): how the asking page relates to this server.
    pub fetch_site: Option<&'a str>,
    pub content_type: Option<&'a str>,
    /// A proxy's headers are there, so `peer` is the proxy and not the person.
    pub forwarded: bool,
}

/// Why no ticket is made; the text is shown to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the try-a-call page is switched off on this server (http.try_page = \"off\")")]
    Off,
    #[error(
        "the try-a-call page works only on the machine the server runs on (http.try_page = \"loopback\"); set it to \"all\" to open it to everyone who reaches this address"
    )]
    NotLoopback,
    #[error("this server is reached here under a name that is not its own; open the page as localhost or by address")]
    ForeignHost,
    #[error("only this server's own page may ask for a ticket")]
    CrossOrigin,
    #[error("expected a body of type application/json")]
    NotJson,
}

impl Refusal {
    /// The stable name beside the text.
    pub const fn code(self) -> &'static str {
        match self {
            Refusal::Off => "tryPageOff",
            Refusal::NotLoopback => "notLoopback",
            Refusal::ForeignHost => "foreignHost",
            Refusal::CrossOrigin => "crossOrigin",
            Refusal::NotJson => "notJson",
        }
    }
}

/// Decides on one request. A page of another site can make a browser on this machine send requests, so the address alone is not
/// enough: the content type forces a preflight that is never granted, the origin must be ours, and in loopback mode the name must be
/// one that no foreign DNS can point here.
pub fn admit(policy: TryPage, caller: Caller<'_>) -> Result<(), Refusal> {
    match policy {
        TryPage::Off => return Err(Refusal::Off),
        TryPage::Loopback => admit_loopback(caller)?,
        TryPage::All => {}
    }
    if !same_origin(caller) {
        return Err(Refusal::CrossOrigin);
    }
    if !is_json(caller.content_type) {
        return Err(Refusal::NotJson);
    }
    Ok(())
}

fn admit_loopback(caller: Caller<'_>) -> Result<(), Refusal> {
    let local = caller.peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    if !local || caller.forwarded {
        return Err(Refusal::NotLoopback);
    }
    match caller.host.map(host_name) {
        Some(name) if name.eq_ignore_ascii_case("localhost") || is_address(name) => Ok(()),
        _ => Err(Refusal::ForeignHost),
    }
}

/// `host` without its port; the brackets of an IPv6 address stay.
fn host_name(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

fn is_address(name: &str) -> bool {
    match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => matches!(inner.parse(), Ok(IpAddr::V6(_))),
        None => matches!(name.parse(), Ok(IpAddr::V4(_))),
    }
}

pub(super) fn same_origin(caller: Caller<'_>) -> bool {
    let site_is_ours = matches!(caller.fetch_site, None | Some("same-origin" | "none"));
    let origin_is_ours = match caller.origin {
        None => true,
        Some(origin) => {
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            authority.is_some_and(|authority| caller.host.is_some_and(|host| authority.eq_ignore_ascii_case(host)))
        }
    };
    site_is_ours && origin_is_ours
}

pub(super) fn is_json(content_type: Option<&str>) -> bool {
    let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> Caller<'static> {
        Caller {
            peer: Some("127.0.0.1:50000".parse().unwrap()),
            host: Some("localhost:8080"),
            origin: Some("http://localhost:8080"),
            fetch_site: Some("same-origin"),
            content_type: Some("application/json"),
            forwarded: false,
        }
    }

    #[test]
    fn the_policy_decides_by_address() {
        let far = Caller {
            peer: Some("192.0.2.7:50000".parse().unwrap()),
            host: Some("192.0.2.1:8080"),
            origin: Some("http://192.0.2.1:8080"),
            ..local()
        };
        for (policy, caller, expected) in [
            (TryPage::Off, local(), Err(Refusal::Off)),
            (TryPage::Off, far, Err(Refusal::Off)),
            (TryPage::Loopback, local(), Ok(())),
            (TryPage::Loopback, far, Err(Refusal::NotLoopback)),
            (TryPage::Loopback, Caller { peer: None, ..local() }, Err(Refusal::NotLoopback)),
            (TryPage::Loopback, Caller { forwarded: true, ..local() }, Err(Refusal::NotLoopback)),
            (TryPage::Loopback, Caller { peer: Some("[::1]:1".parse().unwrap()), ..local() }, Ok(())),
            (TryPage::Loopback, Caller { peer: Some("[::ffff:127.0.0.1]:1".parse().unwrap()), ..local() }, Ok(())),
            (TryPage::All, local(), Ok(())),
            (TryPage::All, far, Ok(())),
            (TryPage::All, Caller { forwarded: true, ..far }, Ok(())),
        ] {
            assert_eq!(admit(policy, caller), expected, "{policy:?} {caller:?}");
        }
    }

    #[test]
    fn in_loopback_mode_only_names_that_dns_cannot_rebind_are_ours() {
        for host in
            ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8080", "192.168.1.4:8080"]
        {
            let caller = Caller { host: Some(host), origin: None, ..local() };
            assert_eq!(admit(TryPage::Loopback, caller), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "::1",
            "",
            "[127.0.0.1]",
        ] {
            let caller = Caller { host: Some(host), origin: None, ..local() };
            assert_eq!(admit(TryPage::Loopback, caller), Err(Refusal::ForeignHost), "{host}");
        }
        assert_eq!(admit(TryPage::Loopback, Caller { host: None, origin: None, ..local() }), Err(Refusal::ForeignHost));
    }

    #[test]
    fn other_origins_are_refused_under_every_policy() {
        for policy in [TryPage::Loopback, TryPage::All] {
            for origin in ["http://evil.example", "null", "http://localhost:9999", "http://localhost", "localhost:8080"]
            {
                let caller = Caller { origin: Some(origin), ..local() };
                assert_eq!(admit(policy, caller), Err(Refusal::CrossOrigin), "{origin}");
            }
            for site in ["cross-site", "same-site", "?"] {
                let caller = Caller { fetch_site: Some(site), ..local() };
                assert_eq!(admit(policy, caller), Err(Refusal::CrossOrigin), "{site}");
            }
            assert_eq!(admit(policy, Caller { origin: None, fetch_site: None, ..local() }), Ok(()));
        }
    }

    #[test]
    fn only_json_is_read() {
        for (content_type, expected) in [
            (Some("application/json; charset=utf-8"), Ok(())),
            (Some("Application/JSON"), Ok(())),
            (Some("text/plain"), Err(Refusal::NotJson)),
            (Some("application/x-www-form-urlencoded"), Err(Refusal::NotJson)),
            (Some("application/jsonp"), Err(Refusal::NotJson)),
            (None, Err(Refusal::NotJson)),
        ] {
            assert_eq!(admit(TryPage::All, Caller { content_type, ..local() }), expected, "{content_type:?}");
        }
    }
}
