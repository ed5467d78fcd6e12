//! Blobs as the families see them: blocking, for effects and checks on threads of their own.

use super::{BlobError, StoreError};
use crate::handle::Hub;
use bytes::Bytes;
use forge_event::*;
use forge_projections::family::{Blobs, Fault};
use futures::TryStreamExt;
use std::fmt::Debug;
use std::io;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::Instant;

/// The code of a fault that is not the blob's but of what keeps it.
pub const UNREADABLE: &str = "blob-unreadable";

/// What becomes of bytes that a family keeps.
pub trait Keep: Debug {
    /// For how long an object store may be away before that is a fault.
    const PATIENCE: Duration;

    /// # Errors
    /// [`Fault`] if they could not be kept.
    fn keep(&self, view: &Handle, hub: &Hub, parts: &mut Parts<'_>) -> Result<(Digest, u64), Fault>;
}

/// Bytes, part by part.
pub type Parts<'a> = dyn Iterator<Item = Result<Vec<u8>, Fault>> + 'a;

/// They are hashed and forgotten: somebody only wants to know what would be.
#[derive(Clone, Copy, Debug)]
pub struct NoKeeping;

/// They are recorded for a job; what its result does not name is forgotten when it ends.
#[derive(Clone, Copy, Debug)]
pub struct Keeping {
    pub project: ProjectId,
    pub job: JobId,
}

/// The blobs of a hub.
#[derive(Debug)]
pub struct View<'h, K> {
    pub hub: &'h Hub,
    /// Of the runtime that does the network's part.
    pub runtime: Handle,
    pub keep: K,
}

/// Between two tries while an object store is away.
const PAUSE: Duration = Duration::from_secs(2);

/// Waits for what needs the object store, and asks again while it is away.
fn patiently<T>(
    runtime: &Handle,
    patience: Duration,
    mut ask: impl AsyncFnMut() -> Result<T, BlobError>,
) -> Result<T, BlobError> {
    runtime.block_on(async {
        let deadline = Instant::now() + patience;
        loop {
            match ask().await {
                Err(BlobError::Store(error)) if error.may_pass() && Instant::now() < deadline => {
                    tracing::debug!(%error, "waiting for the object store");
                    tokio::time::sleep(PAUSE).await;
                }
                answer => return answer,
            }
        }
    })
}

impl Keep for NoKeeping {
    const PATIENCE: Duration = Duration::ZERO;

    fn keep(&self, _: &Handle, _: &Hub, parts: &mut Parts<'_>) -> Result<(Digest, u64), Fault> {
        let (mut hasher, mut bytes) = (blake3::Hasher::new(), 0);
        for part in parts {
            let part = part?;
            hasher.update(&part);
            bytes += part.len() as u64;
        }
        Ok((Digest(*hasher.finalize().as_bytes()), bytes))
    }
}

/// Either side's fault while bytes are kept.
enum Kept {
    Family(Fault),
    Disk(io::Error),
}

impl From<io::Error> for Kept {
    fn from(error: io::Error) -> Kept {
        Kept::Disk(error)
    }
}

impl Keep for Keeping {
    // An effect has ten minutes, and fails for good at its second end.
    const PATIENCE: Duration = Duration::from_secs(240);

    fn keep(&self, runtime: &Handle, hub: &Hub, parts: &mut Parts<'_>) -> Result<(Digest, u64), Fault> {
        let folder = hub.blobs().map_err(|e| unwritable(&e))?;
        let kept = folder.keep(&mut parts.map(|part| part.map_err(Kept::Family)));
        let (digest, bytes) = kept.map_err(|e| match e {
            Kept::Family(fault) => fault,
            Kept::Disk(error) => unwritable(&error.into()),
        })?;
        if hub.read(|w| w.projects.blobs.is_kept(self.project, &digest, self.job)) {
            return Ok((digest, bytes));
        }
        let blob = BlobRecorded { project: self.project, digest, bytes, job: Some(self.job) };
        let record = async || hub.record_blob(None, blob.clone()).await;
        patiently(runtime, Self::PATIENCE, record).map_err(|e| unwritable(&e))?;
        Ok((digest, bytes))
    }
}

fn unwritable(error: &BlobError) -> Fault {
    Fault::new("blob-unwritable", error.to_string())
}

/// A longer blob of an object store is not fetched for its head, where formats say what they hold. Units: bytes.
const LONG_BYTES_MIN: u64 = 64 << 20;
const HEAD_BYTES_MAX: u64 = 1 << 20;

impl<K: Keep> View<'_, K> {
    /// Reads from the head of a long blob alone; false where it has to be fetched whole, which is verified.
    fn read_head(&self, digest: &Digest, first: u64, buffer: &mut [u8]) -> Result<bool, BlobError> {
        let end = first.saturating_add(buffer.len() as u64);
        let (Some(bucket), Some(bytes)) = (self.hub.bucket(), self.known(digest)) else { return Ok(false) };
        if buffer.is_empty() || end > HEAD_BYTES_MAX || bytes < LONG_BYTES_MIN {
            return Ok(false);
        }
        if self.hub.blobs()?.bytes(digest)?.is_some() {
            return Ok(false);
        }
        let read = async || {
            let parts = bucket.read(*digest, Some((first, end - 1)), bytes).await;
            match parts {
                Err(StoreError::Missing) => Ok(None),
                parts => Ok(Some(parts?.try_collect::<Vec<Bytes>>().await?.concat())),
            }
        };
        let Some(read) = patiently(&self.runtime, K::PATIENCE, read)? else { return Ok(false) };
        if read.len() != buffer.len() {
            return Err(StoreError::Damaged.into());
        }
        buffer.copy_from_slice(&read);
        Ok(true)
    }

    /// Its length as the state has it. Units: bytes.
    fn known(&self, digest: &Digest) -> Option<u64> {
        self.hub.read(|w| w.projects.blobs.bytes_of(digest))
    }

    fn here(&self, digest: &Digest) -> Result<u64, Fault> {
        let folder = self.hub.blobs().map_err(|e| Fault::new("blob-missing", e.to_string()))?;
        match folder.bytes(digest) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => {
                let need = async || self.hub.need_blob(*digest).await;
                patiently(&self.runtime, K::PATIENCE, need).map_err(|error| match error {
                    BlobError::Missing(_) => Fault::new("blob-missing", error.to_string()),
                    other => Fault::new(UNREADABLE, other.to_string()),
                })
            }
            Err(error) => Err(Fault::new(UNREADABLE, error.to_string())),
        }
    }
}

impl<K: Keep> Blobs for View<'_, K> {
    fn bytes(&self, digest: &Digest) -> Result<u64, Fault> {
        match self.known(digest).filter(|bytes| *bytes >= LONG_BYTES_MIN && self.hub.bucket().is_some()) {
            Some(bytes) => Ok(bytes),
            None => self.here(digest),
        }
    }

    fn read(&self, digest: &Digest, first: u64, buffer: &mut [u8]) -> Result<(), Fault> {
        let folder = self.hub.blobs().map_err(|e| Fault::new("blob-missing", e.to_string()))?;
        if self.read_head(digest, first, buffer).map_err(|e| Fault::new(UNREADABLE, e.to_string()))? {
            return Ok(());
        }
        loop {
            self.here(digest)?;
            match folder.read(digest, first, buffer) {
                // It made room in the cache for another in this very moment.
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.hub.bucket().is_some() => {}
                read => return read.map_err(|e| Fault::new(UNREADABLE, e.to_string())),
            }
        }
    }

    fn put(&self, parts: &mut Parts<'_>) -> Result<(Digest, u64), Fault> {
        self.keep.keep(&self.runtime, self.hub, parts)
    }
}
