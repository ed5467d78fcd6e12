//! Seeded randomness, one stream a purpose: adding a draw in one place moves no other place's luck.

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use std::time::Duration;

/// A stream of luck.
#[derive(Debug)]
pub struct Dice(StdRng);

impl Dice {
    /// The stream of `purpose` under `seed`.
    pub fn of(seed: u64, purpose: &str) -> Dice {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes()).update(purpose.as_bytes());
        Dice(StdRng::from_seed(*hasher.finalize().as_bytes()))
    }

    /// A number below `end`; 0 if `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.0.random_range(0..end) }
    }

    /// A number of `first..=last`.
    pub fn between(&mut self, first: u64, last: u64) -> u64 {
        self.0.random_range(first..=last.max(first))
    }

    /// True `permille` times of a thousand.
    pub fn chance(&mut self, permille: u32) -> bool {
        self.0.random_range(0..1000) < permille
    }

    /// `first..=last` milliseconds.
    pub fn ms(&mut self, first: u64, last: u64) -> Duration {
        Duration::from_millis(self.between(first, last))
    }

    /// One of `from`.
    ///
    /// # Panics
    /// If there is none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}
