//! The layers of the configuration: defaults, file, environment, options. A later one wins, key by key, and an error names the
//! layer that its value came from.

use toml::{Table, Value};

use super::Config;
use super::place::line_of;

/// The documentation and the defaults at once.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");
/// What an environment variable of this program begins with.
pub const VARIABLE_PREFIX: &str = "CALLISTO_";

/// Values of one origin.
#[derive(Debug, Clone)]
pub struct Layer {
    /// As an error names it: a file, a variable, an option.
    pub origin: String,
    values: Table,
    /// A file's, to say in which line a mistake is.
    text: Option<String>,
}

/// A configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {problem}")]
pub struct Invalid {
    pub origin: String,
    pub problem: String,
}

impl Layer {
    /// A file's text.
    pub fn from_toml(origin: &str, text: &str) -> Result<Self, Invalid> {
        let values = text.parse::<Table>().map_err(|error| invalid(origin, error.to_string().trim_end()))?;
        Ok(Self { origin: origin.to_owned(), values, text: Some(text.to_owned()) })
    }

    fn invalid(&self, Mistake { path, problem }: Mistake) -> Invalid {
        match self.text.as_deref().and_then(|text| line_of(text, &path)) {
            Some(line) => invalid(&self.origin, format!("line {line}: {problem}")),
            None => invalid(&self.origin, problem),
        }
    }

    /// One key, dotted, with its value as text.
    pub fn from_assignment(origin: &str, key: &str, text: &str) -> Result<Self, Invalid> {
        let path: Vec<&str> = key.split('.').collect();
        if path.iter().any(|part| part.is_empty()) {
            return Err(invalid(origin, format!("{key:?} is no key such as http.public")));
        }
        let mut value = parse_value(text, &path)
            .ok_or_else(|| invalid(origin, format!("{key}: a TOML or JSON value is expected")))?;
        for part in path.iter().rev().take(path.len() - 1) {
            value = Value::Table(Table::from_iter([((*part).to_owned(), value)]));
        }
        Ok(Self { origin: origin.to_owned(), values: Table::from_iter([(path[0].to_owned(), value)]), text: None })
    }

    /// An option `key=value`.
    pub fn from_option(text: &str) -> Result<Self, Invalid> {
        // The text may hold a secret: no error repeats it.
        let (key, value) = text.split_once('=').ok_or_else(|| invalid("--set", "key=value is expected"))?;
        Self::from_assignment(&format!("--set {key}"), key.trim(), value.trim())
    }

    /// An environment variable, when it is one of ours: `CALLISTO_HTTP__PUBLIC` is `http.public`. Those without `__` that name no
    /// key of the top are someone else's: container runtimes make `CALLISTO_PORT` and the like of a service's name.
    pub fn from_variable(name: &str, value: &str) -> Option<Result<Self, Invalid>> {
        let key = name.strip_prefix(VARIABLE_PREFIX)?.to_ascii_lowercase().replace("__", ".");
        let ours = key.contains('.') || defaults().contains_key(&key);
        ours.then(|| Self::from_assignment(name, &key, value))
    }
}

/// Texts need no quotes where a text is the default; everything else is a TOML or a JSON value.
fn parse_value(text: &str, path: &[&str]) -> Option<Value> {
    let default = path.iter().try_fold(Value::Table(defaults()), |value, part| value.get(part).cloned());
    let parsed = || {
        let toml = format!("v = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("v"));
        toml.or_else(|| serde_json::from_str(text).ok())
    };
    match default {
        Some(Value::String(_)) if !text.starts_with(['"', '\'', '[']) => Some(Value::String(text.to_owned())),
        // No such key: the merge says so, whatever the value.
        None => parsed().or_else(|| Some(Value::String(text.to_owned()))),
        Some(_) => parsed(),
    }
}

fn defaults() -> Table {
    DEFAULTS.parse().expect("the compiled-in defaults are TOML")
}

/// The configuration that the layers make, the later over the earlier, all over the defaults.
///
/// # Errors
/// A key that does not exist or a value that does not fit, by the key's full name and the layer it came from.
pub fn merge(layers: &[Layer]) -> Result<Config, Invalid> {
    let mut merged = defaults();
    for layer in layers {
        overlay(&mut merged, layer.values.clone());
        // Each layer is checked when it comes on top: what is wrong then is its own fault.
        check(&merged).map_err(|mistake| layer.invalid(mistake))?;
    }
    check(&merged).map_err(|Mistake { problem, .. }| invalid("the defaults", problem))
}

/// What is wrong in a merged configuration, and with which key.
struct Mistake {
    path: String,
    problem: String,
}

fn check(merged: &Table) -> Result<Config, Mistake> {
    let config: Config = serde_path_to_error::deserialize(merged.clone()).map_err(|error| {
        let (path, problem) = (error.path().to_string(), error.inner().message().to_owned());
        let problem = if path == "." { problem } else { format!("{path}: {problem}") };
        Mistake { path, problem }
    })?;
    let quality = &config.quality;
    if !(quality.excellent > quality.good && quality.good > quality.poor && quality.poor > quality.bad) {
        let problem = "quality: excellent > good > poor > bad is expected".to_owned();
        return Err(Mistake { path: "quality".to_owned(), problem });
    }
    Ok(config)
}

fn overlay(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Table(under)), Value::Table(over)) => overlay(under, over),
            (_, value) => drop(under.insert(key, value)),
        }
    }
}

fn invalid(origin: &str, problem: impl Into<String>) -> Invalid {
    Invalid { origin: origin.to_owned(), problem: problem.into() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn set(options: &[&str]) -> Result<Config, Invalid> {
        let layers: Result<Vec<Layer>, Invalid> = options.iter().map(|option| Layer::from_option(option)).collect();
        merge(&layers?)
    }

    #[test]
    fn the_defaults_are_whole() {
        let config = merge(&[]).unwrap();
        assert_eq!(config.app.id, 1_400_000_001);
        assert_eq!(config.calls.ring_timeout, Duration::from_secs(30));
        assert_eq!(config.ledger.max_size, 2 << 30);
        assert_eq!(set(&["ledger.max_size=5 MiB"]).unwrap().ledger.max_size, 5 << 20);
        assert!(config.media.address.is_empty() && config.webhooks.endpoints.is_empty());
    }

    #[test]
    fn later_layers_win_key_by_key() {
        let file = Layer::from_toml("f.toml", "[http]\npublic = \"1.2.3.4:5\"\nadmin = \"1.2.3.4:6\"").unwrap();
        let variable = Layer::from_variable("CALLISTO_HTTP__ADMIN", "127.0.0.1:7").unwrap().unwrap();
        let option = Layer::from_option("calls.ring_timeout=5s").unwrap();
        let config = merge(&[file, variable, option]).unwrap();
        assert_eq!(config.http.public.to_string(), "1.2.3.4:5");
        assert_eq!(config.http.admin.to_string(), "127.0.0.1:7");
        assert_eq!(config.calls.ring_timeout, Duration::from_secs(5));
        assert!(Layer::from_variable("PATH", "x").is_none());
        assert!(Layer::from_variable("CALLISTO_PORT", "tcp://10.0.0.1:80").is_none(), "made by a container runtime");
        let json =
            r#"[{"url": "http://127.0.0.1:1/", "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "events": ["*"]}]"#;
        let endpoints = Layer::from_variable("CALLISTO_WEBHOOKS__ENDPOINTS", json).unwrap().unwrap();
        assert_eq!(merge(&[endpoints]).unwrap().webhooks.endpoints.len(), 1);
    }

    #[test]
    fn texts_need_no_quotes_and_lists_are_toml() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let endpoints =
            format!("webhooks.endpoints=[{{url = \"http://127.0.0.1:1/\", secret = \"{secret}\", events = [\"*\"]}}]");
        let config = set(&[
            "app.secret=123",
            "media.address=[\"10.0.0.1\", \"::1\"]",
            "webhooks.allow_private=[\"127.0.0.0/8\"]",
            &endpoints,
        ])
        .unwrap();
        assert_eq!(config.app.secret.0, "123");
        assert_eq!(config.media.address.len(), 2);
        assert!(config.webhooks.endpoints[0].events.all_lifecycle);
        assert_eq!(set(&["media.address=10.0.0.1"]).unwrap().media.address.len(), 1);
    }

    #[test]
    fn an_error_names_the_key_its_place_and_what_is_expected() {
        for (option, key, expected) in [
            ("http.pubic=1", "http", "unknown field `pubic`"),
            ("nothing=1", "", "unknown field `nothing`"),
            ("http.public=here", "http.public", "socket address"),
            ("calls.ring_timeout=soon", "calls.ring_timeout", "no duration"),
            ("calls.max_members=1", "calls.max_members", "2 or more"),
            ("calls.ring_timeout=0s", "calls.ring_timeout", "100ms"),
            ("media.udp_port=no", "media.udp_port", "TOML or JSON"),
            ("media.udp_port=70000", "media.udp_port", "u16"),
            ("media.address=here", "media.address", "no IP address"),
            ("http.try_page=maybe", "http.try_page", "unknown variant"),
            ("telemetry.volume_interval=1ms", "telemetry.volume_interval", "100ms"),
            ("webhooks.allow_private=[\"x\"]", "webhooks.allow_private[0]", "invalid"),
            (
                "webhooks.endpoints=[{url = \"ftp://a\", secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\", events = []}]",
                "webhooks.endpoints[0].url",
                "http",
            ),
            (
                "webhooks.endpoints=[{url = \"http://a\", secret = \"x\", events = []}]",
                "webhooks.endpoints[0].secret",
                "whsec_",
            ),
            ("ledger.max_size=10", "ledger.max_size", "no size"),
            ("ledger.max_size=99999999TiB", "ledger.max_size", "no size"),
            ("quality.good=95", "quality", "excellent > good"),
        ] {
            let error = set(&[option]).unwrap_err();
            assert!(error.origin.starts_with("--set"), "{error}");
            assert!(error.problem.contains(key) && error.problem.contains(expected), "{option}: {error}");
        }
        assert!(Layer::from_option("http.public").is_err() && Layer::from_option(".=1").is_err());
        for secret in ["app.secret:hidden", "webhooks.endpoints=[{secret = \"hidden\""] {
            assert!(!set(&[secret]).unwrap_err().to_string().contains("hidden"));
        }
        for (text, said) in [
            ("[http]\n\npubic = 1", "f.toml: line 3: http.pubic: unknown field `pubic`"),
            ("nothing = 1", "f.toml: line 1: nothing: unknown field `nothing`"),
            ("# c\n[calls]\nmax_members = 1\n", "f.toml: line 3: calls.max_members: "),
            ("[quality]\ngood = 95.0", "f.toml: line 1: quality: excellent > good"),
        ] {
            let error = merge(&[Layer::from_toml("f.toml", text).unwrap()]).unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}");
        }
        let error = Layer::from_toml("f.toml", "a = ").unwrap_err();
        assert!(error.problem.contains("line 1"), "{error}");
    }
}
