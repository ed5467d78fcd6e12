//! Timing profiles: how fast each class of agents does the work of each family, learnt from the log alone.
//!
//! What is measured is *log time*, from the turn that assigned a grant to the turn that accepted its last result: the way
//! there and back is in it, and so is the wait behind what the agent held already. Of that wait the share of others is
//! taken out by Little's law: with `held` leases in hand and `slots` worked on at once, a lease takes `slots / held` of its
//! residence. The rest is noise that a moving mean bears: shards of unequal cost, other jobs in the same window, a leader
//! that was away. So a profile is good for estimates, and nothing is decided by it.

use crate::cow::CowMap;
use crate::world::World;
use alloc::collections::BTreeMap;
use alloc::string::String;
use forge_event::*;
use serde::{Deserialize, Serialize};

/// Shards that cost less than this show how fast the hub is, not how fast the agent. Units: microseconds of the cost model.
const COST_US_MIN: u64 = 20_000;
/// A grant counts as at most so many times slower or faster than the cost model says: an outage must not stay in the mean.
const TIMES_MAX: u64 = 64;
/// Each grant's weight in the mean is one in so many.
const MEMORY: u64 = 8;
/// Profiles kept; agents name their classes, so there is no other bound.
const PACES_MAX: u64 = 1024;

/// Whose work by whom.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Debug)]
pub struct PaceOf {
    pub kind: String,
    /// Of the family: its cost model may change with it.
    pub family_version: u16,
    pub cpu_class: String,
}

/// A timing profile.
///
/// Invariant: both sums are at least 1.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Pace {
    /// Fading sum of the time that one slot took for a shard of each grant. Units: microseconds.
    took_us: u64,
    /// Of the same shards, what the family's cost model said. Units: microseconds.
    cost_us: u64,
    /// Grants it was learnt from.
    pub grants: u64,
    /// The last `result.accepted` among them.
    pub updated: EventIndex,
}

impl Pace {
    /// Takes in a shard that took one slot `took_us`; gives the new profile.
    fn after(known: Option<&Pace>, took_us: u64, cost_us: u64, index: EventIndex) -> Pace {
        let took_us = took_us.clamp((cost_us / TIMES_MAX).max(1), cost_us.saturating_mul(TIMES_MAX));
        // Sums fade instead of ratios: long shards tell more than short ones.
        let fade = |sum: u64, new: u64| (sum - sum / MEMORY).saturating_add(new);
        Pace {
            took_us: fade(known.map_or(0, |p| p.took_us), took_us),
            cost_us: fade(known.map_or(0, |p| p.cost_us), cost_us),
            grants: known.map_or(0, |p| p.grants) + 1,
            updated: index,
        }
    }

    /// Work units that one slot does in a second. A unit is a nanosecond of the family's cost model.
    pub fn units_per_second(&self) -> u64 {
        quotient(u128::from(self.cost_us) * 1_000_000_000, self.took_us)
    }

    /// How long a slot takes for so many work units. Units: nanoseconds.
    pub fn estimate_ns(&self, units: u64) -> u64 {
        quotient(u128::from(units) * u128::from(self.took_us), self.cost_us)
    }
}

fn quotient(product: u128, by: u64) -> u64 {
    u64::try_from(product / u128::from(by.max(1))).unwrap_or(u64::MAX)
}

/// All timing profiles.
pub type Paces = CowMap<PaceOf, Pace>;

impl World {
    /// Learns from a grant of `held` leases in all that `e` ended: O(log profiles), and nothing for short shards and repeated ones.
    pub(crate) fn learn_pace(&mut self, e: &ResultAccepted, (assigned_at, held): (Timestamp, u32)) {
        let job = self.job(e.job);
        let cost_ns = e.shards.0.last().and_then(|run| job.stage_of(run.last)).map_or(0, |stage| stage.shard_cost_ns);
        let cost_us = cost_ns / 1000;
        // A later attempt may go on where an earlier one stopped, and so does less than its shard costs.
        if cost_us < COST_US_MIN || e.attempt > 1 {
            return;
        }
        let agent = self.agent(e.agent);
        let Some(slots) = agent.session.map(|s| u64::from(s.slots.max(1))) else { return };
        let residence_us = u128::from(self.at.since(assigned_at).0) * 1000;
        let took_us = quotient(residence_us * u128::from(slots), slots.max(u64::from(held)));
        let of = PaceOf {
            kind: job.submitted.kind.clone(),
            family_version: job.submitted.family_version,
            cpu_class: agent.capabilities.cpu_class.clone(),
        };
        let paces = &mut self.agents.paces;
        let known = paces.get(&of);
        if known.is_some() || paces.len() < PACES_MAX {
            let pace = Pace::after(known, took_us, cost_us, self.turn.index);
            paces.insert(of, pace);
        }
    }

    /// How long a shard of `units` takes the agents that match, on average over their slots; classes without a profile count
    /// as the cost model says. `None` if none of them has one. Units: nanoseconds.
    pub fn learnt_ns(&self, kind: &str, family_version: u16, required: &Requirements, units: u64) -> Option<u64> {
        let mut slots_of: BTreeMap<&str, u64> = BTreeMap::new();
        for agent in self.agents_for(required) {
            let slots = agent.session.map_or(0, |s| u64::from(s.slots.max(1)));
            *slots_of.entry(&agent.capabilities.cpu_class).or_default() += slots;
        }
        let (mut sum, mut all, mut learnt) = (0u128, 0u128, false);
        for (cpu_class, slots) in slots_of {
            let of = PaceOf { kind: kind.into(), family_version, cpu_class: cpu_class.into() };
            let pace = self.agents.paces.get(&of);
            learnt |= pace.is_some();
            sum += u128::from(pace.map_or(units, |pace| pace.estimate_ns(units))) * u128::from(slots);
            all += u128::from(slots);
        }
        (learnt && all > 0).then(|| u64::try_from(sum / all).unwrap_or(u64::MAX))
    }

    /// The profiles of a class of agents.
    pub fn paces_of<'w>(&'w self, cpu_class: &'w str) -> impl Iterator<Item = (&'w PaceOf, &'w Pace)> + 'w {
        self.agents.paces.iter().filter(move |(of, _)| of.cpu_class == cpu_class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_follows_what_was_seen_and_weighs_it_by_length() {
        let mut pace = Pace::after(None, 2_000_000, 1_000_000, EventIndex(9));
        assert_eq!((pace.units_per_second(), pace.estimate_ns(3_000)), (500_000_000, 6_000));
        for _ in 0..8 {
            pace = Pace::after(Some(&pace), 200_000, 20_000, EventIndex(10));
        }
        assert!((2_000..4_000).contains(&pace.estimate_ns(1_000)), "short shards say little: {pace:?}");
        for _ in 0..40 {
            pace = Pace::after(Some(&pace), 1_000_000, 1_000_000, EventIndex(11));
        }
        assert!((990_000_000..1_010_000_000).contains(&pace.units_per_second()), "{pace:?}");
        assert_eq!((pace.grants, pace.updated), (49, EventIndex(11)));
    }

    #[test]
    fn an_outage_does_not_stay_in_the_mean() {
        let usual = Pace::after(None, 1_000_000, 1_000_000, EventIndex(1));
        let outage = Pace::after(Some(&usual), u64::MAX, 1_000_000, EventIndex(2));
        assert!(outage.estimate_ns(1) <= TIMES_MAX, "{outage:?}");
        let extreme = Pace::after(Some(&outage), u64::MAX, u64::MAX, EventIndex(3));
        assert!(extreme.estimate_ns(u64::MAX) > 0 && extreme.units_per_second() > 0, "{extreme:?}");
    }
}
