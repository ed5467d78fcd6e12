//! A job on the command line → the body of a submission.

use crate::fail::Failure;
use crate::sugar;
use anyhow::Context as _;
use clap::Args;
use serde_json::{Map, Value, json};
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Args)]
#[command(after_help = "Examples:
  forge job submit monte_carlo model=pi samples=1e8 --wait
  forge job submit monte_carlo model=european spot=100 strike=105 rate=0.05 dividend_yield=0 volatility=0.2 maturity=1 option=call samples=1e7
  forge job submit null shards=1000 --priority 9 --label team=ocean
  forge job submit --spec job.json")]
pub struct Submit {
    /// null, monte_carlo, …; may stand in the spec file instead
    pub kind: Option<String>,
    /// key=value of the spec; keys may be dotted, numbers short (1e8)
    pub pairs: Vec<String>,
    /// JSON of the spec, or of the whole request; `-` reads stdin
    #[arg(long, value_name = "FILE")]
    pub spec: Option<PathBuf>,
    #[arg(long)]
    pub name: Option<String>,
    /// key=value, repeatable
    #[arg(long = "label", value_name = "K=V")]
    pub labels: Vec<String>,
    /// 0 to 9
    #[arg(long)]
    pub priority: Option<u8>,
    #[arg(long)]
    pub max_credits: Option<String>,
    /// From submission, e.g. 300s
    #[arg(long)]
    pub deadline: Option<String>,
    #[arg(long)]
    pub max_attempts: Option<u64>,
    /// Cells a shard; changes the plan, never the result
    #[arg(long, value_name = "N")]
    pub shard_cells: Option<u64>,
    #[arg(long)]
    pub cpu_class: Option<String>,
    #[arg(long)]
    pub gpu: Option<String>,
    #[arg(long, value_name = "BYTES")]
    pub mem: Option<u64>,
    #[arg(long = "region")]
    pub regions: Vec<String>,
    #[arg(long)]
    pub software: Vec<String>,
    /// none, care, care:high, care:critical
    #[arg(long)]
    pub verify: Option<String>,
    /// The digest of a plan, or at least 4 digits of it
    #[arg(long, value_name = "DIGEST")]
    pub expect_plan: Option<String>,
    /// Wait for credits and agents instead of failing
    #[arg(long)]
    pub allow_wait: bool,
    /// Wait until it ends
    #[arg(long)]
    pub wait: bool,
    /// With --wait: give up after this long
    #[arg(long, value_parser = humantime::parse_duration)]
    pub timeout: Option<Duration>,
    /// Makes a repetition safe across runs; made up if absent
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

impl Submit {
    /// The request body.
    pub fn body(&self) -> Result<Value, Failure> {
        let file = self.spec.as_ref().map(read_json).transpose()?;
        let mut body = match (&self.kind, file) {
            (_, Some(whole)) if whole.get("spec").is_some() && whole.get("kind").is_some() => whole,
            (Some(kind), Some(spec)) => json!({"kind": kind, "spec": spec}),
            (Some(kind), None) => json!({"kind": kind, "spec": sugar::spec(kind, &self.pairs)?}),
            (None, _) => return Err(Failure::usage("say which kind of job: `forge job submit KIND key=value …`")),
        };
        if self.spec.is_some() && !self.pairs.is_empty() {
            return Err(Failure::usage("give the spec as key=value or as --spec, not both"));
        }
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body[name] = value;
            }
        };
        set("name", self.name.clone().map(Value::from));
        set("priority", self.priority.map(Value::from));
        set("shard_cells", self.shard_cells.map(Value::from));
        set("expect_plan", self.expect_plan.clone().map(Value::from));
        set("allow_wait", self.allow_wait.then_some(Value::from(true)));
        set("labels", labels(&self.labels)?);
        set("limits", self.limits());
        set("requirements", self.requirements());
        set("verify", self.verify.as_deref().map(verify).transpose()?);
        Ok(body)
    }

    fn limits(&self) -> Option<Value> {
        let mut limits = Map::new();
        limits.extend(self.max_credits.clone().map(|v| ("max_credits".into(), v.into())));
        limits.extend(self.deadline.clone().map(|v| ("deadline".into(), v.into())));
        limits.extend(self.max_attempts.map(|v| ("max_attempts".into(), v.into())));
        (!limits.is_empty()).then_some(Value::Object(limits))
    }

    fn requirements(&self) -> Option<Value> {
        let mut needs = Map::new();
        needs.extend(self.cpu_class.clone().map(|v| ("cpu_class".into(), v.into())));
        needs.extend(self.gpu.clone().map(|v| ("gpu".into(), v.into())));
        needs.extend(self.mem.map(|v| ("mem_bytes_min".into(), v.into())));
        needs.extend((!self.regions.is_empty()).then(|| ("regions".into(), json!(self.regions))));
        needs.extend((!self.software.is_empty()).then(|| ("software".into(), json!(self.software))));
        (!needs.is_empty()).then_some(Value::Object(needs))
    }
}

fn labels(pairs: &[String]) -> Result<Option<Value>, Failure> {
    let read = |pair: &String| match pair.split_once('=') {
        Some((name, value)) => Ok((name.to_string(), Value::from(value))),
        None => Err(Failure::usage(format!("the label `{pair}` is not key=value"))),
    };
    let labels = pairs.iter().map(read).collect::<Result<Map<_, _>, _>>()?;
    Ok((!labels.is_empty()).then_some(Value::Object(labels)))
}

fn verify(text: &str) -> Result<Value, Failure> {
    Ok(match text.split_once(':') {
        None if text.starts_with('{') => {
            serde_json::from_str(text).map_err(|e| Failure::usage(format!("--verify is not JSON: {e}")))?
        }
        None => json!({"mode": text}),
        Some((mode, assurance)) => json!({"mode": mode, "assurance": assurance}),
    })
}

fn read_json(path: &PathBuf) -> Result<Value, Failure> {
    let mut text = String::new();
    let read = match path.as_os_str() == "-" {
        true => std::io::stdin().read_to_string(&mut text).map(drop).context("reading stdin"),
        false => std::fs::read_to_string(path).map(|t| text = t).with_context(|| format!("reading {}", path.display())),
    };
    read.map_err(|e| Failure::usage(format!("{e:#}")))?;
    serde_json::from_str(&text).map_err(|e| Failure::usage(format!("{} is not JSON: {e}", path.display())))
}

#[cfg(test)]
mod tests {
    use crate::args::{Cli, Command};
    use clap::Parser;
    use serde_json::json;

    fn body(line: &str) -> serde_json::Value {
        let cli = Cli::try_parse_from(line.split_whitespace()).expect("parses");
        let Command::Submit(submit) = cli.command else { panic!("submit") };
        submit.body().expect("a body")
    }

    #[test]
    fn a_command_line_becomes_a_request() {
        assert_eq!(body("forge submit null shards=1e3"), json!({"kind": "null", "spec": {"shards": 1000}}));
        let whole = body(
            "forge submit monte_carlo model=pi samples=1e6 seed=7 --name x --label team=ocean --priority 9 --deadline 300s \
             --max-credits 25 --region eu --shard-cells 64 --verify care:high --allow-wait -o json",
        );
        assert_eq!(
            whole,
            json!({"kind": "monte_carlo", "spec": {"model": "pi", "samples": 1_000_000, "seed": 7}, "name": "x", "priority": 9,
                "shard_cells": 64, "allow_wait": true, "labels": {"team": "ocean"}, "limits": {"max_credits": "25", "deadline": "300s"},
                "requirements": {"regions": ["eu"]}, "verify": {"mode": "care", "assurance": "high"}})
        );
    }

    #[test]
    fn an_unknown_output_format_is_a_usage_error() {
        let error = Cli::try_parse_from(["forge", "job", "list", "-o", "xml"]).err().expect("refused");
        assert!(error.use_stderr());
        assert_eq!(error.exit_code(), 2);
    }
}
