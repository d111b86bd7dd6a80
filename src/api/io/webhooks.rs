//! `/v1/webhooks`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::endpoints::{Endpoints, Unchanged};
use super::extract::{Body, Path, Query};
use super::{Api, Replied};
use crate::api::page::Page;
use crate::api::problem::{Code, Problem};
use crate::api::webhook::{
    Delivery, DeliveryDetail, DeliveryFilter, DeliveryQuery, Made, NewWebhook, Replay, ReplayRequest, Rotated,
    Rotation, Tested, Webhook, WebhookPatch,
};
use crate::base::{CallId, EndpointId};
use crate::ledger::io::ChangeError;
use crate::webhook::InvalidEndpoint;
use crate::webhook::book::{NotChanged, Patch};
use crate::webhook::replay::ReplayId;

pub const TAG: &str = "webhooks";

pub fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::default()
        .routes(routes!(list_webhooks, make_webhook))
        .routes(routes!(read_webhook, change_webhook, remove_webhook))
        .routes(routes!(rotate_secret))
        .routes(routes!(test_webhook))
        .routes(routes!(list_deliveries))
        .routes(routes!(read_delivery))
        .routes(routes!(list_replays, replay))
        .routes(routes!(cancel_replay))
}

impl From<Unchanged> for Problem {
    fn from(error: Unchanged) -> Self {
        let code = match &error {
            Unchanged::Refused(NotChanged::Unknown) => Code::NoSuchWebhook,
            Unchanged::Refused(NotChanged::Configured) => Code::WebhookConfigured,
            Unchanged::Refused(NotChanged::TooMany) | Unchanged::TooManyReplays => Code::TooMany,
            Unchanged::Address(InvalidEndpoint::Refused(_)) => Code::AddressRefused,
            Unchanged::Address(_) => Code::InvalidBody,
            Unchanged::NoReplay => Code::NoSuchDelivery,
            Unchanged::Record(ChangeError::Failing | ChangeError::Closed) | Unchanged::Unread(_) => Code::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}

fn invalid_body(detail: String) -> Problem {
    Problem::new(Code::InvalidBody, detail)
}

/// Looks into the record, which may wait for the disk.
async fn read<T: Send + 'static>(
    api: &Api,
    what: impl FnOnce(&Endpoints) -> Result<T, Unchanged> + Send + 'static,
) -> Result<T, Problem> {
    let endpoints = api.endpoints.clone();
    let found = tokio::task::spawn_blocking(move || what(&endpoints)).await;
    Ok(found.map_err(|_| Problem::new(Code::Internal, "reading the record failed"))??)
}

fn unknown() -> Problem {
    Unchanged::Refused(NotChanged::Unknown).into()
}

/// List the webhook endpoints
///
/// Those of the configuration and those made here, each with how it does.
#[utoipa::path(get, path = "/v1/webhooks", tag = TAG,
    responses((status = 200, description = "All of them, on one page.", body = Page<Webhook>)))]
async fn list_webhooks(State(api): State<Arc<Api>>) -> Json<Page<Webhook>> {
    Json(Page { items: api.endpoints.list(), next: None })
}

/// Make a webhook endpoint
///
/// New calls are told to it. The answer alone shows the secret.
#[utoipa::path(post, path = "/v1/webhooks", tag = TAG, request_body = NewWebhook,
    responses((status = 201, description = "It is kept, and survives restarts.", body = Made)))]
async fn make_webhook(
    State(api): State<Arc<Api>>,
    Body(new): Body<NewWebhook>,
) -> Result<(StatusCode, Json<Made>), Problem> {
    let made = api.endpoints.make(new.parse().map_err(invalid_body)?).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Read a webhook endpoint
#[utoipa::path(get, path = "/v1/webhooks/{id}", tag = TAG, params(("id" = String, Path)),
    responses((status = 200, description = "The endpoint and how it does.", body = Webhook)))]
async fn read_webhook(State(api): State<Arc<Api>>, Path(id): Path<EndpointId>) -> Replied<Webhook> {
    api.endpoints.read(&id).map(Json).ok_or_else(unknown)
}

/// Change a webhook endpoint
///
/// One of the configuration can only be disabled and enabled.
#[utoipa::path(patch, path = "/v1/webhooks/{id}", tag = TAG, params(("id" = String, Path)), request_body = WebhookPatch,
    responses((status = 200, description = "The endpoint as it is now.", body = Webhook)))]
async fn change_webhook(
    State(api): State<Arc<Api>>,
    Path(id): Path<EndpointId>,
    Body(patch): Body<WebhookPatch>,
) -> Replied<Webhook> {
    patch.check().map_err(invalid_body)?;
    let WebhookPatch { url, events, enabled } = patch;
    api.endpoints.change(&id, Patch { url, events, enabled }).await?;
    api.endpoints.read(&id).map(Json).ok_or_else(unknown)
}

/// Remove a webhook endpoint
///
/// What it has not confirmed is not delivered any more.
#[utoipa::path(delete, path = "/v1/webhooks/{id}", tag = TAG, params(("id" = String, Path)),
    responses((status = 204, description = "It is gone.")))]
async fn remove_webhook(State(api): State<Arc<Api>>, Path(id): Path<EndpointId>) -> Result<StatusCode, Problem> {
    api.endpoints.remove(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Give a webhook endpoint a new secret
///
/// For a while the old one signs beside it, so that the receiver can change over without a gap.
#[utoipa::path(post, path = "/v1/webhooks/{id}/rotate", tag = TAG, params(("id" = String, Path)), request_body = Rotation,
    responses((status = 200, description = "The new secret.", body = Rotated)))]
async fn rotate_secret(
    State(api): State<Arc<Api>>,
    Path(id): Path<EndpointId>,
    Body(rotation): Body<Rotation>,
) -> Replied<Rotated> {
    let (secret, overlap) = rotation.parse().map_err(invalid_body)?;
    Ok(Json(api.endpoints.rotate(&id, secret, overlap).await?))
}

/// Send a test to a webhook endpoint
///
/// A signed request of the type `delivery.test`, once, also to one that is disabled. The answer says what came of it.
#[utoipa::path(post, path = "/v1/webhooks/{id}/test", tag = TAG, params(("id" = String, Path)),
    responses((status = 200, description = "What came of it, whatever that is.", body = Tested)))]
async fn test_webhook(State(api): State<Arc<Api>>, Path(id): Path<EndpointId>) -> Replied<Tested> {
    api.endpoints.test(&id).await.map(Json).ok_or_else(unknown)
}

/// List what a webhook endpoint has not taken
///
/// `per-call` stands for the endpoints that single calls brought along.
#[utoipa::path(get, path = "/v1/webhooks/{id}/deliveries", tag = TAG, params(("id" = String, Path), DeliveryFilter),
    responses((status = 200, description = "A page, the oldest call first.", body = Page<Delivery>)))]
async fn list_deliveries(
    State(api): State<Arc<Api>>,
    Path(id): Path<EndpointId>,
    Query(filter): Query<DeliveryFilter>,
) -> Replied<Page<Delivery>> {
    let DeliveryFilter { state, after, limit } = filter;
    read(&api, move |endpoints| match state {
        DeliveryQuery::Pending => endpoints.pending(&id, after, limit.0),
        DeliveryQuery::Dead => endpoints.dead(&id, after, limit.0),
    })
    .await
    .map(Json)
}

/// Read one delivery in full
#[utoipa::path(get, path = "/v1/webhooks/{id}/deliveries/{callId}/{seq}", tag = TAG,
    params(("id" = String, Path), ("callId" = String, Path), ("seq" = u64, Path)),
    responses((status = 200, description = "The event, its state and its body.", body = DeliveryDetail)))]
async fn read_delivery(
    State(api): State<Arc<Api>>,
    Path((id, call, seq)): Path<(EndpointId, CallId, u64)>,
) -> Replied<DeliveryDetail> {
    let found = read(&api, move |endpoints| endpoints.delivery(&id, call, seq)).await?;
    found.map(Json).ok_or_else(|| Problem::new(Code::NoSuchDelivery, "the record has no such event"))
}

/// List the replays of a webhook endpoint
///
/// Those that run or wait, then the last that ended.
#[utoipa::path(get, path = "/v1/webhooks/{id}/replay", tag = TAG, params(("id" = String, Path)),
    responses((status = 200, description = "All of them, on one page.", body = Page<Replay>)))]
async fn list_replays(State(api): State<Arc<Api>>, Path(id): Path<EndpointId>) -> Replied<Page<Replay>> {
    let items = api.endpoints.replays(&id).ok_or_else(unknown)?;
    Ok(Json(Page { items, next: None }))
}

/// Send events again
///
/// The same ids and bytes, in order for each call, beside the live events and slower than they are. It goes on after a restart. Dead
/// letters that arrive are none any more.
#[utoipa::path(post, path = "/v1/webhooks/{id}/replay", tag = TAG, params(("id" = String, Path)), request_body = ReplayRequest,
    responses((status = 202, description = "It will be done.", body = Replay)))]
async fn replay(
    State(api): State<Arc<Api>>,
    Path(id): Path<EndpointId>,
    Body(request): Body<ReplayRequest>,
) -> Result<(StatusCode, Json<Replay>), Problem> {
    let replay = api.endpoints.replay(&id, request).await?;
    Ok((StatusCode::ACCEPTED, Json(replay)))
}

/// End a replay before it is done
#[utoipa::path(delete, path = "/v1/webhooks/{id}/replay/{replayId}", tag = TAG,
    params(("id" = String, Path), ("replayId" = String, Path)),
    responses((status = 204, description = "Nothing more of it is sent.")))]
async fn cancel_replay(
    State(api): State<Arc<Api>>,
    Path((id, replay)): Path<(EndpointId, String)>,
) -> Result<StatusCode, Problem> {
    let replay: ReplayId = replay.parse().map_err(|_| Problem::from(Unchanged::NoReplay))?;
    api.endpoints.cancel(&id, replay).await?;
    Ok(StatusCode::NO_CONTENT)
}
