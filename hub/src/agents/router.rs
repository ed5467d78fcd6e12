//! The way of committed events to the sessions of this node.

use super::inbox::Inbox;
use crate::handle::Hub;
use forge_event::*;
use forge_log::CommittedTurn;
use forge_protocol::CancelReason;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

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
#[derive(Debug, Default)]
struct Shared {
    inbox: Inbox,
    load_permille: AtomicU32,
    speed: AtomicU32,
}

#[derive(Debug)]
struct Entry {
    /// Tells this session from a later one of the same agent.
    serial: u64,
    shared: Arc<Shared>,
    connection: quinn::Connection,
    /// What was reported last, quantised.
    observed: Option<(u32, u16, u32)>,
}

/// The live sessions of a node, by agent.
#[derive(Clone, Debug, Default)]
pub struct Sessions(Arc<Place>);

#[derive(Debug, Default)]
struct Place {
    table: Mutex<Table>,
    /// Told when a session takes its place.
    arrived: Notify,
}

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
    /// Its inbox ends when a later session of the agent takes the place.
    shared: Arc<Shared>,
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
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
        let shared = Arc::new(Shared::default());
        let mut table = self.lock();
        table.next += 1;
        let serial = table.next;
        let entry = Entry { serial, shared: shared.clone(), connection, observed: None };
        if let Some(earlier) = table.entries.insert(agent, entry) {
            earlier.shared.inbox.close();
        }
        drop(table);
        self.0.arrived.notify_one();
        Registered { sessions: self.clone(), agent, serial, shared }
    }

    fn tell(&self, agent: AgentId, routed: impl FnOnce() -> Routed) {
        if let Some(entry) = self.lock().entries.get(&agent) {
            entry.shared.inbox.put(routed());
        }
    }

    fn tell_all(&self, routed: impl Fn() -> Routed) {
        self.lock().entries.values().for_each(|entry| entry.shared.inbox.put(routed()));
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

impl Registered {
    /// The next that this session is told; never once it left.
    pub(super) async fn next(registered: &mut Option<Registered>) -> Option<Routed> {
        match registered {
            Some(registered) => registered.shared.inbox.next().await,
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
        self.shared.inbox.missed()
    }

    /// Gives back the memory of busier times.
    pub(super) fn rest(&self) {
        self.shared.inbox.rest();
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

/// Routes committed turns until `stop`. With nobody to tell, no turn wakes it.
pub(super) async fn route(hub: Hub, sessions: Sessions, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = sessions.0.arrived.notified() => {}
        }
        let turns = hub.subscribe();
        // What came before it is in the state.
        sessions.tell_all(|| Routed::LookAgain);
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = route_while_any(&hub, &sessions, turns) => {}
        }
    }
}

/// Routes turns until there is no session, or no log.
async fn route_while_any(hub: &Hub, sessions: &Sessions, mut turns: broadcast::Receiver<Arc<CommittedTurn>>) {
    let mut seen: Option<u64> = None;
    while sessions.count() > 0 {
        match turns.recv().await {
            Ok(turn) => {
                let expected = turn.turn.expected.turns;
                // A gap: the state came from a snapshot meanwhile.
                if seen.is_some_and(|last| last != expected) {
                    sessions.tell_all(|| Routed::LookAgain);
                }
                seen = Some(turn.head.turns);
                route_turn(hub, sessions, &turn);
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
