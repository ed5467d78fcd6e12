//! What each verb means.

use super::{Player, Words, credits, milliseconds, shards};
use crate::rig::{Hub, fake};
use forge_event::*;

impl Player {
    /// Plays a verb that is more, or less, than one turn of facts.
    pub(super) fn plays_time(&mut self, line: &str) -> bool {
        let words = Words::read(line);
        match words.word(0) {
            "tick" => {
                let said = std::cell::RefCell::new(Vec::new());
                let (jobs, agents) = (self.jobs.clone(), self.agents.clone());
                let start = self.hub.now;
                self.hub.pass(milliseconds(words.word(1)), |hub| {
                    let lines = super::say::decisions(&hub.exported, &jobs, &agents);
                    let after = hub.now.since(start).0;
                    said.borrow_mut().extend(lines.into_iter().map(|l| format!("+{after}ms {l}")));
                });
                said.into_inner().into_iter().for_each(|line| self.say(line));
            }
            "project" => {
                let quota = words.options.get("quota").map(|q| credits(q));
                let id = self.hub.project(words.number("weight", 1) as u16, quota);
                self.projects.insert(words.word(1).into(), id);
                if let Some(amount) = words.options.get("credits") {
                    self.hub.issue(id, credits(amount).0);
                }
            }
            "credits" => {
                let project = self.projects[words.word(1)];
                self.hub.issue(project, credits(words.word(2)).0);
                self.say_decisions();
            }
            "agent" => {
                let name = words.options.get("provider").copied().unwrap_or("v");
                if !self.providers.contains_key(name) {
                    let provider = self.hub.provider();
                    self.providers.insert(name.into(), provider);
                }
                let id = self.hub.agent(self.providers[name]);
                self.agents.insert(words.word(1).into(), id);
            }
            "plan" | "reduce" => {
                let job = self.jobs[words.word(1)];
                let (started, outcome) = self.hub.effect(job).expect("the script knows that an effect is due");
                let played = self.hub.turn(vec![started.into()]);
                self.hear(played);
                let played = self.hub.turn(vec![outcome.into()]);
                self.hear(played);
            }
            "show" => self.show(&words),
            _ => return false,
        }
        true
    }

    /// The facts of a verb. `before` counts those of the same turn that stand before it.
    pub(super) fn facts(&mut self, words: &Words<'_>, before: usize) -> Vec<Fact> {
        let index = EventIndex(self.hub.leader.head.events + before as u64 + 1);
        match words.word(0) {
            "node" => {
                let number = words.word(1).trim_start_matches('n').parse().unwrap();
                self.node(number)
            }
            "join" => {
                let agent = self.agents[words.word(1)];
                let default = Hub::capabilities();
                let text = |name: &str| words.options.get(name).map(|t| t.to_string());
                let capabilities = Capabilities {
                    cpu_class: text("cpu").unwrap_or(default.cpu_class),
                    gpu: text("gpu"),
                    mem_bytes: words
                        .options
                        .get("mem_gib")
                        .map_or(default.mem_bytes, |m| m.parse::<u64>().unwrap() << 30),
                    region: text("region").unwrap_or(default.region),
                    software: words.list("software"),
                };
                let node = words.options.get("node").map_or(NodeId(1), |n| n.parse().unwrap());
                vec![self.hub.joined(agent, node, words.number("slots", 1) as u32, capabilities)]
            }
            "submit" => {
                self.jobs.insert(words.word(1).into(), JobId::born_at(index));
                vec![self.submit(words)]
            }
            "start" => {
                let (started, _) = self.hub.effect(self.jobs[words.word(1)]).expect("an effect is due");
                vec![started.into()]
            }
            "outcome" => {
                let job = &self.hub.leader.jobs.jobs.get(&self.jobs[words.word(1)]).unwrap();
                let running = job.running.expect("an effect runs");
                vec![self.hub.outcome(running.effect, words.number("try", u64::from(running.try_number)) as u8).into()]
            }
            "effect-failed" => {
                let job = &self.hub.leader.jobs.jobs.get(&self.jobs[words.word(1)]).unwrap();
                let running = job.running.expect("an effect runs");
                let (effect, try_number) = (running.effect, running.try_number);
                let code = words.options.get("code").unwrap_or(&"broken").to_string();
                vec![EffectFailed { effect, try_number, code, detail: "as scripted".into() }.into()]
            }
            "cancel" => {
                let reason = words.options.get("reason").map(|r| r.to_string());
                vec![self.hub.asked(JobCancelRequested { job: self.jobs[words.word(1)], reason })]
            }
            "leader" => {
                let term = self.hub.leader.cluster.leader.map_or(0, |(_, term, _)| term) + 1;
                let node: NodeId = words.word(1).parse().unwrap();
                let extend_ms = words.options.get("extend").map_or(0, |t| milliseconds(t));
                vec![LeaderStarted { node, term, wall: self.hub.now, extend_ms }.into()]
            }
            "lost-node" => vec![NodeLost { node: words.word(1).parse().unwrap(), term: 1 }.into()],
            _ => self.agents_facts(words),
        }
    }

    /// Facts that an agent is the source of.
    fn agents_facts(&mut self, words: &Words<'_>) -> Vec<Fact> {
        let agent = self.agents[words.word(1)];
        let epoch = words.number("epoch", self.hub.epoch(agent));
        let attempt = words.number("attempt", 1) as u16;
        match words.word(0) {
            "result" => {
                let bytes = if words.flag("bad") { fake::bad() } else { fake::good(words.number("byte", 1) as u8) };
                let position = words.number("position", 0);
                let job = self.jobs[words.word(2)];
                let mut fact = self.hub.received(agent, job, attempt, shards(words.word(3)), bytes);
                if let Event::ResultReceived(e) = &mut fact.event {
                    e.epoch = epoch;
                    e.position += position;
                }
                vec![fact]
            }
            "seal" => {
                let last = self.hub.leader.agents.agents.get(&agent).unwrap().position;
                vec![self.hub.sealed(agent, words.number("upto", last))]
            }
            "fail" => {
                let code = words.options.get("code").unwrap_or(&"crashed").to_string();
                let job = self.jobs[words.word(2)];
                let shards = shards(words.word(3));
                vec![ShardReportedFailed { job, agent, epoch, attempt, shards, code }.into()]
            }
            "lose" => vec![AgentLost { agent, epoch, reason: LostReason::Disconnected }.into()],
            "leave" => vec![AgentLost { agent, epoch, reason: LostReason::Left }.into()],
            "drain" => vec![AgentDraining { agent, epoch }.into()],
            other => panic!("no verb {other}"),
        }
    }

    fn submit(&mut self, words: &Words<'_>) -> Fact {
        let project = self.projects[words.options.get("project").copied().unwrap_or("default")];
        let mut job = Hub::submission(project, words.number("shards", 1));
        if let Some(stages) = words.options.get("stages") {
            job.spec = format!("{{\"shards\":{},\"stages\":{stages}}}", words.number("shards", 1)).into_bytes();
        }
        if let Some(mid) = words.options.get("mid_mib") {
            job.spec = format!("{{\"shards\":{},\"mid_mib\":{mid}}}", words.number("shards", 1)).into_bytes();
        }
        job.priority = words.number("priority", 5) as u8;
        job.allow_wait = words.flag("wait");
        job.limits.max_credits = words.options.get("max").map(|m| credits(m));
        job.limits.deadline_ms = words.options.get("deadline").map(|d| milliseconds(d));
        job.limits.max_attempts = words.options.get("attempts").map(|n| n.parse().unwrap());
        job.requirements = Requirements {
            cpu_class: words.options.get("cpu").map(|c| c.to_string()),
            gpu: words.options.get("gpu").map(|g| g.to_string()),
            mem_bytes_min: words.number("mem_gib", 0) << 30,
            regions: words.list("regions"),
            software: words.list("software"),
        };
        let digest = |name: &str| words.options.get(name).map(|text| Digest::of(text.as_bytes()));
        let by = By { key: Some(self.hub.key), idempotency: digest("key"), request: digest("request") };
        Fact { by: Some(by), event: job.into() }
    }

    fn node(&mut self, number: u8) -> Vec<Fact> {
        let token_digest = Digest([number; 32]);
        let expires_at = self.hub.now.after(DurationMs(1000));
        let fact = self.hub.asked(NodeInvited { token_digest, expires_at });
        let invite = self.hub.turn(vec![fact]).expect("a new token");
        let admitted = NodeAdmitted {
            node: NodeId(u64::from(number)),
            invite: Some(invite),
            addresses: Addresses::default(),
            public_key: [number; 32],
            tip: Digest([number; 32]),
            voter: true,
        };
        vec![admitted.into()]
    }
}
