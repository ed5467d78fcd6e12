//! One agent's attempts between assignment and end: what waits for a slot, what runs.

use crate::blobs::{Blobs, ShardBlobs};
use crate::config::AgentConfig;
use crate::executor::{Checkpoints, Context, Registry};
use crate::executors::ExecError;
use crate::pool::{Pool, Report, Task};
use forge_event::LeaseId;
use forge_protocol::limits::{CODE_BYTES_MAX, DETAIL_BYTES_MAX, PRESENTED_MAX};
use forge_protocol::{Assign, Outcome};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Outlives sessions: what runs goes on while the agent reconnects.
pub(crate) struct Work {
    registry: Registry,
    pool: Pool,
    slots: usize,
    waiting: VecDeque<Assign>,
    running: BTreeMap<LeaseId, Context>,
    done: mpsc::Sender<Report>,
    reports: mpsc::Receiver<Report>,
    blobs: Arc<Blobs>,
    checkpoint_interval: Duration,
}

/// What became of an attempt.
pub(crate) enum Said {
    /// What it has done so far.
    Checkpoint {
        lease: LeaseId,
        cells: u64,
        result: Vec<u8>,
    },
    Ended(LeaseId, Outcome),
}

impl Work {
    pub(crate) fn new(config: &AgentConfig, pool: Pool, blobs: Arc<Blobs>) -> Work {
        let slots = config.slots.max(1) as usize;
        pool.allow(slots);
        let (done, reports) = mpsc::channel(PRESENTED_MAX);
        Work {
            registry: config.registry.clone(),
            pool,
            slots,
            waiting: VecDeque::new(),
            running: BTreeMap::new(),
            done,
            reports,
            blobs,
            checkpoint_interval: config.checkpoint_interval,
        }
    }

    /// Takes an assignment. `Some`: it ended at once.
    pub(crate) fn start(&mut self, assign: Assign) -> Option<Outcome> {
        let Some(executor) = self.registry.find(&assign.kind, assign.family_version) else {
            let detail = format!("no executor for {} version {}", assign.kind, assign.family_version);
            return Some(outcome(Err(ExecError { code: ExecError::UNKNOWN_KIND, detail })));
        };
        if executor.is_instant(&assign.payload) {
            return Some(outcome(executor.run(&assign.payload, &mut Context::default())));
        }
        self.waiting.push_back(assign);
        self.fill();
        None
    }

    /// Forgets an attempt: it never starts, or is told to stop.
    pub(crate) fn cancel(&mut self, lease: LeaseId) {
        self.waiting.retain(|a| a.lease != lease);
        if let Some(context) = self.running.get(&lease) {
            context.cancel();
        }
    }

    /// The next attempt that ended, or left a checkpoint. Cancel safe.
    pub(crate) async fn next(&mut self) -> Said {
        match self.reports.recv().await.expect("a sender is kept beside the receiver") {
            Report::Checkpoint { lease, cells, result } => Said::Checkpoint { lease, cells, result },
            Report::Finished { lease, result } => {
                self.running.remove(&lease);
                self.fill();
                Said::Ended(lease, outcome(result))
            }
        }
    }

    /// Slots in use, of 1000.
    pub(crate) fn load_permille(&self) -> u16 {
        (self.running.len() * 1000 / self.slots).min(1000) as u16
    }

    /// Stops everything.
    pub(crate) fn abandon(&mut self) {
        self.waiting.clear();
        self.running.values().for_each(Context::cancel);
    }

    fn fill(&mut self) {
        while self.running.len() < self.slots {
            let Some(assign) = self.waiting.pop_front() else { return };
            let executor = self.registry.find(&assign.kind, assign.family_version).expect("looked up when it came");
            let context = match assign.blobs {
                Some(access) => Context::with_blobs(ShardBlobs::new(self.blobs.clone(), access)),
                None => Context::default(),
            };
            let checkpoints = Checkpoints::new(assign.lease, self.done.clone(), self.checkpoint_interval);
            let context = context.leaving(checkpoints);
            self.running.insert(assign.lease, context.clone());
            self.pool.submit(Task {
                lease: assign.lease,
                executor: executor.clone(),
                payload: assign.payload,
                context,
                done: self.done.clone(),
            });
        }
    }
}

fn outcome(result: Result<Vec<u8>, ExecError>) -> Outcome {
    let failed = |code: &str, mut detail: String| {
        while detail.len() > DETAIL_BYTES_MAX {
            detail.pop();
        }
        Outcome::Failed { code: code.chars().filter(char::is_ascii).take(CODE_BYTES_MAX).collect(), detail }
    };
    match result {
        Ok(bytes) if bytes.len() > forge_event::limits::INLINE_BYTES_MAX => {
            failed("too-large-inline", format!("a result of {} bytes does not fit inline", bytes.len()))
        }
        Ok(bytes) => Outcome::of(bytes),
        Err(ExecError { code, detail }) => failed(code, detail),
    }
}
