//! Threads that compute, shared by all agents of the process.

use crate::executor::{Context, Executor};
use crate::executors::ExecError;
use forge_event::LeaseId;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// A shard to compute.
pub(crate) struct Task {
    pub lease: LeaseId,
    pub executor: Arc<dyn Executor>,
    pub payload: Vec<u8>,
    pub context: Context,
    /// Bounded by its agent's leases.
    pub done: mpsc::Sender<Report>,
}

/// What a compute thread says.
#[derive(Debug)]
pub(crate) enum Report {
    /// What a shard has done so far.
    Checkpoint { lease: LeaseId, cells: u64, result: Vec<u8> },
    /// A shard ended.
    Finished { lease: LeaseId, result: Result<Vec<u8>, ExecError> },
}

/// A fixed number of threads over one queue; an agent hands in no more tasks than it has slots.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    ready: Condvar,
}

struct State {
    queue: VecDeque<Task>,
    idle: usize,
    threads: usize,
    threads_max: usize,
}

impl Pool {
    /// Without a thread yet.
    pub(crate) fn new() -> Pool {
        let state = State { queue: VecDeque::new(), idle: 0, threads: 0, threads_max: 0 };
        Pool(Arc::new(Shared { state: Mutex::new(state), ready: Condvar::new() }))
    }

    /// So many threads more may run; each is started when it is needed.
    pub(crate) fn allow(&self, threads: usize) {
        let mut state = self.0.lock();
        state.threads_max = (state.threads_max + threads).min(THREADS_MAX);
    }

    pub(crate) fn submit(&self, task: Task) {
        let mut state = self.0.lock();
        state.queue.push_back(task);
        if state.idle < state.queue.len() && state.threads < state.threads_max {
            state.threads += 1;
            let shared = Arc::downgrade(&self.0);
            let name = format!("forge-compute-{}", state.threads);
            let spawned = std::thread::Builder::new().name(name).spawn(move || {
                while let Some(shared) = shared.upgrade() {
                    if !shared.run_one() {
                        return;
                    }
                }
            });
            if let Err(error) = spawned {
                state.threads -= 1;
                tracing::error!(%error, "cannot start a compute thread");
            }
        }
        drop(state);
        self.0.ready.notify_one();
    }
}

/// Compute threads of one process, whatever its agents' slots say.
const THREADS_MAX: usize = 64;
/// An idle thread looks this often whether the pool is still there.
const IDLE_LOOK: std::time::Duration = std::time::Duration::from_secs(1);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the next task, or waits a while for one. `false`: the thread may end.
    fn run_one(&self) -> bool {
        let mut state = self.lock();
        if state.queue.is_empty() {
            state.idle += 1;
            let (after, _) = self.ready.wait_timeout(state, IDLE_LOOK).unwrap_or_else(PoisonError::into_inner);
            state = after;
            state.idle -= 1;
        }
        let Some(task) = state.queue.pop_front() else { return true };
        drop(state);
        let result = run(&task);
        // The agent may be gone; then nobody wants the result.
        let _ = task.done.blocking_send(Report::Finished { lease: task.lease, result });
        true
    }
}

/// Runs a task; a panic is tried once more, and is then the shard's failure.
fn run(task: &Task) -> Result<Vec<u8>, ExecError> {
    for _ in 0..2 {
        let mut context = task.context.clone();
        match catch_unwind(AssertUnwindSafe(|| task.executor.run(&task.payload, &mut context))) {
            Ok(result) => return result,
            Err(_) => tracing::error!(lease = %task.lease, kind = task.executor.kind(), "an executor panicked"),
        }
    }
    Err(ExecError { code: "panicked", detail: "the executor panicked twice".into() })
}
