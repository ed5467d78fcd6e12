//! Submissions as clients send them, and bodies as they are frozen. `UPDATE_GOLDEN=1` rewrites the goldens.

use forge_api::job::Job;
use forge_api::{Code, Problem, agent, key, page, project, submit};
use forge_event::*;
use forge_projections::family::*;
use forge_projections::{FieldFault, Rejection};
use serde_json::{Value, json};

/// A family that takes `{"shards": n}` and does nothing.
#[derive(Debug)]
struct Still;

impl Family for Still {
    fn kind(&self) -> &'static str {
        "null"
    }
    fn version(&self) -> u16 {
        1
    }
    fn check_spec(&self, spec: &Value, shard_cells: Option<u64>) -> Result<CheckedSpec, Vec<SpecFault>> {
        let fault = |pointer: &str, code| SpecFault { pointer: pointer.into(), code, detail: "no".into(), fix: None };
        if shard_cells.is_some() {
            return Err(vec![fault("/shard_cells", "out-of-range")]);
        }
        match spec.get("shards").and_then(Value::as_u64) {
            Some(n) => Ok(CheckedSpec { spec: format!("{{\"shards\":{n}}}").into_bytes(), inputs: vec![] }),
            None => Err(vec![fault("/spec/shards", "missing-field")]),
        }
    }
    fn plan(&self, _: &Past<'_>, _: PlanHints, _: &dyn Blobs) -> Result<Plan, Fault> {
        Ok(Plan { shard_count: 1, segments: 1, body: vec![], last: true })
    }
    fn payload(&self, _: &[u8], _: &[u8], _: ShardIndex) -> Vec<u8> {
        vec![]
    }
    fn check_result(&self, _: &[u8], _: &[u8], _: ShardIndex, _: &[u8]) -> u32 {
        0
    }
    fn mid_state(&self, _: &[u8], _: &[u8]) -> Box<dyn MidState> {
        unreachable!("nothing is folded here")
    }
    fn thaw(&self, _: &[u8], _: &[u8], _: &[u8]) -> Option<Box<dyn MidState>> {
        None
    }
}

struct One;

impl Families for One {
    fn newest(&self, kind: &str) -> Option<&dyn Family> {
        (kind == "null").then_some(&Still as &dyn Family)
    }
    fn family(&self, kind: &str, _: u16) -> Option<&dyn Family> {
        self.newest(kind)
    }
    fn kinds(&self) -> Vec<&'static str> {
        vec!["null"]
    }
}

fn read(body: Value) -> Result<submit::Submission, Vec<FieldFault>> {
    submit::read(&body, ProjectId(3), &One)
}

fn fault_of(body: Value) -> (String, String) {
    let faults = read(body.clone()).expect_err("at fault");
    let problem = Problem::fields(faults);
    assert_eq!(problem.status, 422, "{body}");
    (problem.code.name().into(), problem.errors[0].pointer.clone())
}

#[test]
fn the_smallest_submission_gets_the_defaults() {
    let fact = read(json!({"kind": "null", "spec": {"shards": 5}})).expect("fine").fact;
    assert_eq!((fact.priority, fact.allow_wait, fact.verify), (5, false, None));
    assert_eq!(fact.limits, Limits::default());
    assert_eq!(fact.spec, b"{\"shards\":5}");
}

#[test]
fn the_whole_submission_is_read() {
    let submission = read(json!({
        "kind": "null", "name": "call", "spec": {"shards": 1}, "shard_cells": null,
        "requirements": {"cpu_class": "avx2", "gpu": null, "mem_bytes_min": 0, "regions": ["us", "eu", "eu"], "software": []},
        "verify": {"mode": "care", "assurance": "standard"},
        "limits": {"max_credits": "25.000000", "deadline": "300s", "max_attempts": 5},
        "priority": 9, "labels": {"team": "ocean", "area": "north"}, "expect_plan": "blake3:41c7", "allow_wait": true
    }));
    let submission = submission.expect("fine");
    let fact = submission.fact;
    assert_eq!(fact.requirements.regions, ["eu", "us"]);
    assert_eq!(fact.limits.deadline_ms, Some(300_000));
    assert_eq!(fact.limits.max_credits, Some(Credits(25_000_000)));
    assert_eq!(fact.labels[0].0, "area");
    assert_eq!(fact.verify, Some(Verify::Care { assurance: Assurance::Standard }));
    assert_eq!(submission.expect_plan.as_deref(), Some("41c7"));
}

#[test]
fn every_fault_has_its_code_and_pointer() {
    let with = |name: &str, value: Value| {
        let mut body = json!({"kind": "null", "spec": {"shards": 1}});
        body[name] = value;
        body
    };
    let named = |code: &str, pointer: &str| (code.to_string(), pointer.to_string());
    assert_eq!(fault_of(with("prioritty", json!(1))), named("unknown-field", "#/prioritty"));
    assert_eq!(fault_of(with("priority", json!(10))), named("invalid-request", "#/priority"));
    assert_eq!(fault_of(with("priority", json!(1e0))), named("invalid-request", "#/priority"));
    assert_eq!(fault_of(with("kind", json!("blas"))), named("not-yet", "#/kind"));
    assert_eq!(fault_of(with("kind", json!("nul"))), named("unknown-kind", "#/kind"));
    assert_eq!(fault_of(with("kind", json!(7))), named("invalid-request", "#/kind"));
    assert_eq!(fault_of(with("spec", json!({}))), named("invalid-request", "#/spec/shards"));
    assert_eq!(fault_of(with("shard_cells", json!(7))), named("invalid-request", "#/shard_cells"));
    assert_eq!(
        fault_of(with("verify", json!({"mode": "quorum", "copies": 3, "agree": 2}))),
        named("not-yet", "#/verify/mode")
    );
    assert_eq!(
        fault_of(with("verify", json!({"mode": "redundant", "percent": 10}))),
        named("not-yet", "#/verify/mode")
    );
    assert_eq!(fault_of(with("limits", json!({"max_credit": "1"}))), named("unknown-field", "#/limits/max_credit"));
    assert_eq!(fault_of(with("limits", json!({"deadline": "5"}))), named("invalid-request", "#/limits/deadline"));
    assert_eq!(fault_of(with("labels", json!({"team": 5}))), named("invalid-request", "#/labels/team"));
    assert_eq!(
        fault_of(with("requirements", json!({"regions": "eu"}))),
        named("invalid-request", "#/requirements/regions")
    );
    assert_eq!(fault_of(json!({"spec": {"shards": 1}})), named("invalid-request", "#/kind"));
    assert_eq!(fault_of(json!([])), named("invalid-request", "#"));
}

fn golden(name: &str, value: &Value) {
    let path = format!("{}/tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = serde_json::to_string_pretty(value).expect("writes") + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).expect("the golden folder is there");
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, known, "{name} changed: fields may be added, never renamed; UPDATE_GOLDEN=1 rewrites");
}

fn value_of(body: impl serde::Serialize) -> Value {
    serde_json::to_value(body).expect("a body is JSON")
}

#[test]
fn a_job_at_birth_is_frozen() {
    let body = json!({"kind": "null", "name": "call", "spec": {"shards": 1}, "labels": {"team": "ocean"}});
    let fact = read(body).expect("fine").fact;
    golden("job-at-birth", &value_of(Job::at_birth(JobId(1842), &fact, Timestamp(1_795_428_843_221))));
}

#[test]
fn a_problem_is_frozen() {
    let mut problem: Problem = Rejection::QuotaExceeded { detail: "project p3 has 9.750000 available".into() }.into();
    problem.occurrence.instance = Some("/v1/jobs".into());
    problem.occurrence.request_id = Some("r-1".into());
    problem.occurrence.log_index = Some(18442);
    golden("problem", &problem.with_fix("forge project credits p3 10").to_value());
    let faults = read(json!({"kind": "null", "spec": {"shards": 1}, "prioritty": 1})).expect_err("misspelt");
    golden("problem-unknown-field", &Problem::fields(faults).to_value());
}

#[test]
fn the_small_bodies_are_frozen() {
    let new_key = project::NewKey {
        id: "k12".into(),
        key: Some(key::compose("ci", KeyId(12), &[7; 32])),
        label: "ci".into(),
        scopes: vec!["jobs:read".into()],
        project: Some("p3".into()),
        expires_at: None,
    };
    golden("key-created", &value_of(&new_key));
    let enrolment = agent::Enrolment {
        id: "18".into(),
        token: Some("…".into()),
        provider: "v12".into(),
        anchor: false,
        expires_at: Timestamp(0).to_string(),
    };
    golden("enrolment", &value_of(&enrolment));
    let page = page::Page { data: vec!["x"], next_page_token: Some(page::token("filters", 7)), as_of_index: 9 };
    golden("page", &value_of(&page));
    let codes: Vec<Value> =
        Code::ALL.iter().map(|c| json!([c.name(), c.status(), c.retryable(), c.outcome()])).collect();
    golden("codes", &Value::from(codes));
}
