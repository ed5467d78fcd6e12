//! The way of committed events to the sessions of this node.

use crate::handle::Hub;
use forge_event::*;
use forge_log::CommittedTurn;
use forge_protocol::CancelReason;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Events that may wait for a session; past them it reads the state instead.
const ROUTED_MAX: usize = 64;

/// What a session is told.
#[derive(Debug)]
pub(super) enum Routed {
    Assigned {
        index: EventIndex,
        epoch: Epoch,
        job: JobId,
        attempt: AttemptNumber,
        shards: Runs,
        deadline: Timestamp,
    },
    Ended {
        index: EventIndex,
        job: JobId,
        attempt: AttemptNumber,
        shards: Runs,
        reason: CancelReason,
    },
    /// Read the state: the session may have ended there, or events were missed.
    LookAgain,
    /// The hubs changed.
    Hubs,
}

/// What a session shares with the rest of its node.
#[derive(Debug)]
pub(super) struct Shared {
    /// Events were dropped: the session reads the state.
    pub missed: AtomicBool,
    pub load_permille: AtomicU32,
    pub speed: AtomicU32,
}

#[derive(Debug)]
struct Entry {
    /// Tells this session from a later one of the same agent.
    serial: u64,
    inbox: mpsc::Sender<Box<Routed>>,
    shared: Arc<Shared>,
    connection: quinn::Connection,
    /// What was reported last, quantised.
    observed: Option<(u32, u16, u32)>,
}

/// The live sessions of a node, by agent.
#[derive(Clone, Debug, Default)]
pub struct Sessions(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<AgentId, Entry>,
    next: u64,
}

/// A session's place in the table; leaves it when dropped.
pub(super) struct Registered {
    sessions: Sessions,
    agent: AgentId,
    serial: u64,
    pub shared: Arc<Shared>,
    /// Ends when a later session of the agent takes the place. Boxed: the queue has room for 32 from the first on.
    inbox: mpsc::Receiver<Box<Routed>>,
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn count(&self) -> usize {
        self.lock().entries.len()
    }

    /// Every agent with a session here.
    pub(super) fn agents(&self) -> HashSet<AgentId> {
        self.lock().entries.keys().copied().collect()
    }

    /// Takes the agent's place; an earlier session's inbox ends.
    pub(super) fn register(&self, agent: AgentId, connection: quinn::Connection) -> Registered {
        let (sender, inbox) = mpsc::channel(ROUTED_MAX);
        let shared = Arc::new(Shared {
            missed: AtomicBool::new(false),
            load_permille: AtomicU32::new(0),
            speed: AtomicU32::new(0),
        });
        let mut table = self.lock();
        table.next += 1;
        let serial = table.next;
        let entry = Entry { serial, inbox: sender, shared: shared.clone(), connection, observed: None };
        table.entries.insert(agent, entry);
        Registered { sessions: self.clone(), agent, serial, shared, inbox }
    }

    fn tell(&self, agent: AgentId, routed: impl FnOnce() -> Routed) {
        if let Some(entry) = self.lock().entries.get(&agent) {
            entry.tell(routed());
        }
    }

    fn tell_all(&self, routed: impl Fn() -> Routed) {
        self.lock().entries.values().for_each(|entry| entry.tell(routed()));
    }

    /// What moved past its threshold since it was reported last, at most `count_max` agents.
    pub(super) fn moved(&self, count_max: usize) -> Vec<Observation> {
        let mut table = self.lock();
        let moved = table.entries.iter_mut().filter_map(|(agent, entry)| {
            let seen = super::observe::quantised(
                entry.connection.rtt(),
                entry.shared.load_permille.load(Ordering::Relaxed),
                entry.shared.speed.load(Ordering::Relaxed),
            );
            if !super::observe::differs(entry.observed, seen) {
                return None;
            }
            entry.observed = Some(seen);
            let (latency_us, load_permille, speed) = seen;
            Some(Observation { agent: *agent, latency_us, load_permille, speed })
        });
        let mut moved: Vec<Observation> = moved.take(count_max).collect();
        moved.sort_unstable_by_key(|o| o.agent);
        moved
    }
}

impl Entry {
    fn tell(&self, routed: Routed) {
        if self.inbox.try_send(Box::new(routed)).is_err() {
            // Full: the session will see this when it has emptied its inbox. Closed: nobody is left to tell.
            self.shared.missed.store(true, Ordering::Release);
        }
    }
}

impl Registered {
    /// The next that this session is told; never once it left.
    pub(super) async fn next(registered: &mut Option<Registered>) -> Option<Routed> {
        match registered {
            Some(registered) => registered.inbox.recv().await.map(|routed| *routed),
            None => std::future::pending().await,
        }
    }

    /// Keeps what the agent reports of itself.
    pub(super) fn report(&self, load_permille: u16, speed: u32) {
        self.shared.load_permille.store(load_permille.into(), Ordering::Relaxed);
        self.shared.speed.store(speed, Ordering::Relaxed);
    }

    /// Whether something was dropped before what it was told last; asked once.
    pub(super) fn missed(&self) -> bool {
        self.inbox.is_empty() && self.shared.missed.swap(false, Ordering::AcqRel)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut table = self.sessions.lock();
        if table.entries.get(&self.agent).is_some_and(|e| e.serial == self.serial) {
            table.entries.remove(&self.agent);
        }
    }
}

/// Routes committed turns until `stop`.
pub(super) async fn route(hub: Hub, sessions: Sessions, stop: CancellationToken) {
    let mut turns = hub.subscribe();
    let mut seen: Option<u64> = None;
    loop {
        let turn = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            turn = turns.recv() => turn,
        };
        match turn {
            Ok(turn) => {
                let expected = turn.turn.expected.turns;
                // A gap: the state came from a snapshot meanwhile.
                if seen.is_some_and(|last| last != expected) {
                    sessions.tell_all(|| Routed::LookAgain);
                }
                seen = Some(turn.head.turns);
                route_turn(&hub, &sessions, &turn);
            }
            Err(RecvError::Lagged(_)) => {
                seen = None;
                sessions.tell_all(|| Routed::LookAgain);
            }
            Err(RecvError::Closed) => return,
        }
    }
}

fn route_turn(hub: &Hub, sessions: &Sessions, turn: &CommittedTurn) {
    for (index, event) in turn.turn.events() {
        match event {
            Event::ShardAssigned(e) => sessions.tell(e.agent, || Routed::Assigned {
                index,
                epoch: e.epoch,
                job: e.job,
                attempt: e.attempt,
                shards: e.shards.clone(),
                deadline: e.deadline,
            }),
            Event::LeaseExpired(e) => sessions.tell(e.agent, || Routed::Ended {
                index,
                job: e.job,
                attempt: e.attempt,
                shards: e.shards.clone(),
                reason: CancelReason::Expired,
            }),
            Event::LeaseRevoked(e) => sessions.tell(e.agent, || Routed::Ended {
                index,
                job: e.job,
                attempt: e.attempt,
                shards: e.shards.clone(),
                reason: CancelReason::Revoked(e.reason),
            }),
            Event::AgentJoined(e) => sessions.tell(e.agent, || Routed::LookAgain),
            Event::AgentLost(e) => sessions.tell(e.agent, || Routed::LookAgain),
            Event::NodeLost(e) if e.node == hub.node() => sessions.tell_all(|| Routed::LookAgain),
            Event::NodeAdmitted(_) | Event::NodeMoved(_) | Event::NodeRemoved(_) => sessions.tell_all(|| Routed::Hubs),
            _ => {}
        }
    }
}
