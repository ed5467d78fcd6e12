//! The log as lines of JSON, one an event, then a trailer.

use super::answer::Refused;
use super::refold::{Refold, Upto};
use super::state::Rest;
use axum::body::Body;
use bytes::Bytes;
use forge_event::*;
use forge_log::ReadError;
use futures::Stream;

/// Lines are handed to the connection in pieces of about this. Units: bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// The events `from..=to`, `to` rounded down to the end of a turn.
///
/// # Errors
/// If the log's start is not on this node.
pub async fn body(rest: &Rest, from: EventIndex, to: EventIndex) -> Result<Body, Refused> {
    Ok(Body::from_stream(pieces(Refold::new(rest, from, Upto::TurnsBefore(to)).await?)))
}

fn pieces(refold: Refold) -> impl Stream<Item = Result<Bytes, ReadError>> + Send {
    futures::stream::unfold(Some(refold), |refold| async move {
        let mut refold = refold?;
        let mut piece = String::new();
        while piece.len() < PIECE_BYTES {
            match refold.turn().await {
                Some(Ok(_)) => piece.push_str(&refold.exporter.lines()),
                Some(Err(error)) => return Some((Err(error), None)),
                None => {
                    piece.push_str(&refold.exporter.trailer());
                    return Some((Ok(piece.into()), None));
                }
            }
        }
        Some((Ok(piece.into()), Some(refold)))
    })
}
