//! What events do to agents and their sessions.

use super::{Agent, GRACE, Lost, Session, WINDOW_MAX};
use crate::scheduler::Class;
use crate::world::{Meta, World};
use alloc::sync::Arc;
use forge_event::*;

/// Leases a slot gets before anything is known of its speed.
const WINDOW_SLOT: u32 = 2;
/// Below this residence a full window is too small to hide latency. Units: 1/16 ms.
const RESIDENCE_SHORT_16MS: u32 = 20 * 16;
/// Above this one a window larger than [`WINDOW_SLOT`] only hoards. Units: 1/16 ms.
const RESIDENCE_LONG_16MS: u32 = 200 * 16;

impl Agent {
    fn window_min(&self) -> u32 {
        self.session.map_or(0, |s| s.slots.saturating_mul(WINDOW_SLOT)).clamp(1, WINDOW_MAX)
    }

    /// Learns from `count` results that took `residence_ms` from assignment to acceptance.
    pub(crate) fn learn(&mut self, residence_ms: u64, count: u64, was_full: bool) {
        let sample = u32::try_from(residence_ms.saturating_mul(16)).unwrap_or(u32::MAX / 2).min(u32::MAX / 2);
        self.residence_16ms = match self.residence_16ms {
            0 => sample.max(1),
            old => (old - old / 8 + sample / 8).max(1),
        };
        if self.residence_16ms < RESIDENCE_SHORT_16MS && was_full {
            self.window = (self.window * 2).min(WINDOW_MAX);
        } else if self.residence_16ms > RESIDENCE_LONG_16MS {
            self.window = (self.window * 3 / 4).max(self.window_min());
        }
        self.accepted_count += count;
        let missing = 1000 - self.reliability_permille;
        self.reliability_permille += missing.div_ceil(64);
    }

    /// Learns from failed attempts.
    pub(crate) fn learn_failure(&mut self, count: u64) {
        self.failed_count += count;
        self.reliability_permille -= self.reliability_permille / 8;
    }

    /// Smaller is better: unreliable agents and far ones stand behind.
    fn score(&self) -> u32 {
        let unreliable = u32::from(1000 - self.reliability_permille) / 16;
        let far = (self.latency_us / 1000).min(10_000);
        unreliable * 64 + far + u32::from(self.load_permille / 100)
    }
}

impl World {
    pub(crate) fn agent_mut(&mut self, agent: AgentId) -> &mut Agent {
        let agent = self.agents.agents.get_mut(&agent);
        Arc::make_mut(agent.expect("admission and policy name only agents that are enrolled"))
    }

    pub(crate) fn agent(&self, agent: AgentId) -> &Agent {
        self.agents.agents.get(&agent).expect("admission and policy name only agents that are enrolled")
    }

    /// Puts the agent where it now belongs among those with room.
    pub(crate) fn rank(&mut self, id: AgentId) {
        self.ranked(id, |_| {});
    }

    /// Changes an agent and puts it where it then belongs among those with room.
    pub(crate) fn ranked<T>(&mut self, id: AgentId, change: impl FnOnce(&mut Agent) -> T) -> T {
        let agent = self.agents.agents.get_mut(&id).map(Arc::make_mut);
        let agent = agent.expect("admission and policy name only agents that are enrolled");
        let changed = change(agent);
        let room = agent.room();
        let rank = (room > 0).then(|| {
            let full = u8::try_from(u64::from(agent.leases) * 8 / u64::from(agent.window.max(1))).unwrap_or(8);
            (full, agent.score(), id)
        });
        if agent.ready == rank {
            return changed;
        }
        let (class, old) = (agent.class, core::mem::replace(&mut agent.ready, rank));
        let count = &mut self.scheduler.ready_counts[class as usize];
        if let Some(old) = old {
            self.scheduler.ready.remove(&(class, old));
            *count -= 1;
        }
        if let Some(rank) = rank {
            self.scheduler.ready.insert((class, rank), ());
            *count += 1;
        }
        changed
    }

    pub(super) fn class_of(&mut self, capabilities: &Capabilities) -> u32 {
        let class = Class {
            cpu_class: capabilities.cpu_class.clone(),
            gpu: capabilities.gpu.clone(),
            region: capabilities.region.clone(),
            software: capabilities.software.clone(),
            mem_log2: capabilities.mem_bytes.checked_ilog2().unwrap_or(0) as u8,
        };
        let classes = &mut self.scheduler.classes;
        let number = classes.iter().position(|c| *c == class).unwrap_or_else(|| {
            classes.push(class);
            self.scheduler.ready_counts.push(0);
            classes.len() - 1
        });
        number as u32
    }

    pub(crate) fn agent_enrolled(&mut self, index: EventIndex, e: &AgentEnrolled) -> Meta {
        let class = self.class_of(&Capabilities::default());
        let agent = Agent {
            provider: e.provider,
            anchor: e.anchor,
            public_key: e.public_key,
            epoch: 0,
            session: None,
            lost: None,
            capabilities: Arc::default(),
            class,
            ready: None,
            latency_us: 0,
            load_permille: 0,
            speed: 0,
            reliability_permille: 1000,
            leases: 0,
            window: 0,
            residence_16ms: 0,
            room: index,
            position: 0,
            chain: seal::START,
            sealed: 0,
            unsealed_base: None,
            accepted_count: 0,
            failed_count: 0,
        };
        let id = AgentId::born_at(index);
        self.agents.agents.insert(id, Arc::new(agent));
        self.agents.by_key.insert(e.public_key, id);
        if let Some(enrolment) = self.projects.enrolments.get_mut(&e.enrolment) {
            enrolment.spent = Some(id);
        }
        Meta::default()
    }

    pub(crate) fn agent_joined(&mut self, index: EventIndex, e: &AgentJoined) -> Meta {
        self.leave_session(e.agent);
        let class = self.class_of(&e.capabilities);
        let agent = self.agent_mut(e.agent);
        agent.class = class;
        agent.epoch = e.epoch;
        agent.session = Some(Session { node: e.node, slots: e.slots, draining: false, joined: index });
        agent.capabilities = Arc::new(e.capabilities.clone());
        agent.window = agent.window.max(agent.window_min()).min(WINDOW_MAX);
        agent.room = index;
        if let Some(lost) = agent.lost.take() {
            self.scheduler.graces.remove(&(lost.grace_base, e.agent));
        }
        self.scheduler.leavers.remove(&e.agent);
        self.agents.sessions.insert((e.node, e.agent), ());
        if let Some(node) = self.cluster.nodes.get_mut(&e.node).filter(|n| n.lost.is_some()) {
            node.lost = None;
        }
        self.rank(e.agent);
        Meta::default()
    }

    /// Ends the session, if there is one, and takes the agent out of the ready ones.
    fn leave_session(&mut self, id: AgentId) {
        let Some(session) = self.agent_mut(id).session.take() else { return };
        self.agents.sessions.remove(&(session.node, id));
        self.rank(id);
    }

    pub(crate) fn agent_draining(&mut self, e: &AgentDraining) -> Meta {
        if let Some(session) = &mut self.agent_mut(e.agent).session {
            session.draining = true;
        }
        self.rank(e.agent);
        Meta::default()
    }

    pub(crate) fn agent_lost(&mut self, index: EventIndex, e: &AgentLost) -> Meta {
        self.lose(e.agent, index);
        if e.reason == LostReason::Left && self.agent(e.agent).leases > 0 {
            self.scheduler.leavers.insert(e.agent, ());
        }
        Meta::default()
    }

    /// The session is over; the agent may resume its leases within the grace.
    fn lose(&mut self, id: AgentId, index: EventIndex) {
        self.leave_session(id);
        let grace_base = self.base_of(self.at.after(GRACE));
        let agent = self.agent_mut(id);
        agent.lost = Some(Lost { index, grace_base });
        if agent.leases > 0 {
            self.scheduler.graces.insert((grace_base, id), ());
        }
    }

    pub(crate) fn end_sessions_on(&mut self, node: NodeId, index: EventIndex) {
        while let Some(agent) = self.first_session_on(node) {
            self.lose(agent, index);
        }
    }

    fn first_session_on(&self, node: NodeId) -> Option<AgentId> {
        let ((on, agent), ()) = self.agents.sessions.range_from(&(node, AgentId(0))).next()?;
        (*on == node).then_some(*agent)
    }

    pub(crate) fn agents_observed(&mut self, e: &AgentsObserved) -> Meta {
        for seen in &e.agents {
            self.ranked(seen.agent, |agent| {
                agent.latency_us = seen.latency_us;
                agent.load_permille = seen.load_permille;
                agent.speed = seen.speed;
            });
        }
        Meta::default()
    }

    /// A deadline as it is stored: less the extensions so far, so that extending all of them is one addition.
    pub(crate) fn base_of(&self, deadline: Timestamp) -> Timestamp {
        Timestamp(deadline.0.saturating_sub(self.cluster.extension_ms))
    }

    /// A stored deadline as it now stands.
    pub(crate) fn deadline_of(&self, base: Timestamp) -> Timestamp {
        Timestamp(base.0.saturating_add(self.cluster.extension_ms))
    }
}
