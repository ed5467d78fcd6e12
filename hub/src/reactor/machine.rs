//! Which effects to start: what the state wants, less what is under way. Pure.

use forge_event::{EffectId, JobId, Term};
use forge_projections::World;
use std::collections::BTreeMap;

/// Effects under way at once.
const RUNNING_MAX: usize = 8;
/// Jobs looked at in one round.
const LOOKED_AT_MAX: usize = 1024;

/// An effect to start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start {
    pub effect: EffectId,
    pub try_number: u8,
}

/// What is under way, in this term.
#[derive(Debug, Default)]
pub struct Machine {
    term: Term,
    running: BTreeMap<EffectId, u8>,
}

impl Machine {
    /// What to start now that the committed state is `world`.
    pub fn poll(&mut self, world: &World, term: Term) -> Vec<Start> {
        if term != self.term {
            // Whatever this node started in an older term counts as dead, in the log as here.
            *self = Machine { term, running: BTreeMap::new() };
        }
        // Effects are leader's work only once the term's first fact is folded: it says which starts are dead.
        if world.cluster.leader.is_none_or(|(_, started, _)| started != term) {
            return Vec::new();
        }
        let due = world.jobs.effects_due.iter().take(LOOKED_AT_MAX);
        let due = due.filter_map(|(job, ())| world.effect_due(*job)).filter(|(e, _)| !self.running.contains_key(e));
        let starts: Vec<Start> = due
            .take(RUNNING_MAX.saturating_sub(self.running.len()))
            .map(|(effect, try_number)| Start { effect, try_number })
            .collect();
        self.running.extend(starts.iter().map(|s| (s.effect, s.try_number)));
        starts
    }

    /// An effect ended, or could not be started.
    pub fn ended(&mut self, effect: EffectId) {
        self.running.remove(&effect);
    }

    /// Jobs with an effect under way.
    pub fn jobs(&self) -> impl Iterator<Item = JobId> + '_ {
        self.running.keys().map(|e| e.job())
    }
}
