//! Blobs in an S3-compatible object store that all nodes of a cluster share.
//!
//! ```text
//! PREFIX/CLUSTER/blob/ab/<hex of the digest>   a blob
//! PREFIX/CLUSTER/doomed/<hex of the digest>    it may be being removed (`collect.rs`)
//! ```
//! A blob comes from a file of this node whose bytes are known to be those of the digest, and is hashed once more
//! on its way: what has its key is whole.

use super::{Folder, UploadError, peers};
use crate::config::BlobStore;
use bytes::Bytes;
use forge_event::Digest;
use futures::stream::{BoxStream, FuturesUnordered, StreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{
    Attribute, Attributes, BackoffConfig, ClientOptions, GetOptions, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, RetryConfig,
};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

/// Longer blobs are sent in parts of this length: ten thousand parts, which is what S3 takes, are more than a blob has.
const PART_BYTES: usize = 8 << 20;
/// Parts of one blob under way at once, and blobs being sent at once.
const PARTS_AT_ONCE: usize = 4;
const SENDING_MAX: usize = 8;
/// A request without a body is answered within this time, which is less than what REST gives its own; a part is taken
/// within that.
pub(super) const STEP: Duration = Duration::from_secs(8);
const PART_WAIT: Duration = Duration::from_secs(120);
/// A blob is sent within this time. S3 dates it by the begin of that, and what is an hour old may be removed unless an event
/// names it by then.
const SEND_WAIT: Duration = Duration::from_secs(1800);
/// A body that brings nothing for so long is given up.
const SILENCE: Duration = Duration::from_secs(30);
/// A store that does not take connections, or fails, is asked so often, within this time.
const TRIES: usize = 3;
const TRYING: Duration = Duration::from_secs(5);
/// Times that a blob is put because it may have been removed in the same moment.
const PUTS_MAX: usize = 3;

/// The object store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the table [blobs] of node.toml: {0}")]
    Settings(String),
    #[error("the object store has no bucket of the name that node.toml says")]
    NoBucket,
    #[error("the object store refuses this node's credentials, or they do not allow what is asked")]
    Denied(#[source] object_store::Error),
    #[error("the object store does not have it")]
    Missing,
    #[error("the object store gives other bytes than it was given")]
    Damaged,
    #[error("the object store does not answer in time")]
    Late,
    #[error("the object store is busy with the same blob, or with too many")]
    Busy,
    #[error("the object store cannot be reached, or failed")]
    Failed(#[source] object_store::Error),
    #[error("the disk of this node")]
    Disk(#[from] io::Error),
}

impl StoreError {
    /// Whether waiting may help, without anybody doing something.
    pub fn may_pass(&self) -> bool {
        matches!(self, StoreError::Late | StoreError::Busy | StoreError::Failed(_))
    }
}

impl From<object_store::Error> for StoreError {
    fn from(error: object_store::Error) -> StoreError {
        use object_store::Error;
        match &error {
            // Only the body tells a missing bucket from a missing object.
            Error::NotFound { source, .. } if source.to_string().contains("NoSuchBucket") => StoreError::NoBucket,
            Error::NotFound { .. } => StoreError::Missing,
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => StoreError::Denied(error),
            _ => StoreError::Failed(error),
        }
    }
}

/// A cluster's place in an object store. Cheap to clone.
#[derive(Clone)]
pub struct Bucket {
    pub(super) store: Arc<dyn ObjectStore>,
    /// `None` for one in memory.
    signer: Option<Arc<AmazonS3>>,
    pub(super) root: Path,
    sending: Arc<Semaphore>,
    /// What a node keeps on its disk. Units: bytes.
    pub cache_bytes: u64,
    name: Arc<str>,
}

/// Without what the store's own would say: credentials.
impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bucket({}, {})", self.name, self.root)
    }
}

/// Bytes, part by part.
pub type Parts = BoxStream<'static, io::Result<Bytes>>;

impl Bucket {
    /// The store that the settings name, with the credentials of the environment. Nothing is asked of it yet.
    ///
    /// # Errors
    /// [`StoreError::Settings`].
    pub fn open(settings: &BlobStore) -> Result<Bucket, StoreError> {
        // Whoever embeds the hub may have chosen one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let backoff =
            BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2), base: 2.0 };
        let retry = RetryConfig { backoff, max_retries: TRIES, retry_timeout: TRYING };
        // A long body has no deadline as a whole, only one for each piece.
        let options = ClientOptions::new().with_timeout_disabled().with_read_timeout(SILENCE);
        let mut builder = AmazonS3Builder::from_env()
            .with_client_options(options)
            .with_retry(retry)
            // One by one, which every store can: blobs are removed one by one.
            .with_disable_bulk_delete(true)
            .with_bucket_name(&settings.bucket)
            .with_region(&settings.region);
        if let Some(endpoint) = &settings.endpoint {
            builder = builder.with_endpoint(endpoint).with_allow_http(is_plain(endpoint)?);
        }
        let wrong = |error: &dyn std::fmt::Display| StoreError::Settings(error.to_string());
        let store = Arc::new(builder.build().map_err(|e| wrong(&e))?);
        let root = Path::parse(&settings.prefix).map_err(|e| wrong(&e))?;
        let endpoint = settings.endpoint.as_deref().unwrap_or("Amazon S3");
        let name = format!("bucket {} of {endpoint}", settings.bucket);
        Ok(Bucket::of(store.clone(), Some(store), root, settings.cache_bytes, &name))
    }

    fn of(
        store: Arc<dyn ObjectStore>,
        signer: Option<Arc<AmazonS3>>,
        root: Path,
        cache_bytes: u64,
        name: &str,
    ) -> Bucket {
        Bucket { store, signer, root, sending: Arc::new(Semaphore::new(SENDING_MAX)), cache_bytes, name: name.into() }
    }

    /// One for tests.
    #[cfg(test)]
    pub(super) fn in_memory() -> Bucket {
        Bucket::of(Arc::new(object_store::memory::InMemory::new()), None, Path::from("test"), 0, "memory")
    }

    /// The part of it that belongs to a cluster: two that share a bucket never touch each other's blobs.
    pub fn within(&self, cluster: &Digest) -> Bucket {
        Bucket { root: self.root.clone().join(&cluster.hex()[..32]), ..self.clone() }
    }

    /// Puts, lists and gets a trifle.
    ///
    /// # Errors
    /// What is wrong.
    pub async fn check(&self, node: &str) -> Result<(), StoreError> {
        let probe = self.root.clone().join("probe").join(node);
        within(STEP, self.store.put(&probe, "forge".into())).await?;
        let mut listing = self.store.list(Some(&self.root));
        within(STEP, async { listing.next().await.transpose() }).await?;
        within(STEP, async { self.store.get(&probe).await?.bytes().await }).await.map(drop)
    }

    pub(super) fn key(&self, digest: &Digest) -> Path {
        let hex = digest.hex();
        self.root.clone().join("blob").join(&hex[..2]).join(hex)
    }

    /// What the store says of an object; `None` if there is none.
    pub(super) async fn meta(&self, key: &Path) -> Result<Option<ObjectMeta>, StoreError> {
        match within(STEP, self.store.head(key)).await {
            Ok(meta) => Ok(Some(meta)),
            Err(StoreError::Missing) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a blob is there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn has(&self, digest: &Digest) -> Result<bool, StoreError> {
        Ok(self.meta(&self.key(digest)).await?.is_some())
    }

    /// A URL under which a blob may be read without us, for a while.
    ///
    /// # Errors
    /// [`StoreError`], if the credentials are not to be had.
    pub async fn signed_url(&self, digest: &Digest, ttl: Duration) -> Result<String, StoreError> {
        let signer = self.signer.as_ref().ok_or_else(|| StoreError::Settings("nobody signs for it".into()))?;
        let (key, ttl) = (self.key(digest), ttl.max(Duration::from_secs(1)));
        Ok(within(STEP, signer.signed_url(axum::http::Method::GET, &key, ttl)).await?.to_string())
    }

    /// Puts a blob of the folder. It is durable, and will stay for an hour at least, when this returns.
    ///
    /// It is always sent: what lies there already may be about to be removed.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is visible under its key then, or the whole of it.
    pub async fn put(&self, folder: &Arc<Folder>, digest: Digest) -> Result<(), StoreError> {
        for _ in 0..PUTS_MAX {
            timeout(SEND_WAIT, self.send(folder, digest)).await.map_err(|_| StoreError::Late)??;
            match self.endangered(&digest).await? {
                None => return Ok(()),
                Some(wait) => tokio::time::sleep(wait).await,
            }
        }
        Err(StoreError::Busy)
    }

    async fn send(&self, folder: &Arc<Folder>, digest: Digest) -> Result<(), StoreError> {
        let turn = timeout(PART_WAIT, self.sending.acquire()).await.map_err(|_| StoreError::Busy)?;
        let _turn = turn.expect("nobody closes it");
        let bytes = folder.bytes(&digest)?.ok_or(StoreError::Missing)?;
        let key = self.key(&digest);
        let attributes = Attributes::from_iter([(Attribute::ContentType, "application/octet-stream")]);
        if bytes <= PART_BYTES as u64 {
            let (whole, hasher) = part(folder, digest, 0, bytes as usize, blake3::Hasher::new()).await?;
            is_whole(&hasher, &digest)?;
            let options = PutOptions { attributes, ..PutOptions::default() };
            return within(PART_WAIT, self.store.put_opts(&key, whole.into(), options)).await.map(drop);
        }
        let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
        let mut upload = within(STEP, self.store.put_multipart_opts(&key, options)).await?;
        match send_parts(upload.as_mut(), folder, digest, bytes).await {
            Ok(()) => within(PART_WAIT, upload.complete()).await.map(drop),
            Err(error) => {
                // What is left of it nobody sees; the store's own rules remove it if we cannot.
                let _ = within(STEP, upload.abort()).await;
                Err(error)
            }
        }
    }

    async fn get(&self, digest: &Digest, range: Option<(u64, u64)>) -> Result<(u64, Parts), StoreError> {
        let options = GetOptions::new().with_range(range.map(|(first, last)| first..last + 1));
        let got = within(STEP, self.store.get_opts(&self.key(digest), options)).await?;
        let bytes = got.meta.size;
        let parts = futures::stream::try_unfold(got.into_stream(), |mut parts| async move {
            match timeout(SILENCE, parts.next()).await {
                Ok(Some(Ok(part))) => Ok(Some((part, parts))),
                Ok(Some(Err(error))) => Err(io::Error::other(error)),
                Ok(None) => Ok(None),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            }
        });
        Ok((bytes, parts.boxed()))
    }

    /// Reads a blob of this length, or a range of it. A whole one is hashed, and cut before its end if it is not what
    /// its name says.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn read(&self, digest: Digest, range: Option<(u64, u64)>, bytes: u64) -> Result<Parts, StoreError> {
        let (found, parts) = self.get(&digest, range).await?;
        if found != bytes {
            return Err(StoreError::Damaged);
        }
        Ok(if range.is_some() { parts } else { hashed(parts, digest) })
    }

    /// Reads a whole blob and says whether it is what its name says.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_whole(&self, digest: Digest, bytes: u64) -> Result<bool, StoreError> {
        let mut parts = match self.read(digest, None, bytes).await {
            Err(StoreError::Missing | StoreError::Damaged) => return Ok(false),
            other => other?,
        };
        while let Some(part) = parts.next().await {
            match part {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(false),
                Err(_) => return Err(StoreError::Late),
            }
        }
        Ok(true)
    }

    /// Brings a blob into the folder; gives its length in bytes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn fetch(&self, folder: &Arc<Folder>, digest: Digest) -> Result<u64, StoreError> {
        peers::settled(folder, &digest).await;
        if let Some(bytes) = folder.bytes(&digest)? {
            return Ok(bytes);
        }
        let (bytes, mut parts) = self.get(&digest, None).await?;
        let (frames, mut queue) = mpsc::channel::<Bytes>(4);
        let writer = folder.clone();
        let writing = tokio::task::spawn_blocking(move || -> Result<u64, UploadError> {
            let mut upload = writer.upload(peers::OWNER, digest, 0)?;
            while let Some(frame) = queue.blocking_recv() {
                upload.append(&frame)?;
            }
            if upload.bytes() < bytes { Err(UploadError::Offset { at: upload.bytes() }) } else { upload.finish() }
        });
        while let Some(part) = parts.next().await {
            let Ok(part) = part else { break };
            if frames.send(part).await.is_err() {
                break;
            }
        }
        drop(frames);
        match writing.await.map_err(io::Error::other)? {
            Ok(bytes) => Ok(bytes),
            Err(UploadError::Mismatch { .. }) => Err(StoreError::Damaged),
            Err(UploadError::Offset { .. }) => Err(StoreError::Late),
            Err(UploadError::Busy) => Err(StoreError::Busy),
            Err(UploadError::Io(error)) => Err(error.into()),
        }
    }
}

/// An answer of the store within a deadline.
pub(super) async fn within<T>(
    limit: Duration,
    asked: impl Future<Output = object_store::Result<T>>,
) -> Result<T, StoreError> {
    timeout(limit, asked).await.map_err(|_| StoreError::Late)?.map_err(StoreError::from)
}

/// Whether an endpoint goes without TLS, which only this machine's own may.
fn is_plain(endpoint: &str) -> Result<bool, StoreError> {
    let Some(rest) = endpoint.strip_prefix("http://") else { return Ok(false) };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host).trim_matches(['[', ']']);
    let local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if !local {
        return Err(StoreError::Settings(format!(
            "{endpoint} has no TLS, which only a loopback address may go without"
        )));
    }
    Ok(true)
}

fn is_whole(hasher: &blake3::Hasher, digest: &Digest) -> Result<(), StoreError> {
    if hasher.finalize().as_bytes() == &digest.0 { Ok(()) } else { Err(StoreError::Damaged) }
}

/// Reads a part of a file and hashes it, off the runtime.
async fn part(
    folder: &Arc<Folder>,
    digest: Digest,
    at: u64,
    count: usize,
    mut hasher: blake3::Hasher,
) -> io::Result<(Bytes, blake3::Hasher)> {
    let folder = folder.clone();
    let work = move || {
        let mut buffer = vec![0; count];
        folder.read(&digest, at, &mut buffer)?;
        hasher.update(&buffer);
        Ok((Bytes::from(buffer), hasher))
    };
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

async fn send_parts(
    upload: &mut dyn MultipartUpload,
    folder: &Arc<Folder>,
    digest: Digest,
    bytes: u64,
) -> Result<(), StoreError> {
    let (mut hasher, mut at) = (blake3::Hasher::new(), 0);
    let mut under_way = FuturesUnordered::new();
    loop {
        if at < bytes && under_way.len() < PARTS_AT_ONCE {
            let count = (bytes - at).min(PART_BYTES as u64);
            let (read, hashed) = part(folder, digest, at, count as usize, hasher).await?;
            (hasher, at) = (hashed, at + count);
            under_way.push(within(PART_WAIT, upload.put_part(read.into())));
        } else if let Some(sent) = under_way.next().await {
            sent?;
        } else {
            return is_whole(&hasher, &digest);
        }
    }
}

/// Passes parts on, the last only if all of them are what the digest says.
fn hashed(parts: Parts, digest: Digest) -> Parts {
    let begin = (parts, Some(blake3::Hasher::new()), None::<Bytes>);
    let steps = futures::stream::try_unfold(begin, move |(mut parts, hasher, mut held)| async move {
        let Some(mut hasher) = hasher else { return Ok(None) };
        loop {
            let next = parts.next().await.transpose()?;
            if let Some(part) = next {
                hasher.update(&part);
                if let Some(ready) = held.replace(part) {
                    return Ok(Some((ready, (parts, Some(hasher), held))));
                }
            } else if hasher.finalize().as_bytes() == &digest.0 {
                return Ok(held.map(|last| (last, (parts, None, None))));
            } else {
                tracing::error!(%digest, "the object store gives other bytes than it was given");
                return Err(io::Error::new(io::ErrorKind::InvalidData, "damaged in the object store"));
            }
        }
    });
    steps.boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::TryStreamExt;

    fn folder(name: &str) -> Arc<Folder> {
        let root = std::env::temp_dir().join(format!("forge-bucket-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        Arc::new(Folder::open(root).expect("a temporary folder"))
    }

    async fn whole(bucket: &Bucket, digest: Digest, bytes: u64) -> io::Result<Vec<u8>> {
        let parts = bucket.read(digest, None, bytes).await.expect("it is there");
        Ok(parts.try_collect::<Vec<Bytes>>().await?.concat())
    }

    #[tokio::test]
    async fn a_blob_of_many_parts_comes_back_whole_and_in_ranges() {
        let (bucket, from, to) = (Bucket::in_memory(), folder("from"), folder("to"));
        for count in [0, 11, 3 * PART_BYTES + 5] {
            let blob: Vec<u8> = (0..count as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
            let (digest, bytes) = from.keep(&mut [io::Result::Ok(blob.clone())].into_iter()).expect("a disk");
            assert!(matches!(bucket.read(digest, None, bytes).await, Err(StoreError::Missing)));
            bucket.put(&from, digest).await.expect("it is put");
            assert!(whole(&bucket, digest, bytes).await.expect("it is whole") == blob);
            assert_eq!(bucket.fetch(&to, digest).await.expect("it is fetched"), bytes);
            assert_eq!(to.is_whole(&digest).expect("a disk"), Some(true));
            if count > 10 {
                let parts = bucket.read(digest, Some((4, 9)), bytes).await.expect("it is there");
                assert_eq!(parts.try_collect::<Vec<Bytes>>().await.expect("a range").concat(), blob[4..10]);
            }
        }
    }

    #[tokio::test]
    async fn bytes_that_changed_are_neither_put_nor_passed_on_whole() {
        let (bucket, folder) = (Bucket::in_memory(), folder("changed"));
        let (digest, bytes) = folder.keep(&mut [io::Result::Ok(b"bytes".to_vec())].into_iter()).expect("a disk");
        std::fs::write(folder.path(&digest), b"bites").expect("a disk");
        assert!(matches!(bucket.put(&folder, digest).await, Err(StoreError::Damaged)));
        assert!(!bucket.has(&digest).await.expect("it answers"));
        bucket.store.put(&bucket.key(&digest), "bites".into()).await.expect("it is put");
        assert_eq!(whole(&bucket, digest, bytes).await.expect_err("it is cut").kind(), io::ErrorKind::InvalidData);
        assert!(!bucket.is_whole(digest, bytes).await.expect("it answers"));
        folder.remove(&digest).expect("a disk");
        assert!(matches!(bucket.fetch(&folder, digest).await, Err(StoreError::Damaged)));
        assert_eq!(folder.bytes(&digest).expect("a disk"), None);
    }

    #[test]
    fn only_a_loopback_endpoint_goes_without_tls() {
        for (endpoint, plain) in [
            ("https://s3.example.org", Some(false)),
            ("http://127.0.0.1:8333", Some(true)),
            ("http://[::1]:8333/x", Some(true)),
            ("http://localhost", Some(true)),
            ("http://10.0.0.1:8333", None),
            ("http://s3.example.org", None),
        ] {
            assert_eq!(is_plain(endpoint).ok(), plain, "{endpoint}");
        }
    }
}
