//! Pending work, leases, and who gets what: the state. The policy stands in `assign.rs`.

mod begun;
mod done;
mod fold;
mod lease;

pub use begun::{Begun, Checkpoint, HalfDone};
pub use done::Done;
pub use lease::{Grant, Leases};

use crate::cow::{CowMap, digest_of};
use alloc::vec::Vec;
use forge_event::*;
use serde::{Deserialize, Serialize};

/// A shard that was given back.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct Retry {
    /// The last attempt's number.
    pub attempt: AttemptNumber,
    /// Not before this, if it is pending.
    pub ready_at: Timestamp,
    /// Agents that failed at it, last first.
    pub avoid: Vec<AgentId>,
    /// The `shard.requeued`.
    pub origin: EventIndex,
    /// Waits for an agent (as opposed to being leased again).
    pub pending: bool,
}

/// A run of shards nobody was given yet.
#[derive(Clone, Copy, Serialize, Deserialize, Debug)]
pub struct Fresh {
    pub next: ShardIndex,
    pub last: ShardIndex,
    /// The `job.admitted` or `stage.planned` that made them pending.
    pub origin: EventIndex,
}

/// A job's work.
///
/// Shape: pending shards are runs, finished ones a compressed bitmap, exceptions sparse and capped.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct Work {
    pub project: ProjectId,
    pub shape: u32,
    pub priority: u8,
    pub fresh: Vec<Fresh>,
    pub retries: CowMap<ShardIndex, Retry>,
    pub done: Done,
    pub half_done: HalfDone,
}

/// A project's place in the fair share.
#[derive(Clone, Copy, Serialize, Deserialize, Debug, Default)]
pub struct Share {
    /// Work it got, over its weight.
    pub(crate) virtual_time: u128,
}

/// A set of agents that look alike to requirements.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Debug)]
pub struct Class {
    pub cpu_class: alloc::string::String,
    pub gpu: Option<alloc::string::String>,
    pub region: alloc::string::String,
    pub software: Vec<alloc::string::String>,
    /// ⌊log2 mem_bytes⌋; 0 for none.
    pub mem_log2: u8,
}

/// Where an agent stands among those with room: emptier first, then better score, then older.
pub(crate) type Rank = (u8, u32, AgentId);

#[derive(Clone, Serialize, Deserialize, Debug, Default)]
pub struct Scheduler {
    pub work: CowMap<JobId, Work>,
    pub leases: Leases,
    /// Pending retries by the time they are ready.
    pub(crate) backoff: CowMap<(Timestamp, JobId, ShardIndex), ()>,
    /// Ends of graces, less extensions.
    pub(crate) graces: CowMap<(Timestamp, AgentId), ()>,
    /// Ends of the wait for a seal, less extensions: each agent's oldest.
    pub(crate) seal_waits: CowMap<(Timestamp, AgentId), ()>,
    /// Agents whose session ended for good and whose leases `decide` has to revoke.
    pub(crate) leavers: CowMap<AgentId, ()>,
    /// Ended jobs that still have live leases.
    pub(crate) closing: CowMap<JobId, ()>,
    /// Capability classes, by number.
    pub classes: Vec<Class>,
    /// Requirement shapes, by number.
    pub shapes: Vec<Requirements>,
    /// Agents with room, by class and rank.
    pub(crate) ready: CowMap<(u32, Rank), ()>,
    /// Agents with room in each class.
    pub(crate) ready_counts: Vec<u32>,
    pub(crate) shares: CowMap<ProjectId, Share>,
    /// Largest virtual time at which a project was served: where one starts that comes to an empty queue.
    pub(crate) clock: u128,
    /// Projects with fresh work of a shape, by virtual time.
    pub(crate) order: CowMap<(u32, u128, ProjectId), ()>,
    /// Jobs with fresh work, by shape, project, and priority (9 − priority first).
    pub(crate) queue: CowMap<(u32, ProjectId, u8, JobId), ()>,
}

impl Scheduler {
    pub(crate) fn root(&mut self) -> Digest {
        let roots = [
            self.work.root(),
            self.leases.root(),
            self.backoff.root(),
            self.graces.root(),
            self.seal_waits.root(),
            self.leavers.root(),
            self.closing.root(),
            self.ready.root(),
            self.shares.root(),
            self.order.root(),
            self.queue.root(),
        ];
        digest_of(&(roots, &self.classes, &self.shapes, &self.ready_counts, self.clock))
    }
}

impl crate::world::World {
    /// When a grant's leases end, as their deadline now stands.
    pub fn lease_deadline(&self, grant: &Grant) -> Timestamp {
        self.deadline_of(grant.deadline_base)
    }
}
