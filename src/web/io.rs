//! The routes of the page and the SDK on the public listener.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::admit::{Caller, Refusal, admit};
use super::asset::{Asset, Reach};
use crate::base::UserId;
use crate::config::TryPage;

/// A ticket request is one short name; anything longer is not from the page.
const MAX_TICKET_REQUEST: usize = 1024;

/// The page is one self-contained origin: own scripts and styles only, no frame around it, no form that leaves it.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; media-src 'self' blob: mediastream:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The console shows what users wrote: no text can become a script, even if the page had a mistake (Trusted Types).
const CONSOLE_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

const PERMISSIONS_POLICY: &str = "camera=(self), microphone=(self), display-capture=(self), autoplay=(self), \
     fullscreen=(self), geolocation=(), payment=(), usb=(), serial=(), midi=()";

/// What a proxy adds: with one of them the connection's address is not the person's.
const FORWARDING: [&str; 3] = ["forwarded", "x-forwarded-for", "x-real-ip"];

/// What the routes need to know; node.rs fills it from the configuration and the ticket module.
#[derive(Clone)]
pub struct Pages {
    pub try_page: TryPage,
    pub sdk_app_id: u32,
    /// Makes the UserSig of a user.
    pub sign: Signer,
}

/// Makes the ticket of a user of this server's app.
pub type Signer = Arc<dyn Fn(&UserId) -> String + Send + Sync>;

/// The page at `/`, the SDK at `/sdk.js` and the page's tickets. Serve it with `into_make_service_with_connect_info::<SocketAddr>()`:
/// without the peer's address nobody counts as local.
pub fn router(pages: Pages) -> Router {
    files(Asset::ALL)
        .route("/v1/try/ticket", post(ticket).layer(DefaultBodyLimit::max(MAX_TICKET_REQUEST)).with_state(pages))
}

/// Embedded files, each at its path.
pub(super) fn files(assets: &'static [Asset]) -> Router {
    let mut router = Router::new();
    for asset in assets {
        let file = File {
            asset,
            body: Bytes::from(asset.body().into_owned()),
            etag: HeaderValue::from_str(&asset.etag()).expect("a tag is quoted base64"),
        };
        router = router.route(asset.path, get(move |headers: HeaderMap| async move { file.serve(&headers) }));
    }
    router
}

/// An asset, ready to be sent.
#[derive(Clone)]
struct File {
    asset: &'static Asset,
    body: Bytes,
    etag: HeaderValue,
}

impl File {
    fn serve(self, request: &HeaderMap) -> Response {
        let mut response =
            if self.is_known(request) { StatusCode::NOT_MODIFIED.into_response() } else { self.body.into_response() };
        let headers = response.headers_mut();
        let mut set = |name: HeaderName, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
        set(header::CONTENT_TYPE, self.asset.content_type);
        // The names carry no version: a browser asks each time and is mostly told 304.
        set(header::CACHE_CONTROL, "no-cache");
        set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        match self.asset.reach {
            Reach::SameOrigin => {
                set(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
                set(HeaderName::from_static("permissions-policy"), PERMISSIONS_POLICY);
                set(header::REFERRER_POLICY, "no-referrer");
                set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
            }
            Reach::Operator => {
                set(header::CONTENT_SECURITY_POLICY, CONSOLE_SECURITY_POLICY);
                set(header::REFERRER_POLICY, "no-referrer");
                set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
                set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
            }
            Reach::AnyOrigin => {
                set(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
                set(HeaderName::from_static("cross-origin-resource-policy"), "cross-origin");
            }
        }
        headers.insert(header::ETAG, self.etag);
        response
    }

    /// Whether the browser has it already. RFC 9110 §13.1.2: the comparison is weak, so a tag that a proxy weakened still matches.
    fn is_known(&self, request: &HeaderMap) -> bool {
        let lists = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        lists
            .flat_map(|list| list.split(','))
            .map(str::trim)
            .any(|tag| tag == "*" || tag.trim_start_matches("W/") == self.etag)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TicketRequest {
    user_id: UserId,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ticket {
    sdk_app_id: u32,
    user_id: UserId,
    user_sig: String,
}

async fn ticket(State(pages): State<Pages>, Peer(peer): Peer, headers: HeaderMap, body: Bytes) -> Response {
    if let Err(refusal) = admit(pages.try_page, caller(peer, &headers)) {
        tracing::debug!(%refusal, "ticket of the try-a-call page refused");
        let status = match refusal {
            Refusal::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            _ => StatusCode::FORBIDDEN,
        };
        return problem(status, refusal.code(), &refusal.to_string());
    }
    match serde_json::from_slice::<TicketRequest>(&body) {
        Ok(TicketRequest { user_id }) => {
            let user_sig = (pages.sign)(&user_id);
            no_store(axum::Json(Ticket { sdk_app_id: pages.sdk_app_id, user_id, user_sig }).into_response())
        }
        Err(error) => problem(StatusCode::BAD_REQUEST, "invalidParameter", &error.to_string()),
    }
}

pub(super) fn caller(peer: Option<SocketAddr>, headers: &HeaderMap) -> Caller<'_> {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    Caller {
        peer,
        host: text(header::HOST),
        origin: text(header::ORIGIN),
        fetch_site: text(HeaderName::from_static("sec-fetch-site")),
        content_type: text(header::CONTENT_TYPE),
        forwarded: FORWARDING.iter().any(|name| headers.contains_key(*name)),
    }
}

/// An error as RFC 9457 has it, with a stable `code`.
pub(super) fn problem(status: StatusCode, code: &str, detail: &str) -> Response {
    let title = status.canonical_reason();
    let body = json!({ "title": title, "status": status.as_u16(), "code": code, "detail": detail });
    no_store((status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response())
}

pub(super) fn no_store(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The other end of the connection, when the listener tells it.
struct Peer(Option<SocketAddr>);

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Peer(parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::{Client, Method, RequestBuilder};

    /// A server on a free port of loopback, and a client of it.
    struct Site {
        base: String,
        client: Client,
    }

    impl Site {
        async fn open(try_page: TryPage) -> Self {
            let sign: Signer = Arc::new(|user| format!("ticket of {user}"));
            let app = router(Pages { try_page, sdk_app_id: 1_400_000_001, sign });
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
            let base = format!("http://{}", listener.local_addr().expect("it is bound"));
            let service = app.into_make_service_with_connect_info::<SocketAddr>();
            tokio::spawn(async move { axum::serve(listener, service).await });
            Self { base, client: Client::builder().no_proxy().build().expect("a client needs nothing") }
        }

        fn request(&self, method: Method, path: &str) -> RequestBuilder {
            self.client.request(method, format!("{}{path}", self.base))
        }

        fn ticket(&self, body: &str) -> RequestBuilder {
            let request = self.request(Method::POST, "/v1/try/ticket").header("content-type", "application/json");
            request.body(body.to_owned())
        }
    }

    async fn outcome(request: RequestBuilder) -> (u16, serde_json::Value) {
        let response = request.send().await.expect("the server answers");
        let status = response.status().as_u16();
        assert_eq!(response.headers()["cache-control"], "no-store");
        (status, serde_json::from_slice(&response.bytes().await.expect("a body")).expect("JSON"))
    }

    #[tokio::test]
    async fn every_file_is_served_with_its_type_and_its_protection() {
        let site = Site::open(TryPage::Off).await;
        for asset in Asset::ALL {
            let response = site.request(Method::GET, asset.path).send().await.unwrap();
            assert_eq!(response.status(), 200, "{}", asset.path);
            let headers = response.headers().clone();
            assert_eq!(headers["content-type"], asset.content_type);
            assert_eq!(headers["x-content-type-options"], "nosniff");
            assert_eq!(headers.contains_key("content-security-policy"), asset.reach == Reach::SameOrigin);
            assert_eq!(headers.contains_key("access-control-allow-origin"), asset.reach == Reach::AnyOrigin);
            assert_eq!(response.bytes().await.unwrap(), asset.body().as_bytes());
        }
    }

    #[tokio::test]
    async fn a_file_that_the_browser_has_is_not_sent_again() {
        let site = Site::open(TryPage::Off).await;
        let first = site.request(Method::GET, "/sdk.js").send().await.unwrap();
        let etag = first.headers()["etag"].to_str().unwrap().to_owned();
        for (tag, expected) in [
            (etag.clone(), 304),
            (format!("W/{etag}"), 304),
            (format!("\"x\", {etag}"), 304),
            ("\"x\"".to_owned(), 200),
        ] {
            let request = site.request(Method::GET, "/sdk.js").header("if-none-match", &tag);
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), expected, "{tag}");
            assert_eq!(response.headers()["etag"], etag);
            assert_eq!(response.bytes().await.unwrap().is_empty(), expected == 304);
        }
    }

    #[tokio::test]
    async fn a_local_page_gets_a_ticket() {
        let site = Site::open(TryPage::Loopback).await;
        let request =
            site.ticket(r#"{"userId":"alice"}"#).header("origin", &site.base).header("sec-fetch-site", "same-origin");
        let ticket = json!({ "sdkAppId": 1_400_000_001, "userId": "alice", "userSig": "ticket of alice" });
        assert_eq!(outcome(request).await, (200, ticket));
    }

    #[tokio::test]
    async fn refusals_say_why() {
        let site = Site::open(TryPage::Loopback).await;
        let body = r#"{"userId":"alice"}"#;
        let bare = || site.request(Method::POST, "/v1/try/ticket").body(body);
        for (request, status, code) in [
            (site.ticket(body).header("host", "evil.example"), 403, "foreignHost"),
            (site.ticket(body).header("origin", "http://evil.example"), 403, "crossOrigin"),
            (site.ticket(body).header("sec-fetch-site", "cross-site"), 403, "crossOrigin"),
            (site.ticket(body).header("x-forwarded-for", "192.0.2.7"), 403, "notLoopback"),
            (bare(), 415, "notJson"),
            (bare().header("content-type", "text/plain"), 415, "notJson"),
            (site.ticket("{"), 400, "invalidParameter"),
            (site.ticket(r#"{"userId":"a b"}"#), 400, "invalidParameter"),
            (site.ticket(r#"{"userId":"alice","more":1}"#), 400, "invalidParameter"),
        ] {
            let (got, body) = outcome(request).await;
            assert_eq!((got, body["code"].as_str()), (status, Some(code)), "{body}");
        }
        let off = Site::open(TryPage::Off).await;
        let (status, body) = outcome(off.ticket(body)).await;
        assert_eq!((status, body["code"].as_str()), (403, Some("tryPageOff")));
        assert!(body["detail"].as_str().is_some_and(|detail| detail.contains("http.try_page")), "{body}");
    }

    #[tokio::test]
    async fn a_long_request_and_a_preflight_get_nothing() {
        let site = Site::open(TryPage::All).await;
        let long = site.ticket(&format!(r#"{{"userId":"{}"}}"#, "x".repeat(MAX_TICKET_REQUEST))).send().await.unwrap();
        assert_eq!(long.status(), 413);
        let preflight = site.request(Method::OPTIONS, "/v1/try/ticket").header("origin", "http://evil.example");
        let response = preflight.send().await.unwrap();
        assert_eq!(response.status(), 405);
        assert!(!response.headers().contains_key("access-control-allow-origin"));
    }
}
