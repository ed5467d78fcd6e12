//! Which blobs a majority of nodes keeps, and for whom.

use crate::cow::{CowMap, digest_of};
use crate::world::{Meta, World};
use alloc::vec::Vec;
use forge_event::*;
use serde::{Deserialize, Serialize};

/// Bytes of blobs that one project may have recorded.
pub const BLOB_BYTES_MAX: u64 = 256 << 30;
/// Blobs that one project may have recorded.
pub const BLOB_COUNT_MAX: u64 = 4_000_000;

/// A recorded blob of one project.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Blob {
    pub bytes: u64,
    /// It is forgotten when this job ends; `None`: it stays.
    pub job: Option<JobId>,
    /// The `blob.recorded` that brought it.
    pub recorded: EventIndex,
}

/// The blob index. Bytes lie beside the log, never in it.
#[derive(Clone, Serialize, Deserialize, Debug, Default)]
pub struct Blobs {
    /// By digest first, so that a node can ask whether anybody still needs a file.
    known: CowMap<(Digest, ProjectId), Blob>,
    of_job: CowMap<(JobId, Digest), ()>,
}

impl Blobs {
    /// A blob as this project knows it.
    pub fn get(&self, project: ProjectId, digest: &Digest) -> Option<&Blob> {
        self.known.get(&(*digest, project))
    }

    /// Its length, if any project has it. Units: bytes.
    pub fn bytes_of(&self, digest: &Digest) -> Option<u64> {
        let (key, blob) = self.known.range_from(&(*digest, ProjectId(0))).next()?;
        (key.0 == *digest).then_some(blob.bytes)
    }

    /// Whether it is there until `job` ends, at least.
    pub fn is_kept(&self, project: ProjectId, digest: &Digest, job: JobId) -> bool {
        self.get(project, digest).is_some_and(|blob| blob.job.is_none_or(|owner| owner == job))
    }

    /// Every digest that somebody needs, from `from` on, ascending; a digest may come more than once.
    pub fn from(&self, from: Digest) -> impl Iterator<Item = (Digest, u64)> + '_ {
        self.known.range_from(&(from, ProjectId(0))).map(|((digest, _), blob)| (*digest, blob.bytes))
    }

    pub(crate) fn root(&mut self) -> Digest {
        digest_of(&[self.known.root(), self.of_job.root()])
    }
}

impl World {
    pub(crate) fn blob_recorded(&mut self, index: EventIndex, e: &BlobRecorded) -> Meta {
        let blobs = &mut self.projects.blobs;
        let key = (e.digest, e.project);
        match blobs.known.get(&key).copied() {
            // What two need that end at different times becomes the project's own.
            Some(known) if known.job.is_some() && known.job != e.job => self.keep_blob(e.project, e.digest),
            Some(_) => {}
            None => {
                blobs.known.insert(key, Blob { bytes: e.bytes, job: e.job, recorded: index });
                if let Some(job) = e.job {
                    blobs.of_job.insert((job, e.digest), ());
                }
                if let Some(project) = self.projects.projects.get_mut(&e.project) {
                    project.blob_bytes += e.bytes;
                    project.blob_count += 1;
                }
            }
        }
        Meta::of(e.project)
    }

    /// Makes a job's blob the project's own.
    pub(crate) fn keep_blob(&mut self, project: ProjectId, digest: Digest) {
        let blobs = &mut self.projects.blobs;
        if let Some(blob) = blobs.known.get_mut(&(digest, project))
            && let Some(job) = blob.job.take()
        {
            blobs.of_job.remove(&(job, digest));
        }
    }

    /// Forgets what lay between the shards of a job.
    pub(crate) fn drop_blobs_of(&mut self, job: JobId, project: ProjectId) {
        let blobs = &mut self.projects.blobs;
        let of_job = blobs.of_job.range_from(&(job, Digest::default())).take_while(|((j, _), ())| *j == job);
        let digests: Vec<Digest> = of_job.map(|((_, digest), ())| *digest).collect();
        for digest in digests {
            blobs.of_job.remove(&(job, digest));
            let bytes = blobs.known.remove(&(digest, project)).map_or(0, |blob| blob.bytes);
            if let Some(project) = self.projects.projects.get_mut(&project) {
                project.blob_bytes -= bytes;
                project.blob_count -= 1;
            }
        }
    }
}
