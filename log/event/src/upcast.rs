//! Old shapes read as today's.
//!
//! Every format version that a release wrote stays readable: its retired shapes live here as
//! private structs with a `From` into the present one. There is one version so far.

use crate::codec::{DecodeError, Places, TURN_VERSION};
use crate::digest::Digest;
use crate::event::{Event, Nature};
use crate::read::Reading;
use crate::turn::{Fact, Turn};
use alloc::vec::Vec;

/// Events for which room is made before they were seen.
const ITEMS_AHEAD: usize = 128;

/// A turn's payload of any version ever released, and where each event's canonical bytes stand in it.
pub(crate) fn turn(version: u8, payload: &[u8]) -> Result<(Turn, Places), DecodeError> {
    match version {
        TURN_VERSION => present(payload),
        other => Err(DecodeError::Version(other)),
    }
}

/// Today's shape; bytes left over are refused, so that equal turns have equal frames.
fn present(payload: &[u8]) -> Result<(Turn, Places), DecodeError> {
    let mut reading = Reading::new(payload);
    let (expected, at, Digest(salt), policy) = reading.value()?;
    let mut places = Vec::with_capacity(ITEMS_AHEAD);
    let mut event = |reading: &mut Reading<'_>, nature: Nature| {
        let start = payload.len() - reading.left();
        let event: Event = reading.value()?;
        places.push(start..payload.len() - reading.left());
        match event.nature() == nature {
            true if event.is_canonical() => Ok(event),
            true => Err(DecodeError::NotCanonical),
            false => Err(DecodeError::WrongList),
        }
    };
    let count = reading.count()?;
    let mut facts = Vec::with_capacity(count.min(ITEMS_AHEAD));
    for _ in 0..count {
        let by = reading.value()?;
        facts.push(Fact { by, event: event(&mut reading, Nature::Fact)? });
    }
    let count = reading.count()?;
    let mut decisions = Vec::with_capacity(count.min(ITEMS_AHEAD));
    for _ in 0..count {
        decisions.push(event(&mut reading, Nature::Decision)?);
    }
    match reading.left() {
        0 => Ok((Turn { expected, at, salt, policy, facts, decisions }, Places(places))),
        _ => Err(DecodeError::Malformed),
    }
}
