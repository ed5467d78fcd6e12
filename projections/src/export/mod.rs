//! Events as exports show them: envelope and `data`, field for field as the contract has them.
//!
//! What the log stores and what an export shows differ: causes, sequences, entries, charges and
//! transfers are the fold's work, so a line is rendered while a [`World`] folds its event.

mod decisions;
mod exporter;
mod facts;
pub(crate) mod json;
mod request;

pub use exporter::Exporter;
pub use request::canonical_request;

use crate::accounting::Entry;
use crate::world::{Meta, World};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use forge_event::unit::signed;
use forge_event::*;
use json::{Object, array, quoted};

/// Where an event stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    pub index: EventIndex,
    /// Of its turn, from 1.
    pub turn: u64,
    pub at: Timestamp,
    pub policy: PolicyVersion,
}

/// An event as exports show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exported {
    pub place: Place,
    pub name: &'static str,
    pub derived: bool,
    pub subject: Option<String>,
    pub project: Option<ProjectId>,
    pub key: Option<KeyId>,
    /// Its number in its project's own sequence; `None` without a project, or if the fold was not asked.
    pub seq: Option<u64>,
    pub cause: Option<EventIndex>,
    /// All causes, ascending, if there are several.
    pub causes: Vec<EventIndex>,
    /// For a fact born of a request.
    pub by: Option<By>,
    /// The chain's head behind the turn; the turn's last event carries it.
    pub head: Option<Digest>,
    /// A JSON object.
    pub data: String,
}

impl Exported {
    /// The line of an ndjson export, without its newline.
    pub fn line(&self) -> String {
        let mut line = Object::new()
            .raw("index", self.place.index)
            .raw("turn", self.place.turn)
            .plain("at", self.place.at)
            .raw("policy", self.place.policy.0)
            .plain("type", self.name)
            .raw("derived", self.derived)
            .plain_or_null("subject", self.subject.as_ref())
            .plain_or_null("project", self.project)
            .plain_or_null("key", self.key)
            .raw_or_null("seq", self.seq)
            .raw_or_null("cause", self.cause);
        if !self.causes.is_empty() {
            line = line.raw("causes", runs_of(&self.causes));
        }
        if let Some(by) = &self.by {
            line = line.plain_or_null("idempotency", by.idempotency).plain_or_null("request", by.request);
        }
        if let Some(head) = &self.head {
            line = line.plain("head", head);
        }
        line.raw("data", &self.data).end()
    }

    /// The event as a CloudEvent 1.0. `source` is the cluster's, e.g. `/clusters/4b1d…`.
    pub fn cloud_event(&self, source: &str) -> String {
        Object::new()
            .plain("specversion", "1.0")
            .plain("id", self.place.index)
            .text("source", source)
            .raw("type", quoted(format_args!("hub.forge.{}.v1", self.name)))
            .plain_or_null("subject", self.subject.as_ref())
            .plain("time", self.place.at)
            .plain("datacontenttype", "application/json")
            .raw("data", &self.data)
            .end()
    }
}

/// Renders an event.
///
/// `meta` is what the fold said of it, and `world` the state behind it. Without `meta` whatever only the
/// fold knows (cause, causes, sequence, entries of a void) is left out, and `world` may be any later state.
pub fn render(place: Place, by: Option<&By>, event: &Event, meta: Option<&Meta>, world: &World) -> Exported {
    let project = match meta {
        Some(meta) => meta.project,
        None => project_of(place.index, event, world),
    };
    Exported {
        place,
        name: event.name(),
        derived: event.nature() == Nature::Decision,
        subject: subject_of(place.index, event),
        project,
        key: by.and_then(|by| by.key),
        seq: meta.map(|m| m.seq).filter(|seq| *seq > 0),
        cause: meta.and_then(|m| m.cause),
        causes: meta.map(|m| m.causes.clone()).unwrap_or_default(),
        by: by.copied(),
        head: None,
        data: event_json(place.index, event, meta, by, world),
    }
}

/// An event's `data`; see [`render`].
pub fn event_json(index: EventIndex, event: &Event, meta: Option<&Meta>, by: Option<&By>, world: &World) -> String {
    let object = match event.nature() {
        Nature::Fact => facts::data(event, meta, by, world),
        Nature::Decision => decisions::data(index, event, meta, world),
    };
    object.end()
}

/// The job an event belongs to; a submission's is born by it.
pub fn job_of(index: EventIndex, event: &Event) -> Option<JobId> {
    Some(match event {
        Event::JobSubmitted(_) => JobId::born_at(index),
        Event::JobCancelRequested(e) => e.job,
        Event::StagePlanned(e) => e.job,
        Event::EffectStarted(e) => e.effect.job(),
        Event::EffectFailed(e) => e.effect.job(),
        Event::ResultReceived(e) => e.job,
        Event::ShardReportedFailed(e) => e.job,
        Event::JobReduced(e) => e.job,
        Event::JobAdmitted(e) => e.job,
        Event::JobSucceeded(e) => e.job,
        Event::JobFailed(e) => e.job,
        Event::JobCancelled(e) => e.job,
        Event::ShardAssigned(e) => e.job,
        Event::ShardRequeued(e) => e.job,
        Event::LeaseExpired(e) => e.job,
        Event::LeaseRevoked(e) => e.job,
        Event::ResultAccepted(e) => e.job,
        Event::ResultRefused(e) => e.job,
        Event::CreditHeld(e) => e.job,
        Event::CreditAccrued(e) => e.job,
        Event::CreditVoided(e) => e.job,
        Event::CreditReleased(e) => e.job,
        Event::CheckpointReceived(e) => e.job,
        Event::ShardResumed(e) => e.job,
        _ => return None,
    })
}

/// The project an event belongs to, told from the event and any later state.
pub fn project_of(index: EventIndex, event: &Event, world: &World) -> Option<ProjectId> {
    match event {
        Event::ProjectCreated(_) => Some(ProjectId::born_at(index)),
        Event::KeyCreated(e) => e.project,
        Event::KeyRevoked(e) => world.projects.keys.get(&e.key).and_then(|key| key.project),
        Event::CreditsIssued(e) => Some(e.project),
        Event::QuotaChanged(e) => Some(e.project),
        Event::JobSubmitted(e) => Some(e.project),
        Event::BlobRecorded(e) => Some(e.project),
        other => job_of(index, other).and_then(|job| world.jobs.jobs.get(&job)).map(|job| job.project()),
    }
}

/// What the contract calls the event's subject; a birth event is its own.
pub fn subject_of(index: EventIndex, event: &Event) -> Option<String> {
    let subject = match event {
        Event::ProjectCreated(_) => ProjectId::born_at(index).to_string(),
        Event::KeyCreated(_) => KeyId::born_at(index).to_string(),
        Event::KeyRevoked(e) => e.key.to_string(),
        Event::ProviderCreated(_) => ProviderId::born_at(index).to_string(),
        Event::AgentEnrolled(_) => AgentId::born_at(index).to_string(),
        Event::AgentJoined(e) => e.agent.to_string(),
        Event::AgentDraining(e) => e.agent.to_string(),
        Event::AgentLost(e) => e.agent.to_string(),
        Event::ResultsSealed(e) => e.agent.to_string(),
        Event::CreditsIssued(e) => e.project.to_string(),
        Event::QuotaChanged(e) => e.project.to_string(),
        Event::BlobRecorded(e) => e.project.to_string(),
        // The contract gives effects no subject; their `data` names the job.
        Event::EffectStarted(_) | Event::EffectFailed(_) => return None,
        other => return job_of(index, other).map(|job| job.to_string()),
    };
    Some(subject)
}

fn runs(runs: &Runs) -> String {
    array(runs.0.iter().map(|run| alloc::format!("[{},{}]", run.first, run.last)))
}

/// Ascending positions as runs.
fn runs_of(positions: &[EventIndex]) -> String {
    let runs = positions.chunk_by(|a, b| a.0 + 1 == b.0);
    array(runs.map(|run| alloc::format!("[{},{}]", run[0], run[run.len() - 1])))
}

fn rate(rate: &Rate) -> String {
    Object::new().raw("num", rate.num).raw("den", rate.den).end()
}

fn entries(object: Object, event: &Event, meta: Option<&Meta>, world: &World) -> Object {
    let leg = |e: &Entry| Object::new().plain("account", e.account).plain("amount", signed(e.amount)).end();
    match meta.map(|m| m.entries.clone()).or_else(|| world.legs_of(event)) {
        Some(entries) => object.raw("entries", array(entries.iter().map(leg))),
        None => object,
    }
}
