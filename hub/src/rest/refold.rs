//! The log folded again from its start: for what only the fold knows of an event (causes, sequences, all entries).

use super::answer::Refused;
use super::state::Rest;
use super::stream::unreadable;
use forge_event::*;
use forge_log::{ReadError, ReadTurn};
use forge_projections::export::{Exported, Exporter};
use forge_projections::{Known, World};
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::OwnedSemaphorePermit;

/// Where a pass ends.
#[derive(Clone, Copy)]
pub enum Upto {
    /// Behind the turn that holds this event.
    TurnOf(EventIndex),
    /// Behind the last turn that ends at or before this event.
    TurnsBefore(EventIndex),
}

impl Upto {
    fn index(self) -> EventIndex {
        match self {
            Upto::TurnOf(to) | Upto::TurnsBefore(to) => to,
        }
    }

    fn passes(self, turn: &Turn) -> bool {
        match self {
            Upto::TurnOf(to) => turn.first() > to,
            Upto::TurnsBefore(to) => turn.last() > to,
        }
    }
}

/// One pass over the log. Few run at once: each costs time in proportion to the log.
pub struct Refold {
    pub world: World,
    pub exporter: Exporter,
    rest: Rest,
    turns: BoxStream<'static, Result<ReadTurn, ReadError>>,
    upto: Upto,
    _permit: OwnedSemaphorePermit,
}

impl Refold {
    /// Folds all turns to `upto` and renders their events from `from` on.
    ///
    /// # Errors
    /// If the log's start is not on this node.
    pub async fn new(rest: &Rest, from: EventIndex, upto: Upto) -> Result<Refold, Refused> {
        let permit = rest.refolds().clone().acquire_owned().await.expect("nobody closes it");
        let mut turns = rest.hub().log().read(EventIndex(1)).peekable();
        if let Some(Err(error)) = std::pin::Pin::new(&mut turns).peek().await {
            return Err(unreadable(error).into());
        }
        let exporter = Exporter::new(from, upto.index());
        Ok(Refold {
            world: World::default(),
            exporter,
            rest: rest.clone(),
            turns: turns.boxed(),
            upto,
            _permit: permit,
        })
    }

    /// Folds the next turn and gives it; `None` behind the last.
    ///
    /// # Errors
    /// If history cannot be read.
    pub async fn turn(&mut self) -> Option<Result<Turn, ReadError>> {
        let read = match self.turns.next().await? {
            Ok(read) if self.upto.passes(&read.turn) => return None,
            Ok(read) => read,
            Err(error) => return Some(Err(error)),
        };
        let families = self.rest.hub().families();
        self.world.fold_at(&read.turn, &read.frame, Known::default(), read.head, families, &mut self.exporter);
        // Other requests share this thread.
        tokio::task::yield_now().await;
        Some(Ok(read.turn))
    }

    /// Folds to the end; calls `each` with a turn's events of the range, and the chain's heads before and behind it.
    ///
    /// # Errors
    /// If history cannot be read.
    pub async fn each(mut self, mut each: impl FnMut(Vec<Exported>, &Head, &Head)) -> Result<World, Refused> {
        while let Some(turn) = self.turn().await {
            let turn = turn.map_err(|e| unreadable(&e))?;
            let events = self.exporter.take();
            if !events.is_empty() {
                each(events, &turn.expected, &self.world.head);
            }
        }
        Ok(self.world)
    }
}
