//! Cutting a film into cells, and cells into shards. Cells follow from the job and the film alone.

use super::film::Film;
use alloc::vec::Vec;

/// Most cells of a job: their list is inline.
pub const CELLS_MAX: usize = 20_000;
/// Most video shards of a job: the list of their parts is inline.
pub const PACKS_MAX: u64 = 1_000;
/// Time a shard aims at. Units: nanoseconds of the cost model.
const SHARD_NS: u64 = 5_000_000_000;
/// Shards a slot, where it pays.
const SHARDS_A_SLOT: u64 = 4;
/// The planner's own cells are at least this long, and at most the longer of both. Units: seconds.
const CELL_S: u64 = 2;
const CELL_S_MAX: u64 = 10;

/// Frames of each cell, in order.
///
/// Shape: with `cell_frames` all cells but the last have as many; else cells end at the source's key pictures where one is
/// within a tenth of the length.
pub fn cells(film: &Film, cell_frames: Option<u32>) -> Vec<u32> {
    let count = film.frames();
    if let Some(frames) = cell_frames {
        return (0..count).step_by(frames as usize).map(|first| frames.min(count - first)).collect();
    }
    let length = own_length(film);
    let mut cells = Vec::new();
    let mut first = 0;
    while first < count {
        let due = u64::from(first) + u64::from(length);
        let near = |key: &u32| u64::from(*key).abs_diff(due);
        let key = film.keys.iter().filter(|k| near(k) <= u64::from(length) / 10).min_by_key(|k| near(k));
        let next = key.map_or(due, |k| u64::from(*k)).min(u64::from(count)) as u32;
        cells.push(next - first);
        first = next;
    }
    cells
}

fn own_length(film: &Film) -> u32 {
    let (num, den) = film.time_base;
    let frames_in = |seconds: u64| {
        let ticks = u128::from(seconds) * u128::from(den) / u128::from(num);
        (ticks * u128::from(film.frames()) / u128::from(film.duration())).clamp(1, u128::from(u32::MAX)) as u32
    };
    let ends = film.keys.iter().skip(1).copied().chain([film.frames()]);
    let group = film.keys.iter().zip(ends).map(|(from, to)| to - from).max().unwrap_or(1);
    group.clamp(frames_in(CELL_S), frames_in(CELL_S_MAX).max(frames_in(CELL_S)))
}

/// Cells of each shard but the last.
pub fn group(cells: &[u32], frame_cost_ns: u64, shard_cells: Option<u64>, slots: u32) -> u32 {
    let count = cells.len() as u64;
    let frames: u64 = cells.iter().map(|c| u64::from(*c)).sum();
    let shards = (frames * frame_cost_ns).div_ceil(SHARD_NS).max(u64::from(slots.max(1)) * SHARDS_A_SLOT).min(count);
    let asked = shard_cells.unwrap_or(count.div_ceil(shards.max(1)));
    asked.clamp(count.div_ceil(PACKS_MAX), count) as u32
}
