//! The embedded files, each with the path, type and tag under which it is served.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

const SDK: &[&str] = &[
    include_str!("sdk/types.js"),
    include_str!("sdk/errors.js"),
    include_str!("sdk/events.js"),
    include_str!("sdk/account.js"),
    include_str!("sdk/signal.js"),
    include_str!("sdk/views.js"),
    include_str!("sdk/capture.js"),
    include_str!("sdk/encodings.js"),
    include_str!("sdk/media.js"),
    include_str!("sdk/call.js"),
    include_str!("sdk/callkit.js"),
];

/// One file of the page or the SDK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asset {
    /// Where it is served.
    pub path: &'static str,
    pub content_type: &'static str,
    source: Source,
    pub reach: Reach,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    File(&'static str),
    /// ES modules that import only each other, each after those it imports; what the last one exports is exported.
    Modules(&'static [&'static str]),
}

/// Which pages may load a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Those of this server.
    SameOrigin,
    /// The console's own.
    Operator,
    /// Any: a web app on its own origin imports the SDK from here.
    AnyOrigin,
}

impl Asset {
    /// Every file, one for each path.
    pub const ALL: &[Asset] = &[
        Self::page("/", HTML, include_str!("page/index.html")),
        Self::page("/page/style.css", CSS, include_str!("page/style.css")),
        Self::page("/page/main.js", JS, include_str!("page/main.js")),
        Self::page("/page/tiles.js", JS, include_str!("page/tiles.js")),
        Self::page("/page/devices.js", JS, include_str!("page/devices.js")),
        Self::page("/page/events.js", JS, include_str!("page/events.js")),
        Self::page("/page/ring.js", JS, include_str!("page/ring.js")),
        Self::page("/favicon.svg", SVG, include_str!("page/favicon.svg")),
        Asset { path: "/sdk.js", content_type: JS, source: Source::Modules(SDK), reach: Reach::AnyOrigin },
    ];

    /// The files of the console.
    pub const CONSOLE: &[Asset] = &[
        Self::console("/console", HTML, include_str!("console/index.html")),
        Self::console("/console/style.css", CSS, include_str!("console/style.css")),
        Self::console("/console/main.js", JS, include_str!("console/main.js")),
        Self::console("/console/api.js", JS, include_str!("console/api.js")),
        Self::console("/console/calls.js", JS, include_str!("console/calls.js")),
        Self::console("/console/chart.js", JS, include_str!("console/chart.js")),
        Self::console("/console/dialogs.js", JS, include_str!("console/dialogs.js")),
        Self::console("/console/dom.js", JS, include_str!("console/dom.js")),
        Self::console("/console/format.js", JS, include_str!("console/format.js")),
        Self::console("/console/metrics.js", JS, include_str!("console/metrics.js")),
        Self::console("/console/overview.js", JS, include_str!("console/overview.js")),
        Self::console("/console/poll.js", JS, include_str!("console/poll.js")),
        Self::console("/console/signin.js", JS, include_str!("console/signin.js")),
        Self::console("/console/webhooks.js", JS, include_str!("console/webhooks.js")),
        Self::console("/console/vendor/preact.js", JS, include_str!("console/vendor/preact.js")),
        Self::console("/console/favicon.svg", SVG, include_str!("page/favicon.svg")),
    ];

    const fn console(path: &'static str, content_type: &'static str, text: &'static str) -> Self {
        Self { path, content_type, source: Source::File(text), reach: Reach::Operator }
    }

    const fn page(path: &'static str, content_type: &'static str, text: &'static str) -> Self {
        Self { path, content_type, source: Source::File(text), reach: Reach::SameOrigin }
    }

    /// What is served.
    pub fn body(&self) -> Cow<'static, str> {
        match self.source {
            Source::File(text) => Cow::Borrowed(text),
            Source::Modules(parts) => Cow::Owned(join(parts)),
        }
    }

    /// A strong entity tag (RFC 9110 §8.8.3): it differs when the content does.
    pub fn etag(&self) -> String {
        let digest = Sha256::digest(self.body().as_bytes());
        format!("\"{}\"", BASE64_URL_SAFE_NO_PAD.encode(&digest[..12]))
    }
}

/// Several modules as one, so that the SDK stays a single file to import or copy: imports between them fall away, and so does the word
/// `export` in all but the last. Both stand at the beginning of a line.
fn join(parts: &[&str]) -> String {
    let mut joined = String::with_capacity(parts.iter().map(|part| part.len() + 1).sum());
    for (index, part) in parts.iter().enumerate() {
        let last = index + 1 == parts.len();
        for line in part.lines().filter(|line| !line.starts_with("import ")) {
            joined.push_str(if last { line } else { line.strip_prefix("export ").unwrap_or(line) });
            joined.push('\n');
        }
        joined.push('\n');
    }
    joined
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::event::EventKind;

    const SITES: [&[Asset]; 2] = [Asset::ALL, Asset::CONSOLE];

    #[test]
    fn every_file_has_its_own_path_and_tag() {
        for site in SITES {
            let paths: BTreeSet<_> = site.iter().map(|asset| asset.path).collect();
            let tags: BTreeSet<_> = site.iter().map(Asset::etag).collect();
            assert_eq!((paths.len(), tags.len()), (site.len(), site.len()));
        }
    }

    /// What the content security policy would block, and what would leave the machine, must not be in the files.
    #[test]
    fn files_load_nothing_from_elsewhere_and_nothing_inline() {
        for asset in SITES.into_iter().flatten() {
            for forbidden in
                ["<script>", "<style", " style=", " onclick=", "src=\"http", "href=\"http", "url(http", "@import"]
            {
                assert!(!asset.body().contains(forbidden), "{}: {forbidden}", asset.path);
            }
        }
    }

    /// User text reaches the console; none of its own modules has a way to make HTML of it.
    #[test]
    fn the_console_makes_no_html_of_text() {
        for asset in Asset::CONSOLE.iter().filter(|asset| !asset.path.contains("/vendor/")) {
            for forbidden in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"]
            {
                assert!(!asset.body().contains(forbidden), "{}: {forbidden}", asset.path);
            }
        }
    }

    #[test]
    fn joined_modules_export_what_the_last_one_does() {
        let joined = join(&["// a\nexport const A = 1;", "import { A } from \"./a.js\";\nexport const B = A;"]);
        assert_eq!(joined, "// a\nconst A = 1;\n\nexport const B = A;\n\n");
    }

    #[test]
    fn the_sdk_is_one_module_with_the_contracts_names() {
        let body = Asset::ALL.iter().find(|asset| asset.path == "/sdk.js").expect("the SDK is served").body();
        let exports: Vec<_> = body.lines().filter(|line| line.starts_with("export ")).collect();
        assert!(!body.lines().any(|line| line.starts_with("import ")));
        assert_eq!(
            exports,
            [
                "export class CallKit {",
                "export const TUICallKit = new CallKit();",
                "export { TUICallEvent };",
                "export default TUICallKit;"
            ]
        );
        let ours = |kind: &&EventKind| {
            matches!(kind, EventKind::CallPlaced | EventKind::UserInviting | EventKind::DeliveryGap)
        };
        for kind in EventKind::ALL.iter().filter(|kind| !ours(kind)) {
            assert!(body.contains(&format!("  {kind}: \"{kind}\",\n")), "{kind}");
        }
    }

    #[test]
    fn every_import_and_reference_is_served() {
        for (site, folder) in [(Asset::ALL, "/page/"), (Asset::CONSOLE, "/console/")] {
            let served: BTreeSet<_> = site.iter().map(|asset| asset.path).collect();
            let mut seen = 0;
            for asset in site {
                for path in references(&asset.body(), folder) {
                    seen += 1;
                    assert!(served.contains(path.as_str()), "{} refers to {path}", asset.path);
                }
            }
            assert!(seen >= 6, "only {seen} references found");
        }
    }

    /// The paths that a file names, those of its neighbours in `folder`.
    fn references(body: &str, folder: &str) -> Vec<String> {
        let starts = ["from \"", "src=\"", "href=\"", "src: \""];
        let places = starts.iter().flat_map(|start| body.match_indices(start).map(|(at, _)| at + start.len()));
        let targets = places.map(|at| body[at..].split('"').next().expect("split yields at least one part"));
        let paths = targets.filter(|target| !target.contains('$')).map(|target| match target.strip_prefix("./") {
            Some(name) => format!("{folder}{name}"),
            None => target.to_owned(),
        });
        paths.filter(|path| path.starts_with('/')).collect()
    }
}
