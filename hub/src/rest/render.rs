//! Events as clients see them: whose they are, and their CloudEvent.

use forge_api::event::CloudEvent;
use forge_event::*;
use forge_projections::{Meta, Observer, World};
use serde_json::{Value, json};

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
        _ => return None,
    })
}

/// The project whose clients may see an event; `None`: operators and auditors only.
pub fn project_of(index: EventIndex, event: &Event, world: &World) -> Option<ProjectId> {
    match event {
        Event::JobSubmitted(e) => Some(e.project),
        Event::ProjectCreated(_) => Some(ProjectId::born_at(index)),
        Event::CreditsIssued(e) => Some(e.project),
        other => job_of(index, other).and_then(|job| world.jobs.jobs.get(&job)).map(|j| j.project()),
    }
}

/// True for the event that ends a job.
pub fn ends_job(event: &Event) -> bool {
    matches!(event, Event::JobSucceeded(_) | Event::JobFailed(_) | Event::JobCancelled(_))
}

/// An event as a CloudEvent.
pub fn cloud(cluster: &str, at: Timestamp, index: EventIndex, by: Option<&By>, event: &Event, world: &World) -> CloudEvent {
    let mut shown = CloudEvent::new(cluster, index, event.name(), at);
    let line = plain(index, at, by, event, world);
    shown.subject = line.get("subject").and_then(Value::as_str).map(String::from);
    shown.data = line.get("data").cloned().unwrap_or_default();
    shown
}

/// An event as a line of an export, without what only the fold knows.
pub fn plain(index: EventIndex, at: Timestamp, by: Option<&By>, event: &Event, world: &World) -> Value {
    line(index, at, by, event, &Meta { project: project_of(index, event, world), ..Meta::default() })
}

fn line(index: EventIndex, at: Timestamp, by: Option<&By>, event: &Event, meta: &Meta) -> Value {
    let data = serde_json::to_value(event).unwrap_or_default();
    let data = data.as_object().and_then(|o| o.values().next().cloned()).unwrap_or_default();
    json!({
        "index": index.0,
        "at": at.to_string(),
        "type": event.name(),
        "derived": event.nature() == Nature::Decision,
        "subject": job_of(index, event).map(|j| j.to_string()),
        "project": meta.project.map(|p| p.to_string()),
        "cause": meta.cause.map(|c| c.0),
        "key": by.and_then(|b| b.key).map(|k| k.to_string()),
        "data": data,
    })
}

/// Collects the lines of one turn while it is folded.
pub struct Lines {
    pub lines: Vec<Value>,
    at: Timestamp,
}

impl Lines {
    pub fn new(turn: &Turn, _head: &Head) -> Lines {
        Lines { lines: Vec::new(), at: turn.at }
    }
}

impl Observer for Lines {
    fn event(&mut self, index: EventIndex, by: Option<&By>, event: &Event, meta: &Meta, _: &World) {
        self.lines.push(line(index, self.at, by, event, meta));
    }
}
