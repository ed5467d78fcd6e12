//! What every agent delivered and no seal covers yet, by position in its chain.

use super::Pending;
use crate::cow::CowMap;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use forge_event::*;
use serde::{Deserialize, Serialize};

/// The windows of all agents that ever delivered.
#[derive(Clone, Serialize, Deserialize, Debug, Default)]
pub struct Windows(CowMap<AgentId, Arc<Window>>);

/// One agent's results that wait for a seal, in the order of its chain.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct Window {
    /// Position of the oldest.
    first: u64,
    results: VecDeque<Pending>,
}

impl Window {
    pub(crate) fn get_mut(&mut self, position: u64) -> Option<&mut Pending> {
        self.results.get_mut(usize::try_from(position.checked_sub(self.first)?).ok()?)
    }

    /// All, newest first.
    pub(crate) fn newest(&mut self) -> impl Iterator<Item = &mut Pending> {
        self.results.iter_mut().rev()
    }

    /// Adds the agent's next result.
    pub(crate) fn push(&mut self, pending: Pending) {
        self.results.push_back(pending);
    }

    /// All, with their positions.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &Pending)> {
        self.results.iter().enumerate().map(|(at, pending)| (self.first + at as u64, pending))
    }
}

impl Windows {
    pub fn get(&self, agent: AgentId, position: u64) -> Option<&Pending> {
        let window = self.0.get(&agent)?;
        window.results.get(usize::try_from(position.checked_sub(window.first)?).ok()?)
    }

    /// What waits of an agent; `None`: nothing.
    pub fn of(&self, agent: AgentId) -> Option<&Window> {
        self.0.get(&agent).map(|window| &**window)
    }

    pub(crate) fn of_mut(&mut self, agent: AgentId) -> Option<&mut Window> {
        self.0.get_mut(&agent).map(Arc::make_mut)
    }

    /// What waits of an agent; one that is new begins at `next`.
    pub(crate) fn open(&mut self, agent: AgentId, next: u64) -> &mut Window {
        if !self.0.contains(&agent) {
            self.0.insert(agent, Arc::new(Window { first: next, results: VecDeque::new() }));
        }
        self.of_mut(agent).expect("it was put there just now")
    }

    /// Takes an agent's results up to a position out, oldest first; gives how many.
    pub(crate) fn close(&mut self, agent: AgentId, upto: u64, take: impl FnMut(Pending)) -> u64 {
        let Some(window) = self.of_mut(agent) else { return 0 };
        let count = usize::try_from((upto + 1).saturating_sub(window.first)).unwrap_or(usize::MAX);
        let count = count.min(window.results.len());
        window.results.drain(..count).for_each(take);
        window.first = upto + 1;
        if window.results.is_empty() {
            // Most agents are idle most of the time.
            window.results = VecDeque::new();
        }
        count as u64
    }

    /// All results of all agents.
    pub fn iter(&self) -> impl Iterator<Item = (AgentId, u64, &Pending)> {
        self.0.iter().flat_map(|(agent, window)| window.iter().map(|(position, pending)| (*agent, position, pending)))
    }

    pub(crate) fn root(&mut self) -> Digest {
        self.0.root()
    }
}
