//! Which blobs a project has, and URLs that let others put and get them.

use super::answer::{self, Answered};
use super::call::Call;
use crate::blobs::{Grant, Operation};
use crate::handle::Hub;
use axum::body::Body;
use axum::http::{StatusCode, header};
use forge_api::blob::{self, ExistsRequest, Missing, SignRequest, Signed, Wanted};
use forge_api::problem::ProblemBody;
use forge_api::{Code, Problem};
use forge_event::{Digest, EventIndex, Scope};
use std::time::Duration;

/// Says which of some blobs the project lacks; another project's blob is missing.
#[utoipa::path(post, path = "/v1/blobs/exists", operation_id = "existBlobs", tag = "blobs", request_body = ExistsRequest,
    responses((status = 200, body = Missing), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["blobs"])))]
pub async fn exists(call: Call, body: Body) -> Answered {
    call.need(&[Scope::Blobs])?;
    let project = call.project()?;
    let digests = blob::exists(&call.body(body).await?)?;
    call.show(|world| {
        let lacks = |digest: &&Digest| world.projects.blobs.get(project, digest).is_none_or(|b| b.job.is_some());
        Ok(Missing { missing: digests.iter().filter(lacks).map(Digest::to_string).collect() })
    })
    .await
}

/// Signs a URL that allows one operation on one blob.
#[utoipa::path(post, path = "/v1/blobs/sign", operation_id = "signBlob", tag = "blobs", request_body = SignRequest,
    responses((status = 200, body = Signed), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["blobs"])))]
pub async fn sign(call: Call, body: Body) -> Answered {
    call.need(&[Scope::Blobs])?;
    let project = call.project()?;
    let (digest, wanted, ttl) = blob::sign(&call.body(body).await?)?;
    let fresh = call.settle().await?;
    let hub = call.rest.hub();
    let (index, known) = hub.read(|w| {
        let known = w.projects.blobs.get(project, &digest).filter(|b| b.job.is_none()).map(|b| b.bytes);
        (w.head.events, known)
    });
    let (operation, bytes, range) = match (wanted, known) {
        (Wanted::Put { bytes }, _) => (Operation::Put, bytes, None),
        (Wanted::Get { range }, Some(bytes)) => (Operation::Get, bytes, range),
        (Wanted::Get { .. }, None) => return Err(Problem::not_found(format!("blob {digest}")).into()),
    };
    if range.is_some_and(|(_, last)| last >= bytes) {
        let detail = format!("the blob ends at byte {bytes}");
        return Err(Problem::fields(vec![forge_projections::FieldFault {
            pointer: "/range".into(),
            code: "out-of-range".into(),
            detail,
            fix: Some(format!("end at byte {} at the latest", bytes.saturating_sub(1))),
        }])
        .into());
    }
    let expires = hub.clock().now().after(ttl);
    if operation == Operation::Get
        && range.is_none()
        && let Some(url) = direct(hub, &digest, Duration::from_millis(ttl.0)).await
    {
        let (expires_at, headers) = (expires.to_string(), serde_json::Map::new());
        let signed = Signed { url, method: "GET".into(), headers, expires_at, exists: true };
        return Ok(fresh.mark(answer::at(answer::json(StatusCode::OK, &signed), EventIndex(index))));
    }
    let (key, node) = (Some(call.key), hub.node());
    let grant = Grant { operation, project, bytes, range, key, job: None, expires, node };
    let query = hub.sign_blob(&grant, &digest);
    let signed = Signed {
        url: format!("{}/v1/blobs/{digest}?{query}", base(&call)),
        method: grant.method().into(),
        headers: serde_json::Map::new(),
        expires_at: expires.to_string(),
        exists: known.is_some(),
    };
    Ok(fresh.mark(answer::at(answer::json(StatusCode::OK, &signed), EventIndex(index))))
}

/// The object store's own URL for the whole of a blob; `None` where there is none, or it does not answer: then ours is
/// as good. A range stays ours: the store would not bind the URL to it.
async fn direct(hub: &Hub, digest: &Digest, ttl: Duration) -> Option<String> {
    let bucket = hub.bucket()?;
    // Nodes may have kept it before there was a bucket.
    if !bucket.has(digest).await.ok()? {
        return None;
    }
    bucket.signed_url(digest, ttl).await.ok()
}

/// Scheme and authority under which the caller reached this node.
fn base(call: &Call) -> String {
    let scheme = if call.rest.hub().serves_tls() { "https" } else { "http" };
    let named = call.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let advertised = || {
        let hub = call.rest.hub();
        hub.read(|w| w.cluster.nodes.get(&hub.node()).map(|n| n.addresses.rest.clone())).unwrap_or_default()
    };
    format!("{scheme}://{}", named.map_or_else(advertised, String::from))
}

/// The digest in a path.
///
/// # Errors
/// 400 if it is none.
pub fn digest_in(path: &str) -> Result<Digest, Problem> {
    path.parse().map_err(|_| {
        let detail = "a blob is named `blake3:` and 64 lower-case hex digits";
        Problem::new(Code::InvalidRequest, detail)
    })
}
