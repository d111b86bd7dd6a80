//! The REST API of the admin listener, as a backend uses it.

use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

use crate::rpc::Client;
use crate::server::{Server, Site};

/// A backend that has the key.
struct Caller {
    http: reqwest::Client,
    base: String,
    key: String,
}

impl Caller {
    fn new(server: &Server, site: &Site) -> Self {
        Self { http: reqwest::Client::new(), base: format!("http://{}", server.admin()), key: site.api_key() }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.key)
    }

    async fn get(&self, path: &str) -> Value {
        succeed(self.request(Method::GET, path)).await
    }
}

async fn succeed(request: reqwest::RequestBuilder) -> Value {
    let response = request.send().await.expect("an answer");
    let (status, text) = (response.status(), response.text().await.expect("a body"));
    assert!(status.is_success(), "{status}: {text}");
    serde_json::from_str(&text).expect("the body is JSON")
}

/// The status and code of a request that must fail, whose body must be a problem in full.
async fn fail(request: reqwest::RequestBuilder) -> (u16, String) {
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
