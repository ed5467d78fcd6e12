//! Goes away with its leases for longer than the grace, and then delivers all the same.

use super::Behaviour;
use crate::dice::Dice;
use std::time::Duration;

pub struct Late;

impl Behaviour for Late {
    fn takes_ms(&mut self, honest_ms: u64, _released: bool, dice: &mut Dice) -> Option<u64> {
        Some(honest_ms + dice.between(0, 400))
    }

    fn leaves_after(&mut self, released: bool, dice: &mut Dice) -> Option<Duration> {
        (!released).then(|| dice.ms(500, 5_000))
    }

    fn stays_away(&mut self, dice: &mut Dice) -> Duration {
        dice.ms(9_000, 40_000)
    }
}
