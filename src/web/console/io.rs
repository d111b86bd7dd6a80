//! The console's files and its sign-in.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};

use super::{Proof, SignedIn};
use crate::control::io::{Clock, entropy};
use crate::ticket::{ConsoleKey, OpenedLinks};
use crate::web::admit::{is_json, same_origin};
use crate::web::asset::Asset;
use crate::web::io::{caller, files, no_store, problem};

/// A link or an API key; anything longer is neither.
const MAX_PROOF: usize = 2048;

/// What the sign-in needs to know.
pub struct Console {
    /// What signs passes at the moment.
    pub key: Box<dyn Fn() -> ConsoleKey + Send + Sync>,
    /// Whether this is the API key.
    pub is_api_key: Box<dyn Fn(&str) -> bool + Send + Sync>,
    pub clock: Clock,
}

struct Gate {
    console: Console,
    opened: Mutex<OpenedLinks>,
}

/// `/console` of the admin listener.
pub fn router(console: Console) -> Router {
    let gate = Arc::new(Gate { console, opened: Mutex::default() });
    files(Asset::CONSOLE)
        .route("/", get(|| async { Redirect::to("/console") }))
        .route("/console/", get(|| async { Redirect::to("/console") }))
        .route("/console/login", post(log_in).layer(DefaultBodyLimit::max(MAX_PROOF)).with_state(gate))
}

async fn log_in(State(gate): State<Arc<Gate>>, headers: HeaderMap, body: Bytes) -> Response {
    // A page of another site has no proof, but it could try to spend one that it overheard.
    let caller = caller(None, &headers);
    if !same_origin(caller) || !is_json(caller.content_type) {
        return problem(StatusCode::FORBIDDEN, "crossOrigin", "only the console's own page signs in");
    }
    let proof = match serde_json::from_slice(&body) {
        Ok(proof) => proof,
        Err(error) => return problem(StatusCode::BAD_REQUEST, "invalidBody", &error.to_string()),
    };
    match gate.check(&proof) {
        Ok(()) => {
            tracing::info!(by = proof.name(), "someone signed in to the console");
            let Console { key, clock, .. } = &gate.console;
            no_store(Json(SignedIn::from(key().pass(clock.now(), entropy()))).into_response())
        }
        Err(why) => {
            tracing::warn!(by = proof.name(), "a sign-in to the console was refused");
            problem(StatusCode::UNAUTHORIZED, "unauthorized", why)
        }
    }
}

impl Gate {
    fn check(&self, proof: &Proof) -> Result<(), &'static str> {
        let Console { key, is_api_key, clock } = &self.console;
        match proof {
            Proof::Link(link) => {
                let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
                let good = opened.open(&key(), link, clock.now());
                good.then_some(()).ok_or("This link was used, or is too old: `callisto console` prints a new one.")
            }
            Proof::ApiKey(given) => is_api_key(given).then_some(()).ok_or("This is not the server's API key."),
        }
    }
}

impl Proof {
    fn name(&self) -> &'static str {
        match self {
            Proof::Link(_) => "link",
            Proof::ApiKey(_) => "API key",
        }
    }
}

#[cfg(test)]
mod tests {
    use reqwest::{Client, RequestBuilder};
    use serde_json::{Value, json};

    use super::*;

    struct Site {
        base: String,
        client: Client,
        key: ConsoleKey,
        clock: Clock,
    }

    impl Site {
        async fn open() -> Self {
            let (key, clock) = (ConsoleKey::new("the key"), Clock::start());
            let is_api_key = Box::new(|given: &str| given == "the key");
            let own = key.clone();
            let app = router(Console { key: Box::new(move || own.clone()), is_api_key, clock });
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
            let base = format!("http://{}", listener.local_addr().expect("it is bound"));
            tokio::spawn(async move { axum::serve(listener, app).await });
            let client = Client::builder().no_proxy().build().expect("a client needs nothing");
            Self { base, client, key, clock }
        }

        fn log_in(&self, body: Value) -> RequestBuilder {
            let request = self.client.post(format!("{}/console/login", self.base));
            request.header("content-type", "application/json").body(body.to_string())
        }
    }

    async fn outcome(request: RequestBuilder) -> (u16, Value) {
        let response = request.send().await.expect("the server answers");
        let status = response.status().as_u16();
        assert_eq!(response.headers()["cache-control"], "no-store");
        (status, serde_json::from_slice(&response.bytes().await.expect("a body")).expect("JSON"))
    }

    #[tokio::test]
    async fn every_file_is_served_under_a_policy_that_lets_no_text_become_a_script() {
        let site = Site::open().await;
        for asset in Asset::CONSOLE {
            let response = site.client.get(format!("{}{}", site.base, asset.path)).send().await.unwrap();
            assert_eq!(response.status(), 200, "{}", asset.path);
            assert_eq!(response.headers()["content-type"], asset.content_type);
            let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
            for part in ["default-src 'none'", "script-src 'self'", "require-trusted-types-for 'script'"] {
                assert!(policy.contains(part), "{policy}");
            }
            assert!(!policy.contains("unsafe"), "{policy}");
        }
    }

    #[tokio::test]
    async fn a_link_signs_in_once_and_the_api_key_always() {
        let site = Site::open().await;
        let link = site.key.link(site.clock.now(), [7; 10]);
        let (status, signed_in) = outcome(site.log_in(json!({"link": link}))).await;
        assert_eq!(status, 200);
        assert!(site.key.admits(signed_in["pass"].as_str().unwrap(), site.clock.now()));
        assert_eq!(outcome(site.log_in(json!({"link": link}))).await.0, 401);
        for _ in 0..2 {
            assert_eq!(outcome(site.log_in(json!({"apiKey": "the key"}))).await.0, 200);
        }
    }

    #[tokio::test]
    async fn other_pages_and_other_proofs_are_refused() {
        let site = Site::open().await;
        let good = || site.log_in(json!({"apiKey": "the key"}));
        for (request, status) in [
            (good().header("origin", "http://evil.example"), 403),
            (good().header("sec-fetch-site", "cross-site"), 403),
            (site.log_in(json!({"apiKey": "another"})), 401),
            (site.log_in(json!({"link": "link.1.x.y"})), 401),
            (site.log_in(json!({"apiKey": "the key", "more": 1})), 400),
            (site.log_in(json!({})), 400),
        ] {
            assert_eq!(outcome(request).await.0, status);
        }
        let form = site.client.post(format!("{}/console/login", site.base)).body("{\"apiKey\":\"the key\"}");
        assert_eq!(outcome(form).await.0, 403, "what a form of another site could send");
    }
}
