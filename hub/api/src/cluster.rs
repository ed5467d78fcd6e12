//! The cluster, as operators see it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A node. Positions in Raft's log are Raft indices.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Member {
    #[schema(example = "n1")]
    pub id: String,
    /// REST's `HOST:PORT`.
    pub addr: String,
    /// learner, follower or leader.
    pub role: String,
    /// ok, lagging, lost or unknown; followers know only whom the leader reported lost.
    pub state: String,
    pub last_log: Option<u64>,
    pub lag: Option<u64>,
    /// Milliseconds since its last answer to a heartbeat.
    pub heard_ms: Option<u64>,
    /// Round trip between it and the node that answered, without the connection's set-up; null for itself.
    pub rtt_ms: Option<f64>,
    /// Free space where its log lies. Units: bytes.
    pub disk_free: Option<u64>,
    /// Of the program it runs; null while it does not answer.
    pub version: Option<String>,
    pub agents: String,
    pub peers: String,
    /// Everything up to this index is archived and verified there.
    pub archived_index: u64,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Quorum {
    /// Voters needed.
    pub size: u64,
    pub healthy: u64,
    /// Further failures that can be borne.
    pub tolerates: u64,
}

/// `GET /v1/cluster`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Cluster {
    pub id: String,
    /// The node that answered.
    pub node: String,
    pub leader: Option<String>,
    pub term: u64,
    /// Last event known to be committed, and the last folded here.
    pub committed: u64,
    pub applied: u64,
    pub feature_level: u32,
    pub members: Vec<Member>,
    pub quorum: Quorum,
    pub changing: bool,
    pub incomplete: bool,
    pub storage_degraded: bool,
}

/// `GET /v1/state/digest`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct StateDigest {
    pub index: u64,
    pub digest: String,
    #[schema(value_type = Object)]
    pub parts: Map<String, Value>,
}

/// `GET /version`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Version {
    pub version: String,
    pub policy: u32,
    pub node: String,
    pub cluster: String,
}
