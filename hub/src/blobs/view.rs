//! Blobs as the families see them: blocking, for effects and checks on threads of their own.

use super::BlobError;
use crate::handle::Hub;
use forge_event::*;
use forge_projections::family::{Blobs, Fault};
use std::fmt::Debug;
use std::io;
use tokio::runtime::Handle;

/// What becomes of bytes that a family keeps.
pub trait Keep: Debug {
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

impl Keep for NoKeeping {
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
        runtime.block_on(hub.record_blob(None, blob)).map_err(|e| unwritable(&e))?;
        Ok((digest, bytes))
    }
}

fn unwritable(error: &BlobError) -> Fault {
    Fault::new("blob-unwritable", error.to_string())
}

impl<K: Keep> View<'_, K> {
    fn here(&self, digest: &Digest) -> Result<u64, Fault> {
        let folder = self.hub.blobs().map_err(|e| Fault::new("blob-missing", e.to_string()))?;
        match folder.bytes(digest) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => self.runtime.block_on(self.hub.need_blob(*digest)).map_err(|error| match error {
                BlobError::Missing(_) => Fault::new("blob-missing", error.to_string()),
                other => Fault::new("blob-unreadable", other.to_string()),
            }),
            Err(error) => Err(Fault::new("blob-unreadable", error.to_string())),
        }
    }
}

impl<K: Keep> Blobs for View<'_, K> {
    fn bytes(&self, digest: &Digest) -> Result<u64, Fault> {
        self.here(digest)
    }

    fn read(&self, digest: &Digest, first: u64, buffer: &mut [u8]) -> Result<(), Fault> {
        self.here(digest)?;
        let folder = self.hub.blobs().map_err(|e| Fault::new("blob-missing", e.to_string()))?;
        folder.read(digest, first, buffer).map_err(|e| Fault::new("blob-unreadable", e.to_string()))
    }

    fn put(&self, parts: &mut Parts<'_>) -> Result<(Digest, u64), Fault> {
        self.keep.keep(&self.runtime, self.hub, parts)
    }
}
