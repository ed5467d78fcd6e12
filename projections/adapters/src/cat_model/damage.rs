//! Vulnerability: the share of a value that a wind takes.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Wind to mean damage ratio.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Vulnerability {
    /// `x³/(1+x³)` of `x = max(0, v - v_threshold)/(v_half - v_threshold)`. Units: m/s.
    ///
    /// Source: K. Emanuel, "Global warming effects on U.S. hurricane damage", WCAS 3 (2011), 261-268.
    Analytic { v_threshold: f64, v_half: f64 },
    /// Linear between points, constant outside. Shape: `v` ascends strictly, as many `mdr`, each from 0 to 1.
    Table { v: Vec<f64>, mdr: Vec<f64> },
}

impl Vulnerability {
    /// The damage ratio, from 0 to 1, of a wind in m/s.
    pub fn ratio(&self, wind: f64) -> f64 {
        match self {
            Vulnerability::Analytic { v_threshold, v_half } => {
                let over = wind - v_threshold;
                let x = if over > 0.0 { over / (v_half - v_threshold) } else { 0.0 };
                let cube = x * x * x;
                // Past all doubles everything is lost.
                if cube.is_finite() { cube / (1.0 + cube) } else { 1.0 }
            }
            Vulnerability::Table { v, mdr } => {
                let above = v.partition_point(|point| *point <= wind);
                let Some(below) = above.checked_sub(1) else { return mdr[0] };
                if above == v.len() {
                    return mdr[below];
                }
                let slope = (mdr[above] - mdr[below]) / (v[above] - v[below]);
                (mdr[below] + slope * (wind - v[below])).clamp(0.0, 1.0)
            }
        }
    }

    /// The highest ratio of any wind above 0 up to this one.
    pub fn ratio_max(&self, wind: f64) -> f64 {
        let own = self.ratio(wind);
        match self {
            Vulnerability::Analytic { .. } => own,
            Vulnerability::Table { v, mdr } => {
                let points = v.iter().zip(mdr).filter(|(v, _)| **v <= wind).map(|(_, mdr)| *mdr);
                points.fold(own.max(self.ratio(0.0)), f64::max)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_is_lost_at_the_half_wind() {
        let curve = Vulnerability::Analytic { v_threshold: 25.7, v_half: 74.7 };
        assert_eq!([curve.ratio(0.0), curve.ratio(25.7), curve.ratio(74.7)], [0.0, 0.0, 0.5]);
        assert_eq!(curve.ratio(1e300), 1.0);
    }

    #[test]
    fn a_table_is_linear_between_and_constant_outside() {
        let table = Vulnerability::Table { v: alloc::vec![10.0, 20.0, 40.0], mdr: alloc::vec![0.125, 0.5, 0.25] };
        let found = [5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 99.0].map(|v| table.ratio(v));
        assert_eq!(found, [0.125, 0.125, 0.3125, 0.5, 0.375, 0.25, 0.25]);
        assert_eq!(table.ratio_max(30.0), 0.5);
    }
}
