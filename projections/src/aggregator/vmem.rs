//! VMem: the typed numeric mid-states of all open jobs, in the replicated state and in snapshots.
//!
//! What an entry is, is its family's business (accumulators, histograms, sketches, gathered parts); that there is a budget
//! for it is not. A project is charged for each stage by the bound that the family gave with the plan, so that a job is
//! refused before it starts and never in the middle of its work; what a mid-state really takes is measured beside it.

use super::Mid;
use crate::cow::CowMap;
use crate::world::World;
use alloc::collections::BTreeMap;
use forge_event::*;
use serde::{Deserialize, Serialize};

/// Budget of each project: the bounds of the mid-states of its open jobs together. Units: bytes.
pub const VMEM_BYTES_MAX: u64 = 256 << 20;

/// Mid-states by job and stage. Invariant: of open jobs only, one a planned stage.
#[derive(Clone, Serialize, Deserialize, Debug, Default)]
pub struct VMem(CowMap<(JobId, u16), Mid>);

impl VMem {
    pub fn get(&self, job: JobId, stage: u16) -> Option<&Mid> {
        self.0.get(&(job, stage))
    }

    /// All, by job and stage.
    pub fn iter(&self) -> impl Iterator<Item = (JobId, u16, &Mid)> {
        self.0.iter().map(|((job, stage), mid)| (*job, *stage, mid))
    }

    pub(crate) fn get_mut(&mut self, job: JobId, stage: u16) -> Option<&mut Mid> {
        self.0.get_mut(&(job, stage))
    }

    pub(crate) fn insert(&mut self, job: JobId, stage: u16, mid: Mid) {
        self.0.insert((job, stage), mid);
    }

    /// Forgets the first `stages` of a job.
    pub(crate) fn drop_job(&mut self, job: JobId, stages: u16) {
        for stage in 0..stages {
            self.0.remove(&(job, stage));
        }
    }

    pub(crate) fn root(&mut self) -> Digest {
        self.0.root()
    }
}

/// What there is of it, over all projects. Units: bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VMemUse {
    pub mid_states: u64,
    /// As this replica keeps them: live, or as a snapshot brought them. Not part of the state, so replicas may differ.
    pub used_bytes: u64,
    /// The bounds of what was admitted.
    pub charged_bytes: u64,
    /// The largest of these that one project has, against [`VMEM_BYTES_MAX`].
    pub charged_bytes_max: u64,
}

impl World {
    /// Totals. Costs the mid-states and the projects.
    pub fn vmem_use(&self) -> VMemUse {
        let mut all = VMemUse::default();
        for (_, _, mid) in self.aggregator.vmem.iter() {
            all.mid_states += 1;
            all.used_bytes = all.used_bytes.saturating_add(mid.bytes() as u64);
        }
        for (_, project) in self.projects.projects.iter() {
            all.charged_bytes = all.charged_bytes.saturating_add(project.vmem_bytes);
            all.charged_bytes_max = all.charged_bytes_max.max(project.vmem_bytes);
        }
        all
    }

    /// Measured bytes of every project that has any. Costs the mid-states.
    pub fn vmem_used(&self) -> BTreeMap<ProjectId, u64> {
        let mut used: BTreeMap<ProjectId, u64> = BTreeMap::new();
        for (job, _, mid) in self.aggregator.vmem.iter() {
            let bytes = used.entry(self.job(job).project()).or_default();
            *bytes = bytes.saturating_add(mid.bytes() as u64);
        }
        used
    }
}
