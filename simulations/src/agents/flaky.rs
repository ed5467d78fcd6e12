//! Breaks its connection again and again, comes back elsewhere, and sometimes forgets everything.

use super::Behaviour;
use crate::dice::Dice;
use std::time::Duration;

pub struct Flaky;

impl Behaviour for Flaky {
    fn takes_ms(&mut self, honest_ms: u64, _released: bool, dice: &mut Dice) -> Option<u64> {
        Some(honest_ms + dice.between(0, 300))
    }

    fn leaves_after(&mut self, released: bool, dice: &mut Dice) -> Option<Duration> {
        (!released).then(|| dice.ms(150, 2_500))
    }

    fn forgets(&mut self, dice: &mut Dice) -> bool {
        dice.chance(200)
    }
}
