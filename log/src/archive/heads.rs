//! The heads of turns that were applied lately: who seals them need not decode and chain them again.

use forge_event::Head;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Turns whose heads are kept; those of earlier ones are found by decoding. 2 MiB.
const HEADS_MAX: usize = 16 * 1024;

/// The heads before and after each accepted turn, by its Raft entry.
///
/// Invariant: what was applied once stays as it is, so nothing in here ever becomes wrong.
#[derive(Debug, Default)]
pub(crate) struct Heads(Mutex<VecDeque<Passed>>);

#[derive(Clone, Copy, Debug)]
struct Passed {
    raft_index: u64,
    before: Head,
    after: Head,
}

impl Heads {
    fn held(&self) -> MutexGuard<'_, VecDeque<Passed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the turn of an entry behind all before it.
    pub fn note(&self, raft_index: u64, before: Head, after: Head) {
        let mut held = self.held();
        if held.len() == HEADS_MAX {
            held.pop_front();
        }
        held.push_back(Passed { raft_index, before, after });
    }

    /// The head after the turn of an entry that follows `before`; `None` if that is not known here, or not so.
    pub fn after(&self, raft_index: u64, before: &Head) -> Option<Head> {
        let held = self.held();
        let at = held.binary_search_by_key(&raft_index, |passed| passed.raft_index).ok()?;
        (held[at].before == *before).then_some(held[at].after)
    }

    /// Forgets the turns up to an entry.
    pub fn forget(&self, upto: u64) {
        let mut held = self.held();
        while held.front().is_some_and(|passed| passed.raft_index <= upto) {
            held.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_heads_are_known_and_no_others() {
        let heads = Heads::default();
        let head = |n: u64| Head { turns: n, events: 2 * n, ..Head::default() };
        let last = 2 * HEADS_MAX as u64 + 10;
        (5..=last).step_by(2).for_each(|index| heads.note(index, head(index - 1), head(index)));
        let after = |index| heads.after(index, &head(index - 1));
        let oldest = 5 + 2 * ((last - 5) / 2 + 1 - HEADS_MAX as u64);
        assert_eq!(after(oldest), Some(head(oldest)));
        assert_eq!((after(oldest - 2), after(oldest + 1), after(last + 2)), (None, None, None));
        assert_eq!(heads.after(oldest, &head(oldest)), None, "it follows another turn");
        heads.forget(oldest + 2);
        assert_eq!((after(oldest + 2), after(oldest + 4)), (None, Some(head(oldest + 4))));
    }
}
