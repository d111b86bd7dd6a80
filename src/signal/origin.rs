//! Which web pages may use the doors: browsers name the page's origin, other clients none (RFC 6454, 7).

/// The allowed origins besides this server's own.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    /// `"*"`: any.
    pub allowed: Vec<String>,
}

impl Origins {
    /// Whether a page of this origin may, at a server that was reached as `host`.
    pub fn allows(&self, origin: &str, host: Option<&str>) -> bool {
        let listed = self.allowed.iter().any(|allowed| allowed == "*" || allowed == origin);
        listed || origin.split_once("://").is_some_and(|(_, rest)| Some(rest) == host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_pages_and_listed_ones_may() {
        let listed = Origins { allowed: vec!["https://app.example".into()] };
        for (origin, host, may) in [
            ("https://app.example", Some("calls.example"), true),
            ("http://calls.example:8080", Some("calls.example:8080"), true),
            ("http://calls.example", Some("calls.example:8080"), false),
            ("https://evil.example", Some("calls.example"), false),
            ("null", Some("calls.example"), false),
            ("null", None, false),
        ] {
            assert_eq!(listed.allows(origin, host), may, "{origin} {host:?}");
        }
        assert!(Origins { allowed: vec!["*".into()] }.allows("https://evil.example", None));
    }
}
