//! What an agent is given for a shard: self-contained, canonical bytes.

use super::model::Model;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Version of the encoding, of the models' operations and of the floating point contract together.
pub const FORMAT: u8 = 1;

/// A run of samples, and what is wanted of them.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ShardWork {
    pub format: u8,
    pub model: Model,
    pub seed: u64,
    pub stream: u64,
    pub antithetic: bool,
    /// The first sample: the shard's seed offset.
    pub first: u64,
    /// Samples. At least 1.
    pub count: u64,
    /// Edges of the histogram, if one is wanted.
    pub edges: Option<Vec<f64>>,
    /// Whether the sketch is wanted.
    pub sketch: bool,
    /// Values of the tail to keep, if one is wanted.
    pub keep: Option<u64>,
}

impl ShardWork {
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("a payload has no value that postcard cannot write")
    }

    /// Reads a payload, refusing what a kernel could not run.
    pub fn decode(bytes: &[u8]) -> Option<ShardWork> {
        let (work, rest) = postcard::take_from_bytes::<ShardWork>(bytes).ok()?;
        let edges = work.edges.as_ref().is_none_or(|e| e.len() >= 2 && e.is_sorted_by(|a, b| a < b));
        let counts = work.count >= 1 && work.first.checked_add(work.count).is_some();
        let keep = work.keep.is_none_or(|k| (1..=super::tail::KEPT_MAX).contains(&k));
        (rest.is_empty() && work.format == FORMAT && edges && counts && keep && work.model.is_sound()).then_some(work)
    }
}
