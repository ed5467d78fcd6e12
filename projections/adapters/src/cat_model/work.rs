//! Plans, payloads and results: canonical postcard bytes.

use super::damage::Vulnerability;
use super::spec::{Spec, Wind};
use super::tracks::Notes;
use alloc::boxed::Box;
use alloc::vec::Vec;
use forge_event::{Digest, ShardIndex};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Version of the encodings, of the models' operations and of the floating point contract together.
pub const FORMAT: u8 = 1;

/// Most cells of a shard, in either stage: its blob is checked in one piece.
pub const SHARD_CELLS_MAX: u64 = 1 << 18;

/// How far members stray from their track.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Perturb {
    /// Of the start, each way. Units: degrees.
    pub max_shift_ini: f64,
    /// Of each step's length; 0.3 is 30 %.
    pub max_dspeed_rel: f64,
    /// Units: radians an hour.
    pub max_ddirection: f64,
    /// From one hour to the next.
    pub autocorr_dspeed: f64,
    pub autocorr_ddirection: f64,
}

impl Perturb {
    /// In the order of the contract.
    pub fn floats(&self) -> [f64; 5] {
        [self.max_shift_ini, self.max_dspeed_rel, self.max_ddirection, self.autocorr_dspeed, self.autocorr_ddirection]
    }
}

/// All that a cell's numbers depend on, but for the tracks and the points.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Hazard {
    pub wind: Wind,
    /// Units: m/s.
    pub threshold: f64,
    pub vulnerability: Vulnerability,
    /// Units: hours.
    pub dt_h: Option<f64>,
    /// Without it there are no perturbed members.
    pub perturb: Option<Perturb>,
    pub seed: u64,
    pub stream: u64,
}

/// Cells in equal runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cut {
    pub cells: u64,
    /// Of every shard but the last, which may have fewer. At least 1.
    pub cells_a_shard: u64,
}

impl Cut {
    pub fn shards(self) -> u64 {
        self.cells.div_ceil(self.cells_a_shard)
    }

    /// First cell and count of a shard; `None` past the last one.
    pub fn range(self, shard: ShardIndex) -> Option<(u64, u64)> {
        let first = self.cells_a_shard.checked_mul(u64::from(shard)).filter(|first| *first < self.cells)?;
        Some((first, self.cells_a_shard.min(self.cells - first)))
    }
}

/// Which cell of which track is which number, and which members there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Grid {
    pub tracks: u32,
    pub cells_a_track: u64,
    /// Number of the first cell's member: 0 if the original is there.
    pub first_member: u32,
}

impl Grid {
    pub fn new(spec: &Spec, tracks: u32) -> Grid {
        Grid { tracks, cells_a_track: spec.cells_a_track(), first_member: u32::from(!spec.include_original) }
    }

    pub fn cells(self) -> u64 {
        u64::from(self.tracks) * self.cells_a_track
    }

    /// Track and member of a cell.
    pub fn cell(self, cell: u64) -> (u32, u32) {
        ((cell / self.cells_a_track) as u32, (cell % self.cells_a_track) as u32 + self.first_member)
    }
}

/// The plan of a stage.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Stage {
    /// The event loss table.
    Events(Events),
    /// Simulated years.
    Years(Years),
    /// Some cells of one of these, for an attempt that takes up a shard: the plan has shard 0 only.
    Part { of: Box<Stage>, first: u64, count: u64 },
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Events {
    pub cut: Cut,
    pub grid: Grid,
    /// The binary forms of what the client sent.
    pub tracks: Digest,
    pub points: Digest,
    pub point_count: u32,
    /// The exposure's values, added up and rounded once.
    pub total_value: f64,
    /// Nodes of a cell, on average; for estimates.
    pub nodes: u64,
    /// No wind passes this. Units: m/s.
    pub wind_max: f64,
    pub notes: Notes,
}

#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Years {
    pub cut: Cut,
    /// Of each event its loss, and the rates of all up to it added up.
    pub events: Digest,
    pub event_count: u64,
    /// Rate of all events. Units: 1 a year.
    pub rate: f64,
    /// Lowest loss above 0; 0 if there is none.
    pub loss_min: f64,
}

/// A shard's work.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Work {
    Events { hazard: Hazard, grid: Grid, tracks: Digest, points: Digest, point_count: u32, first: u64, count: u64 },
    Years { events: Digest, event_count: u64, seed: u64, stream: u64, first: u64, count: u64 },
}

/// A shard's result: its cells are in a blob.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Part {
    pub cells: u64,
    pub blob: Digest,
}

/// Longest [`Part`]. Units: bytes.
pub const PART_BYTES_MAX: u64 = 1 + 10 + 32;

/// The one encoding of a plan, a payload or a result.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(&(FORMAT, value)).expect("these have no value that postcard cannot write")
}

/// Reads what [`encode`] wrote; `None` for any other bytes.
pub fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let ((format, value), rest) = postcard::take_from_bytes::<(u8, T)>(bytes).ok()?;
    (rest.is_empty() && format == FORMAT && encode(&value) == bytes).then_some(value)
}
