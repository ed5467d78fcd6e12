//! Shards that ran half-way: what is folded of them for good, and what their running attempt has done beyond.
//!
//! A checkpoint is a result of an attempt's first cells, checked and signed like one. While the attempt lives it is
//! only kept; if the attempt ends without a result, [`ShardResumed`] folds it, and the next attempt begins behind it.

use crate::cow::CowMap;
use crate::family::{Families, Family};
use crate::jobs::{Job, Stage};
use crate::rejection::Rejection;
use crate::world::{Meta, World};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use forge_event::limits::CHECKPOINT_STEPS_MAX;
use forge_event::*;
use serde::{Deserialize, Serialize};

/// Bytes of checkpoints that one job keeps at once.
const CHECKPOINT_BYTES_MAX: u64 = 16 << 20;

/// What a running attempt has done, as its agent last said.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Checkpoint {
    pub agent: AgentId,
    pub attempt: AttemptNumber,
    /// Done since the attempt began.
    pub cells: u64,
    /// A result of these cells.
    pub inline: Arc<[u8]>,
    /// The `checkpoint.received`.
    pub received: EventIndex,
}

/// A shard that is done in part.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
pub struct Begun {
    /// Cells of the shard, from its first on, that are folded.
    pub from: u64,
    /// Of the attempt that runs.
    pub checkpoint: Option<Checkpoint>,
}

/// A job's shards that are done in part. Most jobs have none.
///
/// Invariant: each has a checkpoint of a live attempt, or a part that is folded; one whose rest is folded too is forgotten.
#[derive(Clone, Serialize, Deserialize, Debug, Default)]
pub struct HalfDone {
    shards: CowMap<ShardIndex, Begun>,
    /// Of all checkpoints.
    bytes: u64,
}

impl HalfDone {
    pub fn get(&self, shard: ShardIndex) -> Option<&Begun> {
        self.shards.get(&shard)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }

    /// Keeps a checkpoint in the place of the shard's last one.
    fn keep(&mut self, shard: ShardIndex, checkpoint: Checkpoint) {
        self.forget(shard);
        self.bytes += checkpoint.inline.len() as u64;
        let from = self.shards.get(&shard).map_or(0, |begun| begun.from);
        self.shards.insert(shard, Begun { from, checkpoint: Some(checkpoint) });
    }

    /// All, by shard.
    pub fn iter(&self) -> impl Iterator<Item = (ShardIndex, &Begun)> {
        self.shards.iter().map(|(shard, begun)| (*shard, begun))
    }

    /// Takes a shard's checkpoint out, if there is one; what is folded stays known.
    pub(crate) fn forget(&mut self, shard: ShardIndex) -> Option<Checkpoint> {
        // Most have none: looking first leaves the map's chunks shared.
        let from = self.shards.get(&shard).filter(|begun| begun.checkpoint.is_some())?.from;
        let kept = match from {
            0 => self.shards.remove(&shard)?.checkpoint?,
            _ => self.shards.get_mut(&shard)?.checkpoint.take()?,
        };
        self.bytes -= kept.inline.len() as u64;
        Some(kept)
    }

    /// Counts a shard's checkpoint as done; gives it.
    fn resume(&mut self, shard: ShardIndex) -> Option<Checkpoint> {
        let from = self.get(shard)?.from;
        let kept = self.forget(shard)?;
        self.shards.insert(shard, Begun { from: from + kept.cells, checkpoint: None });
        Some(kept)
    }

    /// The rest of a shard is folded.
    fn end(&mut self, shard: ShardIndex) {
        self.forget(shard);
        self.shards.remove(&shard);
    }
}

/// What is needed to speak of a shard's cells.
struct Whole<'w> {
    job: &'w Job,
    stage: &'w Stage,
    family: &'w dyn Family,
    /// Within its stage.
    local: ShardIndex,
    cells: u64,
}

impl Whole<'_> {
    /// A plan whose shard 0 is these cells of the shard.
    fn part(&self, cells: Range<u64>) -> Vec<u8> {
        self.family.part(&self.job.submitted.spec, &self.stage.plan_body, self.local, cells)
    }

    /// The checks of a result of a plan that [`Whole::part`] made.
    fn check(&self, part: &[u8], result: &[u8]) -> u32 {
        self.family.check_result(&self.job.submitted.spec, part, 0, result)
    }
}

impl World {
    /// Cells of a shard, from its first on, that no attempt has to run any more.
    pub fn resumes_from(&self, job: JobId, shard: ShardIndex) -> u64 {
        self.begun(job, shard).map_or(0, |begun| begun.from)
    }

    /// What is done of a shard that is not done.
    pub fn begun(&self, job: JobId, shard: ShardIndex) -> Option<&Begun> {
        self.scheduler.work.get(&job).filter(|work| !work.half_done.is_empty())?.half_done.get(shard)
    }

    /// A shard of an open job, if its family can resume it.
    fn whole<'w>(&'w self, job: JobId, shard: ShardIndex, families: &'w dyn Families) -> Option<Whole<'w>> {
        let job = self.jobs.jobs.get(&job).filter(|job| job.ended.is_none())?;
        let submitted = &job.submitted;
        let family = families.family(&submitted.kind, submitted.family_version)?;
        let stage = job.stage_of(shard)?;
        let local = stage.local(shard);
        let cells = family.cells(&submitted.spec, &stage.plan_body, local)?;
        Some(Whole { job, stage, family, local, cells })
    }

    /// Whether an attempt is leased to this agent.
    pub(crate) fn holds(&self, agent: AgentId, job: JobId, shard: ShardIndex, attempt: AttemptNumber) -> bool {
        self.scheduler.leases.holds(agent, LeaseId { job, shard, attempt })
    }

    /// A plan whose shard 0 is what is left of a resumed shard; `None`: nothing of it is done, or its job is over.
    pub fn rest_of(&self, job: JobId, shard: ShardIndex, families: &dyn Families) -> Option<Vec<u8>> {
        let from = Some(self.resumes_from(job, shard)).filter(|from| *from > 0)?;
        let whole = self.whole(job, shard, families)?;
        Some(whole.part(from..whole.cells))
    }

    /// The checks of a result of what is left of a resumed shard.
    pub(crate) fn check_rest(
        &self,
        job: JobId,
        shard: ShardIndex,
        result: &[u8],
        families: &dyn Families,
    ) -> Option<u32> {
        let from = Some(self.resumes_from(job, shard)).filter(|from| *from > 0)?;
        let whole = self.whole(job, shard, families)?;
        Some(whole.check(&whole.part(from..whole.cells), result))
    }

    /// A shard, and a plan whose shard 0 is the cells of a checkpoint; `None`: it cannot have one of them.
    fn checkpointed<'w>(
        &'w self,
        lease: LeaseId,
        cells: u64,
        families: &'w dyn Families,
    ) -> Option<(Whole<'w>, Vec<u8>)> {
        let whole = self.whole(lease.job, lease.shard, families)?;
        let from = self.resumes_from(lease.job, lease.shard);
        let to = from.checked_add(cells).filter(|to| cells > 0 && *to < whole.cells)?;
        let plan = whole.part(from..to);
        Some((whole, plan))
    }

    /// A plan whose shard 0 is the cells of a checkpoint; `None`: the shard cannot have one of them.
    pub fn checkpoint_plan(&self, lease: LeaseId, cells: u64, families: &dyn Families) -> Option<Vec<u8>> {
        self.checkpointed(lease, cells, families).map(|(_, plan)| plan)
    }

    /// The free checks of a checkpoint: those of a result of these cells. `None`: the shard cannot have one of them.
    pub fn check_checkpoint(
        &self,
        lease: LeaseId,
        cells: u64,
        inline: &[u8],
        families: &dyn Families,
    ) -> Option<Checks> {
        let (whole, plan) = self.checkpointed(lease, cells, families)?;
        Some(Checks { version: whole.family.version(), bits: whole.check(&plan, inline) })
    }

    pub(crate) fn admit_checkpoint(&self, e: &CheckpointReceived, families: &dyn Families) -> Result<(), Rejection> {
        let not_now =
            |reason: &str| Rejection::InvalidTransition { asked: "keep a checkpoint".into(), reason: reason.into() };
        let lease = LeaseId { job: e.job, shard: e.shard, attempt: e.attempt };
        if !self.scheduler.leases.holds(e.agent, lease) {
            return Err(not_now("the lease is not live"));
        }
        let whole = self.whole(e.job, e.shard, families);
        let whole = whole.ok_or_else(|| not_now("shards of this family run whole"))?;
        let begun = self.begun(e.job, e.shard);
        let from = begun.map_or(0, |begun| begun.from);
        let before = begun.and_then(|begun| begun.checkpoint.as_ref()).map_or(0, |checkpoint| checkpoint.cells);
        let step = (whole.cells - from).div_ceil(CHECKPOINT_STEPS_MAX);
        if e.cells < before.saturating_add(step) || e.cells >= whole.cells - from {
            return Err(not_now("it is too close to the one before, or not before the shard's end"));
        }
        if e.checks.bits != 0 {
            return Err(not_now("it did not pass its checks"));
        }
        let kept = self.scheduler.work.get(&e.job).map_or(0, |work| work.half_done.bytes);
        if kept + e.inline.len() as u64 > CHECKPOINT_BYTES_MAX {
            return Err(not_now("the job's checkpoints have no room for it"));
        }
        Ok(())
    }

    pub(crate) fn checkpoint_received(&mut self, index: EventIndex, e: &CheckpointReceived) -> Meta {
        let project = self.touch(e.job, index);
        let checkpoint = Checkpoint {
            agent: e.agent,
            attempt: e.attempt,
            cells: e.cells,
            inline: e.inline.as_slice().into(),
            received: index,
        };
        let work = self.scheduler.work.get_mut(&e.job).expect("a live lease of an open job");
        work.half_done.keep(e.shard, checkpoint);
        Meta::of(project)
    }

    /// How the shards go on whose attempt was cut off: those of them that it left a checkpoint of.
    pub(crate) fn left_behind(&self, job: JobId, attempt: AttemptNumber, shards: &Runs) -> Vec<ShardResumed> {
        let work = self.scheduler.work.get(&job).filter(|work| !work.half_done.is_empty());
        let Some(work) = work else { return Vec::new() };
        let left = |shard: ShardIndex| {
            let begun = work.half_done.get(shard)?;
            let kept = begun.checkpoint.as_ref().filter(|kept| kept.attempt == attempt)?;
            Some(ShardResumed { job, shard, agent: kept.agent, attempt, from: begun.from + kept.cells })
        };
        shards.iter().filter_map(left).collect()
    }

    pub(crate) fn shard_resumed(&mut self, index: EventIndex, e: &ShardResumed, families: &dyn Families) -> Meta {
        let project = self.touch(e.job, index);
        let work = self.scheduler.work.get_mut(&e.job).expect("only an open job's shards are resumed");
        let kept = work.half_done.resume(e.shard).expect("a shard is resumed from a checkpoint");
        let from = work.half_done.get(e.shard).map_or(0, |begun| begun.from);
        assert!((from, kept.attempt) == (e.from, e.attempt), "a shard is resumed from its last attempt's checkpoint");
        self.fold_results(e.job, &mut core::iter::once(e.shard), &kept.inline, families);
        Meta::of(project).because(kept.received)
    }

    /// These shards are folded whole.
    pub(crate) fn end_begun(&mut self, job: JobId, shards: impl Iterator<Item = ShardIndex>) {
        if let Some(half_done) = self.half_done_mut(job) {
            shards.for_each(|shard| half_done.end(shard));
        }
    }

    /// Forgets what attempts at these shards left that ended otherwise.
    pub(crate) fn forget_checkpoints(&mut self, job: JobId, shards: &Runs) {
        if let Some(half_done) = self.half_done_mut(job) {
            shards.iter().for_each(|shard| drop(half_done.forget(shard)));
        }
    }

    /// A job's, if it has any; a job without costs a look.
    fn half_done_mut(&mut self, job: JobId) -> Option<&mut HalfDone> {
        self.scheduler.work.get(&job).filter(|work| !work.half_done.is_empty())?;
        self.scheduler.work.get_mut(&job).map(|work| &mut work.half_done)
    }
}
