//! `blas`.

use super::files::{npy, npy_f32};
use super::{Cases, with};
use forge_event::Digest;
use serde_json::{Value, json};

const KIND: &str = "blas";

pub fn add(cases: &mut Cases) {
    let two = cases.keep(&npy(&[2, 2], &[1.0; 4]));
    let good = json!({"op": "gemm", "dtype": "f64", "A": two, "B": two});
    specs(cases, &good);
    arrays(cases, &good);
    shapes(cases);
    tiles(cases);
}

fn specs(cases: &mut Cases, good: &Value) {
    let mut of = cases.of(KIND, good);
    of.fields(
        "fields that are missing, of another type or of no name",
        [
            ("/op", json!("gemmm"), "", "unknown-value"),
            ("/op", json!("lu"), "", "unknown-value"),
            ("/dtype", json!("f16"), "", "unknown-value"),
            ("/dtype", json!(null), "", "missing-field"),
            ("/transA", json!("no"), "", "wrong-type"),
            ("/A", json!(null), "", "missing-field"),
            ("/B", json!(null), "", "missing-field"),
            ("/A", json!("sha256:00"), "", "bad-digest"),
            ("/B", json!(7), "", "wrong-type"),
            ("/D", json!(1), "", "unknown-field"),
        ],
    );
    let scaled = with(good, "/beta", json!(1));
    of.spec("a beta without the matrix that it multiplies", scaled, "/C", "missing-field");
    for value in [json!("NaN"), json!("inf"), json!(true), json!([1.0])] {
        of.fields("alpha/beta NaN", [("/alpha", value.clone(), "", "wrong-type"), ("/beta", value, "", "wrong-type")]);
    }
    of.spec("no object", json!([]), "", "wrong-type");
    of.shard_cells(64, "not-applicable");
    of.fields(
        "tiles that are none",
        [
            ("/tile", json!([0, 4]), "/0", "out-of-range"),
            ("/tile", json!([4, -1]), "/1", "out-of-range"),
            ("/tile", json!([4, 1u64 << 33]), "/1", "out-of-range"),
            ("/tile", json!([4.0, 4]), "/0", "wrong-type"),
            ("/tile", json!([4]), "", "wrong-type"),
            ("/tile", json!(4), "", "wrong-type"),
        ],
    );
    let single = with(good, "/dtype", json!("f32"));
    of.spec("scalars beyond the job's type", with(&single, "/alpha", json!(1e39)), "/alpha", "out-of-range");
    let both = with(&with(&single, "/beta", json!(-1e39)), "/C", good["A"].clone());
    of.spec("scalars beyond the job's type", both, "/beta", "out-of-range");
    let gemv = with(&with(good, "/op", json!("gemv")), "/transB", json!(true));
    of.spec("what an op has no use for", gemv, "/transB", "not-applicable");
    let syrk = with(good, "/op", json!("syrk"));
    of.spec("what an op has no use for", syrk, "/B", "not-applicable");
    let cholesky = with(&with(good, "/op", json!("cholesky")), "/B", json!(null));
    for (at, value) in [("/transA", json!(true)), ("/alpha", json!(2)), ("/beta", json!(1)), ("/C", good["A"].clone())]
    {
        of.spec("what an op has no use for", with(&cholesky, at, value), at, "not-applicable");
    }
    of.spec("tiles that are none", with(&cholesky, "/tile", json!([2, 3])), "/tile", "out-of-range");
}

/// A `.npy` file with this header.
fn file(descr: &str, order: &str, shape: &str, data_bytes: usize) -> Vec<u8> {
    let text = format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n");
    let mut file = [&b"\x93NUMPY\x01\x00"[..], &(text.len() as u16).to_le_bytes(), text.as_bytes()].concat();
    file.resize(file.len() + data_bytes, 0);
    file
}

fn arrays(cases: &mut Cases, good: &Value) {
    let long = [&b"\x93NUMPY\x02\x00"[..], &100_000u32.to_le_bytes()].concat();
    let whole = file("'<f8'", "False", "(2, 2)", 32);
    let structured = "[('x', '<f4'), ('y', '<f4')]";
    let rows = [
        ("big-endian dtype", file("'>f8'", "False", "(2, 2)", 32), "npy-big-endian"),
        ("object dtype", file("'|O'", "False", "(2, 2)", 32), "npy-object"),
        ("structured dtype", file(structured, "False", "(2, 2)", 32), "npy-structured"),
        ("another dtype", file("'|u1'", "False", "(2, 2)", 4), "npy-dtype"),
        ("another dtype", file("'<f4'", "False", "(2, 2)", 16), "dtype-mismatch"),
        ("shape that disagrees with the file size", file("'<f8'", "False", "(2, 2)", 31), "npy-length"),
        ("shape that disagrees with the file size", file("'<f8'", "False", "(2, 3)", 32), "npy-length"),
        ("shape beyond addresses", file("'<f8'", "False", "(4294967296, 4294967296)", 32), "npy-shape-overflow"),
        ("another number of axes", file("'<f8'", "False", "(4,)", 32), "shape-mismatch"),
        ("another number of axes", file("'<f8'", "False", "(1, 2, 2)", 32), "shape-mismatch"),
        ("truncated header", whole[..whole.len() - 40].to_vec(), "npy-truncated"),
        ("truncated header", whole[..9].to_vec(), "npy-truncated"),
        ("a header that does not end", long, "npy-header-too-long"),
        ("no array", b"x,y\n1,2\n".to_vec(), "not-npy"),
        ("no array", Vec::new(), "not-npy"),
    ];
    let scaled = with(&with(good, "/C", good["A"].clone()), "/beta", json!(1));
    for (what, bytes, code) in rows {
        let bad = cases.keep(&bytes);
        for at in ["/A", "/B", "/C"] {
            cases.of(KIND, &scaled).fields(what, [(at, bad.clone(), "", code)]);
        }
    }
    let missing: String = format!("{}", Digest::of(b"not uploaded"));
    cases.of(KIND, good).fields("a blob that is not there", [("/B", json!(missing), "", "blob-missing")]);
    let fortran = cases.keep(&file("'<f8'", "True", "(1, 2, 2)", 32));
    let order = cases.keep(&file("'<f8'", "False", "(1, 2, 2)", 32));
    let batch = json!({"op": "gemm_batched", "dtype": "f64", "A": order, "B": fortran});
    cases.of(KIND, good).spec("a batch in Fortran order", batch, "/B", "npy-fortran-order");
}

fn shapes(cases: &mut Cases) {
    let zeros =
        |cases: &Cases, shape: &[u64]| cases.keep(&npy(shape, &vec![0.0; shape.iter().product::<u64>() as usize]));
    let what = "shape that disagrees between A and B";
    let rows: [(&str, &[u64], &[u64], &str); 4] = [
        ("gemm", &[2, 3], &[4, 3], "/B"),
        ("gemv", &[2, 3], &[2], "/B"),
        ("gemv", &[2, 3], &[3, 1], "/B"),
        ("gemm_batched", &[5, 2, 3], &[4, 3, 2], "/B"),
    ];
    for (op, a, b, at) in rows {
        let spec = json!({"op": op, "dtype": "f64", "A": zeros(cases, a), "B": zeros(cases, b)});
        cases.of(KIND, &spec).spec(what, spec.clone(), at, "shape-mismatch");
    }
    let (a, b, c) = (zeros(cases, &[2, 3]), zeros(cases, &[4, 3]), zeros(cases, &[4, 2]));
    let spec = json!({"op": "gemm", "dtype": "f64", "A": a, "B": b, "transB": true, "beta": 1, "C": c});
    cases.of(KIND, &spec).spec("a C of another shape", spec.clone(), "/C", "shape-mismatch");
    let factor = json!({"op": "cholesky", "dtype": "f64", "A": zeros(cases, &[3, 2])});
    cases.of(KIND, &factor).spec("a matrix to be factored that is not square", factor.clone(), "/A", "shape-mismatch");
    for (a, b) in [([0, 0], [0, 2]), ([3, 0], [0, 0]), ([0, 2], [2, 4]), ([3, 2], [2, 0])] {
        let spec = json!({"op": "gemm", "dtype": "f64", "A": zeros(cases, &a), "B": zeros(cases, &b)});
        cases.of(KIND, &spec).spec("empty m or n", spec.clone(), "/A", "empty");
    }
    let factor = json!({"op": "cholesky", "dtype": "f64", "A": zeros(cases, &[0, 0])});
    cases.of(KIND, &factor).spec("empty m or n", factor.clone(), "/A", "empty");
    let sums = json!({"op": "gemm", "dtype": "f64", "A": zeros(cases, &[3, 0]), "B": null});
    let none = zeros(cases, &[0, 2]);
    cases.of(KIND, &sums).taken("k = 0, whose sums are 0", "/B", none);
}

fn tiles(cases: &mut Cases) {
    let (column, row) = (npy_f32(&[3000, 1], &[0.0; 3000]), npy_f32(&[1, 3000], &[0.0; 3000]));
    let outer = json!({"op": "gemm", "dtype": "f32", "A": cases.keep(&column), "B": cases.keep(&row)});
    cases.of(KIND, &outer).fields(
        "tiles beyond the limits",
        [("/tile", json!([11, 11]), "", "too-many-tiles"), ("/tile", json!([3000, 3000]), "", "tile-too-large")],
    );
    let square = cases.keep(&npy(&[65, 65], &[0.0; 65 * 65]));
    let factor = json!({"op": "cholesky", "dtype": "f64", "A": square});
    cases.of(KIND, &factor).fields("tiles beyond the limits", [("/tile", json!([1, 1]), "", "too-many-tiles")]);
}
