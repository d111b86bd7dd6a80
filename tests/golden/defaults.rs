//! The default configuration: every key with its value.

use callisto::config::layer::DEFAULTS;
use toml::{Table, Value};

#[test]
fn every_default_is_as_kept() {
    let defaults: Table = DEFAULTS.parse().unwrap();
    let mut lines = Vec::new();
    flatten(&Value::Table(defaults), "", &mut lines);
    lines.sort();
    crate::expect_as_kept("defaults.txt", &(lines.join("\n") + "\n"));
}

#[test]
fn every_default_is_explained() {
    let mut explained = false;
    for line in DEFAULTS.lines() {
        let line = line.trim();
        let is_key = !line.starts_with('#') && line.contains('=');
        // The levels of quality share one sentence.
        let shares = ["good", "poor"].iter().any(|key| line.starts_with(key));
        assert!(!is_key || explained || shares, "no comment above {line}");
        explained = line.starts_with('#');
    }
}

fn flatten(value: &Value, path: &str, lines: &mut Vec<String>) {
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(value, &path, lines);
            }
        }
        value => lines.push(format!("{path} = {value}")),
    }
}
