//! What a run, and a corpus of runs, found.

use std::collections::BTreeMap;
use std::fmt;

/// A property that did not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The invariant's name.
    pub invariant: &'static str,
    /// Units: virtual ms.
    pub at_ms: u64,
    pub detail: String,
}

/// One run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub seed: u64,
    /// Digest of every step, and their number.
    pub trace: String,
    pub steps: u64,
    pub virtual_ms: u64,
    pub leader_changes: u64,
    pub jobs: u64,
    pub succeeded: u64,
    pub turns: u64,
    pub events: u64,
    pub shards: u64,
    pub acknowledged: u64,
    pub faults: BTreeMap<&'static str, u64>,
    /// Each invariant's first failures.
    pub failures: Vec<Failure>,
    /// Steps in words, if asked for.
    pub lines: Vec<String>,
}

impl Report {
    pub fn has_failed(&self, invariant: &str) -> bool {
        self.failures.iter().any(|f| f.invariant == invariant)
    }
}

/// Many runs, summed up.
#[derive(Clone, Debug, Default)]
pub struct Corpus {
    pub seeds: u64,
    pub repeated: u64,
    pub virtual_ms_min: u64,
    pub virtual_ms: u64,
    pub leader_changes_min: u64,
    pub leader_changes: u64,
    pub jobs_min: u64,
    pub jobs: u64,
    pub succeeded: u64,
    pub shards: u64,
    pub events: u64,
    pub acknowledged: u64,
    pub faults: BTreeMap<&'static str, u64>,
    /// By seed.
    pub failures: Vec<(u64, Failure)>,
}

impl Corpus {
    pub fn add(&mut self, report: &Report) {
        let least = |so_far: u64, now: u64, first: bool| if first { now } else { so_far.min(now) };
        let first = self.seeds == 0;
        self.seeds += 1;
        self.virtual_ms_min = least(self.virtual_ms_min, report.virtual_ms, first);
        self.leader_changes_min = least(self.leader_changes_min, report.leader_changes, first);
        self.jobs_min = least(self.jobs_min, report.jobs, first);
        self.virtual_ms += report.virtual_ms;
        self.leader_changes += report.leader_changes;
        self.jobs += report.jobs;
        self.succeeded += report.succeeded;
        self.shards += report.shards;
        self.events += report.events;
        self.acknowledged += report.acknowledged;
        for (fault, count) in &report.faults {
            *self.faults.entry(fault).or_default() += count;
        }
        self.failures.extend(report.failures.iter().map(|f| (report.seed, f.clone())));
    }

    /// Notes that a seed was run again, and whether it gave the same trace.
    pub fn compare(&mut self, first: &Report, again: &Report) {
        self.repeated += 1;
        if (&first.trace, first.steps) != (&again.trace, again.steps) {
            let detail =
                format!("{} steps ({}) against {} steps ({})", first.steps, first.trace, again.steps, again.trace);
            self.failures.push((first.seed, Failure { invariant: "same_seed_same_trace", at_ms: 0, detail }));
        }
    }

    /// Fault kinds of `known` that never fired: the corpus says nothing about them.
    pub fn never_fired(&self, known: &[&'static str]) -> Vec<&'static str> {
        known.iter().copied().filter(|fault| !self.faults.contains_key(fault)).collect()
    }
}

impl fmt::Display for Corpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |ms: u64| ms as f64 / 1000.0;
        writeln!(f, "seeds              {} ({} run twice)", self.seeds, self.repeated)?;
        writeln!(
            f,
            "virtual seconds    {:.0}, at least {:.1} a seed",
            seconds(self.virtual_ms),
            seconds(self.virtual_ms_min)
        )?;
        writeln!(f, "leader changes     {}, at least {} a seed", self.leader_changes, self.leader_changes_min)?;
        writeln!(
            f,
            "jobs               {} ({} succeeded), at least {} a seed",
            self.jobs, self.succeeded, self.jobs_min
        )?;
        writeln!(f, "shards accepted    {}", self.shards)?;
        writeln!(f, "events             {}", self.events)?;
        writeln!(f, "acknowledgements   {}", self.acknowledged)?;
        writeln!(f, "faults fired")?;
        for (fault, count) in &self.faults {
            writeln!(f, "  {fault:<26} {count}")?;
        }
        writeln!(f, "failures           {}", self.failures.len())?;
        for (seed, failure) in self.failures.iter().take(20) {
            let Failure { invariant, at_ms, detail } = failure;
            writeln!(f, "  {invariant} at {at_ms} ms: {detail}")?;
            writeln!(f, "  REPRODUCE seed={seed}")?;
        }
        Ok(())
    }
}
