//! Filing: redb takes over what the journal made durable, many batches in one transaction.

use super::batch::Batch;
use super::{Shared, sound};
use std::io;
use std::sync::{Arc, mpsc};
use std::thread;
use tokio::time::Instant;

/// Batches to be filed, in their order.
#[derive(Default)]
pub struct Bundle {
    pub batches: Vec<Batch>,
    /// Of all batches, without what pads them in the journal.
    pub bytes: usize,
    /// Number of the last batch.
    pub upto: u64,
    /// The last append in it.
    pub append: u64,
}

/// Who files: a thread of its own, so that the journal's other half can be filled meanwhile; or the caller.
pub enum Filer {
    Thread { bundles: mpsc::SyncSender<Bundle>, filed: mpsc::Receiver<io::Result<u64>>, busy: bool },
    Caller,
}

impl Filer {
    /// Starts the thread; it ends with this value.
    pub fn start(shared: Arc<Shared>) -> io::Result<Filer> {
        // One at a time: each is waited for before the next.
        let (bundles, queue) = mpsc::sync_channel::<Bundle>(1);
        let (results, filed) = mpsc::sync_channel(1);
        let run = move || {
            for bundle in queue {
                let upto = bundle.upto;
                let done = file(&shared, bundle);
                let stop = done.is_err();
                if results.send(done.map(|()| upto)).is_err() || stop {
                    break;
                }
            }
        };
        thread::Builder::new().name("forge-log-filer".into()).spawn(run)?;
        Ok(Filer::Thread { bundles, filed, busy: false })
    }

    /// Waits until what was handed over is filed; gives the last batch's number, if anything was.
    pub fn wait(&mut self) -> io::Result<Option<u64>> {
        match self {
            Filer::Thread { filed, busy, .. } if *busy => {
                *busy = false;
                filed.recv().unwrap_or_else(|_| Err(io::Error::other("the log's filer has stopped"))).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// As [`Filer::wait`], of what is filed by now.
    pub fn look(&mut self) -> io::Result<Option<u64>> {
        let Filer::Thread { filed, busy, .. } = self else { return Ok(None) };
        match filed.try_recv() {
            Ok(done) => {
                *busy = false;
                done.map(Some)
            }
            Err(mpsc::TryRecvError::Empty) => Ok(None),
            Err(mpsc::TryRecvError::Disconnected) => Err(io::Error::other("the log's filer has stopped")),
        }
    }

    /// Whether a bundle is being filed.
    pub fn is_busy(&self) -> bool {
        matches!(self, Filer::Thread { busy: true, .. })
    }

    /// Hands a bundle over; the one before it must have been waited for. Gives its last batch's number if it is filed
    /// already.
    pub fn hand_over(&mut self, shared: &Shared, bundle: Bundle) -> io::Result<Option<u64>> {
        match self {
            Filer::Thread { bundles, busy, .. } => {
                *busy = true;
                bundles.send(bundle).map_err(|_| io::Error::other("the log's filer has stopped"))?;
                Ok(None)
            }
            Filer::Caller => {
                let upto = bundle.upto;
                file(shared, bundle)?;
                Ok(Some(upto))
            }
        }
    }
}

/// Files a bundle. A failure stops the store at once: its writer may be waiting for commands.
pub fn file(shared: &Shared, bundle: Bundle) -> io::Result<()> {
    let started = Instant::now();
    let done = sound(|| shared.table.file(&bundle.batches, bundle.upto));
    match &done {
        Ok(()) => {
            shared.observe_fsync(started.elapsed(), 0);
            shared.filed(bundle.append);
        }
        Err(error) => shared.fail(&format!("cannot file the log's journal: {error}")),
    }
    done
}
