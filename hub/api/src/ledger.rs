//! The books, as clients see them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct AccountBalance {
    #[schema(example = "project:p3:available")]
    pub account: String,
    #[schema(example = "979.000000")]
    pub balance: String,
}

/// `GET /v1/ledger/trial-balance`: the sum over all accounts is zero.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct TrialBalance {
    #[schema(example = "0.000000")]
    pub sum: String,
    pub accounts: u64,
    pub as_of_index: u64,
}

/// The answer to `POST /v1/projects/{id}/credits`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Transfer {
    #[schema(example = "t9")]
    pub transfer: String,
    pub project: String,
    pub amount: String,
    pub reference: String,
}
