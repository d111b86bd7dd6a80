//! `/v1/users`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::Path;
use super::{Api, Replied};
use crate::api::user::User;
use crate::base::UserId;
use crate::control::{Answer, Operation};

pub const TAG: &str = "users";

pub fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::default().routes(routes!(read_user))
}

/// See whether a user is online, on which devices, and in which call
#[utoipa::path(get, path = "/v1/users/{userId}", tag = TAG, params(("userId" = String, Path)),
    responses((status = 200, description = "The user, offline when the server knows nothing of them.", body = User)))]
async fn read_user(State(api): State<Arc<Api>>, Path(user): Path<UserId>) -> Replied<User> {
    match api.control.ask(Operation::ReadUser { user }).await? {
        Answer::User(user) => Ok(Json(user.into())),
        other => unreachable!("a user is answered with a user, not {other:?}"),
    }
}
