//! What a running shard may ask of its agent. Kernels see nothing else.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use forge_event::Digest;
use forge_projections::family::Fault;

/// Why a shard ends without a result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stop {
    /// The result is not wanted any longer.
    Cancelled,
    /// The payload is not one of this kind and version.
    BadPayload,
    /// It cannot be done, here or anywhere: kebab-case code, and what happened.
    Failed { code: &'static str, detail: String },
}

impl Stop {
    pub fn failed(code: &'static str, detail: impl Into<String>) -> Stop {
        Stop::Failed { code, detail: detail.into() }
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Stop {
        Stop::Failed { code: fault.code, detail: fault.detail }
    }
}

/// The agent, as a kernel sees it.
pub trait Host {
    /// Says how far the shard is. To be called every few milliseconds of work.
    ///
    /// # Errors
    /// [`Stop::Cancelled`] once the result is not wanted any longer.
    fn progress(&mut self, cells_done: u64) -> Result<(), Stop>;

    /// Length of a blob that the payload names. Units: bytes.
    ///
    /// # Errors
    /// [`Stop::Failed`] if it cannot be had.
    fn blob_bytes(&mut self, digest: &Digest) -> Result<u64, Stop>;

    /// Fills `buffer` from byte `first` of a blob that the payload names.
    ///
    /// # Errors
    /// [`Stop::Failed`] if it cannot be had, or ends before the buffer does.
    fn read(&mut self, digest: &Digest, first: u64, buffer: &mut [u8]) -> Result<(), Stop>;

    /// Keeps bytes that the result will name; they are durable when this returns.
    ///
    /// # Errors
    /// [`Stop::Failed`] if they could not be kept.
    fn put(&mut self, bytes: &[u8]) -> Result<Digest, Stop>;

    /// Whether what is done so far is worth a checkpoint now. Only for families whose shards can be resumed
    /// ([`cells`](forge_projections::family::Family::cells)).
    fn wants_checkpoint(&mut self, _cells_done: u64, _cells: u64) -> bool {
        false
    }

    /// Hands over what is done: a result of the first `cells_done` cells, from which another attempt goes on.
    fn checkpoint(&mut self, _cells_done: u64, _result: Vec<u8>) {}
}

/// A whole blob of at most `bytes_max`.
///
/// # Errors
/// [`Stop::Failed`]: it cannot be had, or is longer.
pub fn whole(host: &mut dyn Host, digest: &Digest, bytes_max: u64) -> Result<Vec<u8>, Stop> {
    let bytes = host.blob_bytes(digest)?;
    if bytes > bytes_max {
        let detail = format!("{digest} has {bytes} bytes; at most {bytes_max} are read here");
        return Err(Stop::failed("blob-too-large", detail));
    }
    let mut buffer = alloc::vec![0; bytes as usize];
    host.read(digest, 0, &mut buffer)?;
    Ok(buffer)
}

/// A host without blobs, that never says stop: for kernels that need none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bare;

impl Host for Bare {
    fn progress(&mut self, _: u64) -> Result<(), Stop> {
        Ok(())
    }

    fn blob_bytes(&mut self, digest: &Digest) -> Result<u64, Stop> {
        Err(Stop::failed("blob-missing", format!("there is no blob {digest} here")))
    }

    fn read(&mut self, digest: &Digest, _: u64, _: &mut [u8]) -> Result<(), Stop> {
        self.blob_bytes(digest).map(drop)
    }

    fn put(&mut self, _: &[u8]) -> Result<Digest, Stop> {
        Err(Stop::failed("blob-unwritable", "no blob is kept here"))
    }
}
