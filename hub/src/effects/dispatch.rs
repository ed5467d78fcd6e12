//! Dispatch: what an agent is given for a lease, and the edge checks of what it gives back.
//!
//! It has no start record: its record is the committed `shard.assigned`, and it is level-triggered.

use crate::blobs::{Grant, NoKeeping, Operation, View};
use crate::handle::Hub;
use forge_event::*;
use forge_projections::family::Family;
use forge_protocol::{Assign, BlobAccess, BlobGrant};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Jobs that one session remembers; an agent seldom works for more at once.
const JOBS_MAX: usize = 8;

/// A job as dispatch needs it.
#[derive(Clone)]
struct Job {
    submitted: Arc<JobSubmitted>,
    stages: Vec<(Run, Arc<[u8]>)>,
    family: &'static dyn Family,
}

/// The jobs of one session, read from the committed state once each.
#[derive(Default)]
pub struct Dispatcher {
    jobs: BTreeMap<JobId, Job>,
}

impl Dispatcher {
    /// What the agent is given; `None` if the job is gone or of a family that this node does not know.
    pub fn assign(&mut self, hub: &Hub, lease: LeaseId, deadline: Timestamp) -> Option<Assign> {
        let (job, plan, shard) = self.job(hub, lease)?;
        Some(Assign {
            lease,
            kind: job.submitted.kind.clone(),
            family_version: job.submitted.family_version,
            deadline,
            payload: job.family.payload(&job.submitted.spec, &plan, shard),
            blobs: job.uses_blobs().then(|| access(hub, job, &plan, shard, lease.job, deadline)).flatten(),
        })
    }

    /// The checks that read blobs, if the family has any: to be run off the session's task.
    pub fn deeper(&mut self, hub: &Hub, lease: LeaseId) -> Option<Deeper> {
        let (job, plan, shard) = self.job(hub, lease)?;
        job.uses_blobs().then(|| Deeper { job: job.clone(), id: lease.job, plan: (&*plan).into(), shard })
    }

    /// The family's free checks of a result; `None` as [`Dispatcher::assign`].
    pub fn check(&mut self, hub: &Hub, lease: LeaseId, result: &[u8]) -> Option<Checks> {
        let (job, plan, shard) = self.job(hub, lease)?;
        let bits = job.family.check_result(&job.submitted.spec, &plan, shard, result);
        Some(Checks { version: job.family.version(), bits })
    }

    /// The job of a lease, the plan that it is worked by, and the number of its shard there.
    fn job(&mut self, hub: &Hub, lease: LeaseId) -> Option<(&Job, Cow<'_, [u8]>, ShardIndex)> {
        let known = self.jobs.get(&lease.job).is_some_and(|j| j.stage_of(lease.shard).is_some());
        if !known {
            let job = Job::read(hub, lease.job)?;
            if self.jobs.len() >= JOBS_MAX {
                self.jobs.pop_first();
            }
            self.jobs.insert(lease.job, job);
        }
        let job = self.jobs.get(&lease.job)?;
        // Only a later attempt can find a part done.
        let resumed = lease.attempt > 1;
        let rest = resumed.then(|| hub.read(|w| w.rest_of(lease.job, lease.shard, hub.families()))).flatten();
        if let Some(rest) = rest {
            return Some((job, Cow::Owned(rest), 0));
        }
        let (run, plan) = job.stage_of(lease.shard)?;
        Some((job, Cow::Borrowed(plan), lease.shard - run.first))
    }
}

/// A result names a blob that its agent did not keep.
const CHECK_BLOBS: u32 = 1 << 31;
/// An attempt's URLs are good for so long beyond its deadline, which may be extended.
const URL_TTL: DurationMs = DurationMs(24 * 3_600_000);
/// A blob that a shard keeps is no longer. Units: bytes.
const SHARD_BLOB_BYTES_MAX: u64 = 4 << 30;

/// The URLs that an attempt needs, signed by this node.
fn access(hub: &Hub, job: &Job, plan: &[u8], shard: ShardIndex, id: JobId, deadline: Timestamp) -> Option<BlobAccess> {
    let wanted = job.family.shard_blobs(&job.submitted.spec, plan, shard);
    let door = hub.rest_door()?;
    let scheme = if door.ca_pem.is_some() { "https" } else { "http" };
    let project = job.submitted.project;
    let own = hub.node();
    let (mut nodes, known) = hub.read(|w| {
        let nodes: Vec<_> =
            w.cluster.members().map(|(id, n)| (id, format!("{scheme}://{}", n.addresses.rest))).collect();
        let bytes = |digest: &Digest| w.projects.blobs.get(project, digest).map_or(0, |blob| blob.bytes);
        let known: Vec<(Digest, u64)> = wanted.iter().map(|digest| (*digest, bytes(digest))).collect();
        (nodes, known)
    });
    nodes.sort_by_key(|(id, _)| *id != own);
    let expires = deadline.max(hub.clock().now()).after(URL_TTL);
    let grant = |operation, bytes| Grant {
        operation,
        project,
        bytes,
        range: None,
        key: None,
        job: Some(id),
        expires,
        node: own,
    };
    let read = known.into_iter().map(|(digest, bytes)| {
        let query = hub.sign_blob(&grant(Operation::Get, bytes), &digest);
        BlobGrant { digest, bytes, query }
    });
    Some(BlobAccess {
        bases: nodes.into_iter().map(|(_, base)| base).collect(),
        ca: door.ca_pem.clone(),
        read: read.collect(),
        keep: hub.sign_blob(&grant(Operation::Keep, SHARD_BLOB_BYTES_MAX), &Digest::default()),
    })
}

/// The checks of one result that read blobs.
pub struct Deeper {
    job: Job,
    id: JobId,
    plan: Arc<[u8]>,
    shard: ShardIndex,
}

impl Deeper {
    /// The checks of a checkpoint, whose cells are shard 0 of `plan`; `None`: its job has no blobs, or is gone.
    pub fn of_part(hub: &Hub, id: JobId, plan: Vec<u8>) -> Option<Deeper> {
        let job = Job::read(hub, id).filter(Job::uses_blobs)?;
        Some(Deeper { job, id, plan: plan.into(), shard: 0 })
    }

    /// Adds their bits to those of a result that passed the free checks.
    ///
    /// # Errors
    /// The code of a failure that says nothing about the result.
    pub async fn run(self, hub: Hub, result: Vec<u8>, checks: Checks) -> Result<(Vec<u8>, Checks), &'static str> {
        let Deeper { job, id, plan, shard } = self;
        let (spec, project) = (job.submitted.clone(), job.submitted.project);
        let named = job.family.result_blobs(&spec.spec, &plan, &result);
        let kept = || hub.read(|w| named.iter().all(|digest| w.projects.blobs.is_kept(project, digest, id)));
        // The agent kept them, perhaps at another node: this one may have to catch up first.
        if !kept() && hub.barrier().await.is_err() {
            return Err("blob-unreadable");
        }
        if !kept() {
            return Ok((result, Checks { bits: checks.bits | CHECK_BLOBS, ..checks }));
        }
        let runtime = tokio::runtime::Handle::current();
        let work = move || {
            let view = View { hub: &hub, runtime, keep: NoKeeping };
            let bits = job.family.check_blobs(&spec.spec, &plan, shard, &result, &view);
            bits.map(|bits| (result, Checks { bits: checks.bits | bits, ..checks }))
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(checked)) => Ok(checked),
            Ok(Err(fault)) => {
                tracing::warn!(%id, shard, code = fault.code, detail = fault.detail, "a result could not be checked");
                Err(fault.code)
            }
            Err(_) => Err("check-panicked"),
        }
    }
}

impl Job {
    fn read(hub: &Hub, id: JobId) -> Option<Job> {
        hub.read(|world| {
            let job = world.jobs.jobs.get(&id)?;
            let family = hub.families().family(&job.submitted.kind, job.submitted.family_version)?;
            let stages = job.stages.iter().map(|s| (s.shards, s.plan_body.clone())).collect();
            Some(Job { submitted: job.submitted.clone(), stages, family })
        })
    }

    /// A job without inputs has nothing that would not fit into its payloads and results.
    fn uses_blobs(&self) -> bool {
        !self.submitted.inputs.is_empty()
    }

    fn stage_of(&self, shard: ShardIndex) -> Option<(Run, &[u8])> {
        let stage = self.stages.iter().find(|(run, _)| (run.first..=run.last).contains(&shard));
        stage.map(|(run, plan)| (*run, plan.as_ref()))
    }
}
