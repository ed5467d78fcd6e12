//! What a check draws: words that follow from the result, so that anyone can draw them again.
//!
//! An agent knows them once it knows its result, and could look for a wrong tile that passes. What stands against that is
//! redundancy; a nonce that is drawn after the result was committed would be a matter of policy, not of this family.

use alloc::vec::Vec;
use forge_event::Digest;

/// Words by BLAKE3 of (result's blob, tile, product, block).
#[derive(Clone, Debug)]
pub struct Draws {
    seed: Vec<u8>,
    block: u64,
    words: [u8; 32],
    used: usize,
}

impl Draws {
    /// The words of one product of a tile.
    pub fn new(blob: &Digest, tile: u64, product: u64) -> Draws {
        let seed = [&blob.0[..], &tile.to_le_bytes(), &product.to_le_bytes()].concat();
        Draws { seed, block: 0, words: [0; 32], used: 32 }
    }

    /// The next word; uniform.
    pub fn word(&mut self) -> u32 {
        if self.used == 32 {
            self.words = Digest::of(&[&self.seed[..], &self.block.to_le_bytes()].concat()).0;
            self.block += 1;
            self.used = 0;
        }
        let word: [u8; 4] = self.words[self.used..self.used + 4].try_into().expect("four bytes of a digest");
        self.used += 4;
        u32::from_le_bytes(word)
    }

    /// A place below `end`, which is not 0; near enough to uniform.
    pub fn below(&mut self, end: usize) -> usize {
        let word = (u64::from(self.word()) << 32) | u64::from(self.word());
        ((u128::from(word) * end as u128) >> 64) as usize
    }
}
