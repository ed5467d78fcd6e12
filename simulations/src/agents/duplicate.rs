//! Says everything twice: results, and sometimes its whole session.

use super::Behaviour;
use crate::dice::Dice;

pub struct Duplicate;

impl Behaviour for Duplicate {
    fn repeats(&mut self, dice: &mut Dice) -> bool {
        dice.chance(700)
    }

    fn doubles(&mut self, dice: &mut Dice) -> bool {
        dice.chance(300)
    }
}
