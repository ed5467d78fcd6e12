//! Strikes as the plan says, and heals.

use crate::invariants::Seen;
use crate::network::{Network, Place, Weather};
use crate::node::Cluster;
use crate::oracle::Oracle;
use crate::plan::{Fault, NODES, Plan, Whom};
use crate::trace::{Kind, Trace};
use forge_event::codec::encode_turn;
use forge_event::*;
use forge_log::{Appended, Log};
use forge_projections::decide::POLICY;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A disk as it should be. Units: ms a sync.
const SYNC_MS: (u64, u64) = (1, 4);
/// Long enough for the others to elect another leader. Units: ms.
const LAST_DOWN_MS: u64 = 4_000;

#[derive(Clone)]
pub(crate) struct Nemesis {
    pub cluster: Cluster,
    pub network: Network,
    pub oracle: Oracle,
    pub trace: Trace,
}

impl Nemesis {
    /// Strikes until the schedule is done and `faults_ms` passed.
    pub async fn run(&self, plan: &Plan) {
        self.network.set_weather(plan.weather);
        let (start, first) = (Instant::now(), self.started_term());
        let mut strikes = JoinSet::new();
        for (at_ms, fault) in &plan.schedule {
            tokio::time::sleep_until(start + Duration::from_millis(*at_ms)).await;
            self.trace.say(Kind::Fault, || format!("{fault:?}"));
            strikes.spawn(self.clone().strike(*fault));
        }
        tokio::time::sleep_until(start + Duration::from_millis(plan.faults_ms)).await;
        // What still runs only waits to repair what it broke.
        strikes.abort_all();
        while strikes.join_next().await.is_some() {}
        if !plan.schedule.is_empty() && self.started_term() == first {
            // Every leader that was to go came back in time.
            self.clone().strike(Fault::Crash { whom: Whom::Leader, down_ms: LAST_DOWN_MS }).await;
        }
    }

    /// The term of the leader whose first turn was committed last.
    fn started_term(&self) -> Option<Term> {
        self.oracle.read(|world| world.cluster.leader.map(|(_, term, _)| term))
    }

    /// Repairs everything, and starts every node that is down.
    pub async fn heal(&self) {
        self.trace.say(Kind::Fault, || "heal".into());
        self.network.mend_all();
        self.network.set_weather(Weather::calm());
        for node in 1..=NODES {
            self.cluster.storage(node).set_sync(SYNC_MS);
            self.cluster.storage(node).spare();
            if self.cluster.storage(node).is_blown() {
                self.cluster.crash(node);
            }
            for _ in 0..3 {
                if self.cluster.start(node).await {
                    break;
                }
            }
        }
    }

    fn node(&self, whom: Whom) -> u64 {
        let leader = self.cluster.leader().unwrap_or(1);
        match whom {
            Whom::Node(node) => node,
            Whom::Leader => leader,
            Whom::Follower => leader % NODES + 1,
        }
    }

    async fn strike(self, fault: Fault) {
        match fault {
            Fault::Crash { whom, down_ms } => self.crash(self.node(whom), down_ms).await,
            Fault::CrashMidWrite { whom, operations, down_ms } => {
                let node = self.node(whom);
                self.cluster.storage(node).cut_after(operations);
                // An idle disk writes too: votes, or what the heartbeat finds; else it is cut as it stands.
                tokio::time::sleep(Duration::from_millis(300)).await;
                self.crash(node, down_ms).await;
            }
            Fault::CrashInElection { after_ms, down_ms } => {
                let leader = self.node(Whom::Leader);
                let other = leader % NODES + 1;
                self.cluster.crash(leader);
                self.trace.fired("leader crashed");
                tokio::time::sleep(Duration::from_millis(after_ms)).await;
                self.cluster.crash(other);
                self.trace.fired("crash in an election");
                tokio::time::sleep(Duration::from_millis(20)).await;
                self.cluster.start(other).await;
                tokio::time::sleep(Duration::from_millis(down_ms)).await;
                self.cluster.start(leader).await;
            }
            Fault::PowerCut { down_ms } => {
                self.trace.fired("power cut of all nodes");
                (1..=NODES).for_each(|node| self.cluster.crash(node));
                tokio::time::sleep(Duration::from_millis(down_ms)).await;
                for node in 1..=NODES {
                    self.cluster.start(node).await;
                }
            }
            Fault::Partition { whom, for_ms } => {
                self.trace.fired("partition, two-way");
                self.cut(self.node(whom), for_ms, true, true).await;
            }
            Fault::Mute { whom, for_ms } => {
                self.trace.fired("partition, one-way");
                self.cut(self.node(whom), for_ms, true, false).await;
            }
            Fault::Deafen { whom, for_ms } => {
                self.trace.fired("partition, one-way");
                self.cut(self.node(whom), for_ms, false, true).await;
            }
            Fault::SlowDisk { whom, sync_ms, for_ms } => {
                let node = self.node(whom);
                self.trace.fired("slow disk");
                self.cluster.storage(node).set_sync((sync_ms / 2, sync_ms));
                tokio::time::sleep(Duration::from_millis(for_ms)).await;
                self.cluster.storage(node).set_sync(SYNC_MS);
            }
            Fault::Transfer => self.transfer().await,
            Fault::Snapshot { whom } => self.snapshot(self.node(whom)).await,
            Fault::Stranger => self.stranger().await,
        }
    }

    async fn crash(&self, node: u64, down_ms: u64) {
        if self.cluster.leader() == Some(node) {
            self.trace.fired("leader crashed");
        }
        self.trace.fired("crash");
        self.cluster.crash(node);
        tokio::time::sleep(Duration::from_millis(down_ms)).await;
        if !self.cluster.start(node).await {
            self.cluster.start(node).await;
        }
    }

    /// Cuts a node off from the other nodes, and from half of the agents.
    async fn cut(&self, node: u64, for_ms: u64, out: bool, into: bool) {
        let others = (1..=NODES).filter(|n| *n != node).map(Place::Node);
        let others: Vec<Place> = others.chain((1..=3).map(|n| Place::Agent(2 * n))).collect();
        let here = Place::Node(node);
        for other in &others {
            if out {
                self.network.cut(here, *other);
            }
            if into {
                self.network.cut(*other, here);
            }
        }
        tokio::time::sleep(Duration::from_millis(for_ms)).await;
        for other in &others {
            self.network.mend(here, *other);
            self.network.mend(*other, here);
        }
    }

    async fn transfer(&self) {
        let Some(leader) = self.cluster.leader() else { return };
        let Some(log) = self.cluster.log(leader) else { return };
        let to = NodeId(leader % NODES + 1);
        if log.transfer(to).await.is_ok() {
            self.trace.fired("leader transferred");
        }
    }

    async fn snapshot(&self, node: u64) {
        let Some(log) = self.cluster.log(node) else { return };
        if log.snapshot().await.is_ok() {
            self.trace.fired("snapshot taken");
        }
    }

    /// Appends a turn that stands at the head's position without standing on its digest: as a deposed leader's would.
    async fn stranger(&self) {
        let Some(leader) = self.cluster.leader() else { return };
        let (Some(log), Some((hub, _))) = (self.cluster.log(leader), self.cluster.hub(leader)) else { return };
        let (head, at) = hub.read(|world| (world.head, world.at));
        let expected = Head { digest: Digest::of(&head.digest.0), ..head };
        let observed = AgentsObserved { node: NodeId(leader), agents: Vec::new() };
        let turn =
            Turn { expected, at, salt: [7; 32], policy: POLICY, facts: vec![observed.into()], decisions: vec![] };
        let term = log.role().borrow().term;
        if let Appended::Refused(forge_log::Refusal::Ignored { .. }) = log.append(term, encode_turn(&turn)).await {
            self.trace.fired("stranger's turn ignored");
        }
    }

    /// Looks at what each node purged, against what it and others archived.
    pub fn look_at_archives(&self) {
        let majority = self.oracle.read(|world| world.cluster.archived_by_majority());
        let majority = self.oracle.entry_of(majority);
        for node in 1..=NODES {
            let Some(log) = self.cluster.log(node) else { continue };
            let Some(purged) = log.status().purged.map(|entry| self.oracle.turn_upto(entry)) else { continue };
            let own = log.segments(EventIndex(0)).last().map_or(0, |s| s.raft_index);
            self.oracle.see(&Seen::Purged { node, purged, own, majority });
            self.trace.fired("purged log seen");
        }
    }
}
