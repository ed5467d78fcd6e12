//! `POST /v1/jobs` and `/v1/plans`: from a body to the fact it asks for.

use crate::fields::{Fields, suggestion};
use crate::requests::AMOUNT;
use crate::text;
use forge_event::limits::{INLINE_BYTES_MAX, LABELS_MAX, NAME_BYTES_MAX};
use forge_event::*;
use forge_projections::{Families, FieldFault};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// CPU classes, weakest first within an architecture.
pub const CPU_CLASSES: [&str; 4] = ["sse2", "avx2", "avx512", "neon"];
/// Kinds that are part of the API; a hub may not run all of them yet.
pub const KINDS: [&str; 6] = ["null", "monte_carlo", "blas", "ffmpeg", "climate_pca", "cat_model"];
/// What a job gets that names no priority.
pub const PRIORITY_DEFAULT: u8 = 5;
/// Attempts a job may allow each shard.
pub const ATTEMPTS_MAX: u64 = 100;

/// A job as a client asks for it. Only `kind` and `spec` are required.
#[derive(Serialize, ToSchema)]
pub struct JobRequest {
    #[schema(example = "monte_carlo")]
    pub kind: String,
    /// Depends on the kind.
    #[schema(value_type = Object)]
    pub spec: Value,
    pub name: Option<String>,
    /// Cells a shard; changes the plan, never the result.
    pub shard_cells: Option<u64>,
    pub requirements: Option<RequirementsRequest>,
    /// `{"mode":"care","assurance":"standard|high|critical"}` or `{"mode":"none"}`.
    #[schema(value_type = Option<Object>)]
    pub verify: Option<Value>,
    pub limits: Option<LimitsRequest>,
    /// 0 to 9; 5 if absent.
    pub priority: Option<u8>,
    #[schema(value_type = Option<Object>)]
    pub labels: Option<Value>,
    /// Digest of a plan, or at least 4 hex digits of it.
    pub expect_plan: Option<String>,
    /// Wait for credits and for agents instead of failing.
    pub allow_wait: Option<bool>,
}

#[derive(Serialize, ToSchema)]
pub struct RequirementsRequest {
    pub cpu_class: Option<String>,
    pub gpu: Option<String>,
    pub mem_bytes_min: Option<u64>,
    pub regions: Option<Vec<String>>,
    pub software: Option<Vec<String>>,
}

#[derive(Serialize, ToSchema)]
pub struct LimitsRequest {
    #[schema(example = "25.000000")]
    pub max_credits: Option<String>,
    /// From submission.
    #[schema(example = "300s")]
    pub deadline: Option<String>,
    pub max_attempts: Option<u16>,
}

/// A request that can become a job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Submission {
    pub fact: JobSubmitted,
    /// Lower-case hex: the whole digest of the expected plan or its beginning.
    pub expect_plan: Option<String>,
}

/// Reads a submission for `project`.
///
/// # Errors
/// Every fault found, in the body and in the spec.
pub fn read(body: &Value, project: ProjectId, families: &dyn Families) -> Result<Submission, Vec<FieldFault>> {
    let mut fields = Fields::of(body);
    let shard_cells = fields.integer("shard_cells", 1, u64::MAX);
    let kind = fields.required("kind").and_then(|v| match v.as_str() {
        Some(kind) => Some(kind),
        None => {
            fields.wrong("kind", v, "a string");
            None
        }
    });
    let spec = fields.required("spec");
    let family = kind.and_then(|kind| {
        let family = families.newest(kind);
        if family.is_none() {
            unknown_kind(&mut fields, kind, families);
        }
        family
    });
    let checked = match (family, spec) {
        (Some(family), Some(spec)) => match family.check_spec(spec, shard_cells) {
            Ok(checked) => Some(checked),
            Err(faults) => {
                fields.absorb(faults.into_iter().map(FieldFault::from));
                None
            }
        },
        _ => None,
    };
    if let Some(length) = checked.as_ref().map(|c| c.spec.len()).filter(|n| *n > INLINE_BYTES_MAX) {
        let detail = format!("the spec has {length} bytes, the limit is {INLINE_BYTES_MAX}");
        let fix = "ask for less in one job: several jobs with a part of it each".to_string();
        fields.fault("spec", "too-large-inline", detail, Some(fix));
    }
    let name = fields.name("name");
    let mut requirements = fields.object("requirements", requirements).unwrap_or_default();
    if let Some(family) = family {
        // What the family's shards need, said or not.
        requirements.software.extend(family.software().iter().map(|name| String::from(*name)));
        requirements.software.sort_unstable();
        requirements.software.dedup();
    }
    let verify = fields.object("verify", verify).flatten();
    let limits = fields.object("limits", limits).unwrap_or_default();
    let priority = fields.integer("priority", 0, 9).map_or(PRIORITY_DEFAULT, |p| p as u8);
    let labels = labels(&mut fields);
    let expect_plan = fields.parsed("expect_plan", "the `digest` that POST /v1/plans gives", plan_prefix);
    let allow_wait = fields.flag("allow_wait").unwrap_or(false);
    let submission = family.zip(checked).map(|(family, checked)| Submission {
        fact: JobSubmitted {
            project,
            kind: family.kind().into(),
            family_version: family.version(),
            name,
            labels,
            spec: checked.spec,
            shard_cells,
            requirements,
            limits,
            priority,
            allow_wait,
            verify,
            inputs: checked.inputs,
        },
        expect_plan,
    });
    fields.finish(submission)
}

fn unknown_kind(fields: &mut Fields<'_>, kind: &str, families: &dyn Families) {
    if KINDS.contains(&kind) {
        let detail =
            format!("jobs of kind `{kind}` are not available yet; this hub runs {}", families.kinds().join(", "));
        let fix = format!("use one of {}", families.kinds().join(", "));
        fields.fault("kind", "not-yet", detail, Some(fix));
    } else {
        let fix = suggestion(kind, families.kinds());
        let fix = fix.or_else(|| Some(format!("use one of {}", families.kinds().join(", "))));
        fields.fault("kind", "unknown-kind", format!("there is no job kind `{kind}`"), fix);
    }
}

fn requirements(fields: &mut Fields<'_>) -> Requirements {
    let cpu_class =
        fields.parsed("cpu_class", &format!("one of {}", CPU_CLASSES.join(", ")), |class| {
            match CPU_CLASSES.contains(&class) {
                true => Ok(class.to_string()),
                false => Err(format!("`{class}` is none of {}", CPU_CLASSES.join(", "))),
            }
        });
    Requirements {
        cpu_class,
        gpu: fields.name("gpu"),
        mem_bytes_min: fields.integer("mem_bytes_min", 0, u64::MAX).unwrap_or(0),
        regions: fields.words("regions"),
        software: fields.words("software"),
    }
}

fn limits(fields: &mut Fields<'_>) -> Limits {
    Limits {
        max_credits: fields.parsed("max_credits", AMOUNT, str::parse::<Credits>),
        deadline_ms: fields.parsed("deadline", "a span such as \"300s\" or \"2h\"", text::duration).map(|d| d.0),
        max_attempts: fields.integer("max_attempts", 1, ATTEMPTS_MAX).map(|n| n as u16),
    }
}

fn verify(fields: &mut Fields<'_>) -> Option<Verify> {
    let mode = fields.required("mode")?;
    let assurance = fields.parsed("assurance", "standard, high or critical", |name| {
        let all = [Assurance::Standard, Assurance::High, Assurance::Critical];
        all.into_iter().find(|a| a.name() == name).ok_or("it must be standard, high or critical")
    });
    let numbers =
        [fields.integer("percent", 0, 100), fields.integer("copies", 1, 255), fields.integer("agree", 1, 255)];
    match mode.as_str() {
        Some("none") => Some(Verify::None),
        Some("care") if numbers.iter().all(Option::is_none) => {
            Some(Verify::Care { assurance: assurance.unwrap_or(Assurance::Standard) })
        }
        Some("care") => {
            let fix = "leave `percent`, `copies` and `agree` out".to_string();
            fields.fault("", "out-of-range", "mode care takes `assurance` alone", Some(fix));
            None
        }
        Some(later @ ("redundant" | "quorum")) => {
            let detail = format!("verification by `{later}` is not available yet; use care or none");
            fields.fault("mode", "not-yet", detail, Some("write {\"mode\":\"care\"} or leave `verify` out".into()));
            None
        }
        _ => {
            let fix = mode.as_str().and_then(|m| suggestion(m, ["care", "none", "redundant", "quorum"]));
            let fix = fix.unwrap_or_else(|| "write care or none".into());
            fields.fault("mode", "out-of-range", "`mode` is care, none, redundant or quorum", Some(fix));
            None
        }
    }
}

fn labels(fields: &mut Fields<'_>) -> Vec<(String, String)> {
    let Some(value) = fields.value("labels") else { return Vec::new() };
    let Some(map) = value.as_object() else {
        fields.wrong("labels", value, "an object");
        return Vec::new();
    };
    if map.len() > LABELS_MAX {
        fields.fault(
            "labels",
            "out-of-range",
            format!("a job has at most {LABELS_MAX} labels"),
            Some("leave some out".into()),
        );
        return Vec::new();
    }
    let mut labels = Vec::with_capacity(map.len());
    let mut faults = Vec::new();
    for (name, value) in map {
        let fits = |t: &str| t.len() <= NAME_BYTES_MAX && !t.chars().any(char::is_control);
        match value.as_str() {
            Some(value) if fits(value) && fits(name) && !name.is_empty() => {
                labels.push((name.clone(), value.to_string()))
            }
            _ => faults.push(FieldFault {
                pointer: format!("/labels/{}", name.replace('~', "~0").replace('/', "~1")),
                code: if value.is_string() { "out-of-range" } else { "wrong-type" }.into(),
                detail: format!("a label's name and value are strings of at most {NAME_BYTES_MAX} bytes"),
                fix: Some(format!("write \"name\":\"value\", both of at most {NAME_BYTES_MAX} bytes on one line")),
            }),
        }
    }
    fields.absorb(faults);
    labels.sort();
    labels
}

fn plan_prefix(text: &str) -> Result<String, &'static str> {
    let hex = text.strip_prefix("blake3:").unwrap_or(text);
    let fits = (4..=64).contains(&hex.len()) && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    fits.then(|| hex.to_string()).ok_or("a plan is named by its digest, or at least 4 hex digits of it")
}
