//! What others write against, compared with what it was: a change shows as a difference in `tests/golden/files`.
//! `CALLISTO_BLESS=1 cargo test --test golden` takes what there is as right.

mod api;
mod defaults;
mod messages;
mod requests;

use std::fs;
use std::path::Path;

/// Compares a text with the kept one of that name.
fn expect_as_kept(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/files").join(name);
    if std::env::var_os("CALLISTO_BLESS").is_some() {
        fs::write(&path, text).expect("the kept text can be written");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    if let Some(line) = first_difference(&kept, text) {
        let at = |text: &str| text.lines().nth(line).unwrap_or("(nothing)").to_owned();
        panic!(
            "{name} differs from what is kept, first in line {}:\n  kept: {}\n  is:   {}\nCALLISTO_BLESS=1 takes it as right.",
            line + 1,
            at(&kept),
            at(text),
        );
    }
}

fn first_difference(a: &str, b: &str) -> Option<usize> {
    let same = a.lines().zip(b.lines()).take_while(|(a, b)| a == b).count();
    (a != b).then_some(same)
}

#[test]
fn a_difference_is_found_where_it_is() {
    assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
    assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some(1));
    assert_eq!(first_difference("a\n", "a\nb\n"), Some(1));
    assert_eq!(first_difference("", "a"), Some(0));
}
