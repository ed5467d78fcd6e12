//! Delivers for leases that it does not hold (its nodes are sloppy), and sometimes wrong bytes for its own.

use super::Behaviour;
use crate::dice::Dice;

pub struct Liar;

impl Behaviour for Liar {
    fn takes_ms(&mut self, _honest_ms: u64, _released: bool, dice: &mut Dice) -> Option<u64> {
        Some(dice.between(0, 10))
    }

    fn result(&mut self, mut honest: Vec<u8>, dice: &mut Dice) -> Vec<u8> {
        if dice.chance(60) {
            honest.push(1);
        }
        honest
    }
}
