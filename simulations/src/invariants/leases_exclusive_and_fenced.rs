//! A shard has one lease at a time, attempts are numbered without gap, and only the holder of a live
//! lease, in its current session, delivers a result that counts. Told from events alone.

use super::{Invariant, Seen, ensure};
use forge_event::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub struct LeasesExclusiveAndFenced {
    /// Epoch of each agent's last session; whether it is live, and where.
    sessions: BTreeMap<AgentId, (Epoch, Option<NodeId>)>,
    live: BTreeMap<(JobId, ShardIndex), (AttemptNumber, AgentId)>,
    attempts: BTreeMap<(JobId, ShardIndex), AttemptNumber>,
    accepted: BTreeSet<(JobId, ShardIndex)>,
}

impl Invariant for LeasesExclusiveAndFenced {
    fn name(&self) -> &'static str {
        "leases_exclusive_and_fenced"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let Seen::Committed { turn, .. } = seen else { return Ok(()) };
        let mut first = Ok(());
        for (index, event) in turn.turn.events() {
            let held = self.event(event).map_err(|why| format!("event {index}: {why}"));
            first = first.and(held);
        }
        first
    }
}

impl LeasesExclusiveAndFenced {
    fn event(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::AgentJoined(e) => {
                let before = self.sessions.insert(e.agent, (e.epoch, Some(e.node))).map_or(0, |(epoch, _)| epoch);
                ensure(e.epoch == before + 1, || format!("{} joins in epoch {} after {before}", e.agent, e.epoch))
            }
            Event::AgentLost(e) => {
                let held = self.in_session(e.agent, e.epoch);
                self.sessions.insert(e.agent, (e.epoch, None));
                held
            }
            Event::NodeLost(NodeLost { node, .. }) | Event::NodeRemoved(NodeRemoved { node }) => {
                self.sessions.values_mut().filter(|(_, on)| *on == Some(*node)).for_each(|(_, on)| *on = None);
                Ok(())
            }
            Event::ShardAssigned(e) => self.assigned(e),
            Event::LeaseExpired(e) => self.end(e.job, e.agent, e.attempt, &e.shards),
            Event::LeaseRevoked(e) => self.end(e.job, e.agent, e.attempt, &e.shards),
            Event::ShardReportedFailed(e) => {
                self.in_session(e.agent, e.epoch)?;
                self.end(e.job, e.agent, e.attempt, &e.shards)
            }
            Event::ResultReceived(e) => self.in_session(e.agent, e.epoch),
            Event::ResultAccepted(e) => {
                let held = self.end(e.job, e.agent, e.attempt, &e.shards);
                let fresh = e.shards.iter().all(|shard| self.accepted.insert((e.job, shard)));
                held.and(ensure(fresh, || format!("a shard of {} is accepted twice", e.job)))
            }
            Event::ResultRefused(e) if e.code == RefusalCode::BadResult => {
                self.end(e.job, e.agent, e.attempt, &e.shards)
            }
            Event::ShardRequeued(e) => {
                if e.reason == RequeueReason::Voided {
                    for shard in e.shards.iter() {
                        self.accepted.remove(&(e.job, shard));
                    }
                }
                let live = e.shards.iter().find(|shard| self.live.contains_key(&(e.job, *shard)));
                ensure(live.is_none(), || format!("a leased shard of {} is queued again", e.job))
            }
            _ => Ok(()),
        }
    }

    fn in_session(&self, agent: AgentId, epoch: Epoch) -> Result<(), String> {
        let current = self.sessions.get(&agent).filter(|(_, on)| on.is_some()).map(|(epoch, _)| *epoch);
        ensure(current == Some(epoch), || format!("{agent} acts in epoch {epoch}; its session's is {current:?}"))
    }

    fn assigned(&mut self, e: &ShardAssigned) -> Result<(), String> {
        let mut held = self.in_session(e.agent, e.epoch);
        for shard in e.shards.iter() {
            let key = (e.job, shard);
            let other = self.live.insert(key, (e.attempt, e.agent));
            held = held.and(ensure(other.is_none(), || {
                format!("{}.{shard} is leased to {} while {other:?} holds it", e.job, e.agent)
            }));
            let before = self.attempts.insert(key, e.attempt).unwrap_or(0);
            held = held.and(ensure(e.attempt == before + 1, || {
                format!("{}.{shard} has attempt {} after {before}", e.job, e.attempt)
            }));
            held =
                held.and(ensure(!self.accepted.contains(&key), || format!("{}.{shard} is leased though done", e.job)));
        }
        held
    }

    fn end(&mut self, job: JobId, agent: AgentId, attempt: AttemptNumber, shards: &Runs) -> Result<(), String> {
        let mut held = Ok(());
        for shard in shards.iter() {
            let lease = self.live.remove(&(job, shard));
            held = held.and(ensure(lease == Some((attempt, agent)), || {
                format!("{job}.{shard}.{attempt} of {agent} ends or counts, but the live lease is {lease:?}")
            }));
        }
        held
    }
}
