//! Nodes and their lives: started from what their storage kept, ended by a power cut.

use crate::clock::{self, Skew};
use crate::dice::Dice;
use crate::disk::VirtualDisk;
use crate::files::VirtualFiles;
use crate::invariants::Seen;
use crate::lock;
use crate::network::{Network, NodeTransport, Place};
use crate::oracle::{Oracle, Watched};
use crate::plan::{NODES, Plan};
use crate::session;
use crate::storage::Storage;
use crate::trace::{Kind, Trace};
use forge_event::NodeId;
use forge_hub::committed::CommittedWorld;
use forge_hub::core::{self, Offload, Parts};
use forge_hub::{Hub, Metrics};
use forge_log::network::INBOX_LINKS_MAX;
use forge_log::network::identity::Identity;
use forge_log::{Disk, Executor, Log, Options, RaftLog, Timing};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Agents' connections that may wait for a node.
const CONNECTIONS_WAITING_MAX: usize = 64;
/// Entries kept behind a snapshot, so that purges happen within a run.
const PURGE_KEEP_ENTRIES: u64 = 48;

/// All nodes of a run. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Cluster(Arc<Shared>);

struct Shared {
    seed: u64,
    segment_leaves: u64,
    started: Instant,
    network: Network,
    oracle: Oracle,
    trace: Trace,
    rooms: Mutex<BTreeMap<u64, Room>>,
    /// Agents to whom nodes are sloppy.
    liars: Mutex<BTreeMap<u64, session::Stolen>>,
}

struct Room {
    storage: Storage,
    identity: Arc<Identity>,
    skew: Skew,
    lives: u64,
    running: Option<Running>,
    dice: Dice,
}

struct Running {
    life: u64,
    hub: Hub,
    log: Arc<RaftLog>,
    committed: Arc<CommittedWorld>,
    alive: Arc<AtomicBool>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Cluster {
    pub fn new(plan: &Plan, network: Network, oracle: Oracle, trace: Trace) -> Cluster {
        let rooms = (1..=NODES).map(|node| {
            let storage = Storage::new(Dice::of(plan.seed, &format!("storage {node}")), trace.clone());
            let mut dice = Dice::of(plan.seed, &format!("node {node}"));
            let mut secret = [0; 32];
            dice.fill(&mut secret);
            let identity = Arc::new(Identity::from_seed(secret).expect("a certificate can be made for any key"));
            let skew = plan.skews[node as usize - 1];
            (node, Room { storage, identity, skew, lives: 0, running: None, dice })
        });
        let rooms = rooms.collect();
        Cluster(Arc::new(Shared {
            seed: plan.seed,
            segment_leaves: plan.segment_leaves,
            started: Instant::now(),
            network,
            oracle,
            trace,
            rooms: Mutex::new(rooms),
            liars: Mutex::default(),
        }))
    }

    pub fn add_liar(&self, agent: u64) {
        lock(&self.0.liars).entry(agent).or_default();
    }

    pub fn identity(&self, node: u64) -> Arc<Identity> {
        lock(&self.0.rooms)[&node].identity.clone()
    }

    /// The node's handle, and what is cancelled when this life of it ends.
    pub fn hub(&self, node: u64) -> Option<(Hub, CancellationToken)> {
        let rooms = lock(&self.0.rooms);
        let running = rooms[&node].running.as_ref()?;
        Some((running.hub.clone(), running.stop.clone()))
    }

    pub fn log(&self, node: u64) -> Option<Arc<RaftLog>> {
        lock(&self.0.rooms)[&node].running.as_ref().map(|r| r.log.clone())
    }

    pub fn committed(&self, node: u64) -> Option<Arc<CommittedWorld>> {
        lock(&self.0.rooms)[&node].running.as_ref().map(|r| r.committed.clone())
    }

    pub fn storage(&self, node: u64) -> Storage {
        lock(&self.0.rooms)[&node].storage.clone()
    }

    /// The node that leads as far as any living node knows of itself; the one of the highest term.
    pub fn leader(&self) -> Option<u64> {
        let rooms = lock(&self.0.rooms);
        let leaders = rooms.iter().filter_map(|(node, room)| {
            let role = *room.running.as_ref()?.log.role().borrow();
            role.leads().map(|_| (role.term, *node))
        });
        leaders.max().map(|(_, node)| node)
    }

    /// Starts a node's next life; false if it did not come up.
    pub async fn start(&self, node: u64) -> bool {
        let shared = &self.0;
        let (storage, powered, identity, life, clock) = {
            let mut rooms = lock(&shared.rooms);
            let room = rooms.get_mut(&node).expect("the nodes of a run are known");
            if room.running.is_some() {
                return true;
            }
            room.lives += 1;
            if room.lives > 1 {
                room.skew.offset_ms = room.dice.between(0, 3_000) as i64 - 1_500;
            }
            if room.skew != Skew::default() {
                shared.trace.fired("clock skewed");
            }
            let dice = Dice::of(shared.seed, &format!("clock {node} {}", room.lives));
            let clock = clock::skewed(shared.started, room.skew, dice);
            (room.storage.clone(), room.storage.power_on(), room.identity.clone(), room.lives, clock)
        };
        shared.trace.note(Kind::Fault, node, life, b"start");
        let committed = Arc::new(CommittedWorld::default());
        let (alive, up) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let machine = Arc::new(Watched {
            inner: committed.clone(),
            node,
            oracle: shared.oracle.clone(),
            alive: alive.clone(),
            up: up.clone(),
            trace: shared.trace.clone(),
        });
        let latency = storage.clone();
        let synced = shared.trace.clone();
        let options = Options {
            node: NodeId(node),
            disk: Disk::Backend(Box::new(VirtualDisk(powered.clone()))),
            files: Arc::new(VirtualFiles(powered)),
            executor: Executor::Inline { commit_latency: Arc::new(move || latency.sync_takes()) },
            timing: Timing::default(),
            on_fsync: Some(Arc::new(move |_, entries| synced.note(Kind::Synced, node, entries as u64, &[]))),
            reserve_bytes: 0,
            segment_leaves: shared.segment_leaves,
            purge_keep_entries: PURGE_KEEP_ENTRIES,
        };
        let transport = Arc::new(NodeTransport { network: shared.network.clone(), node, life });
        let (links, inbox) = mpsc::channel(INBOX_LINKS_MAX);
        let (agents, waiting) = mpsc::channel(CONNECTIONS_WAITING_MAX);
        let opened = RaftLog::start_here(options, machine, transport.clone(), inbox).await;
        let (log, inbox) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                if !storage.is_blown() {
                    let why = format!("does not start in its life {life}: {}", chain(&error));
                    shared.oracle.see(&Seen::Halted { node, why });
                }
                storage.cut();
                return false;
            }
        };
        up.store(true, Ordering::Relaxed);
        for _ in 0..8 {
            // The role is published by a task of the log.
            tokio::task::yield_now().await;
        }
        shared.oracle.see(&Seen::Recovered { node, term: log.role().borrow().term });
        shared.network.enter(node, life, links, agents);
        let stop = CancellationToken::new();
        let core = core::start(Parts {
            node: NodeId(node),
            identity,
            log: log.clone(),
            committed: committed.clone(),
            clock,
            metrics: Arc::new(Metrics::default()),
            transport,
            inbox,
            offload: Offload::Inline,
            stop: stop.clone(),
        });
        let core::Core { hub, mut tasks, .. } = core;
        tasks.spawn(self.clone().door(hub.clone(), waiting, stop.clone()));
        tokio::spawn(self.clone().watch(node, life, log.clone()));
        let running = Running { life, hub, log, committed, alive, stop, tasks };
        let mut rooms = lock(&shared.rooms);
        rooms.get_mut(&node).expect("the nodes of a run are known").running = Some(running);
        true
    }

    /// Takes agents' connections while the node lives.
    async fn door(self, hub: Hub, mut waiting: mpsc::Receiver<crate::network::Connection>, stop: CancellationToken) {
        let mut sessions = JoinSet::new();
        loop {
            tokio::select! { biased;
                Some(_) = sessions.join_next() => {}
                connection = waiting.recv() => {
                    let Some(connection) = connection else { return };
                    let sloppy = lock(&self.0.liars).get(&connection.agent).cloned();
                    let trace = self.0.trace.clone();
                    sessions.spawn(session::serve(hub.clone(), connection, sloppy, trace, stop.clone()));
                }
            }
        }
    }

    /// Treats a blown fuse as a crash, and anything else that stops a log as a failure.
    async fn watch(self, node: u64, life: u64, log: Arc<RaftLog>) {
        let fault = log.fatal().await;
        drop(log);
        let (storage, current) = {
            let rooms = lock(&self.0.rooms);
            let room = &rooms[&node];
            (room.storage.clone(), room.running.as_ref().is_some_and(|r| r.life == life))
        };
        if !current {
            return;
        }
        if storage.is_blown() {
            self.0.trace.fired("crash in a write");
        } else {
            self.0.oracle.see(&Seen::Halted { node, why: fault.to_string() });
        }
        self.crash(node);
    }

    /// The node loses power.
    pub fn crash(&self, node: u64) {
        let (running, storage) = {
            let mut rooms = lock(&self.0.rooms);
            let room = rooms.get_mut(&node).expect("the nodes of a run are known");
            (room.running.take(), room.storage.clone())
        };
        let Some(running) = running else { return };
        self.0.trace.note(Kind::Fault, node, running.life, b"crash");
        running.alive.store(false, Ordering::Relaxed);
        storage.cut();
        storage.set_sync((1, 4));
        self.0.network.leave(Place::Node(node));
        running.stop.cancel();
        let Running { mut tasks, log, .. } = running;
        tasks.abort_all();
        // Without power and network nothing it still does is seen; it only has to give its memory back.
        tokio::spawn(async move {
            let _ = tokio::time::timeout(Duration::from_secs(5), log.shutdown()).await;
            while tasks.join_next().await.is_some() {}
        });
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
