//! `/v1/calls/{callId}/events`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Path, Query};
use super::{Api, Replied, read};
use crate::api::event::{self, Envelope, EventFilter};
use crate::api::page::Page;
use crate::api::problem::{Code, Problem};
use crate::base::CallId;

pub fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::default().routes(routes!(list_events))
}

/// Read a call's events from the record
///
/// Of a call that is going on or has ended, in order, as webhooks carry them: a receiver that misses a `seq` fills its gap here. Voice
/// volume and network quality are not recorded.
#[utoipa::path(get, path = "/v1/calls/{callId}/events", tag = super::calls::TAG,
    params(("callId" = String, Path), EventFilter),
    responses((status = 200, description = "A page of events; `next` is the last one's `seq`.", body = Page<Envelope>)))]
async fn list_events(
    State(api): State<Arc<Api>>,
    Path(call): Path<CallId>,
    Query(EventFilter { after, limit }): Query<EventFilter>,
) -> Replied<Page<Envelope>> {
    let (known, records) =
        read(&api, move |ledger| Ok((ledger.call(call)?.is_some(), ledger.facts(call, after, limit.0 + 1)?))).await?;
    if !known {
        return Err(Problem::new(Code::NoSuchCall, "no such call is in the record"));
    }
    let page = event::page(records, limit).map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
    Ok(Json(page))
}
