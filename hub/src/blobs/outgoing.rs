//! A blob's bytes on their way out: from this node's file, or from the object store.

use super::bucket::{Parts, StoreError};
use super::{BlobError, Folder};
use crate::handle::Hub;
use bytes::Bytes;
use forge_event::Digest;
use futures::StreamExt;
use std::io;
use std::sync::Arc;

/// Bytes read from disk at once.
const CHUNK_BYTES: u64 = 256 * 1024;

impl Hub {
    /// Reads a blob of this length, or a range of it. A whole one is hashed, and cut before its end if it is not what its
    /// name says.
    ///
    /// # Errors
    /// [`BlobError`], as long as nothing was read.
    pub async fn read_blob(&self, digest: Digest, range: Option<(u64, u64)>, bytes: u64) -> Result<Parts, BlobError> {
        let folder = self.blobs()?.clone();
        if folder.bytes(&digest)?.is_none()
            && let Some(bucket) = self.bucket()
        {
            match bucket.read(digest, range, bytes).await {
                // Nodes may have kept it before there was a bucket.
                Err(StoreError::Missing) => {}
                read => return Ok(read?),
            }
        }
        self.need_blob(digest).await?;
        Ok(of_file(folder, digest, range, bytes))
    }

    /// Makes sure that a blob can be read.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn has_blob(&self, digest: Digest) -> Result<(), BlobError> {
        if self.blobs()?.bytes(&digest)?.is_some() {
            return Ok(());
        }
        match self.bucket() {
            Some(bucket) if bucket.has(&digest).await? => Ok(()),
            _ => self.need_blob(digest).await.map(drop),
        }
    }
}

fn of_file(folder: Arc<Folder>, digest: Digest, range: Option<(u64, u64)>, bytes: u64) -> Parts {
    let (at, end) = range.map_or((0, bytes), |(first, last)| (first, last + 1));
    let hasher = range.is_none().then(blake3::Hasher::new);
    let steps = futures::stream::try_unfold((at, hasher), move |(at, hasher)| {
        let folder = folder.clone();
        async move {
            if at >= end {
                return io::Result::Ok(None);
            }
            let count = (end - at).min(CHUNK_BYTES);
            let work = move || {
                let mut buffer = vec![0; count as usize];
                folder.read(&digest, at, &mut buffer)?;
                let mut hasher = hasher;
                if let Some(hasher) = &mut hasher {
                    hasher.update(&buffer);
                    if at + count == end && hasher.finalize().as_bytes() != &digest.0 {
                        tracing::error!(%digest, "a blob is not what its name says; it is removed and fetched anew");
                        folder.remove(&digest)?;
                        return Err(io::Error::new(io::ErrorKind::InvalidData, "damaged on disk"));
                    }
                }
                Ok((Bytes::from(buffer), hasher))
            };
            let (chunk, hasher) = tokio::task::spawn_blocking(work).await.map_err(io::Error::other)??;
            Ok(Some((chunk, (at + count, hasher))))
        }
    });
    steps.boxed()
}
