//! WHEP (draft-ietf-wish-whep): a viewer without our protocol, with one audio and one video slot.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::post;
use serde::Deserialize;

use super::http::{self, Bearer, Entry};
use super::resource::{Choice, Floor, Offer};
use crate::base::{Source, UserId};
use crate::control::Request;
use crate::control::input::Target;
use crate::control::operation::{Answer, CallQuery, Operation};
use crate::event::{CallMediaType, RoomId};
use crate::signal::offer::{self, Wanted};
use crate::signal::problem::Problem;
use crate::ticket::{Privileges, Ticket};

/// Whom the viewer wants to see; without a user, whoever speaks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    user: Option<UserId>,
    /// What of the user's is shown as video: the camera, or the shared screen.
    #[serde(default)]
    source: Picture,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Picture {
    #[default]
    Camera,
    Screen,
}

pub fn router(floor: Arc<Floor>) -> Router {
    http::routes("/v1/whep", post(view), floor)
}

async fn view(
    State(floor): State<Arc<Floor>>,
    Path(room): Path<String>,
    uri: Uri,
    Bearer(ticket): Bearer,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let Query(Parameters { user, source }) =
        Query::try_from_uri(&uri).map_err(|error| Problem::new(422, "invalidQuery", error.body_text()))?;
    let Entry { room, sdp } = Entry::read(&room, &headers, body)?;
    let wanted = offer::wanted(&sdp).map_err(|unfit| Problem::new(422, "invalidOffer", unfit.to_string()))?;
    if !may_receive(&ticket, &wanted) {
        return Err(Problem::new(403, "blocked", "the PrivateMapKey allows to receive none of this"));
    }
    let call = running_call(&floor, room).await?;
    let draft = floor.log_in(ticket).await?;
    let viewer = draft.resource();
    viewer.join(Request::Join { target: call, media_type: CallMediaType::Video }).await?;
    let answer = viewer.offer(Offer { sdp, sources: Vec::new() }).await?;
    if let Some(user) = user {
        let picture = match source {
            Picture::Camera => Source::Camera,
            Picture::Screen => Source::Screen,
        };
        let audio = wanted.audio.map(|mid| (mid, Source::Microphone));
        let video = wanted.video.map(|mid| (mid, picture));
        viewer.choose(Choice { user, slots: audio.into_iter().chain(video).collect() }).await;
    }
    let viewer = draft.keep();
    Ok(http::created(&floor, uri.path(), &viewer, answer))
}

/// A viewer begins no call.
async fn running_call(floor: &Floor, room: RoomId) -> Result<Target, Problem> {
    let query = CallQuery { room: Some(room), limit: 1, ..CallQuery::default() };
    let found = floor.door.control.ask(Operation::ListCalls(query)).await;
    let calls = match found {
        Ok(Answer::Calls(page)) => page.calls,
        Ok(other) => unreachable!("a list is answered by a list, not by {other:?}"),
        Err(error) => return Err(Problem::new(503, "unavailable", error.to_string())),
    };
    let call = calls.first().ok_or_else(|| Problem::new(404, "noSuchRoom", "no call goes on in this room"))?;
    Ok(Target::Call(call.call))
}

fn may_receive(ticket: &Ticket, wanted: &Wanted) -> bool {
    let may = |privilege| ticket.map_key.as_ref().is_none_or(|key| key.privileges.contains(privilege));
    (wanted.audio.is_some() && may(Privileges::RECEIVE_AUDIO))
        || (wanted.video.is_some() && (may(Privileges::RECEIVE_VIDEO) || may(Privileges::RECEIVE_SECOND_STREAM)))
}
