//! Running a shard, batch by batch. Agents call it; the hub never does.

use super::bootstrap;
use super::gather::Gather;
use super::hist::Histogram;
use super::model::{Evaluator, LANES};
use super::plan;
use super::sketch::DenseSketch;
use super::tail::Filling;
use super::tally::{FORMAT, Range, Tally};
use super::work::ShardWork;
use crate::host::{Bare, Host, Stop};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Work between two looks at the caller. Units: nanoseconds of the cost model.
const BATCH_NS: u64 = 2_000_000;

/// A shard in the making.
#[derive(Debug)]
pub struct ShardRun {
    work: ShardWork,
    /// Samples between two looks at the caller.
    batch: u64,
    done: u64,
    evaluator: Box<Evaluator>,
    gather: Gather,
    range: Range,
    hist: Option<Histogram>,
    sketch: Option<DenseSketch>,
    tail: Option<Filling>,
}

impl ShardRun {
    /// Starts on a payload that names no blob; `None` if it is not such a one of this version.
    pub fn new(payload: &[u8]) -> Option<ShardRun> {
        ShardRun::hosted(payload, &mut Bare).ok()
    }

    /// Starts on a payload, and reads the blob it names.
    ///
    /// # Errors
    /// [`Stop::BadPayload`] if it is not one of this version; what the host says of the blob.
    pub fn hosted(payload: &[u8], host: &mut dyn Host) -> Result<ShardRun, Stop> {
        let work = ShardWork::decode(payload).ok_or(Stop::BadPayload)?;
        let column = match work.model.column() {
            Some(column) => bootstrap::read(host, column)?,
            None => Vec::new(),
        };
        let cost = plan::cell_cost_ns(&work.model, work.antithetic, column.len() as u64);
        let keep = |k: u64| k.min(work.count) as usize;
        let ShardWork { seed, stream, antithetic, .. } = work;
        Ok(ShardRun {
            batch: (BATCH_NS / cost).max(1),
            done: 0,
            evaluator: Box::new(Evaluator::over(column, work.model.clone(), seed, stream, antithetic)),
            gather: Gather::default(),
            range: Range::default(),
            hist: work.edges.as_ref().map(|edges| Histogram::new(edges.len())),
            sketch: work.sketch.then(DenseSketch::default),
            tail: work.keep.map(|k| Filling::new(keep(k))),
            work,
        })
    }

    /// Samples of the shard.
    pub fn cells(&self) -> u64 {
        self.work.count
    }

    /// Samples done.
    pub fn cells_done(&self) -> u64 {
        self.done
    }

    /// Does about two milliseconds of work; false once all is done.
    pub fn advance(&mut self) -> bool {
        self.advance_by(self.batch)
    }

    /// Does so many samples, or what is left; false once all is done.
    pub fn advance_by(&mut self, samples: u64) -> bool {
        let until = self.work.count.min(self.done.saturating_add(samples));
        let mut values = [0.0; LANES];
        while self.done < until {
            let count = (until - self.done).min(LANES as u64) as usize;
            let first = self.work.first + self.done;
            self.take(first, &mut values[..count]);
            self.done += count as u64;
        }
        self.done < self.work.count
    }

    fn take(&mut self, first: u64, values: &mut [f64]) {
        self.evaluator.evaluate(first, values);
        self.gather.add(values);
        self.range.add(values);
        if let (Some(hist), Some(edges)) = (&mut self.hist, &self.work.edges) {
            hist.add(edges, values);
        }
        if let Some(sketch) = &mut self.sketch {
            sketch.add(values);
        }
        if let Some(tail) = &mut self.tail {
            tail.add(first, values);
        }
    }

    /// The shard's result.
    ///
    /// # Panics
    /// If samples are left to do.
    pub fn finish(mut self) -> Vec<u8> {
        assert_eq!(self.done, self.work.count, "a result is of all samples");
        self.so_far()
    }

    /// The result of a shard of the samples done.
    pub fn so_far(&mut self) -> Vec<u8> {
        let (sum, squares) = self.gather.sums();
        let (sum, squares) = (sum.canonical(), squares.canonical());
        let tally = Tally {
            format: FORMAT,
            count: self.done,
            nan: self.gather.nan,
            positive_infinite: self.gather.positive_infinite,
            negative_infinite: self.gather.negative_infinite,
            sum,
            squares,
            min: self.range.min(),
            max: self.range.max(),
            hist: self.hist.clone(),
            sketch: self.sketch.as_ref().map(DenseSketch::sketch),
            tail: self.tail.clone().map(Filling::finish),
        };
        tally.encode()
    }
}

/// Runs a payload to its end, saying how far it is every two milliseconds or so.
///
/// # Errors
/// As [`ShardRun::hosted`]; [`Stop::Cancelled`] once the host says so.
pub fn run_hosted(payload: &[u8], host: &mut dyn Host) -> Result<Vec<u8>, Stop> {
    let mut run = ShardRun::hosted(payload, host)?;
    while run.advance() {
        host.progress(run.cells_done())?;
        if host.wants_checkpoint(run.cells_done(), run.cells()) {
            host.checkpoint(run.cells_done(), run.so_far());
        }
    }
    host.progress(run.cells_done())?;
    Ok(run.finish())
}

/// Runs a payload that names no blob to its end; `None` if it is not such a one of this version.
pub fn run(payload: &[u8]) -> Option<Vec<u8>> {
    let mut run = ShardRun::new(payload)?;
    while run.advance() {}
    Some(run.finish())
}
