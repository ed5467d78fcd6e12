//! The fold: what each event does to the state. One arm an event type, no policy.

use crate::cluster::{Invite, Node};
use crate::family::Families;
use crate::jobs::Failure;
use crate::projects::{Enrolment, Key, Project, Provider};
use crate::scratch::Doom;
use crate::world::{Meta, World};
use alloc::vec::Vec;
use forge_event::*;

impl World {
    pub(crate) fn apply_event(
        &mut self,
        index: EventIndex,
        by: Option<&By>,
        event: &Event,
        families: &dyn Families,
    ) -> Meta {
        match event {
            Event::LeaderStarted(e) => self.leader_started(index, e),
            Event::NodeInvited(e) => {
                let invite = Invite { index, expires_at: e.expires_at, spent: None };
                self.cluster.invites.insert(e.token_digest, invite);
                Meta::default()
            }
            Event::NodeAdmitted(e) => self.node_admitted(index, e),
            Event::NodeMoved(e) => {
                if let Some(node) = self.cluster.nodes.get_mut(&e.node) {
                    node.addresses = e.addresses.clone();
                }
                Meta::default()
            }
            Event::NodeRemoved(e) => {
                if let Some(node) = self.cluster.nodes.get_mut(&e.node) {
                    node.removed = true;
                }
                self.end_sessions_on(e.node, index);
                Meta::default()
            }
            Event::NodeLost(e) => {
                if let Some(node) = self.cluster.nodes.get_mut(&e.node) {
                    node.lost = Some(index);
                }
                self.end_sessions_on(e.node, index);
                Meta::default()
            }
            Event::SegmentArchived(e) => {
                if let Some(node) = self.cluster.nodes.get_mut(&e.node) {
                    node.archived_upto = node.archived_upto.max(e.last);
                }
                Meta::default()
            }
            Event::BlobRecorded(e) => self.blob_recorded(index, e),
            Event::ProjectCreated(e) => {
                let quota = Quota { credits: e.quota, ..Quota::default() };
                let project = Project::new(e.name.clone(), e.weight, quota, index);
                let id = ProjectId::born_at(index);
                self.projects.projects.insert(id, project);
                Meta::of(id)
            }
            Event::QuotaChanged(e) => self.quota_changed(index, e),
            Event::KeyCreated(e) => {
                let key = Key {
                    label: e.label.clone(),
                    scopes: e.scopes.clone(),
                    project: e.project,
                    expires_at: e.expires_at,
                    digest: e.digest,
                    revoked: None,
                };
                self.projects.keys.insert(KeyId::born_at(index), key);
                Meta { project: e.project, ..Meta::default() }
            }
            Event::KeyRevoked(e) => {
                let key = self.projects.keys.get_mut(&e.key);
                let project = key.and_then(|key| {
                    key.revoked = key.revoked.or(Some(index));
                    key.project
                });
                Meta { project, ..Meta::default() }
            }
            Event::ProviderCreated(e) => {
                self.projects.providers.insert(ProviderId::born_at(index), Provider { name: e.name.clone() });
                Meta::default()
            }
            Event::PolicyChanged(e) => {
                self.cluster.prices.insert(e.version, e.clone());
                // What waits may have become cheaper, or dearer.
                let mut waiting: Vec<ProjectId> = self.jobs.waiting_for_credits.iter().map(|((p, _), ())| *p).collect();
                waiting.dedup();
                waiting.into_iter().for_each(|project| self.review_waiting(project));
                Meta::default()
            }
            Event::EnrolmentCreated(e) => {
                let enrolment = Enrolment {
                    provider: e.provider,
                    anchor: e.anchor,
                    expires_at: e.expires_at,
                    token_digest: e.token_digest,
                    spent: None,
                };
                self.projects.enrolments.insert(index, enrolment);
                self.projects.enrolment_tokens.insert(e.token_digest, index);
                Meta::default()
            }
            Event::AgentEnrolled(e) => self.agent_enrolled(index, e),
            Event::AgentJoined(e) => self.agent_joined(index, e),
            Event::AgentDraining(e) => self.agent_draining(e),
            Event::AgentLost(e) => self.agent_lost(index, e),
            Event::AgentsObserved(e) => self.agents_observed(e),
            Event::JobSubmitted(e) => self.job_submitted(index, by, e),
            Event::JobCancelRequested(e) => {
                self.turn.cancels.push((e.job, index));
                if let Some(reason) = &e.reason {
                    self.turn.reasons.insert(index, reason.clone());
                }
                Meta::of(self.touch(e.job, index))
            }
            Event::StagePlanned(e) => self.stage_planned(index, e, families),
            Event::EffectStarted(e) => self.effect_started(index, e),
            Event::EffectFailed(e) => self.effect_failed(index, e),
            Event::ResultReceived(e) => self.result_received(index, e),
            Event::ResultsSealed(e) => self.results_sealed(index, e, families),
            Event::ShardReportedFailed(e) => self.shard_reported_failed(index, e),
            Event::JobReduced(e) => self.job_reduced(index, e),
            Event::CreditsIssued(e) => self.credits_issued(event, e),
            Event::JobAdmitted(e) => self.job_admitted(index, e),
            Event::JobSucceeded(e) => self.job_succeeded(index, e),
            Event::JobFailed(e) => self.job_failed(index, e),
            Event::JobCancelled(e) => self.job_cancelled(index, e),
            Event::ShardAssigned(e) => self.shard_assigned(index, e),
            Event::ShardRequeued(e) => self.shard_requeued(index, e),
            Event::LeaseExpired(e) => self.lease_expired(index, e),
            Event::LeaseRevoked(e) => self.lease_revoked(index, e),
            Event::ResultAccepted(e) => self.result_accepted(index, e),
            Event::ResultRefused(e) => self.result_refused(index, e),
            Event::CreditHeld(e) => self.credit_held(index, event, e),
            Event::CreditAccrued(e) => self.credit_accrued(index, event, e),
            Event::CreditVoided(e) => self.credit_voided(e),
            Event::CreditReleased(e) => self.credit_released(event, e),
            Event::StateRooted(e) => self.state_rooted(e),
            Event::CheckpointReceived(e) => self.checkpoint_received(index, e),
            Event::ShardResumed(e) => self.shard_resumed(index, e, families),
        }
    }

    fn leader_started(&mut self, index: EventIndex, e: &LeaderStarted) -> Meta {
        self.cluster.leader = Some((e.node, e.term, index));
        self.cluster.extension_ms += e.extend_ms;
        if let Some(node) = self.cluster.nodes.get_mut(&e.node) {
            node.lost = None;
        }
        // Effects died with the last leader: one that had its second start has no third.
        for (job, ()) in self.jobs.effects_due.iter() {
            let running = self.jobs.jobs.get(job).and_then(|j| j.running);
            if let Some(running) = running.filter(|r| r.try_number >= 2) {
                let failure = Failure {
                    code: Failure::CRASHED.into(),
                    detail: alloc::format!(
                        "{} was started twice and never ended; the input may crash the hub",
                        running.effect
                    ),
                };
                self.turn.doomed.push(Doom { job: *job, cause: running.started, failure });
            }
        }
        Meta::default()
    }

    fn node_admitted(&mut self, index: EventIndex, e: &NodeAdmitted) -> Meta {
        let node = Node {
            admitted: index,
            addresses: e.addresses.clone(),
            public_key: e.public_key,
            tip: e.tip,
            voter: e.voter,
            removed: false,
            lost: None,
            archived_upto: EventIndex(0),
        };
        self.cluster.nodes.insert(e.node, node);
        if let Some(at) = e.invite {
            let token = self.cluster.invites.iter().find(|(_, i)| i.index == at).map(|(token, _)| *token);
            if let Some(invite) = token.and_then(|t| self.cluster.invites.get_mut(&t)) {
                invite.spent = Some(e.node);
            }
        }
        Meta::default()
    }

    fn state_rooted(&mut self, e: &StateRooted) -> Meta {
        let roots = self.roots();
        assert!(roots == e.roots, "this replica's state differs from the one that was recorded at {}", e.upto);
        self.cluster.rooted_upto = e.upto;
        Meta::default()
    }

    /// Notes that an event touched a job; gives the job's project.
    ///
    /// # Panics
    /// If there is no such job: admission and policy name only jobs that exist.
    pub(crate) fn touch(&mut self, job: JobId, index: EventIndex) -> ProjectId {
        self.touched(job, index).submitted.project
    }

    /// The same; gives the job.
    pub(crate) fn touched(&mut self, job: JobId, index: EventIndex) -> &mut crate::jobs::Job {
        let at = self.at;
        let job = self.job_mut(job);
        job.updated = index;
        job.updated_at = at;
        job
    }

    pub(crate) fn job_mut(&mut self, job: JobId) -> &mut crate::jobs::Job {
        self.jobs.jobs.get_mut(&job).expect("admission and policy name only jobs that exist")
    }

    pub(crate) fn job(&self, job: JobId) -> &crate::jobs::Job {
        self.jobs.jobs.get(&job).expect("admission and policy name only jobs that exist")
    }
}
