//! The log as lines of JSON, one an event, then a trailer.

use super::answer::Refused;
use super::state::Rest;
use super::stream::unreadable;
use axum::body::Body;
use bytes::Bytes;
use forge_event::*;
use forge_log::{ReadError, ReadTurn};
use forge_projections::World;
use super::render;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use serde_json::json;

/// The events `from..=to`, `to` rounded down to the end of a turn.
///
/// Causes, sequences and entries are the fold's work, so the log is folded again from its start.
///
/// # Errors
/// If the log's start is not on this node.
pub async fn body(rest: &Rest, from: EventIndex, to: EventIndex) -> Result<Body, Refused> {
    let mut turns = rest.hub().log().read(EventIndex(1)).peekable();
    if let Some(Err(error)) = std::pin::Pin::new(&mut turns).peek().await {
        return Err(unreadable(error).into());
    }
    let fold = Fold { world: World::default(), turns: turns.boxed(), rest: rest.clone(), from, to, turn_count: 0, first: None, over: false };
    Ok(Body::from_stream(fold.lines()))
}

struct Fold {
    world: World,
    turns: BoxStream<'static, Result<ReadTurn, ReadError>>,
    rest: Rest,
    from: EventIndex,
    to: EventIndex,
    turn_count: u64,
    first: Option<EventIndex>,
    over: bool,
}

impl Fold {
    fn lines(self) -> impl Stream<Item = Result<Bytes, ReadError>> + Send {
        futures::stream::unfold(self, |mut fold| async move { fold.next().await.map(|item| (item, fold)) })
    }

    async fn next(&mut self) -> Option<Result<Bytes, ReadError>> {
        while !self.over {
            match self.turns.next().await {
                Some(Ok(read)) if read.turn.last() <= self.to => {
                    let lines = self.fold(&read);
                    if !lines.is_empty() {
                        return Some(Ok(lines.into()));
                    }
                }
                Some(Err(error)) => {
                    self.over = true;
                    return Some(Err(error));
                }
                _ => {
                    self.over = true;
                    return Some(Ok(self.trailer().into()));
                }
            }
        }
        None
    }

    fn fold(&mut self, read: &ReadTurn) -> String {
        let mut lines = render::Lines::new(&read.turn, &read.head);
        self.world.fold(&read.turn, &read.frame, self.rest.hub().families(), &mut lines);
        if read.turn.first() < self.from {
            return String::new();
        }
        self.first.get_or_insert(read.turn.first());
        self.turn_count += 1;
        lines.lines.iter().map(|line| format!("{line}\n")).collect()
    }

    fn trailer(&self) -> String {
        let head = self.world.head;
        let first = self.first.unwrap_or(self.from);
        let trailer = json!({"end": true, "first": first.0, "last": head.events, "turns": self.turn_count, "head": head.digest.to_string()});
        format!("{trailer}\n")
    }
}
