//! The rules of the design that a compiler does not check: who may import whom, where the outside may be touched, how long things may
//! grow, what lies at the top of the repository. Each rule is a function of one file's text; the last part shows each failing once.
//!
//! `CALLISTO_TIDY_ROOT=/another/checkout cargo test --test tidy` holds them over that one's `src/`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// The modules of `src/`, highest first: a row may use the rows under it, never its own row or one above.
/// `event` lies under the other declarations, because the configuration and the metrics name its kinds.
const ROWS: &[&[&str]] = &[
    &["main"],
    &["node", "load"],
    &["signal", "api", "web"],
    &["control"],
    &["call", "media", "ledger", "webhook", "record", "moderate", "cluster"],
    &["config", "metrics", "ticket"],
    &["event"],
    &["base"],
];

/// Words that only those who touch the outside may say.
const OUTSIDE_WORDS: &[(&str, &[&str])] = &[
    ("an I/O crate", &["tokio", "reqwest", "axum", "hyper", "redb", "quinn_udp", "socket2", "if_addrs", "getrandom"]),
    ("a socket", &["TcpListener", "TcpStream", "UdpSocket", "UnixListener", "UnixStream", "UnixDatagram"]),
    ("a lock", &["Mutex", "RwLock", "Condvar", "dashmap", "parking_lot"]),
];

/// Paths that only those who touch the outside may name; found anywhere in a longer path.
const OUTSIDE_PATHS: &[(&str, &[&str])] = &[
    ("files", &["std", "fs"]),
    ("threads", &["std", "thread"]),
    ("processes", &["std", "process"]),
    ("the environment", &["std", "env"]),
    ("a clock", &["Instant", "now"]),
    ("a clock", &["SystemTime", "now"]),
];

/// The one file of the server that names str0m's `Rtc`, and the one of the load generator, which is a client.
const RTC_FILES: &[&str] = &["src/media/peer.rs", "src/load/client.rs"];

/// Lines of code, without blank lines, comments and tests.
const LONGEST_FILE: usize = 600;
const LONGEST_FUNCTION: usize = 70;

/// What may lie at the top of the repository beside what `.gitignore` names.
const TOP_LEVEL: &[&str] = &[
    ".cargo",
    ".ci",
    ".clippy.toml",
    ".deny.toml",
    ".dockerignore",
    ".editorconfig",
    ".gitattributes",
    ".github",
    ".gitignore",
    ".rustfmt.toml",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "benches",
    "config",
    "deploy",
    "src",
    "tests",
];

#[test]
fn every_file_begins_with_what_it_is() {
    hold(header);
}

#[test]
fn modules_use_the_rows_under_their_own_only() {
    hold(layers);
}

#[test]
fn the_outside_is_touched_in_io_only() {
    hold(purity);
}

#[test]
fn one_file_names_rtc() {
    hold(rtc);
}

#[test]
fn nothing_is_left_for_later() {
    hold(markers);
}

#[test]
fn only_main_and_node_print() {
    hold(printing);
}

#[test]
fn files_and_functions_stay_short() {
    hold(lengths);
}

#[test]
fn the_top_level_holds_what_the_design_allows() {
    let ignored = fs::read_to_string(root().join(".gitignore")).unwrap_or_default();
    let entries = fs::read_dir(root()).expect("the repository is readable");
    let names = entries.map(|entry| entry.expect("its entries too").file_name().to_string_lossy().into_owned());
    let stray = stray_entries(names, &ignored);
    assert!(
        stray.is_empty(),
        "at the top of the repository, where DESIGN.md has no place for it: {}",
        stray.join(", ")
    );
}

/// With `autotests = false` a file that the manifest does not name never runs.
#[test]
fn every_test_and_bench_is_in_the_manifest() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest is readable");
    let mut found: Vec<String> = Vec::new();
    for folder in ["tests", "benches"] {
        for entry in fs::read_dir(root().join(folder)).into_iter().flatten() {
            let path = entry.expect("the folder is readable").path();
            let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
            if name.ends_with(".rs") {
                found.push(format!("{folder}/{name}"));
            } else if path.join("main.rs").is_file() {
                found.push(format!("{folder}/{name}/main.rs"));
            }
        }
    }
    let forgotten = forgotten_targets(&manifest, &found);
    assert!(forgotten.is_empty(), "not in Cargo.toml, so never run: {}", forgotten.join(", "));
}

/// One file under `src/`.
struct Source {
    /// From the root of the repository, with `/`.
    path: String,
    raw: String,
    /// Comments are blanks, the insides of strings and characters are quotes; lines are where they were.
    code: String,
    /// `code` without what is compiled for tests only.
    production: String,
}

impl Source {
    fn new(path: &str, raw: &str) -> Self {
        let code = scrub(raw);
        let production = without_tests(&code).0;
        Self { path: path.into(), raw: raw.into(), code, production }
    }

    /// `src/call/machine.rs` is `["call", "machine"]`, `src/call/mod.rs` is `["call"]`, `src/main.rs` is `["main"]`.
    fn module(&self) -> Vec<&str> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        path.trim_end_matches("/mod").split('/').collect()
    }

    fn may_touch_the_outside(&self) -> bool {
        let parts: Vec<&str> = self.path.split('/').collect();
        let (file, folders) = parts.split_last().expect("a path has a last part");
        *file == "io.rs" || folders.contains(&"io") || self.may_print()
    }

    fn may_print(&self) -> bool {
        ["src/main.rs", "src/node.rs"].contains(&self.path.as_str())
    }

    fn at(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

fn root() -> PathBuf {
    env::var_os("CALLISTO_TIDY_ROOT").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

#[track_caller]
fn hold(rule: fn(&Source) -> Vec<String>) {
    let sources = sources();
    assert!(!sources.is_empty(), "no file under {}", root().join("src").display());
    let broken: Vec<String> = sources.iter().flat_map(rule).collect();
    assert!(broken.is_empty(), "{} times:\n{}", broken.len(), broken.join("\n"));
}

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    rust_files(&root().join("src"), &mut paths);
    paths.sort();
    let read = |path: &PathBuf| {
        let name = path.strip_prefix(root()).expect("it lies under the root").to_string_lossy().replace('\\', "/");
        Source::new(&name, &fs::read_to_string(path).expect("sources are readable UTF-8"))
    };
    let mut sources: Vec<Source> = paths.iter().map(read).collect();
    let for_tests: Vec<String> = sources.iter().flat_map(test_modules).collect();
    for source in &mut sources {
        let stem = source.path.trim_end_matches(".rs").trim_end_matches("/mod").to_owned();
        if for_tests.iter().any(|module| stem == *module || stem.starts_with(&format!("{module}/"))) {
            source.production.clear();
        }
    }
    sources
}

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("src is readable") {
        let path = entry.expect("its entries too").path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The paths, without `.rs`, of the files that are modules of tests: `#[cfg(test)] mod sim;`.
fn test_modules(source: &Source) -> Vec<String> {
    let stem = source.path.trim_end_matches(".rs");
    let folder = ["/mod", "/lib", "/main"].iter().find_map(|name| stem.strip_suffix(name)).unwrap_or(stem);
    let (_, items) = without_tests(&source.code);
    let name = |item: &String| Some(item.trim().strip_prefix("mod ")?.strip_suffix(';')?.trim().to_owned());
    items.iter().filter_map(name).map(|name| format!("{folder}/{name}")).collect()
}

// The rules.

fn header(source: &Source) -> Vec<String> {
    let begins = source.raw.starts_with("//! ");
    if begins { Vec::new() } else { vec![source.at(1, "does not begin with `//! ` and what it is")] }
}

fn layers(source: &Source) -> Vec<String> {
    let own = source.module()[0];
    if own == "lib" {
        return Vec::new();
    }
    let Some(row) = row_of(own) else {
        return vec![source.at(1, format_args!("the design has no row for `{own}`"))];
    };
    let tokens = tokens(&source.production);
    let mut broken = Vec::new();
    for path in paths(&tokens) {
        let Some(used) = module_of_crate(source, &path.segments) else { continue };
        let verdict = match row_of(used) {
            _ if used == own => continue,
            Some(under) if under > row => continue,
            Some(_) => format!("`{own}` uses `{used}`, which is not under it"),
            None => format!("`{own}` uses `{used}` of the crate, for which the design has no row"),
        };
        broken.push(source.at(path.line, verdict));
    }
    broken
}

fn row_of(module: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&module))
}

/// Which module of this crate the path goes through, if it does.
fn module_of_crate<'a>(source: &Source, segments: &[&'a str]) -> Option<&'a str> {
    let up = segments.iter().take_while(|segment| **segment == "super").count();
    match segments.first()? {
        &"crate" | &"callisto" => segments.get(1).copied(),
        // Out of the file's own top module and down into another.
        &"super" if up >= source.module().len() => segments.get(up).copied().filter(|name| row_of(name).is_some()),
        _ => None,
    }
}

fn purity(source: &Source) -> Vec<String> {
    if source.may_touch_the_outside() {
        return Vec::new();
    }
    let tokens = tokens(&source.production);
    let mut broken = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        for (what, words) in OUTSIDE_WORDS {
            if words.contains(&token.text) {
                broken.push(source.at(token.line, format_args!("`{}` is {what}, outside io", token.text)));
            }
        }
        if token.text == "." && follows(&tokens, i, &["elapsed", "("]) {
            broken.push(source.at(token.line, "`.elapsed()` reads a clock, outside io"));
        }
    }
    for path in paths(&tokens) {
        for (what, named) in OUTSIDE_PATHS {
            if path.segments.windows(named.len()).any(|part| part == *named) {
                broken.push(source.at(path.line, format_args!("`{}` is {what}, outside io", path.segments.join("::"))));
            }
        }
    }
    broken
}

fn rtc(source: &Source) -> Vec<String> {
    let named = tokens(&source.production).into_iter().filter(|token| token.text == "Rtc");
    let told = named.map(|token| source.at(token.line, format_args!("`Rtc` is named in {} only", RTC_FILES[0])));
    if RTC_FILES.contains(&source.path.as_str()) { Vec::new() } else { told.collect() }
}

fn markers(source: &Source) -> Vec<String> {
    let mut broken = Vec::new();
    for (i, line) in source.raw.lines().enumerate() {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        if let Some(word) = words.find(|word| ["TODO", "FIXME", "XXX"].contains(word)) {
            broken.push(source.at(i + 1, word));
        }
    }
    broken.extend(macros(source, &source.code, &["dbg", "todo", "unimplemented"]));
    broken
}

fn printing(source: &Source) -> Vec<String> {
    if source.may_print() {
        return Vec::new();
    }
    macros(source, &source.production, &["println", "eprintln", "print", "eprint"])
}

/// Where one of the macros is called.
fn macros(source: &Source, code: &str, names: &[&str]) -> Vec<String> {
    let tokens = tokens(code);
    let called = |i: &usize| names.contains(&tokens[*i].text) && follows(&tokens, *i, &["!"]);
    let told = |i: usize| source.at(tokens[i].line, format_args!("{}!", tokens[i].text));
    (0..tokens.len()).filter(called).map(told).collect()
}

fn lengths(source: &Source) -> Vec<String> {
    let mut broken = Vec::new();
    let lines: Vec<bool> = source.production.lines().map(|line| !line.trim().is_empty()).collect();
    let count = |range: &[bool]| range.iter().filter(|code| **code).count();
    if count(&lines) > LONGEST_FILE {
        broken.push(source.at(1, format_args!("{} lines of code, more than {LONGEST_FILE}", count(&lines))));
    }
    for (name, first, last) in functions(&tokens(&source.production)) {
        let length = count(&lines[first - 1..last]);
        if length > LONGEST_FUNCTION {
            broken.push(source.at(first, format_args!("`{name}` has {length} lines, more than {LONGEST_FUNCTION}")));
        }
    }
    broken
}

fn stray_entries(names: impl Iterator<Item = String>, ignored: &str) -> Vec<String> {
    let ignored: BTreeSet<&str> = ignored.lines().map(|line| line.trim().trim_matches('/')).collect();
    let allowed =
        |name: &String| name == ".git" || ignored.contains(name.as_str()) || TOP_LEVEL.contains(&name.as_str());
    names.filter(|name| !allowed(name)).collect()
}

fn forgotten_targets(manifest: &str, found: &[String]) -> Vec<String> {
    let manifest: toml::Table = manifest.parse().expect("Cargo.toml is TOML");
    let targets = ["test", "bench"].iter().filter_map(|kind| manifest.get(*kind)?.as_array()).flatten();
    let declared: BTreeSet<&str> = targets.filter_map(|target| target.get("path")?.as_str()).collect();
    found.iter().filter(|path| !declared.contains(path.as_str())).cloned().collect()
}

// Reading Rust: just enough of it.

struct Token<'a> {
    text: &'a str,
    line: usize,
}

struct CodePath<'a> {
    segments: Vec<&'a str>,
    line: usize,
}

/// Blanks out comments and fills strings and characters with quotes, so that what is left is code.
fn scrub(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < chars.len() {
        let (end, filler) = match chars[i] {
            '/' if chars.get(i + 1) == Some(&'/') => (find(&chars, i, |rest| rest[0] == '\n'), Some(' ')),
            '/' if chars.get(i + 1) == Some(&'*') => (comment_end(&chars, i), Some(' ')),
            '"' => (string_end(&chars, i), Some('"')),
            '\'' => match character_end(&chars, i) {
                Some(end) => (end, Some('"')),
                None => (i + 1, None),
            },
            c if is_word(c) => {
                let end = find(&chars, i, |rest| !is_word(rest[0]));
                match raw_string_end(&chars, i, end) {
                    Some(end) => (end, Some('"')),
                    None => (end, None),
                }
            }
            _ => (i + 1, None),
        };
        let fill = |c: &char| filler.filter(|_| *c != '\n').unwrap_or(*c);
        out.extend(chars[i..end].iter().map(fill));
        i = end;
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The first place from `from` on where `is` holds of the rest, or the end.
fn find(chars: &[char], from: usize, is: impl Fn(&[char]) -> bool) -> usize {
    (from..chars.len()).find(|i| is(&chars[*i..])).unwrap_or(chars.len())
}

/// Block comments nest.
fn comment_end(chars: &[char], begin: usize) -> usize {
    let mut depth = 0;
    let mut i = begin;
    while i < chars.len() {
        if chars[i..].starts_with(&['/', '*']) {
            depth += 1;
            i += 2;
        } else if chars[i..].starts_with(&['*', '/']) {
            depth -= 1;
            i += 2;
            if depth == 0 {
                return i;
            }
        } else {
            i += 1;
        }
    }
    i
}

fn string_end(chars: &[char], begin: usize) -> usize {
    let mut i = begin + 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

/// `None`: the quote begins a lifetime.
fn character_end(chars: &[char], begin: usize) -> Option<usize> {
    if chars.get(begin + 1) == Some(&'\\') {
        Some((find(chars, begin + 3, |rest| rest[0] == '\'') + 1).min(chars.len()))
    } else {
        (chars.get(begin + 2) == Some(&'\'')).then_some(begin + 3)
    }
}

/// The end of `r#"…"#` and its kin, when the word that ends at `word_end` begins one.
fn raw_string_end(chars: &[char], begin: usize, word_end: usize) -> Option<usize> {
    let word: String = chars[begin..word_end].iter().collect();
    let quote = find(chars, word_end, |rest| rest[0] != '#');
    if !["r", "br", "cr"].contains(&word.as_str()) || chars.get(quote) != Some(&'"') {
        return None;
    }
    let mut close = vec!['"'];
    close.extend(&chars[word_end..quote]);
    Some((find(chars, quote + 1, |rest| rest.starts_with(&close)) + close.len()).min(chars.len()))
}

/// The code with each item under `#[cfg(test)]` blanked out, and those items.
fn without_tests(code: &str) -> (String, Vec<String>) {
    let mut chars: Vec<char> = code.chars().collect();
    let mut items = Vec::new();
    let mut from = 0;
    loop {
        let is_attribute = |rest: &[char]| {
            ["#[cfg(test)]", "#[cfg(all(test,"]
                .iter()
                .any(|start| start.chars().eq(rest.iter().take(start.len()).copied()))
        };
        let begin = find(&chars, from, is_attribute);
        if begin == chars.len() {
            return (chars.into_iter().collect(), items);
        }
        let item = after_attributes(&chars, begin);
        let end = item_end(&chars, item);
        items.push(chars[item..end].iter().collect());
        for c in chars[begin..end].iter_mut().filter(|c| **c != '\n') {
            *c = ' ';
        }
        from = end;
    }
}

/// The first place that is not part of an attribute.
fn after_attributes(chars: &[char], mut i: usize) -> usize {
    while chars.get(i) == Some(&'#') {
        let mut depth = 0;
        let closes = chars[i..].iter().position(|c| {
            depth += i32::from(*c == '[') - i32::from(*c == ']');
            *c == ']' && depth == 0
        });
        let after = closes.map_or(chars.len(), |closes| i + closes + 1);
        i = find(chars, after, |rest| !rest[0].is_whitespace());
    }
    i
}

/// An item ends with its body or with a semicolon; a field or a match arm with a comma.
fn item_end(chars: &[char], begin: usize) -> usize {
    const ITEMS: [&str; 12] =
        ["pub", "fn", "mod", "use", "impl", "struct", "enum", "const", "static", "async", "trait", "type"];
    let word: String = chars[begin..].iter().take_while(|c| is_word(**c)).collect();
    let is_item = ITEMS.contains(&word.as_str());
    let mut depth = 0;
    for (i, c) in chars.iter().enumerate().skip(begin) {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        let closed = depth == 0 && (*c == '}' || *c == ';' || (*c == ',' && !is_item));
        if closed || depth < 0 {
            return if depth < 0 { i } else { i + 1 };
        }
    }
    chars.len()
}

/// Words, `::`, and every other character by itself.
fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = match first {
                c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
                ':' if rest.starts_with("::") => 2,
                c => c.len_utf8(),
            };
            tokens.push(Token { text: &rest[..length], line: number + 1 });
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

fn follows(tokens: &[Token<'_>], i: usize, texts: &[&str]) -> bool {
    tokens.len() > i + texts.len() && tokens[i + 1..].iter().zip(texts).all(|(token, text)| token.text == *text)
}

/// Every path that is imported or written out: each leaf of a `use` with its whole path, and `a::b` wherever it stands.
fn paths<'a>(tokens: &[Token<'a>]) -> Vec<CodePath<'a>> {
    let mut paths = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        let imports = tokens[i].text == "use" && !follows(tokens, i, &["<"]);
        if imports {
            i = use_tree(tokens, i + 1, &[], &mut paths);
        } else if tokens[i].text.starts_with(is_word) && follows(tokens, i, &["::"]) {
            i = inline_path(tokens, i, &mut paths);
        } else {
            i += 1;
        }
    }
    paths
}

/// One tree of a `use` from `i` on; gives the place after it.
fn use_tree<'a>(tokens: &[Token<'a>], mut i: usize, before: &[&'a str], paths: &mut Vec<CodePath<'a>>) -> usize {
    let mut segments = before.to_vec();
    let line = tokens.get(i).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(i) {
        match token.text {
            "::" => i += 1,
            "{" => {
                i += 1;
                while i < tokens.len() && tokens[i].text != "}" {
                    i = use_tree(tokens, i, &segments, paths);
                    i += usize::from(i < tokens.len() && tokens[i].text == ",");
                }
                return i + 1;
            }
            "as" => i += 2,
            word if word.starts_with(is_word) || word == "*" => {
                segments.push(word);
                i += 1;
            }
            _ => break,
        }
    }
    paths.push(CodePath { segments, line });
    i
}

fn inline_path<'a>(tokens: &[Token<'a>], mut i: usize, paths: &mut Vec<CodePath<'a>>) -> usize {
    let line = tokens[i].line;
    let mut segments = vec![tokens[i].text];
    while follows(tokens, i, &["::"]) && tokens.get(i + 2).is_some_and(|token| token.text.starts_with(is_word)) {
        segments.push(tokens[i + 2].text);
        i += 2;
    }
    paths.push(CodePath { segments, line });
    i + 1
}

/// The name, first and last line of every function with a body.
fn functions<'a>(tokens: &[Token<'a>]) -> Vec<(&'a str, usize, usize)> {
    let mut functions = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        let Some(name) = tokens.get(i + 1).filter(|name| token.text == "fn" && name.text.starts_with(is_word)) else {
            continue;
        };
        let mut depth = 0;
        for token in &tokens[i..] {
            match token.text {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 && token.text == "}" {
                functions.push((name.text, tokens[i].line, token.line));
            }
            if depth == 0 && [";", "}"].contains(&token.text) {
                break;
            }
        }
    }
    functions
}

// Each rule fails once.

/// How often the rule finds something in `code` as the text of the file at `path`.
fn found(rule: fn(&Source) -> Vec<String>, path: &str, code: &str) -> usize {
    rule(&Source::new(path, code)).len()
}

#[test]
fn a_file_without_its_first_line_is_found() {
    assert_eq!(found(header, "src/call/seat.rs", "//! A seat.\n"), 0);
    for text in ["", "\n//! A seat.\n", "use std::fmt;\n", "//!\n", "// A seat.\n"] {
        assert_eq!(found(header, "src/call/seat.rs", text), 1, "{text:?}");
    }
}

#[test]
fn imports_that_go_up_or_sideways_are_found() {
    for (path, code, times) in [
        ("src/call/seat.rs", "use crate::base::UserId; use crate::event::Event; use crate::metrics::Metrics;", 0),
        ("src/call/seat.rs", "use crate::call::party::Party; use super::Party;", 0),
        ("src/call/seat.rs", "use crate::media::Command;", 1),
        ("src/call/seat.rs", "use crate::control::Input;", 1),
        ("src/call/seat.rs", "use crate::{base::UserId, media::{self, report::{Cause, Report}}};", 3),
        ("src/call/seat.rs", "use crate::{\n    base,\n    ledger::{\n        Turn,\n    },\n};", 1),
        ("src/call/seat.rs", "use crate::media as m;", 1),
        ("src/call/seat.rs", "use crate::*;", 1),
        ("src/call/seat.rs", "use super::super::webhook::Endpoint;", 1),
        ("src/call/mod.rs", "use super::webhook::Endpoint;", 1),
        ("src/call/seat.rs", "use super::event::Event;", 0),
        ("src/call/seat.rs", "fn f(c: crate::media::Command) -> Vec<crate::ledger::Turn> {}", 2),
        ("src/call/seat.rs", "macro_rules! m { () => { $crate::media::sim() } }", 1),
        ("src/call/seat.rs", "use crate::nowhere::X;", 1),
        ("src/base/id.rs", "use crate::event::EventKind;", 1),
        ("src/event/kind.rs", "use crate::config::EventFilter;", 1),
        ("src/config/mod.rs", "use crate::event::EventKind;", 0),
        ("src/config/mod.rs", "use crate::metrics::Metrics;", 1),
        ("src/control/io.rs", "use crate::call::Call; use crate::media::Command;", 0),
        ("src/control/io.rs", "use crate::signal::Session;", 1),
        ("src/api/io.rs", "use crate::web::Page;", 1),
        ("src/node.rs", "use crate::api; use crate::signal;", 0),
        ("src/node.rs", "use crate::main;", 1),
        ("src/main.rs", "use callisto::node; fn main() { callisto::config::load(); }", 0),
        ("src/helpers/mod.rs", "", 1),
        ("src/lib.rs", "pub use crate::media::Shard;", 0),
    ] {
        assert_eq!(found(layers, path, code), times, "{path}: {code}");
    }
}

#[test]
fn comments_strings_and_tests_import_nothing() {
    for code in [
        "// use crate::media::X;\n/// [`X`](crate::media::X)\n/* crate::media /* crate::media */ crate::media */",
        r##"const S: &str = "crate::media::X"; const R: &str = r#"a "quoted" crate::media::X"#; const B: &[u8] = b"\"crate::media";"##,
        "#[cfg(test)]\nmod tests {\n    use crate::media::X;\n    fn f() { { crate::media::y() } }\n}\n",
        "#[cfg(test)]\n#[derive(Debug)]\nstruct S { x: crate::media::X }",
        "#[cfg(test)]\nuse crate::media::X;",
        "#[cfg(all(test, unix))]\nfn f<A, B>(x: [u8; 2]) -> crate::media::X { g() }",
        "pub(crate) fn crate_wide() {}",
    ] {
        assert_eq!(found(layers, "src/call/seat.rs", code), 0, "{code}");
    }
    for code in [
        "#[cfg(test)]\nmod tests { fn f() {} }\nuse crate::media::X;",
        "#[cfg(test)]\nmod tests;\nuse crate::media::X;",
        "const Q: char = '\"'; use crate::media::X; const R: char = '\\''; const S: &str = \"'\";",
        "fn f<'a>(x: &'a str) {} use crate::media::X;",
        "const R: &str = r\"\\\"; use crate::media::X;",
        "const S: &str = \"// no comment\"; use crate::media::X;",
        "struct S { #[cfg(test)] a: u8, b: crate::media::X }",
    ] {
        assert_eq!(found(layers, "src/call/seat.rs", code), 1, "{code}");
    }
}

#[test]
fn the_outside_is_found_where_it_does_not_belong() {
    for code in [
        "use tokio::sync::mpsc;",
        "async fn f() { tokio::select! {} }",
        "use std::net::UdpSocket;",
        "use std::net::{IpAddr, TcpListener};",
        "fn f(s: &std::net::TcpStream) {}",
        "use std::fs;",
        "use std::{fmt, fs::File};",
        "fn f() { std::fs::read(p); }",
        "use std::thread::JoinHandle;",
        "fn f() { std::thread::yield_now(); }",
        "fn f() -> Instant { Instant::now() }",
        "fn f() -> Instant { std::time::Instant::now() }",
        "fn f() -> SystemTime { SystemTime::now() }",
        "fn f(t: Instant) -> Duration { t.elapsed() }",
        "use std::sync::{Arc, Mutex};",
        "struct S { x: RwLock<u8> }",
        "use reqwest::Client;",
        "use axum::Router;",
        "use redb::Database;",
        "use dashmap::DashMap;",
        "fn f() { getrandom::fill(&mut b); }",
        "fn f() { std::env::var(\"X\"); }",
    ] {
        assert_eq!(found(purity, "src/call/seat.rs", code), 1, "{code}");
        for free in ["src/call/io.rs", "src/media/io/udp.rs", "src/media/io/tcp/frame.rs", "src/node.rs", "src/main.rs"]
        {
            assert_eq!(found(purity, free, code), 0, "{free}: {code}");
        }
        assert_eq!(found(purity, "src/call/seat.rs", &format!("#[cfg(test)]\nmod tests {{ {code} }}")), 0, "{code}");
    }
}

#[test]
fn values_are_not_the_outside() {
    for code in [
        "use std::net::{IpAddr, SocketAddr};",
        "use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};",
        "fn f(now: Instant) -> Instant { now }",
        "use std::sync::Arc; use std::sync::atomic::AtomicU64; use std::io::Write;",
        "const V: &str = env!(\"CARGO_PKG_VERSION\");",
        "/// Not tokio: a Mutex would do.\nfn f() {}",
    ] {
        assert_eq!(found(purity, "src/call/seat.rs", code), 0, "{code}");
    }
}

#[test]
fn rtc_elsewhere_is_found() {
    assert_eq!(found(rtc, "src/media/shard.rs", "fn f(rtc: &mut str0m::Rtc) {}"), 1);
    assert_eq!(found(rtc, "src/media/shard.rs", "use str0m::{Input, Rtc};"), 1);
    assert_eq!(found(rtc, "src/media/shard.rs", "use str0m::RtcError;"), 0);
    assert_eq!(found(rtc, RTC_FILES[0], "use str0m::Rtc;"), 0);
}

#[test]
fn what_is_left_for_later_is_found() {
    for text in
        ["// TODO: more", "/* FIXME */", "fn f() { dbg!(x) }", "fn f() { todo!() }", "fn f() { unimplemented!(); }"]
    {
        assert_eq!(found(markers, "src/call/seat.rs", text), 1, "{text}");
        assert_eq!(found(markers, "src/call/seat.rs", &format!("#[cfg(test)]\nmod tests {{\n{text}\n}}")), 1, "{text}");
    }
    assert_eq!(found(markers, "src/call/seat.rs", "fn todo() { let MASTODON = \"dbg!\"; }"), 0);
}

#[test]
fn printing_is_found() {
    for text in ["fn f() { println!(\"x\") }", "fn f() { eprintln!(); }", "fn f() { std::print!(\"x\") }"] {
        assert_eq!(found(printing, "src/call/io.rs", text), 1, "{text}");
        assert_eq!(found(printing, "src/node.rs", text), 0, "{text}");
        assert_eq!(found(printing, "src/main.rs", text), 0, "{text}");
    }
}

#[test]
fn what_is_too_long_is_found() {
    let function = |lines: usize| format!("fn f() {{\n{}}}\n", "    g();\n\n    // why\n".repeat(lines - 2));
    assert_eq!(found(lengths, "src/call/seat.rs", &function(70)), 0);
    assert_eq!(found(lengths, "src/call/seat.rs", &function(71)), 1);
    assert_eq!(found(lengths, "src/call/seat.rs", &format!("impl S {{\n    pub async {}}}", function(71))), 1);
    assert_eq!(found(lengths, "src/call/seat.rs", &format!("#[cfg(test)]\nmod tests {{\n{}}}", function(71))), 0);
    let long_signature = format!("fn f(\n{}) -> [u8; 2] {{\n}}", "    a: u8,\n".repeat(70));
    assert_eq!(found(lengths, "src/call/seat.rs", &long_signature), 1);
    assert_eq!(found(lengths, "src/call/seat.rs", "trait T { fn f(); }"), 0);
    let file = |lines: usize| "const X: u8 = 1;\n\n/// Why.\n".repeat(lines);
    assert_eq!(found(lengths, "src/call/seat.rs", &file(600)), 0);
    assert_eq!(found(lengths, "src/call/seat.rs", &file(601)), 1);
}

#[test]
fn files_of_tests_are_known() {
    let modules = |path: &str| {
        test_modules(&Source::new(path, "#[cfg(test)]\nmod sim;\nmod slots;\n#[cfg(test)]\nmod tests { }"))
    };
    assert_eq!(modules("src/media/mod.rs"), ["src/media/sim"]);
    assert_eq!(modules("src/media/shard.rs"), ["src/media/shard/sim"]);
    assert_eq!(modules("src/lib.rs"), ["src/sim"]);
}

#[test]
fn stray_files_at_the_top_are_found() {
    let names = ["src", ".git", "target", "data", "NOTES.md", "scripts", "Cargo.toml"].map(str::to_owned);
    assert_eq!(stray_entries(names.into_iter(), "/target\n/data\n"), ["NOTES.md", "scripts"]);
}

#[test]
fn forgotten_tests_are_found() {
    let manifest =
        "[[test]]\nname = \"sim\"\npath = \"tests/sim/main.rs\"\n[[bench]]\nname = \"b\"\npath = \"benches/b.rs\"\n";
    let found = ["tests/sim/main.rs", "tests/tidy.rs", "benches/b.rs"].map(str::to_owned);
    assert_eq!(forgotten_targets(manifest, &found), ["tests/tidy.rs"]);
}
