//! What agents and hubs say to each other, one enum a direction.
//!
//! postcard numbers variants by their order: both enums are append-only, with a golden frame a variant.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use forge_event::*;
use serde::{Deserialize, Serialize};

/// From the agent to the hub.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum AgentToHub {
    /// First on the control stream.
    Hello(Hello),
    /// Control: the agent's signature over its chain.
    Seal(Seal),
    /// Control: how busy it is, and how fast, as it measures itself.
    Report {
        load_permille: u16,
        /// Work units a millisecond.
        speed: u32,
    },
    /// Control: no more work, please.
    Draining,
    /// Control: nothing is held, everything is sealed; the connection closes next.
    Leaving,
    /// On an enrolment connection: spends a token with the connection's own key.
    Enrol { secret: Secret },
    /// On an attempt's stream: this attempt is held already; its result follows, nothing is computed again.
    Have,
    /// On an attempt's stream, once, then the agent's side ends.
    Result { digest: Digest, bytes: Vec<u8> },
    /// On an attempt's stream, once, then the agent's side ends.
    Failed {
        /// Kebab-case, at most [`crate::limits::CODE_BYTES_MAX`] bytes.
        code: String,
        /// At most [`crate::limits::DETAIL_BYTES_MAX`] bytes; never logged as an event.
        detail: String,
    },
    /// Control: what a running attempt has done so far. Nothing answers it: it helps, or is forgotten.
    Checkpoint(Checkpoint),
}

/// From the hub to the agent.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum HubToAgent {
    /// Control: the answer to [`AgentToHub::Hello`].
    Welcome(Welcome),
    /// Control: the hubs changed; all of them, own included.
    Addresses(Vec<HubAddress>),
    /// Control: finish what runs, then leave.
    Drain,
    /// Control: a seal does not continue the chain that the log holds.
    SealRejected { position: u64 },
    /// The answer to [`AgentToHub::Enrol`].
    Enrolled(Enrolled),
    /// The answer to [`AgentToHub::Enrol`].
    EnrolRefused(EnrolRefusal),
    /// First on an attempt's stream.
    Assign(Assign),
    /// On an attempt's stream, after commit; the hub's side ends. The result need not be kept any longer.
    Ack {
        /// In the agent's chain, from 1.
        position: u64,
        fate: Fate,
    },
    /// On an attempt's stream, after commit of a failure; the hub's side ends.
    FailureRecorded,
    /// On an attempt's stream: stop, forget it; the hub's side ends.
    Cancel { reason: CancelReason },
}

/// 32 secret bytes; never shown.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(pub [u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// An agent presents itself and everything it holds.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Hello {
    /// [`crate::PROTOCOL_VERSION`].
    pub protocol: u16,
    pub agent: AgentId,
    pub slots: u32,
    pub capabilities: Capabilities,
    /// The agent's chain as it knows it.
    pub position: u64,
    pub chain: [u8; 32],
    /// Attempts without a result yet. Ascending.
    pub held: Vec<LeaseId>,
    /// Results that were not acknowledged. Ascending.
    pub unacknowledged: Vec<(LeaseId, Digest)>,
}

/// A session is up.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Welcome {
    pub epoch: Epoch,
    /// The agent's chain as the log knows it.
    pub position: u64,
    pub chain: [u8; 32],
    /// Position of the last sealed result.
    pub sealed: u64,
    /// The fate of everything presented: `held` first, then `unacknowledged`, in their order.
    pub fates: Vec<(LeaseId, Presented)>,
    pub hubs: Vec<HubAddress>,
}

/// What became of something presented.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum Presented {
    /// Go on; its stream opens soon.
    Live,
    /// Its result is in the log: as an [`HubToAgent::Ack`].
    Recorded { position: u64, fate: Fate },
    /// Forget it.
    Gone(Gone),
}

/// Why a lease is no longer the agent's.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum Gone {
    /// It expired, or was revoked.
    Ended,
    /// Its job ended.
    JobOver,
    /// There never was such a lease of this agent.
    NotYours,
}

/// What became of a result.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum Fate {
    Accepted,
    Refused(RefusalCode),
    /// Accepted at first, then voided because no seal covered it in time.
    Voided,
}

/// Why an attempt is over.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum CancelReason {
    Expired,
    Revoked(RevokeReason),
    /// Not live any longer, for a reason this node did not see.
    Ended,
}

/// Where agents reach a hub node, and the key that it proves.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Debug)]
pub struct HubAddress {
    /// `HOST:PORT`, UDP.
    pub address: String,
    /// Ed25519.
    pub public_key: [u8; 32],
}

/// An attempt for the agent.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Assign {
    pub lease: LeaseId,
    pub kind: String,
    pub family_version: u16,
    /// Log time; for planning only: the hub may extend it, and says so by not cancelling.
    pub deadline: Timestamp,
    /// For the executor of this kind and version.
    pub payload: Vec<u8>,
    /// The way to the blobs that the payload names, and for those that the result will; `None`: there are none.
    pub blobs: Option<BlobAccess>,
}

/// An attempt's way to blobs: signed URLs, good at every node.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct BlobAccess {
    /// Scheme and authority of the nodes' REST doors, e.g. `https://10.0.0.1:7400`; try them in order.
    pub bases: Vec<String>,
    /// The certificate that verifies them, PEM; `None` where they are plain.
    pub ca: Option<String>,
    /// What may be read: `GET {base}/v1/blobs/{digest}?{query}`.
    pub read: Vec<BlobGrant>,
    /// Query under which any blob of the attempt's job may be put: `PUT {base}/v1/blobs/{digest}?{query}`.
    pub keep: String,
}

/// The right to read one blob.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct BlobGrant {
    pub digest: Digest,
    pub bytes: u64,
    pub query: String,
}

/// A result of an attempt's first cells.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Checkpoint {
    pub lease: LeaseId,
    /// Done since the attempt began.
    pub cells: u64,
    pub bytes: Vec<u8>,
    /// Ed25519 over [`seal::checkpoint_message`]: 64 bytes, as two halves.
    pub signature: [[u8; 32]; 2],
}

/// The agent's signature over its chain.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Seal {
    /// It covers positions `1..=upto`.
    pub upto: u64,
    pub head: [u8; 32],
    /// Ed25519 over `forge_event::seal::message`: 64 bytes, as two halves.
    pub signature: [[u8; 32]; 2],
}

/// An agent came into being.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Enrolled {
    pub agent: AgentId,
    pub provider: ProviderId,
    /// The cluster's id.
    pub cluster: Digest,
    pub hubs: Vec<HubAddress>,
}

/// Why a token was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum EnrolRefusal {
    /// It was used.
    Spent,
    /// It expired, or was never given.
    Unknown,
    /// No leader just now; the token is not spent, try again.
    Unavailable,
    /// The key belongs to an enrolled agent already.
    KeyInUse,
}

impl EnrolRefusal {
    /// The problem code that the CLI and the API show.
    pub fn code(self) -> &'static str {
        match self {
            EnrolRefusal::Spent => "enrolment-spent",
            EnrolRefusal::Unknown => "token-unknown",
            EnrolRefusal::Unavailable => "no-leader",
            EnrolRefusal::KeyInUse => "key-in-use",
        }
    }
}
