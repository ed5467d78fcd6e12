//! The client of the REST API: any node of the context, one Idempotency-Key, a budget of time.

use crate::contexts::Context;
use crate::fail::{Failure, UNAVAILABLE};
use crate::output;
use forge_api::{Code, Problem};
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Certificate, Method, Response};
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// All tries of one request together.
const BUDGET: Duration = Duration::from_secs(30);
/// If not one node even answers, give up sooner.
const UNREACHABLE: Duration = Duration::from_secs(5);
/// One try; a long poll has its wait on top.
const TRY: Duration = Duration::from_secs(15);
const CONNECT: Duration = Duration::from_secs(3);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// One request, to be tried on any node.
pub struct Ask {
    pub method: Method,
    /// Path and query.
    pub path: String,
    pub body: Option<Value>,
    /// How long the hub may wait before it answers.
    pub wait: Duration,
    /// Sent with every try of a POST or PUT; made up if not given.
    pub idempotency: Option<String>,
    /// The version that a PUT takes the place of.
    pub if_match: Option<String>,
}

impl Ask {
    pub fn get(path: impl Into<String>) -> Ask {
        Ask {
            method: Method::GET,
            path: path.into(),
            body: None,
            wait: Duration::ZERO,
            idempotency: None,
            if_match: None,
        }
    }

    pub fn post(path: impl Into<String>, body: Value) -> Ask {
        Ask { method: Method::POST, body: Some(body), ..Ask::get(path) }
    }

    pub fn put(path: impl Into<String>, body: Value) -> Ask {
        Ask { method: Method::PUT, body: Some(body), ..Ask::get(path) }
    }

    pub fn delete(path: impl Into<String>) -> Ask {
        Ask { method: Method::DELETE, ..Ask::get(path) }
    }

    pub fn waiting(mut self, wait: Duration) -> Ask {
        self.wait = wait;
        self
    }

    pub fn keyed(mut self, key: Option<String>) -> Ask {
        self.idempotency = key;
        self
    }
}

/// What the hub answered.
pub struct Answer {
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Result<Value, Failure> {
        output::parse(&self.bytes)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }
}

/// A client of one context.
pub struct Client {
    name: String,
    context: Context,
    http: reqwest::Client,
    verbose: bool,
    /// The node that answered last.
    at: std::sync::atomic::AtomicUsize,
    project: Option<String>,
}

/// What came of one try.
enum Tried {
    Answered(Answer),
    Refused(Problem),
    Unreachable(String),
}

impl Client {
    /// # Errors
    /// If the CA file cannot be read.
    pub fn new(name: String, context: Context, project: Option<String>, verbose: bool) -> Result<Client, Failure> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .user_agent(concat!("forge/", env!("CARGO_PKG_VERSION")));
        let secure = context.urls.iter().any(|u| u.starts_with("https:"));
        let certificates = match (&context.ca, secure) {
            (Some(path), true) => {
                let pem = std::fs::read(path);
                let pem =
                    pem.map_err(|e| Failure::usage(format!("the CA file {} cannot be read: {e}", path.display())))?;
                let read = Certificate::from_pem_bundle(&pem);
                read.map_err(|e| Failure::usage(format!("the CA file {} is not PEM: {e}", path.display())))?
            }
            _ => Vec::new(),
        };
        // Only the named CA is trusted: the machine's own roots vouch for nobody here, and may not even exist.
        builder = builder.tls_backend_rustls().tls_certs_only(certificates);
        let http =
            builder.build().map_err(|e| Failure::new(crate::fail::OTHER, "client", format!("setting up TLS: {e}")))?;
        Ok(Client { name, context, http, verbose, at: 0.into(), project })
    }

    /// Asks until a node answers for good, or the budget is spent.
    ///
    /// # Errors
    /// The hub's problem, or `unreachable`.
    pub async fn ask(&self, ask: Ask) -> Result<Answer, Failure> {
        let idempotency = match ask.method {
            Method::POST | Method::PUT => Some(ask.idempotency.clone().unwrap_or_else(new_key)),
            _ => None,
        };
        let started = Instant::now();
        let mut pause = PAUSE_MIN;
        let mut answered = false;
        loop {
            let at = self.at.load(std::sync::atomic::Ordering::Relaxed);
            let url = &self.context.urls[at % self.context.urls.len()];
            let why = match self.attempt(url, &ask, idempotency.as_deref()).await {
                Tried::Answered(answer) => return Ok(answer),
                Tried::Refused(problem) => {
                    answered = true;
                    let again = problem.code.retryable() && problem.code != Code::Internal;
                    if !again || started.elapsed() + pause >= BUDGET {
                        return Err(problem.into());
                    }
                    problem.to_string()
                }
                Tried::Unreachable(cause) => {
                    let limit = if answered { BUDGET } else { UNREACHABLE };
                    if started.elapsed() + pause >= limit {
                        return Err(self.unreachable(&cause));
                    }
                    cause
                }
            };
            if self.verbose {
                anstream::eprintln!("{url}: {why}; trying again");
            }
            self.at.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Asks for JSON.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn json(&self, ask: Ask) -> Result<Value, Failure> {
        self.ask(ask).await?.json()
    }

    /// Asks one node only, and streams what it answers.
    ///
    /// # Errors
    /// The hub's problem, or `unreachable`.
    pub async fn stream(&self, path: &str, accept: &str, last_event: Option<&str>) -> Result<Response, Failure> {
        let started = Instant::now();
        loop {
            let at = self.at.load(std::sync::atomic::Ordering::Relaxed);
            let url = &self.context.urls[at % self.context.urls.len()];
            let mut request = self.http.get(self.locate(url, path)).headers(self.headers()).header("accept", accept);
            if let Some(id) = last_event {
                request = request.header("last-event-id", id);
            }
            let failure = match tokio::time::timeout(TRY, request.send()).await {
                Ok(Ok(response)) if response.status().is_success() => return Ok(response),
                Ok(Ok(response)) => {
                    let problem = problem_of(response).await;
                    let again = problem.code.retryable();
                    let failure = Failure::from(problem);
                    if !again {
                        return Err(failure);
                    }
                    failure
                }
                Ok(Err(error)) => self.unreachable(&cause_of(&error)),
                Err(_) => self.unreachable("no answer in time"),
            };
            if started.elapsed() >= UNREACHABLE {
                return Err(failure);
            }
            self.at.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tokio::time::sleep(PAUSE_MIN * 4).await;
        }
    }

    async fn attempt(&self, url: &str, ask: &Ask, idempotency: Option<&str>) -> Tried {
        let mut request = self.http.request(ask.method.clone(), self.locate(url, &ask.path)).headers(self.headers());
        request = request.timeout(TRY + ask.wait);
        if let Some(body) = &ask.body {
            request = request.json(body);
        }
        if let Some(etag) = &ask.if_match {
            request = request.header("if-match", etag);
        }
        if let Some(key) = idempotency {
            request = request.header("idempotency-key", key);
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Tried::Unreachable(cause_of(&error)),
        };
        if !response.status().is_success() {
            return Tried::Refused(problem_of(response).await);
        }
        let headers = response.headers().clone();
        match response.bytes().await {
            Ok(bytes) => Tried::Answered(Answer { headers, bytes: bytes.to_vec() }),
            Err(error) => Tried::Unreachable(cause_of(&error)),
        }
    }

    fn locate(&self, url: &str, path: &str) -> String {
        match &self.project {
            Some(project) => {
                let mark = if path.contains('?') { '&' } else { '?' };
                format!("{url}{path}{mark}project={}", encode(project))
            }
            None => format!("{url}{path}"),
        }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(key) = &self.context.key
            && let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {key}"))
        {
            value.set_sensitive(true);
            headers.insert("authorization", value);
        }
        headers
    }

    /// One request to the node whose turn it is, without a limit on how long its bytes may take.
    pub fn one_try(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let at = self.at.load(std::sync::atomic::Ordering::Relaxed);
        let url = &self.context.urls[at % self.context.urls.len()];
        self.http.request(method, self.locate(url, path)).headers(self.headers())
    }

    /// The next try goes to another node.
    pub fn next_node(&self) {
        self.at.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    /// A request that got no answer.
    pub fn lost(&self, error: &reqwest::Error) -> Failure {
        self.unreachable(&cause_of(error))
    }

    fn unreachable(&self, cause: &str) -> Failure {
        let tried = self.context.urls.join(", ");
        let detail = format!("no hub answered (tried {tried}, context \"{}\"): {cause}", self.name);
        Failure::new(UNAVAILABLE, "unreachable", detail)
            .with_fix("start one with `forge dev`, or choose another with `forge context use NAME`")
    }
}

async fn problem_of(response: Response) -> Problem {
    let status = response.status().as_u16();
    let bytes = response.bytes().await.unwrap_or_default();
    let body: Option<Value> = serde_json::from_slice(&bytes).ok();
    body.as_ref().and_then(Problem::from_value).unwrap_or_else(|| {
        let code = if status == 503 { Code::NoLeader } else { Code::Internal };
        let mut problem =
            Problem::new(code, format!("the server answered {status} without a problem body; is it a hub?"));
        problem.status = status;
        problem
    })
}

/// The innermost cause: `connection refused` says more than `error sending request`.
fn cause_of(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// A new Idempotency-Key.
pub fn new_key() -> String {
    forge_event::digest::hex(&rand::random::<[u8; 16]>())
}

/// A query value.
pub fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~' | b',' | b'*');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// A path with those parameters that are given.
pub fn path(path: &str, parameters: &[(&str, Option<String>)]) -> String {
    let given = parameters.iter().filter_map(|(name, value)| Some(format!("{name}={}", encode(value.as_ref()?))));
    let query = given.collect::<Vec<_>>().join("&");
    if query.is_empty() { path.into() } else { format!("{path}?{query}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_holds_what_is_given() {
        assert_eq!(path("/v1/jobs", &[("state", None)]), "/v1/jobs");
        assert_eq!(
            path("/v1/jobs", &[("state", Some("a b".into())), ("kind", Some("null".into()))]),
            "/v1/jobs?state=a%20b&kind=null"
        );
    }

    #[test]
    fn every_new_key_is_new() {
        assert_ne!(new_key(), new_key());
    }
}
