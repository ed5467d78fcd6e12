//! What a node does for blobs in an object store: keeps its cache small, looks at samples, moves in what only files hold.
//!
//! The store keeps copies and repairs them itself; a sample finds out whether it does.

use super::Folder;
use super::bucket::{Bucket, StoreError};
use super::scrub::{Round, UNNAMED_AGE_MIN};
use crate::handle::Hub;
use forge_event::{Digest, Timestamp};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tracing::{error, info};

/// Blobs of a sample, and the longest that is read for it. Units: bytes.
const SAMPLE: usize = 16;
const SAMPLE_BYTES_MAX: u64 = 256 << 20;
/// A file of the cache is in use for so long, at least.
const IN_USE: Duration = Duration::from_secs(60);

/// One round: with `whole`, the bucket is looked at too.
///
/// # Errors
/// [`StoreError`].
pub(super) async fn round(
    hub: &Hub,
    folder: &Arc<Folder>,
    bucket: &Bucket,
    whole: bool,
    done: &mut Round,
) -> Result<(), StoreError> {
    trim(folder, bucket, hub.clock().now()).await?;
    if !whole {
        return Ok(());
    }
    move_in(hub, folder, bucket).await?;
    sample(hub, folder, bucket, done).await?;
    // One node is enough, and two would only meet.
    if hub.is_leader() {
        let hub = hub.clone();
        done.removed += bucket.collect(UNNAMED_AGE_MIN, &move |digest| named(hub.clone(), digest)).await?;
    }
    Ok(())
}

/// Whether an event names a blob, whatever this node has missed so far.
fn named(hub: Hub, digest: Digest) -> BoxFuture<'static, bool> {
    let known = move |hub: &Hub| hub.read(|w| w.projects.blobs.bytes_of(&digest).is_some());
    async move { known(&hub) || hub.barrier().await.is_err() || known(&hub) }.boxed()
}

/// Removes what came longest ago until the cache is as small as it should be, and nothing that only lies here.
async fn trim(folder: &Arc<Folder>, bucket: &Bucket, now: Timestamp) -> Result<(), StoreError> {
    let listing = folder.clone();
    let list = move || -> std::io::Result<_> {
        let mut files = Vec::new();
        for (digest, age) in listing.list(now)? {
            files.push((age, digest, listing.bytes(&digest)?.unwrap_or(0)));
        }
        files.sort_by(|a, b| b.cmp(a));
        Ok(files)
    };
    let files = tokio::task::spawn_blocking(list).await.map_err(std::io::Error::other)??;
    let mut total: u64 = files.iter().map(|(_, _, bytes)| bytes).sum();
    for (age, digest, bytes) in files {
        if total <= bucket.cache_bytes || age < IN_USE {
            break;
        }
        if bucket.has(&digest).await? {
            folder.remove(&digest)?;
            total -= bytes;
        }
    }
    Ok(())
}

/// Puts what nodes kept before there was a bucket.
async fn move_in(hub: &Hub, folder: &Arc<Folder>, bucket: &Bucket) -> Result<(), StoreError> {
    let (listing, now) = (folder.clone(), hub.clock().now());
    let files = tokio::task::spawn_blocking(move || listing.list(now)).await.map_err(std::io::Error::other)??;
    for (digest, _) in files {
        let named = hub.read(|w| w.projects.blobs.bytes_of(&digest).is_some());
        if named && !bucket.has(&digest).await? {
            bucket.put(folder, digest).await?;
            info!(%digest, "a blob moved from this node to the object store");
        }
    }
    Ok(())
}

/// Reads some blobs whole, others every time; what is damaged or gone comes from this node's cache, if it is there.
async fn sample(hub: &Hub, folder: &Arc<Folder>, bucket: &Bucket, done: &mut Round) -> Result<(), StoreError> {
    let from = Digest(hub.clock().random());
    let some: Vec<(Digest, u64)> = hub.read(|w| {
        let blobs = &w.projects.blobs;
        blobs.from(from).chain(blobs.from(Digest::default())).take(SAMPLE).collect()
    });
    for (digest, bytes) in some {
        if bytes > SAMPLE_BYTES_MAX || bucket.is_whole(digest, bytes).await? {
            continue;
        }
        // It may have been forgotten since.
        if hub.read(|w| w.projects.blobs.bytes_of(&digest).is_none()) {
            continue;
        }
        done.damaged += 1;
        let cached = folder.clone();
        let whole = tokio::task::spawn_blocking(move || cached.is_whole(&digest)).await;
        if whole.map_err(std::io::Error::other)?? == Some(true) {
            bucket.put(folder, digest).await?;
            error!(%digest, "a blob was damaged or gone in the object store; it was put again from this node's cache");
        } else {
            error!(%digest, "a blob is damaged or gone in the object store, and this node has no copy");
        }
    }
    Ok(())
}
