//! The output array from its tiles, streamed: some megabytes of rows at a time.

use super::grid::Grid;
use super::work::Part;
use crate::npy::Header;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use forge_event::Digest;
use forge_projections::family::{Blobs, Fault};

/// Output that is held at a time, if a row is not longer. Units: bytes.
const HELD_BYTES: u64 = 8 << 20;

/// Keeps the array of a product as `numpy.save` would write it.
///
/// Shape: `parts` by tile.
///
/// # Errors
/// [`Fault`] of a blob.
pub fn product(grid: &Grid, parts: &[Part], shape: &[u64], blobs: &dyn Blobs) -> Result<(Digest, u64), Fault> {
    let header = Header::c_order(grid.dtype, shape).encode();
    let stripes = grid.stripes().flat_map(|(first, across)| {
        let tile = grid.tile(first);
        let rows = (tile.products.end - tile.products.start) * (tile.rows.end - tile.rows.start);
        let held = (HELD_BYTES / (grid.cols * grid.dtype.bytes())).max(1);
        (0..rows.div_ceil(held)).map(move |at| (first, across, at * held, ((at + 1) * held).min(rows)))
    });
    let rows = stripes.map(|(first, across, from, to)| stripe(grid, parts, first, across, [from, to], blobs));
    let mut all: Box<dyn Iterator<Item = Result<Vec<u8>, Fault>>> = Box::new(core::iter::once(Ok(header)).chain(rows));
    blobs.put(&mut all)
}

/// Rows `from..to` of a row of tiles, whole.
fn stripe(
    grid: &Grid,
    parts: &[Part],
    first: u64,
    across: u64,
    [from, to]: [u64; 2],
    blobs: &dyn Blobs,
) -> Result<Vec<u8>, Fault> {
    let entry = grid.dtype.bytes();
    let line = (grid.cols * entry) as usize;
    let mut out = vec![0; (to - from) as usize * line];
    for index in first..first + across {
        let cols = grid.tile(index).cols;
        let width = ((cols.end - cols.start) * entry) as usize;
        let mut rows = vec![0; (to - from) as usize * width];
        blobs.read(&parts[index as usize].blob, from * width as u64, &mut rows)?;
        let start = (cols.start * entry) as usize;
        for (line, row) in out.chunks_exact_mut(line).zip(rows.chunks_exact(width)) {
            line[start..start + width].copy_from_slice(row);
        }
    }
    if grid.lower {
        let top = grid.tile(first).rows.start;
        mirror(grid, parts, [top + from, top + to], &mut out, blobs)?;
    }
    Ok(out)
}

/// Overwrites what lies above the diagonal in rows `from..to` by what lies below it in these columns.
fn mirror(grid: &Grid, parts: &[Part], [from, to]: [u64; 2], out: &mut [u8], blobs: &dyn Blobs) -> Result<(), Fault> {
    let entry = grid.dtype.bytes() as usize;
    let line = grid.cols as usize * entry;
    for below in from + 1..grid.rows {
        // Entries (below, from..to) left of the diagonal, tile by tile.
        let mut at = from;
        let end = to.min(below);
        while at < end {
            let index = grid.lower_tile(below, at);
            let tile = grid.tile(index);
            let stop = tile.cols.end.min(end);
            let width = tile.cols.end - tile.cols.start;
            let mut row = vec![0; (stop - at) as usize * entry];
            let place = (below - tile.rows.start) * width + (at - tile.cols.start);
            blobs.read(&parts[index as usize].blob, place * entry as u64, &mut row)?;
            for (above, bytes) in (at..stop).zip(row.chunks_exact(entry)) {
                let place = (above - from) as usize * line + below as usize * entry;
                out[place..place + entry].copy_from_slice(bytes);
            }
            at = stop;
        }
    }
    Ok(())
}
