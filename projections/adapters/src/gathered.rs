//! The mid-state of stages whose results are disjoint parts: every shard's result bytes, in shard order. A shard that was
//! taken up behind a checkpoint has several, in the order of its cells.
//!
//! Results that say "my part is the blob X" are folded by keeping what they say; later stages and the
//! reduction read the parts. Exact for any order: a set union.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use forge_event::ShardIndex;
use forge_projections::family::{DoneStage, MidState};

/// What a result takes besides its bytes, about. Units: bytes.
pub const ENTRY_BYTES: usize = 48;

/// Result bytes by shard and place in the shard.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Gathered {
    parts: BTreeMap<(ShardIndex, u32), Vec<u8>>,
    bytes: usize,
    /// A shard may come in several results.
    in_parts: bool,
}

impl Gathered {
    /// Of a stage whose shards can be resumed.
    pub fn in_parts() -> Gathered {
        Gathered { in_parts: true, ..Gathered::default() }
    }

    /// Reads back what [`MidState::encode`] wrote; `None` if it did not, or if a shard has several results and this stage's
    /// shards run whole.
    pub fn decode(self, bytes: &[u8]) -> Option<Gathered> {
        let (parts, rest) = postcard::take_from_bytes::<Vec<(ShardIndex, Vec<u8>)>>(bytes).ok()?;
        let ascending = parts.is_sorted_by(|a, b| a.0 < b.0 || self.in_parts && a.0 == b.0);
        if !rest.is_empty() || !ascending {
            return None;
        }
        let mut gathered = self;
        parts.iter().for_each(|(shard, part)| gathered.fold(*shard, part));
        Some(gathered)
    }

    /// The results of a finished stage, shard 0 first.
    ///
    /// # Panics
    /// If the stage's mid-state is another one: the family mixes its stages up.
    pub fn of(stage: &DoneStage<'_>) -> Gathered {
        Gathered::in_parts().decode(&stage.mid.encode()).expect("this stage gathers its results")
    }

    /// Results, shard 0 first.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.values().map(Vec::as_slice)
    }

    pub fn len(&self) -> usize {
        self.parts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}

impl MidState for Gathered {
    fn fold(&mut self, shard: ShardIndex, result: &[u8]) {
        let before = self.parts.range((shard, 0)..=(shard, u32::MAX)).next_back();
        assert!(before.is_none() || self.in_parts, "a shard is folded once");
        let place = before.map_or(0, |((_, place), _)| place + 1);
        self.parts.insert((shard, place), result.to_vec());
        self.bytes += result.len();
    }

    fn encode(&self) -> Vec<u8> {
        let parts: Vec<(ShardIndex, &Vec<u8>)> = self.parts.iter().map(|((shard, _), part)| (*shard, part)).collect();
        postcard::to_allocvec(&parts).expect("bytes have no value that postcard cannot write")
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.bytes + ENTRY_BYTES * self.parts.len()
    }

    fn clone_box(&self) -> Box<dyn MidState> {
        Box::new(self.clone())
    }
}
