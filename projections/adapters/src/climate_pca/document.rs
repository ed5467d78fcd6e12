//! The reduction: signs, arrays, and the canonical result document.

use super::eigen::Pairs;
use super::gram::{Basis, valid_points};
use super::plan::{answers, pairs};
use super::project::series;
use super::source::{Hub, bytes_of, doubles};
use super::spec::{MODES_MAX, Spec};
use super::stage::{Answer, Body, Stage};
use super::table::Table;
use crate::json::{FLOAT_OBJECT_BYTES_MAX, float_object, list, write};
use crate::npy::{Dtype, Header};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use forge_event::{Digest, ShardIndex};
use forge_projections::family::{Blobs, Fault, Past};

/// Bits that magnitudes keep where the largest is sought, so that a tie in the last ones does not turn a sign.
const SIGN_BITS: u32 = 40;
/// Rows of a series written at once.
const ROWS: u64 = 4096;

/// Bound of the document. Units: bytes.
pub fn bytes_max(spec: &Spec) -> u64 {
    const REFERENCE_BYTES_MAX: u64 = 120;
    const PAIR_BYTES_MAX: u64 = 10;
    assert!(spec.modes <= MODES_MAX, "a spec without faults has few modes");
    let members = if spec.reconstruction() { spec.members.len() as u64 } else { 0 };
    512 + spec.modes * (3 * (FLOAT_OBJECT_BYTES_MAX + 1) + PAIR_BYTES_MAX) + (2 + members) * REFERENCE_BYTES_MAX
}

/// The document: fixed field order, no white space, nothing of the run.
///
/// # Errors
/// A blob cannot be read or kept, or the members have too few modes.
pub fn document(past: &Past<'_>, blobs: &dyn Blobs) -> Result<String, Fault> {
    let spec = Spec::reread(past.spec);
    let (body, pairs, _) = pairs(&past.stages[2], blobs)?;
    let Stage::Eigen { field, basis, trace, .. } = body.stage else {
        unreachable!("the third stage is the eigenvectors");
    };
    let table = &body.table;
    let (n, p, valid) = (table.samples(), table.points(), valid_points(&mut Hub(blobs), &field, table)?);
    let divisor = spec.divisor(n).expect("the inputs were checked") as f64;
    let values: Vec<f64> = pairs.values.iter().map(|value| value / divisor).collect();
    let total = trace / divisor;
    let spread = libm::sqrt(2.0 / n as f64);
    let north: Vec<f64> = values.iter().map(|value| value * spread).collect();
    let mut out = String::with_capacity(1024);
    write(&mut out, format_args!(r#"{{"kind":"climate_pca","format":1,"n":{n},"p":{p},"p_valid":{}"#, valid.len()));
    out.push_str(",\"eigenvalues\":");
    list(&mut out, &values, float_object);
    out.push_str(",\"variance_fraction\":");
    list(&mut out, &values, |out, value| float_object(out, value / total));
    out.push_str(",\"north_error\":");
    list(&mut out, &north, float_object);
    out.push_str(",\"total_variance\":");
    float_object(&mut out, total);
    // Neighbours nearer than the error of the larger one are one subspace.
    let close: Vec<usize> = (1..values.len()).filter(|k| values[k - 1] - values[*k] < north[k - 1]).collect();
    out.push_str(",\"degenerate\":");
    list(&mut out, &close, |out, k| write(out, format_args!("[{},{}]", k, k + 1)));
    let arrays = match past.stages.get(3) {
        None => None,
        Some(done) => {
            let body = Body::decode(done.plan);
            let answers = answers(done);
            let signs = vec![1.0; pairs.values.len()];
            let mut arrays = Arrays { body, answers, basis, pairs, valid, blobs, signs };
            arrays.find_signs()?;
            Some(arrays)
        }
    };
    let wanted = |on: bool| arrays.as_ref().filter(|_| on);
    out.push_str(",\"eofs\":");
    write_reference(&mut out, wanted(spec.eofs()).map(Arrays::eofs).transpose()?);
    out.push_str(",\"pcs\":");
    write_reference(&mut out, wanted(spec.pcs()).map(Arrays::pcs).transpose()?);
    out.push_str(",\"reconstruction\":");
    match wanted(spec.reconstruction()) {
        None => out.push_str("null"),
        Some(arrays) => {
            let members = (0..table.members.len()).map(|i| arrays.reconstruction(i)).collect::<Result<Vec<_>, _>>()?;
            list(&mut out, &members, |out, reference| write_reference(out, Some(reference)));
        }
    }
    out.push('}');
    Ok(out)
}

fn write_reference(out: &mut String, reference: Option<(Digest, u64)>) {
    match reference {
        None => out.push_str("null"),
        Some((digest, bytes)) => write(out, format_args!(r#"{{"digest":"{digest}","bytes":{bytes}}}"#)),
    }
}

/// Orders magnitudes after rounding them to [`SIGN_BITS`].
fn magnitude(value: f64) -> u64 {
    let dropped = 53 - SIGN_BITS;
    (value.abs().to_bits() + (1 << (dropped - 1))) >> dropped
}

/// The arrays of a job whose last stage is done.
struct Arrays<'a> {
    body: Body,
    answers: Vec<Answer>,
    basis: Basis,
    pairs: Pairs,
    valid: Vec<u64>,
    blobs: &'a dyn Blobs,
    /// By mode, ±1: what makes the largest entry of the pattern positive.
    signs: Vec<f64>,
}

impl Arrays<'_> {
    fn table(&self) -> &Table {
        &self.body.table
    }

    fn run_len(&self, shard: usize) -> u64 {
        let run = self.body.run(shard as ShardIndex);
        run.end - run.start
    }

    /// Calls `each` with the pattern of a mode, run by run, masked points as NaN (or left out, in the points' basis).
    fn find_signs(&mut self) -> Result<(), Fault> {
        for mode in 0..self.signs.len() {
            let mut largest = (0, 1.0);
            let mut look = |values: &[f64]| {
                for value in values.iter().filter(|v| !v.is_nan()) {
                    // The first one wins a tie.
                    if magnitude(*value) > largest.0 {
                        largest = (magnitude(*value), if *value < 0.0 { -1.0 } else { 1.0 });
                    }
                }
            };
            match self.basis {
                Basis::Points => look(&self.pairs.vectors[mode]),
                Basis::Samples => {
                    for shard in 0..self.answers.len() {
                        look(&self.pattern(mode, shard)?);
                    }
                }
            }
            self.signs[mode] = largest.1;
        }
        Ok(())
    }

    /// A mode at the points of a shard, in the samples' basis, before its sign.
    fn pattern(&self, mode: usize, shard: usize) -> Result<Vec<f64>, Fault> {
        let count = self.run_len(shard);
        doubles(&mut Hub(self.blobs), &self.answers[shard].blob, mode as u64 * count, count)
    }

    /// (modes, space…), NaN where masked.
    fn eofs(&self) -> Result<(Digest, u64), Fault> {
        let modes = self.signs.len();
        let shape: Vec<u64> = [&[modes as u64], &self.table().space[..]].concat();
        let header = Header::c_order(Dtype::F64, &shape).encode();
        let signed = |mode: usize, values: Vec<f64>| {
            bytes_of(&values.into_iter().map(|v| v * self.signs[mode]).collect::<Vec<_>>())
        };
        match self.basis {
            Basis::Samples => {
                let parts = (0..modes).flat_map(|mode| (0..self.answers.len()).map(move |shard| (mode, shard)));
                let parts = parts.map(|(mode, shard)| Ok(signed(mode, self.pattern(mode, shard)?)));
                self.blobs.put(&mut core::iter::once(Ok(header)).chain(parts))
            }
            Basis::Points => {
                let parts = (0..modes).map(|mode| {
                    let mut all = vec![f64::NAN; self.table().points() as usize];
                    for (point, value) in self.valid.iter().zip(&self.pairs.vectors[mode]) {
                        all[*point as usize] = *value;
                    }
                    Ok(signed(mode, all))
                });
                self.blobs.put(&mut core::iter::once(Ok(header)).chain(parts))
            }
        }
    }

    /// (n, modes).
    fn pcs(&self) -> Result<(Digest, u64), Fault> {
        let (n, modes) = (self.table().samples(), self.signs.len());
        let header = Header::c_order(Dtype::F64, &[n, modes as u64]).encode();
        let signed = |values: Vec<f64>| {
            let signs = self.signs.iter().cycle();
            bytes_of(&values.into_iter().zip(signs).map(|(v, sign)| v * sign).collect::<Vec<_>>())
        };
        match self.basis {
            Basis::Samples => {
                let parts = (0..n).step_by(ROWS as usize).map(|start| {
                    let rows = start..n.min(start + ROWS);
                    let pairs = &self.pairs;
                    Ok(signed(rows.flat_map(|s| (0..modes).map(move |k| series(pairs, k, s))).collect()))
                });
                self.blobs.put(&mut core::iter::once(Ok(header)).chain(parts))
            }
            Basis::Points => {
                let parts = self.answers.iter().enumerate().map(|(shard, answer)| {
                    let length = self.run_len(shard) * modes as u64;
                    Ok(signed(doubles(&mut Hub(self.blobs), &answer.blob, 0, length)?))
                });
                self.blobs.put(&mut core::iter::once(Ok(header)).chain(parts))
            }
        }
    }

    /// (samples of the member, space…), NaN where masked. Signs cancel in it.
    fn reconstruction(&self, member: usize) -> Result<(Digest, u64), Fault> {
        let table = self.table();
        let first: u64 = table.members[..member].iter().map(|m| m.samples).sum();
        let count = table.members[member].samples;
        let (modes, points) = (self.signs.len() as u64, table.points());
        let shape: Vec<u64> = [&[count], &table.space[..]].concat();
        let header = Header::c_order(Dtype::F64, &shape).encode();
        let row = |blob: &Digest, at: u64, length: u64| Ok(bytes_of(&doubles(&mut Hub(self.blobs), blob, at, length)?));
        match self.basis {
            Basis::Samples => {
                let parts = (first..first + count).flat_map(|s| (0..self.answers.len()).map(move |shard| (s, shard)));
                let parts = parts.map(|(sample, shard)| {
                    let width = self.run_len(shard);
                    row(&self.answers[shard].blob, (modes + sample) * width, width)
                });
                self.blobs.put(&mut core::iter::once(Ok(header)).chain(parts))
            }
            Basis::Points => {
                let block = self.run_len(0);
                let parts = (first..first + count).map(|sample| {
                    let (shard, place) = ((sample / block) as usize, sample % block);
                    row(&self.answers[shard].blob, self.run_len(shard) * modes + place * points, points)
                });
                self.blobs.put(&mut core::iter::once(Ok(header)).chain(parts))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tie_in_the_last_bits_is_a_tie() {
        let above = f64::from_bits(0.3f64.to_bits() + 3);
        assert_eq!(magnitude(0.3), magnitude(-above));
        assert!(magnitude(0.3) < magnitude(0.3 * (1.0 + 1e-11)));
        assert!(magnitude(0.0) < magnitude(1e-300));
    }
}
