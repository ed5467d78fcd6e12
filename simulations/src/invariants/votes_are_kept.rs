//! A node that voted in a term, or asked for votes in it, knows that term after any crash.

use super::{Invariant, Seen, ensure};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct VotesAreKept {
    promised: BTreeMap<u64, u64>,
}

impl Invariant for VotesAreKept {
    fn name(&self) -> &'static str {
        "votes_are_kept"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Promised { node, term } => {
                let last = self.promised.entry(*node).or_default();
                *last = (*last).max(*term);
                Ok(())
            }
            Seen::Recovered { node, term } => {
                let promised = self.promised.get(node).copied().unwrap_or(0);
                ensure(*term >= promised, || format!("n{node} voted in term {promised} and came back in {term}"))
            }
            _ => Ok(()),
        }
    }
}
