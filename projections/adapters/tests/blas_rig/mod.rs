//! What the tests of `blas` share: arrays as blobs, the rule written as loops, and jobs run in one place.

#![allow(dead_code, reason = "each test file uses its part")]

use forge_adapters::blas::real::{Real, Scaling, bytes, numbers};
use forge_adapters::blas::{Blas, kernel};
use forge_adapters::laws::{Bench, MemoryBlobs};
use forge_adapters::npy::Header;
use forge_event::Digest;
use serde_json::{Value, json};

/// A stream of words (SplitMix64).
pub struct Words(pub u64);

impl Words {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In [-1, 1).
    pub fn signed<T: Real>(&mut self) -> T {
        T::from_f64((self.next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0)
    }

    pub fn matrix<T: Real>(&mut self, count: usize) -> Vec<T> {
        (0..count).map(|_| self.signed()).collect()
    }
}

/// Keeps an array in C order.
pub fn npy<T: Real>(blobs: &MemoryBlobs, shape: &[u64], entries: &[T]) -> String {
    let file = [Header::c_order(T::DTYPE, shape).encode(), bytes(entries)].concat();
    blobs.keep(&file).to_string()
}

/// The rule, as a reader would write it down; `c` is not looked at if `beta` is 0.
pub fn gemm<T: Real>([m, k, n]: [usize; 3], a: &[T], b: &[T], alpha: f64, beta: f64, c: &[T]) -> Vec<T> {
    let scaling = Scaling { alpha: T::from_f64(alpha), beta: T::from_f64(beta) };
    let mut out = Vec::new();
    for i in 0..m {
        for j in 0..n {
            let mut acc = T::ZERO;
            for l in 0..k {
                acc = acc + a[i * k + l] * b[l * n + j];
            }
            out.push(scaling.entry(acc, if c.is_empty() { T::ZERO } else { c[i * n + j] }));
        }
    }
    out
}

/// L of `A = L·Lᵀ`, as a reader would write it down.
pub fn cholesky<T: Real>(n: usize, a: &[T]) -> Vec<T> {
    let mut l = vec![T::ZERO; n * n];
    for j in 0..n {
        for i in j..n {
            let mut s = a[i * n + j];
            for k in 0..j {
                s = s + -(l[i * n + k] * l[j * n + k]);
            }
            l[i * n + j] = if i == j { s.root() } else { s / l[j * n + j] };
        }
    }
    l
}

pub fn transposed<T: Real>(rows: usize, cols: usize, x: &[T]) -> Vec<T> {
    (0..rows * cols).map(|at| x[at % rows * cols + at / rows]).collect()
}

/// `A·Aᵀ + n·I` of random signed A: symmetric, positive definite.
pub fn definite<T: Real>(words: &mut Words, n: usize) -> Vec<T> {
    let a = words.matrix::<T>(n * n);
    let mut out = gemm([n, n, n], &a, &transposed(n, n, &a), 1.0, 0.0, &[]);
    for i in 0..n {
        out[i * n + i] = out[i * n + i] + T::from_f64(n as f64);
    }
    out
}

pub fn bench(spec: Value, blobs: &MemoryBlobs) -> Bench<'_> {
    Bench { family: &Blas, spec, groupings: vec![None], blobs, run: &kernel::run }
}

/// The document and the entries of a job that is held to all laws.
pub fn lawful<T: Real>(spec: Value, blobs: &MemoryBlobs) -> (String, Vec<T>) {
    let document = String::from_utf8(bench(spec, blobs).check()).expect("a document is text");
    let read: Value = serde_json::from_str(&document).expect("a document is JSON");
    let digest: Digest = read["C"]["digest"].as_str().and_then(|d| d.parse().ok()).expect("C names a blob");
    let file = blobs.get(&digest).expect("the output is kept");
    assert_eq!(read["C"]["bytes"], json!(file.len()));
    let header = Header::of_slice(&file).expect("the output is a .npy file");
    assert_eq!(json!(header.shape), read["shape"]);
    assert_eq!(file[..header.data_start as usize], header.encode());
    (document, numbers(&file[header.data_start as usize..]))
}

/// The same job for each tile gives one document and these entries.
pub fn every_tile<T: Real>(mut spec: Value, tiles: &[Value], blobs: &MemoryBlobs, expected: &[T]) {
    let mut first = None;
    for tile in tiles {
        spec["tile"] = tile.clone();
        let (document, entries) = lawful::<T>(spec.clone(), blobs);
        let wrong = entries.iter().zip(expected).position(|(x, y)| !x.same(*y));
        assert_eq!((wrong, entries.len()), (None, expected.len()), "{spec}");
        assert_eq!(*first.get_or_insert_with(|| document.clone()), document, "tile {tile}");
    }
}
