//! Every bad input of a `blas` job has a fault with its pointer and its code, before anything is planned.

mod blas_rig;

use blas_rig::npy;
use forge_adapters::blas::Blas;
use forge_adapters::laws::MemoryBlobs;
use forge_projections::family::{Family, SpecFault};
use serde_json::{Value, json};

const A: &str = "blake3:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "blake3:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

fn pairs(faults: Vec<SpecFault>) -> Vec<(String, &'static str)> {
    assert!(faults.iter().all(|f| !f.detail.is_empty()));
    faults.into_iter().map(|f| (f.pointer, f.code)).collect()
}

/// The faults of a good `gemm` spec with some fields set.
fn spec_faults(fields: Value) -> Vec<(String, &'static str)> {
    let mut spec = json!({"op": "gemm", "dtype": "f64", "A": A, "B": B});
    for (name, value) in fields.as_object().expect("fields") {
        spec[name] = value.clone();
    }
    Blas.check_spec(&spec, None).map_or_else(pairs, |_| Vec::new())
}

/// The faults of the blobs of a spec.
fn input_faults(spec: Value, blobs: &MemoryBlobs) -> Vec<(String, &'static str)> {
    let spec = Blas.check_spec(&spec, None).expect("the spec alone is good").spec;
    Blas.check_inputs(&spec, blobs).map_or_else(pairs, |()| Vec::new())
}

fn one(pointer: &str, code: &'static str) -> Vec<(String, &'static str)> {
    vec![(format!("/spec/{pointer}"), code)]
}

#[test]
fn defaults_are_filled_in_and_the_order_is_fixed() {
    let spec = json!({"B": B, "A": A, "dtype": "f32", "op": "gemm", "alpha": 2});
    let checked = Blas.check_spec(&spec, None).expect("no fault");
    let expected = format!(
        r#"{{"op":"gemm","dtype":"f32","transA":false,"transB":false,"alpha":2.0,"beta":0.0,"A":"{A}","B":"{B}","C":null,"tile":null}}"#
    );
    assert_eq!(String::from_utf8(checked.spec), Ok(expected));
    assert_eq!(checked.inputs.iter().map(ToString::to_string).collect::<Vec<_>>(), [A, B]);
    let twice = json!({"op": "gemm", "dtype": "f64", "A": A, "B": A, "tile": [3, 4]});
    assert_eq!(Blas.check_spec(&twice, None).expect("no fault").inputs.len(), 1);
}

#[test]
fn bad_fields_are_named() {
    assert_eq!(spec_faults(json!({"op": "gemmm"})), one("op", "unknown-value"));
    assert_eq!(spec_faults(json!({"op": "lu"})), one("op", "unknown-value"));
    assert_eq!(spec_faults(json!({"dtype": "f16"})), one("dtype", "unknown-value"));
    assert_eq!(spec_faults(json!({"dtype": null})), one("dtype", "missing-field"));
    assert_eq!(spec_faults(json!({"transA": "no"})), one("transA", "wrong-type"));
    assert_eq!(spec_faults(json!({"A": null})), one("A", "missing-field"));
    assert_eq!(spec_faults(json!({"B": null})), one("B", "missing-field"));
    assert_eq!(spec_faults(json!({"A": "sha256:00"})), one("A", "bad-digest"));
    assert_eq!(spec_faults(json!({"B": 7})), one("B", "wrong-type"));
    assert_eq!(spec_faults(json!({"beta": 1})), one("C", "missing-field"));
    assert_eq!(spec_faults(json!({"D": A})), one("D", "unknown-field"));
    assert_eq!(Blas.check_spec(&json!([]), None).map_err(pairs), Err(vec![("/spec".into(), "wrong-type")]));
}

#[test]
fn scalars_are_finite_numbers_of_the_jobs_type() {
    for value in [json!("NaN"), json!("inf"), json!(true), json!([1.0])] {
        assert_eq!(spec_faults(json!({"alpha": value})), one("alpha", "wrong-type"));
        assert_eq!(spec_faults(json!({"beta": value})), one("beta", "wrong-type"));
    }
    assert_eq!(spec_faults(json!({"alpha": 1e39, "dtype": "f32"})), one("alpha", "out-of-range"));
    assert_eq!(spec_faults(json!({"beta": -1e39, "dtype": "f32", "C": A})), one("beta", "out-of-range"));
    assert_eq!(spec_faults(json!({"alpha": 1e39})), []);
    assert!(serde_json::from_str::<Value>("1e999").is_err(), "JSON has no infinity");
}

#[test]
fn a_tile_is_two_positive_integers() {
    for (tile, pointer, code) in [
        (json!([0, 4]), "tile/0", "out-of-range"),
        (json!([4, -1]), "tile/1", "out-of-range"),
        (json!([4, 1u64 << 33]), "tile/1", "out-of-range"),
        (json!([4.0, 4]), "tile/0", "wrong-type"),
        (json!([4]), "tile", "wrong-type"),
        (json!(4), "tile", "wrong-type"),
    ] {
        assert_eq!(spec_faults(json!({"tile": tile})), one(pointer, code));
    }
    let faults = Blas.check_spec(&json!({"op": "gemm", "dtype": "f64", "A": A, "B": B}), Some(64)).map_err(pairs);
    assert_eq!(faults, Err(vec![("/shard_cells".into(), "not-applicable")]));
}

#[test]
fn an_op_takes_only_what_it_uses() {
    let syrk = json!({"op": "syrk", "transB": true});
    assert_eq!(spec_faults(syrk), [one("B", "not-applicable"), one("transB", "not-applicable")].concat());
    assert_eq!(spec_faults(json!({"op": "gemv", "transB": true})), one("transB", "not-applicable"));
    let factor = json!({"op": "cholesky", "B": null, "alpha": 2, "beta": 1, "C": A, "transA": true, "tile": [2, 3]});
    let named = ["transA", "alpha", "beta", "C"].map(|name| one(name, "not-applicable")).concat();
    assert_eq!(spec_faults(factor), [named, one("tile", "out-of-range")].concat());
}

/// A `.npy` file whose header is another one.
fn file(descr: &str, order: &str, shape: &str, data_bytes: usize) -> Vec<u8> {
    let text = format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n");
    let mut file = [&b"\x93NUMPY\x01\x00"[..], &(text.len() as u16).to_le_bytes(), text.as_bytes()].concat();
    file.resize(file.len() + data_bytes, 0);
    file
}

#[test]
fn files_that_are_no_arrays_of_floats_are_refused_at_their_field() {
    let blobs = &MemoryBlobs::default();
    let good = npy(blobs, &[2, 2], &[1.0f64; 4]);
    let long = [&b"\x93NUMPY\x02\x00"[..], &100_000u32.to_le_bytes()].concat();
    let whole = file("'<f8'", "False", "(2, 2)", 32);
    for (bytes, code) in [
        (file("'>f8'", "False", "(2, 2)", 32), "npy-big-endian"),
        (file("'|O'", "False", "(2, 2)", 32), "npy-object"),
        (file("[('x', '<f4'), ('y', '<f4')]", "False", "(2, 2)", 32), "npy-structured"),
        (file("'|u1'", "False", "(2, 2)", 4), "npy-dtype"),
        (file("'<f8'", "False", "(2, 2)", 31), "npy-length"),
        (file("'<f8'", "False", "(2, 3)", 32), "npy-length"),
        (file("'<f8'", "False", "(4294967296, 4294967296)", 32), "npy-shape-overflow"),
        (file("'<f4'", "False", "(2, 2)", 16), "dtype-mismatch"),
        (file("'<f8'", "False", "(4,)", 32), "shape-mismatch"),
        (file("'<f8'", "False", "(1, 2, 2)", 32), "shape-mismatch"),
        (whole[..whole.len() - 40].to_vec(), "npy-truncated"),
        (whole[..9].to_vec(), "npy-truncated"),
        (long, "npy-header-too-long"),
        (b"x,y\n1,2\n".to_vec(), "not-npy"),
        (Vec::new(), "not-npy"),
    ] {
        let bad = blobs.keep(&bytes).to_string();
        for name in ["A", "B", "C"] {
            let mut spec = json!({"op": "gemm", "dtype": "f64", "A": good, "B": good, "C": good, "beta": 1});
            spec[name] = json!(bad);
            assert_eq!(input_faults(spec, blobs), one(name, code));
        }
    }
    let spec = json!({"op": "gemm", "dtype": "f64", "A": good, "B": B});
    assert_eq!(input_faults(spec, blobs), one("B", "blob-missing"));
    let order = blobs.keep(&file("'<f8'", "True", "(1, 2, 2)", 32)).to_string();
    let spec = json!({"op": "gemm_batched", "dtype": "f64", "A": order, "B": order});
    assert_eq!(input_faults(spec, blobs), [one("A", "npy-fortran-order"), one("B", "npy-fortran-order")].concat());
}

#[test]
fn shapes_that_do_not_fit_are_refused_at_the_one_that_does_not() {
    let blobs = &MemoryBlobs::default();
    let zeros = |shape: &[u64]| npy(blobs, shape, &vec![0.0f64; shape.iter().product::<u64>() as usize]);
    let gemm = |op: &str, a: &[u64], b: &[u64]| json!({"op": op, "dtype": "f64", "A": zeros(a), "B": zeros(b)});
    assert_eq!(input_faults(gemm("gemm", &[2, 3], &[3, 4]), blobs), []);
    assert_eq!(input_faults(gemm("gemm", &[2, 3], &[4, 3]), blobs), one("B", "shape-mismatch"));
    let mut turned = gemm("gemm", &[2, 3], &[4, 3]);
    turned["transB"] = json!(true);
    assert_eq!(input_faults(turned.clone(), blobs), []);
    (turned["beta"], turned["C"]) = (json!(1), json!(zeros(&[4, 2])));
    assert_eq!(input_faults(turned, blobs), one("C", "shape-mismatch"));
    assert_eq!(input_faults(gemm("gemv", &[2, 3], &[3]), blobs), []);
    assert_eq!(input_faults(gemm("gemv", &[2, 3], &[2]), blobs), one("B", "shape-mismatch"));
    assert_eq!(input_faults(gemm("gemv", &[2, 3], &[3, 1]), blobs), one("B", "shape-mismatch"));
    assert_eq!(input_faults(gemm("gemm_batched", &[5, 2, 3], &[5, 3, 2]), blobs), []);
    assert_eq!(input_faults(gemm("gemm_batched", &[5, 2, 3], &[4, 3, 2]), blobs), one("B", "shape-mismatch"));
    let factor = json!({"op": "cholesky", "dtype": "f64", "A": zeros(&[3, 2])});
    assert_eq!(input_faults(factor, blobs), one("A", "shape-mismatch"));
}

#[test]
fn an_output_without_entries_is_refused_and_an_empty_sum_is_not() {
    let blobs = &MemoryBlobs::default();
    let empty = |shape: &[u64]| npy::<f64>(blobs, shape, &[]);
    let spec = |a: &[u64], b: &[u64]| json!({"op": "gemm", "dtype": "f64", "A": empty(a), "B": empty(b)});
    assert_eq!(input_faults(spec(&[3, 0], &[0, 2]), blobs), []);
    assert_eq!(input_faults(spec(&[0, 0], &[0, 2]), blobs), one("A", "empty"));
    assert_eq!(input_faults(spec(&[3, 0], &[0, 0]), blobs), one("A", "empty"));
    let factor = json!({"op": "cholesky", "dtype": "f64", "A": empty(&[0, 0])});
    assert_eq!(input_faults(factor, blobs), one("A", "empty"));
}

#[test]
fn tiles_beyond_the_limits_are_refused() {
    let blobs = &MemoryBlobs::default();
    let (column, row) = (npy(blobs, &[3000, 1], &[0.0f32; 3000]), npy(blobs, &[1, 3000], &[0.0f32; 3000]));
    let spec = |tile: Value| json!({"op": "gemm", "dtype": "f32", "A": column, "B": row, "tile": tile});
    assert_eq!(input_faults(spec(json!([11, 11])), blobs), one("tile", "too-many-tiles"));
    assert_eq!(input_faults(spec(json!([12, 12])), blobs), []);
    assert_eq!(input_faults(spec(json!([3000, 3000])), blobs), one("tile", "tile-too-large"));
    assert_eq!(input_faults(spec(json!(null)), blobs), []);
    let square = npy(blobs, &[65, 65], &[0.0f64; 65 * 65]);
    let factor = json!({"op": "cholesky", "dtype": "f64", "A": square, "tile": [1, 1]});
    assert_eq!(input_faults(factor, blobs), one("tile", "too-many-tiles"));
}
