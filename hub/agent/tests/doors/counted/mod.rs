//! An executor of Monte Carlo shards that counts the cells it runs, and whose first run halts in the middle.

use forge_adapters::host::{Host, Stop};
use forge_agent::{Context, ExecError, Executor};
use forge_event::Digest;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Shared by all agents of a test.
#[derive(Clone)]
pub struct Counted(Arc<Shared>);

struct Shared {
    /// Of the shard.
    cells: u64,
    /// The first run goes no further than about here.
    halt: u64,
    halted: AtomicBool,
    run: AtomicU64,
    /// Handed over by the run that halted.
    last: Mutex<Option<u64>>,
}

impl Counted {
    pub const INTERVAL: Duration = Duration::from_millis(5);

    pub fn of(cells: u64, halt: u64) -> Counted {
        let (halted, run, last) = Default::default();
        Counted(Arc::new(Shared { cells, halt, halted, run, last }))
    }

    /// Cells that were run so far, each as often as it was.
    pub fn run(&self) -> u64 {
        self.0.run.load(Ordering::SeqCst)
    }

    /// Cells of the last checkpoint of the run that halted; `None` before it halts.
    pub fn last(&self) -> Option<u64> {
        let last = *self.0.last.lock().expect("nobody panics with it");
        last.filter(|_| self.0.halted.load(Ordering::SeqCst))
    }
}

impl Executor for Counted {
    fn kind(&self) -> &str {
        "monte_carlo"
    }

    fn version(&self) -> u16 {
        1
    }

    fn run(&self, payload: &[u8], context: &mut Context) -> Result<Vec<u8>, ExecError> {
        let is_first = self.run() == 0;
        let mut host = Counting { context, shared: &self.0, is_first, done: 0 };
        forge_adapters::monte_carlo::kernel::run_hosted(payload, &mut host)
            .map_err(|stop| ExecError::of("monte_carlo", stop))
    }
}

struct Counting<'a> {
    context: &'a mut Context,
    shared: &'a Shared,
    is_first: bool,
    done: u64,
}

impl Host for Counting<'_> {
    fn progress(&mut self, cells_done: u64) -> Result<(), Stop> {
        let before = std::mem::replace(&mut self.done, cells_done);
        self.shared.run.fetch_add(cells_done - before, Ordering::SeqCst);
        // A shard worth a checkpoint takes its time.
        let pauses = |cells: u64| cells / (self.shared.cells / 32);
        if pauses(cells_done) > pauses(before) {
            std::thread::sleep(Counted::INTERVAL);
        }
        while self.is_first && cells_done >= self.shared.halt && !self.context.cancelled() {
            self.shared.halted.store(true, Ordering::SeqCst);
            std::thread::sleep(Counted::INTERVAL);
        }
        Host::progress(self.context, cells_done)
    }

    fn blob_bytes(&mut self, digest: &Digest) -> Result<u64, Stop> {
        self.context.blob_bytes(digest)
    }

    fn read(&mut self, digest: &Digest, first: u64, buffer: &mut [u8]) -> Result<(), Stop> {
        self.context.read(digest, first, buffer)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<Digest, Stop> {
        self.context.put(bytes)
    }

    fn wants_checkpoint(&mut self, cells_done: u64, cells: u64) -> bool {
        Host::wants_checkpoint(self.context, cells_done, cells)
    }

    fn checkpoint(&mut self, cells_done: u64, result: Vec<u8>) {
        if self.is_first {
            *self.shared.last.lock().expect("nobody panics with it") = Some(cells_done);
        }
        Host::checkpoint(self.context, cells_done, result);
    }
}
