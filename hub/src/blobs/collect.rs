//! Removes from a shared object store what no event names, and nothing that one will name in the same moment.
//!
//! Whoever puts a blob and whoever removes it are different nodes, and S3 has no lock. So:
//!
//! * a blob is always sent before it is recorded, so that it is young then, even where it lay there already;
//! * only what is old and unnamed is removed, and it is *marked* before one looks whether it is;
//! * whoever has put a blob looks for a mark after that. Without one, the look of a remover is still to come, and finds a
//!   young blob. With one, the removal may be between its look and its end: it is bounded in time, so the blob is put
//!   again after that. Marks outlive every put that may have to see them.
//!
//! Ages are differences of the store's own times: no clock of ours counts.

use super::bucket::{Bucket, STEP, StoreError, within};
use forge_event::Digest;
use futures::StreamExt;
use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// From the mark to the end of a removal, and what a put allows for it.
const REMOVING: Duration = Duration::from_secs(5);
const REMOVING_MAX: Duration = Duration::from_secs(15);
/// The store's times have this grain: S3 gives whole seconds.
const GRAIN: Duration = Duration::from_secs(1);
/// A mark stays so long: longer than a put may take from its last byte to its look for a mark.
const MARK_AGE_MIN: Duration = Duration::from_secs(900);
/// Blobs removed in one round.
const REMOVED_MAX: u64 = 10_000;

/// Whether an event names a blob, as of now; also `true` where that cannot be told.
pub(super) type Named<'a> = dyn Fn(Digest) -> BoxFuture<'a, bool> + Send + Sync + 'a;

impl Bucket {
    fn mark(&self, digest: &Digest) -> Path {
        self.root.clone().join("doomed").join(digest.hex())
    }

    /// After a put: how long to wait before putting the blob again, because it may be removed just now.
    pub(super) async fn endangered(&self, digest: &Digest) -> Result<Option<Duration>, StoreError> {
        let Some(mark) = self.meta(&self.mark(digest)).await? else { return Ok(None) };
        let Some(blob) = self.meta(&self.key(digest)).await? else { return Ok(Some(Duration::ZERO)) };
        let later = (blob.last_modified - mark.last_modified).to_std().unwrap_or_default();
        let early = REMOVING_MAX.saturating_sub(later);
        // So long that the next put is late enough by the store's own times, whatever they leave out.
        Ok((!early.is_zero()).then_some(early + GRAIN))
    }

    /// Removes blobs that are older than `age_min` and that nobody names; gives their number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) async fn collect(&self, age_min: Duration, named: &Named<'_>) -> Result<u64, StoreError> {
        let clock = self.root.clone().join("clock");
        within(STEP, self.store.put(&clock, "forge".into())).await?;
        let now = self.meta(&clock).await?.ok_or(StoreError::Missing)?;
        self.forget_marks(&now).await?;
        let mut listing = self.store.list(Some(&self.root.clone().join("blob")));
        let mut removed = 0;
        while let Some(meta) = within(STEP, async { listing.next().await.transpose() }).await? {
            let digest = meta.location.filename().and_then(forge_event::digest::unhex::<32>).map(Digest);
            let Some(digest) = digest.filter(|_| is_older(&meta, &now, age_min)) else { continue };
            if !named(digest).await && self.remove(&digest, &now, age_min, named).await? {
                removed += 1;
            }
            if removed >= REMOVED_MAX {
                break;
            }
        }
        Ok(removed)
    }

    async fn remove(
        &self,
        digest: &Digest,
        now: &ObjectMeta,
        age_min: Duration,
        named: &Named<'_>,
    ) -> Result<bool, StoreError> {
        let (began, key) = (Instant::now(), self.key(digest));
        let work = async {
            self.store.put(&self.mark(digest), "forge".into()).await?;
            let Some(meta) = self.meta(&key).await? else { return Ok(false) };
            if !is_older(&meta, now, age_min) || named(*digest).await {
                return Ok(false);
            }
            // A process that was stopped in between must not go on where it stood.
            if began.elapsed() >= REMOVING {
                return Ok(false);
            }
            self.store.delete(&key).await?;
            Ok(true)
        };
        timeout(REMOVING, work).await.unwrap_or(Err(StoreError::Late))
    }

    async fn forget_marks(&self, now: &ObjectMeta) -> Result<(), StoreError> {
        let mut listing = self.store.list(Some(&self.root.clone().join("doomed")));
        while let Some(meta) = within(STEP, async { listing.next().await.transpose() }).await? {
            if is_older(&meta, now, MARK_AGE_MIN) {
                within(STEP, self.store.delete(&meta.location)).await?;
            }
        }
        Ok(())
    }
}

fn is_older(meta: &ObjectMeta, now: &ObjectMeta, age: Duration) -> bool {
    (now.last_modified - meta.last_modified).to_std().is_ok_and(|passed| passed >= age)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    async fn put(bucket: &Bucket, digest: &Digest) {
        bucket.store.put(&bucket.key(digest), "x".into()).await.expect("it is put");
    }

    #[tokio::test]
    async fn only_what_is_old_and_unnamed_is_removed() {
        let bucket = Bucket::in_memory();
        let (kept, lost) = (Digest([1; 32]), Digest([2; 32]));
        put(&bucket, &kept).await;
        put(&bucket, &lost).await;
        let named = |digest| -> BoxFuture<'_, bool> { Box::pin(async move { digest == kept }) };
        let hour = Duration::from_secs(3600);
        assert_eq!(bucket.collect(hour, &named).await.expect("it answers"), 0);
        assert_eq!(bucket.collect(Duration::ZERO, &named).await.expect("it answers"), 1);
        assert!(bucket.has(&kept).await.expect("it answers"));
        assert!(!bucket.has(&lost).await.expect("it answers"));
        assert_eq!(bucket.endangered(&kept).await.expect("it answers"), None);
    }

    #[tokio::test]
    async fn a_blob_that_is_named_while_it_is_looked_at_stays() {
        let bucket = Bucket::in_memory();
        let digest = Digest([1; 32]);
        put(&bucket, &digest).await;
        let asked = Mutex::new(0);
        // The second look, with the mark set, comes after the event.
        let named = |_| -> BoxFuture<'_, bool> {
            let mut asked = asked.lock().expect("nobody panics");
            *asked += 1;
            let second = *asked == 2;
            Box::pin(async move { second })
        };
        assert_eq!(bucket.collect(Duration::ZERO, &named).await.expect("it answers"), 0);
        assert!(bucket.has(&digest).await.expect("it answers"));
    }

    #[tokio::test]
    async fn whoever_puts_what_is_being_removed_has_to_put_it_again() {
        let bucket = Bucket::in_memory();
        let digest = Digest([1; 32]);
        put(&bucket, &digest).await;
        let removed = bucket.collect(Duration::ZERO, &|_| Box::pin(async { false })).await;
        assert_eq!(removed.expect("it answers"), 1);
        // Gone, though it was put: at once again. There, but perhaps not for long: later again.
        assert_eq!(bucket.endangered(&digest).await.expect("it answers"), Some(Duration::ZERO));
        put(&bucket, &digest).await;
        let wait = bucket.endangered(&digest).await.expect("it answers").expect("it may be removed just now");
        assert!(wait > REMOVING && wait <= REMOVING_MAX + GRAIN, "{wait:?}");
    }
}
