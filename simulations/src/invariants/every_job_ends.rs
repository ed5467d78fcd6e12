//! Once the faults stop, every request is answered, every job ends, and the nodes meet.

use super::{Invariant, Seen};

pub struct EveryJobEnds;

impl Invariant for EveryJobEnds {
    fn name(&self) -> &'static str {
        "every_job_ends"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Stuck { what } => Err(what.clone()),
            Seen::End { world } => {
                let open = world.jobs.jobs.iter().filter(|(_, job)| job.ended.is_none());
                let open: Vec<String> = open.map(|(id, job)| format!("{id} {}", job.state.name())).take(5).collect();
                if open.is_empty() { Ok(()) } else { Err(format!("still open: {}", open.join(", "))) }
            }
            _ => Ok(()),
        }
    }
}
