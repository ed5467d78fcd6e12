//! The spec of a matrix job: reading it with every fault, and writing it canonically.

use crate::faults::{Faults, Fields};
use crate::json;
use crate::npy::Dtype;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use forge_event::Digest;
use serde_json::Value;

/// Longest side of a tile. Units: entries.
pub const TILE_SIDE_MAX: u64 = 1 << 32;

const FIELDS: [&str; 10] = ["op", "dtype", "transA", "transB", "alpha", "beta", "A", "B", "C", "tile"];
const OPS: [&str; 5] = ["gemm", "syrk", "gemv", "gemm_batched", "cholesky"];
const DTYPES: [&str; 2] = ["f32", "f64"];

/// What is computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// `alpha·op(A)·op(B) + beta·C`.
    Gemm,
    /// `alpha·op(A)·op(A)ᵀ + beta·C`, of which the lower triangle counts.
    Syrk,
    /// `alpha·op(A)·b + beta·c`.
    Gemv,
    /// As `Gemm`, along a first axis.
    GemmBatched,
    /// The lower L of `A = L·Lᵀ`.
    Cholesky,
}

impl Op {
    /// The word in `op`.
    pub fn word(self) -> &'static str {
        OPS[self as usize]
    }
}

/// A spec without faults.
#[derive(Clone, PartialEq, Debug)]
pub struct Spec {
    pub op: Op,
    pub dtype: Dtype,
    pub trans_a: bool,
    pub trans_b: bool,
    /// Finite, also after rounding to `dtype`; computed with after that rounding.
    pub alpha: f64,
    pub beta: f64,
    pub a: Digest,
    pub b: Option<Digest>,
    pub c: Option<Digest>,
    /// Rows and columns.
    pub tile: Option<[u64; 2]>,
}

impl Spec {
    /// Reads a spec as a client sent it.
    pub fn read(value: &Value, faults: &mut Faults) -> Option<Spec> {
        let map = faults.object("/spec", value)?;
        let mut fields = Fields::new("/spec", map, &FIELDS, faults);
        let op = fields.word("op", &OPS).map(|at| [Op::Gemm, Op::Syrk, Op::Gemv, Op::GemmBatched, Op::Cholesky][at]);
        let dtype = fields.word("dtype", &DTYPES).map(|at| [Dtype::F32, Dtype::F64][at]);
        let (trans_a, trans_b) = (fields.flag("transA", false), fields.flag("transB", false));
        let alpha = scalar(&mut fields, "alpha", 1.0, dtype);
        let beta = scalar(&mut fields, "beta", 0.0, dtype);
        let (a, b, c) = (fields.blob("A"), blob(&mut fields, "B"), blob(&mut fields, "C"));
        let tile = tile(&mut fields);
        let spec = Spec {
            op: op?,
            dtype: dtype?,
            trans_a: trans_a?,
            trans_b: trans_b?,
            alpha: alpha?,
            beta: beta?,
            a: a?,
            b: b?,
            c: c?,
            tile: tile?,
        };
        fits_op(&mut fields, &spec);
        Some(spec)
    }

    /// Reads back what [`Spec::canonical`] wrote.
    ///
    /// # Panics
    /// If it did not.
    pub fn reread(spec: &[u8]) -> Spec {
        let value = serde_json::from_slice(spec).expect("a checked spec is JSON");
        Spec::read(&value, &mut Faults::default()).expect("a checked spec has no fault")
    }

    /// Canonical JSON: every field, in the contract's order.
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = String::new();
        let (op, dtype) = (self.op.word(), dtype_word(self.dtype));
        json::write(&mut out, format_args!("{{\"op\":\"{op}\",\"dtype\":\"{dtype}\","));
        json::write(&mut out, format_args!("\"transA\":{},\"transB\":{},\"alpha\":", self.trans_a, self.trans_b));
        json::float(&mut out, self.alpha);
        out.push_str(",\"beta\":");
        json::float(&mut out, self.beta);
        for (name, blob) in [("A", Some(self.a)), ("B", self.b), ("C", self.c)] {
            match blob {
                Some(digest) => json::write(&mut out, format_args!(",\"{name}\":\"{digest}\"")),
                None => json::write(&mut out, format_args!(",\"{name}\":null")),
            }
        }
        match self.tile {
            Some([rows, cols]) => json::write(&mut out, format_args!(",\"tile\":[{rows},{cols}]}}")),
            None => out.push_str(",\"tile\":null}"),
        }
        out.into_bytes()
    }

    /// Blobs it names, ascending, each once.
    pub fn inputs(&self) -> Vec<Digest> {
        let mut inputs: Vec<Digest> = [Some(self.a), self.b, self.c].into_iter().flatten().collect();
        inputs.sort_unstable();
        inputs.dedup();
        inputs
    }
}

/// `f32` or `f64`.
pub fn dtype_word(dtype: Dtype) -> &'static str {
    DTYPES[dtype as usize]
}

/// A float that stays finite in the job's type.
fn scalar(fields: &mut Fields<'_, '_>, name: &'static str, default: f64, dtype: Option<Dtype>) -> Option<f64> {
    let Some(value) = fields.optional(name) else { return Some(default) };
    let pointer = fields.at(name);
    let Some(number) = value.as_f64() else {
        fields.faults().wrong_type(&pointer, "a finite number", value);
        return None;
    };
    let largest = if dtype == Some(Dtype::F32) { f64::from(f32::MAX) } else { f64::MAX };
    let kept = if dtype == Some(Dtype::F32) { f64::from(number as f32) } else { number };
    if kept.is_finite() {
        return Some(number);
    }
    let detail = format!("`{name}` must be finite in the job's dtype: at most {largest:?} in size");
    fields.faults().add(pointer, "out-of-range", detail, "scale the matrix instead");
    None
}

/// A blob's digest, or none; the outer `None` is a fault.
fn blob(fields: &mut Fields<'_, '_>, name: &'static str) -> Option<Option<Digest>> {
    match fields.optional(name) {
        None => Some(None),
        Some(_) => fields.blob(name).map(Some),
    }
}

fn tile(fields: &mut Fields<'_, '_>) -> Option<Option<[u64; 2]>> {
    let Some(value) = fields.optional("tile") else { return Some(None) };
    let pointer = fields.at("tile");
    let Some([rows, cols]) = value.as_array().map(Vec::as_slice) else {
        fields.faults().wrong_type(&pointer, "a list of two integers, rows and columns", value);
        return None;
    };
    let mut side = |at: usize, value: &Value| {
        let pointer = format!("{pointer}/{at}");
        match value.as_u64() {
            Some(side) if (1..=TILE_SIDE_MAX).contains(&side) => return Some(side),
            Some(_) => {
                let detail = format!("a side of a tile has from 1 to {TILE_SIDE_MAX} entries");
                fields.faults().add(pointer, "out-of-range", detail, "leave `tile` out to let the planner choose");
            }
            None if value.is_i64() => {
                let detail = "a side of a tile has at least 1 entry";
                fields.faults().add(pointer, "out-of-range", detail, "leave `tile` out to let the planner choose");
            }
            None => fields.faults().wrong_type(&pointer, "an integer without point or exponent", value),
        }
        None
    };
    let (rows, cols) = (side(0, rows), side(1, cols));
    Some(Some([rows?, cols?]))
}

/// What an op needs, and what it has no use for.
fn fits_op(fields: &mut Fields<'_, '_>, spec: &Spec) {
    let op = spec.op.word();
    let mut unused = |name: &str, used: bool, why: &str| {
        if used {
            let detail = format!("{op} takes no `{name}`: {why}");
            fields.faults().add(format!("/spec/{name}"), "not-applicable", detail, "leave it out");
        }
    };
    let factor = spec.op == Op::Cholesky;
    let one_operand = factor || spec.op == Op::Syrk;
    unused("B", one_operand && spec.b.is_some(), "A is its only factor");
    unused("transB", (one_operand || spec.op == Op::Gemv) && spec.trans_b, "there is no B to transpose");
    unused("transA", factor && spec.trans_a, "A is symmetric");
    unused("alpha", factor && spec.alpha != 1.0, "nothing is scaled");
    unused("beta", factor && spec.beta != 0.0, "nothing is added");
    unused("C", factor && spec.c.is_some(), "nothing is added");
    if !one_operand && spec.b.is_none() {
        fields.required("B", "\"blake3:…\"");
    }
    if !factor && spec.beta != 0.0 && spec.c.is_none() {
        let detail = "`beta` is not 0, so there must be a `C` that it multiplies";
        fields.faults().add("/spec/C", "missing-field", detail, "add \"C\": \"blake3:…\", or leave `beta` out");
    }
    if factor && spec.tile.is_some_and(|[rows, cols]| rows != cols) {
        let detail = "the tiles of a factorisation are square";
        fields.faults().add("/spec/tile", "out-of-range", detail, "give rows and columns the same length");
    }
}
