//! Old shapes read as today's.
//!
//! Every format version that a release wrote stays readable: its retired shapes live here as
//! private structs with a `From` into the present one. There is one version so far.

use crate::codec::{DecodeError, TURN_VERSION};
use crate::turn::Turn;

/// A turn's payload of any version ever released.
pub(crate) fn turn(version: u8, payload: &[u8]) -> Result<Turn, DecodeError> {
    match version {
        TURN_VERSION => present(payload),
        other => Err(DecodeError::Version(other)),
    }
}

/// Today's shape; bytes left over are refused, so that equal turns have equal frames.
fn present(payload: &[u8]) -> Result<Turn, DecodeError> {
    match postcard::take_from_bytes(payload) {
        Ok((turn, [])) => Ok(turn),
        _ => Err(DecodeError::Malformed),
    }
}
