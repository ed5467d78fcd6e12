//! Why a command was refused: the caller's, closed, each maps to one problem type of the API.

use crate::family::SpecFault;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use forge_event::*;
use serde::{Deserialize, Serialize};

/// A fault in one field of a request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FieldFault {
    pub pointer: String,
    pub code: String,
    pub detail: String,
    pub fix: Option<String>,
}

impl From<SpecFault> for FieldFault {
    fn from(f: SpecFault) -> Self {
        FieldFault { pointer: f.pointer, code: f.code.into(), detail: f.detail, fix: f.fix }
    }
}

/// Why a command was refused. Nothing was applied.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Rejection {
    /// Fields at fault, at least one.
    Invalid(Vec<FieldFault>),
    /// There is no such thing, or not in this project. What was looked for.
    NotFound(String),
    /// The thing is not in a state for this. What was asked, and why not.
    InvalidTransition { asked: String, reason: String },
    /// The Idempotency-Key was used for another request.
    IdempotencyKeyReuse { first: EventIndex },
    /// The same Idempotency-Key is being worked on.
    IdempotencyInFlight,
    /// Too many remembered keys in the project.
    IdempotencyFull,
    /// No registered agent class can match.
    Unschedulable { detail: String },
    /// Credits do not reach, or there is no room.
    QuotaExceeded { detail: String },
    /// What the caller saw was changed since, by this event.
    StaleEtag { current: EventIndex },
    /// The key lacks this scope at this index.
    Forbidden { scope: Scope },
    /// The key is revoked, expired, or not known.
    KeyNotLive(KeyId),
    /// The one-time token was used.
    EnrolmentSpent,
    /// The one-time token expired, or was never given.
    TokenUnknown,
    /// The session's epoch is not the current one.
    StaleEpoch { agent: AgentId, current: Epoch },
    /// The agent is not enrolled, or removed.
    AgentUnknown,
    /// Too many results wait for a seal.
    TooManyUnsealed { limit: u64 },
    /// The seal does not continue the agent's chain, or its signature does not fit.
    BadSeal { position: u64 },
    /// The effect is not current: started again, finished, or its job is over.
    EffectNotCurrent(EffectId),
    /// Time would go back.
    TimeGoesBack,
    /// The change would lose the quorum.
    QuorumAtRisk { detail: String },
    /// A fact that only the hub itself may make does not fit the state.
    Internal { detail: String },
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejection::Invalid(faults) => match faults.first() {
                Some(first) => write!(f, "{}: {}", first.pointer, first.detail),
                None => f.write_str("the request is not valid"),
            },
            Rejection::NotFound(what) => write!(f, "there is no {what}"),
            Rejection::InvalidTransition { asked, reason } => write!(f, "{asked}: {reason}"),
            Rejection::IdempotencyKeyReuse { first } => {
                write!(f, "this Idempotency-Key was used for another request, at index {first}; choose a new one")
            }
            Rejection::IdempotencyInFlight => {
                f.write_str("a request with this Idempotency-Key is being worked on; try again")
            }
            Rejection::IdempotencyFull => {
                f.write_str("the project remembers too many Idempotency-Keys; they expire after 24 h")
            }
            Rejection::Unschedulable { detail } | Rejection::QuotaExceeded { detail } => f.write_str(detail),
            Rejection::StaleEtag { current } => {
                write!(f, "it was changed by event {current} since you read it; read it again")
            }
            Rejection::Forbidden { scope } => write!(f, "the key lacks the scope {}", scope.name()),
            Rejection::KeyNotLive(key) => write!(f, "key {key} is revoked, expired or unknown"),
            Rejection::EnrolmentSpent => f.write_str("the enrolment token was used before; ask for a new one"),
            Rejection::TokenUnknown => f.write_str("the token is expired or unknown; ask for a new one"),
            Rejection::StaleEpoch { agent, current } => write!(f, "agent {agent} has a newer session, epoch {current}"),
            Rejection::AgentUnknown => f.write_str("the agent is not enrolled, or was removed"),
            Rejection::TooManyUnsealed { limit } => write!(f, "more than {limit} results wait for a seal; seal first"),
            Rejection::BadSeal { position } => {
                write!(f, "the seal at position {position} does not continue the agent's chain")
            }
            Rejection::EffectNotCurrent(effect) => write!(f, "effect {effect} is not current"),
            Rejection::TimeGoesBack => f.write_str("log time does not go back"),
            Rejection::QuorumAtRisk { detail } | Rejection::Internal { detail } => f.write_str(detail),
        }
    }
}

impl core::error::Error for Rejection {}
