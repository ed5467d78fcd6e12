//! Each fact is admitted again and each decision derived again, from the log alone.

use super::{Invariant, Seen};
use forge_adapters::Registry;
use forge_log::CommittedTurn;
use forge_projections::World;

pub struct LawOfTheTurn;

impl Invariant for LawOfTheTurn {
    fn name(&self) -> &'static str {
        "law_of_the_turn"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let Seen::Committed { turn, law: Err(why), .. } = seen else { return Ok(()) };
        Err(format!("turn {}: {why}", turn.head.turns))
    }
}

/// Folds a turn's facts and the decisions that `world` itself derives.
///
/// # Errors
/// What differs from the record; the world is then spoilt.
pub fn rederive(world: &mut World, turn: &CommittedTurn) -> Result<(), String> {
    let recorded = &turn.turn;
    if recorded.at < world.at {
        return Err("log time goes back".into());
    }
    world.open(recorded.at, recorded.salt);
    for fact in &recorded.facts {
        let name = fact.event.name();
        world.admit(fact, recorded.at, &Registry).map_err(|why| format!("its {name} is not admitted: {why}"))?;
        world.apply(fact.by.as_ref(), &fact.event, &Registry);
    }
    let derived = world.decide(&Registry);
    if derived != recorded.decisions {
        let both = derived.iter().zip(&recorded.decisions);
        let same = both.take_while(|(a, b)| a == b).count();
        let show = |events: &[forge_event::Event]| events.get(same).map_or("nothing".into(), |e| format!("{e:?}"));
        return Err(format!("decision {same} is {}, derived is {}", show(&recorded.decisions), show(&derived)));
    }
    world.close(&turn.frame);
    Ok(())
}
