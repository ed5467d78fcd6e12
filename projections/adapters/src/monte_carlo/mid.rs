//! The numeric state of a job: one tally of all results so far.

use super::document;
use super::exact::{SquareSum, Sum};
use super::hist::Histogram;
use super::plan;
use super::sketch::{KEYS, Sketch};
use super::spec::Spec;
use super::tail::Merged;
use super::tally::{FORMAT, Range, Tally};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use forge_event::ShardIndex;
use forge_projections::family::MidState;

/// Sums, counts, buckets and tail of what has been folded.
#[derive(Clone, Debug)]
pub(super) struct Mid {
    spec: Arc<Spec>,
    count: u64,
    nan: u64,
    positive_infinite: u64,
    negative_infinite: u64,
    sum: Sum,
    squares: SquareSum,
    range: Range,
    hist: Option<Histogram>,
    sketch: Option<Sketch>,
    tail: Option<Merged>,
}

/// Bound of [`MidState::bytes`]. Units: bytes.
pub(super) fn bytes_max(spec: &Spec) -> u64 {
    let hist = spec.edges.as_ref().map_or(0, |edges| 8 * edges.len() as u64);
    let keys = if spec.model.is_payoff() { 1 } else { 2 } * u64::from(KEYS);
    let sketch = if spec.outputs.quantiles() { 16 * keys.min(spec.samples) } else { 0 };
    let tail = plan::keep(spec).map_or(0, |keep| 24 * keep);
    (size_of::<Mid>() + size_of::<Spec>()) as u64 + hist + sketch + tail
}

impl Mid {
    pub(super) fn new(spec: Spec) -> Self {
        Mid {
            count: 0,
            nan: 0,
            positive_infinite: 0,
            negative_infinite: 0,
            sum: Sum::default(),
            squares: SquareSum::default(),
            range: Range::default(),
            hist: spec.edges.as_ref().map(|edges| Histogram::new(edges.len())),
            sketch: spec.outputs.quantiles().then(Sketch::default),
            tail: plan::keep(&spec).map(|k| Merged::new(k as usize)),
            spec: Arc::new(spec),
        }
    }

    pub(super) fn decode(spec: Spec, bytes: &[u8]) -> Option<Self> {
        let tally = Tally::decode(bytes)?;
        let mut mid = Mid::new(spec);
        let bins = |hist: &Option<Histogram>| hist.as_ref().map(|h| h.counts.len());
        let parts = bins(&tally.hist) == bins(&mid.hist)
            && tally.sketch.is_some() == mid.sketch.is_some()
            && tally.tail.is_some() == mid.tail.is_some();
        let sums =
            tally.sum.is_canonical(super::exact::SUM_LIMBS) && tally.squares.is_canonical(super::exact::SQUARE_LIMBS);
        if !parts || !sums || tally.count > mid.spec.samples {
            return None;
        }
        mid.merge(&tally);
        (mid.encode() == bytes).then_some(mid)
    }

    fn merge(&mut self, tally: &Tally) {
        self.count += tally.count;
        self.nan += tally.nan;
        self.positive_infinite += tally.positive_infinite;
        self.negative_infinite += tally.negative_infinite;
        self.sum.add_canonical(&tally.sum);
        self.squares.add_canonical(&tally.squares);
        self.range.merge(tally.min, tally.max);
        if let (Some(hist), Some(more)) = (&mut self.hist, &tally.hist) {
            hist.merge(more);
        }
        if let (Some(sketch), Some(more)) = (&mut self.sketch, &tally.sketch) {
            sketch.merge(more);
        }
        if let (Some(tail), Some(more)) = (&mut self.tail, &tally.tail) {
            tail.merge(more);
        }
    }

    fn tally(&self) -> Tally {
        Tally {
            format: FORMAT,
            count: self.count,
            nan: self.nan,
            positive_infinite: self.positive_infinite,
            negative_infinite: self.negative_infinite,
            sum: self.sum.canonical(),
            squares: self.squares.canonical(),
            min: self.range.min(),
            max: self.range.max(),
            hist: self.hist.clone(),
            sketch: self.sketch.clone(),
            tail: self.tail.as_ref().map(|tail| tail.kept().collect()),
        }
    }
}

impl MidState for Mid {
    fn fold(&mut self, _shard: ShardIndex, result: &[u8]) {
        let tally = Tally::decode_checked(result).expect("a folded result has passed its checks");
        self.merge(&tally);
        assert!(self.count <= self.spec.samples, "a shard is folded once");
    }

    fn encode(&self) -> Vec<u8> {
        self.tally().encode()
    }

    fn bytes(&self) -> usize {
        let hist = self.hist.as_ref().map_or(0, |h| 8 * h.counts.len());
        let sketch = self.sketch.as_ref().map_or(0, |s| 16 * s.len());
        let tail = self.tail.as_ref().map_or(0, |t| 24 * t.len());
        size_of::<Self>() + size_of::<Spec>() + hist + sketch + tail
    }

    fn finish(&self) -> Option<Vec<u8>> {
        assert_eq!(self.count, self.spec.samples, "a document is of all samples");
        Some(document::document(&self.spec, &self.tally()).into_bytes())
    }

    fn clone_box(&self) -> Box<dyn MidState> {
        Box::new(self.clone())
    }
}
