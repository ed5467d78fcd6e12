//! The thread of everything that is ordered: links between nodes, Raft, and the sequencer.
//!
//! A turn passes through all of them. On one thread that costs no switch between cores; doors for agents and REST stay
//! on the runtime of the process.

use std::future::Future;
use std::io;
use std::num::NonZero;
use std::thread::available_parallelism;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

/// A runtime for a process that is one node and nothing else: a thread for each core but the one that is left to the
/// ordered thread, at least one.
///
/// # Errors
/// If the system gives no threads.
pub fn runtime_of_a_node() -> io::Result<Runtime> {
    let cores = available_parallelism().map_or(1, NonZero::get);
    Builder::new_multi_thread().worker_threads(cores.saturating_sub(1).max(1)).enable_all().build()
}

/// A thread with a runtime of its own; ends when this is dropped, and its tasks with it.
#[derive(Debug)]
pub(crate) struct OrderLane {
    runtime: Handle,
    _alive: oneshot::Sender<()>,
}

impl OrderLane {
    /// # Errors
    /// If the system gives no thread.
    pub fn start() -> io::Result<OrderLane> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (alive, over) = oneshot::channel::<()>();
        let run = move || {
            // An error says that the lane was dropped.
            let _ = runtime.block_on(over);
        };
        std::thread::Builder::new().name("forge-order".into()).spawn(run)?;
        Ok(OrderLane { runtime: handle, _alive: alive })
    }

    /// Runs `work` there; what it spawns stays there.
    ///
    /// # Errors
    /// If it panicked.
    pub async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> io::Result<T> {
        self.runtime.spawn(work).await.map_err(io::Error::other)
    }
}
