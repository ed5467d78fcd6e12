//! Blobs between nodes: a link a blob, in either direction, frames of bytes.

use super::{BlobError, Folder, UploadError};
use crate::handle::Hub;
use bytes::Bytes;
use forge_event::{Digest, NodeId};
use forge_log::network::{Lane, Link};
use futures::stream::{FuturesUnordered, StreamExt};
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Bytes in one frame.
const FRAME_BYTES: usize = 256 * 1024;
/// A peer takes or gives a frame within this time.
const STEP: Duration = Duration::from_secs(10);
/// How long to wait for another transfer of the same blob, and between two looks.
const BUSY_WAIT: Duration = Duration::from_secs(60);
const BUSY_LOOK: Duration = Duration::from_millis(100);
/// Whose uploads these are, in the folder.
pub(super) const OWNER: &str = "peers";

/// First frame of a link, from the one who opened it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
enum Ask {
    /// Send it, if you have it.
    Get { digest: Digest },
    /// Take it.
    Put { digest: Digest, bytes: u64 },
}

/// The answer to it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
enum Told {
    /// To `Get`: so many bytes follow.
    Has { bytes: u64 },
    /// To `Get`.
    Lacks,
    /// To `Put`: it is here and synced.
    Kept,
    /// To `Put`: send the bytes from here on.
    Send { from: u64 },
    /// To `Put`: not now.
    Busy,
}

fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

async fn say<T: Serialize>(link: &mut Link, message: &T) -> io::Result<()> {
    let frame = postcard::to_stdvec(message).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    timeout(STEP, link.send(Bytes::from(frame))).await?
}

async fn hear(link: &mut Link) -> io::Result<Bytes> {
    timeout(STEP, link.recv()).await??.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

async fn told(link: &mut Link) -> io::Result<Told> {
    postcard::from_bytes(&hear(link).await?).map_err(|_| bad("not an answer"))
}

/// As [`told`], for an answer that has its own deadline.
async fn told_later(link: &mut Link) -> io::Result<Told> {
    let frame = link.recv().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    postcard::from_bytes(&frame).map_err(|_| bad("not an answer"))
}

/// Serves one link that a peer opened.
pub async fn serve(hub: Hub, mut link: Link) {
    let Ok(folder) = hub.blobs().cloned() else { return };
    let served = async {
        match postcard::from_bytes(&hear(&mut link).await?).map_err(|_| bad("not a question"))? {
            Ask::Get { digest } => give(&folder, &mut link, digest).await,
            Ask::Put { digest, bytes } => take(&folder, &mut link, digest, bytes).await,
        }
    };
    if let Err(error) = served.await {
        tracing::debug!(%error, "a peer's blob link broke");
    }
}

async fn give(folder: &Arc<Folder>, link: &mut Link, digest: Digest) -> io::Result<()> {
    let Some(bytes) = folder.bytes(&digest)? else { return say(link, &Told::Lacks).await };
    say(link, &Told::Has { bytes }).await?;
    send(folder, link, digest, 0, bytes).await?;
    // Whoever asked closes once it has everything.
    timeout(STEP, link.recv()).await?.map(drop)
}

async fn send(folder: &Arc<Folder>, link: &mut Link, digest: Digest, from: u64, bytes: u64) -> io::Result<()> {
    let mut at = from;
    while at < bytes {
        let count = (bytes - at).min(FRAME_BYTES as u64) as usize;
        let folder = folder.clone();
        let read = move || {
            let mut buffer = vec![0; count];
            folder.read(&digest, at, &mut buffer).map(|()| buffer)
        };
        let buffer = tokio::task::spawn_blocking(read).await.map_err(io::Error::other)??;
        timeout(STEP, link.send(Bytes::from(buffer))).await??;
        at += count as u64;
    }
    Ok(())
}

/// Waits while another transfer brings this blob; it may be here then.
pub(super) async fn settled(folder: &Arc<Folder>, digest: &Digest) {
    let over = async {
        while folder.is_busy(OWNER, digest) {
            tokio::time::sleep(BUSY_LOOK).await;
        }
    };
    // Whoever waited too long is told that it is busy.
    let _ = timeout(BUSY_WAIT, over).await;
}

async fn take(folder: &Arc<Folder>, link: &mut Link, digest: Digest, bytes: u64) -> io::Result<()> {
    settled(folder, &digest).await;
    if folder.bytes(&digest)?.is_some() {
        return say(link, &Told::Kept).await;
    }
    let from = folder.uploaded(OWNER, &digest);
    say(link, &Told::Send { from }).await?;
    match receive(folder, link, digest, from, bytes).await {
        Ok(()) => say(link, &Told::Kept).await,
        Err(UploadError::Io(error)) => Err(error),
        Err(_) => say(link, &Told::Busy).await,
    }
}

/// Takes the rest of a blob in; hashing and writing happen off the runtime.
async fn receive(
    folder: &Arc<Folder>,
    link: &mut Link,
    digest: Digest,
    from: u64,
    bytes: u64,
) -> Result<(), UploadError> {
    let (frames, mut queue) = tokio::sync::mpsc::channel::<Bytes>(4);
    let folder = folder.clone();
    let writing = tokio::task::spawn_blocking(move || {
        let mut upload = folder.upload(OWNER, digest, from)?;
        while let Some(frame) = queue.blocking_recv() {
            upload.append(&frame)?;
        }
        if upload.bytes() < bytes { Err(UploadError::Offset { at: upload.bytes() }) } else { upload.finish().map(drop) }
    });
    let mut at = from;
    while at < bytes {
        let frame = hear(link).await?;
        at += frame.len() as u64;
        if frame.is_empty() || at > bytes || frames.send(frame).await.is_err() {
            break;
        }
    }
    drop(frames);
    writing.await.map_err(io::Error::other)?
}

async fn push(hub: Hub, to: NodeId, digest: Digest, bytes: u64) -> io::Result<()> {
    let folder = hub.blobs().map_err(io::Error::other)?.clone();
    let mut link = timeout(STEP, hub.transport().open(to, Lane::Blob)).await??;
    say(&mut link, &Ask::Put { digest, bytes }).await?;
    // It answers once no other transfer brings it the same blob.
    let first = timeout(BUSY_WAIT + STEP, told_later(&mut link)).await??;
    match first {
        Told::Kept => return Ok(()),
        Told::Send { from } if from <= bytes => send(&folder, &mut link, digest, from, bytes).await?,
        _ => return Err(bad("the peer does not take it now")),
    }
    match told(&mut link).await? {
        Told::Kept => Ok(()),
        _ => Err(bad("the peer did not keep it")),
    }
}

/// Gives a blob that is here to the other voters until a majority has it; the rest gets it in the background.
pub(super) async fn spread(hub: &Hub, digest: Digest, bytes: u64) -> Result<(), BlobError> {
    let (node, voters): (NodeId, Vec<NodeId>) =
        (hub.node(), hub.read(|w| w.cluster.members().filter(|(_, n)| n.voter).map(|(id, _)| id).collect()));
    let needed = voters.len() / 2 + 1;
    let mut have = usize::from(voters.contains(&node));
    let mut pushes: FuturesUnordered<_> = voters
        .into_iter()
        .filter(|voter| *voter != node)
        .map(|voter| tokio::spawn(push(hub.clone(), voter, digest, bytes)))
        .collect();
    while have < needed {
        match pushes.next().await {
            Some(Ok(Ok(()))) => have += 1,
            Some(Ok(Err(error))) => tracing::debug!(%digest, %error, "a peer was not given a blob"),
            Some(Err(_)) => {}
            None => return Err(BlobError::NoMajority),
        }
    }
    Ok(())
}

/// Gets a blob from the first peer that has it.
pub(super) async fn fetch(hub: &Hub, digest: Digest) -> Result<u64, BlobError> {
    let folder = hub.blobs()?.clone();
    let others: Vec<NodeId> =
        hub.read(|w| w.cluster.members().map(|(id, _)| id).filter(|id| *id != hub.node()).collect());
    for other in others {
        settled(&folder, &digest).await;
        if let Some(bytes) = folder.bytes(&digest)? {
            return Ok(bytes);
        }
        match fetch_from(hub, &folder, other, digest).await {
            Ok(Some(bytes)) => return Ok(bytes),
            Ok(None) => {}
            Err(error) => tracing::debug!(%digest, from = %other, %error, "a blob was not fetched"),
        }
    }
    // Another transfer may have brought it meanwhile.
    settled(&folder, &digest).await;
    folder.bytes(&digest)?.ok_or(BlobError::Missing(digest))
}

async fn fetch_from(hub: &Hub, folder: &Arc<Folder>, from: NodeId, digest: Digest) -> io::Result<Option<u64>> {
    let mut link = timeout(STEP, hub.transport().open(from, Lane::Blob)).await??;
    say(&mut link, &Ask::Get { digest }).await?;
    let Told::Has { bytes } = told(&mut link).await? else { return Ok(None) };
    match receive(folder, &mut link, digest, 0, bytes).await {
        Ok(()) => Ok(Some(bytes)),
        Err(UploadError::Io(error)) => Err(error),
        Err(other) => Err(io::Error::other(other)),
    }
}
