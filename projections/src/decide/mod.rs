//! Decisions: greedy steps in one fixed order of kinds, each with a named budget.
//!
//! The law of the turn: `decisions == decide(state + facts, at)`, exactly. The leader derives them
//! here, replay derives them again here. Each step folds its event at once, so that the next step
//! sees it; when [`World::decide`] returns, the state is that after the turn.
//!
//! Order: state root · results · failures reported · successes · cancellations · failures ·
//! seal waits · graces · leases · closed jobs' leases · admissions · pay · assignments.

mod assign;
mod jobs;
mod results;
mod time;

use crate::family::Families;
use crate::world::World;
use alloc::vec::Vec;
use forge_event::*;

pub use assign::matches;
pub(crate) use assign::{AVOID_MS, suits};

/// Version of this decision code, recorded with every turn.
pub const POLICY: PolicyVersion = PolicyVersion(1);

/// Leases that one turn ends because of time, loss or a closed job.
const ENDED_LEASES_MAX: usize = 4096;
/// Shards that one turn assigns.
const ASSIGNED_SHARDS_MAX: u64 = 8192;
/// Requeued shards that one turn looks at.
const RETRIES_SEEN_MAX: usize = 4096;

/// What a turn's decisions may cost. Units: bytes in the turn.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Bytes of decisions after which nothing is begun that another turn can do.
    pub bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        // Facts take at most half a turn; results accepted in this turn are answered and paid in it,
        // so what may wait gets a part of the other half.
        Budget { bytes: limits::TURN_BYTES_MAX / 4 }
    }
}

/// A turn's decisions as they come into being.
pub(crate) struct Deciding<'a> {
    pub world: &'a mut World,
    pub families: &'a dyn Families,
    pub budget: Budget,
    pub decided: Vec<Event>,
    bytes: usize,
}

impl Deciding<'_> {
    /// Folds a decision; gives its position.
    fn push(&mut self, event: impl Into<Event>) -> EventIndex {
        let event = event.into();
        self.world.apply(None, &event, self.families);
        self.bytes += self.world.applied_len();
        self.decided.push(event);
        self.world.turn.index
    }

    /// Whether work that may wait is left to the next turn.
    fn is_spent(&mut self) -> bool {
        let spent = self.bytes >= self.budget.bytes;
        self.world.turn.leftover |= spent;
        spent
    }
}

impl World {
    /// Derives the decisions of the running turn and folds them.
    pub fn decide(&mut self, families: &dyn Families) -> Vec<Event> {
        let budget = Budget::default();
        let mut deciding = Deciding { world: self, families, budget, decided: Vec::new(), bytes: 0 };
        deciding.root();
        deciding.results();
        deciding.reported_failures();
        deciding.successes();
        deciding.cancellations();
        deciding.failures();
        deciding.seal_waits();
        deciding.graces();
        deciding.expiries();
        deciding.closings();
        deciding.admissions();
        deciding.pay(None);
        deciding.assignments();
        let decided = deciding.decided;
        self.turn.assert_settled();
        decided
    }

    /// When `decide` has something to do without a fact; `None`: never.
    pub fn next_decision_time(&self) -> Option<Timestamp> {
        let begun = [self.scheduler.leavers.len(), self.scheduler.closing.len(), self.jobs.payable.len()];
        if self.turn.leftover || begun.into_iter().any(|n| n > 0) {
            return Some(self.at);
        }
        let stored = [
            self.scheduler.leases.next_deadline(),
            self.scheduler.graces.first().map(|((base, _), ())| *base),
            self.scheduler.seal_waits.first().map(|((base, _), ())| *base),
        ];
        let stored = stored.into_iter().flatten().map(|base| self.deadline_of(base));
        let fixed = self.jobs.deadlines.first().map(|((at, _), ())| *at);
        stored.chain(fixed).chain(self.next_retry_time()).min()
    }
}

impl Deciding<'_> {
    fn root(&mut self) {
        if self.world.root_is_due() {
            let upto = self.world.turn.index;
            let roots = self.world.roots();
            self.push(StateRooted { upto, roots });
        }
    }
}
