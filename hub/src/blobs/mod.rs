//! Blobs: content-addressed bytes beside the log, on a majority of nodes before an event names them.
//!
//! A blob's life: bytes come in and are hashed on the way (`folder.rs`); a majority of voters gets them
//! (`peers.rs`); `blob.recorded` names them for a project. A node that lacks one fetches it from the others;
//! `scrub.rs` repairs what a disk lost or flipped and removes what nobody's event names.
//!
//! With an object store (`bucket.rs`) in place of the majority, a node's files are a cache of it.

mod bucket;
mod collect;
mod folder;
mod outgoing;
mod pass;
mod peers;
mod scrub;
mod shared;
mod url;
mod view;

pub use bucket::{Bucket, StoreError};
pub use folder::{Folder, Upload, UploadError};
pub use peers::serve;
pub use scrub::run as scrub;
pub use url::{Grant, Operation};
pub use view::{Keeping, NoKeeping, UNREADABLE, View};

use crate::handle::Hub;
use forge_event::*;
use forge_log::network::identity::verify;
use forge_projections::{Command, CommandError, Committed};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The folder in a node's data folder.
pub const FOLDER: &str = "blobs";
/// A blob is no longer than this. Units: bytes.
pub const BLOB_BYTES_MAX: u64 = 64 << 30;

/// A blob was not kept, or is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("this node keeps no blobs")]
    NoFolder,
    #[error("no node that answers has blob {0}")]
    Missing(Digest),
    #[error("a majority of nodes could not be given the blob in time")]
    NoMajority,
    #[error("the disk of this node")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("recording the blob: {0:?}")]
    Record(CommandError),
}

/// A URL is not one of this cluster's, not for this, or too old.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadSignature(pub &'static str);

impl Hub {
    /// The node's blobs.
    ///
    /// # Errors
    /// [`BlobError::NoFolder`] on a node without a disk.
    pub fn blobs(&self) -> Result<&Arc<Folder>, BlobError> {
        self.blob_folder().ok_or(BlobError::NoFolder)
    }

    /// The object store of the cluster's blobs; `None` where they lie on its nodes.
    pub fn bucket(&self) -> Option<Bucket> {
        Some(self.blob_bucket()?.within(&self.cluster()))
    }

    /// Makes sure that a blob's file is on this node, from the object store or its peers if need be; gives its length in
    /// bytes.
    ///
    /// # Errors
    /// [`BlobError::Missing`] if nobody has it.
    pub async fn need_blob(&self, digest: Digest) -> Result<u64, BlobError> {
        let folder = self.blobs()?.clone();
        if let Some(bytes) = folder.bytes(&digest)? {
            return Ok(bytes);
        }
        if let Some(bucket) = self.bucket() {
            match bucket.fetch(&folder, digest).await {
                // Nodes may have kept it before there was a bucket.
                Err(StoreError::Missing) => {}
                fetched => return Ok(fetched?),
            }
        }
        peers::fetch(self, digest).await
    }

    /// Gives a blob that is here to the object store, or to a majority of the voters, then records it.
    ///
    /// # Errors
    /// [`BlobError`]; the file stays here, so that a repeat is cheap.
    pub async fn record_blob(&self, by: Option<By>, blob: BlobRecorded) -> Result<Committed, BlobError> {
        match self.bucket() {
            Some(bucket) => {
                let (folder, digest) = (self.blobs()?.clone(), blob.digest);
                // Goes on if whoever waits for it does not: nothing of an upload is left behind then.
                let putting = tokio::spawn(async move { bucket.put(&folder, digest).await });
                putting.await.map_err(io::Error::other)??;
            }
            None => peers::spread(self, blob.digest, blob.bytes).await?,
        }
        let fact = Fact { by, event: blob.into() };
        let committed = self.command(Command::Fact(fact)).await.map_err(BlobError::Record)?;
        self.reached(committed.index, Duration::from_secs(5)).await;
        Ok(committed)
    }

    /// A query that allows what `grant` says, signed by this node.
    pub fn sign_blob(&self, grant: &Grant, digest: &Digest) -> String {
        grant.query(&self.identity().sign(&grant.message(digest)))
    }

    /// What a signed query allows for this blob, if a node of this cluster signed it and it is not too old.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn granted(&self, query: &str, method: &str, digest: &Digest) -> Result<Grant, BadSignature> {
        let (grant, signature) = Grant::read(query).ok_or(BadSignature("the query is not one that a node signs"))?;
        let key = self.read(|w| w.cluster.nodes.get(&grant.node).filter(|n| !n.removed).map(|n| n.public_key));
        let key = key.ok_or(BadSignature("the node that signed it is not of this cluster"))?;
        if !verify(&key, &grant.message(digest), &signature) {
            return Err(BadSignature("the signature does not fit: the URL was altered"));
        }
        // A HEAD tells how far a PUT has come, and how long what is to GET is.
        if grant.method() != method && method != "HEAD" {
            return Err(BadSignature("the URL is for another method"));
        }
        if self.clock().now() > grant.expires {
            return Err(BadSignature("the URL has expired"));
        }
        Ok(grant)
    }
}
