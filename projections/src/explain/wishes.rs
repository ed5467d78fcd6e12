//! What would help: one requirement relaxed at a time, tried on the code that decides.

use super::funnel::Funnel;
use super::{CHANGES_MAX, Change};
use crate::decide::suits;
use crate::world::World;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use forge_event::*;

impl World {
    /// Relaxations of `required` that bring in agents with a session.
    pub(super) fn relaxations(&self, required: &Requirements, funnel: &Funnel) -> Vec<Change> {
        let mut tries: Vec<(String, Requirements)> = Vec::new();
        let mut relax = |change: String, edit: &dyn Fn(&mut Requirements)| {
            let mut relaxed = required.clone();
            edit(&mut relaxed);
            tries.push((change, relaxed));
        };
        if required.cpu_class.is_some() {
            relax("requirements.cpu_class = null".to_string(), &|r| r.cpu_class = None);
        }
        if required.gpu.is_some() {
            relax("requirements.gpu = null".to_string(), &|r| r.gpu = None);
        }
        if required.mem_bytes_min > 0 {
            let half = required.mem_bytes_min / 2;
            relax(format!("requirements.mem_bytes_min = {half}"), &|r| r.mem_bytes_min = half);
        }
        if !required.regions.is_empty() {
            for region in self.other_regions(&required.regions) {
                relax(format!("requirements.regions += {region}"), &|r| r.regions.push(region.clone()));
            }
        }
        for software in &required.software {
            relax(format!("requirements.software -= {software}"), &|r| r.software.retain(|s| s != software));
        }
        let tried = tries.into_iter().take(CHANGES_MAX).filter_map(|(change, relaxed)| {
            let adds = self.alive_and_suited(&relaxed).saturating_sub(funnel.matching);
            (adds > 0).then(|| Change { change, adds: Some(adds), moves_ahead_of: Vec::new() })
        });
        tried.collect()
    }

    fn alive_and_suited(&self, required: &Requirements) -> u64 {
        let alive = self.agents.agents.iter().map(|(_, a)| a).filter(|a| a.session.is_some());
        alive.filter(|agent| suits(self, agent, required)).count() as u64
    }

    /// The regions most agents are in, besides those named.
    fn other_regions(&self, named: &[String]) -> Vec<String> {
        let mut regions: BTreeMap<&String, u64> = BTreeMap::new();
        for (_, agent) in self.agents.agents.iter().filter(|(_, a)| a.session.is_some()) {
            *regions.entry(&agent.capabilities.region).or_default() += 1;
        }
        let mut regions: Vec<(&String, u64)> = regions.into_iter().filter(|(r, _)| !named.contains(r)).collect();
        regions.sort_by_key(|(region, n)| (u64::MAX - n, *region));
        regions.into_iter().take(2).map(|(region, _)| region.clone()).collect()
    }
}
