//! A histogram with the client's edges: exact counts.

use alloc::vec;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Counts a bin. A value stands in the bin whose left edge it reaches; the last bin also holds its right edge.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Histogram {
    /// Values below the first edge.
    pub under: u64,
    /// Values above the last edge.
    pub over: u64,
    /// Shape: one less than there are edges.
    pub counts: Vec<u64>,
}

impl Histogram {
    pub fn new(edge_count: usize) -> Self {
        Histogram { under: 0, over: 0, counts: vec![0; edge_count - 1] }
    }

    /// Counts values that are not NaN; NaN is skipped.
    pub fn add(&mut self, edges: &[f64], values: &[f64]) {
        let last = edges[edges.len() - 1];
        for value in values {
            // Comparing with the edges as stored; `(value - first) / width` would be off by one bin at times.
            let reached = edges.partition_point(|edge| edge <= value);
            if reached == 0 {
                self.under += u64::from(!value.is_nan());
            } else if reached < edges.len() {
                self.counts[reached - 1] += 1;
            } else if *value == last {
                self.counts[reached - 2] += 1;
            } else {
                self.over += 1;
            }
        }
    }

    /// Adds the counts of `other`, which has the same edges.
    pub fn merge(&mut self, other: &Histogram) {
        assert_eq!(self.counts.len(), other.counts.len(), "histograms of one job share their edges");
        self.under += other.under;
        self.over += other.over;
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    /// All values counted, or `None` if that passes u64.
    pub fn total(&self) -> Option<u64> {
        self.counts.iter().try_fold(self.under.checked_add(self.over)?, |sum, count| sum.checked_add(*count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_most_edge_is_closed_and_the_others_open() {
        let edges = [0.0, 1.0, 2.0];
        let mut hist = Histogram::new(3);
        let inf = f64::INFINITY;
        hist.add(&edges, &[-1.0, 0.0, -0.0, 0.5, 1.0, 2.0, 2.5, f64::NAN, inf, -inf]);
        assert_eq!(hist, Histogram { under: 2, over: 2, counts: vec![3, 2] });
        assert_eq!(hist.total(), Some(9));
    }
}
