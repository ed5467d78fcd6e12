//! Weights and means of all points, as one blob, and anomalies made with them.
//!
//! Shape of the blob: doubles; the weight of each point, then for each mean of [`Table::groups`] each point's, NaN
//! where the point is masked.

use super::inputs::Latitudes;
use super::source::{Source, doubles};
use super::spec::Weights;
use super::table::Table;
use alloc::vec;
use alloc::vec::Vec;
use core::f64::consts::PI;
use core::ops::Range;
use forge_event::Digest;

/// The weight of every point; 1 where nothing is weighted.
pub fn weights(weights: Weights, latitudes: Option<&Latitudes>, space: &[u64]) -> Vec<f64> {
    let points = space.iter().product::<u64>() as usize;
    let Some(Latitudes { axis, values }) = latitudes else {
        return vec![1.0; points];
    };
    let rows: Vec<f64> = values.iter().map(|lat| weight(weights, *lat)).collect();
    let inner = space[axis + 1..].iter().product::<u64>() as usize;
    (0..points).map(|point| rows[point / inner % rows.len()]).collect()
}

fn weight(weights: Weights, latitude: f64) -> f64 {
    let cos = core_math::cos(latitude * (PI / 180.0)).clamp(0.0, 1.0);
    match weights {
        Weights::SqrtCos(_) => libm::sqrt(cos),
        Weights::Cos(_) => cos,
        Weights::None => 1.0,
    }
}

/// Weights and means of a run of points.
#[derive(Clone, PartialEq, Debug)]
pub struct Patch {
    pub points: Range<u64>,
    pub weights: Vec<f64>,
    /// By group, then by point.
    pub means: Vec<Vec<f64>>,
}

impl Patch {
    /// Reads it from the blob.
    ///
    /// # Errors
    /// As [`Source::read`].
    pub fn read<S: Source>(
        source: &mut S,
        field: &Digest,
        table: &Table,
        points: Range<u64>,
    ) -> Result<Patch, S::Error> {
        let (all, count) = (table.points(), points.end - points.start);
        let weights = doubles(source, field, points.start, count)?;
        let group = |g: usize| doubles(source, field, (1 + g as u64) * all + points.start, count);
        let means = (0..table.groups()).map(group).collect::<Result<_, _>>()?;
        Ok(Patch { points, weights, means })
    }

    pub fn len(&self) -> usize {
        self.weights.len()
    }

    pub fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }

    /// True if the point at this place of the run is masked.
    pub fn masked(&self, place: usize) -> bool {
        self.means[0][place].is_nan()
    }

    /// Means of the points as a member is centred on them.
    pub fn means_of(&self, member: usize) -> &[f64] {
        &self.means[if self.means.len() == 1 { 0 } else { member }]
    }

    /// Anomalies of one sample, RN(RN(x − mean) · weight); zero where the point is masked.
    ///
    /// # Errors
    /// As [`Source::read`].
    pub fn anomalies<S: Source>(
        &self,
        source: &mut S,
        table: &Table,
        sample: u64,
        bytes: &mut Vec<u8>,
        out: &mut [f64],
    ) -> Result<(), S::Error> {
        let (member, local) = table.locate(sample);
        table.members[member].read(source, local, self.points.clone(), bytes, out)?;
        for ((value, mean), weight) in out.iter_mut().zip(self.means_of(member)).zip(&self.weights) {
            *value = if mean.is_nan() { 0.0 } else { (*value - mean) * weight };
        }
        Ok(())
    }
}
