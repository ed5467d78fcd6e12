//! Why an agent has no more work than it has.

use super::{Explanation, Reason, Step, Why, span};
use crate::agents::{Agent, AgentState};
use crate::decide::suits;
use crate::scheduler::Work;
use crate::world::World;
use alloc::format;
use alloc::vec::Vec;
use forge_event::*;

impl World {
    /// Why an agent has work or none; `None` if there is no such agent.
    ///
    /// `names`: the jobs it could work for may be named.
    pub fn explain_agent(&self, id: AgentId, names: bool) -> Option<Explanation> {
        let agent = self.agents.agents.get(&id)?;
        let state = match agent.state() {
            AgentState::Ready => "ready",
            AgentState::Busy => "busy",
            AgentState::Draining => "draining",
            AgentState::Offline => "offline",
        };
        Some(self.explanation(id, state, self.why_agent(agent, names)))
    }

    fn why_agent(&self, agent: &Agent, names: bool) -> Why {
        let Some(session) = agent.session else {
            let Some(lost) = agent.lost else {
                return Why::new(Reason::NeverJoined, None, "The agent is enrolled and has not connected yet");
            };
            let grace = self.deadline_of(lost.grace_base);
            let headline = match agent.leases {
                0 => "The agent's session is over; it holds no leases".into(),
                n => format!("The agent's session is over; its {n} leases go back in {}", span(self.at, grace)),
            };
            return Why::new(Reason::Offline, lost.index, headline);
        };
        if session.draining {
            let headline = format!("The agent asked for no more work; it still holds {} leases", agent.leases);
            return Why::new(Reason::Draining, None, headline);
        }
        if agent.room() == 0 {
            let headline = format!("The agent holds {} leases, as many as its window allows", agent.leases);
            return Why::new(Reason::WindowFull, agent.room, headline);
        }
        self.why_idle(agent, names)
    }

    fn why_idle(&self, agent: &Agent, names: bool) -> Why {
        let pending: Vec<(JobId, &Work)> = self.pending_work().collect();
        let fits: Vec<JobId> = pending
            .iter()
            .filter(|(_, work)| suits(self, agent, &self.scheduler.shapes[work.shape as usize]))
            .map(|(job, _)| *job)
            .collect();
        let step = |step: &str, n: usize| Step { step: step.into(), n: n as u64 };
        let (leases, window) = (agent.leases, agent.window);
        let (code, headline) = match (pending.len(), fits.len()) {
            (0, _) => {
                (Reason::NothingPending, format!("Nothing is pending; the agent holds {leases} of {window} leases"))
            }
            (n, 0) => (Reason::NoMatchingWork, format!("{n} jobs have pending shards, none that this agent can do")),
            (_, n) => (Reason::NextTurn, format!("{n} jobs have pending shards that this agent can do")),
        };
        let mut why = Why::new(code, agent.room, headline);
        why.funnel = alloc::vec![step("jobs with pending shards", pending.len()), step("requirements met", fits.len())];
        if names && let Some(first) = fits.first() {
            why.headline = format!("{}, first {first}", why.headline);
        }
        why
    }

    /// Open jobs with shards nobody holds.
    fn pending_work(&self) -> impl Iterator<Item = (JobId, &Work)> {
        let waits = |work: &Work| !work.fresh.is_empty() || work.retries.iter().any(|(_, r)| r.pending);
        self.scheduler.work.iter().filter(move |(_, work)| waits(work)).map(|(job, work)| (*job, work))
    }
}
