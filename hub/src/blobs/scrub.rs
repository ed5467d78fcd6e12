//! Looks after the node's blobs: every recorded one is here and whole, nothing is kept that no event names.

use super::pass::pass;
use super::{BlobError, Folder, shared};
use crate::handle::Hub;
use crate::kv::Kv;
use forge_event::Digest;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Between two rounds over what is recorded and not here.
const FILL_AGAIN: Duration = Duration::from_secs(10);
/// Rounds after which every file is read and hashed again: about once an hour.
const ROUNDS_A_SCRUB: u64 = 360;
/// A file that nobody names may be one that is about to be named.
pub(super) const UNNAMED_AGE_MIN: Duration = Duration::from_secs(3600);
/// Recorded blobs looked at in one read of the state.
const LOOKED_AT: usize = 1000;

/// What one round did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Round {
    pub fetched: u64,
    pub damaged: u64,
    pub removed: u64,
}

/// Runs until `stop`; the KV keeps which files were verified.
pub async fn run(hub: Hub, stop: CancellationToken) {
    let Ok(folder) = hub.blobs().cloned() else { return };
    let kv = hub.kv().cloned();
    for number in 0u64.. {
        tokio::select! { biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(FILL_AGAIN) => {}
        }
        // The first round has a pass: a restart may follow a fault of the disk. One that was cut goes on.
        let whole = number % ROUNDS_A_SCRUB == 0;
        let pass = whole.then_some((&kv, &stop));
        match round(&hub, &folder, pass).await {
            Ok(done) if done != Round::default() => {
                info!(
                    fetched = done.fetched,
                    damaged = done.damaged,
                    removed = done.removed,
                    "blobs were looked after"
                );
            }
            Ok(_) => {}
            Err(error) => warn!(%error, "the blobs could not be looked after"),
        }
    }
}

/// One round: with `pass`, files are hashed too.
async fn round(
    hub: &Hub,
    folder: &Arc<Folder>,
    pass: Option<(&Option<Arc<Kv>>, &CancellationToken)>,
) -> Result<Round, BlobError> {
    let whole = pass.is_some();
    let mut done = Round::default();
    if let Some((kv, stop)) = pass {
        done.damaged = drop_damaged(hub, folder, kv, stop).await?;
    }
    done.removed = drop_unnamed(hub, folder).await?;
    match hub.bucket() {
        Some(bucket) => shared::round(hub, folder, &bucket, whole, &mut done).await?,
        None => done.fetched = fill(hub, folder).await?,
    }
    Ok(done)
}

/// Fetches what is recorded and not here; gives the number of blobs.
async fn fill(hub: &Hub, folder: &Arc<Folder>) -> io::Result<u64> {
    let mut fetched = 0;
    let mut from = Digest::default();
    loop {
        let page: Vec<Digest> = hub.read(|w| w.projects.blobs.from(from).take(LOOKED_AT).map(|(d, _)| d).collect());
        let Some(last) = page.last().copied() else { return Ok(fetched) };
        for digest in page {
            if folder.bytes(&digest)?.is_none() && hub.need_blob(digest).await.is_ok() {
                fetched += 1;
            }
        }
        let Some(next) = after(last) else { return Ok(fetched) };
        from = next;
    }
}

/// The next digest.
fn after(digest: Digest) -> Option<Digest> {
    let mut bytes = digest.0;
    for byte in bytes.iter_mut().rev() {
        let (sum, carried) = byte.overflowing_add(1);
        *byte = sum;
        if !carried {
            return Some(Digest(bytes));
        }
    }
    None
}

/// Goes on with the pass that is under way, or begins one.
async fn drop_damaged(
    hub: &Hub,
    folder: &Arc<Folder>,
    kv: &Option<Arc<Kv>>,
    stop: &CancellationToken,
) -> io::Result<u64> {
    let (folder, kv, clock, stop) = (folder.clone(), kv.clone(), hub.clock().clone(), stop.clone());
    let work = move || {
        let passed = pass(&folder, kv.as_deref(), &clock, || stop.is_cancelled())?;
        let indexed = kv.and_then(|kv| kv.blob_count().ok()).unwrap_or(0);
        Ok::<_, io::Error>((passed, indexed))
    };
    let (passed, indexed) = tokio::task::spawn_blocking(work).await.map_err(io::Error::other)??;
    let metrics = hub.metrics();
    metrics.blobs_verified.inc_by(passed.verified);
    metrics.blobs_damaged.inc_by(passed.damaged);
    metrics.kv_blobs.set(i64::try_from(indexed).unwrap_or(i64::MAX));
    Ok(passed.damaged)
}

async fn drop_unnamed(hub: &Hub, folder: &Arc<Folder>) -> io::Result<u64> {
    let (listing, now) = (folder.clone(), hub.clock().now());
    let list = move || listing.sweep(now).and_then(|()| listing.list(now));
    let old: BTreeSet<Digest> = tokio::task::spawn_blocking(list)
        .await
        .map_err(io::Error::other)??
        .into_iter()
        .filter(|(_, age)| *age > UNNAMED_AGE_MIN)
        .map(|(digest, _)| digest)
        .collect();
    // A node that is behind must not judge by an old state.
    if old.is_empty() || hub.barrier().await.is_err() {
        return Ok(0);
    }
    let mut removed = 0;
    for digest in old {
        if hub.read(|w| w.projects.blobs.bytes_of(&digest).is_none()) {
            folder.remove(&digest)?;
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_follow_one_another() {
        let mut carried = [0; 32];
        carried[31] = 255;
        let mut next = [0; 32];
        next[30] = 1;
        assert_eq!((after(Digest(carried)), after(Digest([255; 32]))), (Some(Digest(next)), None));
    }
}
