//! `/v1/calls`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Body, Path, Query};
use super::{Api, Replied, read};
use crate::api::call::{CallFilter, Overview};
use crate::api::order::{Kick, Mute, NewCall, Placed};
use crate::api::page::Page;
use crate::api::past::{Call, Ended};
use crate::api::problem::{Code, Problem};
use crate::base::{CallId, UserId};
use crate::control::io::Unanswered;
use crate::control::{Answer, Denial, Operation, Order};

pub const TAG: &str = "calls";

pub fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::default()
        .routes(routes!(list_calls, place_call))
        .routes(routes!(read_call, dismiss_call))
        .routes(routes!(kick_user))
        .routes(routes!(mute_user))
}

/// List the calls that are going on
///
/// In the order in which they were placed.
#[utoipa::path(get, path = "/v1/calls", tag = TAG, params(CallFilter),
    responses((status = 200, description = "A page of calls.", body = Page<Overview>)))]
async fn list_calls(State(api): State<Arc<Api>>, Query(filter): Query<CallFilter>) -> Replied<Page<Overview>> {
    let query = filter.query().map_err(|detail| Problem::new(Code::InvalidQuery, detail))?;
    match api.control.ask(Operation::ListCalls(query)).await? {
        Answer::Calls(page) => Ok(Json(page.into())),
        other => unreachable!("a list is answered with a list, not {other:?}"),
    }
}

/// Place a call between users
///
/// As if the caller had called: the callees are rung, the first one who accepts begins it. The caller's device hears `onCallPlaced`
/// with everything it needs to show the call; a caller whom no client connects is refused (`callerOffline`), one who is in a call or rung
/// for one, too (`refusedInThisState`).
#[utoipa::path(post, path = "/v1/calls", tag = TAG, request_body = NewCall,
    responses((status = 201, description = "The call is placed; `Location` has its path.", body = Placed)))]
async fn place_call(State(api): State<Arc<Api>>, Body(call): Body<NewCall>) -> Result<Response, Problem> {
    let placement = call.placement().map_err(|detail| Problem::new(Code::InvalidBody, detail))?;
    if let Some(webhook) = &placement.webhook {
        api.endpoints.vet(&webhook.url)?;
    }
    match api.control.ask(Operation::Place(placement)).await? {
        Answer::Placed { call, room } => {
            let placed = Placed { call_id: call, room_id: (&room).into() };
            Ok((StatusCode::CREATED, [(header::LOCATION, format!("/v1/calls/{call}"))], Json(placed)).into_response())
        }
        other => unreachable!("a placement is answered with a call, not {other:?}"),
    }
}

/// Read a call
///
/// One that goes on with its members, their media and their network; one that has ended with what the record keeps of it.
#[utoipa::path(get, path = "/v1/calls/{callId}", tag = TAG, params(("callId" = String, Path)),
    responses((status = 200, description = "The call.", body = Call)))]
async fn read_call(State(api): State<Arc<Api>>, Path(call): Path<CallId>) -> Replied<Call> {
    match api.control.ask(Operation::ReadCall { call }).await {
        Ok(Answer::Call(call)) => Ok(Json(Call::Running(Box::new((*call).into())))),
        Err(Unanswered::Denied(denial @ Denial::NoSuchCall)) => match ended(&api, call).await? {
            Some(ended) => Ok(Json(Call::Ended(ended))),
            None => Err(denial.into()),
        },
        Err(error) => Err(error.into()),
        Ok(other) => unreachable!("a call is answered with a call, not {other:?}"),
    }
}

/// What the record has of a call that has ended.
async fn ended(api: &Api, call: CallId) -> Result<Option<Ended>, Problem> {
    read(api, move |ledger| {
        let Some(row) = ledger.call(call)? else { return Ok(None) };
        let last = ledger.facts(call, row.last_seq.saturating_sub(1), 1)?;
        Ok(last.first().and_then(|last| Ended::new(call, &row, last)))
    })
    .await
}

/// End a call for everyone
///
/// With the reason `dismissed`.
#[utoipa::path(delete, path = "/v1/calls/{callId}", tag = TAG, params(("callId" = String, Path)),
    responses((status = 204, description = "The call is over.")))]
async fn dismiss_call(State(api): State<Arc<Api>>, Path(call): Path<CallId>) -> Result<StatusCode, Problem> {
    order(&api, call, Order::Dismiss).await
}

/// Put a user out of a call
///
/// Whether the user is in it or being rung for it; with the reason `kicked`. The call ends when too few are left.
#[utoipa::path(delete, path = "/v1/calls/{callId}/users/{userId}", tag = TAG,
    params(("callId" = String, Path), ("userId" = String, Path), Kick),
    responses((status = 204, description = "The user is out.")))]
async fn kick_user(
    State(api): State<Arc<Api>>,
    Path((call, user)): Path<(CallId, UserId)>,
    Query(kick): Query<Kick>,
) -> Result<StatusCode, Problem> {
    let ban = kick.span().map_err(|detail| Problem::new(Code::InvalidQuery, detail))?;
    order(&api, call, Order::Kick { user, ban }).await
}

/// Mute a user's source, or lift that
///
/// The server does not forward it, whatever the user's client does, also after the user left and came back. Lifted, it is as the user
/// has it.
#[utoipa::path(post, path = "/v1/calls/{callId}/users/{userId}/mute", tag = TAG,
    params(("callId" = String, Path), ("userId" = String, Path)), request_body = Mute,
    responses((status = 204, description = "It is so.")))]
async fn mute_user(
    State(api): State<Arc<Api>>,
    Path((call, user)): Path<(CallId, UserId)>,
    Body(Mute { source, muted }): Body<Mute>,
) -> Result<StatusCode, Problem> {
    order(&api, call, Order::Mute { user, source, muted }).await
}

async fn order(api: &Api, call: CallId, order: Order) -> Result<StatusCode, Problem> {
    match api.control.ask(Operation::Order { call, order }).await? {
        Answer::Done => Ok(StatusCode::NO_CONTENT),
        other => unreachable!("an order is answered with success, not {other:?}"),
    }
}
