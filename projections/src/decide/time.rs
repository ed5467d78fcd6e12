//! What log time ends: waits for seals, graces, leases; and the leases of jobs that are over.

use super::{Deciding, ENDED_LEASES_MAX};
use crate::aggregator::Outcome;
use crate::scheduler::Grant;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use forge_event::*;

/// Leases of one agent, job and attempt.
type Group = (AgentId, JobId, AttemptNumber);

/// Shards whose leases end, by group.
#[derive(Default)]
struct Groups(BTreeMap<Group, Vec<ShardIndex>>);

impl Groups {
    /// With the shards of grants, until `ended` leases are [`ENDED_LEASES_MAX`] or the grant that passed it is in.
    fn with<'a>(mut self, grants: impl Iterator<Item = (AgentId, &'a Grant)>, ended: &mut usize) -> Self {
        for (agent, grant) in grants {
            if *ended >= ENDED_LEASES_MAX {
                break;
            }
            *ended += grant.shards.count() as usize;
            self.0.entry((agent, grant.job, grant.attempt)).or_default().extend(grant.shards.iter());
        }
        self
    }
}

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
                self.requeue(ShardRequeued { job, shards, reason: RequeueReason::Voided, attempt }, None);
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
            if ended >= ENDED_LEASES_MAX || self.is_spent() {
                break;
            }
            let held = self.world.scheduler.leases.of(agent).iter().map(|grant| (agent, grant));
            let groups = Groups::default().with(held, &mut ended);
            self.end(groups, |(agent, job, attempt), shards| {
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

    /// Ends leases whose deadline passed.
    pub(super) fn expiries(&mut self) {
        let mut ended = 0;
        let due = self.world.scheduler.leases.due(self.world.base_of(self.world.at));
        let groups = Groups::default().with(due, &mut ended);
        if ended == 0 || self.is_spent() {
            return;
        }
        self.world.turn.leftover |= ended >= ENDED_LEASES_MAX;
        self.end(groups, |(agent, job, attempt), shards| LeaseExpired { job, agent, shards, attempt }.into());
    }

    /// Revokes what is still leased of jobs that are over.
    pub(super) fn closings(&mut self) {
        let mut ended = 0;
        while let Some((job, ())) = self.world.scheduler.closing.first() {
            let job = *job;
            if ended >= ENDED_LEASES_MAX || self.is_spent() {
                self.world.turn.leftover = true;
                break;
            }
            let groups = Groups::default().with(self.world.scheduler.leases.of_job(job), &mut ended);
            self.end(groups, |(agent, job, attempt), shards| {
                LeaseRevoked { job, agent, shards, attempt, reason: RevokeReason::Cancelled }.into()
            });
        }
    }

    /// Ends leases in groups, requeueing each group's shards at once.
    fn end(&mut self, groups: Groups, event: impl Fn(Group, Runs) -> Event) {
        for (group, mut shards) in groups.0 {
            shards.sort_unstable();
            // A failed job closes its leases in another step.
            let (agent, job, attempt) = group;
            let live = |s: &ShardIndex| self.world.scheduler.leases.holds(agent, LeaseId { job, shard: *s, attempt });
            let shards: Vec<ShardIndex> = shards.into_iter().filter(live).collect();
            if shards.is_empty() {
                continue;
            }
            self.push(event(group, Runs::ascending(shards)));
            self.requeue_limbo();
        }
    }
}
