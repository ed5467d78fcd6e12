//! Reads verbs, plays them on the rig, and says what was decided.

mod say;
mod verbs;

use crate::rig::Hub;
use forge_event::*;
use forge_projections::Rejection;
use forge_projections::replay::{Options, Verifier};
use std::collections::BTreeMap;

/// One script being played.
pub struct Player {
    pub hub: Hub,
    pub jobs: BTreeMap<String, JobId>,
    pub agents: BTreeMap<String, AgentId>,
    pub projects: BTreeMap<String, ProjectId>,
    pub providers: BTreeMap<String, ProviderId>,
    said: Vec<String>,
}

/// A verb's words: positional ones, then `name=value`, and bare flags among the positional.
pub struct Words<'a> {
    pub words: Vec<&'a str>,
    pub options: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn read(line: &'a str) -> Words<'a> {
        let (mut words, mut options) = (Vec::new(), BTreeMap::new());
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some((name, value)) => drop(options.insert(name, value)),
                None => words.push(word),
            }
        }
        Words { words, options }
    }

    pub fn word(&self, at: usize) -> &'a str {
        self.words.get(at).copied().unwrap_or_else(|| panic!("{:?} lacks word {at}", self.words))
    }

    pub fn flag(&self, name: &str) -> bool {
        self.words.contains(&name)
    }

    pub fn number(&self, name: &str, default: u64) -> u64 {
        self.options.get(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
    }

    pub fn list(&self, name: &str) -> Vec<String> {
        self.options.get(name).map_or(Vec::new(), |text| text.split(',').map(String::from).collect())
    }
}

/// `90s`, `250ms`.
pub fn milliseconds(text: &str) -> u64 {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number.parse().unwrap_or_else(|_| panic!("{text} is no duration"));
    match unit {
        "ms" => number,
        "s" => number * 1000,
        _ => panic!("{text} is no duration"),
    }
}

/// Credits as text.
pub fn credits(text: &str) -> Credits {
    text.parse().unwrap_or_else(|_| panic!("{text} is no amount"))
}

/// `0-3,7`.
pub fn shards(text: &str) -> Runs {
    let runs = text.split(',').map(|run| {
        let (first, last) = run.split_once('-').unwrap_or((run, run));
        Run { first: first.parse().unwrap(), last: last.parse().unwrap() }
    });
    Runs(runs.collect())
}

impl Player {
    pub fn new() -> Player {
        let hub = Hub::new();
        let projects = BTreeMap::from([("default".to_string(), ProjectId(4))]);
        Player {
            hub,
            jobs: BTreeMap::new(),
            agents: BTreeMap::new(),
            projects,
            providers: BTreeMap::new(),
            said: Vec::new(),
        }
    }

    /// Plays one line: facts separated by `;` share a turn.
    pub fn line(&mut self, line: &str) {
        if self.plays_time(line) {
            return;
        }
        let mut facts = Vec::new();
        for one in line.split(';') {
            let words = Words::read(one);
            facts.extend(self.facts(&words, facts.len()));
        }
        let played = self.hub.turn(facts);
        self.hear(played);
    }

    pub fn hear(&mut self, played: Result<EventIndex, Rejection>) {
        match played {
            Ok(_) => self.say_decisions(),
            Err(rejection) => self.said.push(format!("rejected: {rejection}")),
        }
    }

    pub fn say(&mut self, line: String) {
        self.said.push(line);
    }

    pub fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said)
    }

    /// What every story ends with: its log verifies.
    pub fn end(&mut self) {
        let archive = self.hub.archive();
        let options = Options { recheck: true, ..Options::default() };
        let report = Verifier::new(&archive, &crate::rig::fake::FAMILIES, options).finish();
        assert_eq!(report.fault, None);
        assert_eq!(report.world.state_digest(), self.hub.follower.state_digest());
    }
}
