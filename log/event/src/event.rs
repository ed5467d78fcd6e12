//! The one list of event types.

use crate::decision::*;
use crate::fact::*;
use serde::{Deserialize, Serialize};

/// Which list of a turn an event type belongs to; never both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nature {
    /// Admitted from the world.
    Fact,
    /// Derived by policy.
    Decision,
}

macro_rules! events {
    ($($variant:ident $nature:ident $name:literal,)*) => {
        /// An event.
        ///
        /// Invariant: postcard numbers variants by their order here, so the list is append-only.
        #[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
        pub enum Event {
            $($variant($variant),)*
        }

        impl Event {
            /// Name in exports, `?type=` and SSE, with its nature, in encoding order.
            pub const TYPES: &'static [(&'static str, Nature)] = &[$(($name, Nature::$nature),)*];

            /// Name in exports, `?type=` and SSE.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Event::$variant(_) => $name,)*
                }
            }

            pub fn nature(&self) -> Nature {
                match self {
                    $(Event::$variant(_) => Nature::$nature,)*
                }
            }
        }

        $(impl From<$variant> for Event {
            fn from(event: $variant) -> Event {
                Event::$variant(event)
            }
        })*
    };
}

events! {
    LeaderStarted Fact "leader.started",
    NodeInvited Fact "node.invited",
    NodeAdmitted Fact "node.admitted",
    NodeMoved Fact "node.moved",
    NodeRemoved Fact "node.removed",
    NodeLost Fact "node.lost",
    SegmentArchived Fact "segment.archived",
    ProjectCreated Fact "project.created",
    KeyCreated Fact "key.created",
    KeyRevoked Fact "key.revoked",
    ProviderCreated Fact "provider.created",
    PolicyChanged Fact "policy.changed",
    EnrolmentCreated Fact "enrolment.created",
    AgentEnrolled Fact "agent.enrolled",
    AgentJoined Fact "agent.joined",
    AgentDraining Fact "agent.draining",
    AgentLost Fact "agent.lost",
    AgentsObserved Fact "agents.observed",
    JobSubmitted Fact "job.submitted",
    JobCancelRequested Fact "job.cancel_requested",
    StagePlanned Fact "stage.planned",
    EffectStarted Fact "effect.started",
    EffectFailed Fact "effect.failed",
    ResultReceived Fact "result.received",
    ResultsSealed Fact "results.sealed",
    ShardReportedFailed Fact "shard.reported_failed",
    JobReduced Fact "job.reduced",
    CreditsIssued Fact "credits.issued",
    JobAdmitted Decision "job.admitted",
    JobSucceeded Decision "job.succeeded",
    JobFailed Decision "job.failed",
    JobCancelled Decision "job.cancelled",
    ShardAssigned Decision "shard.assigned",
    ShardRequeued Decision "shard.requeued",
    LeaseExpired Decision "lease.expired",
    LeaseRevoked Decision "lease.revoked",
    ResultAccepted Decision "result.accepted",
    ResultRefused Decision "result.refused",
    CreditHeld Decision "credit.held",
    CreditAccrued Decision "credit.accrued",
    CreditVoided Decision "credit.voided",
    CreditReleased Decision "credit.released",
    StateRooted Decision "state.rooted",
}

/// Names that later work gives a meaning; no event may take one for something else.
pub const RESERVED: [&str; 13] = [
    "block.checked",
    "entropy.drawn",
    "recall.listed",
    "payout.confirmed",
    "blob.recorded",
    "shard.verified",
    "audit.chosen",
    "agent.sandboxed",
    "agent.released",
    "agent.removed",
    "agent.convicted",
    "job.recalled",
    "credit.posted",
];

impl Event {
    /// Every set of shards it names, for the canonical-form check of the codec.
    pub(crate) fn runs(&self) -> alloc::vec::Vec<&crate::runs::Runs> {
        use alloc::vec;
        match self {
            Event::ResultReceived(e) => vec![&e.shards],
            Event::ShardReportedFailed(e) => vec![&e.shards],
            Event::ShardAssigned(e) => vec![&e.shards],
            Event::ShardRequeued(e) => vec![&e.shards],
            Event::LeaseExpired(e) => vec![&e.shards],
            Event::LeaseRevoked(e) => vec![&e.shards],
            Event::ResultAccepted(e) => vec![&e.shards],
            Event::ResultRefused(e) => vec![&e.shards],
            Event::CreditAccrued(e) => e.results.iter().map(|r| &r.shards).collect(),
            Event::CreditVoided(e) => e.results.iter().map(|r| &r.shards).collect(),
            _ => vec![],
        }
    }
}
