//! The smaller POST bodies, read strictly.

use crate::fields::{Fields, suggestion};
use crate::text;
use forge_event::*;
use forge_projections::FieldFault;
use forge_projections::projects::UPLOADS_MAX;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// How long a one-time token lives if nothing else is asked for.
pub const TOKEN_TTL_DEFAULT: DurationMs = DurationMs(15 * 60_000);
/// The longest life of a one-time token.
pub const TOKEN_TTL_MAX: DurationMs = DurationMs(30 * 86_400_000);

/// What an amount of credits looks like.
pub(crate) const AMOUNT: &str = "a decimal in quotes, such as \"25.000000\"";

type Read<T> = Result<T, Vec<FieldFault>>;

/// `POST /v1/projects`.
#[derive(Serialize, ToSchema)]
pub struct ProjectRequest {
    pub name: String,
    /// Most that may be in escrow at once.
    pub quota: Option<String>,
    /// Share of the network against other projects, 1 to 1000; 100 if absent.
    pub weight: Option<u16>,
}

/// # Errors
/// Every fault found.
pub fn project(body: &Value) -> Read<ProjectCreated> {
    let mut fields = Fields::of(body);
    fields.required("name");
    let name = fields.name("name");
    let quota = fields.parsed("quota", AMOUNT, str::parse::<Credits>);
    let weight = fields.integer("weight", 1, 1000).map_or(100, |w| w as u16);
    fields.finish(name.map(|name| ProjectCreated { name, quota, weight }))
}

/// `PUT /v1/projects/{id}/quota`: what is null or absent is the hub's own limit, or none.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct QuotaRequest {
    /// Most in escrow at once.
    #[schema(example = "500.000000")]
    pub credits: Option<String>,
    /// Most given to agents and not done at once.
    pub shards: Option<u64>,
    pub blob_bytes: Option<u64>,
    pub blob_count: Option<u64>,
    /// Of the mid-states of open jobs.
    pub vmem_bytes: Option<u64>,
    /// Uploads of blobs at once, on each node.
    pub uploads: Option<u32>,
}

/// # Errors
/// Every fault found.
pub fn quota(body: &Value) -> Read<Quota> {
    let mut fields = Fields::of(body);
    let credits = fields.parsed("credits", AMOUNT, str::parse::<Credits>);
    let mut number = |name| fields.integer(name, 0, u64::MAX);
    let shards = number("shards");
    let (blob_bytes, blob_count, vmem_bytes) = (number("blob_bytes"), number("blob_count"), number("vmem_bytes"));
    let uploads = fields.integer("uploads", 0, u64::from(UPLOADS_MAX)).map(|uploads| uploads as u32);
    fields.finish(Some(Quota { credits, shards, blob_bytes, blob_count, vmem_bytes, uploads }))
}

/// `POST /v1/projects/{id}/credits`.
#[derive(Serialize, ToSchema)]
pub struct CreditsRequest {
    #[schema(example = "1000.000000")]
    pub amount: String,
    pub reference: Option<String>,
}

/// # Errors
/// Every fault found.
pub fn credits(body: &Value, project: ProjectId) -> Read<CreditsIssued> {
    let mut fields = Fields::of(body);
    fields.required("amount");
    let amount = fields.parsed("amount", AMOUNT, |text| match text.parse::<Credits>() {
        Ok(Credits(0)) => Err("nothing is not issued".into()),
        other => other.map_err(|e| e.to_string()),
    });
    let reference = fields.name("reference").unwrap_or_default();
    fields.finish(amount.map(|amount| CreditsIssued { project, amount, reference }))
}

/// `POST /v1/keys`.
#[derive(Serialize, ToSchema)]
pub struct KeyRequest {
    /// Null or absent: a cluster key, bound to no project.
    pub project: Option<String>,
    pub label: String,
    #[schema(example = json!(["jobs:read", "jobs:write"]))]
    pub scopes: Vec<String>,
    pub expires_at: Option<String>,
}

/// Everything of a key but its digest.
///
/// # Errors
/// Every fault found.
pub fn key(body: &Value) -> Read<KeyCreated> {
    let mut fields = Fields::of(body);
    let project = fields.parsed("project", "a project's id, such as \"p7\"", str::parse::<ProjectId>);
    fields.required("label");
    let label = fields.name("label");
    fields.required("scopes");
    let empty = body["scopes"].as_array().is_some_and(Vec::is_empty);
    let mut scopes = Vec::new();
    for (at, word) in fields.items("scopes") {
        match Scope::named(&word) {
            Some(scope) => scopes.push(scope),
            None => {
                let fix = suggestion(&word, Scope::ALL.map(Scope::name)).unwrap_or_else(scopes_there_are);
                fields.fault_in("scopes", at, "out-of-range", format!("there is no scope `{word}`"), Some(fix));
            }
        }
    }
    if empty {
        fields.fault("scopes", "out-of-range", "a key has at least one scope", Some(scopes_there_are()));
    }
    scopes.sort();
    scopes.dedup();
    let expires_at = fields.parsed("expires_at", "a time such as \"2026-11-23T10:14:03.221Z\"", text::time);
    fields.finish(label.map(|label| KeyCreated { label, scopes, project, expires_at, digest: Digest::default() }))
}

fn scopes_there_are() -> String {
    format!("choose of {}", Scope::ALL.map(Scope::name).join(", "))
}

/// `POST /v1/providers`.
#[derive(Serialize, ToSchema)]
pub struct ProviderRequest {
    pub name: String,
}

/// # Errors
/// Every fault found.
pub fn provider(body: &Value) -> Read<ProviderCreated> {
    let mut fields = Fields::of(body);
    fields.required("name");
    let name = fields.name("name");
    fields.finish(name.map(|name| ProviderCreated { name }))
}

/// `POST /v1/agents/enrolments`.
#[derive(Serialize, ToSchema)]
pub struct EnrolmentRequest {
    #[schema(example = "v12")]
    pub provider: String,
    /// 15 minutes if absent.
    #[schema(example = "15m")]
    pub ttl: Option<String>,
    /// Run by the operator: its results are taken for true.
    pub anchor: Option<bool>,
}

/// What an enrolment asks for: provider, anchor, life of the token.
///
/// # Errors
/// Every fault found.
pub fn enrolment(body: &Value) -> Read<(ProviderId, bool, DurationMs)> {
    let mut fields = Fields::of(body);
    fields.required("provider");
    let provider = fields.parsed("provider", "a provider's id, such as \"v12\"", str::parse::<ProviderId>);
    let ttl = ttl(&mut fields);
    let anchor = fields.flag("anchor").unwrap_or(false);
    fields.finish(provider.map(|provider| (provider, anchor, ttl)))
}

/// `POST /v1/cluster/members`.
#[derive(Serialize, ToSchema)]
pub struct InviteRequest {
    /// 15 minutes if absent.
    pub ttl: Option<String>,
}

/// Life of a node's token.
///
/// # Errors
/// Every fault found.
pub fn invite(body: &Value) -> Read<DurationMs> {
    let mut fields = Fields::of(body);
    let ttl = ttl(&mut fields);
    fields.finish(Some(ttl))
}

fn ttl(fields: &mut Fields<'_>) -> DurationMs {
    let read = |text: &str| match text::duration(text) {
        Ok(DurationMs(0)) => Err("a token lives longer than that"),
        Ok(ttl) if ttl > TOKEN_TTL_MAX => Err("a token lives at most 30 days"),
        other => other,
    };
    fields.parsed("ttl", "a span such as \"15m\", of 1 ms to 30 days", read).unwrap_or(TOKEN_TTL_DEFAULT)
}

/// `POST /v1/jobs/{id}/cancel`.
#[derive(Serialize, ToSchema)]
pub struct ReasonRequest {
    pub reason: Option<String>,
}

/// # Errors
/// Every fault found.
pub fn reason(body: &Value) -> Read<Option<String>> {
    let mut fields = Fields::of(body);
    let reason = fields.name("reason");
    fields.finish(Some(reason))
}

/// `POST /v1/cluster/leader/transfer`.
#[derive(Serialize, ToSchema)]
pub struct TransferRequest {
    #[schema(example = "n2")]
    pub node: String,
}

/// # Errors
/// Every fault found.
pub fn transfer(body: &Value) -> Read<NodeId> {
    let mut fields = Fields::of(body);
    fields.required("node");
    let node = fields.parsed("node", "a node's id, such as \"n2\"", str::parse::<NodeId>);
    fields.finish(node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_key_needs_scopes_that_exist() {
        let key = key(&json!({"project": "p3", "label": "ci", "scopes": ["jobs:write", "jobs:read"]})).expect("fine");
        assert_eq!(key.scopes, [Scope::JobsRead, Scope::JobsWrite]);
        let faults = super::key(&json!({"label": "ci", "scopes": ["jobs:wriet"]})).expect_err("misspelt");
        assert_eq!(faults[0].fix.as_deref(), Some("did you mean `jobs:write`?"));
        let faults = super::key(&json!({"label": "ci", "scopes": ["jobs:read", "everything"]})).expect_err("no such");
        assert_eq!((faults.len(), faults[0].pointer.as_str()), (1, "/scopes/1"));
        assert!(faults[0].fix.as_ref().is_some_and(|fix| fix.contains("cluster:admin")));
        assert!(super::key(&json!({"label": "ci", "scopes": []})).is_err());
    }

    #[test]
    fn credits_are_a_positive_decimal_string() {
        assert!(credits(&json!({"amount": "1000.000000", "reference": "r"}), ProjectId(3)).is_ok());
        for amount in [json!(5), json!("0"), json!("-1"), json!("1e3"), json!(null)] {
            assert!(credits(&json!({"amount": amount}), ProjectId(3)).is_err());
        }
    }

    #[test]
    fn a_token_lives_15_minutes_unless_asked_otherwise() {
        assert_eq!(enrolment(&json!({"provider": "v12"})), Ok((ProviderId(12), false, TOKEN_TTL_DEFAULT)));
        assert!(enrolment(&json!({"provider": "v12", "ttl": "400d"})).is_err());
        assert!(invite(&json!({})).is_ok());
    }
}
