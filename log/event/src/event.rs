//! The one list of event types.

use crate::decision::*;
use crate::fact::*;
use alloc::boxed::Box;
use serde::{Deserialize, Serialize};

/// Which list of a turn an event type belongs to; never both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nature {
    /// Admitted from the world.
    Fact,
    /// Derived by policy.
    Decision,
}

/// How an event lies in the list: rare large ones stand elsewhere, so that the frequent ones are cheap to move.
macro_rules! stored {
    ($variant:ident) => { $variant };
    ($variant:ident boxed) => { Box<$variant> };
}

macro_rules! events {
    ($($variant:ident $nature:ident $name:literal $($boxed:ident)?,)*) => {
        /// An event.
        ///
        /// Invariant: postcard numbers variants by their order here, so the list is append-only.
        #[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
        pub enum Event {
            $($variant(stored!($variant $($boxed)?)),)*
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
                Event::$variant(event.into())
            }
        })*
    };
}

events! {
    LeaderStarted Fact "leader.started",
    NodeInvited Fact "node.invited",
    NodeAdmitted Fact "node.admitted" boxed,
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
    AgentJoined Fact "agent.joined" boxed,
    AgentDraining Fact "agent.draining",
    AgentLost Fact "agent.lost",
    AgentsObserved Fact "agents.observed",
    JobSubmitted Fact "job.submitted" boxed,
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
    BlobRecorded Fact "blob.recorded",
    CheckpointReceived Fact "checkpoint.received" boxed,
    ShardResumed Decision "shard.resumed",
    QuotaChanged Fact "quota.changed" boxed,
}

/// Names that later work gives a meaning; no event may take one for something else.
pub const RESERVED: [&str; 12] = [
    "block.checked",
    "entropy.drawn",
    "recall.listed",
    "payout.confirmed",
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
    /// Whether every set of shards it names is in its one form.
    pub(crate) fn is_canonical(&self) -> bool {
        match self {
            Event::ResultReceived(e) => e.shards.is_canonical(),
            Event::ShardReportedFailed(e) => e.shards.is_canonical(),
            Event::ShardAssigned(e) => e.shards.is_canonical(),
            Event::ShardRequeued(e) => e.shards.is_canonical(),
            Event::LeaseExpired(e) => e.shards.is_canonical(),
            Event::LeaseRevoked(e) => e.shards.is_canonical(),
            Event::ResultAccepted(e) => e.shards.is_canonical(),
            Event::ResultRefused(e) => e.shards.is_canonical(),
            Event::CreditAccrued(e) => e.results.iter().all(|r| r.shards.is_canonical()),
            Event::CreditVoided(e) => e.results.iter().all(|r| r.shards.is_canonical()),
            _ => true,
        }
    }
}
