//! `POST /v1/plans`: what a submission would become. Nothing is committed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An estimate, in seconds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Seconds {
    pub p50: f64,
    pub p95: f64,
}

/// An estimate of a span.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Spans {
    #[schema(example = "17s")]
    pub p50: String,
    #[schema(example = "34s")]
    pub p95: String,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PlannedShards {
    pub count: u64,
    /// One shard on one slot.
    pub est_seconds: Seconds,
    /// `learnt`: by the timing profiles of the classes that match; `model`: by the family's cost model alone.
    #[schema(example = "learnt")]
    pub est_basis: String,
}

/// Work that is done again to check it, as a share of the job's own.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Replication {
    /// Never less.
    pub floor: f64,
    pub expected_overhead: f64,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PlannedCredits {
    pub low: String,
    pub high: String,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Capacity {
    pub matching_agents: u64,
    pub idle: u64,
}

/// An agent that would not get shards of this job, and why.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct RejectedAgent {
    /// Null for callers who may not see other people's agents.
    #[schema(example = "a37")]
    pub agent: Option<String>,
    /// offline, draining, cpu-class, gpu, memory, region or software; more may come.
    #[schema(example = "cpu-class")]
    pub code: String,
}

/// A plan.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// Of the first stage's plan; `expect_plan` takes it, or its first digits.
    pub digest: String,
    pub kind: String,
    pub shards: PlannedShards,
    pub replication: Replication,
    pub credits: PlannedCredits,
    /// From submission to result if no other job stands before it; null while no agent matches.
    pub eta: Option<Spans>,
    pub capacity: Capacity,
    /// The first hundred.
    pub rejected_agents: Vec<RejectedAgent>,
    pub warnings: Vec<String>,
    pub as_of_index: u64,
}
