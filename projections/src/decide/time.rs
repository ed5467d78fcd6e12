//! What log time ends: waits for seals, graces, leases; and the leases of jobs that are over.

use super::{Deciding, ENDED_LEASES_MAX};
use crate::aggregator::Outcome;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use forge_event::*;

/// Leases of one agent, job and attempt.
type Group = (AgentId, JobId, AttemptNumber);

impl Deciding<'_> {
    fn is_due(&self, base: Timestamp) -> bool {
        self.world.deadline_of(base) <= self.world.at
    }

    /// Voids accepted results that no seal covered in time.
    pub(super) fn seal_waits(&mut self) {
        while let Some(((base, agent), ())) = self.world.scheduler.seal_waits.first() {
            let agent = *agent;
            if !self.is_due(*base) || self.is_spent() {
                break;
            }
            self.void_overdue(agent);
        }
    }

    fn void_overdue(&mut self, agent: AgentId) {
        let mut groups: BTreeMap<(JobId, AttemptNumber), BTreeMap<ShardIndex, Option<TransferId>>> = BTreeMap::new();
        for (_, pending) in self.world.unsealed_of(agent) {
            if pending.outcome == Outcome::Accepted && self.is_due(pending.wait_base) {
                let LeaseId { job, shard, attempt } = pending.lease;
                groups.entry((job, attempt)).or_default().insert(shard, pending.accrual);
            }
        }
        for ((job, attempt), shards) in groups {
            if self.world.job(job).ended.is_none() {
                let shards = Runs::ascending(shards.keys().copied());
                self.requeue(ShardRequeued { job, shards, reason: RequeueReason::Voided, attempt });
            }
            let mut by_accrual: BTreeMap<TransferId, Runs> = BTreeMap::new();
            for (shard, accrual) in shards {
                let accrual = accrual.expect("an accepted result is paid in the turn that accepted it");
                by_accrual.entry(accrual).or_default().push(shard);
            }
            for (of, shards) in by_accrual {
                let results = alloc::vec![PaidResults { agent, attempt, shards }];
                self.push(CreditVoided { job, of, results, reason: VoidReason::Unsealed });
            }
        }
    }

    /// Revokes the leases of agents that did not come back in time, or left for good.
    pub(super) fn graces(&mut self) {
        let mut ended = 0;
        while let Some(agent) = self.next_gone() {
            let leases: Vec<LeaseId> = self.leases_of(agent, ENDED_LEASES_MAX - ended.min(ENDED_LEASES_MAX));
            if leases.is_empty() || self.is_spent() {
                break;
            }
            ended += leases.len();
            self.end(leases.into_iter().map(|l| (agent, l)), |(agent, job, attempt), shards| {
                LeaseRevoked { job, agent, shards, attempt, reason: RevokeReason::Lost }.into()
            });
        }
        self.world.turn.leftover |= ended >= ENDED_LEASES_MAX;
    }

    /// An agent whose grace is over and that still holds leases.
    fn next_gone(&self) -> Option<AgentId> {
        let due = self.world.scheduler.graces.iter().take_while(|((base, _), ())| self.is_due(*base));
        let gone = due.map(|((_, agent), ())| *agent);
        let mut gone = self.world.scheduler.leavers.iter().map(|(agent, ())| *agent).chain(gone);
        gone.find(|agent| self.world.agent(*agent).leases > 0)
    }

    fn leases_of(&self, agent: AgentId, most: usize) -> Vec<LeaseId> {
        let from = LeaseId { job: JobId(0), shard: 0, attempt: 0 };
        let leases = self.world.scheduler.leases_of.range_from(&(agent, from));
        leases.map(|(key, ())| *key).take_while(|(a, _)| *a == agent).map(|(_, l)| l).take(most).collect()
    }

    /// Ends leases whose deadline passed.
    pub(super) fn expiries(&mut self) {
        let due = self.world.scheduler.deadlines.iter().take_while(|((base, _), ())| self.is_due(*base));
        let due: Vec<LeaseId> = due.map(|((_, lease), ())| *lease).take(ENDED_LEASES_MAX).collect();
        if due.is_empty() || self.is_spent() {
            return;
        }
        self.world.turn.leftover |= due.len() == ENDED_LEASES_MAX;
        let held =
            |lease: &LeaseId| self.world.scheduler.leases.get(lease).expect("a deadline belongs to a lease").agent;
        let due: Vec<(AgentId, LeaseId)> = due.iter().map(|l| (held(l), *l)).collect();
        self.end(due.into_iter(), |(agent, job, attempt), shards| LeaseExpired { job, agent, shards, attempt }.into());
    }

    /// Revokes what is still leased of jobs that are over.
    pub(super) fn closings(&mut self) {
        let mut ended = 0;
        while let Some((job, ())) = self.world.scheduler.closing.first() {
            let job = *job;
            let from = LeaseId { job, shard: 0, attempt: 0 };
            let live = self.world.scheduler.leases.range_from(&from).take_while(|(l, _)| l.job == job);
            let live: Vec<(AgentId, LeaseId)> =
                live.take(ENDED_LEASES_MAX).map(|(l, lease)| (lease.agent, *l)).collect();
            if ended >= ENDED_LEASES_MAX || self.is_spent() {
                self.world.turn.leftover = true;
                break;
            }
            ended += live.len();
            self.end(live.into_iter(), |(agent, job, attempt), shards| {
                LeaseRevoked { job, agent, shards, attempt, reason: RevokeReason::Cancelled }.into()
            });
        }
    }

    /// Ends leases in groups, requeueing each group's shards at once.
    fn end(&mut self, leases: impl Iterator<Item = (AgentId, LeaseId)>, event: impl Fn(Group, Runs) -> Event) {
        let mut groups: BTreeMap<Group, Vec<ShardIndex>> = BTreeMap::new();
        for (agent, lease) in leases {
            groups.entry((agent, lease.job, lease.attempt)).or_default().push(lease.shard);
        }
        for (group, mut shards) in groups {
            shards.sort_unstable();
            // A failed job closes its leases in another step.
            let live = |s: &ShardIndex| {
                let lease = LeaseId { job: group.1, shard: *s, attempt: group.2 };
                self.world.scheduler.leases.contains(&lease)
            };
            let shards: Vec<ShardIndex> = shards.into_iter().filter(live).collect();
            if shards.is_empty() {
                continue;
            }
            self.push(event(group, Runs::ascending(shards)));
            self.requeue_limbo();
        }
    }
}
