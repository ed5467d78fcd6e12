//! Verdicts on the results of this turn, what follows for their shards, and their pay.

use super::Deciding;
use crate::aggregator::Pending;
use crate::jobs::Failure;
use crate::scratch::{Limbo, Unpaid};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use forge_event::*;

/// Attempts a shard gets unless the job says otherwise.
const ATTEMPTS_MAX: u16 = 5;
/// Attempts after which a code that its family calls final ends the job: one agent alone cannot.
const FINAL_ATTEMPTS: u16 = 2;
/// Requeued shards a job may have on record at once.
const EXCEPTIONS_MAX: u64 = 65_536;

/// A delivery's verdict.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Accept,
    Refuse(RefusalCode),
}

impl Deciding<'_> {
    /// Accepts or refuses every delivery of this turn, in the order they came.
    pub(super) fn results(&mut self) {
        while let Some((agent, first)) = self.world.turn.undecided.front().copied() {
            let (lease, verdict) = self.verdict(agent, first);
            let mut shards = Runs::one(lease.shard);
            // As many of the following as share agent, job, attempt, receipt and verdict.
            for n in 1.. {
                let next = self.world.turn.undecided.get(n).copied();
                let Some((_, position)) = next.filter(|(a, _)| *a == agent) else { break };
                let (other, other_verdict) = self.verdict(agent, position);
                let follows = (other.job, other.attempt) == (lease.job, lease.attempt)
                    && other.shard > shards.0.last().map_or(0, |r| r.last)
                    && self.received(agent, position) == self.received(agent, first);
                if !follows || other_verdict != verdict {
                    break;
                }
                shards.push(other.shard);
            }
            let LeaseId { job, attempt, .. } = lease;
            match verdict {
                Verdict::Accept => {
                    self.push(ResultAccepted { job, agent, attempt, shards, class: Class::Structural });
                }
                Verdict::Refuse(code) => {
                    self.push(ResultRefused { job, agent, attempt, shards, code });
                    self.requeue_limbo();
                }
            }
        }
    }

    fn pending(&self, agent: AgentId, position: u64) -> &Pending {
        self.world.aggregator.pending.get(agent, position).expect("undecided deliveries are pending")
    }

    fn received(&self, agent: AgentId, position: u64) -> EventIndex {
        self.pending(agent, position).received
    }

    fn verdict(&self, agent: AgentId, position: u64) -> (LeaseId, Verdict) {
        let pending = self.pending(agent, position);
        let lease = pending.lease;
        let verdict = if self.world.job(lease.job).ended.is_some() {
            Verdict::Refuse(RefusalCode::Closed)
        } else if !self.world.scheduler.leases.holds(agent, lease) {
            let done = self.world.scheduler.work.get(&lease.job).is_some_and(|w| w.done.contains(lease.shard));
            Verdict::Refuse(if done { RefusalCode::Duplicate } else { RefusalCode::NoLease })
        } else if pending.checks.bits != 0 {
            Verdict::Refuse(RefusalCode::BadResult)
        } else {
            Verdict::Accept
        };
        (lease, verdict)
    }

    /// Requeues what facts of this turn took from its agents.
    pub(super) fn reported_failures(&mut self) {
        self.requeue_limbo();
    }

    /// Requeues every shard in limbo, unless its job is over or has to fail for it.
    pub(super) fn requeue_limbo(&mut self) {
        while let Some(limbo) = self.world.turn.limbo.front().cloned() {
            if self.world.job(limbo.job).ended.is_some() {
                self.world.turn.limbo.pop_front();
                continue;
            }
            let Limbo { job, shards, reason, attempt, code, .. } = limbo;
            self.requeue(ShardRequeued { job, shards, reason, attempt }, code);
        }
    }

    /// Gives shards back to the queue, and fails their job if that happened too often.
    pub(super) fn requeue(&mut self, requeued: ShardRequeued, code: Option<String>) {
        let ShardRequeued { job, ref shards, reason, attempt } = requeued;
        let attempts_max = self.world.job(job).submitted.limits.max_attempts.unwrap_or(ATTEMPTS_MAX);
        let first = shards.0.first().map_or(0, |r| r.first);
        let resumed = match reason.leaves_checkpoints() {
            true => self.world.left_behind(job, attempt, shards),
            false => Vec::new(),
        };
        self.push(requeued);
        for resumed in resumed {
            self.push(resumed);
        }
        let exceptions = self.world.scheduler.work.get(&job).map_or(0, |w| w.retries.len());
        // An agent that went away, or did not sign, says nothing about the shard.
        let blame = !matches!(reason, RequeueReason::Revoked | RequeueReason::Voided);
        let last = code.filter(|_| attempt >= FINAL_ATTEMPTS);
        let last = last.and_then(|code| self.advice(job, &code).map(|advice| (code, advice)));
        if let Some((code, advice)) = last {
            let detail = alloc::format!("shard {job}.{first} ended with {code} {attempt} times: {advice}");
            self.fail(job, Failure { code, detail });
        } else if (blame && attempt >= attempts_max) || attempt >= AttemptNumber::MAX - 1 {
            let reason = reason.name();
            let detail =
                alloc::format!("shard {job}.{first} ended without a result {attempt} times, the last one {reason}");
            self.fail(job, Failure { code: Failure::ATTEMPTS.into(), detail });
        } else if exceptions > EXCEPTIONS_MAX {
            let detail = alloc::format!("{exceptions} shards had to be requeued; the limit is {EXCEPTIONS_MAX}");
            self.fail(job, Failure { code: Failure::EXCEPTIONS.into(), detail });
        }
    }

    /// What its family says of a code; `None` if that code ends no job.
    fn advice(&self, job: JobId, code: &str) -> Option<&'static str> {
        let submitted = &self.world.job(job).submitted;
        let family = self.families.family(&submitted.kind, submitted.family_version)?;
        family.is_final(code).then(|| family.advice(code))
    }

    /// Accrues pay for the results accepted in this turn, those of one job or all: one a (job, provider, rate).
    pub(super) fn pay(&mut self, only: Option<JobId>) {
        let mut by_payee: BTreeMap<(JobId, ProviderId), Vec<Unpaid>> = BTreeMap::new();
        for unpaid in self.world.turn.unpaid.iter().filter(|u| only.is_none_or(|job| u.job == job)) {
            let provider = self.world.agent(unpaid.agent).provider;
            by_payee.entry((unpaid.job, provider)).or_default().push(unpaid.clone());
        }
        for ((job, provider), unpaid) in by_payee {
            let hold = self.world.job(job).hold.expect("only an admitted job has results");
            let count = unpaid.iter().map(|u| u.shards.count()).sum();
            let results = unpaid
                .into_iter()
                .map(|u| PaidResults { agent: u.agent, attempt: u.attempt, shards: u.shards })
                .collect();
            self.push(CreditAccrued {
                job,
                provider,
                purpose: Purpose::Result,
                results,
                count,
                rate: hold.rate,
                prices: hold.prices,
            });
        }
    }
}
