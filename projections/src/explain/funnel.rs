//! Counts agents through one condition after the other.

use super::{AGENTS_MAX, AgentVerdict, Reason, Step};
use crate::agents::Agent;
use crate::decide::suits;
use crate::world::World;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use forge_event::*;

/// One condition on agents.
struct Gate {
    name: String,
    /// The requirements up to here; each gate adds one.
    required: Requirements,
}

/// The gates of a set of requirements: each adds one requirement to those before.
fn gates(required: &Requirements) -> Vec<Gate> {
    let mut gates = Vec::new();
    let mut so_far = Requirements::default();
    let mut gate = |name: String, so_far: &Requirements| gates.push(Gate { name, required: so_far.clone() });
    if let Some(class) = &required.cpu_class {
        so_far.cpu_class = Some(class.clone());
        gate(format!("class={class}"), &so_far);
    }
    if let Some(gpu) = &required.gpu {
        so_far.gpu = Some(gpu.clone());
        gate(format!("gpu={gpu}"), &so_far);
    }
    if required.mem_bytes_min > 0 {
        so_far.mem_bytes_min = required.mem_bytes_min;
        gate(format!("memory>={}", required.mem_bytes_min), &so_far);
    }
    if !required.regions.is_empty() {
        so_far.regions = required.regions.clone();
        gate(format!("region in [{}]", required.regions.join(",")), &so_far);
    }
    for software in &required.software {
        so_far.software.push(software.clone());
        gate(format!("software={software}"), &so_far);
    }
    gates
}

/// What the agents of a shape come to.
pub(super) struct Funnel {
    pub steps: Vec<Step>,
    /// What stops the last of them; `None` if one could be given the shard now.
    pub stop: Option<Reason>,
    /// The step that leaves nobody.
    pub by: Option<String>,
    pub agents: Vec<AgentVerdict>,
    /// Agents with a session that meet every requirement.
    pub matching: u64,
}

impl World {
    /// Counts agents through what `required` asks, leaving out those in `avoid`.
    pub(super) fn funnel(&self, required: &Requirements, avoid: &[AgentId], names: bool) -> Funnel {
        let gates = gates(required);
        let after = ["taking work", "did not fail at it", "free slot"];
        let (first, last) = (2, 2 + gates.len());
        let mut counts = alloc::vec![0u64; last + after.len()];
        let mut listed = Vec::new();
        let mut lost_but_suited = false;
        for (id, agent) in self.agents.agents.iter() {
            let passed = self.passes(*id, agent, &gates, avoid);
            counts[..=passed].iter_mut().for_each(|n| *n += 1);
            lost_but_suited |= passed == 0 && agent.epoch > 0 && suits(self, agent, required);
            // Whoever came furthest says most.
            if names && (passed >= first || agent.session.is_none()) {
                let by = gates.get((passed + 1).wrapping_sub(first)).map(|g| g.name.as_str());
                listed.push((passed, *id, self.agent_verdict(*id, agent, passed, last, by)));
                if listed.len() >= AGENTS_MAX * 4 {
                    shorten(&mut listed);
                }
            }
        }
        shorten(&mut listed);
        let names_of = ["registered", "alive"].into_iter().map(String::from);
        let names_of = names_of.chain(gates.iter().map(|g| g.name.clone())).chain(after.map(String::from));
        let steps: Vec<Step> = names_of.zip(&counts).map(|(step, n)| Step { step, n: *n }).collect();
        let empty = counts.iter().position(|n| *n == 0);
        let stop = empty.map(|at| match at {
            0 => Reason::NoAgents,
            _ if at < last && lost_but_suited => Reason::AllAgentsLost,
            1 => Reason::AllAgentsLost,
            _ if at < last => Reason::NoMatchingAgent,
            _ if at == last => Reason::AllAgentsDraining,
            _ if at == last + 1 => Reason::AvoidingAgents,
            _ => Reason::NoFreeSlot,
        });
        Funnel {
            by: empty.map(|at| steps[at].step.clone()),
            matching: counts[last - 1],
            stop,
            steps,
            agents: listed.into_iter().map(|(.., verdict)| verdict).collect(),
        }
    }

    /// The last step an agent passes.
    fn passes(&self, id: AgentId, agent: &Agent, gates: &[Gate], avoid: &[AgentId]) -> usize {
        let Some(session) = &agent.session else { return 0 };
        let met = gates.iter().take_while(|gate| suits(self, agent, &gate.required)).count();
        let further = [!session.draining, !avoid.contains(&id), agent.room() > 0];
        match met == gates.len() {
            true => 1 + met + further.into_iter().take_while(|passes| *passes).count(),
            false => 1 + met,
        }
    }

    fn agent_verdict(&self, id: AgentId, agent: &Agent, passed: usize, last: usize, by: Option<&str>) -> AgentVerdict {
        let verdict = match passed {
            0 => "offline",
            _ if passed + 1 < last => "excluded",
            _ if passed + 1 == last => "draining",
            _ if passed == last => "avoided",
            _ if passed == last + 1 => "busy",
            _ => "free",
        };
        let oldest = self.scheduler.leases.of(id).first();
        let runs = oldest.and_then(|grant| grant.leases().next());
        let until = match &agent.lost {
            Some(lost) => Some(self.deadline_of(lost.grace_base)),
            None => oldest.map(|grant| self.lease_deadline(grant)),
        };
        AgentVerdict {
            id: id.to_string(),
            owner: agent.provider.to_string(),
            verdict,
            by: (verdict == "excluded").then(|| by.unwrap_or_default().to_string()),
            until: until.map(|t| t.to_string()),
            runs: runs.map(|lease| lease.to_string()),
        }
    }
}

/// Keeps those that came furthest, older ones first.
fn shorten(listed: &mut Vec<(usize, AgentId, AgentVerdict)>) {
    listed.sort_by_key(|(passed, id, _)| (usize::MAX - passed, *id));
    listed.truncate(AGENTS_MAX);
}
