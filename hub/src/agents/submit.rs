//! What a session wants of the leader, as commands; the leader's word, as verdicts.

use crate::handle::Hub;
use forge_event::*;
use forge_projections::{Command, CommandError, Rejection};
use forge_protocol::{Fate, Recorded, Submission, Verdict};

/// Submits and waits for the verdict.
pub async fn submit(hub: Hub, agent: AgentId, epoch: Epoch, submission: Submission) -> Verdict {
    let fact = |event: Event| Command::Fact(event.into());
    match submission {
        Submission::Deliver(deliveries) => {
            let count = deliveries.len();
            let deliveries = deliveries.into_iter().map(delivery).collect();
            match hub.command(Command::Deliver { agent, epoch, deliveries }).await {
                Ok(committed) if committed.recorded.len() == count => {
                    Verdict::Recorded(committed.recorded.into_iter().map(recorded).collect())
                }
                // The log knows of these results what this session does not: the next welcome tells.
                Ok(_) => Verdict::Stale,
                Err(error) => refused(error),
            }
        }
        Submission::ReportFailed { lease: LeaseId { job, shard, attempt }, code } => {
            let failed = ShardReportedFailed { job, agent, epoch, attempt, shards: Runs::one(shard), code };
            simple(&hub, fact(failed.into())).await
        }
        Submission::Seal(forge_protocol::Seal { upto, head, signature }) => {
            let sealed = ResultsSealed { agent, upto, head, signature };
            let verdict = simple(&hub, fact(sealed.into())).await;
            let is_sealed = || hub.read(|w| w.agents.agents.get(&agent).is_some_and(|a| a.sealed >= upto));
            // An earlier try, of which nobody knew, was committed.
            if verdict == Verdict::Refused && is_sealed() { Verdict::Committed } else { verdict }
        }
        Submission::Draining => simple(&hub, fact(AgentDraining { agent, epoch }.into())).await,
        Submission::Lost(reason) => simple(&hub, fact(AgentLost { agent, epoch, reason }.into())).await,
    }
}

async fn simple(hub: &Hub, command: Command) -> Verdict {
    match hub.command(command).await {
        Ok(_) => Verdict::Committed,
        Err(error) => refused(error),
    }
}

fn refused(error: CommandError) -> Verdict {
    match error {
        CommandError::Rejected(Rejection::StaleEpoch { .. }) => Verdict::Stale,
        CommandError::Rejected(Rejection::AgentUnknown) => Verdict::AgentUnknown,
        // The agent's next seal makes room.
        CommandError::Rejected(Rejection::TooManyUnsealed { .. }) => Verdict::Again,
        CommandError::Rejected(_) => Verdict::Refused,
        CommandError::NoLeader
        | CommandError::Overloaded
        | CommandError::Refusing(_)
        | CommandError::Unknown
        | CommandError::Internal => Verdict::Again,
    }
}

fn delivery(d: forge_protocol::Delivery) -> forge_projections::Delivery {
    forge_projections::Delivery {
        lease: d.lease,
        digest: d.digest,
        root: None,
        bytes: d.bytes.len() as u64,
        inline: Some(d.bytes),
        checks: d.checks,
    }
}

fn recorded(r: forge_projections::Recorded) -> Recorded {
    let fate = match r.fate {
        forge_projections::Fate::Accepted => Fate::Accepted,
        forge_projections::Fate::Refused(code) => Fate::Refused(code),
        forge_projections::Fate::Voided => Fate::Voided,
    };
    Recorded { lease: r.lease, position: r.position, fate }
}
