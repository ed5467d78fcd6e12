//! What events do to jobs.

use super::{Failure, Hold, Job, JobResult, JobState, Running, Stage};
use crate::aggregator::Mid;
use crate::family::{Families, Plan};
use crate::scheduler::{Fresh, Work};
use crate::scratch::Doom;
use crate::world::{Meta, World};
use alloc::sync::Arc;
use alloc::vec::Vec;
use forge_event::*;

impl World {
    pub(crate) fn job_submitted(&mut self, index: EventIndex, by: Option<&By>, e: &JobSubmitted) -> Meta {
        let id = JobId::born_at(index);
        let job = Job {
            submitted: Arc::new(e.clone()),
            by: by.copied().unwrap_or_default(),
            created_at: self.at,
            updated: index,
            updated_at: self.at,
            state: JobState::Planning,
            stages: Vec::new(),
            running: None,
            hold: None,
            shard_count: 0,
            accepted_count: 0,
            begun_count: 0,
            closed_count: 0,
            in_flight_count: 0,
            failed_attempt_count: 0,
            residence_16ms: 0,
            error: None,
            result: None,
            evidence: Digest::default(),
            ended: None,
            charged: 0,
        };
        self.jobs.jobs.insert(id, job);
        self.jobs.by_project.insert((e.project, id), ());
        self.jobs.effects_due.insert(id, ());
        if let Some(ms) = e.limits.deadline_ms {
            self.jobs.deadlines.insert((self.at.after(DurationMs(ms)), id), ());
        }
        Meta::of(e.project)
    }

    pub(crate) fn effect_started(&mut self, index: EventIndex, e: &EffectStarted) -> Meta {
        let project = self.touch(e.effect.job(), index);
        let job = self.job_mut(e.effect.job());
        job.running = Some(Running { effect: e.effect, try_number: e.try_number, node: e.node, started: index });
        Meta::of(project)
    }

    pub(crate) fn effect_failed(&mut self, index: EventIndex, e: &EffectFailed) -> Meta {
        let job = e.effect.job();
        let project = self.touch(job, index);
        self.job_mut(job).running = None;
        let failure = Failure { code: e.code.clone(), detail: e.detail.clone() };
        self.turn.doomed.push(Doom { job, cause: index, failure });
        Meta::of(project)
    }

    pub(crate) fn stage_planned(&mut self, index: EventIndex, e: &StagePlanned, families: &dyn Families) -> Meta {
        let project = self.touch(e.job, index);
        let submitted = self.job(e.job).submitted.clone();
        let family = families
            .family(&submitted.kind, submitted.family_version)
            .expect("a job is admitted only under a family this program knows");
        let plan =
            Plan { shard_count: e.shards.count(), segments: e.segments, body: e.plan_body.clone(), last: e.last };
        let mid_bytes = family.mid_bytes_max(&submitted.spec, &plan);
        let shard_cost_ns = family.shard_cost_ns(&submitted.spec, &plan);
        let mid = Mid::new(family.mid_state(&submitted.spec, &e.plan_body));
        let job = self.job_mut(e.job);
        job.running = None;
        job.shard_count += e.shards.count();
        job.stages.push(Stage {
            shards: e.shards,
            segments: e.segments,
            plan_body: e.plan_body.clone().into(),
            planned: index,
            last: e.last,
            mid_bytes,
            shard_cost_ns,
        });
        self.aggregator.vmem.insert(e.job, e.stage, mid);
        self.jobs.effects_due.remove(&e.job);
        self.jobs.waiting_for_credits.insert((project, e.job), ());
        // It may stand before those that were first so far.
        self.review_waiting(project);
        self.turn.planned.push(e.job);
        Meta::of(project)
    }

    pub(crate) fn job_admitted(&mut self, index: EventIndex, e: &JobAdmitted) -> Meta {
        let project = self.touch(e.job, index);
        self.jobs.waiting_for_credits.remove(&(project, e.job));
        let job = self.job_mut(e.job);
        job.state = JobState::Queued;
        let hold = job.hold.as_mut().expect("credit.held comes just before job.admitted");
        hold.admitted = index;
        let (submitted, planned) = (job.submitted.clone(), job.stages.last().map(|s| (s.shards, s.planned)));
        let (shards, planned) = planned.expect("only a planned job is admitted");
        let shape = self.shape_of(&submitted.requirements);
        let work = Work {
            project,
            shape,
            priority: submitted.priority,
            fresh: alloc::vec![Fresh { next: shards.first, last: shards.last, origin: index }],
            retries: Default::default(),
            done: Default::default(),
            half_done: Default::default(),
        };
        self.scheduler.work.insert(e.job, work);
        self.enqueue(e.job);
        self.review_waiting(project);
        Meta::of(project).because(planned)
    }

    pub(crate) fn credit_held(&mut self, index: EventIndex, event: &Event, e: &CreditHeld) -> Meta {
        let project = self.touch(e.job, index);
        let (prices, rate) = self.price_of(e.job).expect("a job is held for only under a price");
        let job = self.job_mut(e.job);
        let stage = job.stages.last().expect("only a planned job is held for");
        let (planned, shards, mid_bytes) = (stage.planned, stage.shards, stage.mid_bytes);
        let before = job.hold;
        let first = Hold { transfer: TransferId::born_at(index), amount: Credits(0), admitted: index, prices, rate };
        let hold = job.hold.get_or_insert(first);
        hold.amount.0 += e.amount.0;
        if let Some(project) = self.projects.projects.get_mut(&project) {
            project.vmem_bytes += mid_bytes;
        }
        let mut meta = Meta::of(project).because(planned);
        meta.entries = self.post_of(event);
        if before.is_some() {
            // A later stage of an admitted job: what it lacked was this hold.
            self.jobs.waiting_for_credits.remove(&(project, e.job));
            let work = self.scheduler.work.get_mut(&e.job).expect("an admitted job has work until it ends");
            work.fresh.push(Fresh { next: shards.first, last: shards.last, origin: planned });
            self.enqueue(e.job);
            self.review_waiting(project);
            return meta;
        }
        // The job itself still waits until job.admitted follows; whether others can be paid is settled then.
        self.jobs.payable.remove(&project);
        meta
    }

    /// The prices' version and the rate that a job is or would now be admitted under.
    pub(crate) fn price_of(&self, job: JobId) -> Option<(u32, Rate)> {
        if let Some(hold) = self.job(job).hold {
            return Some((hold.prices, hold.rate));
        }
        let kind = &self.job(job).submitted.kind;
        let prices = self.cluster.prices()?;
        let rate = prices.prices.iter().find(|(k, _)| k == kind).map(|(_, rate)| *rate)?;
        Some((prices.version, rate))
    }

    pub(crate) fn job_reduced(&mut self, index: EventIndex, e: &JobReduced) -> Meta {
        let project = self.touch(e.job, index);
        let job = self.job_mut(e.job);
        job.running = None;
        job.result = Some(JobResult {
            version: e.version,
            digest: e.digest,
            bytes: e.bytes,
            document: e.document.as_deref().map(Into::into),
            reduced: index,
        });
        self.jobs.effects_due.remove(&e.job);
        e.outputs.iter().for_each(|digest| self.keep_blob(project, *digest));
        self.turn.reduced.push(e.job);
        Meta::of(project)
    }

    pub(crate) fn job_succeeded(&mut self, index: EventIndex, e: &JobSucceeded) -> Meta {
        let reduced = self.job(e.job).result.as_ref().map_or(index, |r| r.reduced);
        let project = self.end_job(e.job, index, JobState::Succeeded);
        Meta::of(project).because(reduced)
    }

    pub(crate) fn job_failed(&mut self, index: EventIndex, e: &JobFailed) -> Meta {
        let cause = self.cause_of_failure(e);
        let project = self.end_job(e.job, index, JobState::Failed);
        self.job_mut(e.job).error = Some(Failure { code: e.code.clone(), detail: e.detail.clone() });
        Meta::of(project).because(cause)
    }

    /// Told from the log alone, so that a follower says what the decider said.
    fn cause_of_failure(&self, e: &JobFailed) -> EventIndex {
        let born = EventIndex(e.job.0);
        if let Some(doom) = self.turn.doomed.iter().find(|d| d.job == e.job) {
            return doom.cause;
        }
        match e.code.as_str() {
            Failure::DEADLINE => born,
            Failure::QUOTA | Failure::NO_PRICE | Failure::MID_BUDGET => {
                self.job(e.job).stages.last().map_or(born, |stage| stage.planned)
            }
            // Too many attempts, or a code that the family calls final.
            _ => self.turn.requeued.filter(|(job, _)| *job == e.job).map_or(born, |(_, ended)| ended),
        }
    }

    pub(crate) fn job_cancelled(&mut self, index: EventIndex, e: &JobCancelled) -> Meta {
        let asked = self.turn.cancels.iter().find(|(job, _)| *job == e.job).map(|(_, at)| *at);
        let project = self.end_job(e.job, index, JobState::Cancelled);
        let reason = e.reason.clone().unwrap_or_default();
        self.job_mut(e.job).error = Some(Failure { code: "cancelled".into(), detail: reason });
        Meta::of(project).because(asked.unwrap_or(EventIndex(e.job.0)))
    }

    /// The job is over: nothing of it is pending any more, live leases are closed by `decide`.
    fn end_job(&mut self, id: JobId, index: EventIndex, state: JobState) -> ProjectId {
        let project = self.touch(id, index);
        let waits = self.jobs.waiting_for_credits.contains(&(project, id));
        let job = self.job_mut(id);
        job.state = state;
        job.ended = Some(index);
        job.running = None;
        if state != JobState::Succeeded {
            job.result = None;
        }
        let begun = core::mem::take(&mut job.begun_count);
        let live = job.in_flight_count > 0;
        let held = if job.hold.is_some() { job.stages.as_slice() } else { &[] };
        // A stage that waits for its own hold was not charged.
        let charged = held.len() - usize::from(waits && !held.is_empty());
        let mid_bytes: u64 = held[..charged].iter().map(|stage| stage.mid_bytes).sum();
        let stages = job.stages.len() as u16;
        let deadline = job.submitted.limits.deadline_ms.map(|ms| job.created_at.after(DurationMs(ms)));
        if let Some(deadline) = deadline {
            self.jobs.deadlines.remove(&(deadline, id));
        }
        self.jobs.effects_due.remove(&id);
        let waited = self.jobs.waiting_for_credits.remove(&(project, id)).is_some();
        self.aggregator.vmem.drop_job(id, stages);
        self.in_order(project, |project| {
            project.vmem_bytes -= mid_bytes;
            project.begun_count -= begun;
        });
        self.drop_blobs_of(id, project);
        self.drop_work(id);
        if waited {
            self.review_waiting(project);
        }
        if live {
            self.scheduler.closing.insert(id, ());
        }
        project
    }
}
