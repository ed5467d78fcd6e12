//! Postings: what events move between accounts.

use super::{Account, Accounting, Accrual, Entry};
use crate::aggregator::Outcome;
use crate::world::{Meta, World};
use alloc::vec::Vec;
use forge_event::*;

/// The parts of a charge.
#[derive(Clone, Copy)]
struct Split {
    charge: u128,
    payout: u128,
    fee: u128,
    verification: u128,
}

impl Split {
    fn rounding(&self) -> u128 {
        self.charge - self.payout - self.fee - self.verification
    }
}

/// The legs that move something.
fn legs(legs: impl IntoIterator<Item = (Account, i128)>) -> Vec<Entry> {
    legs.into_iter().filter(|(_, a)| *a != 0).map(|(account, amount)| Entry { account, amount }).collect()
}

fn moved(from: Account, to: Account, amount: Credits) -> Vec<Entry> {
    let amount = signed(amount.0);
    legs([(from, -amount), (to, amount)])
}

fn charged(e: &CreditAccrued, s: Split) -> Vec<Entry> {
    legs([
        (Account::JobEscrow(e.job), -signed(s.charge)),
        (Account::ProviderHeld(e.provider), signed(s.payout)),
        (Account::HubFee, signed(s.fee)),
        (Account::HubVerification, signed(s.verification)),
        (Account::HubRounding, signed(s.rounding())),
    ])
}

/// F(u): the amounts for `count` results.
fn split(prices: &PolicyChanged, rate: Rate, count: u64) -> Split {
    let charge = rate.of(u128::from(count));
    Split {
        charge,
        payout: prices.payout.of(charge),
        fee: prices.fee.of(charge),
        verification: prices.verification.of(charge),
    }
}

fn signed(amount: u128) -> i128 {
    i128::try_from(amount).expect("amounts are capped at admission")
}

impl Accounting {
    /// A seal covers one more result of an accrual; with the last one nothing can void it any more.
    pub(crate) fn seal_accrued(&mut self, transfer: TransferId) {
        let Some(accrual) = self.accruals.get_mut(&transfer) else { return };
        accrual.unsealed -= 1;
        if accrual.unsealed == 0 {
            self.accruals.remove(&transfer);
        }
    }
}

impl World {
    /// Moves money.
    ///
    /// # Panics
    /// If the legs do not sum to zero, or an account that may not would be negative.
    fn post(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        assert!(entries.iter().map(|e| e.amount).sum::<i128>() == 0, "the legs of a transfer sum to zero");
        for entry in &entries {
            let balance = self.accounting.balance(entry.account) + entry.amount;
            assert!(balance >= 0 || entry.account.may_be_negative(), "{} would be negative", entry.account);
            if balance == 0 {
                self.accounting.balances.remove(&entry.account);
            } else {
                self.accounting.balances.insert(entry.account, balance);
            }
            if let Account::JobEscrow(job) = entry.account {
                let project = self.job(job).project();
                if let Some(project) = self.projects.projects.get_mut(&project) {
                    project.escrow =
                        project.escrow.checked_add_signed(entry.amount).expect("escrow is a sum of balances");
                }
            }
        }
        entries
    }

    /// The legs of a transfer that follow from its event and any later state; `None`: only the fold knows them.
    pub(crate) fn legs_of(&self, event: &Event) -> Option<Vec<Entry>> {
        let available = |job: JobId| self.jobs.jobs.get(&job).map(|j| Account::ProjectAvailable(j.project()));
        Some(match event {
            Event::CreditsIssued(e) => moved(Account::EquityIssued, Account::ProjectAvailable(e.project), e.amount),
            Event::CreditHeld(e) => moved(available(e.job)?, Account::JobEscrow(e.job), e.amount),
            Event::CreditAccrued(e) => charged(e, split(self.cluster.prices.get(&e.prices)?, e.rate, e.count)),
            Event::CreditReleased(e) => moved(Account::JobEscrow(e.job), available(e.job)?, e.amount),
            _ => return None,
        })
    }

    pub(crate) fn post_of(&mut self, event: &Event) -> Vec<Entry> {
        let legs = self.legs_of(event).expect("admission and policy name only jobs and prices that exist");
        self.post(legs)
    }

    pub(crate) fn credits_issued(&mut self, event: &Event, e: &CreditsIssued) -> Meta {
        let entries = self.post_of(event);
        self.review_waiting(e.project);
        Meta { entries, ..Meta::of(e.project) }
    }

    /// Charge and payout of an accrual; `None` if its prices are not known.
    pub(crate) fn charge_of(&self, e: &CreditAccrued) -> Option<(Credits, Credits)> {
        let s = split(self.cluster.prices.get(&e.prices)?, e.rate, e.count);
        Some((Credits(s.charge), Credits(s.payout)))
    }

    pub(crate) fn credit_accrued(&mut self, index: EventIndex, event: &Event, e: &CreditAccrued) -> Meta {
        let project = self.touch(e.job, index);
        let mut meta = Meta::of(project);
        let transfer = TransferId::born_at(index);
        for paid in &e.results {
            let at = self.turn.unpaid.iter().position(|u| {
                u.job == e.job && u.agent == paid.agent && u.attempt == paid.attempt && u.shards == paid.shards
            });
            let unpaid = at.and_then(|at| self.turn.unpaid.remove(at)).expect("only accepted results are paid");
            meta.add_cause(unpaid.accepted);
            self.mark_paid(&unpaid, transfer);
        }
        let prices = self.cluster.prices.get(&e.prices).expect("admission checked the version");
        let s = split(prices, e.rate, e.count);
        self.job_mut(e.job).charged += s.charge;
        meta.entries = self.post_of(event);
        // What is paid is in escrow no more: under a quota that is room for who waits.
        self.review_waiting(project);
        let accrual = Accrual {
            job: e.job,
            provider: e.provider,
            rate: e.rate,
            prices: e.prices,
            pending: e.count,
            unsealed: e.count,
        };
        self.accounting.accruals.insert(transfer, accrual);
        let mut earnings = self.accounting.earnings.get(&e.provider).copied().unwrap_or_default();
        earnings.earned += s.payout;
        self.accounting.earnings.insert(e.provider, earnings);
        meta
    }

    /// Ties the pending results to the accrual that pays them.
    fn mark_paid(&mut self, unpaid: &crate::scratch::Unpaid, transfer: TransferId) {
        // They were received in this turn, so they stand among the agent's newest.
        let mut left = unpaid.shards.count();
        let window = self.aggregator.pending.of_mut(unpaid.agent).expect("received in this turn");
        let mut newest = window.newest();
        while left > 0 {
            let pending = newest.next().expect("received in this turn");
            let lease = pending.lease;
            let named = lease.job == unpaid.job
                && lease.attempt == unpaid.attempt
                && unpaid.shards.contains(lease.shard)
                && pending.outcome == Outcome::Accepted;
            if named && pending.accrual.is_none() {
                pending.accrual = Some(transfer);
                left -= 1;
            }
        }
    }

    pub(crate) fn credit_voided(&mut self, e: &CreditVoided) -> Meta {
        let index = self.turn.index;
        let project = self.touch(e.job, index);
        let mut meta = Meta::of(project);
        let count: u64 = e.results.iter().map(|r| r.shards.count()).sum();
        for result in &e.results {
            for shard in result.shards.iter() {
                let lease = LeaseId { job: e.job, shard, attempt: result.attempt };
                let cause = self.void_pay(result.agent, lease);
                meta.add_cause(cause);
            }
            self.renew_seal_wait(result.agent);
        }
        let accrual = self.accounting.accruals.get(&e.of).cloned().expect("a void names a pending accrual");
        let prices = self.cluster.prices.get(&accrual.prices).expect("prices are kept");
        let (before, after) =
            (split(prices, accrual.rate, accrual.pending), split(prices, accrual.rate, accrual.pending - count));
        let (charge, payout) = (before.charge - after.charge, before.payout - after.payout);
        let ended = self.job(e.job).ended.is_some();
        let to = if ended { Account::ProjectAvailable(project) } else { Account::JobEscrow(e.job) };
        meta.entries = self.post_refund(accrual.provider, (before, after), to);
        self.job_mut(e.job).charged -= charge;
        self.review_waiting(project);
        if let Some(accrual) = self.accounting.accruals.get_mut(&e.of) {
            accrual.pending -= count;
            accrual.unsealed -= count;
            if accrual.unsealed == 0 {
                self.accounting.accruals.remove(&e.of);
            }
        }
        let mut earnings = self.accounting.earnings.get(&accrual.provider).copied().unwrap_or_default();
        earnings.clawed_back += payout;
        self.accounting.earnings.insert(accrual.provider, earnings);
        meta
    }

    /// Voids one result for the books; gives the event that made it void.
    fn void_pay(&mut self, agent: AgentId, lease: LeaseId) -> EventIndex {
        let at = self.turn.unvoided.iter().position(|u| u.lease == lease && u.agent == agent);
        if let Some(unvoided) = at.and_then(|at| self.turn.unvoided.remove(at)) {
            return unvoided.cause;
        }
        let position = self.unsealed_position(agent, lease).expect("only an accepted, unsealed result is voided");
        self.void_pending(agent, position);
        self.job(lease.job).ended.expect("an open job's shard is requeued first")
    }

    /// F(u) − F(u−k) of each amount; the rounding may also grow.
    fn post_refund(&mut self, provider: ProviderId, (before, after): (Split, Split), to: Account) -> Vec<Entry> {
        let less = |f: fn(&Split) -> u128| signed(f(&after)) - signed(f(&before));
        self.post(legs([
            (to, -less(|s| s.charge)),
            (Account::ProviderHeld(provider), less(|s| s.payout)),
            (Account::HubFee, less(|s| s.fee)),
            (Account::HubVerification, less(|s| s.verification)),
            (Account::HubRounding, less(Split::rounding)),
        ]))
    }

    pub(crate) fn credit_released(&mut self, event: &Event, e: &CreditReleased) -> Meta {
        let index = self.turn.index;
        let project = self.touch(e.job, index);
        let entries = self.post_of(event);
        self.review_waiting(project);
        let ended = self.job(e.job).ended.expect("only an ended job's hold is released");
        Meta { entries, ..Meta::of(project).because(ended) }
    }
}
