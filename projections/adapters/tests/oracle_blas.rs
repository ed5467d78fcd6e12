//! Products and factors against NumPy's files of what plain Python loops computed, byte for byte.

mod blas_rig;

use blas_rig::{Words, lawful, npy};
use forge_adapters::blas::real::Real;
use forge_adapters::laws::MemoryBlobs;
use serde_json::{Value, json};

fn matrix<T: Real>(kind: &str, seed: u64, count: u64) -> Vec<T> {
    let words = &mut Words(seed);
    let mut one = || match kind {
        "signed" => words.signed(),
        "integers" => T::from_f64((words.next() % 2001) as f64 - 1000.0),
        _ => T::from_f64(0.1),
    };
    (0..count).map(|_| one()).collect()
}

/// The oracle's `definite`.
fn definite<T: Real>(seed: u64, n: usize) -> Vec<T> {
    let b: Vec<i64> = matrix::<f64>("integers", seed, (n * n) as u64).into_iter().map(|x| x as i64).collect();
    let dot = |i: usize, j: usize| (0..n).map(|k| b[i * n + k] * b[j * n + k]).sum::<i64>();
    let entry = |i: usize, j: usize| dot(i, j) + if i == j { n as i64 * 1000 } else { 0 };
    (0..n * n).map(|at| T::from_f64(entry(at / n, at % n) as f64 / f64::from(1 << 20))).collect()
}

/// The job of a row of the oracle.
fn spec<T: Real>(row: &Value, blobs: &MemoryBlobs) -> Value {
    let number = |field: &str| row[field].as_u64().expect("an integer");
    let mut spec = json!({"op": row["op"], "dtype": row["dtype"]});
    if row["op"] == "cholesky" {
        let n = number("order");
        spec["A"] = json!(npy(blobs, &[n, n], &definite::<T>(number("seed"), n as usize)));
        return spec;
    }
    let kind = row["data"].as_str().expect("a word");
    let shape: Vec<u64> = serde_json::from_value(row["shape"].clone()).expect("a shape");
    let keep = |at: u64, shape: &[u64]| {
        let entries: Vec<T> = matrix(kind, number("seed") + at, shape.iter().product());
        json!(npy(blobs, shape, &entries))
    };
    (spec["alpha"], spec["beta"]) = (row["alpha"].clone(), row["beta"].clone());
    match (row["op"].as_str().expect("a word"), *shape.as_slice().first_chunk().expect("three axes")) {
        ("gemm", [m, k, n]) => {
            (spec["A"], spec["B"], spec["C"]) = (keep(0, &[m, k]), keep(1, &[k, n]), keep(2, &[m, n]));
        }
        ("syrk", [m, k, _]) => (spec["A"], spec["C"]) = (keep(0, &[m, k]), keep(2, &[m, m])),
        ("gemv", [m, k, n]) => {
            // The oracle takes the first columns.
            let column = |at: u64, rows: u64| {
                let all: Vec<T> = matrix(kind, number("seed") + at, rows * n);
                json!(npy(blobs, &[rows], &all.into_iter().step_by(n as usize).collect::<Vec<T>>()))
            };
            (spec["A"], spec["B"], spec["C"]) = (keep(0, &[m, k]), column(1, k), column(2, m));
        }
        (_, [batch, m, k]) => (spec["A"], spec["B"]) = (keep(0, &[batch, m, k]), keep(1, &[batch, k, shape[3]])),
    }
    spec
}

fn check<T: Real>(row: &Value) {
    let blobs = &MemoryBlobs::default();
    let mut spec = spec::<T>(row, blobs);
    for tile in [json!(null), json!([4, 4]), json!([9, 9])] {
        spec["tile"] = tile;
        let (document, entries) = lawful::<T>(spec.clone(), blobs);
        let found: Value = serde_json::from_str(&document).expect("a document is JSON");
        let bits = |at: usize| match T::BYTES {
            4 => format!("{:08x}", (entries[at].wide() as f32).to_bits()),
            _ => format!("{:016x}", entries[at].wide().to_bits()),
        };
        let some = [0, entries.len() / 2, entries.len() - 1].map(bits);
        assert_eq!(json!(some), row["first_middle_last"], "{row}");
        assert_eq!((&found["C"]["digest"], &found["C"]["bytes"]), (&row["digest"], &row["bytes"]), "{row}");
    }
}

#[test]
fn outputs_are_numpys_files_byte_for_byte() {
    let rows: Vec<Value> =
        serde_json::from_str(include_str!("../../../tests/oracles/data/blas.json")).expect("the oracle writes JSON");
    assert!(rows.len() > 30);
    for row in &rows {
        if row["dtype"] == "f32" { check::<f32>(row) } else { check::<f64>(row) }
    }
}
