//! The mid-state of a null job: how many shards are in.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use forge_event::ShardIndex;
use forge_projections::family::MidState;

/// A count of folded results.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Counter {
    shards: u64,
    folded: u64,
}

impl Counter {
    pub(super) fn new(shards: u64) -> Self {
        Counter { shards, folded: 0 }
    }

    pub(super) fn decode(shards: u64, bytes: &[u8]) -> Option<Self> {
        let folded = u64::from_le_bytes(bytes.try_into().ok()?);
        (folded <= shards).then_some(Counter { shards, folded })
    }
}

impl MidState for Counter {
    fn fold(&mut self, _shard: ShardIndex, _result: &[u8]) {
        self.folded += 1;
        assert!(self.folded <= self.shards, "a shard is folded once");
    }

    fn fold_many(&mut self, shards: &mut dyn Iterator<Item = ShardIndex>, _result: &[u8]) {
        self.folded += shards.count() as u64;
        assert!(self.folded <= self.shards, "a shard is folded once");
    }

    fn encode(&self) -> Vec<u8> {
        self.folded.to_le_bytes().to_vec()
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
    }

    fn finish(&self) -> Option<Vec<u8>> {
        Some(format!(r#"{{"kind":"null","format":1,"shards":{}}}"#, self.shards).into_bytes())
    }

    fn clone_box(&self) -> Box<dyn MidState> {
        Box::new(*self)
    }
}
