//! Answers: JSON with the position it reflects, or a problem.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use forge_api::{Code, Problem};
use forge_event::EventIndex;
use forge_projections::{CommandError, FieldFault, Rejection};
use serde::Serialize;

pub const LOG_INDEX: HeaderName = HeaderName::from_static("forge-log-index");
pub const AGE_MS: HeaderName = HeaderName::from_static("forge-age-ms");
pub const REQUEST_ID: HeaderName = HeaderName::from_static("forge-request-id");
pub const TERM: HeaderName = HeaderName::from_static("forge-term");
pub const NODE: HeaderName = HeaderName::from_static("forge-node");
pub const VERSION: HeaderName = HeaderName::from_static("forge-version");
pub const MIN_INDEX: HeaderName = HeaderName::from_static("forge-min-index");
pub const RESULT_DIGEST: HeaderName = HeaderName::from_static("forge-result-digest");
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
pub const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// A problem on its way out. Its body is written at the door, where request id and position are known.
#[derive(Debug)]
pub struct Refused(pub Box<Problem>);

/// A rejection that no caller can cause is a fault of ours: the caller learns little of it, the operator all.
fn note_ours(rejection: &Rejection) {
    if let Rejection::Internal { detail } = rejection {
        tracing::error!(detail, "a command was rejected that no caller can cause");
    }
}

/// What a handler gives.
pub type Answered = Result<Response, Refused>;

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Refused {
        Refused(Box::new(problem))
    }
}

impl From<CommandError> for Refused {
    fn from(error: CommandError) -> Refused {
        if let CommandError::Rejected(rejection) = &error {
            note_ours(rejection);
        }
        Problem::from(error).into()
    }
}

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Refused {
        note_ours(&rejection);
        Problem::from(rejection).into()
    }
}

impl From<Vec<FieldFault>> for Refused {
    fn from(faults: Vec<FieldFault>) -> Refused {
        Problem::fields(faults).into()
    }
}

impl Refused {
    /// What a body's field names does not exist: a fault of that field, not of the path (422, not 404).
    pub fn blame(self, field: &str) -> Refused {
        if self.0.code != Code::NotFound {
            return self;
        }
        let fault = FieldFault {
            pointer: format!("/{field}"),
            code: Code::NotFound.name().into(),
            detail: self.0.detail,
            fix: Some(format!("name in `{field}` one that exists and that this key may use")),
        };
        vec![fault].into()
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.extensions_mut().insert(*self.0);
        response
    }
}

/// A JSON answer.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let bytes = serde_json::to_vec(body).expect("bodies have string keys and finite numbers");
    bytes_as(status, "application/json", bytes)
}

/// An answer of these bytes.
pub fn bytes_as(status: StatusCode, kind: &'static str, bytes: impl Into<Body>) -> Response {
    let mut response = Response::new(bytes.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Says which state the answer reflects.
pub fn at(mut response: Response, index: EventIndex) -> Response {
    response.headers_mut().insert(LOG_INDEX, HeaderValue::from(index.0));
    response
}

/// Adds a header whose value is visible ASCII by construction.
pub fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    match HeaderValue::from_str(value) {
        Ok(value) => drop(headers.insert(name, value)),
        Err(_) => tracing::error!(header = %name, "a header value is not visible ASCII"),
    }
}

/// Whether the caller has this version already (`If-None-Match`).
pub fn is_known(request: &HeaderMap, etag: &str) -> bool {
    let known = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok());
    known.flat_map(|v| v.split(',')).map(str::trim).any(|v| v == "*" || v.trim_start_matches("W/") == etag)
}

/// 304, without a body.
pub fn not_modified() -> Response {
    let mut empty = Response::new(Body::empty());
    *empty.status_mut() = StatusCode::NOT_MODIFIED;
    empty
}

/// 304 if the caller has this version already.
pub fn unless_matching(request: &HeaderMap, etag: &str, response: impl FnOnce() -> Response) -> Response {
    let mut response = if is_known(request, etag) { not_modified() } else { response() };
    set(response.headers_mut(), header::ETAG, etag);
    response
}
