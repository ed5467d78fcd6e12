//! The agent protocol: messages, frames, tokens, and the two session machines.
//!
//! Pure: `now` is an argument, randomness and sockets are the driver's. `README.md` describes the
//! protocol to the byte, so that an agent can be written in any language.
#![no_std]

extern crate alloc;

pub mod agent;
pub mod close;
pub mod frame;
pub mod hub;
pub mod limits;
pub mod message;
pub mod token;

pub use agent::{AgentSession, Answer, ChainFault, Outcome, SealDue, Start};
pub use close::CloseCode;
pub use frame::{Assembler, FrameError};
pub use hub::{Action, Delivery, HubSession, Recorded, Submission, SubmissionId, Verdict};
pub use message::{
    AgentToHub, Assign, BlobAccess, BlobGrant, CancelReason, Checkpoint, EnrolRefusal, Enrolled, Fate, Gone, Hello,
    HubAddress, HubToAgent, Presented, Seal, Welcome,
};
pub use token::{Token, TokenError, TokenKind};

/// ALPN of an agent's session.
pub const ALPN_AGENT: &[u8] = b"forge-agent/1";
/// ALPN of an enrolment.
pub const ALPN_ENROL: &[u8] = b"forge-enrol/1";
/// What [`Hello::protocol`] says.
pub const PROTOCOL_VERSION: u16 = 1;

/// A point on the caller's own clock, which never goes back. Units: milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Now(pub u64);

impl Now {
    /// The point `ms` later.
    pub fn plus(self, ms: u64) -> Now {
        Now(self.0.saturating_add(ms))
    }
}
