//! Webhook endpoints as an operator and a backend handle them: over REST, for a single call, across restarts.

use axum::http::StatusCode;
use reqwest::Method;
use serde_json::{Value, json};

use crate::api::{Caller, fail, succeed};
use crate::backend::{Answer, Backend, names};
use crate::delivery::{CANCELLED, cancelled_call};
use crate::rpc::Client;
use crate::server::{Server, Site};

/// Makes an endpoint over the API.
async fn made(caller: &Caller, body: Value) -> (String, String) {
    let made = succeed(caller.post("/v1/webhooks", &body)).await;
    let text = |key: &str| made[key].as_str().expect("it is text").to_owned();
    assert_eq!((made["origin"].as_str(), made["state"].as_str()), (Some("api"), Some("active")), "{made}");
    (text("id"), text("secret"))
}

fn patch(caller: &Caller, id: &str, body: &Value) -> reqwest::RequestBuilder {
    let request = caller.request(Method::PATCH, &format!("/v1/webhooks/{id}"));
    request.header("content-type", "application/json").body(body.to_string())
}

/// Asks until it is as wished: what delivery and its record show follows what happens at a distance.
pub async fn until(caller: &Caller, path: &str, wished: impl Fn(&Value) -> bool) -> Value {
    let begun = std::time::Instant::now();
    loop {
        let seen = caller.get(path).await;
        if wished(&seen) {
            return seen;
        }
        assert!(begun.elapsed() < crate::DEADLINE, "{path} stays {seen}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Places a call with an endpoint of its own and cancels it.
async fn call_with_webhook(server: &Server, site: &Site, backend: &Backend) -> String {
    let mut alice = Client::log_in(server, site, "alice").await;
    let webhook = json!({"url": backend.url(), "secret": backend.secret()});
    let placed = alice.ask("call", json!({"userIdList": ["bob"], "callMediaType": 0, "webhook": webhook})).await;
    let call = placed["callId"].as_str().expect("a call id").to_owned();
    alice.ask("hangup", json!({"callId": call})).await;
    alice.expect_all(&call, &["onCallCancelled"]).await;
    call
}

#[tokio::test]
async fn an_endpoint_of_the_api_gets_calls_and_survives_a_kill() {
    let backend = Backend::start().await;
    let site = Site::new(&[]);
    let server = site.serve().await;
    let caller = Caller::new(&server, &site);
    let (id, secret) = made(&caller, json!({"url": backend.url()})).await;
    assert!(secret.starts_with("whsec_") && id.starts_with("wh_"));
    backend.trust(&secret);
    let first = cancelled_call(&server, &site).await;
    assert_eq!(names(&backend.whole_call(&first).await), CANCELLED);
    server.kill().await;
    let server = site.serve().await;
    let caller = Caller::new(&server, &site);
    let second = cancelled_call(&server, &site).await;
    assert_eq!(names(&backend.whole_call(&second).await), CANCELLED);
    let path = format!("/v1/webhooks/{id}");
    let shown =
        until(&caller, &path, |shown| shown["pendingEvents"] == 0 && shown["counts"]["delivered"].as_u64() >= Some(2))
            .await;
    assert_eq!(shown["lastReply"]["status"], 204);
    assert!(!shown.to_string().contains("whsec_"), "the secret is shown once");
    let narrowed = succeed(patch(&caller, &id, &json!({"events": ["onCallCancelled"]}))).await;
    assert_eq!(narrowed["events"], json!(["onCallCancelled"]));
    let removed = caller.request(Method::DELETE, &path).send().await.expect("an answer");
    assert_eq!(removed.status(), StatusCode::NO_CONTENT);
    assert_eq!(fail(caller.request(Method::GET, &path)).await, (404, "noSuchWebhook".into()));
}

#[tokio::test]
async fn a_configured_endpoint_is_shown_and_only_disabled_over_the_api() {
    let backend = Backend::start().await;
    let site = Site::new(&[&backend]);
    let server = site.serve().await;
    let caller = Caller::new(&server, &site);
    let list = caller.get("/v1/webhooks").await;
    let id = list["items"][0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(list["items"][0]["origin"], "configured");
    let url = patch(&caller, &id, &json!({"url": "https://elsewhere.example/"}));
    assert_eq!(fail(url).await, (409, "webhookConfigured".into()));
    let path = format!("/v1/webhooks/{id}");
    assert_eq!(fail(caller.request(Method::DELETE, &path)).await, (409, "webhookConfigured".into()));
    let disabled = succeed(patch(&caller, &id, &json!({"enabled": false}))).await;
    assert_eq!((disabled["state"].as_str(), disabled["disabled"]["by"].as_str()), (Some("disabled"), Some("operator")));
    server.kill().await;
    let server = site.serve().await;
    let caller = Caller::new(&server, &site);
    assert_eq!(caller.get(&path).await["enabled"], false);
    let enabled = succeed(patch(&caller, &id, &json!({"enabled": true}))).await;
    assert_eq!(enabled["disabled"], Value::Null);
}

#[tokio::test]
async fn bad_endpoints_are_refused_with_a_reason() {
    let site = Site::new(&[]);
    let server = site.serve().await;
    let caller = Caller::new(&server, &site);
    for (body, status, code) in [
        (json!({"url": "http://10.0.0.1/"}), 422, "addressRefused"),
        (json!({"url": "http://[::ffff:192.168.0.1]/"}), 422, "addressRefused"),
        (json!({"url": "http://[64:ff9b::a00:1]/"}), 422, "addressRefused"),
        (json!({"url": "http://[2002:a00:1::1]/"}), 422, "addressRefused"),
        (json!({"url": "http://169.254.169.254/latest"}), 422, "addressRefused"),
        (json!({"url": "ftp://a.example/"}), 422, "invalidBody"),
        (json!({"url": "nowhere"}), 422, "invalidBody"),
        (json!({"url": "https://a.example/", "secret": "short"}), 422, "invalidBody"),
        (json!({"url": "https://a.example/", "events": ["onNothing"]}), 422, "invalidBody"),
        (json!({"url": "https://a.example/", "more": 1}), 422, "invalidBody"),
        (json!({}), 422, "invalidBody"),
    ] {
        assert_eq!(fail(caller.post("/v1/webhooks", &body)).await, (status, code.to_owned()), "{body}");
    }
    assert_eq!(caller.get("/v1/webhooks").await["items"], json!([]));
    for path in ["/v1/webhooks/x/test", "/v1/webhooks/x/replay", "/v1/webhooks/x/rotate"] {
        assert_eq!(fail(caller.post(path, &json!({}))).await, (404, "noSuchWebhook".into()), "{path}");
    }
}

#[tokio::test]
async fn both_secrets_sign_while_one_is_being_replaced() {
    let backend = Backend::start().await;
    let site = Site::new(&[]);
    let server = site.serve().await;
    let caller = Caller::new(&server, &site);
    let (id, _) = made(&caller, json!({"url": backend.url(), "secret": backend.secret()})).await;
    let rotate = format!("/v1/webhooks/{id}/rotate");
    let rotated = succeed(caller.post(&rotate, &json!({"overlap": 3600}))).await;
    let old = cancelled_call(&server, &site).await;
    assert_eq!(names(&backend.whole_call(&old).await), CANCELLED, "who knows the old secret goes on");
    backend.trust(rotated["secret"].as_str().expect("a secret"));
    let new = cancelled_call(&server, &site).await;
    assert_eq!(names(&backend.whole_call(&new).await), CANCELLED, "and who knows the new one");
    assert_eq!(caller.get(&format!("/v1/webhooks/{id}")).await["signingSecrets"], 2);
    succeed(caller.post(&rotate, &json!({"secret": backend.secret(), "overlap": 0}))).await;
    assert_eq!(caller.get(&format!("/v1/webhooks/{id}")).await["signingSecrets"], 1);
}

#[tokio::test]
async fn a_410_holds_across_a_kill_until_the_endpoint_is_enabled() {
    let backend = Backend::start().await;
    backend.answer(Answer::Refuse(StatusCode::GONE));
    let site = Site::new(&[&backend]);
    let server = site.serve().await;
    let caller = Caller::new(&server, &site);
    let call = cancelled_call(&server, &site).await;
    let list = until(&caller, "/v1/webhooks", |list| list["items"][0]["disabled"]["by"] == "gone").await;
    let id = list["items"][0]["id"].as_str().expect("an id").to_owned();
    server.kill().await;
    let server = site.serve().await;
    let caller = Caller::new(&server, &site);
    assert_eq!(caller.get(&format!("/v1/webhooks/{id}")).await["state"], "disabled");
    backend.answer(Answer::Accept);
    succeed(patch(&caller, &id, &json!({"enabled": true}))).await;
    assert_eq!(names(&backend.whole_call(&call).await), CANCELLED, "what waited is delivered");
}

#[tokio::test]
async fn a_calls_own_endpoint_is_kept_with_the_call_and_ends_with_its_delivery() {
    let (shared, own) = (Backend::start().await, Backend::start().await);
    own.answer(Answer::Refuse(StatusCode::SERVICE_UNAVAILABLE));
    let site = Site::new(&[&shared]);
    let server = site.serve().await;
    let call = call_with_webhook(&server, &site, &own).await;
    own.wait_for_attempt("onCallReceived").await;
    let other = cancelled_call(&server, &site).await;
    assert_eq!(names(&shared.whole_call(&other).await), CANCELLED);
    server.kill().await;
    own.answer(Answer::Accept);
    let server = site.serve().await;
    let caller = Caller::new(&server, &site);
    assert_eq!(names(&own.whole_call(&call).await), CANCELLED);
    assert_eq!(names(&shared.whole_call(&call).await), CANCELLED);
    own.expect_calls(1);
    let path = "/v1/webhooks/per-call/deliveries?state=pending";
    until(&caller, path, |page| page["items"] == json!([])).await;
}

#[tokio::test]
async fn a_calls_own_endpoint_may_not_be_private() {
    let site = Site::new(&[]);
    let server = site.serve().await;
    let mut alice = Client::log_in(&server, &site, "alice").await;
    let webhook = |url: &str, secret: &str| json!({"url": url, "secret": secret});
    let good = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    for webhook in [
        webhook("http://10.0.0.1/", good),
        webhook("http://[::1]/", good),
        webhook("gopher://a.example/", good),
        webhook("https://a.example/", "hidden"),
        json!({"url": "https://a.example/"}),
    ] {
        let body = json!({"userIdList": ["bob"], "callMediaType": 0, "webhook": webhook});
        assert_eq!(alice.refused("call", body).await.code, -32602);
    }
    let caller = Caller::new(&server, &site);
    let body = json!({"callerId": "alice", "userIdList": ["bob"], "callMediaType": 0, "webhook": webhook("http://10.0.0.1/", good)});
    assert_eq!(fail(caller.post("/v1/calls", &body)).await, (422, "addressRefused".into()));
}

#[tokio::test]
async fn a_call_that_the_backend_places_may_have_its_own_endpoint_too() {
    let own = Backend::start().await;
    let site = Site::new(&[]);
    let server = site.serve().await;
    let caller = Caller::new(&server, &site);
    let _alice = Client::log_in(&server, &site, "alice").await;
    let webhook = json!({"url": own.url(), "secret": own.secret()});
    let body = json!({"callerId": "alice", "userIdList": ["bob"], "callMediaType": 0, "webhook": webhook});
    let placed = succeed(caller.post("/v1/calls", &body)).await;
    let call = placed["callId"].as_str().expect("an id").to_owned();
    let dismissed = caller.request(Method::DELETE, &format!("/v1/calls/{call}")).send().await.expect("an answer");
    assert!(dismissed.status().is_success());
    assert_eq!(names(&own.whole_call(&call).await), CANCELLED);
}

#[tokio::test]
async fn a_test_says_what_the_receiver_answered() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let answer = move |headers: axum::http::HeaderMap, body: axum::body::Bytes| async move {
        let verifier = standardwebhooks::Webhook::new(secret).expect("a well-formed secret");
        let json: Value = serde_json::from_slice(&body).expect("JSON");
        let good = verifier.verify(&body, &headers).is_ok() && json["type"] == "delivery.test";
        (if good { StatusCode::IM_A_TEAPOT } else { StatusCode::UNAUTHORIZED }, "short and stout")
    };
    let router = axum::Router::new().fallback(answer);
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let site = Site::new(&[]);
    let server = site.serve().await;
    let caller = Caller::new(&server, &site);
    let (id, _) = made(&caller, json!({"url": url, "secret": secret})).await;
    let tested = succeed(caller.post(&format!("/v1/webhooks/{id}/test"), &json!({}))).await;
    assert_eq!((tested["success"].as_bool(), tested["status"].as_u64()), (Some(false), Some(418)), "{tested}");
    assert_eq!(tested["response"], "short and stout");
    serving.abort();
    let _ = serving.await;
    let tested = succeed(caller.post(&format!("/v1/webhooks/{id}/test"), &json!({}))).await;
    assert_eq!((tested["success"].as_bool(), &tested["status"]), (Some(false), &Value::Null), "{tested}");
    assert!(tested["error"].as_str().is_some_and(|error| !error.is_empty()));
}

#[tokio::test]
async fn what_waits_is_listed_with_its_last_response_and_what_was_sent_is_sent_again() {
    let backend = Backend::start().await;
    backend.answer(Answer::Refuse(StatusCode::INTERNAL_SERVER_ERROR));
    let site = Site::new(&[&backend]);
    let server = site.serve().await;
    let caller = Caller::new(&server, &site);
    let id = caller.get("/v1/webhooks").await["items"][0]["id"].as_str().expect("an id").to_owned();
    let call = cancelled_call(&server, &site).await;
    let path = format!("/v1/webhooks/{id}/deliveries?state=pending");
    let page = until(&caller, &path, |page| page["items"][0]["attempts"].as_u64() > Some(0)).await;
    let items = page["items"].as_array().expect("items");
    assert_eq!(items.len(), 2, "{page}");
    assert_eq!((items[0]["seq"].as_u64(), items[1]["seq"].as_u64()), (Some(1), Some(2)));
    assert_eq!((items[0]["lastReply"]["status"].as_u64(), items[1]["attempts"].as_u64()), (Some(500), Some(0)));
    let first = caller.get(&format!("{path}&limit=1")).await;
    let next = first["next"].as_str().expect("there is more");
    assert_eq!(caller.get(&format!("{path}&limit=1&after={next}")).await["items"][0]["seq"], 2);
    let one = format!("/v1/webhooks/{id}/deliveries/{call}/1");
    let whole = caller.get(&one).await;
    assert_eq!((whole["state"].as_str(), &whole["body"]["id"]), (Some("pending"), &whole["eventId"]));
    backend.answer(Answer::Accept);
    assert_eq!(names(&backend.whole_call(&call).await), CANCELLED);
    until(&caller, &one, |one| one["state"] == "delivered").await;

    let before = backend.wait_for_attempts(&call, 3).await.len();
    let replay = succeed(caller.post(&format!("/v1/webhooks/{id}/replay"), &json!({"callId": call}))).await;
    let again = backend.wait_for_attempts(&call, before + 2).await;
    assert_eq!(names(&again[before..]), CANCELLED);
    assert_eq!(again[before].id, again[0].id, "the same ids");
    let path = format!("/v1/webhooks/{id}/replay");
    let done = until(&caller, &path, |page| page["items"][0]["state"] == "done").await;
    assert_eq!((&done["items"][0]["id"], done["items"][0]["delivered"].as_u64()), (&replay["id"], Some(2)));
    let ended = caller.request(Method::DELETE, &format!("{path}/{}", replay["id"].as_str().expect("an id")));
    assert_eq!(fail(ended).await, (404, "noSuchDelivery".into()), "it is over");
    assert_eq!(
        caller.get(&format!("/v1/webhooks/{id}/deliveries?state=dead")).await,
        json!({"items": [], "next": null})
    );
}
