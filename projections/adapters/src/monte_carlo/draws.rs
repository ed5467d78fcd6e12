//! A batch's uniforms and normals by word number, for models that do not take them in one fixed loop.

use super::as241;
use super::model::{LANES, Lanes};
use super::philox::{Key, fill, uniform};

/// The words of a batch of samples, one block at a time.
#[derive(Debug)]
pub struct Draws {
    key: Key,
    first: u64,
    count: usize,
    /// The block whose words are held.
    block: Option<u64>,
    words: [[u64; LANES]; 4],
}

impl Draws {
    /// The draws of a job.
    pub fn new(seed: u64, stream: u64) -> Draws {
        Draws { key: Key::new(seed, stream), first: 0, count: 0, block: None, words: [[0; LANES]; 4] }
    }

    /// Turns to the samples `first`, `first + 1`, …. Shape: at most [`LANES`].
    pub fn turn_to(&mut self, first: u64, count: usize) {
        (self.first, self.count, self.block) = (first, count, None);
    }

    /// Word `word` of each sample as a uniform. Ascending words cost least.
    pub fn uniforms(&mut self, word: u64, out: &mut Lanes) {
        let block = word / 4;
        if self.block != Some(block) {
            fill(&self.key, self.first, block, self.count, &mut self.words);
            self.block = Some(block);
        }
        for (out, word) in out[..self.count].iter_mut().zip(&self.words[(word % 4) as usize]) {
            *out = uniform(*word);
        }
    }

    /// Word `word` of each sample as a normal.
    pub fn normals(&mut self, word: u64, out: &mut Lanes) {
        self.uniforms(word, out);
        as241::normals(&mut out[..self.count]);
    }
}
