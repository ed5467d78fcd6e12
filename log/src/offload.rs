//! Work that blocks: on a thread in production, in place in a simulation.

use crate::options::Executor;
use std::io;
use tokio::sync::oneshot;

impl Executor {
    /// Runs `work` where it starves nobody, and gives its result.
    ///
    /// # Errors
    /// If the thread cannot be started, or `work` panics there.
    pub async fn offload<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        match self {
            Executor::Inline { .. } => work(),
            Executor::Threads => {
                let (done, result) = oneshot::channel();
                std::thread::Builder::new().name(name.into()).spawn(move || {
                    // The one who waits may have gone: the work is done all the same.
                    let _ = done.send(work());
                })?;
                result.await.unwrap_or_else(|_| Err(io::Error::other(format!("thread {name} panicked"))))
            }
        }
    }
}
