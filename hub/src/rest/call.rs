//! One authenticated request: who asks, what for, and how fresh the answer must be.

use super::answer::{self, Refused};
use super::state::Rest;
use axum::body::Body;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use forge_api::{Code, Problem, fingerprint, key, strict};
use forge_event::*;
use forge_projections::{Command, Committed, Rejection, World};
use futures::StreamExt;
use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// JSON bodies end here. Units: bytes.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// How long `Forge-Min-Index` may wait.
const MIN_INDEX_WAIT: Duration = Duration::from_secs(5);

/// A request whose API key was checked.
pub struct Call {
    pub rest: Rest,
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub key: KeyId,
    query: Vec<(String, String)>,
    scopes: Vec<Scope>,
    own_project: Option<ProjectId>,
}

/// How an answer's state relates to the present.
#[derive(Clone, Copy)]
pub struct Freshness {
    /// Set for `consistency=local`.
    pub age_ms: Option<u64>,
}

impl FromRequestParts<Rest> for Call {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, rest: &Rest) -> Result<Call, Refused> {
        let query = query_of(parts)?;
        let presented = presented_key(&parts.headers)?;
        let mut found = rest.hub().read(|w| check_key(w, &presented, rest.hub().clock().now()));
        if matches!(found, Err(KeyFault::Unknown)) {
            // It may be younger than what this node has folded.
            rest.hub().barrier().await?;
            found = rest.hub().read(|w| check_key(w, &presented, rest.hub().clock().now()));
        }
        let (scopes, own_project) = found.map_err(|fault| fault.problem(presented.id))?;
        if let Some(span) = parts.extensions.get::<super::context::Span>() {
            span.name_key(presented.id);
        }
        Ok(Call {
            rest: rest.clone(),
            method: parts.method.clone(),
            path: parts.uri.path().to_string(),
            headers: parts.headers.clone(),
            key: presented.id,
            query,
            scopes,
            own_project,
        })
    }
}

/// The query as pairs; a name given twice is a mistake we do not guess about.
pub fn query_of(parts: &Parts) -> Result<Vec<(String, String)>, Refused> {
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
    let Query(pairs) = pairs.map_err(|e| Problem::bad_parameter("query", e.body_text()))?;
    for (at, (name, _)) in pairs.iter().enumerate() {
        if pairs[..at].iter().any(|(n, _)| n == name) {
            return Err(Problem::bad_parameter(name, "is given twice").into());
        }
    }
    Ok(pairs)
}

fn presented_key(headers: &HeaderMap) -> Result<key::ApiKey, Refused> {
    let value = headers.get(header::AUTHORIZATION);
    let missing = || Problem::new(Code::Unauthenticated, "send `Authorization: Bearer fk_…`");
    let text = value.ok_or_else(missing)?.to_str().map_err(|_| missing())?;
    let (scheme, token) = text.split_once(' ').ok_or_else(missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(missing().into());
    }
    key::parse(token.trim()).map_err(|e| Problem::new(Code::Unauthenticated, e.to_string()).into())
}

enum KeyFault {
    Unknown,
    Ended,
}

impl KeyFault {
    fn problem(&self, id: KeyId) -> Problem {
        // Wrong secret and unknown number look the same: nobody learns which keys exist.
        Problem::new(
            Code::Unauthenticated,
            match self {
                KeyFault::Unknown => "the API key is not one of this cluster".to_string(),
                KeyFault::Ended => format!("the API key {id} is revoked or expired"),
            },
        )
    }
}

fn check_key(
    world: &World,
    presented: &key::ApiKey,
    now: Timestamp,
) -> Result<(Vec<Scope>, Option<ProjectId>), KeyFault> {
    let digest = key::digest(&presented.secret);
    let known = world.projects.keys.get(&presented.id).ok_or(KeyFault::Unknown)?;
    if !key::digests_equal(&known.digest, &digest) {
        return Err(KeyFault::Unknown);
    }
    if !known.is_live(now.max(world.at)) {
        return Err(KeyFault::Ended);
    }
    Ok((known.scopes.clone(), known.project))
}

/// Reads a body to its end.
async fn read(body: Body) -> Result<Vec<u8>, Refused> {
    let mut parts = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|e| Problem::new(Code::InvalidRequest, format!("the body was cut: {e}")))?;
        if bytes.len() + part.len() > BODY_BYTES_MAX {
            let detail = format!("the body passes the limit of {BODY_BYTES_MAX} bytes");
            return Err(Problem::new(Code::PayloadTooLarge, detail).into());
        }
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

impl Call {
    /// A query parameter; empty counts as absent.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    /// A parameter of words, separated by commas.
    pub fn words(&self, name: &str) -> Option<Vec<&str>> {
        self.query(name).map(|text| text.split(',').map(str::trim).collect())
    }

    /// Parameters whose names begin so, without that beginning.
    pub fn query_under<'c>(&'c self, start: &'c str) -> impl Iterator<Item = (&'c str, &'c str)> + 'c {
        self.query.iter().filter_map(move |(n, v)| Some((n.strip_prefix(start)?, v.as_str())))
    }

    /// A parameter read by `read`.
    pub fn parsed<T, E: std::fmt::Display>(
        &self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Refused> {
        self.query(name).map(read).transpose().map_err(|e| Problem::bad_parameter(name, e).into())
    }

    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// # Errors
    /// 403 if the key has none of these.
    pub fn need(&self, any: &[Scope]) -> Result<(), Refused> {
        if any.iter().any(|s| self.has(*s)) {
            return Ok(());
        }
        let names = |scopes: &[Scope]| scopes.iter().map(|s| s.name()).collect::<Vec<_>>().join(" or ");
        let has = self.scopes.iter().map(|s| s.name()).collect::<Vec<_>>().join(", ");
        let detail = format!("this needs the scope {}; key {} has {has}", names(any), self.key);
        Err(Problem::new(Code::Forbidden, detail).with("missing_scope", any.first().map(|s| s.name())).into())
    }

    /// The project this request acts for: the key's own, or `?project=` with `cluster:admin`.
    ///
    /// # Errors
    /// 404 for a project the key may not act for, 400 if a cluster key names none.
    pub fn project(&self) -> Result<ProjectId, Refused> {
        match self.named_project()?.or(self.own_project) {
            Some(project) => Ok(project),
            None => Err(Problem::bad_parameter("project", "a cluster key says which with ?project=p7").into()),
        }
    }

    /// What `?project=` names, if the key may act for it.
    pub fn named_project(&self) -> Result<Option<ProjectId>, Refused> {
        match self.query("project") {
            Some(_) => self.rest.hub().read(|world| self.named_in(world)),
            None => Ok(None),
        }
    }

    fn named_in(&self, world: &World) -> Result<Option<ProjectId>, Refused> {
        let Some(text) = self.query("project") else { return Ok(None) };
        let project: ProjectId = text.parse().map_err(|e| Problem::bad_parameter("project", e))?;
        let may = self.own_project == Some(project) || self.has(Scope::ClusterAdmin);
        let exists = may && world.projects.projects.contains(&project);
        if exists { Ok(Some(project)) } else { Err(Problem::not_found(format!("project {text}")).into()) }
    }

    /// True if objects of `project` may be shown to this caller.
    pub fn may_see(&self, world: &World, project: ProjectId) -> bool {
        match self.named_in(world) {
            Ok(Some(named)) => named == project,
            Ok(None) => self.own_project == Some(project),
            Err(_) => false,
        }
    }

    /// The key's own project.
    pub fn own_project(&self) -> Option<ProjectId> {
        self.own_project
    }

    /// Brings this node's state to what the caller asked for, before it is read.
    ///
    /// # Errors
    /// 503 where that is not possible now.
    pub async fn settle(&self) -> Result<Freshness, Refused> {
        if self.query("at").is_some() {
            return Err(Problem::new(Code::NotYet, "reading the past with ?at= is not available yet").into());
        }
        self.min_index().await?;
        match self.query("consistency") {
            None | Some("linearizable" | "lease") => {
                self.rest.hub().barrier().await?;
                self.still_allowed()?;
                Ok(Freshness { age_ms: None })
            }
            Some("local") => Ok(self.local()),
            Some(_) => Err(Problem::bad_parameter("consistency", "it is linearizable, lease or local").into()),
        }
    }

    /// This node's own state, as it is; waits for `Forge-Min-Index`.
    pub async fn settle_here(&self) -> Result<Freshness, Refused> {
        self.min_index().await?;
        Ok(self.local())
    }

    fn local(&self) -> Freshness {
        let hub = self.rest.hub();
        let leads = hub.leader() == Some(hub.node());
        let age = hub.clock().now().since(hub.read(|w| w.at));
        Freshness { age_ms: Some(if leads { 0 } else { age.0 }) }
    }

    async fn min_index(&self) -> Result<(), Refused> {
        let Some(value) = self.headers.get(answer::MIN_INDEX) else { return Ok(()) };
        let index = value.to_str().ok().and_then(|t| t.parse().ok()).map(EventIndex);
        let index = index.ok_or_else(|| Problem::bad_parameter("Forge-Min-Index", "it is an index"))?;
        if self.rest.hub().reached(index, MIN_INDEX_WAIT).await {
            return Ok(());
        }
        let here = *self.rest.hub().applied().borrow();
        let detail = format!("this node is at index {here}, {index} was asked for");
        Err(Problem::new(Code::ReplicaBehind, detail).into())
    }

    /// The key again, now that this node has caught up: it may have been revoked elsewhere.
    pub fn still_allowed(&self) -> Result<(), Refused> {
        let now = self.rest.hub().clock().now();
        let live = self.rest.hub().read(|w| w.projects.keys.get(&self.key).is_some_and(|k| k.is_live(now.max(w.at))));
        if live { Ok(()) } else { Err(KeyFault::Ended.problem(self.key).into()) }
    }

    /// When the key ends, if it does.
    pub fn expires_at(&self) -> Option<Instant> {
        let now = self.rest.hub().clock().now();
        let end = self.rest.hub().read(|w| w.projects.keys.get(&self.key).and_then(|k| k.expires_at));
        end.and_then(|end| Instant::now().checked_add(Duration::from_millis(end.since(now).0)))
    }

    /// Answers a read with what `of` makes of the state.
    pub async fn show<T: Serialize>(&self, of: impl FnOnce(&World) -> Result<T, Problem>) -> Result<Response, Refused> {
        let fresh = self.settle().await?;
        let (index, body) = self.rest.hub().read(|w| (EventIndex(w.head.events), of(w)));
        Ok(fresh.mark(answer::at(answer::json(StatusCode::OK, &body?), index)))
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// 400 if it is not JSON, 413 past 1 MiB, 415 if it says to be something else.
    pub async fn body(&self, body: Body) -> Result<Value, Refused> {
        let bytes = read(body).await?;
        self.json(&bytes)
    }

    /// The same; no body stands for an empty object.
    pub async fn body_or_empty(&self, body: Body) -> Result<Value, Refused> {
        let bytes = read(body).await?;
        if bytes.is_empty() { Ok(json!({})) } else { self.json(&bytes) }
    }

    fn json(&self, bytes: &[u8]) -> Result<Value, Refused> {
        if let Some(kind) = self.headers.get(header::CONTENT_TYPE) {
            let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
            if !kind.eq_ignore_ascii_case("application/json") && !kind.ends_with("+json") {
                let detail = format!("the body is {kind}, it must be application/json");
                return Err(Problem::new(Code::UnsupportedMediaType, detail).into());
            }
        }
        strict::read(bytes).map_err(|e| Problem::new(Code::InvalidRequest, format!("the body is not JSON: {e}")).into())
    }

    /// On whose word a fact of this request stands.
    ///
    /// # Errors
    /// 400 for a malformed Idempotency-Key.
    pub fn by(&self, body: &Value) -> Result<By, Refused> {
        let project = self.named_project()?.or(self.own_project).map_or_else(|| "-".into(), |p| p.to_string());
        let given = self.headers.get("idempotency-key");
        let digest = given.map(|key| fingerprint::idempotency(key.as_bytes())).transpose();
        let idempotency = digest.map_err(|e| Problem::bad_parameter("Idempotency-Key", e))?;
        let request = fingerprint::request(self.method.as_str(), &self.path, &project, body);
        Ok(By { key: Some(self.key), idempotency, request: Some(request) })
    }

    /// Commits a fact of this request and waits until this node has folded it.
    ///
    /// # Errors
    /// What the leader answered.
    pub async fn commit(&self, body: &Value, event: impl Into<Event>) -> Result<Committed, Refused> {
        let fact = Fact { by: Some(self.by(body)?), event: event.into() };
        let committed = self.rest.hub().command(Command::Fact(fact)).await?;
        // Committed is committed: a slow fold here does not change the answer.
        self.rest.hub().reached(committed.index, MIN_INDEX_WAIT).await;
        Ok(committed)
    }

    /// Where this very request was committed before; `None`: it was not, or it has no Idempotency-Key.
    ///
    /// # Errors
    /// 422 if its key was used for another request.
    pub fn replayed(&self, body: &Value) -> Result<Option<EventIndex>, Refused> {
        let by = self.by(body)?;
        let Some(idempotency) = by.idempotency else { return Ok(None) };
        let first =
            self.rest.hub().read(|w| w.projects.recall(w.projects.memory_of(by.key), idempotency, w.at).copied());
        match first {
            Some(first) if first.request != by.request => {
                Err(Rejection::IdempotencyKeyReuse { first: first.index }.into())
            }
            other => Ok(other.map(|first| first.index)),
        }
    }

    /// # Errors
    /// 412 if the caller saw another version (`If-Match`).
    pub fn if_match(&self, etag: &str) -> Result<(), Refused> {
        let asked = self.headers.get_all(header::IF_MATCH).iter().filter_map(|v| v.to_str().ok()).collect::<Vec<_>>();
        let fits = |v: &&str| v.split(',').map(str::trim).any(|v| v == "*" || v == etag);
        if asked.is_empty() || asked.iter().any(fits) {
            return Ok(());
        }
        Err(Problem::new(Code::StaleEtag, format!("the object is now {etag}")).into())
    }

    /// The answer to a committed POST.
    pub fn created(&self, committed: &Committed, location: Option<String>, body: &impl Serialize) -> Response {
        let applied = *self.rest.hub().applied().borrow();
        let mut response = answer::at(answer::json(StatusCode::CREATED, body), committed.index.max(applied));
        if committed.replayed {
            answer::set(response.headers_mut(), answer::REPLAYED, "true");
        }
        if let Some(location) = location {
            answer::set(response.headers_mut(), header::LOCATION, &location);
        }
        response
    }
}

impl Freshness {
    /// Adds `Forge-Age-Ms` where the state may be old.
    pub fn mark(self, mut response: Response) -> Response {
        if let Some(age) = self.age_ms {
            response.headers_mut().insert(answer::AGE_MS, age.into());
        }
        response
    }
}
