//! Jobs of `blas`, whole: every op, both types, any tiling, against the rule written as loops.

mod blas_rig;

use blas_rig::{Words, bench, cholesky, definite, every_tile, gemm, lawful, npy, transposed};
use forge_adapters::blas::Blas;
use forge_adapters::blas::real::Real;
use forge_adapters::laws::MemoryBlobs;
use forge_projections::family::Family;
use serde_json::{Value, json};

fn tiles() -> Vec<Value> {
    vec![json!(null), json!([1, 1]), json!([3, 5]), json!([7, 2]), json!([4, 100]), json!([100, 4]), json!([64, 64])]
}

fn word<T: Real>() -> &'static str {
    if T::BYTES == 4 { "f32" } else { "f64" }
}

fn gemm_in<T: Real>() {
    let (m, k, n) = (17, 23, 13);
    let (words, blobs) = (&mut Words(1), &MemoryBlobs::default());
    let (a, b, c) = (words.matrix::<T>(m * k), words.matrix::<T>(k * n), words.matrix::<T>(m * n));
    let (at, bt) = (transposed(m, k, &a), transposed(k, n, &b));
    let [m64, k64, n64] = [m, k, n].map(|x| x as u64);
    let a_of = [npy(blobs, &[m64, k64], &a), npy(blobs, &[k64, m64], &at)];
    let b_of = [npy(blobs, &[k64, n64], &b), npy(blobs, &[n64, k64], &bt)];
    let c_of = npy(blobs, &[m64, n64], &c);
    for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
        let spec = json!({"op": "gemm", "dtype": word::<T>(), "transA": ta, "transB": tb, "alpha": -0.7, "beta": 0.3,
            "A": a_of[usize::from(ta)], "B": b_of[usize::from(tb)], "C": c_of});
        every_tile(spec, &tiles()[..if ta && !tb { 7 } else { 3 }], blobs, &gemm([m, k, n], &a, &b, -0.7, 0.3, &c));
    }
    let spec = json!({"op": "gemm", "dtype": word::<T>(), "A": a_of[0], "B": b_of[0]});
    every_tile(spec, &tiles(), blobs, &gemm([m, k, n], &a, &b, 1.0, 0.0, &[]));
}

#[test]
fn gemm_is_the_ascending_sum_for_any_tile_and_transposition() {
    gemm_in::<f64>();
    gemm_in::<f32>();
}

fn syrk_in<T: Real>() {
    let (n, k) = (19, 11);
    let (words, blobs) = (&mut Words(2), &MemoryBlobs::default());
    let (a, mut c) = (words.matrix::<T>(n * k), words.matrix::<T>(n * n));
    let at = transposed(n, k, &a);
    let given = npy(blobs, &[n as u64, n as u64], &c);
    for (row, col) in (0..n).flat_map(|row| (0..row).map(move |col| (row, col))) {
        c[col * n + row] = c[row * n + col];
    }
    let expected = gemm([n, k, n], &a, &at, 1.5, -2.0, &c);
    let spec = json!({"op": "syrk", "dtype": word::<T>(), "alpha": 1.5, "beta": -2, "A": npy(blobs, &[19, 11], &a), "C": given});
    every_tile(spec, &tiles(), blobs, &expected);
    let spec = json!({"op": "syrk", "dtype": word::<T>(), "transA": true, "alpha": 1.5, "beta": -2,
        "A": npy(blobs, &[11, 19], &at), "C": given});
    every_tile(spec, &tiles()[2..4], blobs, &expected);
}

#[test]
fn syrk_is_gemm_with_the_lower_triangle_mirrored() {
    syrk_in::<f64>();
    syrk_in::<f32>();
}

#[test]
fn gemv_is_gemm_of_one_column() {
    let (words, blobs) = (&mut Words(3), &MemoryBlobs::default());
    let (a, b, c) = (words.matrix::<f64>(31 * 9), words.matrix::<f64>(9), words.matrix::<f64>(31));
    let spec = json!({"op": "gemv", "dtype": "f64", "alpha": 2, "beta": 1, "A": npy(blobs, &[31, 9], &a),
        "B": npy(blobs, &[9], &b), "C": npy(blobs, &[31], &c)});
    every_tile(spec, &tiles(), blobs, &gemm([31, 9, 1], &a, &b, 2.0, 1.0, &c));
    let spec = json!({"op": "gemv", "dtype": "f64", "transA": true, "A": npy(blobs, &[9, 31], &transposed(31, 9, &a)),
        "B": npy(blobs, &[9], &b)});
    every_tile(spec, &tiles(), blobs, &gemm([31, 9, 1], &a, &b, 1.0, 0.0, &[]));
}

#[test]
fn gemm_batched_is_a_gemm_along_the_first_axis() {
    let (words, blobs) = (&mut Words(4), &MemoryBlobs::default());
    let (products, m, k, n) = (9, 4, 6, 5);
    let a = words.matrix::<f32>(products * m * k);
    let b = words.matrix::<f32>(products * k * n);
    let c = words.matrix::<f32>(products * m * n);
    let one = |p: usize| {
        let (a, b, c) = (&a[p * m * k..][..m * k], &b[p * k * n..][..k * n], &c[p * m * n..][..m * n]);
        gemm([m, k, n], a, b, 0.5, 0.25, c)
    };
    let expected: Vec<f32> = (0..products).flat_map(one).collect();
    let spec = json!({"op": "gemm_batched", "dtype": "f32", "alpha": 0.5, "beta": 0.25, "A": npy(blobs, &[9, 4, 6], &a),
        "B": npy(blobs, &[9, 6, 5], &b), "C": npy(blobs, &[9, 4, 5], &c)});
    every_tile(spec, &tiles(), blobs, &expected);
}

fn cholesky_in<T: Real>() {
    let n = 41;
    let (words, blobs) = (&mut Words(5), &MemoryBlobs::default());
    let mut a = definite::<T>(words, n);
    let expected = cholesky(n, &a);
    // What is above the diagonal is not looked at.
    (0..n).for_each(|i| a[i * n + i + 1..(i + 1) * n].fill(T::from_f64(f64::NAN)));
    let spec = json!({"op": "cholesky", "dtype": word::<T>(), "A": npy(blobs, &[41, 41], &a)});
    let tiles =
        [json!(null), json!([1, 1]), json!([5, 5]), json!([7, 7]), json!([16, 16]), json!([40, 40]), json!([99, 99])];
    every_tile(spec, &tiles, blobs, &expected);
}

#[test]
fn cholesky_is_the_ascending_recurrence_for_any_tile() {
    cholesky_in::<f64>();
    cholesky_in::<f32>();
}

#[test]
fn a_matrix_that_is_not_positive_definite_fails_the_job() {
    let (words, blobs) = (&mut Words(6), &MemoryBlobs::default());
    for (at, value) in [(0, -1.0), (11, 0.0), (19, f64::NAN), (19, f64::INFINITY), (5, -1e300)] {
        let mut a = definite::<f64>(words, 20);
        a[at * 20 + at] = value;
        for tile in [json!(null), json!([3, 3])] {
            let spec = json!({"op": "cholesky", "dtype": "f64", "A": npy(blobs, &[20, 20], &a), "tile": tile});
            let (code, detail) = bench(spec, blobs).job(None, false).expect_err("it has no factor");
            assert_eq!(code, "not-positive-definite");
            assert!(detail.contains(&format!("row {at},")), "{detail}");
        }
    }
}

#[test]
fn fortran_order_is_read_as_what_it_says() {
    let (words, blobs) = (&mut Words(7), &MemoryBlobs::default());
    let (a, b) = (words.matrix::<f64>(6 * 4), words.matrix::<f64>(4 * 5));
    let fortran = |rows: usize, cols: usize, x: &[f64]| {
        let c_order =
            blobs.get(&npy(blobs, &[rows as u64, cols as u64], &transposed(rows, cols, x)).parse().expect("a digest"));
        let mut file = c_order.expect("it was kept");
        let at = file.windows(5).position(|w| w == b"False").expect("the header says so");
        file[at..at + 5].copy_from_slice(b"True ");
        blobs.keep(&file).to_string()
    };
    let expected = gemm([6, 4, 5], &a, &b, 1.0, 0.0, &[]);
    let spec = json!({"op": "gemm", "dtype": "f64", "A": fortran(6, 4, &a), "B": fortran(4, 5, &b)});
    every_tile(spec, &tiles()[..4], blobs, &expected);
    let spec = json!({"op": "gemm", "dtype": "f64", "A": fortran(4, 6, &transposed(6, 4, &a)), "transA": true,
        "B": npy(blobs, &[4, 5], &b)});
    every_tile(spec, &tiles()[..4], blobs, &expected);
}

#[test]
fn integers_are_exact() {
    let (words, blobs) = (&mut Words(8), &MemoryBlobs::default());
    let mut integers =
        |count: usize| -> Vec<f64> { (0..count).map(|_| (words.next() % 2001) as f64 - 1000.0).collect() };
    let (m, k, n) = (24, 50, 18);
    let (a, b) = (integers(m * k), integers(k * n));
    let dot = |i: usize, j: usize| (0..k).map(|l| a[i * k + l] as i64 * b[l * n + j] as i64).sum::<i64>() as f64;
    let expected: Vec<f64> = (0..m * n).map(|at| dot(at / n, at % n)).collect();
    let spec = json!({"op": "gemm", "dtype": "f64", "A": npy(blobs, &[24, 50], &a), "B": npy(blobs, &[50, 18], &b)});
    every_tile(spec, &tiles(), blobs, &expected);
}

#[test]
fn what_is_not_looked_at_does_not_leak() {
    let blobs = &MemoryBlobs::default();
    let nan = npy(blobs, &[2, 2], &[f64::NAN; 4]);
    let (a, zero) =
        (npy(blobs, &[2, 2], &[1.0, 2.0, 3.0, 4.0]), npy(blobs, &[2, 2], &[-0.0, 1.0, f64::INFINITY, -3.0]));
    let entries = |spec: Value| lawful::<f64>(spec, blobs).1;
    let beta_0 = entries(json!({"op": "gemm", "dtype": "f64", "A": a, "B": a, "C": nan, "beta": 0}));
    assert_eq!(beta_0, [7.0, 10.0, 15.0, 22.0]);
    let alpha_0 = entries(json!({"op": "gemm", "dtype": "f64", "A": nan, "B": nan, "C": zero, "alpha": 0, "beta": 1}));
    assert_eq!(
        alpha_0.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
        [-0.0f64, 1.0, f64::INFINITY, -3.0].map(f64::to_bits)
    );
    let negative =
        entries(json!({"op": "gemm", "dtype": "f64", "A": a, "B": npy(blobs, &[2, 2], &[0.0f64; 4]), "alpha": -1}));
    assert!(negative.iter().all(|x| x.to_bits() == (-0.0f64).to_bits()), "RN(alpha * +0) keeps its sign");
}

#[test]
fn nan_is_canonical_and_infinities_are_what_the_rule_gives() {
    let blobs = &MemoryBlobs::default();
    let strange = f64::from_bits(0xfff8_dead_beef_0001);
    let a = npy(blobs, &[2, 2], &[strange, 1.0, 1e300, 1e300]);
    let b = npy(blobs, &[2, 3], &[1e300, 1.0, -0.0, 0.0, -f64::INFINITY, 2.0]);
    let (_, entries) = lawful::<f64>(json!({"op": "gemm", "dtype": "f64", "A": a, "B": b}), blobs);
    assert_eq!(
        entries[..4].iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
        [0x7ff8_0000_0000_0000, 0x7ff8_0000_0000_0000, 0x7ff8_0000_0000_0000, f64::INFINITY.to_bits()]
    );
    assert_eq!(entries[4..], [f64::NEG_INFINITY, 2e300]);
}

#[test]
fn an_empty_inner_axis_gives_zeros_or_what_is_added() {
    let blobs = &MemoryBlobs::default();
    let (a, b) = (npy::<f32>(blobs, &[3, 0], &[]), npy::<f32>(blobs, &[0, 2], &[]));
    let (_, zeros) = lawful::<f32>(json!({"op": "gemm", "dtype": "f32", "A": a, "B": b}), blobs);
    assert!(zeros.len() == 6 && zeros.iter().all(|x| x.to_bits() == 0));
    let c = npy(blobs, &[3, 2], &[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let spec = json!({"op": "gemm", "dtype": "f32", "A": a, "B": b, "C": c, "beta": 2});
    assert_eq!(lawful::<f32>(spec, blobs).1, [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
}

const A: &str = "blake3:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "blake3:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

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
fn all_that_an_op_has_no_use_for_is_told_at_once() {
    let spec = json!({"op": "cholesky", "dtype": "f64", "A": A, "alpha": 2, "beta": 1, "C": A, "transA": true, "tile": [2, 3]});
    let faults = Blas.check_spec(&spec, None).expect_err("much is wrong");
    let found: Vec<(&str, &str)> = faults.iter().map(|f| (&*f.pointer, f.code)).collect();
    let unused = ["/spec/transA", "/spec/alpha", "/spec/beta", "/spec/C"].map(|at| (at, "not-applicable"));
    assert_eq!(found, [&unused[..], &[("/spec/tile", "out-of-range")]].concat());
    assert!(serde_json::from_str::<Value>("1e999").is_err(), "JSON has no infinity");
}

#[test]
fn tiles_at_the_limits_are_taken() {
    let blobs = &MemoryBlobs::default();
    let (column, row) = (npy(blobs, &[3000, 1], &[0.0f32; 3000]), npy(blobs, &[1, 3000], &[0.0f32; 3000]));
    for tile in [json!([12, 12]), json!(null)] {
        let spec = json!({"op": "gemm", "dtype": "f32", "A": column, "B": row, "tile": tile});
        let checked = Blas.check_spec(&spec, None).expect("no fault").spec;
        assert_eq!(Blas.check_inputs(&checked, blobs), Ok(()));
    }
}
