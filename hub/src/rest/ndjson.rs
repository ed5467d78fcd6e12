//! The log as lines of JSON, one an event, then a trailer.

use super::answer::Refused;
use super::state::Rest;
use super::stream::unreadable;
use axum::body::Body;
use bytes::Bytes;
use forge_event::*;
use forge_log::{ReadError, ReadTurn};
use forge_projections::World;
use forge_projections::export::Exporter;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};

/// Lines are handed to the connection in pieces of about this. Units: bytes.
const PIECE_BYTES: usize = 64 * 1024;

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
    let exporter = Exporter::new(from, to);
    let fold = Fold { world: World::default(), exporter, turns: turns.boxed(), rest: rest.clone(), to, over: false };
    Ok(Body::from_stream(fold.pieces()))
}

struct Fold {
    world: World,
    exporter: Exporter,
    turns: BoxStream<'static, Result<ReadTurn, ReadError>>,
    rest: Rest,
    to: EventIndex,
    over: bool,
}

impl Fold {
    fn pieces(self) -> impl Stream<Item = Result<Bytes, ReadError>> + Send {
        futures::stream::unfold(self, |mut fold| async move { fold.next().await.map(|piece| (piece, fold)) })
    }

    async fn next(&mut self) -> Option<Result<Bytes, ReadError>> {
        if self.over {
            return None;
        }
        let mut piece = String::new();
        while piece.len() < PIECE_BYTES {
            match self.turns.next().await {
                Some(Ok(read)) if read.turn.last() <= self.to => {
                    self.world.fold(&read.turn, &read.frame, self.rest.hub().families(), &mut self.exporter);
                    piece.push_str(&self.exporter.lines());
                    // Other requests share this thread.
                    tokio::task::yield_now().await;
                }
                Some(Err(error)) => {
                    self.over = true;
                    return Some(Err(error));
                }
                _ => {
                    self.over = true;
                    piece.push_str(&self.exporter.trailer());
                    break;
                }
            }
        }
        Some(Ok(piece.into()))
    }
}
