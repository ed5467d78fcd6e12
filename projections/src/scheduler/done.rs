//! The set of finished shards, compressed.

use crate::cow::CowMap;
use alloc::boxed::Box;
use alloc::vec::Vec;
use forge_event::ShardIndex;
use serde::{Deserialize, Serialize};

const BLOCK_SHARDS: u32 = 4096;
/// A block lists its shards up to here, then turns into a bitmap of the same size.
const SPARSE_MAX: usize = 256;

#[derive(Clone, Serialize, Deserialize, Debug)]
enum Block {
    /// Ascending offsets.
    Sparse(Vec<u16>),
    /// 64 words and how many bits are set.
    Dense(Box<[u64]>, u16),
    Full,
}

/// A set of shards.
///
/// Shape: blocks of 4096 shards; 2 bytes a shard while sparse, 512 bytes while dense, nothing but its key once full.
#[derive(Clone, Serialize, Deserialize, Debug, Default)]
pub struct Done {
    blocks: CowMap<u32, Block>,
}

impl Done {
    pub fn contains(&self, shard: ShardIndex) -> bool {
        let offset = (shard % BLOCK_SHARDS) as u16;
        match self.blocks.get(&(shard / BLOCK_SHARDS)) {
            None => false,
            Some(Block::Sparse(list)) => list.binary_search(&offset).is_ok(),
            Some(Block::Dense(words, _)) => words[usize::from(offset / 64)] >> (offset % 64) & 1 == 1,
            Some(Block::Full) => true,
        }
    }

    /// Adds a shard; false if it was there.
    pub fn insert(&mut self, shard: ShardIndex) -> bool {
        let (key, offset) = (shard / BLOCK_SHARDS, (shard % BLOCK_SHARDS) as u16);
        let Some(block) = self.blocks.get_mut(&key) else {
            self.blocks.insert(key, Block::Sparse(alloc::vec![offset]));
            return true;
        };
        let added = match block {
            Block::Full => false,
            Block::Sparse(list) => match list.binary_search(&offset) {
                Ok(_) => false,
                Err(at) => {
                    list.insert(at, offset);
                    true
                }
            },
            Block::Dense(words, count) => {
                let word = &mut words[usize::from(offset / 64)];
                let fresh = *word >> (offset % 64) & 1 == 0;
                *word |= 1 << (offset % 64);
                *count += u16::from(fresh);
                fresh
            }
        };
        block.settle();
        added
    }

    /// Takes a shard out; false if it was not there.
    pub fn remove(&mut self, shard: ShardIndex) -> bool {
        if !self.contains(shard) {
            return false;
        }
        let (key, offset) = (shard / BLOCK_SHARDS, shard % BLOCK_SHARDS);
        let block = self.blocks.get_mut(&key).expect("it contains the shard");
        if matches!(block, Block::Full) {
            *block = Block::Dense(alloc::vec![u64::MAX; 64].into_boxed_slice(), BLOCK_SHARDS as u16);
        }
        match block {
            Block::Sparse(list) => list.retain(|o| u32::from(*o) != offset),
            Block::Dense(words, count) => {
                words[(offset / 64) as usize] &= !(1 << (offset % 64));
                *count -= 1;
            }
            Block::Full => unreachable!("opened above"),
        }
        true
    }
}

impl Block {
    fn settle(&mut self) {
        match self {
            Block::Sparse(list) if list.len() > SPARSE_MAX => {
                let mut words = alloc::vec![0u64; 64];
                for offset in list.iter() {
                    words[usize::from(offset / 64)] |= 1 << (offset % 64);
                }
                *self = Block::Dense(words.into_boxed_slice(), list.len() as u16);
            }
            Block::Dense(_, count) if u32::from(*count) == BLOCK_SHARDS => *self = Block::Full,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_was_put_in_through_every_shape() {
        let mut done = Done::default();
        let scattered = |n: u32| n.wrapping_mul(2_654_435_761) % 20_000;
        let mut model = alloc::collections::BTreeSet::new();
        for n in 0..60_000 {
            assert_eq!(done.insert(scattered(n)), model.insert(scattered(n)));
        }
        for n in 0..20_000 {
            assert_eq!(done.contains(n), model.contains(&n));
        }
        for n in (0..20_000).step_by(3) {
            assert_eq!(done.remove(n), model.remove(&n));
            assert!(!done.contains(n));
        }
        for n in 0..20_000 {
            assert_eq!(done.contains(n), model.contains(&n));
        }
    }
}
