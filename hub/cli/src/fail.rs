//! Why a command did not do what was asked, and the exit code that says so. The codes are frozen.

use crate::output::Format;
use forge_api::{Code, Problem};
use owo_colors::OwoColorize;
use serde_json::{Value, json};

pub const OTHER: u8 = 1;
pub const USAGE: u8 = 2;
pub const JOB_FAILED: u8 = 3;
pub const JOB_CANCELLED: u8 = 4;
pub const NOT_FOUND: u8 = 5;
pub const AUTH: u8 = 6;
pub const CONFLICT: u8 = 7;
pub const UNAVAILABLE: u8 = 8;
pub const VERIFICATION: u8 = 9;
pub const TIMED_OUT: u8 = 124;
pub const INTERRUPTED: u8 = 130;

/// A command that did not do what was asked.
#[derive(Debug)]
pub struct Failure {
    pub exit: u8,
    /// The problem object; `None`: everything was said already.
    body: Option<Value>,
}

impl Failure {
    /// A problem of the CLI's own.
    pub fn new(exit: u8, code: &str, detail: impl Into<String>) -> Failure {
        let (outcome, retryable) = ("not_applied", exit == UNAVAILABLE);
        let body = json!({
            "type": format!("/docs/errors/{code}"), "status": null, "code": code, "title": code, "detail": detail.into(),
            "retryable": retryable, "outcome": outcome, "fix": [],
        });
        Failure { exit, body: Some(body) }
    }

    /// The command line asks for something that cannot be.
    pub fn usage(detail: impl Into<String>) -> Failure {
        Failure::new(USAGE, "usage", detail)
    }

    /// Ends with this code and says nothing more.
    pub fn silent(exit: u8) -> Failure {
        Failure { exit, body: None }
    }

    pub fn with_fix(mut self, fix: impl Into<String>) -> Failure {
        if let Some(list) = self.body.as_mut().and_then(|b| b["fix"].as_array_mut()) {
            list.push(fix.into().into());
        }
        self
    }

    /// Whether another try, perhaps at another node, may do better.
    pub fn may_pass(&self) -> bool {
        self.exit == UNAVAILABLE || self.code() == Code::OffsetMismatch.name()
    }

    pub fn is_silent(&self) -> bool {
        self.body.is_none()
    }

    /// The problem's code, as the hub or the CLI named it.
    pub fn code(&self) -> &str {
        self.body.as_ref().and_then(|b| b["code"].as_str()).unwrap_or_default()
    }

    /// Says it on stderr: for people, or with `-o json` the problem object.
    pub fn print(&self, format: Format) {
        let Some(body) = &self.body else { return };
        if format.is_json() {
            anstream::eprintln!("{body}");
            return;
        }
        let text = |name: &str| body[name].as_str().unwrap_or_default();
        anstream::eprintln!("{}: {}", format!("error[{}]", text("code")).red().bold(), text("detail"));
        for error in body["errors"].as_array().into_iter().flatten().skip(1) {
            let of = |name: &str| error[name].as_str().unwrap_or_default();
            anstream::eprintln!("  {}: {}", of("pointer"), of("detail"));
        }
        for fix in body["fix"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            anstream::eprintln!("  {} {fix}", "help:".green());
        }
        if text("outcome") == "unknown" {
            anstream::eprintln!("  whether it was applied is unknown; repeat it with the same --idempotency-key");
        }
        if let Some(id) = body["request_id"].as_str() {
            anstream::eprintln!("  request {id}    docs: /docs/errors/{}", text("code"));
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Failure {
        Failure { exit: exit_of(&problem), body: Some(problem.to_value()) }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let detail = self.body.as_ref().and_then(|b| b["detail"].as_str()).unwrap_or_default();
        write!(f, "{}: {detail}", self.code())
    }
}

impl std::error::Error for Failure {}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::new(OTHER, "failed", format!("{error:#}"))
    }
}

fn exit_of(problem: &Problem) -> u8 {
    match (problem.code, problem.status) {
        (Code::IdempotencyKeyReuse, _) => CONFLICT,
        (_, 401 | 403) => AUTH,
        (_, 404 | 410) => NOT_FOUND,
        (_, 409 | 412) => CONFLICT,
        (_, 400 | 405 | 413 | 415 | 422) => USAGE,
        (_, 429 | 503 | 504) => UNAVAILABLE,
        _ => OTHER,
    }
}

/// The exit code that tells how a job ended; `None` while it has not.
pub fn exit_of_state(state: &str) -> Option<u8> {
    match state {
        "succeeded" => Some(0),
        "failed" => Some(JOB_FAILED),
        "cancelled" => Some(JOB_CANCELLED),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_frozen() {
        let all = [
            OTHER,
            USAGE,
            JOB_FAILED,
            JOB_CANCELLED,
            NOT_FOUND,
            AUTH,
            CONFLICT,
            UNAVAILABLE,
            VERIFICATION,
            TIMED_OUT,
            INTERRUPTED,
        ];
        assert_eq!(all, [1, 2, 3, 4, 5, 6, 7, 8, 9, 124, 130]);
        let exit = |code| Failure::from(Problem::new(code, "x")).exit;
        assert_eq!(exit(Code::NotFound), 5);
        assert_eq!(exit(Code::EnrolmentSpent), 6);
        assert_eq!(exit(Code::InvalidTransition), 7);
        assert_eq!(exit(Code::IdempotencyKeyReuse), 7);
        assert_eq!(exit(Code::NoLeader), 8);
        assert_eq!(exit(Code::UnknownField), 2);
        assert_eq!(exit(Code::Internal), 1);
        assert_eq!(
            ["succeeded", "failed", "cancelled", "running"].map(exit_of_state),
            [Some(0), Some(3), Some(4), None]
        );
    }
}
