//! `/v1/calls`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Path, Query};
use super::{Api, Replied};
use crate::api::call::{CallFilter, Detail, Overview};
use crate::api::page::Page;
use crate::api::problem::{Code, Problem};
use crate::base::CallId;
use crate::control::{Answer, Operation};

pub const TAG: &str = "calls";

pub fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::default().routes(routes!(list_calls)).routes(routes!(read_call))
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

/// Read a call that is going on
///
/// With its members, their media and their network.
#[utoipa::path(get, path = "/v1/calls/{callId}", tag = TAG, params(("callId" = String, Path)),
    responses((status = 200, description = "The call.", body = Detail)))]
async fn read_call(State(api): State<Arc<Api>>, Path(call): Path<CallId>) -> Replied<Detail> {
    match api.control.ask(Operation::ReadCall { call }).await? {
        Answer::Call(call) => Ok(Json((*call).into())),
        other => unreachable!("a call is answered with a call, not {other:?}"),
    }
}
