//! Why something waits: pure queries on the state, by the very code that decides.
//!
//! Every requirement is counted with [`crate::decide::matches`], and whether an agent could be given
//! the shard now is asked of the decider's own search, so an explanation cannot drift from the policy.

mod agent;
mod funnel;
mod job;
mod shard;
mod wishes;

use crate::cow::digest_of;
use crate::decide::POLICY;
use crate::world::World;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Display;
use forge_event::*;
use serde::{Serialize, Serializer};

/// Agents an explanation lists.
const AGENTS_MAX: usize = 20;
/// Changes that are tried.
const CHANGES_MAX: usize = 8;

/// What decides that something waits, runs or is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The job is not cut into shards yet.
    Planning,
    /// Its project cannot hold what it may cost.
    WaitingForCredits,
    /// The shard failed a moment ago.
    BackingOff,
    /// Only agents that failed at the shard are there; it waits a while for others.
    AvoidingAgents,
    /// No agent ever enrolled.
    NoAgents,
    /// No agent meets a requirement.
    NoMatchingAgent,
    /// Agents that could do it have no session.
    AllAgentsLost,
    /// Agents that could do it take no more work.
    AllAgentsDraining,
    /// Agents that could do it have no room.
    NoFreeSlot,
    /// The project has as many shards under way as its quota allows.
    ProjectLimit,
    /// Other projects are owed more.
    BehindOtherProjects,
    /// Other jobs of the project stand before it.
    BehindOtherJobs,
    /// It will be assigned in the next turn.
    NextTurn,
    /// An agent holds its lease.
    Leased,
    /// Accepted; a seal of its agent has to cover it.
    WaitsForSeal,
    /// Its result is folded.
    Done,
    /// All results are in; the document is being made.
    Reducing,
    /// The job is over.
    JobOver,
    /// The agent has never had a session.
    NeverJoined,
    /// The agent's session is over.
    Offline,
    /// The agent takes no more work.
    Draining,
    /// The agent holds as many leases as its window allows.
    WindowFull,
    /// Nothing is pending anywhere.
    NothingPending,
    /// What is pending asks for something the agent does not have.
    NoMatchingWork,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Decisive {
    pub code: Reason,
    #[serde(serialize_with = "position")]
    pub since_index: Option<EventIndex>,
}

/// How many are left after one more condition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Step {
    pub step: String,
    pub n: u64,
}

/// One agent, and why it is or is not the one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct AgentVerdict {
    pub id: String,
    pub owner: String,
    /// `free`, `busy`, `excluded`, `draining`, `offline`, `avoided`, `holds`.
    pub verdict: &'static str,
    /// The condition it does not meet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Deadline of its oldest lease, or end of its grace. Log time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// One of the leases it works on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs: Option<String>,
}

/// A change that would help, tried on the same code.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Change {
    pub change: String,
    /// Agents it adds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adds: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub moves_ahead_of: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PolicyUsed {
    pub id: String,
    /// BLAKE3 of the head's digest and the subject: names the state and the question.
    pub inputs_digest: String,
}

/// Why something is where it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Explanation {
    pub subject: String,
    pub at: u64,
    pub state: &'static str,
    pub headline: String,
    pub decisive: Decisive,
    pub funnel: Vec<Step>,
    /// Empty unless the caller may see names.
    pub agents: Vec<AgentVerdict>,
    pub would_help: Vec<Change>,
    pub policy: PolicyUsed,
}

fn position<S: Serializer>(index: &Option<EventIndex>, serializer: S) -> Result<S::Ok, S::Error> {
    index.map(|i| i.0).serialize(serializer)
}

/// Seconds until `then`, as people say it.
fn span(now: Timestamp, then: Timestamp) -> String {
    match then.since(now).0 {
        ms @ 0..=9_999 => alloc::format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        ms => alloc::format!("{} s", ms / 1000),
    }
}

impl World {
    fn explanation(&self, subject: impl Display, state: &'static str, why: Why) -> Explanation {
        let Why { code, since, headline, funnel, agents, would_help } = why;
        let subject = subject.to_string();
        Explanation {
            at: self.head.events,
            state,
            headline,
            decisive: Decisive { code, since_index: since },
            funnel,
            agents,
            would_help,
            policy: PolicyUsed {
                id: alloc::format!("sched@{}", POLICY.0),
                inputs_digest: digest_of(&(self.head.digest, subject.as_str())).to_string(),
            },
            subject,
        }
    }
}

/// An explanation in the making.
struct Why {
    code: Reason,
    since: Option<EventIndex>,
    headline: String,
    funnel: Vec<Step>,
    agents: Vec<AgentVerdict>,
    would_help: Vec<Change>,
}

impl Why {
    fn new(code: Reason, since: impl Into<Option<EventIndex>>, headline: impl Into<String>) -> Why {
        let (funnel, agents, would_help) = Default::default();
        Why { code, since: since.into(), headline: headline.into(), funnel, agents, would_help }
    }
}
