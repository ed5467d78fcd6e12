//! What is wrong in the inputs, and how the two stages are cut.

use super::elt::ROW_BYTES;
use super::exact::total;
use super::exposure::{self, Point};
use super::spec::{Rates, Spec};
use super::tracks::{self, TRACK_NODES_MAX, Tracks};
use super::work::{Cut, Events, Grid, Hazard, SHARD_CELLS_MAX, Stage, Work, Years, decode, encode};
use super::years::{EVENT_BYTES, RATE_MAX};
use super::{elt, resample, wind};
use crate::cutting::cells_a_shard;
use crate::faults::Faults;
use crate::gathered::Gathered;
use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::ops::Range;
use forge_event::{Digest, ShardIndex};
use forge_projections::family::{Blobs, DoneStage, Fault, Plan, PlanHints, SpecFault};

/// Most cells of a job.
pub const CELLS_MAX: u64 = 1 << 22;
/// Most shards of a stage.
pub const SHARDS_MAX: u64 = 1 << 16;
/// A node, a point seen from it, and an event of a year; measured on one 2.8 GHz core. Units: nanoseconds.
const NODE_NS: u64 = 1000;
const POINT_NS: u64 = 10;
const DRAW_NS: u64 = 300;

/// What the inputs hold.
pub struct Inputs {
    pub tracks: Tracks,
    pub points: Vec<Point>,
}

/// Reads both inputs.
///
/// # Errors
/// Every fault found, at the field that it belongs to.
pub fn read(spec: &Spec, blobs: &dyn Blobs) -> Result<Inputs, Vec<SpecFault>> {
    let mut faults = Faults::default();
    let tracks = tracks::read(blobs, &spec.tracks, spec.format, spec.wind);
    let points = exposure::read(blobs, &spec.exposure);
    for (pointer, fault) in [("/spec/tracks", tracks.as_ref().err()), ("/spec/exposure", points.as_ref().err())] {
        if let Some(fault) = fault {
            faults.add(pointer, fault.code, &*fault.detail, "mend the file, upload it and name the new blob");
        }
    }
    if let Ok(tracks) = &tracks {
        check_tracks(spec, tracks, &mut faults);
    }
    let read = tracks.ok().zip(points.ok());
    faults.unless_any(read.map(|(tracks, points)| Inputs { tracks, points }))
}

fn check_tracks(spec: &Spec, tracks: &Tracks, faults: &mut Faults) {
    let count = tracks.len();
    if (count as u64).saturating_mul(spec.cells_a_track()) > CELLS_MAX {
        let most = (CELLS_MAX / count as u64).saturating_sub(u64::from(spec.include_original));
        let detail = format!("{count} tracks and their members make more than {CELLS_MAX} cells");
        faults.add("/spec/members", "out-of-range", detail, &format!("ask for at most {most} members"));
    }
    if let Rates::Each(rates) = &spec.rates
        && rates.len() != count
    {
        let detail = format!("there are {} rates for {count} tracks", rates.len());
        faults.add("/spec/rates", "length-mismatch", detail, "give one rate a track, in the order of the file");
        return;
    }
    let n = spec.cells_a_track() as f64;
    let rate = total((0..count).map(|track| spec.cell_rate(track) * n));
    if spec.years_simulated.is_some() && rate > RATE_MAX {
        let pointer = if matches!(spec.rates, Rates::Years(_)) { "/spec/years" } else { "/spec/rates" };
        let detail = format!("{rate:?} events a year are more than the {RATE_MAX} that can be simulated");
        faults.add(
            pointer,
            "out-of-range",
            detail,
            "leave out `years_simulated`, or say that the tracks are of more years",
        );
    }
    if let Some(dt_h) = spec.dt_h {
        let hours = tracks.each().map(|nodes| nodes.iter().map(|n| n.dt_h).sum::<f64>()).fold(0.0, f64::max);
        if resample::count(hours, dt_h) > TRACK_NODES_MAX as f64 {
            let detail = format!("a track of {hours:?} hours would have more than {TRACK_NODES_MAX} nodes");
            faults.add(
                "/spec/dt_h",
                "out-of-range",
                detail,
                &format!("take at least {:?}", hours / (TRACK_NODES_MAX as f64 - 1.0)),
            );
        }
    }
}

/// Cuts the event loss table.
///
/// # Errors
/// What is wrong in the inputs, which [`read`] finds at submission already.
pub fn events(spec: &Spec, hints: PlanHints, blobs: &dyn Blobs) -> Result<Plan, Fault> {
    let inputs = read(spec, blobs).map_err(|faults| {
        let first = faults.into_iter().next().expect("a refusal has a fault");
        Fault::new(first.code, format!("{}: {}", first.pointer, first.detail))
    })?;
    let Inputs { tracks, points } = inputs;
    let (tracks_digest, _) = blobs.put(&mut tracks.encode().map(Ok))?;
    let (points_digest, _) = blobs.put(&mut exposure::encode(&points).map(Ok))?;
    let grid = Grid::new(spec, tracks.len() as u32);
    let steps = match spec.dt_h {
        None => tracks.nodes().len() as u64,
        Some(dt_h) => (tracks.nodes().iter().map(|n| n.dt_h).sum::<f64>() / dt_h) as u64,
    };
    let nodes = steps / tracks.len() as u64 + 1;
    let stage = Events {
        cut: cut(grid.cells(), event_ns(nodes, points.len() as u64), hints),
        grid,
        tracks: tracks_digest,
        points: points_digest,
        point_count: points.len() as u32,
        total_value: total(points.iter().map(|p| p.value)),
        nodes,
        wind_max: wind::bound(spec.wind, tracks.nodes()),
        notes: tracks.notes,
    };
    Ok(planned(stage.cut, &Stage::Events(stage), spec.years_simulated.is_none()))
}

/// Cuts the simulated years, once the event loss table is there.
///
/// # Errors
/// Those of the blobs.
pub fn years(
    spec: &Spec,
    years: u64,
    done: &DoneStage<'_>,
    hints: PlanHints,
    blobs: &dyn Blobs,
) -> Result<Plan, Fault> {
    let (mut rate, mut loss_min, mut count) = (0.0, f64::INFINITY, 0);
    let parts = Gathered::of(done);
    let mut parts = parts.parts().map(|part| {
        let mut bytes = Vec::new();
        for row in elt_part(part, blobs)? {
            rate += spec.cell_rate(row.track as usize);
            count += 1;
            if row.loss > 0.0 {
                loss_min = row.loss.min(loss_min);
            }
            bytes.extend_from_slice(&row.loss.to_le_bytes());
            bytes.extend_from_slice(&f64::to_le_bytes(rate));
        }
        Ok(bytes)
    });
    let (events, bytes) = blobs.put(&mut parts)?;
    drop(parts);
    assert_eq!(bytes, count * EVENT_BYTES as u64, "an event has a loss and a rate");
    let stage = Years {
        cut: cut(years, year_ns(rate), hints),
        events,
        event_count: count,
        rate,
        loss_min: if loss_min.is_finite() { loss_min } else { 0.0 },
    };
    Ok(planned(stage.cut, &Stage::Years(stage), true))
}

/// The rows that a result of the first stage names.
///
/// # Errors
/// Those of the blobs.
pub fn elt_part(result: &[u8], blobs: &dyn Blobs) -> Result<Vec<elt::Row>, Fault> {
    let part: super::work::Part = decode(result).expect("a folded result is one");
    Ok(elt::rows(&blobs.whole(&part.blob, part.cells * ROW_BYTES as u64)?))
}

fn event_ns(nodes: u64, points: u64) -> u64 {
    nodes.saturating_mul(points * POINT_NS + NODE_NS)
}

fn year_ns(rate: f64) -> u64 {
    DRAW_NS + (rate * DRAW_NS as f64) as u64
}

fn planned(cut: Cut, stage: &Stage, last: bool) -> Plan {
    Plan { shard_count: cut.shards(), segments: 1, body: encode(stage), last }
}

fn cut(cells: u64, cell_ns: u64, hints: PlanHints) -> Cut {
    let wanted = hints.shard_cells.unwrap_or_else(|| cells_a_shard(cells, cell_ns, hints.slots));
    let least = cells.div_ceil(SHARDS_MAX);
    Cut { cells, cells_a_shard: wanted.clamp(1, SHARD_CELLS_MAX).max(least).min(cells) }
}

/// The stage that a plan's body says.
///
/// # Panics
/// If it is no body of this version.
pub fn stage(body: &[u8]) -> Stage {
    decode(body).expect("the body of a plan of this version")
}

impl Stage {
    fn cut(&self) -> Cut {
        match self {
            Stage::Events(stage) => stage.cut,
            Stage::Years(stage) => stage.cut,
            Stage::Part { count, .. } => Cut { cells: *count, cells_a_shard: *count },
        }
    }

    /// First cell and count of a shard; `None` past the last one.
    pub fn range(&self, shard: ShardIndex) -> Option<(u64, u64)> {
        match self {
            Stage::Part { first, count, .. } => (shard == 0).then_some((*first, *count)),
            whole => whole.cut().range(shard),
        }
    }

    /// These cells of a shard, counted from its first.
    pub fn part(self, shard: ShardIndex, cells: Range<u64>) -> Stage {
        let (first, _) = self.range(shard).expect("a shard of the plan");
        Stage::Part { of: Box::new(self), first: first + cells.start, count: cells.end - cells.start }
    }

    /// The stage that it is, or that it is a part of.
    pub fn whole(&self) -> &Stage {
        match self {
            Stage::Part { of, .. } => of,
            whole => whole,
        }
    }

    /// What a shard is to do.
    pub fn work(&self, spec: &Spec, shard: ShardIndex) -> Work {
        let (first, count) = self.range(shard).expect("a shard of the plan");
        match self.whole() {
            Stage::Events(stage) => Work::Events {
                hazard: Hazard {
                    wind: spec.wind,
                    threshold: spec.threshold,
                    vulnerability: spec.vulnerability.clone(),
                    dt_h: spec.dt_h,
                    perturb: spec.perturb,
                    seed: spec.seed,
                    stream: spec.stream,
                },
                grid: stage.grid,
                tracks: stage.tracks,
                points: stage.points,
                point_count: stage.point_count,
                first,
                count,
            },
            Stage::Years(stage) => Work::Years {
                events: stage.events,
                event_count: stage.event_count,
                seed: spec.seed,
                stream: spec.stream,
                first,
                count,
            },
            Stage::Part { .. } => panic!("a part is of a whole stage"),
        }
    }

    /// Blobs that the work names, ascending.
    pub fn blobs(&self) -> Vec<Digest> {
        let mut blobs = match self {
            Stage::Events(stage) => alloc::vec![stage.tracks, stage.points],
            Stage::Years(stage) => alloc::vec![stage.events],
            Stage::Part { of, .. } => of.blobs(),
        };
        blobs.sort();
        blobs.dedup();
        blobs
    }

    /// Estimated time of a shard. Units: nanoseconds.
    pub fn shard_ns(&self) -> u64 {
        let cell = match self {
            Stage::Events(stage) => event_ns(stage.nodes, u64::from(stage.point_count)),
            Stage::Years(stage) => year_ns(stage.rate),
            Stage::Part { of, .. } => return of.shard_ns(),
        };
        cell.saturating_mul(self.cut().cells_a_shard)
    }
}
