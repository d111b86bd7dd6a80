//! Where in a file's text a key stands.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The line, from 1, of the innermost part of `path` that the text has; `path` is dotted, with list positions in brackets:
/// `webhooks.endpoints[0].url`.
pub fn line_of(text: &str, path: &str) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let mut at = None;
    let mut table = Some(document.get_ref());
    for part in path.split('.') {
        let (name, positions) = part.split_once('[').unwrap_or((part, ""));
        let Some((key, value)) = table.and_then(|table| table.iter().find(|(key, _)| key.get_ref() == name)) else {
            break;
        };
        at = Some(key.span().start);
        let mut value: &Spanned<DeValue> = value;
        for position in positions.split(['[', ']']).filter_map(|position| position.parse::<usize>().ok()) {
            let DeValue::Array(items) = value.get_ref() else { break };
            let Some(item) = items.get(position) else { break };
            at = Some(item.span().start);
            value = item;
        }
        table = match value.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => None,
        };
    }
    at.map(|at| text[..at].lines().count() + usize::from(text[..at].ends_with('\n') || at == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
data_dir = 'd'

[http]
# a comment
public = '127.0.0.1:0'
pubic = 1
[[webhooks.endpoints]]
url = 'a'
[[webhooks.endpoints]]
url = 'b'
colour = 'red'
[calls]
inline = { a = 1 }
";

    #[test]
    fn the_line_is_that_of_the_innermost_key_there_is() {
        for (path, line) in [
            ("data_dir", Some(1)),
            ("http", Some(3)),
            ("http.public", Some(5)),
            ("http.pubic", Some(6)),
            ("http.nothing", Some(3)),
            ("webhooks.endpoints[1].url", Some(10)),
            ("webhooks.endpoints[1].colour", Some(11)),
            ("webhooks.endpoints[1].nothing", Some(9)),
            ("webhooks.endpoints[7].url", Some(7)),
            ("calls.inline.a", Some(13)),
            ("nothing", None),
            ("", None),
        ] {
            assert_eq!(line_of(TEXT, path), line, "{path}");
        }
    }
}
