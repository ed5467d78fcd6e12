//! Each accepted result is paid once, in its turn, at its job's rate; a void takes back what was paid.
//! Told from events, compared with the books.

use super::{Invariant, Seen, ensure};
use forge_event::*;
use forge_projections::World;
use forge_projections::accounting::Account;
use std::collections::{BTreeMap, BTreeSet};

type Paid = (AgentId, LeaseId);

#[derive(Default)]
pub struct CreditsPaidOnce {
    unpaid: BTreeSet<Paid>,
    paid: BTreeSet<Paid>,
    /// Results paid and not voided, and the job's hold.
    jobs: BTreeMap<JobId, (u64, u128)>,
}

fn leases(job: JobId, agent: AgentId, attempt: AttemptNumber, shards: &Runs) -> impl Iterator<Item = Paid> + '_ {
    shards.iter().map(move |shard| (agent, LeaseId { job, shard, attempt }))
}

impl Invariant for CreditsPaidOnce {
    fn name(&self) -> &'static str {
        "credits_paid_once"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let Seen::Committed { turn, world, .. } = seen else { return Ok(()) };
        let mut touched = BTreeSet::new();
        for (index, event) in turn.turn.events() {
            self.event(event, &mut touched).map_err(|why| format!("event {index}: {why}"))?;
        }
        let left = std::mem::take(&mut self.unpaid);
        ensure(left.is_empty(), || format!("turn {} leaves {} results unpaid", turn.head.turns, left.len()))?;
        touched.into_iter().try_for_each(|job| self.books(job, world))
    }
}

impl CreditsPaidOnce {
    fn event(&mut self, event: &Event, touched: &mut BTreeSet<JobId>) -> Result<(), String> {
        match event {
            Event::CreditHeld(e) => {
                self.jobs.insert(e.job, (0, e.amount.0));
                touched.insert(e.job);
            }
            Event::ResultAccepted(e) => self.unpaid.extend(leases(e.job, e.agent, e.attempt, &e.shards)),
            Event::CreditAccrued(e) => {
                touched.insert(e.job);
                for results in &e.results {
                    for paid in leases(e.job, results.agent, results.attempt, &results.shards) {
                        let due = self.unpaid.remove(&paid) && self.paid.insert(paid);
                        ensure(due, || format!("{} is paid though nothing is due for it", paid.1))?;
                        self.jobs.entry(e.job).or_default().0 += 1;
                    }
                }
            }
            Event::CreditVoided(e) => {
                touched.insert(e.job);
                for results in &e.results {
                    for paid in leases(e.job, results.agent, results.attempt, &results.shards) {
                        ensure(self.paid.remove(&paid), || format!("{} is voided though not paid", paid.1))?;
                        self.jobs.entry(e.job).or_default().0 -= 1;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn books(&self, id: JobId, world: &World) -> Result<(), String> {
        let (paid, held) = self.jobs.get(&id).copied().unwrap_or_default();
        let Some(job) = world.jobs.jobs.get(&id) else { return Err(format!("{id} is paid for and unknown")) };
        let Some(hold) = job.hold else { return Err(format!("{id} is paid for without a hold")) };
        // Prices here are whole micro-credits, so that no floor hides a difference.
        let due = hold.rate.of(u128::from(paid));
        ensure(job.charged == due, || format!("{id} is charged {} for {paid} results, due is {due}", job.charged))?;
        if job.ended.is_some() {
            return Ok(());
        }
        let escrow = world.accounting.balance(Account::JobEscrow(id));
        let left = held as i128 - due as i128;
        ensure(escrow == left, || format!("{id} has {escrow} in escrow after {paid} results; {left} should be left"))
    }
}
