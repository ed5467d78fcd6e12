//! Takes shards and does not finish them.

use super::Behaviour;
use crate::dice::Dice;

pub struct Staller {
    /// Even when the faults are over.
    pub for_ever: bool,
}

impl Behaviour for Staller {
    fn takes_ms(&mut self, honest_ms: u64, released: bool, dice: &mut Dice) -> Option<u64> {
        if released && !self.for_ever {
            return Some(honest_ms);
        }
        (!self.for_ever && dice.chance(300)).then(|| honest_ms + dice.between(0, 200))
    }
}
