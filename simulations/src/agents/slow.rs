//! Takes its time over every shard.

use super::Behaviour;
use crate::dice::Dice;

pub struct Slow;

impl Behaviour for Slow {
    fn takes_ms(&mut self, honest_ms: u64, _released: bool, dice: &mut Dice) -> Option<u64> {
        Some(honest_ms * 4 + dice.between(50, 600))
    }
}
