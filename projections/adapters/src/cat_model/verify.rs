//! The checks of a result: its form, and what can be said of its rows without running them again.
//!
//! None of them has a tolerance that an honest result could miss, but none re-runs a cell either: a wrong loss within its bounds is
//! found by an audit on another agent, bit by bit.

use super::elt::{ROW_BYTES, Row, rows};
use super::plan::stage;
use super::spec::Spec;
use super::work::{Events, Part, Stage, Years, decode};
use super::years::YEAR_BYTES;
use forge_event::ShardIndex;
use forge_projections::family::{Blobs, Fault};

/// Check bits.
pub const FORM: u32 = 1;
pub const COUNT: u32 = 1 << 1;
pub const LENGTH: u32 = 1 << 2;
pub const CELLS: u32 = 1 << 3;
pub const LOSS: u32 = 1 << 4;
pub const WIND: u32 = 1 << 5;
pub const HITS: u32 = 1 << 6;
pub const DAMAGE: u32 = 1 << 7;
pub const YEAR: u32 = 1 << 8;

/// The result alone.
pub fn check(plan: &[u8], shard: ShardIndex, result: &[u8]) -> u32 {
    let Some(part) = decode::<Part>(result) else { return FORM };
    match stage(plan).range(shard) {
        Some((_, count)) if count == part.cells => 0,
        _ => COUNT,
    }
}

/// The blob that a result names.
///
/// # Errors
/// Those of the blobs.
pub fn check_blob(spec: &Spec, plan: &[u8], shard: ShardIndex, result: &[u8], blobs: &dyn Blobs) -> Result<u32, Fault> {
    let Some(part) = decode::<Part>(result) else { return Ok(FORM) };
    let stage = stage(plan);
    let Some((first, count)) = stage.range(shard) else { return Ok(COUNT) };
    let whole = stage.whole();
    let bytes = match whole {
        Stage::Years(_) => count * YEAR_BYTES as u64,
        _ => count * ROW_BYTES as u64,
    };
    if blobs.bytes(&part.blob)? != bytes {
        return Ok(LENGTH);
    }
    let bytes = blobs.whole(&part.blob, bytes)?;
    Ok(match whole {
        Stage::Events(stage) => {
            let rows = rows(&bytes).into_iter().zip(first..);
            rows.fold(0, |bits, (row, cell)| bits | row_bits(spec, stage, cell, &row))
        }
        Stage::Years(stage) => {
            let years = bytes.as_chunks::<YEAR_BYTES>().0.iter().map(|year| f64::from_le_bytes(*year));
            years.fold(0, |bits, year| bits | year_bits(stage, year))
        }
        Stage::Part { .. } => panic!("a part is of a whole stage"),
    })
}

fn row_bits(spec: &Spec, stage: &Events, cell: u64, row: &Row) -> u32 {
    let mut bits = 0;
    let mut hold = |bit: u32, holds: bool| bits |= if holds { 0 } else { bit };
    hold(CELLS, stage.grid.cell(cell) == (row.track, row.member));
    hold(LOSS, is_plain(row.loss) && row.loss <= stage.total_value);
    hold(WIND, is_plain(row.max_wind) && row.max_wind <= stage.wind_max);
    let hit = row.points_hit > 0;
    hold(HITS, row.points_hit <= stage.point_count);
    hold(HITS, hit == (row.max_wind > 0.0) && (!hit || row.max_wind >= spec.threshold));
    hold(HITS, hit || row.loss == 0.0);
    if is_plain(row.max_wind) {
        // No point lost a larger share than the strongest wind allows. Roundings are within one part in 10¹², or where
        // losses are subnormal, within half the least one a point.
        let most = spec.vulnerability.ratio_max(row.max_wind) * stage.total_value;
        hold(DAMAGE, row.loss <= most * (1.0 + 1e-12) + f64::MIN_POSITIVE);
    }
    bits
}

fn year_bits(stage: &Years, year: f64) -> u32 {
    let some = stage.loss_min > 0.0 && year >= stage.loss_min;
    if is_plain(year) && (year == 0.0 || some) { 0 } else { YEAR }
}

/// 0 or more, finite, and not -0: what has one pattern of bits.
fn is_plain(value: f64) -> bool {
    value.is_finite() && !value.is_sign_negative()
}
