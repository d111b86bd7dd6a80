//! What handlers take of a request: the path's names, the query, the body; a [`Problem`] when it is not what is expected.

use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header;
use axum::http::request::Parts;
use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::api::problem::{Code, Problem};

/// The largest body a request may have, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// The names in the path; what cannot be a name is not found.
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(names)) => Ok(Self(names)),
            Err(rejection) => Err(Problem::new(Code::NotFound, rejection.body_text())),
        }
    }
}

/// The query. Its type refuses what it does not know by `deny_unknown_fields`.
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match axum::extract::Query::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(rejection) => Err(Problem::new(Code::InvalidQuery, rejection.body_text())),
        }
    }
}

/// A JSON body. Its type refuses what it does not know by `deny_unknown_fields`.
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(&request) {
            let detail = "Content-Type: application/json is expected";
            return Err(Problem::new(Code::UnsupportedMediaType, detail));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(unread)?;
        let value: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|error| Problem::new(Code::MalformedBody, error.to_string()))?;
        if !value.is_object() {
            // Positions would do for serde; here members have names.
            return Err(Problem::new(Code::InvalidBody, "an object is expected"));
        }
        serde_path_to_error::deserialize(value).map(Self).map_err(|error| {
            let path = error.path().to_string();
            let detail = match path.as_str() {
                "." => error.inner().to_string(),
                _ => format!("{path}: {}", error.inner()),
            };
            Problem::new(Code::InvalidBody, detail)
        })
    }
}

fn is_json(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let essence = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

fn unread(rejection: BytesRejection) -> Problem {
    match rejection.status().as_u16() {
        413 => Problem::new(Code::BodyTooLarge, format!("a body has at most {MAX_BODY} bytes")),
        _ => Problem::new(Code::MalformedBody, rejection.body_text()),
    }
}
