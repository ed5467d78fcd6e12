//! Every result is, to the byte, what the job gives when one agent does it whole and in order.

use super::{Invariant, Seen, ensure};
use crate::work;
use forge_event::*;
use std::collections::BTreeMap;

#[derive(Default)]
pub struct ResultMatchesOracle {
    specs: BTreeMap<JobId, (String, Vec<u8>)>,
    expected: BTreeMap<(String, Vec<u8>), Digest>,
}

impl Invariant for ResultMatchesOracle {
    fn name(&self) -> &'static str {
        "result_matches_oracle"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let Seen::Committed { turn, .. } = seen else { return Ok(()) };
        for (index, event) in turn.turn.events() {
            match event {
                Event::JobSubmitted(e) => {
                    self.specs.insert(JobId::born_at(index), (e.kind.clone(), e.spec.clone()));
                }
                Event::JobSucceeded(e) => {
                    let spec = self.specs.get(&e.job).cloned().ok_or_else(|| format!("{} is unknown", e.job))?;
                    let whole = || Digest::of(&work::whole(&spec.0, &spec.1));
                    let expected = *self.expected.entry(spec.clone()).or_insert_with(whole);
                    ensure(e.digest == expected, || format!("{} has another result than its spec gives", e.job))?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}
