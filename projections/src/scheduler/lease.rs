//! Who was given what and has not ended it.

use crate::cow::{CowMap, digest_of};
use alloc::sync::Arc;
use alloc::vec::Vec;
use forge_event::*;
use serde::{Deserialize, Serialize};

/// What an agent was given by one `shard.assigned`, less the leases that ended. Invariant: never without shards.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Grant {
    /// The `shard.assigned`.
    pub assigned: EventIndex,
    pub assigned_at: Timestamp,
    pub job: JobId,
    pub attempt: AttemptNumber,
    pub role: Role,
    /// Leases its agent held right after it.
    pub held: u32,
    /// Deadline, less the extensions before it.
    pub(crate) deadline_base: Timestamp,
    /// Those whose leases live.
    pub shards: Runs,
}

impl Grant {
    fn holds(&self, lease: LeaseId) -> bool {
        (self.job, self.attempt) == (lease.job, lease.attempt) && self.shards.contains(lease.shard)
    }

    /// Its live leases.
    pub fn leases(&self) -> impl Iterator<Item = LeaseId> + '_ {
        self.shards.iter().map(|shard| LeaseId { job: self.job, shard, attempt: self.attempt })
    }
}

/// All live leases, as the grants they came by.
#[derive(Clone, Serialize, Deserialize, Debug, Default)]
pub struct Leases {
    /// What each agent holds, oldest first. An agent that ever held something stays.
    held: CowMap<AgentId, Arc<Vec<Grant>>>,
    /// Who holds the grants of a job.
    by_job: CowMap<(JobId, EventIndex), AgentId>,
    /// Who holds the grants that end then, less extensions.
    deadlines: CowMap<(Timestamp, EventIndex), AgentId>,
}

impl Leases {
    /// What an agent holds, oldest first.
    pub fn of(&self, agent: AgentId) -> &[Grant] {
        self.held.get(&agent).map_or(&[], |grants| grants.as_slice())
    }

    /// The grant that a live lease of this agent belongs to.
    pub fn find(&self, agent: AgentId, lease: LeaseId) -> Option<&Grant> {
        self.of(agent).iter().find(|grant| grant.holds(lease))
    }

    /// Whether this agent has this lease.
    pub fn holds(&self, agent: AgentId, lease: LeaseId) -> bool {
        self.find(agent, lease).is_some()
    }

    /// Everybody's grants of a job, oldest first.
    pub fn of_job(&self, job: JobId) -> impl Iterator<Item = (AgentId, &Grant)> {
        let grants = self.by_job.range_from(&(job, EventIndex(0))).take_while(move |((j, _), _)| *j == job);
        grants.map(|((_, index), agent)| (*agent, self.grant(*agent, *index)))
    }

    /// Everybody's grants whose deadline is not past `base`, earliest first.
    pub(crate) fn due(&self, base: Timestamp) -> impl Iterator<Item = (AgentId, &Grant)> {
        let due = self.deadlines.iter().take_while(move |((end, _), _)| *end <= base);
        due.map(|((_, index), agent)| (*agent, self.grant(*agent, *index)))
    }

    /// The earliest deadline, less extensions.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|((end, _), _)| *end)
    }

    /// Everybody's grants.
    pub fn iter(&self) -> impl Iterator<Item = (AgentId, &Grant)> {
        self.held.iter().flat_map(|(agent, grants)| grants.iter().map(|grant| (*agent, grant)))
    }

    fn grant(&self, agent: AgentId, assigned: EventIndex) -> &Grant {
        let grants = self.of(agent);
        let at = grants.binary_search_by_key(&assigned, |grant| grant.assigned);
        &grants[at.expect("indexes name only grants that live")]
    }

    /// Adds what was just assigned.
    pub(crate) fn add(&mut self, agent: AgentId, grant: Grant) {
        self.by_job.insert((grant.job, grant.assigned), agent);
        self.deadlines.insert((grant.deadline_base, grant.assigned), agent);
        match self.held.get_mut(&agent) {
            Some(grants) => Arc::make_mut(grants).push(grant),
            None => {
                self.held.insert(agent, Arc::new(alloc::vec![grant]));
            }
        }
    }

    /// Ends those leases of an agent that are live among the named ones; tells of each grant how many it lost.
    pub(crate) fn end(
        &mut self,
        agent: AgentId,
        (job, attempt): (JobId, AttemptNumber),
        shards: &Runs,
        mut tell: impl FnMut(&Grant, u64),
    ) {
        let Some(grants) = self.held.get_mut(&agent) else { return };
        let (by_job, deadlines) = (&mut self.by_job, &mut self.deadlines);
        let mut left = shards.count();
        let grants = Arc::make_mut(grants);
        grants.retain_mut(|grant| {
            if left == 0 || (grant.job, grant.attempt) != (job, attempt) {
                return true;
            }
            let ended = grant.shards.subtract(shards);
            if ended == 0 {
                return true;
            }
            left -= ended;
            tell(grant, ended);
            if grant.shards.is_empty() {
                by_job.remove(&(job, grant.assigned));
                deadlines.remove(&(grant.deadline_base, grant.assigned));
            }
            !grant.shards.is_empty()
        });
        if grants.is_empty() {
            *grants = Vec::new();
        }
    }

    pub(crate) fn root(&mut self) -> Digest {
        digest_of(&[self.held.root(), self.by_job.root(), self.deadlines.root()])
    }
}
