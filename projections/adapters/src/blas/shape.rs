//! The shapes of a job's operands, read from their headers and fitted to each other.

use super::spec::{Op, Spec, dtype_word};
use super::view::View;
use crate::faults::Faults;
use crate::npy::{Header, NpyFault};
use alloc::format;
use alloc::vec::Vec;
use forge_event::Digest;
use forge_projections::family::Blobs;

/// Most entries of an output: its length in bytes is an i64.
const ENTRIES_MAX: u64 = 1 << 59;

/// What the op multiplies: `products` times (rows × inner) · (inner × cols).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operands {
    pub products: u64,
    pub rows: u64,
    pub cols: u64,
    pub inner: u64,
    pub a: View,
    /// For `syrk`, A transposed; for `cholesky`, A.
    pub b: View,
    pub c: Option<View>,
}

impl Operands {
    /// Reads the headers that a spec names; faults stand at the fields that name the blobs.
    pub fn read(spec: &Spec, blobs: &dyn Blobs, faults: &mut Faults) -> Option<Operands> {
        let a = operand("A", &spec.a, spec, blobs, faults);
        let b = spec.b.map(|blob| operand("B", &blob, spec, blobs, faults));
        let c = spec.c.map(|blob| operand("C", &blob, spec, blobs, faults));
        let (a, b, c) = (a?, optional(b)?, optional(c)?);
        let matrix = |header: &Header, transposed: bool| match (header.shape.as_slice(), transposed) {
            (&[.., rows, cols], false) | (&[.., cols, rows], true) => (rows, cols),
            (&[length], _) => (length, 1),
            ([], _) => (1, 1),
        };
        let view = |blob: Digest, header: &Header, transposed| View::new(blob, header, transposed);
        let (rows, inner) = matrix(&a, spec.trans_a);
        let a_view = view(spec.a, &a, spec.trans_a);
        let (cols, b_view) = match (&b, spec.b) {
            (Some(b), Some(blob)) => {
                let (b_rows, cols) = matrix(b, spec.trans_b);
                if b_rows != inner {
                    let detail = format!("op(A) has {inner} columns, but op(B) has {b_rows} rows");
                    faults.add("/spec/B", "shape-mismatch", detail, "is a `transA` or `transB` missing?");
                }
                (cols, view(blob, b, spec.trans_b))
            }
            _ => (rows, a_view.transpose()),
        };
        let products = a.shape[..a.shape.len() - 2].first().copied().unwrap_or(1);
        if b.as_ref().is_some_and(|b| b.shape.len() == 3 && b.shape[0] != products) {
            let detail = format!("A has {products} matrices along its first axis, B another number");
            faults.add("/spec/B", "shape-mismatch", detail, "give both as many matrices");
        }
        let shape = spec.op.shape(products, rows, cols);
        if let Some(c) = c.as_ref().filter(|c| c.shape != shape) {
            let detail = format!("C has shape {:?}, the product has {shape:?}", c.shape);
            faults.add("/spec/C", "shape-mismatch", detail, "give C the product's shape, or leave it out");
        }
        if spec.op == Op::Cholesky && rows != inner {
            let detail = format!("A must be square, it is {rows} by {inner}");
            faults.add("/spec/A", "shape-mismatch", detail, "only square matrices have this factorisation");
        }
        if shape.contains(&0) {
            let detail = format!("the output has shape {shape:?}: there is nothing to compute");
            faults.add("/spec/A", "empty", detail, "give matrices with rows and columns");
        }
        let count = shape.iter().try_fold(1u64, |count, axis| count.checked_mul(*axis));
        if count.is_none_or(|count| count > ENTRIES_MAX) {
            let detail = format!("the output would have shape {shape:?}");
            faults.add("/spec/A", "too-large", detail, "cut the matrices, and submit a job for each part");
        }
        let c = c.zip(spec.c).map(|(c, blob)| view(blob, &c, false));
        faults.is_empty().then_some(Operands { products, rows, cols, inner, a: a_view, b: b_view, c })
    }
}

impl Op {
    /// The axes of the output.
    pub fn shape(self, products: u64, rows: u64, cols: u64) -> Vec<u64> {
        match self {
            Op::Gemm | Op::Syrk | Op::Cholesky => [rows, cols].to_vec(),
            Op::Gemv => [rows].to_vec(),
            Op::GemmBatched => [products, rows, cols].to_vec(),
        }
    }

    fn axes(self, name: &str) -> usize {
        match self {
            Op::GemmBatched => 3,
            Op::Gemv if name != "A" => 1,
            _ => 2,
        }
    }
}

/// `None` is a fault.
fn optional<T>(found: Option<Option<T>>) -> Option<Option<T>> {
    match found {
        Some(None) => None,
        Some(found) => Some(found),
        None => Some(None),
    }
}

/// The header of one operand, with the right type and number of axes.
fn operand(name: &str, blob: &Digest, spec: &Spec, blobs: &dyn Blobs, faults: &mut Faults) -> Option<Header> {
    let pointer = format!("/spec/{name}");
    let mut fault = |fault: NpyFault| {
        let fault = fault.at(&pointer);
        faults.add(fault.pointer, fault.code, fault.detail, fault.fix.as_deref().unwrap_or_default());
    };
    let header = match Header::of_blob(blobs, blob) {
        Ok(header) => header,
        Err(found) => {
            fault(found);
            return None;
        }
    };
    if header.fortran && header.shape.len() > 2 {
        fault(NpyFault::Fortran);
        return None;
    }
    if header.dtype != spec.dtype {
        let (found, asked) = (dtype_word(header.dtype), dtype_word(spec.dtype));
        let detail = format!("`{name}` holds {found}, the job's dtype is {asked}");
        faults.add(pointer, "dtype-mismatch", detail, "give all of them one dtype");
        return None;
    }
    let axes = spec.op.axes(name);
    if header.shape.len() != axes {
        let detail = format!("{} takes `{name}` with {axes} axes, it has {}", spec.op.word(), header.shape.len());
        faults.add(pointer, "shape-mismatch", detail, "numpy.reshape gives an array other axes");
        return None;
    }
    Some(header)
}
