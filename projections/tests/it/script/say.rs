//! The transcript: what was decided, in words a script can be read by.

use super::{Player, Words};
use forge_event::*;
use forge_projections::agents::{Pace, PaceOf};
use forge_projections::aggregator::VMEM_BYTES_MAX;
use forge_projections::export::Exported;
use serde_json::Value;
use std::collections::BTreeMap;

type Jobs = BTreeMap<String, JobId>;
type Agents = BTreeMap<String, AgentId>;

/// `[[0,3],[7,7]]` as `0-3,7`.
fn runs(value: &Value) -> String {
    let run = |run: &Value| match (run[0].as_u64(), run[1].as_u64()) {
        (first, last) if first == last => run[0].to_string(),
        _ => format!("{}-{}", run[0], run[1]),
    };
    value.as_array().map_or(String::new(), |list| list.iter().map(run).collect::<Vec<_>>().join(","))
}

/// A time of the first day, as seconds since the rig's start.
fn since_start(time: &str) -> f64 {
    let clock = time.trim_end_matches('Z').split_once('T').map_or("", |(_, clock)| clock);
    let seconds = clock.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap_or(0.0));
    seconds - crate::rig::START.0 as f64 / 1000.0
}

/// One line a decision.
pub fn decisions(exported: &[Exported], jobs: &Jobs, agents: &Agents) -> Vec<String> {
    let decided = exported.iter().filter(|e| e.derived);
    decided.map(|e| decision(e, jobs, agents)).collect()
}

fn decision(e: &Exported, jobs: &Jobs, agents: &Agents) -> String {
    let data: Value = serde_json::from_str(&e.data).expect("data is JSON");
    let name_of = |id: &Value| {
        let id = id.as_str().unwrap_or_default();
        agents.iter().find(|(_, a)| a.to_string() == id).map_or(id.to_string(), |(name, _)| name.clone())
    };
    let subject = e.subject.clone().unwrap_or_default();
    let job = jobs.iter().find(|(_, j)| j.to_string() == subject).map_or(subject.clone(), |(name, _)| name.clone());
    let text = |field: &str| match &data[field] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let lease = || format!("{job}/{} #{} {}", runs(&data["shards"]), text("attempt"), name_of(&data["agent"]));
    let what = match e.name {
        "job.admitted" => format!("{job} may cost {}", text("max_cost")),
        "job.succeeded" => format!("{job} {} shards", data["verification"]["structural"]),
        "job.failed" => format!("{job} {}: {}", text("code"), text("detail")),
        "job.cancelled" => format!("{job} {}", text("reason")),
        "shard.assigned" => {
            format!("{} until {}s", lease(), since_start(data["deadline"].as_str().unwrap_or_default()))
        }
        "shard.requeued" => format!("{job}/{} #{} {}", runs(&data["shards"]), text("attempt"), text("reason")),
        "lease.expired" => lease(),
        "lease.revoked" => format!("{} {}", lease(), text("reason")),
        "result.accepted" => lease(),
        "result.refused" => format!("{} {}", lease(), text("code")),
        "credit.held" | "credit.released" => format!("{job} {}", text("amount")),
        "credit.accrued" => {
            format!(
                "{job} {} {} results: charge {} payout {}",
                text("provider"),
                text("count"),
                text("charge"),
                text("payout")
            )
        }
        "credit.voided" => {
            let back = data["entries"][0].clone();
            format!("{job} {} {} back to {}", text("reason"), back["amount"], back["account"])
        }
        _ => e.data.clone(),
    };
    let at = (e.place.at.0 - crate::rig::START.0) as f64 / 1000.0;
    let causes: Vec<String> = match e.causes.is_empty() {
        true => e.cause.iter().map(|c| c.0.to_string()).collect(),
        false => e.causes.iter().map(|c| c.0.to_string()).collect(),
    };
    format!("{} @{at}s {} {what} <- {}", e.place.index, e.name, causes.join(","))
}

impl Player {
    pub(super) fn say_decisions(&mut self) {
        let lines = decisions(&self.hub.exported, &self.jobs, &self.agents);
        lines.into_iter().for_each(|line| self.say(line));
    }

    /// `show ledger|job J|agent A|key K|world|explain X`.
    pub(super) fn show(&mut self, words: &Words<'_>) {
        let world = &self.hub.follower;
        let line = match words.word(1) {
            "ledger" => {
                let balances = world.accounting.balances.iter();
                balances.map(|(a, n)| format!("{a} {}", unit::signed(*n))).collect::<Vec<_>>().join("\n")
            }
            "job" => {
                let job = world.jobs.jobs.get(&self.jobs[words.word(2)]).expect("it was submitted");
                format!(
                    "{} {}: {} planned, {} in flight, {} accepted, {} closed, charged {}",
                    words.word(2),
                    job.state.name(),
                    job.shard_count,
                    job.in_flight_count,
                    job.accepted_count,
                    job.closed_count,
                    Credits(job.charged)
                )
            }
            "agent" => {
                let agent = world.agents.agents.get(&self.agents[words.word(2)]).expect("it was enrolled");
                format!(
                    "{} {:?}: epoch {}, {} leases, window {}, sealed {} of {}",
                    words.word(2),
                    agent.state(),
                    agent.epoch,
                    agent.leases,
                    agent.window,
                    agent.sealed,
                    agent.position
                )
            }
            "key" => {
                let key = Digest::of(words.word(2).as_bytes());
                let project = world.projects.memory_of(Some(self.hub.key));
                match world.projects.recall(project, key, self.hub.now) {
                    Some(first) => format!("key {} was used at {}", words.word(2), first.index),
                    None => format!("key {} is not remembered", words.word(2)),
                }
            }
            "explain" => self.explain(words.word(2)),
            "rates" => {
                let rate = |(of, pace): (&PaceOf, &Pace)| {
                    let (n, rate) = (pace.grants, pace.units_per_second());
                    format!("{} on {}: {rate} units/s after {n} grants", of.kind, of.cpu_class)
                };
                world.agents.paces.iter().map(rate).collect::<Vec<_>>().join("\n")
            }
            "vmem" => {
                let id = self.projects[words.word(2)];
                let used = world.vmem_used().remove(&id).unwrap_or(0);
                let charged = world.projects.projects.get(&id).expect("it was created").vmem_bytes;
                format!("{}: {used} bytes in VMem, charged {charged} of {VMEM_BYTES_MAX}", words.word(2))
            }
            "world" => {
                let kib = self.world_bytes() / 1024 + 1;
                format!("the state takes less than {} KiB", kib.next_power_of_two())
            }
            other => panic!("cannot show {other}"),
        };
        line.lines().for_each(|l| self.said.push(l.into()));
    }

    /// `j`, `j.3` or `a`.
    fn explain(&self, what: &str) -> String {
        let world = &self.hub.leader;
        let (name, shard) = what.split_once('.').map_or((what, None), |(name, shard)| (name, Some(shard)));
        let explained = match (self.jobs.get(name), shard) {
            (Some(job), None) => world.explain_job(*job, true),
            (Some(job), Some(shard)) => world.explain_shard(ShardId { job: *job, shard: shard.parse().unwrap() }, true),
            (None, _) => world.explain_agent(self.agents[name], true),
        };
        let e = explained.expect("it exists");
        let code = serde_json::to_value(e.decisive.code).unwrap();
        let since = e.decisive.since_index.map_or("-".into(), |i| i.to_string());
        let mut lines = vec![format!("{what} {} {} since {since}: {}", e.state, code.as_str().unwrap(), e.headline)];
        if !e.funnel.is_empty() {
            let steps: Vec<String> = e.funnel.iter().map(|s| format!("{} {}", s.step, s.n)).collect();
            lines.push(format!("  funnel: {}", steps.join(" > ")));
        }
        for a in &e.agents {
            let name = self.agents.iter().find(|(_, id)| id.to_string() == a.id).map_or(&a.id, |(name, _)| name);
            let by = a.by.as_ref().map_or(String::new(), |by| format!(" by {by}"));
            let runs = a.runs.as_ref().map_or(String::new(), |runs| format!(" runs {runs}"));
            lines.push(format!("  {name} {}{by}{runs}", a.verdict));
        }
        for c in &e.would_help {
            let adds = c.adds.map_or(String::new(), |n| format!(" adds {n}"));
            let ahead = if c.moves_ahead_of.is_empty() {
                String::new()
            } else {
                format!(" before {}", c.moves_ahead_of.join(","))
            };
            lines.push(format!("  would help: {}{adds}{ahead}", c.change));
        }
        lines.join("\n")
    }

    /// Bytes of a snapshot.
    fn world_bytes(&self) -> usize {
        postcard::to_allocvec(&self.hub.follower).expect("a world can be written").len()
    }
}
