//! Sets of shard numbers, as ascending runs.

use crate::id::ShardIndex;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The shards `first..=last`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
pub struct Run {
    pub first: ShardIndex,
    pub last: ShardIndex,
}

impl Run {
    /// How many shards; never zero in canonical runs.
    pub fn count(&self) -> u64 {
        (u64::from(self.last) + 1).saturating_sub(u64::from(self.first))
    }
}

/// A set of shards.
///
/// Invariant (canonical): not empty, ascending, disjoint, not touching. [`Runs::is_canonical`] is
/// checked when a turn is decoded, so that equal sets have equal bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug, Default)]
pub struct Runs(pub Vec<Run>);

impl Runs {
    /// One shard.
    pub fn one(shard: ShardIndex) -> Self {
        Runs(alloc::vec![Run { first: shard, last: shard }])
    }

    /// The shards `first..=last`.
    pub fn span(first: ShardIndex, last: ShardIndex) -> Self {
        Runs(alloc::vec![Run { first, last }])
    }

    /// The set of `shards`, which ascend strictly.
    ///
    /// # Panics
    /// If they do not ascend.
    pub fn ascending(shards: impl IntoIterator<Item = ShardIndex>) -> Self {
        let mut runs = Runs::default();
        for shard in shards {
            runs.push(shard);
        }
        runs
    }

    /// Adds a shard behind all others.
    ///
    /// # Panics
    /// If `shard` is not behind all others.
    pub fn push(&mut self, shard: ShardIndex) {
        match self.0.last_mut() {
            Some(run) => {
                assert!(run.last < shard, "runs ascend: {shard} after {}", run.last);
                if run.last + 1 == shard {
                    run.last = shard;
                } else {
                    self.0.push(Run { first: shard, last: shard });
                }
            }
            None => self.0.push(Run { first: shard, last: shard }),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many shards.
    pub fn count(&self) -> u64 {
        self.0.iter().map(Run::count).sum()
    }

    /// Whether it holds `shard`; for canonical runs.
    pub fn contains(&self, shard: ShardIndex) -> bool {
        let at = self.0.partition_point(|run| run.last < shard);
        self.0.get(at).is_some_and(|run| run.first <= shard)
    }

    /// Every shard, ascending.
    pub fn iter(&self) -> impl Iterator<Item = ShardIndex> + '_ {
        self.0.iter().flat_map(|run| run.first..=run.last)
    }

    /// Takes `other`'s shards out; gives how many that were. Both are canonical; this one may end empty.
    pub fn subtract(&mut self, other: &Runs) -> u64 {
        let before = self.count();
        if self == other {
            self.0.clear();
            return before;
        }
        let (mut kept, mut cuts) = (Vec::new(), other.0.as_slice());
        for run in &self.0 {
            cuts = &cuts[cuts.partition_point(|cut| cut.last < run.first)..];
            let mut first = u64::from(run.first);
            for cut in cuts.iter().take_while(|cut| cut.first <= run.last) {
                if first < u64::from(cut.first) {
                    kept.push(Run { first: first as ShardIndex, last: cut.first - 1 });
                }
                first = u64::from(cut.last) + 1;
            }
            if first <= u64::from(run.last) {
                kept.push(Run { first: first as ShardIndex, last: run.last });
            }
        }
        self.0 = kept;
        before - self.count()
    }

    pub fn is_canonical(&self) -> bool {
        let ordered = self.0.iter().all(|run| run.first <= run.last);
        let apart = self.0.windows(2).all(|w| u64::from(w[0].last) + 1 < u64::from(w[1].first));
        !self.0.is_empty() && ordered && apart
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touching_shards_share_a_run() {
        let runs = Runs::ascending([1, 2, 3, 7, 9, 10]);
        assert_eq!(runs.0.len(), 3);
        assert_eq!(runs.count(), 6);
        assert!(runs.is_canonical());
        assert!(runs.iter().eq([1, 2, 3, 7, 9, 10]));
        assert!((0..12).all(|shard| runs.contains(shard) == [1, 2, 3, 7, 9, 10].contains(&shard)));
    }

    #[test]
    fn what_is_subtracted_is_gone_and_nothing_else() {
        // Every pair of sets of seven shards, at the end of what a shard's number can be.
        let set = |bits: u32| Runs::ascending((0..7).filter(move |n| bits >> n & 1 == 1).map(|n| u32::MAX - 6 + n));
        for (ours, theirs) in (0..128).flat_map(|a| (0..128).map(move |b| (a, b))) {
            let mut left = set(ours);
            assert_eq!(left.subtract(&set(theirs)), u64::from((ours & theirs).count_ones()));
            assert_eq!(left, set(ours & !theirs), "{ours:b} less {theirs:b}");
        }
    }

    #[test]
    fn what_is_not_canonical_is_seen() {
        let bad = [
            alloc::vec![],
            alloc::vec![Run { first: 2, last: 1 }],
            alloc::vec![Run { first: 1, last: 2 }, Run { first: 3, last: 4 }],
        ];
        assert!(bad.into_iter().all(|runs| !Runs(runs).is_canonical()));
    }
}
