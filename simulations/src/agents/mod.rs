//! Agents: one driver around the real session machine, and one temperament a file.

mod driver;
mod duplicate;
mod flaky;
mod honest;
mod late;
mod liar;
mod slow;
mod staller;

pub(crate) use driver::{Agent, run};

use crate::dice::Dice;
use crate::plan::Temper;
use std::time::Duration;

/// What an agent does differently from an honest one. `released`: the faults are over.
pub trait Behaviour: Send {
    /// How long a shard takes that honestly takes `honest_ms`; `None`: it is never finished.
    fn takes_ms(&mut self, honest_ms: u64, _released: bool, dice: &mut Dice) -> Option<u64> {
        Some(honest_ms + dice.between(0, 20))
    }

    /// What it says the result is.
    fn result(&mut self, honest: Vec<u8>, _dice: &mut Dice) -> Vec<u8> {
        honest
    }

    /// Whether it sends a result twice.
    fn repeats(&mut self, _dice: &mut Dice) -> bool {
        false
    }

    /// Whether it opens a second session beside its own.
    fn doubles(&mut self, _dice: &mut Dice) -> bool {
        false
    }

    /// When it breaks its connection; `None`: it does not.
    fn leaves_after(&mut self, _released: bool, _dice: &mut Dice) -> Option<Duration> {
        None
    }

    /// How long it stays away then.
    fn stays_away(&mut self, dice: &mut Dice) -> Duration {
        dice.ms(20, 300)
    }

    /// Whether it forgets everything then: its process died.
    fn forgets(&mut self, _dice: &mut Dice) -> bool {
        false
    }
}

/// The behaviour of a temper.
pub fn behaviour(temper: Temper, stall_for_ever: bool) -> Box<dyn Behaviour> {
    match temper {
        Temper::Honest => Box::new(honest::Honest),
        Temper::Slow => Box::new(slow::Slow),
        Temper::Flaky => Box::new(flaky::Flaky),
        Temper::Late => Box::new(late::Late),
        Temper::Duplicate => Box::new(duplicate::Duplicate),
        Temper::Liar => Box::new(liar::Liar),
        Temper::Staller => Box::new(staller::Staller { for_ever: stall_for_ever }),
    }
}
