//! The REST API of the admin listener, as a backend uses it.

use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

use crate::rpc::Client;
use crate::server::{Server, Site};

/// A backend that has the key.
pub struct Caller {
    http: reqwest::Client,
    base: String,
    key: String,
}

impl Caller {
    pub fn new(server: &Server, site: &Site) -> Self {
        Self { http: reqwest::Client::new(), base: format!("http://{}", server.admin()), key: site.api_key() }
    }

    pub fn new_with(server: &Server, key: &str) -> Self {
        Self { http: reqwest::Client::new(), base: format!("http://{}", server.admin()), key: key.to_owned() }
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.key)
    }

    pub fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.request(Method::POST, path).header(header::CONTENT_TYPE, "application/json").body(body.to_string())
    }

    pub async fn get(&self, path: &str) -> Value {
        succeed(self.request(Method::GET, path)).await
    }
}

pub async fn succeed(request: reqwest::RequestBuilder) -> Value {
    let response = request.send().await.expect("an answer");
    let (status, text) = (response.status(), response.text().await.expect("a body"));
    assert!(status.is_success(), "{status}: {text}");
    serde_json::from_str(&text).expect("the body is JSON")
}

/// The status and code of a request that must fail, whose body must be a problem in full.
pub async fn fail(request: reqwest::RequestBuilder) -> (u16, String) {
    let response = request.send().await.expect("an answer");
    let status = response.status();
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json", "{status}");
    if status == StatusCode::UNAUTHORIZED {
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer realm=\"callisto\"");
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        assert!(response.headers().contains_key(header::ALLOW));
    }
    let problem: Value = serde_json::from_str(&response.text().await.expect("a body")).expect("a problem is JSON");
    assert_eq!(problem["status"], status.as_u16(), "{problem}");
    for member in ["title", "detail"] {
        assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
    }
    (status.as_u16(), problem["code"].as_str().expect("a code").to_owned())
}

#[tokio::test]
async fn every_route_of_the_document_wants_the_key_and_only_those_of_it_exist() {
    let site = Site::new(&[]);
    let server = site.serve().await;
    let caller = Caller::new(&server, &site);
    // The document itself is no secret.
    let document = succeed(caller.http.get(format!("{}/v1/openapi.json", caller.base))).await;
    let paths = document["paths"].as_object().expect("paths");
    assert!(!paths.is_empty());
    for (path, item) in paths {
        for method in item.as_object().expect("operations").keys() {
            let method: Method = method.to_uppercase().parse().expect("a method");
            let url = format!("{}{}", caller.base, path.replace(['{', '}'], ""));
            let bare = fail(caller.http.request(method.clone(), &url)).await;
            assert_eq!(bare, (401, "unauthorized".to_owned()), "{method} {path}");
            let wrong = caller.http.request(method.clone(), &url).bearer_auth("wrong");
            assert_eq!(fail(wrong).await, (401, "unauthorized".to_owned()), "{method} {path}");
        }
    }
    let public = reqwest::get(format!("http://{}/v1/calls", server.public())).await.expect("an answer");
    assert_eq!(public.status(), 404, "the API is not for the public");
}

#[tokio::test]
async fn bad_requests_get_a_problem_that_says_what_is_wrong() {
    let site = Site::new(&[]);
    let server = site.serve().await;
    let caller = Caller::new(&server, &site);
    for (method, path, status, code) in [
        (Method::GET, "/v1/nothing", 404, "notFound"),
        (Method::GET, "/nothing", 404, "notFound"),
        (Method::PUT, "/v1/calls", 405, "methodNotAllowed"),
        (Method::POST, "/v1/openapi.json", 405, "methodNotAllowed"),
        (Method::GET, "/v1/calls/call_1", 404, "notFound"),
        (Method::GET, "/v1/calls/call_00000000000000000000000000", 404, "noSuchCall"),
        (Method::GET, "/v1/calls?limit=0", 422, "invalidQuery"),
        (Method::GET, "/v1/calls?limit=501", 422, "invalidQuery"),
        (Method::GET, "/v1/calls?limit=many", 422, "invalidQuery"),
        (Method::GET, "/v1/calls?user=alice", 422, "invalidQuery"),
        (Method::GET, "/v1/calls?userId=a%20b", 422, "invalidQuery"),
        (Method::GET, "/v1/calls?state=done", 422, "invalidQuery"),
        (Method::GET, "/v1/calls?after=x", 422, "invalidQuery"),
        (Method::GET, "/v1/calls?intRoomId=0", 422, "invalidQuery"),
        (Method::GET, "/v1/calls?limit=1&limit=2", 422, "invalidQuery"),
    ] {
        assert_eq!(fail(caller.request(method, path)).await, (status, code.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn calls_are_listed_by_page_and_filter_and_read_with_their_members() {
    let site = Site::new(&[]).set("calls.sessions_per_user=2");
    let server = site.serve().await;
    let caller = Caller::new(&server, &site);
    assert_eq!(caller.get("/v1/calls").await, json!({"items": [], "next": null}));

    let mut calls = Vec::new();
    let mut clients = Vec::new();
    for n in 0..5 {
        let mut client = Client::log_in(&server, &site, &format!("caller{n}")).await;
        let placed = client
            .ask("call", json!({"userIdList": [format!("callee{n}")], "callMediaType": 0, "groupId": if n == 3 { "g" } else { "" }}))
            .await;
        calls.push(placed["callId"].as_str().expect("a call id").to_owned());
        clients.push(client);
    }
    let ids = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().expect("items");
        items.iter().map(|item| item["callId"].as_str().expect("an id").to_owned()).collect()
    };
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page = caller.get(&format!("/v1/calls?limit=2{after}")).await;
        assert!(ids(&page).len() <= 2);
        seen.extend(ids(&page));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    calls.sort();
    seen.sort();
    assert_eq!(seen, calls, "every call on one page");

    assert_eq!(ids(&caller.get("/v1/calls?userId=callee1").await).len(), 1);
    assert_eq!(ids(&caller.get("/v1/calls?groupId=g").await).len(), 1);
    assert_eq!(ids(&caller.get("/v1/calls?state=begun").await).len(), 0);
    assert_eq!(ids(&caller.get("/v1/calls?state=ringing").await).len(), 5);

    let of_caller3 = caller.get("/v1/calls?userId=caller3").await;
    let overview = &of_caller3["items"][0];
    let room = overview["roomId"]["intRoomId"].as_u64().expect("a number");
    assert_eq!(caller.get(&format!("/v1/calls?intRoomId={room}")).await["items"][0], *overview);

    let call = overview["callId"].as_str().expect("an id");
    let mut callee = Client::log_in(&server, &site, "callee3").await;
    callee.ask("accept", json!({"callId": call})).await;
    let detail = caller.get(&format!("/v1/calls/{call}")).await;
    assert_eq!((&detail["kind"], &detail["state"]), (&json!("group"), &json!("begun")));
    assert_eq!(detail["memberIdList"], json!(["caller3", "callee3"]));
    let member = &detail["members"][1];
    assert_eq!((&member["userId"], &member["state"]), (&json!("callee3"), &json!("in")));
    assert_eq!(member["media"]["networkQuality"], "Unknown");
    let sources: Vec<&Value> =
        member["media"]["sources"].as_array().expect("sources").iter().map(|source| &source["source"]).collect();
    assert_eq!(sources, ["microphone", "camera", "screen"]);
}

#[tokio::test]
async fn the_backend_places_mutes_kicks_bans_and_dismisses() {
    let site = Site::new(&[]);
    let server = site.serve().await;
    let caller = Caller::new(&server, &site);
    let body = json!({"callerId": "alice", "userIdList": ["bob", "carol"], "callMediaType": 1, "userData": "x"});
    let place = || caller.post("/v1/calls", &body);
    assert_eq!(fail(place()).await, (409, "callerOffline".to_owned()));

    let mut alice = Client::log_in(&server, &site, "alice").await;
    let mut bob = Client::log_in(&server, &site, "bob").await;
    let mut carol = Client::log_in(&server, &site, "carol").await;
    let response = place().send().await.expect("an answer");
    assert_eq!(response.status(), StatusCode::CREATED);
    let location = response.headers()[header::LOCATION].to_str().expect("a path").to_owned();
    let placed: Value = serde_json::from_str(&response.text().await.expect("a body")).expect("JSON");
    let call = placed["callId"].as_str().expect("a call id").to_owned();
    assert_eq!(location, format!("/v1/calls/{call}"));
    assert_eq!(caller.get(&location).await["state"], "ringing");

    let told = alice.expect("onCallPlaced", &call).await;
    assert_eq!(
        told,
        json!({
            "roomId": placed["roomId"],
            "calleeIdList": ["bob", "carol"],
            "groupId": "",
            "callMediaType": 1,
            "userData": "x",
        })
    );
    bob.expect_all(&call, &["onCallReceived"]).await;
    bob.ask("accept", json!({"callId": call})).await;
    carol.ask("accept", json!({"callId": call})).await;
    alice.expect_all(&call, &["onUserJoin bob", "onCallBegin", "onUserJoin carol"]).await;

    let status = caller.get("/v1/users/bob").await;
    assert_eq!((&status["online"], &status["callId"]), (&json!(true), &json!(call)));
    assert_eq!(status["sessions"][0]["sessionId"], bob.session.as_str());
    assert_eq!(caller.get("/v1/users/nobody").await["online"], false);

    let mute = |muted: bool| {
        let path = format!("/v1/calls/{call}/users/bob/mute");
        caller.post(&path, &json!({"source": "microphone", "muted": muted}))
    };
    done(mute(true)).await;
    let refused = bob.refused("mute", json!({"callId": call, "source": "microphone", "muted": false})).await;
    assert_eq!((refused.code, refused.name.as_str()), (20007, "blocked"));
    let detail = caller.get(&location).await;
    assert_eq!(detail["members"][1]["media"]["sources"][0]["mutedByServer"], true);
    done(mute(false)).await;

    done(caller.request(Method::DELETE, &format!("/v1/calls/{call}/users/bob?ban=600"))).await;
    bob.expect_all(&call, &["onCallBegin", "onUserJoin alice", "onUserJoin carol", "onCallEnd"]).await;
    alice.expect_all(&call, &["onUserLeave bob"]).await;
    assert_eq!(bob.refused("join", json!({"callId": call})).await.code, 20007);
    let again = caller.request(Method::DELETE, &format!("/v1/calls/{call}/users/bob"));
    assert_eq!(fail(again).await, (404, "noSuchMember".to_owned()));

    done(caller.request(Method::DELETE, &location)).await;
    alice.expect_all(&call, &["onCallEnd"]).await;
    assert_eq!(fail(caller.request(Method::DELETE, &location)).await, (404, "noSuchCall".to_owned()));

    let ended = caller.get(&location).await;
    assert_eq!((&ended["state"], &ended["end"]["data"]["reason"]), (&json!("ended"), &json!("dismissed")));
    assert_eq!(ended["end"]["seq"], ended["seq"]);

    let page = caller.get(&format!("{location}/events?limit=3")).await;
    assert_eq!((names(&page).len(), &page["next"]), (3, &json!("3")));
    let rest = caller.get(&format!("{location}/events?after=3")).await;
    let all = [names(&page), names(&rest)].concat();
    assert_eq!(
        all,
        [
            "onCallReceived",
            "onCallBegin",
            "onUserJoin",
            "onUserJoin",
            "onUserJoin",
            "onUserLeave",
            "onUserLeave",
            "onUserLeave",
            "onCallEnd"
        ]
    );
    assert_eq!(rest["next"], Value::Null);
    let end = rest["items"].as_array().and_then(|items| items.last()).expect("an end");
    assert_eq!(end["data"]["reason"], "dismissed");
    let nowhere = caller.request(Method::GET, "/v1/calls/call_00000000000000000000000000/events");
    assert_eq!(fail(nowhere).await, (404, "noSuchCall".to_owned()));
}

#[tokio::test]
async fn bad_bodies_get_a_problem_that_says_what_is_wrong() {
    let site = Site::new(&[]);
    let server = site.serve().await;
    let caller = Caller::new(&server, &site);
    let whole = json!({"callerId": "alice", "userIdList": ["bob"], "callMediaType": 1});
    let with = |key: &str, value: Value| {
        let mut body = whole.clone();
        body[key] = value;
        body.to_string()
    };
    let json = "application/json";
    for (kind, body, status, code) in [
        (json, String::new(), 400, "malformedBody"),
        (json, "{".to_owned(), 400, "malformedBody"),
        (json, "[]".to_owned(), 422, "invalidBody"),
        (json, "{}".to_owned(), 422, "invalidBody"),
        ("text/plain", whole.to_string(), 415, "unsupportedMediaType"),
        (json, with("colour", json!("red")), 422, "invalidBody"),
        (json, with("callerId", json!("a b")), 422, "invalidBody"),
        (json, with("userIdList", json!(["b b"])), 422, "invalidBody"),
        (json, with("userIdList", json!(vec!["u"; 1001])), 422, "invalidBody"),
        (json, with("callMediaType", json!(2)), 422, "invalidBody"),
        (json, with("roomId", json!({"intRoomId": 1, "strRoomId": "a"})), 422, "invalidBody"),
        (json, with("timeout", json!(0)), 422, "invalidBody"),
        (json, with("timeout", json!(3601)), 422, "invalidBody"),
        (json, with("groupId", json!("g".repeat(65))), 422, "invalidBody"),
        (json, with("userData", json!("x".repeat(4097))), 422, "invalidBody"),
        (json, with("userData", json!("x".repeat(70_000))), 413, "bodyTooLarge"),
    ] {
        let request = caller.request(Method::POST, "/v1/calls").header(header::CONTENT_TYPE, kind).body(body.clone());
        assert_eq!(fail(request).await, (status, code.to_owned()), "{body:.80}");
    }
    let call = "/v1/calls/call_00000000000000000000000000";
    for (path, body, code) in [
        (format!("{call}/users/bob/mute"), json!({"source": "nose", "muted": true}), "invalidBody"),
        (format!("{call}/users/bob/mute"), json!({"source": "camera"}), "invalidBody"),
        (format!("{call}/users/bob/mute"), json!({"source": "camera", "muted": 1}), "invalidBody"),
        (format!("{call}/users/bob/mute"), json!({"source": "camera", "muted": true, "x": 1}), "invalidBody"),
        (format!("{call}/users/b%20b/mute"), json!({"source": "camera", "muted": true}), "notFound"),
        (format!("{call}/users/bob/mute"), json!({"source": "camera", "muted": true}), "noSuchCall"),
    ] {
        assert_eq!(fail(caller.post(&path, &body)).await.1, code, "{path} {body}");
    }
    for query in ["ban=0", "ban=-1", "ban=soon", "bann=5", "ban=99999999999"] {
        let request = caller.request(Method::DELETE, &format!("{call}/users/bob?{query}"));
        assert_eq!(fail(request).await, (422, "invalidQuery".to_owned()), "{query}");
    }
}

async fn done(request: reqwest::RequestBuilder) {
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), StatusCode::NO_CONTENT, "{:?}", response.text().await);
}

fn names(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().expect("items");
    items.iter().map(|event| event["type"].as_str().expect("a type").to_owned()).collect()
}
