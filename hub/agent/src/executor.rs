//! The SDK: what a workload has to offer to be run by an agent.

use crate::blobs::ShardBlobs;
use crate::executors::{self, ExecError};
use crate::pool::Report;
use forge_adapters::host::{Host, Stop};
use forge_event::limits::CHECKPOINT_STEPS_MAX;
use forge_event::{Digest, LeaseId};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Runs shards of one kind and version.
///
/// Invariant: equal payloads give equal bytes, on every machine; a result depends on nothing else.
pub trait Executor: Send + Sync + 'static {
    /// The word in a job's `kind`.
    fn kind(&self) -> &str;

    /// The family's version whose payloads it reads.
    fn version(&self) -> u16;

    /// True if this payload takes microseconds: it is then run where it arrives, without a thread.
    fn is_instant(&self, _payload: &[u8]) -> bool {
        false
    }

    /// Runs one shard. Blocking; looks at [`Context::cancelled`] every few milliseconds.
    ///
    /// # Errors
    /// [`ExecError`]: reported to the hub, which gives the shard to another agent.
    fn run(&self, payload: &[u8], context: &mut Context) -> Result<Vec<u8>, ExecError>;
}

/// What a running shard may ask and say.
#[derive(Clone, Debug, Default)]
pub struct Context {
    cancelled: Arc<AtomicBool>,
    cells: Arc<AtomicU64>,
    blobs: Option<ShardBlobs>,
    checkpoints: Option<Checkpoints>,
}

/// Where a shard's checkpoints go, and when the next one is due.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoints {
    lease: LeaseId,
    to: mpsc::Sender<Report>,
    interval: Duration,
    next: Instant,
    /// Done at the last one.
    cells: u64,
}

impl Checkpoints {
    pub(crate) fn new(lease: LeaseId, to: mpsc::Sender<Report>, interval: Duration) -> Checkpoints {
        Checkpoints { lease, to, interval, next: Instant::now() + interval, cells: 0 }
    }
}

impl Host for Context {
    fn progress(&mut self, cells_done: u64) -> Result<(), Stop> {
        if Context::progress(self, cells_done) { Ok(()) } else { Err(Stop::Cancelled) }
    }

    fn blob_bytes(&mut self, digest: &Digest) -> Result<u64, Stop> {
        self.blobs()?.bytes(digest)
    }

    fn read(&mut self, digest: &Digest, first: u64, buffer: &mut [u8]) -> Result<(), Stop> {
        self.blobs()?.read(digest, first, buffer)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<Digest, Stop> {
        self.blobs()?.put(bytes)
    }

    fn wants_checkpoint(&mut self, cells_done: u64, cells: u64) -> bool {
        Context::wants_checkpoint(self, cells_done, cells)
    }

    fn checkpoint(&mut self, cells_done: u64, result: Vec<u8>) {
        Context::checkpoint(self, cells_done, result);
    }
}

impl Context {
    /// A context whose shard may read and keep blobs.
    pub fn with_blobs(blobs: ShardBlobs) -> Context {
        Context { blobs: Some(blobs), ..Context::default() }
    }

    /// Its shard may leave checkpoints.
    pub(crate) fn leaving(self, checkpoints: Checkpoints) -> Context {
        Context { checkpoints: Some(checkpoints), ..self }
    }

    fn blobs(&self) -> Result<&ShardBlobs, Stop> {
        self.blobs.as_ref().ok_or_else(|| Stop::failed("blob-not-granted", "the shard was given no way to blobs"))
    }

    /// True once the result is not wanted any longer: return [`ExecError::CANCELLED`].
    pub fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Says how far it is; false: stop, as [`Context::cancelled`].
    pub fn progress(&mut self, cells_done: u64) -> bool {
        self.cells.store(cells_done, Ordering::Relaxed);
        !self.cancelled()
    }

    /// Whether what is done, of all the shard's cells, is worth a [`Context::checkpoint`] now: time has passed since the
    /// last one, and enough was done that the hub takes it.
    pub fn wants_checkpoint(&self, cells_done: u64, cells: u64) -> bool {
        let Some(last) = &self.checkpoints else { return false };
        let step = cells.div_ceil(CHECKPOINT_STEPS_MAX);
        cells_done < cells && cells_done >= last.cells.saturating_add(step) && Instant::now() >= last.next
    }

    /// Hands over a result of the shard's first `cells_done` cells. If this agent is lost, another goes on behind them.
    /// Only for families whose shards can be resumed.
    pub fn checkpoint(&mut self, cells_done: u64, result: Vec<u8>) {
        let Some(checkpoints) = &mut self.checkpoints else { return };
        checkpoints.cells = cells_done;
        checkpoints.next = Instant::now() + checkpoints.interval;
        // Without room it is forgotten: the next one says more.
        let _ = checkpoints.to.try_send(Report::Checkpoint { lease: checkpoints.lease, cells: cells_done, result });
    }

    /// Cells done, as it said last.
    pub fn cells(&self) -> u64 {
        self.cells.load(Ordering::Relaxed)
    }

    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

/// The executors of an agent.
#[derive(Clone, Default)]
pub struct Registry(Vec<Arc<dyn Executor>>);

impl Registry {
    /// No executor.
    pub fn empty() -> Self {
        Registry::default()
    }

    /// The built-in workloads.
    pub fn standard() -> Self {
        executors::KINDS.into_iter().fold(Registry::empty(), |registry, kind| registry.with(BuiltIn(kind)))
    }

    /// Also this one; it goes before an earlier one of the same kind and version.
    pub fn with(mut self, executor: impl Executor) -> Self {
        self.0.insert(0, Arc::new(executor));
        self
    }

    /// The executor for a kind and version.
    pub fn find(&self, kind: &str, version: u16) -> Option<&Arc<dyn Executor>> {
        self.0.iter().find(|e| e.version() == version && e.kind() == kind)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|e| (e.kind(), e.version()))).finish()
    }
}

/// A workload of [`executors`].
struct BuiltIn(&'static str);

impl Executor for BuiltIn {
    fn kind(&self) -> &str {
        self.0
    }

    fn version(&self) -> u16 {
        1
    }

    fn is_instant(&self, payload: &[u8]) -> bool {
        let null = |p: forge_adapters::null::Payload| p.sleep_us == 0 && p.payload_bytes <= 4096;
        self.0 == "null" && forge_adapters::null::Payload::decode(payload).is_some_and(null)
    }

    fn run(&self, payload: &[u8], context: &mut Context) -> Result<Vec<u8>, ExecError> {
        executors::run(self.0, self.version(), payload, context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo;

    impl Executor for Echo {
        fn kind(&self) -> &str {
            "null"
        }

        fn version(&self) -> u16 {
            1
        }

        fn run(&self, payload: &[u8], _: &mut Context) -> Result<Vec<u8>, ExecError> {
            Ok(payload.to_vec())
        }
    }

    #[test]
    fn a_users_executor_goes_before_the_built_in_one() {
        let registry = Registry::standard().with(Echo);
        let executor = registry.find("null", 1).expect("two are there");
        assert_eq!(executor.run(b"abc", &mut Context::default()), Ok(b"abc".to_vec()));
        assert!(registry.find("null", 2).is_none());
    }
}
