//! A blob's bytes, in and out: streamed, hashed on the way, resumable, by range.

use super::answer::{self, Answered, Refused};
use super::blobs::digest_in;
use super::call::Call;
use super::state::Rest;
use crate::blobs::{BLOB_BYTES_MAX, BlobError, Folder, Grant, Operation, StoreError, UploadError};
use crate::handle::Hub;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use forge_api::blob::Kept;
use forge_api::problem::ProblemBody;
use forge_api::{Code, Problem};
use forge_event::*;
use forge_projections::World;
use forge_projections::projects::Project;
use futures::StreamExt;
use std::sync::Arc;
use std::time::Duration;

const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
/// RFC 9530: of the bytes of this answer, and of the whole blob.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
/// Whoever says `1` here takes a redirect to the object store, where there is one.
const DIRECT: HeaderName = HeaderName::from_static("forge-direct");
/// Such a redirect is good for this long.
const DIRECT_TTL: Duration = Duration::from_secs(900);
/// An upload that brings nothing for so long is cut; it may be resumed.
const CHUNK_WAIT: Duration = Duration::from_secs(30);

/// Someone who may do something with a blob: by key, or by a signed URL.
pub struct Access {
    hub: Hub,
    method: Method,
    headers: HeaderMap,
    project: ProjectId,
    by: Option<By>,
    grant: Option<Grant>,
}

impl FromRequestParts<Rest> for Access {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, rest: &Rest) -> Result<Access, Refused> {
        let hub = rest.hub().clone();
        let query = parts.uri.query().unwrap_or_default().to_string();
        let (method, headers) = (parts.method.clone(), parts.headers.clone());
        if query.contains("sig=") {
            let name = parts.uri.path().rsplit('/').next().unwrap_or_default();
            let digest = digest_in(name)?;
            let granted = hub.granted(&query, method.as_str(), &digest);
            let grant = granted.map_err(|bad| Problem::new(Code::BadSignature, bad.0))?;
            let by = grant.key.map(|key| By { key: Some(key), idempotency: None, request: None });
            return Ok(Access { hub, method, headers, project: grant.project, by, grant: Some(grant) });
        }
        let call = Call::from_request_parts(parts, rest).await?;
        call.need(&[Scope::Blobs])?;
        let project = call.project()?;
        let by = Some(By { key: Some(call.key), idempotency: None, request: None });
        Ok(Access { hub, method, headers, project, by, grant: None })
    }
}

impl Access {
    /// The blob as the caller's project has it.
    fn known(&self, digest: &Digest) -> Option<u64> {
        let job = self.grant.as_ref().and_then(|grant| grant.job);
        let known = self.hub.read(|w| w.projects.blobs.get(self.project, digest).copied());
        // What lies between the shards of a job is for its agents.
        known.filter(|blob| blob.job.is_none() || blob.job == job).map(|blob| blob.bytes)
    }

    /// The same, after this node caught up if it did not know it.
    async fn settled(&self, digest: &Digest) -> Result<Option<u64>, Refused> {
        if let Some(bytes) = self.known(digest) {
            return Ok(Some(bytes));
        }
        self.hub.barrier().await?;
        Ok(self.known(digest))
    }

    /// Whose uploads these are.
    fn owner(&self) -> String {
        self.project.to_string()
    }

    /// Whether it is a signed URL for one blob of a known length.
    fn puts_one(&self) -> bool {
        self.grant.as_ref().is_some_and(|grant| grant.operation == Operation::Put)
    }

    fn takes_redirect(&self) -> bool {
        self.method == Method::GET && self.headers.get(&DIRECT).is_some_and(|value| value == "1")
    }

    fn number(&self, name: HeaderName) -> Result<Option<u64>, Refused> {
        let Some(value) = self.headers.get(&name) else { return Ok(None) };
        let number = value.to_str().ok().and_then(|text| text.parse().ok());
        Ok(Some(number.ok_or_else(|| Problem::bad_parameter(name.as_str(), "it is a number of bytes"))?))
    }
}

fn refused(error: BlobError) -> Refused {
    match error {
        BlobError::Missing(digest) => Problem::not_found(format!("blob {digest} on a node that answers")).into(),
        BlobError::NoMajority => Problem::new(Code::NoLeader, BlobError::NoMajority.to_string()).into(),
        BlobError::Record(error) => Refused::from(error),
        BlobError::NoFolder => Problem::new(Code::NotYet, "this node keeps no blobs").into(),
        BlobError::Store(StoreError::Disk(error)) | BlobError::Io(error) => {
            tracing::error!(%error, "the disk of the blobs");
            Problem::new(Code::StorageDegraded, "the node's disk did not take the blob").into()
        }
        BlobError::Store(error) => {
            let why = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            tracing::error!(%error, why, "the object store of the blobs");
            Problem::new(Code::BlobStoreUnavailable, error.to_string()).into()
        }
    }
}

/// Puts a blob: the raw bytes, hashed as they come; resumable with `Upload-Offset`.
#[utoipa::path(put, path = "/v1/blobs/{digest}", operation_id = "putBlob", tag = "blobs",
    params(("digest" = String, Path), ("Upload-Offset" = Option<u64>, Header)),
    request_body(content = String, content_type = "application/octet-stream"),
    responses((status = 200, description = "It was there", body = Kept), (status = 201, body = Kept),
        (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)), security(("key" = ["blobs"])))]
pub async fn put(access: Access, Path(digest): Path<String>, body: Body) -> Answered {
    let digest = digest_in(&digest)?;
    if let Some(bytes) = access.settled(&digest).await? {
        return Ok(kept(&access, StatusCode::OK, digest, bytes));
    }
    let folder = access.hub.blobs().map_err(refused)?.clone();
    let from = access.number(UPLOAD_OFFSET)?.unwrap_or(0);
    let length = access.number(header::CONTENT_LENGTH)?;
    check_offset(&access, &folder, &digest, from)?;
    check_length(&access, from, length)?;
    let most = access.hub.read(|w| w.projects.projects.get(&access.project).map_or(0, Project::uploads_max));
    if folder.uploads(&access.owner()) >= most as usize {
        let detail = format!("the project may have {most} uploads under way on a node; try again when one is done");
        return Err(Problem::new(Code::RateLimited, detail).into());
    }
    let bytes = take(&access, &folder, digest, from, body).await?;
    let job = access.grant.as_ref().and_then(|grant| grant.job);
    let blob = BlobRecorded { project: access.project, digest, bytes, job };
    let by = access.by.filter(|_| job.is_none());
    access.hub.record_blob(by, blob).await.map_err(refused)?;
    Ok(kept(&access, StatusCode::CREATED, digest, bytes))
}

fn kept(access: &Access, status: StatusCode, digest: Digest, bytes: u64) -> Response {
    let applied = *access.hub.applied().borrow();
    answer::at(answer::json(status, &Kept { digest: digest.to_string(), bytes }), applied)
}

/// An upload goes on where it stands, or begins anew.
fn check_offset(access: &Access, folder: &Folder, digest: &Digest, from: u64) -> Result<(), Refused> {
    // One under way moves on: whoever comes beside it is told that, not where it stood.
    if from == 0 || folder.is_busy(&access.owner(), digest) {
        return Ok(());
    }
    let at = folder.uploaded(&access.owner(), digest);
    if from == at { Ok(()) } else { Err(stands_elsewhere(at)) }
}

fn stands_elsewhere(at: u64) -> Refused {
    let detail = format!("the upload stands at byte {at}; go on with Upload-Offset: {at}, or begin anew at 0");
    Problem::new(Code::OffsetMismatch, detail).with("upload_offset", at).into()
}

/// Bytes of another number than the URL was signed for cannot be those of its digest.
fn other_length(signed: u64) -> Refused {
    let detail = format!("the URL is for {signed} bytes, the body has another number; nothing was kept of it");
    Problem::new(Code::DigestMismatch, detail).into()
}

/// Holds the announced length against what may come.
fn check_length(access: &Access, from: u64, length: Option<u64>) -> Result<(), Refused> {
    let whole = length.map(|length| length.saturating_add(from));
    let most = match &access.grant {
        Some(grant) if grant.operation == Operation::Put => {
            if whole.is_some_and(|whole| whole != grant.bytes) {
                return Err(other_length(grant.bytes));
            }
            grant.bytes
        }
        Some(grant) => grant.bytes,
        None => BLOB_BYTES_MAX,
    };
    if whole.unwrap_or(from) > most {
        let detail = format!("the blob has {} bytes, at most {most} are taken here", whole.unwrap_or(from));
        return Err(Problem::new(Code::PayloadTooLarge, detail).into());
    }
    // The log decides; asking first saves the way of bytes that it would refuse.
    let room = |w: &World| w.projects.projects.get(&access.project).map(|p| (p.blob_bytes, p.blob_bytes_max()));
    let (taken, limit) = access.hub.read(room).unwrap_or_default();
    if taken.saturating_add(whole.unwrap_or(from)) > limit {
        let detail = format!("project {} keeps {taken} bytes of blobs; its limit is {limit}", access.project);
        return Err(Problem::new(Code::QuotaExceeded, detail).into());
    }
    Ok(())
}

/// Takes the bytes in; gives the blob's length.
async fn take(access: &Access, folder: &Arc<Folder>, digest: Digest, from: u64, body: Body) -> Result<u64, Refused> {
    let most = access.grant.as_ref().map_or(BLOB_BYTES_MAX, |grant| grant.bytes);
    let (parts, mut queue) = tokio::sync::mpsc::channel::<Bytes>(8);
    let (ended, end) = tokio::sync::oneshot::channel::<()>();
    let (writer, owner) = (folder.clone(), access.owner());
    let writing = tokio::task::spawn_blocking(move || -> Result<Option<u64>, UploadError> {
        if from == 0
            && let Some(bytes) = writer.bytes(&digest)?
            && writer.is_whole(&digest)? == Some(true)
        {
            // Its bytes are here, for another project: they still have to be shown.
            let mut hasher = blake3::Hasher::new();
            while let Some(part) = queue.blocking_recv() {
                hasher.update(&part);
            }
            let found = Digest(*hasher.finalize().as_bytes());
            if end.blocking_recv().is_err() {
                return Ok(None);
            }
            return if found == digest { Ok(Some(bytes)) } else { Err(UploadError::Mismatch { found }) };
        }
        let mut upload = writer.upload(&owner, digest, from)?;
        while let Some(part) = queue.blocking_recv() {
            upload.append(&part)?;
        }
        // A body that was cut is kept for a resume.
        if end.blocking_recv().is_err() { Ok(None) } else { upload.finish().map(Some) }
    });
    let mut stream = body.into_data_stream();
    let (mut length, mut cut) = (from, false);
    loop {
        match tokio::time::timeout(CHUNK_WAIT, stream.next()).await {
            Ok(Some(Ok(part))) => {
                length += part.len() as u64;
                if length > most || parts.send(part).await.is_err() {
                    cut = true;
                    break;
                }
            }
            Ok(None) => break,
            Ok(Some(Err(_))) | Err(_) => {
                cut = true;
                break;
            }
        }
    }
    if !cut {
        // The receiver is gone only if the writer failed, which it tells itself.
        let _ = ended.send(());
    } else {
        drop(ended);
    }
    drop(parts);
    let written = writing.await.map_err(|_| Problem::new(Code::Internal, "the writer of the blob broke"))?;
    match written {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) if length > most => {
            folder.forget(&access.owner(), &digest).map_err(|error| refused(error.into()))?;
            let too_large = || Problem::new(Code::PayloadTooLarge, format!("more than {most} bytes")).into();
            Err(if access.puts_one() { other_length(most) } else { too_large() })
        }
        Ok(None) => {
            let at = folder.uploaded(&access.owner(), &digest);
            let detail = format!("the body was cut; go on with Upload-Offset: {at}");
            Err(Problem::new(Code::InvalidRequest, detail).into())
        }
        Err(UploadError::Mismatch { found }) => {
            let detail = format!("the bytes hash to {found}, the path says {digest}; nothing was kept");
            Err(Problem::new(Code::DigestMismatch, detail).into())
        }
        Err(UploadError::Offset { at }) => Err(stands_elsewhere(at)),
        Err(UploadError::Busy) => {
            Err(Problem::new(Code::RateLimited, "another upload of this blob is under way; try again").into())
        }
        Err(UploadError::Io(error)) => Err(refused(error.into())),
    }
}

/// Gets a blob, or a range of it.
#[utoipa::path(get, path = "/v1/blobs/{digest}", operation_id = "getBlob", tag = "blobs",
    params(("digest" = String, Path), ("Range" = Option<String>, Header), ("Forge-Direct" = Option<String>, Header)),
    responses((status = 200, description = "The bytes", content_type = "application/octet-stream"),
        (status = 206, description = "The asked range", content_type = "application/octet-stream"),
        (status = 304, description = "Not modified"),
        (status = 307, description = "The whole blob is to be had there; only with `Forge-Direct: 1`"),
        (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)), security(("key" = ["blobs"])))]
pub async fn get(access: Access, Path(digest): Path<String>) -> Answered {
    let digest = digest_in(&digest)?;
    let known = access.settled(&digest).await?;
    let Some(bytes) = known else {
        if access.method != Method::HEAD {
            return Err(Problem::not_found(format!("blob {digest}")).into());
        }
        let uploaded = access.hub.blobs().map_or(0, |folder| folder.uploaded(&access.owner(), &digest));
        let mut refusal = answer::bytes_as(StatusCode::NOT_FOUND, "application/octet-stream", Body::empty());
        refusal.headers_mut().insert(UPLOAD_OFFSET, uploaded.into());
        return Ok(refusal);
    };
    if access.method == Method::GET && access.grant.as_ref().is_some_and(|g| g.operation != Operation::Get) {
        return Err(Problem::new(Code::BadSignature, "the URL is for another method").into());
    }
    let bound = access.grant.as_ref().and_then(|grant| grant.range);
    let asked = access.headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let range = match asked.map(|text| range_in(text, bytes)) {
        None => bound,
        Some(Some(range)) => Some(range),
        Some(None) => return Ok(unsatisfiable(bytes)),
    };
    let within = |(first, last): (u64, u64)| bound.is_none_or(|(from, to)| from <= first && last <= to);
    if range.is_some_and(|range| !within(range)) {
        return Err(Problem::new(Code::BadSignature, "the URL is for another range").into());
    }
    let etag = format!("\"{digest}\"");
    if answer::is_known(&access.headers, &etag) {
        return Ok(labelled(answer::not_modified(), &etag));
    }
    if range.is_none()
        && access.takes_redirect()
        && let Some(elsewhere) = direct(&access.hub, &digest).await
    {
        return Ok(elsewhere);
    }
    let body = if access.method == Method::HEAD {
        access.hub.has_blob(digest).await.map_err(refused)?;
        Body::empty()
    } else {
        Body::from_stream(access.hub.read_blob(digest, range, bytes).await.map_err(refused)?)
    };
    let status = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut response = answer::bytes_as(status, "application/octet-stream", body);
    let length = range.map_or(bytes, |(first, last)| last - first + 1);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, length.into());
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    let whole = digest_field(&digest);
    if range.is_none() && access.method == Method::GET {
        answer::set(headers, CONTENT_DIGEST, &whole);
    }
    answer::set(headers, REPR_DIGEST, &whole);
    if let Some((first, last)) = range {
        answer::set(headers, header::CONTENT_RANGE, &format!("bytes {first}-{last}/{bytes}"));
    }
    Ok(labelled(response, &etag))
}

/// What a cache needs: bytes of a digest never change.
fn labelled(mut response: Response, etag: &str) -> Response {
    answer::set(response.headers_mut(), header::ETAG, etag);
    let forever = HeaderValue::from_static("private, max-age=31536000, immutable");
    response.headers_mut().insert(header::CACHE_CONTROL, forever);
    response
}

/// A digest as RFC 9530 writes it: a dictionary of byte sequences, here of one.
fn digest_field(digest: &Digest) -> String {
    format!("blake3=:{}:", BASE64_STANDARD.encode(digest.0))
}

/// Where the whole blob can be had without us; `None` if only here.
async fn direct(hub: &Hub, digest: &Digest) -> Option<Response> {
    let bucket = hub.bucket()?;
    let url = match bucket.signed_url(digest, DIRECT_TTL).await {
        Ok(url) => url,
        Err(error) => {
            tracing::warn!(%error, "nothing can be signed for the object store; the bytes pass here");
            return None;
        }
    };
    let mut response = answer::bytes_as(StatusCode::TEMPORARY_REDIRECT, "application/octet-stream", Body::empty());
    answer::set(response.headers_mut(), header::LOCATION, &url);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(response)
}

fn unsatisfiable(bytes: u64) -> Response {
    let mut response = answer::bytes_as(StatusCode::RANGE_NOT_SATISFIABLE, "application/octet-stream", Body::empty());
    answer::set(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{bytes}"));
    response
}

/// First and last byte of `bytes=a-b`, `bytes=a-` or `bytes=-n`; `None` if there are no such bytes.
fn range_in(text: &str, bytes: u64) -> Option<(u64, u64)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let end = bytes.checked_sub(1)?;
    let range = match (first.trim(), last.trim()) {
        ("", count) => (bytes.saturating_sub(count.parse().ok().filter(|n: &u64| *n > 0)?), end),
        (first, "") => (first.parse().ok()?, end),
        (first, last) => (first.parse().ok()?, last.parse::<u64>().ok()?.min(end)),
    };
    (range.0 <= range.1).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_written_as_a_byte_sequence() {
        let zeros = format!("blake3=:{}=:", "A".repeat(43));
        assert_eq!(digest_field(&Digest([0; 32])), zeros);
        let counted: [u8; 32] = std::array::from_fn(|at| at as u8);
        assert_eq!(digest_field(&Digest(counted)), "blake3=:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=:");
    }

    #[test]
    fn ranges_read_as_http_has_them() {
        assert_eq!(range_in("bytes=0-99", 1000), Some((0, 99)));
        assert_eq!(range_in("bytes=900-", 1000), Some((900, 999)));
        assert_eq!(range_in("bytes=-100", 1000), Some((900, 999)));
        assert_eq!(range_in("bytes=990-2000", 1000), Some((990, 999)));
        for none in ["bytes=1000-", "bytes=5-4", "bytes=-0", "bytes=a-b", "lines=1-2", "bytes=0-1,3-4"] {
            assert_eq!(range_in(none, 1000), None, "{none}");
        }
        assert_eq!(range_in("bytes=0-", 0), None);
    }
}
