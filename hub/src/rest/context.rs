//! Around every request: its id, its limits, its headers, its line in the audit trail.

use super::answer::{self, Refused};
use super::state::Rest;
use super::unread::Unread;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use forge_api::{Code, Problem};
use forge_event::KeyId;
use futures::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// What a handler may take, unless it waits or streams: commands have their own 10 s inside.
const HANDLER: Duration = Duration::from_millis(10_500);
/// What a request that waits may take.
const WAITING: Duration = Duration::from_secs(75);
/// What the bytes of a blob may take on their way in, or from another node.
const TRANSFER: Duration = Duration::from_secs(4 * 3600);
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Carries the key's number from the handler to the audit trail; 0 until it is known.
#[derive(Clone, Default)]
pub struct Span(Arc<AtomicU64>);

impl Span {
    pub fn name_key(&self, key: KeyId) {
        self.0.store(key.0, Ordering::Relaxed);
    }

    fn key(&self) -> Option<KeyId> {
        Some(self.0.load(Ordering::Relaxed)).filter(|k| *k != 0).map(KeyId)
    }
}

/// The middleware that every request passes.
pub async fn around(State(rest): State<Rest>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(request.headers(), &rest);
    let (method, path) = (request.method().clone(), request.uri().path().to_string());
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", |p| p.as_str()).to_string();
    let span = Span::default();
    request.extensions_mut().insert(span.clone());
    let waits = waits(&request);
    let unread = Unread::of(&mut request);
    let response = match admit(&rest, waits) {
        Err(refused) => {
            drop(request);
            refused.into_response()
        }
        Ok(permit) => {
            let limit = match (waits, is_transfer(&path)) {
                (_, true) => TRANSFER,
                (true, false) => WAITING,
                (false, false) => HANDLER,
            };
            let response = guarded(next.run(request), limit, &id).await;
            drop(permit);
            response
        }
    };
    unread.drain(rest.drains());
    let code = response.extensions().get::<Problem>().map(|p| p.code);
    let response = finish(response, &rest, &id, &method, &path);
    trail(
        &rest,
        Line { id: &id, method: &method, path: &path, route: &route, key: span.key(), code, started },
        &response,
    );
    response
}

/// Whether the bytes of a blob pass, which takes as long as they are.
fn is_transfer(path: &str) -> bool {
    path.starts_with("/v1/blobs/blake3:")
}

fn waits(request: &Request) -> bool {
    let query = request.uri().query().unwrap_or_default();
    let prefers = request.headers().get_all("prefer").iter().any(|p| p.to_str().is_ok_and(|p| p.contains("wait")));
    prefers
        || query.split('&').any(|p| p.starts_with("wait="))
        || request.uri().path().ends_with("/export")
        || is_transfer(request.uri().path())
}

fn admit(rest: &Rest, waits: bool) -> Result<OwnedSemaphorePermit, Refused> {
    let limit = if waits { rest.waiters() } else { rest.requests() };
    let full = |_| Problem::new(Code::RateLimited, "the node works on as many requests as it may; try again");
    Ok(limit.clone().try_acquire_owned().map_err(full)?)
}

async fn guarded(work: impl Future<Output = Response>, limit: Duration, id: &str) -> Response {
    match tokio::time::timeout(limit, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            tracing::error!(request_id = id, "a handler panicked");
            Refused::from(Problem::new(Code::Internal, Code::Internal.example())).into_response()
        }
        Err(_) => Refused::from(Problem::new(Code::OutcomeUnknown, "the deadline passed")).into_response(),
    }
}

/// The caller's id for the request, or one of ours.
fn request_id(headers: &HeaderMap, rest: &Rest) -> String {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let fits = |id: &&str| (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    let given = text("x-request-id").filter(fits);
    let traced = text("traceparent").and_then(|t| t.split('-').nth(1)).filter(|t| t.len() == 32).filter(fits);
    match given.or(traced) {
        Some(id) => id.to_string(),
        None => forge_event::digest::hex(&rest.hub().clock().random::<12>()),
    }
}

/// Writes problems and the headers that stand on every answer.
fn finish(mut response: Response, rest: &Rest, id: &str, method: &Method, path: &str) -> Response {
    let applied = *rest.hub().applied().borrow();
    let problem = response.extensions_mut().remove::<Problem>().or_else(|| unnamed(&response, method, path));
    if let Some(mut problem) = problem {
        problem.occurrence.instance.get_or_insert_with(|| path.into());
        problem.occurrence.request_id = Some(id.into());
        problem.occurrence.log_index.get_or_insert(applied.0);
        rest.count_refusal(problem.code.name());
        response = write(problem, response.headers().get(header::ALLOW).cloned());
    }
    let headers = response.headers_mut();
    answer::set(headers, answer::REQUEST_ID, id);
    answer::set(headers, answer::TERM, &rest.hub().term().to_string());
    answer::set(headers, answer::NODE, &rest.hub().node().to_string());
    answer::set(headers, answer::VERSION, env!("CARGO_PKG_VERSION"));
    headers.entry(answer::LOG_INDEX).or_insert(HeaderValue::from(applied.0));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// An error of the framework's own (a path, a method) as a problem.
fn unnamed(response: &Response, method: &Method, path: &str) -> Option<Problem> {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return None;
    }
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if kind.starts_with("application/json") || kind == "application/octet-stream" {
        return None;
    }
    Some(match status {
        StatusCode::NOT_FOUND => Problem::not_found(path),
        StatusCode::METHOD_NOT_ALLOWED => {
            let allowed = response.headers().get(header::ALLOW).and_then(|v| v.to_str().ok()).unwrap_or_default();
            let takes = if allowed.is_empty() { String::new() } else { format!(", it takes {allowed}") };
            Problem::new(Code::MethodNotAllowed, format!("{path} does not take {method}{takes}"))
        }
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(Code::PayloadTooLarge, "the body is too large"),
        status if status.is_client_error() => Problem::new(Code::InvalidRequest, "the request could not be read"),
        _ => Problem::new(Code::Internal, Code::Internal.example()),
    })
}

fn write(problem: Problem, allow: Option<HeaderValue>) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = problem.to_value().to_string();
    let mut response = answer::bytes_as(status, "application/problem+json", Body::from(body));
    let headers = response.headers_mut();
    if let Some(seconds) = problem.code.retry_after_s() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if problem.code == Code::Unauthenticated {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"forge\""));
    }
    if let Some(allow) = allow {
        headers.insert(header::ALLOW, allow);
    }
    response
}

/// What the audit trail says of a request.
struct Line<'a> {
    id: &'a str,
    method: &'a Method,
    path: &'a str,
    route: &'a str,
    key: Option<KeyId>,
    code: Option<Code>,
    started: Instant,
}

/// Reads, refusals and failed logins go to this node's audit trail, never to the log (hub/README, Decisions).
fn trail(rest: &Rest, line: Line<'_>, response: &Response) {
    let status = response.status().as_u16();
    rest.count_answer(line.route, line.method.as_str(), status);
    let metrics = rest.hub().metrics();
    metrics.http_requests.inc();
    metrics.http.record(line.started.elapsed());
    if line.code.is_some() {
        metrics.http_refused.inc();
    }
    if line.code == Some(Code::Unauthenticated) {
        metrics.auth_failed.inc();
    }
    let ms = line.started.elapsed().as_millis() as u64;
    let key = line.key.map(|k| k.to_string());
    let (id, method, path) = (line.id, line.method.as_str(), line.path);
    match line.code {
        Some(code @ (Code::Unauthenticated | Code::Forbidden)) => {
            tracing::warn!(target: "audit", request_id = id, method, path, status, key, code = code.name(), ms, "not let in");
        }
        Some(code) => {
            tracing::info!(target: "audit", request_id = id, method, path, status, key, code = code.name(), ms, "refused");
        }
        None if line.key.is_some() => {
            tracing::info!(target: "audit", request_id = id, method, path, status, key, ms, "answered");
        }
        None => tracing::debug!(target: "audit", request_id = id, method, path, status, ms, "answered"),
    }
}

/// Where no route leads.
pub async fn no_such_path(uri: Uri) -> Response {
    Refused::from(Problem::not_found(uri.path())).into_response()
}
