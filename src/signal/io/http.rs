//! What WHIP and WHEP have in common on the wire: tickets, content types, CORS, and the resource's PATCH and DELETE (RFC 9725, 4).

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequestParts, Path, Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, patch};

use super::door::TOO_MANY_FAILURES;
use super::resource::{Floor, Resource};
use crate::event::RoomId;
use crate::media::negotiate::MAX_SDP_LEN;
use crate::signal::fragment::Fragment;
use crate::signal::problem::Problem;
use crate::ticket::Ticket;

const SDP: &str = "application/sdp";
const SDP_FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// How long a browser may remember the answer to a preflight, in seconds.
const PREFLIGHT_AGE: &str = "86400";
/// What a client waits before it asks a server again that takes nothing on, in seconds.
const RETRY_AFTER: &str = "5";

type Body = Result<Bytes, BytesRejection>;

/// The ticket that a request brings, found to be good.
pub struct Bearer(pub Ticket);

/// A request to begin: for which room, with which offer.
pub struct Entry {
    pub room: RoomId,
    pub sdp: String,
}

/// The routes of one protocol under `base`: `begin` at the room, PATCH and DELETE at what it made.
pub fn routes(base: &str, begin: MethodRouter<Arc<Floor>>, floor: Arc<Floor>) -> Router {
    Router::new()
        .route(&format!("{base}/{{room}}"), begin.fallback(not_allowed))
        .route(&format!("{base}/{{room}}/{{id}}"), patch(amend).delete(end).fallback(not_allowed))
        .layer(DefaultBodyLimit::max(MAX_SDP_LEN))
        .layer(from_fn_with_state(floor.clone(), cors))
        .with_state(floor)
}

impl Entry {
    pub fn read(room: &str, headers: &HeaderMap, body: Body) -> Result<Self, Problem> {
        let room = RoomId::named(room).ok_or_else(|| {
            Problem::new(422, "invalidParameter", "a room's name is 1 to 64 bytes of printable ASCII")
        })?;
        Ok(Self { room, sdp: text(headers, SDP, body)? })
    }
}

impl FromRequestParts<Arc<Floor>> for Bearer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, floor: &Arc<Floor>) -> Result<Self, Problem> {
        let bearer = parts.headers.get(header::AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let Some(bearer) = bearer else {
            return Err(Problem::new(401, "notLoggedIn", "Authorization: Bearer <userSig> is expected"));
        };
        let door = &floor.door;
        let error = match door.tickets.key().open(bearer, door.clock.now()) {
            Ok(ticket) => return Ok(Self(ticket)),
            Err(error) => error,
        };
        let ConnectInfo(peer) = parts.extensions.get::<ConnectInfo<SocketAddr>>().expect("the listener tells it");
        match door.failed(peer.ip()) {
            true => Err(error.into()),
            false => Err(Problem::new(429, "tooManyRequests", TOO_MANY_FAILURES)),
        }
    }
}

/// 201 with the answer, where the resource is, and the servers that help to reach this one.
pub fn created(floor: &Floor, location: &str, resource: &Resource, answer: String) -> Response {
    let mut response = (StatusCode::CREATED, [(header::CONTENT_TYPE, SDP)], answer).into_response();
    let headers = response.headers_mut();
    let value = |text: String| HeaderValue::try_from(text).expect("it is made of printable ASCII");
    headers.insert(header::LOCATION, value(format!("{location}/{}", resource.id)));
    headers.insert(header::ETAG, value(resource.etag()));
    headers.insert(HeaderName::from_static("accept-patch"), HeaderValue::from_static(SDP_FRAGMENT));
    for server in floor.door.ice_servers.grant(&resource.user, floor.door.clock.now()) {
        // A credential of the configuration that no header can carry is left out.
        let links = server.links().filter_map(|link| HeaderValue::try_from(link).ok());
        for link in links {
            headers.append(header::LINK, link);
        }
    }
    response
}

/// Trickle ICE, or its restart.
async fn amend(
    State(floor): State<Arc<Floor>>,
    Path((_, id)): Path<(String, String)>,
    Bearer(ticket): Bearer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let resource = own_resource(&floor, &id, &ticket)?;
    let text = text(&headers, SDP_FRAGMENT, body)?;
    let fragment = Fragment::parse(&text).map_err(|error| Problem::new(400, "malformedBody", error.to_string()))?;
    let Some(expected) = headers.get(header::IF_MATCH).and_then(|value| value.to_str().ok()) else {
        return Err(Problem::new(
            428,
            "preconditionRequired",
            "If-Match names the ICE session by its ETag, or is * to restart it",
        ));
    };
    let is_same = resource.credentials().is_some_and(|known| known == fragment.credentials);
    let is_current = expected == "*" || expected.split(',').any(|tag| tag.trim() == resource.etag());
    match (is_same, is_current) {
        // Addresses are learned from checks: the candidates need not be kept.
        (true, true) => Ok(StatusCode::NO_CONTENT.into_response()),
        (false, _) if expected == "*" => {
            let fragment = resource.restart(&fragment.credentials).await?;
            let etag = resource.etag();
            Ok(([(header::CONTENT_TYPE, SDP_FRAGMENT), (header::ETAG, etag.as_str())], fragment).into_response())
        }
        _ => Err(Problem::new(412, "preconditionFailed", "this is another ICE session")),
    }
}

async fn end(
    State(floor): State<Arc<Floor>>,
    Path((_, id)): Path<(String, String)>,
    Bearer(ticket): Bearer,
) -> Result<StatusCode, Problem> {
    own_resource(&floor, &id, &ticket)?.leave().await;
    Ok(StatusCode::OK)
}

async fn not_allowed() -> Problem {
    Problem::new(405, "methodNotAllowed", "POST begins; PATCH and DELETE go to the address in Location")
}

/// The resource, when it is the ticket's user's.
fn own_resource(floor: &Floor, id: &str, ticket: &Ticket) -> Result<Arc<Resource>, Problem> {
    let found = id.parse().ok().and_then(|id| floor.find(id)).filter(|resource| resource.user == ticket.user);
    found.ok_or_else(|| Problem::new(404, "notFound", "there is no such resource of this user, or it has ended"))
}

/// The body, when it is of this type.
fn text(headers: &HeaderMap, content_type: &str, body: Body) -> Result<String, Problem> {
    let said = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !said.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(content_type) {
        return Err(Problem::new(415, "unsupportedMediaType", format!("{content_type} is expected")));
    }
    let body = body.map_err(|error| match error.status().as_u16() {
        413 => Problem::new(413, "bodyTooLarge", format!("at most {MAX_SDP_LEN} bytes are taken")),
        _ => Problem::new(400, "malformedBody", error.to_string()),
    })?;
    String::from_utf8(body.to_vec()).map_err(|_| Problem::new(400, "malformedBody", "it is not UTF-8"))
}

/// Answers preflights, and lets pages of allowed origins read the answers (Fetch, 3.2).
async fn cors(State(floor): State<Arc<Floor>>, request: Request, next: Next) -> Response {
    if !floor.door.allows_origin(request.headers()) {
        return Problem::new(403, "crossOrigin", "this origin is not in http.allowed_origins").into_response();
    }
    let origin = request.headers().get(header::ORIGIN).cloned();
    let is_options = request.method() == Method::OPTIONS;
    let mut response = if is_options { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let headers = response.headers_mut();
    let mut say = |name, value| headers.insert(name, HeaderValue::from_static(value));
    if is_options {
        // RFC 9725, 4.2.
        say(HeaderName::from_static("accept-post"), SDP);
        say(HeaderName::from_static("accept-patch"), SDP_FRAGMENT);
        say(header::ACCESS_CONTROL_ALLOW_METHODS, "POST, PATCH, DELETE, OPTIONS");
        say(header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, if-match");
        say(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE);
    }
    say(header::VARY, "origin");
    say(header::CACHE_CONTROL, "no-store");
    if let Some(origin) = origin {
        say(header::ACCESS_CONTROL_EXPOSE_HEADERS, "location, etag, link, accept-patch, retry-after");
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).expect("problems have real statuses");
        let body = self.to_json(status.canonical_reason().unwrap_or_default());
        let mut response = (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        match self.status {
            401 => drop(response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            // Who guesses pays for a connection each time.
            429 => drop(response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"))),
            503 => drop(response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER))),
            _ => {}
        }
        response
    }
}
