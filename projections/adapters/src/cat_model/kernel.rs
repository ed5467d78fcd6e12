//! Running a shard. Agents call it; the hub never does.

use super::exact::Total;
use super::exposure::{self, POINT_BYTES, POINTS_MAX, Point};
use super::spec::MEMBERS_MAX;
use super::tracks::{NODE_BYTES, NODES_MAX, Node, TRACK_NODES_MAX, TRACKS_MAX, decode_node};
use super::work::{Grid, Hazard, Part, SHARD_CELLS_MAX, Work, decode, encode};
use super::{elt::Row, perturb, resample, wind, years};
use crate::host::{Host, Stop, whole};
use crate::monte_carlo::philox::Key;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use forge_event::Digest;

/// Distances that are looked at between two words with the agent: a few milliseconds.
const CHECKS: usize = 50_000;

/// Runs a payload to its end.
///
/// # Errors
/// [`Stop::BadPayload`] if it is not one of this version, [`Stop::Failed`] if a blob is not there or not what the payload says.
pub fn run(payload: &[u8], host: &mut dyn Host) -> Result<Vec<u8>, Stop> {
    let work: Work = decode(payload).ok_or(Stop::BadPayload)?;
    match work {
        Work::Events { hazard, grid, tracks, points, point_count, first, count } => {
            let last = first.checked_add(count).ok_or(Stop::BadPayload)?;
            let sound = hazard.vulnerability.is_sound()
                && (1..=MEMBERS_MAX + 1).contains(&grid.cells_a_track)
                && grid.first_member <= 1;
            let small = grid.tracks as usize <= TRACKS_MAX && point_count as usize <= POINTS_MAX;
            if !sound || !small || !(1..=SHARD_CELLS_MAX).contains(&count) || last > grid.cells() {
                return Err(Stop::BadPayload);
            }
            let bytes = whole(host, &points, POINTS_MAX as u64 * POINT_BYTES as u64)?;
            let points = exposure::decode(&bytes).filter(|p| p.len() == point_count as usize);
            let points = points.ok_or_else(|| unreadable("the points"))?;
            drop(bytes);
            events(&Shard { hazard, grid, points, tracks }, first, count, host)
        }
        Work::Years { events, event_count, seed, stream, first, count } => {
            if !(1..=SHARD_CELLS_MAX).contains(&count) || first.checked_add(count).is_none() {
                return Err(Stop::BadPayload);
            }
            years::run(&events, event_count, Key::new(seed, stream), first, count, host)
        }
    }
}

/// A blob that is there, but is not what the payload says.
pub fn unreadable(what: &str) -> Stop {
    Stop::failed("blob-unreadable", format!("{what} are not as the plan says"))
}

struct Shard {
    hazard: Hazard,
    grid: Grid,
    points: Vec<Point>,
    tracks: Digest,
}

/// Says how far the shard is, every so many distances.
struct Pace<'a> {
    host: &'a mut dyn Host,
    cells_done: u64,
    checks: usize,
}

impl Pace<'_> {
    fn add(&mut self, checks: usize) -> Result<(), Stop> {
        self.checks += checks;
        if self.checks >= CHECKS {
            self.checks = 0;
            self.host.progress(self.cells_done)?;
        }
        Ok(())
    }
}

fn events(shard: &Shard, first: u64, count: u64, host: &mut dyn Host) -> Result<Vec<u8>, Stop> {
    let hazard = &shard.hazard;
    let key = Key::new(hazard.seed, hazard.stream);
    let mut rows = Vec::new();
    let mut winds = vec![0.0; shard.points.len()];
    let mut pace = Pace { host, cells_done: 0, checks: 0 };
    let mut current: Option<(u32, Vec<Node>)> = None;
    for cell in first..first + count {
        let (track, member) = shard.grid.cell(cell);
        let nodes = match current.take() {
            Some((number, nodes)) if number == track => nodes,
            _ => read_track(shard, track, pace.host)?,
        };
        let moved = match (&hazard.perturb, member) {
            (Some(perturb), 1..) => Some(perturb::member(&nodes, perturb, &key, track, member)),
            (None, 1..) => return Err(Stop::BadPayload),
            (_, 0) => None,
        };
        blow(shard, moved.as_deref().unwrap_or(&nodes), &mut winds, &mut pace)?;
        rows.extend_from_slice(&row(shard, &winds, track, member).encode());
        pace.cells_done += 1;
        pace.add(winds.len())?;
        checkpoint(pace.host, pace.cells_done, count, &rows)?;
        current = Some((track, nodes));
    }
    host.progress(count)?;
    let blob = host.put(&rows)?;
    Ok(encode(&Part { cells: count, blob }))
}

/// Keeps what is done of a shard, if it is time to.
pub fn checkpoint(host: &mut dyn Host, done: u64, cells: u64, bytes: &[u8]) -> Result<(), Stop> {
    if done < cells && host.wants_checkpoint(done, cells) {
        let blob = host.put(bytes)?;
        host.checkpoint(done, encode(&Part { cells: done, blob }));
    }
    Ok(())
}

/// A track as the wind model takes it: at the steps that were asked for, with a radius at every node.
fn read_track(shard: &Shard, track: u32, host: &mut dyn Host) -> Result<Vec<Node>, Stop> {
    let end = |host: &mut dyn Host, track: Option<u32>| -> Result<u64, Stop> {
        let Some(track) = track else { return Ok(0) };
        let mut bytes = [0; 4];
        host.read(&shard.tracks, u64::from(track) * 4, &mut bytes)?;
        Ok(u64::from(u32::from_le_bytes(bytes)))
    };
    let (from, to) = (end(host, track.checked_sub(1))?, end(host, Some(track))?);
    let count =
        to.checked_sub(from).filter(|count| (1..=TRACK_NODES_MAX as u64).contains(count) && to <= NODES_MAX as u64);
    let count = count.ok_or_else(|| unreadable("the tracks"))?;
    let mut bytes = vec![0; count as usize * NODE_BYTES];
    host.read(&shard.tracks, u64::from(shard.grid.tracks) * 4 + from * NODE_BYTES as u64, &mut bytes)?;
    let mut nodes: Vec<Node> = bytes.as_chunks::<NODE_BYTES>().0.iter().map(decode_node).collect();
    if let Some(dt_h) = shard.hazard.dt_h {
        nodes = resample::resampled(&nodes, dt_h);
    }
    resample::fill_rmax(&mut nodes);
    Ok(nodes)
}

/// The highest wind at each point.
fn blow(shard: &Shard, nodes: &[Node], winds: &mut [f64], pace: &mut Pace<'_>) -> Result<(), Stop> {
    winds.fill(0.0);
    for storm in wind::storms(nodes, shard.hazard.wind) {
        let (from, to) = storm.lat_range();
        let from = shard.points.partition_point(|point| point.lat < from);
        let to = shard.points.partition_point(|point| point.lat <= to).max(from);
        let (points, winds) = (&shard.points[from..to], &mut winds[from..to]);
        for (points, winds) in points.chunks(CHECKS).zip(winds.chunks_mut(CHECKS)) {
            for (point, wind) in points.iter().zip(winds.iter_mut()) {
                *wind = wind.max(storm.at(point.lat, point.lon));
            }
            pace.add(points.len())?;
        }
    }
    Ok(())
}

fn row(shard: &Shard, winds: &[f64], track: u32, member: u32) -> Row {
    let hazard = &shard.hazard;
    let mut row = Row { track, member, loss: 0.0, max_wind: 0.0, points_hit: 0 };
    let mut loss = Total::default();
    for (point, wind) in shard.points.iter().zip(winds) {
        if *wind > 0.0 && *wind >= hazard.threshold {
            row.points_hit += 1;
            row.max_wind = row.max_wind.max(*wind);
            loss.add(point.value * hazard.vulnerability.ratio(*wind));
        }
    }
    row.loss = loss.rounded();
    row
}
