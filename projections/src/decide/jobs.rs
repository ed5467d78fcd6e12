//! Admission and the ends of jobs.

use super::Deciding;
use crate::accounting::Account;
use crate::jobs::Failure;
use crate::world::World;
use forge_event::*;

impl Deciding<'_> {
    /// Jobs whose result document came in this turn.
    pub(super) fn successes(&mut self) {
        while let Some(id) = self.world.turn.reduced.first().copied() {
            self.world.turn.reduced.remove(0);
            let job = self.world.job(id);
            let Some(result) = job.result.clone().filter(|_| job.ended.is_none()) else { continue };
            let (structural, evidence) = (job.shard_count, job.evidence);
            self.push(JobSucceeded {
                job: id,
                version: result.version,
                digest: result.digest,
                bytes: result.bytes,
                structural,
                evidence,
            });
            self.release(id);
        }
    }

    /// Jobs whose cancellation was asked for in this turn.
    pub(super) fn cancellations(&mut self) {
        while let Some((job, asked)) = self.world.turn.cancels.first().copied() {
            if self.world.job(job).ended.is_none() {
                let reason = self.world.turn.reasons.get(&asked).cloned();
                self.push(JobCancelled { job, reason });
                self.release(job);
            }
            self.world.turn.cancels.remove(0);
        }
    }

    /// Jobs that have to fail: effects that failed or crashed, deadlines that passed.
    pub(super) fn failures(&mut self) {
        while let Some(doom) = self.world.turn.doomed.first().cloned() {
            self.fail(doom.job, doom.failure);
            self.world.turn.doomed.retain(|d| d.job != doom.job);
        }
        while let Some(((end, job), ())) = self.world.jobs.deadlines.first() {
            if *end > self.world.at {
                break;
            }
            let job = *job;
            let limit = self.world.job(job).submitted.limits.deadline_ms.unwrap_or(0);
            let failure = Failure {
                code: Failure::DEADLINE.into(),
                detail: alloc::format!("the job was not finished {limit} ms after its submission"),
            };
            self.fail(job, failure);
        }
    }

    pub(super) fn fail(&mut self, job: JobId, failure: Failure) {
        if self.world.job(job).ended.is_none() {
            self.push(JobFailed { job, code: failure.code, detail: failure.detail });
            self.release(job);
        }
    }

    /// Gives back what the job did not use.
    fn release(&mut self, job: JobId) {
        let Some(hold) = self.world.job(job).hold else { return };
        // What this turn accepted before the job ended is paid from the escrow that is about to go.
        self.pay(Some(job));
        let left = self.world.accounting.balance(Account::JobEscrow(job));
        let amount = Credits(left.unsigned_abs());
        self.push(CreditReleased { job, of: hold.transfer, amount });
    }

    /// Admits the jobs planned in this turn, then those that waited and can be paid now.
    pub(super) fn admissions(&mut self) {
        while let Some(job) = self.world.turn.planned.first().copied() {
            self.world.turn.planned.remove(0);
            if self.world.job(job).ended.is_none() {
                self.admit_or_fail(job);
            }
        }
        while let Some((project, ())) = self.world.jobs.payable.first() {
            let project = *project;
            if self.is_spent() {
                return;
            }
            let job = self.world.first_waiting(project).expect("a payable project has a waiting job");
            let cost = self.world.cost(job).expect("a payable project can pay its first waiting job");
            self.admit(job, cost);
        }
    }

    fn admit_or_fail(&mut self, id: JobId) {
        match self.world.cost(id) {
            Ok(cost) => self.admit(id, cost),
            Err(failure) if self.world.job(id).submitted.allow_wait && failure.code != Failure::NO_PRICE => {}
            Err(failure) => self.fail(id, failure),
        }
    }

    fn admit(&mut self, job: JobId, cost: Credits) {
        let first = self.world.job(job).hold.is_none();
        self.push(CreditHeld { job, amount: cost });
        if first {
            self.push(JobAdmitted { job, max_cost: cost });
        }
    }
}

impl World {
    pub(crate) fn first_waiting(&self, project: ProjectId) -> Option<JobId> {
        let waiting = &self.jobs.waiting_for_credits;
        let ((p, job), ()) = waiting.range_from(&(project, JobId(0))).next()?;
        (*p == project).then_some(*job)
    }

    /// Notes whether the project's first waiting job can be paid now: first come, first served.
    pub(crate) fn review_waiting(&mut self, project: ProjectId) {
        let payable = self.first_waiting(project).is_some_and(|job| self.cost(job).is_ok());
        if payable {
            self.jobs.payable.insert(project, ());
        } else {
            self.jobs.payable.remove(&project);
        }
    }

    /// What the job can cost at most, if its project can hold that.
    pub(crate) fn cost(&self, id: JobId) -> Result<Credits, Failure> {
        let job = self.job(id);
        let refuse = |detail| Failure { code: Failure::QUOTA.into(), detail };
        let Some((_, rate)) = self.price_of(id) else {
            let detail = alloc::format!("no price is set for kind {}", job.submitted.kind);
            return Err(Failure { code: Failure::NO_PRICE.into(), detail });
        };
        // Each stage is held for when it is planned.
        let stage = job.stages.last().expect("only a planned job has a cost");
        let cost = Credits(rate.of(u128::from(stage.shards.count())));
        let held = job.hold.map_or(0, |hold| hold.amount.0);
        let project = self.projects.projects.get(&job.project()).expect("a job's project exists");
        let available = self.accounting.balance(Account::ProjectAvailable(job.project()));
        let available = Credits(u128::try_from(available).unwrap_or(0));
        let whole = Credits(held + cost.0);
        if let Some(max) = job.submitted.limits.max_credits.filter(|max| whole > *max) {
            return Err(refuse(alloc::format!("the plan may cost {whole} credits; limits.max_credits is {max}")));
        }
        let vmem_bytes_max = project.vmem_bytes_max();
        if project.vmem_bytes + stage.mid_bytes > vmem_bytes_max {
            let detail = alloc::format!(
                "the job may keep {} bytes between its results; open jobs of project {} may keep {}, the budget is {vmem_bytes_max}",
                stage.mid_bytes,
                job.project(),
                project.vmem_bytes
            );
            return Err(Failure { code: Failure::MID_BUDGET.into(), detail });
        }
        if cost > available {
            return Err(refuse(alloc::format!(
                "the plan may cost {cost} credits; project {} has {available} available ({} in escrow)",
                job.project(),
                Credits(project.escrow)
            )));
        }
        match project.quota.credits {
            Some(quota) if project.escrow + cost.0 > quota.0 => Err(refuse(alloc::format!(
                "the plan may cost {cost} credits; {} are in escrow and the quota is {quota}",
                Credits(project.escrow)
            ))),
            _ => Ok(cost),
        }
    }
}
