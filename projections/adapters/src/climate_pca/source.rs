//! Reading blobs by range, for the hub and for agents alike.

use crate::host::{Host, Stop};
use alloc::vec;
use alloc::vec::Vec;
use forge_event::Digest;
use forge_projections::family::{Blobs, Fault};

/// Where bytes come from. The same functions run on an agent, and in the hub where it recomputes a few entries.
pub trait Source {
    type Error: From<Fault>;

    /// Fills `buffer` from byte `first` of a blob on.
    ///
    /// # Errors
    /// The blob is not there, or ends before the buffer does.
    fn read(&mut self, blob: &Digest, first: u64, buffer: &mut [u8]) -> Result<(), Self::Error>;

    /// Says that work goes on; called every few milliseconds.
    ///
    /// # Errors
    /// The work is not wanted any longer.
    fn progress(&mut self, cells_done: u64) -> Result<(), Self::Error>;
}

/// The hub's blobs.
#[derive(Clone, Copy)]
pub struct Hub<'a>(pub &'a dyn Blobs);

impl Source for Hub<'_> {
    type Error = Fault;

    fn read(&mut self, blob: &Digest, first: u64, buffer: &mut [u8]) -> Result<(), Fault> {
        self.0.read(blob, first, buffer)
    }

    fn progress(&mut self, _: u64) -> Result<(), Fault> {
        Ok(())
    }
}

/// An agent's host.
pub struct Agent<'a>(pub &'a mut dyn Host);

impl Source for Agent<'_> {
    type Error = Stop;

    fn read(&mut self, blob: &Digest, first: u64, buffer: &mut [u8]) -> Result<(), Stop> {
        self.0.read(blob, first, buffer)
    }

    fn progress(&mut self, cells_done: u64) -> Result<(), Stop> {
        self.0.progress(cells_done)
    }
}

/// `count` little-endian doubles of a blob that holds nothing else, from the one at `first` on.
///
/// # Errors
/// As [`Source::read`].
pub fn doubles<S: Source>(source: &mut S, blob: &Digest, first: u64, count: u64) -> Result<Vec<f64>, S::Error> {
    let mut bytes = vec![0; count as usize * 8];
    source.read(blob, first * 8, &mut bytes)?;
    Ok(bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().expect("chunks of eight bytes"))).collect())
}

/// The bytes of doubles, little-endian, every NaN the canonical one.
pub fn bytes_of(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|value| canonical(*value).to_le_bytes()).collect()
}

/// `value`, or the canonical NaN.
pub fn canonical(value: f64) -> f64 {
    if value.is_nan() { f64::from_bits(crate::json::CANONICAL_NAN) } else { value }
}
