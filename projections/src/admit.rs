//! Admission: which facts the log takes. Law of the turn (a): each fact passes
//! `admit(state + earlier facts, fact, at)`, live and in replay.

use crate::agents::UNSEALED_COUNT_MAX;
use crate::decide::matches;
use crate::family::Families;
use crate::jobs::Job;
use crate::projects::IDEMPOTENCY_COUNT_MAX;
use crate::rejection::{FieldFault, Rejection};
use crate::world::World;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use forge_event::limits::{INLINE_BYTES_MAX, JOB_SHARDS_MAX, LABELS_MAX, NAME_BYTES_MAX};
use forge_event::unit::CREDITS_MAX;
use forge_event::*;

/// Stages of one job.
const STAGES_MAX: usize = 1024;

type Admitted = Result<(), Rejection>;

/// The fault of a blob that the project does not have, at the field that names it.
fn blob_missing(spec: &serde_json::Value, digest: &Digest) -> FieldFault {
    let mut pointer = String::from("/spec");
    find_text(spec, &digest.to_string(), &mut pointer);
    FieldFault {
        pointer,
        code: "blob-missing".into(),
        detail: alloc::format!("the project has no blob {digest}"),
        fix: Some("upload it first: PUT /v1/blobs/{digest}, or `forge blob put FILE`".into()),
    }
}

/// Extends `pointer` to the first field whose value is `text`.
fn find_text(value: &serde_json::Value, text: &str, pointer: &mut String) -> bool {
    let mut within = |key: &str, value: &serde_json::Value| {
        let length = pointer.len();
        pointer.push('/');
        pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
        let found = find_text(value, text, pointer);
        if !found {
            pointer.truncate(length);
        }
        found
    };
    match value {
        serde_json::Value::String(found) => found == text,
        serde_json::Value::Array(items) => items.iter().enumerate().any(|(i, item)| within(&i.to_string(), item)),
        serde_json::Value::Object(fields) => fields.iter().any(|(key, item)| within(key, item)),
        _ => false,
    }
}

fn internal(detail: &str) -> Rejection {
    Rejection::Internal { detail: detail.into() }
}

fn ensure(holds: bool, rejection: impl FnOnce() -> Rejection) -> Admitted {
    if holds { Ok(()) } else { Err(rejection()) }
}

fn invalid(pointer: &str, code: &str, detail: &str) -> Rejection {
    let fault = FieldFault { pointer: pointer.into(), code: code.into(), detail: detail.into(), fix: None };
    Rejection::Invalid(alloc::vec![fault])
}

fn name_fits(pointer: &str, name: &str) -> Admitted {
    let fits = !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control);
    ensure(fits, || invalid(pointer, "out-of-range", "a name is 1 to 255 bytes without control characters"))
}

fn not_found(what: impl ToString) -> Rejection {
    Rejection::NotFound(what.to_string())
}

impl World {
    /// Whether the log takes this fact now.
    ///
    /// # Errors
    /// [`Rejection`]; the state is as before.
    pub fn admit(&self, fact: &Fact, at: Timestamp, families: &dyn Families) -> Admitted {
        ensure(fact.event.nature() == Nature::Fact, || internal("a decision is not admitted"))?;
        ensure(at >= self.at, || Rejection::TimeGoesBack)?;
        self.admit_by(fact, at)?;
        match &fact.event {
            Event::LeaderStarted(e) => self.known_node(e.node),
            Event::NodeInvited(e) => {
                let known = self.cluster.invites.contains(&e.token_digest);
                ensure(!known && e.expires_at > at, || internal("an invite has a new token and an end that lies ahead"))
            }
            Event::NodeAdmitted(e) => self.admit_node(e, at),
            Event::NodeMoved(e) => self.known_node(e.node),
            Event::NodeRemoved(e) => {
                self.known_node(e.node)?;
                let voters = self.cluster.members().filter(|(id, n)| n.voter && *id != e.node).count();
                let detail = || Rejection::QuorumAtRisk { detail: "the last voter cannot be removed".into() };
                ensure(voters > 0, detail)
            }
            Event::NodeLost(e) => self.known_node(e.node),
            Event::SegmentArchived(e) => {
                self.known_node(e.node)?;
                let node = self.cluster.nodes.get(&e.node).ok_or_else(|| not_found(e.node))?;
                let follows =
                    e.first.0 == node.archived_upto.0 + 1 && e.first <= e.last && e.last.0 <= self.head.events;
                ensure(follows, || internal("segments follow one another without gap"))
            }
            Event::ProjectCreated(e) => {
                name_fits("/name", &e.name)?;
                let fits = (1..=1000).contains(&e.weight);
                ensure(fits, || invalid("/weight", "out-of-range", "a weight is 1 to 1000"))
            }
            Event::QuotaChanged(e) => {
                let project = self.projects.projects.get(&e.project).ok_or_else(|| not_found(e.project))?;
                let current = project.quota_set;
                ensure(e.replaces.is_none_or(|seen| seen == current), || Rejection::StaleEtag { current })
            }
            Event::KeyCreated(e) => {
                name_fits("/label", &e.label)?;
                let ascending = !e.scopes.is_empty() && e.scopes.windows(2).all(|w| w[0] < w[1]);
                ensure(ascending, || invalid("/scopes", "out-of-range", "name at least one scope, each once"))?;
                e.project.map_or(Ok(()), |p| self.known_project(p))
            }
            Event::KeyRevoked(e) => {
                let key = self.projects.keys.get(&e.key).ok_or_else(|| not_found(e.key))?;
                ensure(key.revoked.is_none(), || Rejection::InvalidTransition {
                    asked: "revoke".into(),
                    reason: "the key is revoked already".into(),
                })
            }
            Event::ProviderCreated(e) => name_fits("/name", &e.name),
            Event::PolicyChanged(e) => self.admit_policy(e, families),
            Event::EnrolmentCreated(e) => {
                ensure(self.projects.providers.contains(&e.provider), || not_found(e.provider))?;
                let fresh = !self.projects.enrolment_tokens.contains(&e.token_digest) && e.expires_at > at;
                ensure(fresh, || internal("an enrolment has a new token and an end that lies ahead"))
            }
            Event::AgentEnrolled(e) => self.admit_enrolled(e, at),
            Event::AgentJoined(e) => self.admit_joined(e),
            Event::AgentDraining(e) => self.current_epoch(e.agent, e.epoch),
            Event::AgentLost(e) => self.current_epoch(e.agent, e.epoch),
            Event::AgentsObserved(e) => {
                self.known_node(e.node)?;
                let known = e.agents.iter().all(|o| self.agents.agents.contains(&o.agent));
                ensure(known, || Rejection::AgentUnknown)
            }
            Event::JobSubmitted(e) => self.admit_submitted(fact.by.as_ref(), e, families),
            Event::JobCancelRequested(e) => {
                let job = self.jobs.jobs.get(&e.job).ok_or_else(|| not_found(e.job))?;
                self.may_act_for(fact.by.as_ref(), job.project()).map_err(|_| not_found(e.job))?;
                ensure(job.ended.is_none(), || Rejection::InvalidTransition {
                    asked: "cancel".into(),
                    reason: alloc::format!(
                        "the job already {} at index {}",
                        job.state.name(),
                        job.ended.unwrap_or_default()
                    ),
                })
            }
            Event::StagePlanned(e) => self.admit_planned(e),
            Event::EffectStarted(e) => {
                let due = self.effect_due(e.effect.job());
                ensure(due == Some((e.effect, e.try_number)), || Rejection::EffectNotCurrent(e.effect))?;
                self.known_node(e.node)
            }
            Event::EffectFailed(e) => {
                ensure(e.code.len() <= NAME_BYTES_MAX && e.detail.len() <= 4096, || {
                    internal("a failure's text is short")
                })?;
                self.current_effect(e.effect, e.try_number)
            }
            Event::ResultReceived(e) => self.admit_received(e),
            Event::ResultsSealed(e) => {
                let agent = self.agents.agents.get(&e.agent).ok_or(Rejection::AgentUnknown)?;
                let bad = || Rejection::BadSeal { position: e.upto };
                ensure(agent.sealed < e.upto && e.upto <= agent.position, bad)?;
                let chain = self.aggregator.pending.get(e.agent, e.upto).map(|p| p.chain);
                ensure(chain == Some(e.head), bad)
            }
            Event::ShardReportedFailed(e) => {
                self.current_epoch(e.agent, e.epoch)?;
                ensure(e.code.len() <= NAME_BYTES_MAX, || internal("a failure's code is short"))?;
                let lease = |shard| LeaseId { job: e.job, shard, attempt: e.attempt };
                let held = e.shards.iter().all(|shard| self.scheduler.leases.holds(e.agent, lease(shard)));
                ensure(held, || internal("only live leases of the agent can fail"))
            }
            Event::JobReduced(e) => {
                self.current_effect(EffectId::Reduce { job: e.job, version: e.version }, e.try_number)?;
                self.inline_fits(e.document.as_deref(), &e.digest, e.bytes)?;
                let project = self.jobs.jobs.get(&e.job).map_or(ProjectId(0), Job::project);
                let kept = |digest| self.projects.blobs.is_kept(project, digest, e.job);
                let ascending = e.outputs.windows(2).all(|w| w[0] < w[1]);
                ensure(ascending && e.outputs.iter().all(kept), || internal("a result names blobs that are kept"))
            }
            Event::BlobRecorded(e) => self.admit_blob(fact.by.as_ref(), e),
            Event::CheckpointReceived(e) => {
                self.current_epoch(e.agent, e.epoch)?;
                self.inline_fits(Some(&e.inline), &e.digest, e.inline.len() as u64)?;
                self.admit_checkpoint(e, families)
            }
            Event::CreditsIssued(e) => {
                self.known_project(e.project)?;
                let fits = e.amount.0 > 0 && e.amount <= CREDITS_MAX;
                ensure(fits, || {
                    invalid("/amount", "out-of-range", "an amount is above 0 and at most 2^100 micro-credits")
                })?;
                ensure(e.reference.len() <= NAME_BYTES_MAX, || {
                    invalid("/reference", "out-of-range", "at most 255 bytes")
                })
            }
            _ => Err(internal("this event is a decision")),
        }
    }

    /// The scope that a fact's key must have; `None`: the fact does not come from a request.
    fn scope_of(event: &Event) -> Option<Scope> {
        match event {
            Event::JobSubmitted(_) | Event::JobCancelRequested(_) => Some(Scope::JobsWrite),
            Event::BlobRecorded(e) if e.job.is_none() => Some(Scope::Blobs),
            Event::ProviderCreated(_) | Event::EnrolmentCreated(_) | Event::AgentDraining(_) => {
                Some(Scope::AgentsAdmin)
            }
            Event::ProjectCreated(_)
            | Event::QuotaChanged(_)
            | Event::KeyCreated(_)
            | Event::KeyRevoked(_)
            | Event::PolicyChanged(_)
            | Event::CreditsIssued(_)
            | Event::NodeInvited(_)
            | Event::NodeRemoved(_) => Some(Scope::ClusterAdmin),
            _ => None,
        }
    }

    fn admit_by(&self, fact: &Fact, at: Timestamp) -> Admitted {
        let scope = Self::scope_of(&fact.event);
        let key = fact.by.and_then(|by| by.key);
        // Genesis writes its project and key before there is a key to ask for; an agent asks for its own drain.
        let by_itself = matches!(fact.event, Event::AgentDraining(_));
        let needs_key = scope.is_some() && !by_itself && !self.projects.keys.is_empty();
        ensure(key.is_some() || !needs_key, || internal("this fact needs a key"))?;
        let Some(by) = &fact.by else { return Ok(()) };
        if let Some(id) = key {
            let key = self.projects.keys.get(&id).ok_or(Rejection::KeyNotLive(id))?;
            ensure(key.is_live(at), || Rejection::KeyNotLive(id))?;
            let scope = scope.ok_or_else(|| internal("this fact does not come from a request"))?;
            ensure(key.has(scope), || Rejection::Forbidden { scope })?;
        }
        let Some(idempotency) = by.idempotency else { return Ok(()) };
        let project = self.projects.memory_of(by.key);
        if let Some(first) = self.projects.recall(project, idempotency, at) {
            return Err(Rejection::IdempotencyKeyReuse { first: first.index });
        }
        let count = self.projects.projects.get(&project).map_or(0, |p| p.remembered_count);
        ensure(count < IDEMPOTENCY_COUNT_MAX, || Rejection::IdempotencyFull)
    }

    fn may_act_for(&self, by: Option<&By>, project: ProjectId) -> Admitted {
        let key = by.and_then(|b| b.key).and_then(|k| self.projects.keys.get(&k));
        let may = key.is_none_or(|k| k.project == Some(project) || k.has(Scope::ClusterAdmin));
        ensure(may, || not_found(project))
    }

    fn known_node(&self, node: NodeId) -> Admitted {
        let known = self.cluster.nodes.get(&node).is_some_and(|n| !n.removed);
        ensure(known, || not_found(node))
    }

    fn known_project(&self, project: ProjectId) -> Admitted {
        ensure(self.projects.projects.contains(&project), || not_found(project))
    }

    fn current_epoch(&self, agent: AgentId, epoch: Epoch) -> Admitted {
        let known = self.agents.agents.get(&agent).ok_or(Rejection::AgentUnknown)?;
        let current = known.session.is_some() && known.epoch == epoch;
        ensure(current, || Rejection::StaleEpoch { agent, current: known.epoch })
    }

    fn inline_fits(&self, inline: Option<&[u8]>, digest: &Digest, bytes: u64) -> Admitted {
        let Some(inline) = inline else {
            let detail = "a result travels in the log; what is longer lies in blobs that it names";
            return Err(invalid("", "too-large-inline", detail));
        };
        ensure(inline.len() <= INLINE_BYTES_MAX, || {
            invalid("", "too-large-inline", "at most 64 KiB travel in the log")
        })?;
        let fits = inline.len() as u64 == bytes && Digest::of(inline) == *digest;
        ensure(fits, || internal("bytes and digest belong together"))
    }

    fn admit_node(&self, e: &NodeAdmitted, at: Timestamp) -> Admitted {
        ensure(e.node == self.cluster.next_node(), || internal("node numbers follow one another"))?;
        let known = self.cluster.members().any(|(_, n)| n.public_key == e.public_key);
        ensure(!known, || internal("each node has a key of its own"))?;
        let Some(index) = e.invite else {
            return ensure(self.cluster.nodes.is_empty(), || internal("only the first node comes without an invite"));
        };
        let invite = self.cluster.invites.iter().map(|(_, i)| i).find(|i| i.index == index);
        let invite = invite.filter(|i| at < i.expires_at).ok_or(Rejection::TokenUnknown)?;
        ensure(invite.spent.is_none(), || Rejection::EnrolmentSpent)
    }

    fn admit_policy(&self, e: &PolicyChanged, families: &dyn Families) -> Admitted {
        let next = self.cluster.prices().map_or(1, |p| p.version + 1);
        ensure(e.version == next, || internal("price versions follow one another"))?;
        let sane = |r: &Rate| r.den > 0 && r.num < 1 << 27 && r.den < 1 << 27;
        let ascending = e.prices.windows(2).all(|w| w[0].0 < w[1].0);
        let known = e.prices.iter().all(|(kind, rate)| families.newest(kind).is_some() && sane(rate));
        let bad = || invalid("/prices", "out-of-range", "prices name known kinds, each once, as num/den below 2^27");
        ensure(ascending && known, bad)?;
        let shares = [e.payout, e.fee, e.verification];
        let whole: u128 = 1 << 100;
        let sum: u128 = shares.iter().filter(|r| sane(r)).map(|r| r.of(whole)).sum();
        let fits = shares.iter().all(sane) && sum <= whole;
        ensure(fits, || invalid("/payout", "out-of-range", "the shares of a charge sum to at most 1"))
    }

    fn admit_enrolled(&self, e: &AgentEnrolled, at: Timestamp) -> Admitted {
        let enrolment = self.projects.enrolments.get(&e.enrolment).filter(|n| at < n.expires_at);
        let enrolment = enrolment.ok_or(Rejection::TokenUnknown)?;
        ensure(enrolment.spent.is_none(), || Rejection::EnrolmentSpent)?;
        let same = enrolment.provider == e.provider && enrolment.anchor == e.anchor;
        ensure(same, || internal("an agent enrols as it was invited"))?;
        ensure(!self.agents.by_key.contains(&e.public_key), || internal("each agent has a key of its own"))
    }

    fn admit_joined(&self, e: &AgentJoined) -> Admitted {
        let agent = self.agents.agents.get(&e.agent).ok_or(Rejection::AgentUnknown)?;
        self.known_node(e.node)?;
        ensure(e.epoch == agent.epoch + 1, || Rejection::StaleEpoch { agent: e.agent, current: agent.epoch })?;
        ensure((1..=4096).contains(&e.slots), || invalid("/slots", "out-of-range", "an agent has 1 to 4096 slots"))?;
        let c = &e.capabilities;
        let texts = [&c.cpu_class, &c.region].into_iter().chain(&c.gpu).chain(&c.software);
        let fits = c.software.len() <= 64 && c.software.windows(2).all(|w| w[0] < w[1]);
        let short = texts.into_iter().all(|t| t.len() <= NAME_BYTES_MAX) && !c.cpu_class.is_empty();
        ensure(fits && short, || {
            invalid(
                "/capabilities",
                "out-of-range",
                "a CPU class, and at most 64 software names, ascending, 255 bytes each",
            )
        })
    }

    fn admit_submitted(&self, by: Option<&By>, e: &JobSubmitted, families: &dyn Families) -> Admitted {
        self.known_project(e.project)?;
        self.may_act_for(by, e.project)?;
        e.name.as_deref().map_or(Ok(()), |name| name_fits("/name", name))?;
        let labels = e.labels.len() <= LABELS_MAX
            && e.labels.windows(2).all(|w| w[0].0 < w[1].0)
            && e.labels.iter().all(|(k, v)| !k.is_empty() && k.len() <= NAME_BYTES_MAX && v.len() <= NAME_BYTES_MAX);
        ensure(labels, || invalid("/labels", "out-of-range", "at most 64 labels of 255 bytes"))?;
        ensure(e.priority <= 9, || invalid("/priority", "out-of-range", "a priority is 0 to 9"))?;
        let attempts = e.limits.max_attempts.is_none_or(|n| (1..=100).contains(&n));
        ensure(attempts, || invalid("/limits/max_attempts", "out-of-range", "attempts are 1 to 100"))?;
        ensure(e.spec.len() <= INLINE_BYTES_MAX, || invalid("/spec", "too-large-inline", "a spec is at most 64 KiB"))?;
        match e.verify {
            None | Some(Verify::None | Verify::Care { .. }) => {}
            Some(Verify::Redundant { .. } | Verify::Quorum { .. }) => {
                return Err(invalid("/verify/mode", "not-yet", "this version verifies by mode none or care"));
            }
        }
        self.admit_spec(e, families)?;
        self.schedulable(e)
    }

    fn admit_spec(&self, e: &JobSubmitted, families: &dyn Families) -> Admitted {
        let family = families
            .family(&e.kind, e.family_version)
            .ok_or_else(|| invalid("/kind", "unknown-kind", "this hub does not know this kind in this version"))?;
        let spec =
            serde_json::from_slice(&e.spec).map_err(|_| invalid("/spec", "invalid-request", "the spec is not JSON"))?;
        let checked = family
            .check_spec(&spec, e.shard_cells)
            .map_err(|faults| Rejection::Invalid(faults.into_iter().map(Into::into).collect::<Vec<FieldFault>>()))?;
        let canonical = checked.spec == e.spec && checked.inputs == e.inputs;
        ensure(canonical, || internal("the spec is recorded in its canonical form"))?;
        self.inputs_known(e)
    }

    /// Whether the project has every blob that a submission names.
    ///
    /// # Errors
    /// A fault at each field that names one it lacks.
    pub fn inputs_known(&self, e: &JobSubmitted) -> Admitted {
        let missing = e.inputs.iter().filter(|digest| self.projects.blobs.get(e.project, digest).is_none());
        let spec = serde_json::from_slice(&e.spec).unwrap_or_default();
        let faults: Vec<FieldFault> = missing.map(|digest| blob_missing(&spec, digest)).collect();
        ensure(faults.is_empty(), || Rejection::Invalid(faults))
    }

    fn admit_blob(&self, by: Option<&By>, e: &BlobRecorded) -> Admitted {
        self.known_project(e.project)?;
        self.may_act_for(by, e.project)?;
        if let Some(job) = e.job {
            let open = self.jobs.jobs.get(&job).is_some_and(|j| j.ended.is_none() && j.project() == e.project);
            ensure(open, || Rejection::InvalidTransition {
                asked: "record a blob".into(),
                reason: alloc::format!("{job} is over, or not of this project"),
            })?;
        }
        if let Some(known) = self.projects.blobs.get(e.project, &e.digest) {
            return ensure(known.bytes == e.bytes, || internal("a digest has one length"));
        }
        let project = self.projects.projects.get(&e.project).ok_or_else(|| not_found(e.project))?;
        let (bytes_max, count_max) = (project.blob_bytes_max(), project.blob_count_max());
        let fits = e.bytes <= bytes_max.saturating_sub(project.blob_bytes) && project.blob_count < count_max;
        ensure(fits, || Rejection::QuotaExceeded {
            detail: alloc::format!(
                "project {} keeps {} bytes in {} blobs; {} more pass its limit of {bytes_max} bytes or {count_max} blobs",
                e.project,
                project.blob_bytes,
                project.blob_count,
                e.bytes
            ),
        })
    }

    /// Refuses what no agent class that ever joined could run. With no class at all a job may wait for the first agents.
    fn schedulable(&self, e: &JobSubmitted) -> Admitted {
        let mut joined = self.agents.agents.iter().map(|(_, a)| a).filter(|a| a.epoch > 0);
        if e.allow_wait || joined.next().is_none() {
            return Ok(());
        }
        let classes = self.scheduler.classes.iter();
        let any = classes.filter(|c| !c.cpu_class.is_empty()).any(|c| matches(c, &e.requirements));
        let detail = "no registered agent class matches `requirements`; relax them, or set allow_wait to queue the job";
        ensure(any, || Rejection::Unschedulable { detail: detail.into() })
    }

    fn admit_planned(&self, e: &StagePlanned) -> Admitted {
        self.current_effect(EffectId::Plan { job: e.job, stage: e.stage }, e.try_number)?;
        let job = self.jobs.jobs.get(&e.job).ok_or_else(|| not_found(e.job))?;
        let follows = u64::from(e.shards.first) == job.shard_count && e.shards.first <= e.shards.last;
        let stages = job.stages.len() < STAGES_MAX;
        ensure(stages, || internal("a job's stages come to an end"))?;
        let within = u64::from(e.shards.last) < JOB_SHARDS_MAX && e.segments > 0;
        ensure(follows && within, || internal("stages follow one another without gap"))?;
        let fits = e.plan_body.len() <= INLINE_BYTES_MAX;
        ensure(fits, || invalid("/spec", "too-large-inline", "a plan past 64 KiB needs the blob service"))
    }

    fn current_effect(&self, effect: EffectId, try_number: u8) -> Admitted {
        let running = self.jobs.jobs.get(&effect.job()).and_then(|j| j.running);
        let current = running.is_some_and(|r| r.effect == effect && r.try_number == try_number);
        ensure(current, || Rejection::EffectNotCurrent(effect))
    }

    fn admit_received(&self, e: &ResultReceived) -> Admitted {
        self.current_epoch(e.agent, e.epoch)?;
        let job = self.jobs.jobs.get(&e.job).ok_or_else(|| not_found(e.job))?;
        let agent = self.agents.agents.get(&e.agent).ok_or(Rejection::AgentUnknown)?;
        ensure(e.position == agent.position + 1, || internal("positions follow one another"))?;
        let count = e.shards.count();
        let room = agent.unsealed_count() + count <= UNSEALED_COUNT_MAX;
        ensure(room, || Rejection::TooManyUnsealed { limit: UNSEALED_COUNT_MAX })?;
        let known = e.shards.0.last().is_some_and(|r| u64::from(r.last) < job.shard_count);
        let runs: u64 = e.results.iter().map(|r| u64::from(r.count)).sum();
        let whole = runs == count && e.results.iter().all(|r| r.count > 0);
        ensure(known && whole, || internal("each shard of the job has one result"))?;
        e.results.iter().try_for_each(|r| self.inline_fits(r.inline.as_deref(), &r.digest, r.bytes))
    }

    /// The effect a job needs now, and which start it would be; `None`: none, or it runs.
    pub fn effect_due(&self, id: JobId) -> Option<(EffectId, u8)> {
        let job = self.jobs.jobs.get(&id).filter(|j| j.ended.is_none())?;
        let effect = Self::effect_of(id, job)?;
        let leader = self.cluster.leader.map_or(EventIndex(0), |(_, _, started)| started);
        match job.running {
            None => Some((effect, 1)),
            // Its leader is gone, and it with it.
            Some(running) if running.started < leader && running.try_number < 2 => Some((effect, 2)),
            Some(_) => None,
        }
    }

    fn effect_of(id: JobId, job: &Job) -> Option<EffectId> {
        if job.stages.is_empty() || (job.is_complete() && job.goes_on()) {
            Some(EffectId::Plan { job: id, stage: job.stages.len() as u16 })
        } else if job.is_complete() && job.result.is_none() {
            Some(EffectId::Reduce { job: id, version: 1 })
        } else {
            None
        }
    }
}
