//! WHIP (RFC 9725): a publisher without our protocol is a member of the room's call like any other.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::post;

use super::http::{self, Bearer, Entry};
use super::resource::{Floor, Offer};
use crate::base::Source;
use crate::control::Request;
use crate::control::input::Target;
use crate::event::CallMediaType;
use crate::signal::offer;
use crate::signal::problem::Problem;
use crate::ticket::{Privileges, Ticket};

pub fn router(floor: Arc<Floor>) -> Router {
    http::routes("/v1/whip", post(publish), floor)
}

async fn publish(
    State(floor): State<Arc<Floor>>,
    Path(room): Path<String>,
    uri: Uri,
    Bearer(ticket): Bearer,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let Entry { room, sdp } = Entry::read(&room, &headers, body)?;
    let sources = offer::sources(&sdp).map_err(|unfit| Problem::new(422, "invalidOffer", unfit.to_string()))?;
    if !sources.iter().any(|(_, source)| may_send(&ticket, *source)) {
        return Err(Problem::new(403, "blocked", "the PrivateMapKey allows to send none of this"));
    }
    let has_video = sources.iter().any(|(_, source)| source.is_video());
    let media_type = if has_video { CallMediaType::Video } else { CallMediaType::Voice };
    let draft = floor.log_in(ticket).await?;
    let publisher = draft.resource();
    publisher.join(Request::Join { target: Target::Room(room), media_type }).await?;
    let answer = publisher.offer(Offer { sdp, sources }).await?;
    let publisher = draft.keep();
    Ok(http::created(&floor, uri.path(), &publisher, answer))
}

fn may_send(ticket: &Ticket, source: Source) -> bool {
    let privilege = match source {
        Source::Microphone => Privileges::SEND_AUDIO,
        Source::Camera => Privileges::SEND_VIDEO,
        Source::Screen => Privileges::SEND_SECOND_STREAM,
    };
    ticket.map_key.as_ref().is_none_or(|key| key.privileges.contains(privilege))
}
