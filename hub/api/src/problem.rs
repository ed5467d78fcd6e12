//! The error body: `application/problem+json` (RFC 9457).

use crate::code::Code;
use forge_projections::{CommandError, FieldFault, Refusing, Rejection};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// A fault of one field.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// JSON pointer into the body, as a URI fragment: `#/limits/max_credits`.
    #[schema(example = "#/spec/sample")]
    pub pointer: String,
    #[schema(example = "unknown-field")]
    pub code: String,
    pub detail: String,
}

/// Why a request was not answered as asked.
///
/// Invariant: `type`, `retryable` and `outcome` follow from the code, `title` from code and status.
#[derive(Clone, PartialEq, Debug)]
pub struct Problem {
    pub code: Code,
    pub status: u16,
    pub detail: String,
    pub errors: Vec<FieldError>,
    pub fix: Vec<String>,
    pub occurrence: Box<Occurrence>,
    /// Fields of this one problem, such as `first_index`.
    pub more: Box<Map<String, Value>>,
}

/// Which request met the problem; filled in at the door.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Occurrence {
    pub instance: Option<String>,
    pub request_id: Option<String>,
    pub log_index: Option<u64>,
}

/// [`Problem`] as it stands in the API description.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    #[schema(example = "/docs/errors/quota-exceeded")]
    pub r#type: String,
    pub title: String,
    pub status: u16,
    /// Closed list; programs must tolerate codes that are added later.
    #[schema(example = "quota-exceeded")]
    pub code: String,
    pub detail: String,
    pub instance: Option<String>,
    pub request_id: Option<String>,
    pub log_index: Option<u64>,
    pub retryable: bool,
    /// `not_applied` or `unknown`.
    pub outcome: String,
    pub errors: Vec<FieldError>,
    pub fix: Vec<String>,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Problem {
        Problem {
            code,
            status: code.status(),
            detail: detail.into(),
            errors: Vec::new(),
            fix: Vec::new(),
            occurrence: Box::default(),
            more: Box::default(),
        }
    }

    /// Nothing by this name that the caller may see.
    pub fn not_found(what: impl core::fmt::Display) -> Problem {
        Problem::new(Code::NotFound, format!("there is no {what}"))
    }

    /// A malformed query parameter or header (400).
    pub fn bad_parameter(name: &str, detail: impl core::fmt::Display) -> Problem {
        Problem::new(Code::InvalidRequest, format!("{name}: {detail}"))
    }

    /// Faults of fields (422). The first fault's code is the problem's, if it is one of ours.
    pub fn fields(faults: Vec<FieldFault>) -> Problem {
        let first = faults.first();
        let code =
            first.and_then(|f| Code::named(&f.code)).filter(|c| c.status() == 422).unwrap_or(Code::InvalidRequest);
        let detail = match first {
            Some(f) => format!("{}: {}", fragment(&f.pointer), f.detail),
            None => "the request is not valid".into(),
        };
        let mut problem = Problem::new(code, detail);
        problem.status = 422;
        for fault in faults {
            problem.errors.push(FieldError {
                pointer: fragment(&fault.pointer),
                code: fault.code,
                detail: fault.detail,
            });
            problem.fix.extend(fault.fix);
        }
        problem
    }

    pub fn with_fix(mut self, fix: impl Into<String>) -> Problem {
        self.fix.push(fix.into());
        self
    }

    /// Adds a field of this one problem.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Problem {
        self.more.insert(name.into(), value.into());
        self
    }

    /// One line, equal for every occurrence of this code and status.
    fn title(&self) -> &'static str {
        match (self.code, self.status) {
            (Code::InvalidRequest, 422) => "A field of the request has a wrong value",
            (code, _) => code.title(),
        }
    }

    /// The body.
    pub fn to_value(&self) -> Value {
        let mut body = json!({
            "type": self.code.path(),
            "title": self.title(),
            "status": self.status,
            "code": self.code.name(),
            "detail": self.detail,
            "instance": self.occurrence.instance,
            "request_id": self.occurrence.request_id,
            "log_index": self.occurrence.log_index,
            "retryable": self.code.retryable(),
            "outcome": self.code.outcome(),
            "errors": self.errors,
            "fix": self.fix,
        });
        if let Some(body) = body.as_object_mut() {
            for (name, value) in self.more.iter() {
                body.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        body
    }

    /// Reads a body of a hub, also a later one with codes this program does not know (they become [`Code::Internal`]
    /// or what the status says, with the true name kept in `more.code`).
    pub fn from_value(body: &Value) -> Option<Problem> {
        let status = u16::try_from(body.get("status")?.as_u64()?).ok()?;
        let name = body.get("code")?.as_str()?;
        let code = Code::named(name).unwrap_or_else(|| nearest(status));
        let text = |field: &str| body.get(field).and_then(Value::as_str).map(String::from);
        let mut problem = Problem::new(code, text("detail").unwrap_or_default());
        problem.status = status;
        problem.errors = body.get("errors").and_then(|e| serde_json::from_value(e.clone()).ok()).unwrap_or_default();
        problem.fix = body.get("fix").and_then(|e| serde_json::from_value(e.clone()).ok()).unwrap_or_default();
        problem.occurrence.instance = text("instance");
        problem.occurrence.request_id = text("request_id");
        problem.occurrence.log_index = body.get("log_index").and_then(Value::as_u64);
        if let Some(body) = body.as_object() {
            let own = problem.to_value();
            let more = body.iter().filter(|(k, _)| own.get(k.as_str()).is_none());
            *problem.more = more.map(|(k, v)| (k.clone(), v.clone())).collect();
        }
        Some(problem)
    }
}

/// A code that stands for an unknown one of this status.
fn nearest(status: u16) -> Code {
    let same = Code::ALL.iter().copied().find(|c| c.status() == status);
    same.unwrap_or(if status < 500 { Code::InvalidRequest } else { Code::Internal })
}

fn fragment(pointer: &str) -> String {
    if pointer.starts_with('#') { pointer.into() } else { format!("#{pointer}") }
}

impl core::fmt::Display for Problem {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} ({}): {}", self.code.name(), self.status, self.detail)
    }
}

impl core::error::Error for Problem {}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Problem {
        let detail = rejection.to_string();
        match rejection {
            Rejection::Invalid(faults) => Problem::fields(faults),
            Rejection::NotFound(_) => Problem::new(Code::NotFound, detail),
            Rejection::InvalidTransition { .. } => Problem::new(Code::InvalidTransition, detail),
            Rejection::IdempotencyKeyReuse { first } => {
                Problem::new(Code::IdempotencyKeyReuse, detail).with("first_index", first.0)
            }
            Rejection::IdempotencyInFlight => Problem::new(Code::IdempotencyInFlight, detail),
            Rejection::IdempotencyFull => Problem::new(Code::RateLimited, detail),
            Rejection::Unschedulable { .. } => {
                Problem::new(Code::Unschedulable, detail).with_fix("set \"allow_wait\": true to wait for such an agent")
            }
            Rejection::QuotaExceeded { .. } => Problem::new(Code::QuotaExceeded, detail),
            Rejection::StaleEtag { .. } => Problem::new(Code::StaleEtag, detail),
            Rejection::Forbidden { .. } => Problem::new(Code::Forbidden, detail),
            Rejection::KeyNotLive(_) => Problem::new(Code::Unauthenticated, detail),
            Rejection::EnrolmentSpent => Problem::new(Code::EnrolmentSpent, detail),
            Rejection::TokenUnknown => Problem::new(Code::TokenUnknown, detail),
            Rejection::QuorumAtRisk { .. } => Problem::new(Code::QuorumAtRisk, detail),
            // These answer agents and nodes; reaching a REST caller with one is our fault.
            Rejection::StaleEpoch { .. }
            | Rejection::AgentUnknown
            | Rejection::TooManyUnsealed { .. }
            | Rejection::BadSeal { .. }
            | Rejection::EffectNotCurrent(_)
            | Rejection::TimeGoesBack
            | Rejection::Internal { .. } => Problem::new(Code::Internal, Code::Internal.example()),
        }
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Problem {
        match error {
            CommandError::Rejected(rejection) => rejection.into(),
            CommandError::NoLeader => Problem::new(Code::NoLeader, "no leader is known; try again"),
            CommandError::Overloaded => Problem::new(Code::RateLimited, "the leader's queue is full; try again"),
            CommandError::Refusing(Refusing::Draining) => {
                Problem::new(Code::Draining, "the node is shutting down; ask another")
            }
            CommandError::Refusing(Refusing::StorageDegraded) => {
                Problem::new(Code::StorageDegraded, "the node is short of disk space; reads go on")
            }
            CommandError::Unknown => Problem::new(Code::OutcomeUnknown, Code::OutcomeUnknown.example()),
            CommandError::Internal => Problem::new(Code::Internal, Code::Internal.example()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sole_unknown_field_names_the_problem() {
        let fault = FieldFault {
            pointer: "/spec/sample".into(),
            code: "unknown-field".into(),
            detail: "spec has no field `sample`".into(),
            fix: Some("did you mean `samples`?".into()),
        };
        let problem = Problem::fields(vec![fault]);
        assert_eq!((problem.code, problem.status), (Code::UnknownField, 422));
        assert_eq!(problem.errors[0].pointer, "#/spec/sample");
        assert_eq!(problem.to_value()["outcome"], "not_applied");
    }

    #[test]
    fn a_field_code_that_is_no_problem_code_is_an_invalid_request() {
        let fault =
            FieldFault { pointer: "/priority".into(), code: "out-of-range".into(), detail: "0 to 9".into(), fix: None };
        let problem = Problem::fields(vec![fault]);
        assert_eq!((problem.code, problem.status), (Code::InvalidRequest, 422));
        assert_eq!(problem.to_value()["title"], "A field of the request has a wrong value");
    }

    #[test]
    fn a_body_reads_back_as_written() {
        let mut problem =
            Problem::new(Code::IdempotencyKeyReuse, "used").with("first_index", 7).with_fix("choose another");
        problem.occurrence.log_index = Some(9);
        assert_eq!(Problem::from_value(&problem.to_value()), Some(problem));
    }

    #[test]
    fn a_code_of_a_later_hub_is_read_by_its_status() {
        let body = serde_json::json!({"status": 404, "code": "gone-fishing", "detail": "x"});
        assert_eq!(Problem::from_value(&body).map(|p| p.code), Some(Code::NotFound));
    }
}
