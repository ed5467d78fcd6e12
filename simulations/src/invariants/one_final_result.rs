//! A job ends once; its result's digest is that of its bytes; equal specs have equal bytes, however they were cut.

use super::{Invariant, Seen, ensure};
use forge_event::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub struct OneFinalResult {
    ended: BTreeSet<JobId>,
    specs: BTreeMap<JobId, (String, Vec<u8>)>,
    results: BTreeMap<(String, Vec<u8>), (JobId, Digest)>,
}

impl Invariant for OneFinalResult {
    fn name(&self) -> &'static str {
        "one_final_result"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let Seen::Committed { turn, .. } = seen else { return Ok(()) };
        turn.turn.events().try_for_each(|(index, event)| self.event(index, event))
    }
}

impl OneFinalResult {
    fn event(&mut self, index: EventIndex, event: &Event) -> Result<(), String> {
        match event {
            Event::JobSubmitted(e) => {
                self.specs.insert(JobId::born_at(index), (e.kind.clone(), e.spec.clone()));
                Ok(())
            }
            Event::JobReduced(e) => {
                let fits = e.document.as_ref().is_some_and(|bytes| Digest::of(bytes) == e.digest);
                ensure(fits, || format!("the digest of {}'s result is not that of its bytes", e.job))
            }
            Event::JobSucceeded(e) => {
                self.end(e.job)?;
                let spec = self.specs.get(&e.job).cloned().ok_or_else(|| format!("{} was never submitted", e.job))?;
                let (other, digest) = *self.results.entry(spec).or_insert((e.job, e.digest));
                ensure(digest == e.digest, || format!("{} and {other} have equal specs and other results", e.job))
            }
            Event::JobFailed(e) => self.end(e.job),
            Event::JobCancelled(e) => self.end(e.job),
            _ => Ok(()),
        }
    }

    fn end(&mut self, job: JobId) -> Result<(), String> {
        ensure(self.ended.insert(job), || format!("{job} ends twice"))
    }
}
