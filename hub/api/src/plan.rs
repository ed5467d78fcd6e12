//! `POST /v1/plans`: what a submission would become. Nothing is committed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PlannedShards {
    pub count: u64,
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

/// A plan.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// Of the first stage's plan; `expect_plan` takes it, or its first digits.
    pub digest: String,
    pub kind: String,
    pub shards: PlannedShards,
    pub credits: PlannedCredits,
    pub capacity: Capacity,
    pub warnings: Vec<String>,
    pub as_of_index: u64,
}
