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
    // One comment may stand above several keys in a row.
    let mut explained = false;
    for line in DEFAULTS.lines() {
        let line = line.trim();
        let is_key = !line.starts_with('#') && line.contains('=');
        assert!(!is_key || explained, "no comment above {line}");
        explained = line.starts_with('#') || is_key;
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
