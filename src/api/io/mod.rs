//! The REST routes: a file for each noun, joined here with the key, the errors and the OpenAPI document.

pub mod auth;
mod calls;
pub mod endpoints;
mod events;
pub mod extract;
pub mod health;
mod users;
mod webhooks;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{
    Content, Info, OpenApi, OpenApiBuilder, Ref, RefOr, Response as Documented, SecurityRequirement, Tag,
};
use utoipa_axum::router::OpenApiRouter;

use self::auth::ApiKey;
use self::endpoints::Endpoints;
use self::extract::MAX_BODY;
use super::problem::{Code, Problem};
use crate::control::io::{Clock, Handle};
use crate::ledger::io::{Store, StoreError};

/// What the routes work with; each handler takes it as `State(api): State<Arc<Api>>`.
pub struct Api {
    pub key: ApiKey,
    pub clock: Clock,
    pub control: Handle,
    pub ledger: Arc<Store>,
    pub endpoints: Arc<Endpoints>,
}

/// Every noun's routes. A new noun is a file beside this one, a line here, and a line in [`TAGS`].
fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::with_openapi(OpenApiBuilder::new().info(info()).build())
        .merge(calls::routes())
        .merge(events::routes())
        .merge(users::routes())
        .merge(webhooks::routes())
}

const TAGS: &[(&str, &str)] = &[
    (calls::TAG, "Calls that are going on."),
    (users::TAG, "Who is online, and where."),
    (webhooks::TAG, "Where events go, and what became of them."),
];

fn info() -> Info {
    let mut info = Info::new("Callisto", env!("CARGO_PKG_VERSION"));
    info.description = Some(include_str!("../openapi.md").to_owned());
    info
}

/// `/v1/…` of the admin listener.
pub fn router(api: Arc<Api>) -> Router {
    let (routes, _) = routes().split_for_parts();
    let document: Arc<str> = document().to_json().expect("the document is plain data").into();
    routes
        .route_layer(middleware::from_fn_with_state(api.clone(), authorize))
        .route(
            "/v1/openapi.json",
            get(|| async move { ([(header::CONTENT_TYPE, "application/json")], document.to_string()) }),
        )
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(api)
}

/// What `/v1/openapi.json` says: the operations as their handlers declare them, each with the key it needs and the errors it may give.
pub fn document() -> OpenApi {
    let mut document = routes().into_openapi();
    document.tags = Some(TAGS.iter().map(|(name, description)| tag(name, description)).collect());
    document.security = Some(vec![SecurityRequirement::new("apiKey", [] as [&str; 0])]);
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("apiKey", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    components.schemas.extend(Problem::schemas());
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    let mut problem = Documented::new("The request was not carried out; `code` says why.");
    problem.content.insert("application/problem+json".into(), RefOr::T(content));
    components.responses.insert("Problem".into(), RefOr::T(problem));
    for item in document.paths.paths.values_mut() {
        let operations =
            [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete, &mut item.head];
        for operation in operations.into_iter().flatten() {
            let problem = RefOr::Ref(Ref::from_response_name("Problem"));
            operation.responses.responses.insert("default".into(), problem);
        }
    }
    document
}

fn tag(name: &str, description: &str) -> Tag {
    let mut tag = Tag::new(name);
    tag.description = Some(description.to_owned());
    tag
}

async fn authorize(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION);
    match given.and_then(auth::bearer) {
        Some(key) if api.key.admits(key, api.clock.now()) => next.run(request).await,
        Some(_) => unauthorized("this API key is not the server's"),
        None => unauthorized("Authorization: Bearer <API key> is expected; the key is in the data folder's api-key"),
    }
}

fn unauthorized(detail: &str) -> Response {
    let challenge = (header::WWW_AUTHENTICATE, "Bearer realm=\"callisto\"");
    ([challenge], Problem::new(Code::Unauthorized, detail)).into_response()
}

async fn not_found(request: Request) -> Problem {
    Problem::new(Code::NotFound, format!("there is nothing at {:?}", request.uri().path()))
}

async fn method_not_allowed(request: Request) -> Problem {
    let (method, path) = (request.method(), request.uri().path());
    Problem::new(Code::MethodNotAllowed, format!("{path:?} does not take {method}"))
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = axum::http::StatusCode::from_u16(self.code.status().0).expect("codes have real statuses");
        (status, [(header::CONTENT_TYPE, "application/problem+json")], self.to_json()).into_response()
    }
}

/// Reads the record, which may wait for the disk.
async fn read<T: Send + 'static>(
    api: &Api,
    what: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Problem> {
    let ledger = api.ledger.clone();
    match tokio::task::spawn_blocking(move || what(&ledger)).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => {
            tracing::error!(%error, "the record cannot be read");
            Err(Problem::new(Code::Unavailable, error.to_string()))
        }
        Err(_) => Err(Problem::new(Code::Internal, "reading the record failed")),
    }
}

/// A handler's result.
type Replied<T> = Result<Json<T>, Problem>;
