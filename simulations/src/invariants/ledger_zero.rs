//! The accounts sum to zero after every turn, and none that must not is negative.

use super::{Invariant, Seen, ensure};

pub struct LedgerZero;

impl Invariant for LedgerZero {
    fn name(&self) -> &'static str {
        "ledger_zero"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let Seen::Committed { turn, world, .. } = seen else { return Ok(()) };
        let sum = world.accounting.sum();
        ensure(sum == 0, || format!("after turn {} the accounts sum to {sum}", turn.head.turns))?;
        let mut accounts = world.accounting.balances.iter();
        let negative = accounts.find(|(account, balance)| **balance < 0 && !account.may_be_negative());
        ensure(negative.is_none(), || format!("after turn {} an account is {negative:?}", turn.head.turns))
    }
}
