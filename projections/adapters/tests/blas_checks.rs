//! Tiles of `blas` that are wrong are refused, those that are right never are.
//!
//! `FORGE_FULL=1` makes the second half long: ten thousand honest tiles.

mod blas_rig;

use blas_rig::{Words, definite, npy};
use forge_adapters::blas::real::{Real, bytes, numbers};
use forge_adapters::blas::work::Part;
use forge_adapters::blas::{Blas, kernel};
use forge_adapters::laws::{Agent, MemoryBlobs};
use forge_projections::family::{DoneStage, Family, MidState, Past, PlanHints};
use serde_json::{Value, json};

/// One shard of a job, its honest tile, and a way to ask what the checks say of another one.
struct Shard<'a> {
    blobs: &'a MemoryBlobs,
    spec: Vec<u8>,
    plan: Vec<u8>,
    shard: u32,
    part: Part,
}

impl<'a> Shard<'a> {
    /// The shard of a stage, the earlier ones being run.
    fn new(spec: Value, stage: usize, shard: u32, blobs: &'a MemoryBlobs) -> Shard<'a> {
        let spec = Blas.check_spec(&spec, None).expect("a good spec").spec;
        let mut done: Vec<(Vec<u8>, u64, Box<dyn MidState>)> = Vec::new();
        loop {
            let stages: Vec<DoneStage<'_>> = done
                .iter()
                .map(|(plan, count, mid)| DoneStage { plan, shard_count: *count, mid: mid.as_ref() })
                .collect();
            let hints = PlanHints { shard_cells: None, slots: 1 };
            let plan = Blas.plan(&Past { spec: &spec, stages: &stages }, hints, blobs).expect("a plan");
            let run =
                |shard| kernel::run(&Blas.payload(&spec, &plan.body, shard), &mut Agent::new(blobs)).expect("a result");
            if done.len() == stage {
                let part = Part::decode(&run(shard)).expect("a part");
                return Shard { blobs, spec, plan: plan.body, shard, part };
            }
            let mut mid = Blas.mid_state(&spec, &plan.body);
            (0..plan.shard_count as u32).for_each(|shard| mid.fold(shard, &run(shard)));
            done.push((plan.body, plan.shard_count, mid));
        }
    }

    fn tile<T: Real>(&self) -> Vec<T> {
        numbers(&self.blobs.get(&self.part.blob).expect("it is kept"))
    }

    /// Check bits of the shard if its tile were `raw`.
    fn bits_of(&self, raw: &[u8]) -> u32 {
        let part = Part { blob: self.blobs.keep(raw), ..self.part.clone() };
        let bits = Blas.check_result(&self.spec, &self.plan, self.shard, &part.encode());
        assert_eq!(bits, 0, "its form is right");
        Blas.check_blobs(&self.spec, &self.plan, self.shard, &part.encode(), self.blobs).expect("all blobs are there")
    }

    fn bits<T: Real>(&self, tile: &[T]) -> u32 {
        self.bits_of(&bytes(tile))
    }
}

/// Every way to spoil a tile that must be found. `zero` is a place of a zero, if there is one.
fn spoilt<T: Real>(tile: &[T], cols: usize) -> Vec<(&'static str, Vec<T>)> {
    let rows = tile.len() / cols;
    let at = |row: usize, col: usize| row * cols + col;
    let size = tile.iter().map(|x| x.wide().abs()).sum::<f64>() / tile.len() as f64;
    let e = T::from_f64(size * 0.01);
    let mut all = Vec::new();
    let mut add = |name, change: &dyn Fn(&mut Vec<T>)| {
        let mut tile = tile.to_vec();
        change(&mut tile);
        all.push((name, tile));
    };
    add("one entry", &|t| t[at(rows / 2, cols / 3)] = t[at(rows / 2, cols / 3)] + e);
    add("a cancelling pair", &|t| {
        t[at(1, 0)] = t[at(1, 0)] + e;
        t[at(1, cols - 1)] = t[at(1, cols - 1)] + -e;
    });
    add("a scaled row", &|t| t[at(2, 0)..at(3, 0)].iter_mut().for_each(|x| *x = *x * T::from_f64(1.0001)));
    add("swapped rows", &|t| (0..cols).for_each(|col| t.swap(at(0, col), at(rows - 1, col))));
    add("NaN put in", &|t| t[at(rows - 1, 1)] = T::from_f64(f64::NAN));
    add("infinity put in", &|t| t[at(0, 1)] = T::from_f64(f64::INFINITY));
    add("all zeros", &|t| t.fill(T::ZERO));
    add("every last bit", &|t| t.iter_mut().for_each(|x| *x = *x + *x * T::from_f64(2.0 * T::UNIT)));
    all
}

fn spoilt_products_are_refused<T: Real>(dtype: &str, [m, k, n]: [usize; 3], all_positive: bool) {
    let (words, blobs) = (&mut Words(11), &MemoryBlobs::default());
    let mut data = |count: usize| -> Vec<T> {
        let signed = words.matrix::<T>(count);
        signed.into_iter().map(|x| if all_positive { T::from_f64(x.wide().abs()) } else { x }).collect()
    };
    let (a, b, c) = (data(m * k), data(k * n), data(m * n));
    let [m64, k64, n64] = [m, k, n].map(|x| x as u64);
    let spec = json!({"op": "gemm", "dtype": dtype, "alpha": 1.25, "beta": -0.5, "A": npy(blobs, &[m64, k64], &a),
        "B": npy(blobs, &[k64, n64], &b), "C": npy(blobs, &[m64, n64], &c)});
    let shard = Shard::new(spec, 0, 0, blobs);
    let tile = shard.tile::<T>();
    assert_eq!((tile.len(), shard.bits(&tile)), (m * n, 0), "the honest tile");
    for (name, tile) in spoilt(&tile, n) {
        assert_ne!(shard.bits(&tile), 0, "{dtype} {m}x{k}x{n} {all_positive}: {name}");
    }
    assert_ne!(shard.bits_of(&bytes(&tile)[1..]), 0, "another length");
}

#[test]
fn each_kind_of_spoilt_tile_is_refused() {
    for all_positive in [false, true] {
        for shape in [[8, 5, 6], [40, 64, 33], [100, 300, 120]] {
            spoilt_products_are_refused::<f64>("f64", shape, all_positive);
            spoilt_products_are_refused::<f32>("f32", shape, all_positive);
        }
    }
}

#[test]
fn the_sign_of_a_zero_is_looked_at() {
    let (words, blobs) = (&mut Words(12), &MemoryBlobs::default());
    let mut a = words.matrix::<f64>(30 * 20);
    a[7 * 20..8 * 20].fill(0.0);
    let spec = json!({"op": "gemm", "dtype": "f64", "A": npy(blobs, &[30, 20], &a),
        "B": npy(blobs, &[20, 25], &words.matrix::<f64>(20 * 25))});
    let shard = Shard::new(spec, 0, 0, blobs);
    let mut tile = shard.tile::<f64>();
    assert_eq!((tile[7 * 25 + 3].to_bits(), shard.bits(&tile)), (0, 0));
    tile[7 * 25 + 3] = -0.0;
    assert_ne!(shard.bits(&tile), 0);
}

#[test]
fn a_nan_of_another_pattern_is_refused() {
    let blobs = &MemoryBlobs::default();
    let a = npy(blobs, &[2, 2], &[f64::NAN, 1.0, 2.0, 3.0]);
    let shard = Shard::new(json!({"op": "gemm", "dtype": "f64", "A": a, "B": a}), 0, 0, blobs);
    let mut raw = bytes(&shard.tile::<f64>());
    assert_eq!(shard.bits_of(&raw), 0);
    raw[7] |= 0x80;
    assert_ne!(shard.bits_of(&raw), 0, "a NaN with a sign");
}

#[test]
fn rows_and_columns_with_nan_or_infinity_are_compared_bit_by_bit() {
    let (words, blobs) = (&mut Words(13), &MemoryBlobs::default());
    let (mut a, mut b) = (words.matrix::<f64>(20 * 12), words.matrix::<f64>(12 * 16));
    (a[5 * 12 + 2], b[3 * 16 + 9]) = (f64::INFINITY, f64::NAN);
    let spec = json!({"op": "gemm", "dtype": "f64", "A": npy(blobs, &[20, 12], &a), "B": npy(blobs, &[12, 16], &b)});
    let shard = Shard::new(spec, 0, 0, blobs);
    let tile = shard.tile::<f64>();
    assert_eq!(shard.bits(&tile), 0, "the honest tile");
    for (row, col) in [(5, 0), (5, 9), (0, 9), (19, 9), (10, 3)] {
        let mut tile = tile.clone();
        tile[row * 16 + col] = 1.0;
        assert_ne!(shard.bits(&tile), 0, "entry ({row}, {col})");
    }
}

#[test]
fn overflow_is_what_the_rule_gives_and_nothing_else() {
    let blobs = &MemoryBlobs::default();
    let a = npy(blobs, &[2, 2], &[1e30f32, 1e30, 1.0, -1e30]);
    let spec = json!({"op": "gemm", "dtype": "f32", "A": a, "B": npy(blobs, &[2, 2], &[1e30f32, 2.0, -1e30, 3.0])});
    let shard = Shard::new(spec, 0, 0, blobs);
    let tile = shard.tile::<f32>();
    assert!(tile[0].is_nan() && shard.bits(&tile) == 0);
    for at in 0..4 {
        let mut tile = tile.clone();
        tile[at] = 0.0;
        assert_ne!(shard.bits(&tile), 0, "{at}");
    }
}

#[test]
fn spoilt_products_of_a_batch_are_refused() {
    let (words, blobs) = (&mut Words(14), &MemoryBlobs::default());
    let spec = json!({"op": "gemm_batched", "dtype": "f32", "A": npy(blobs, &[16, 6, 7], &words.matrix::<f32>(16 * 42)),
        "B": npy(blobs, &[16, 7, 5], &words.matrix::<f32>(16 * 35))});
    let shard = Shard::new(spec, 0, 1, blobs);
    let tile = shard.tile::<f32>();
    assert_eq!((tile.len(), shard.bits(&tile)), (4 * 30, 0), "four of sixteen products");
    for (name, tile) in spoilt(&tile, 5) {
        assert_ne!(shard.bits(&tile), 0, "{name}");
    }
}

fn spoilt_factors_are_refused<T: Real>(dtype: &str) {
    let (words, blobs) = (&mut Words(15), &MemoryBlobs::default());
    let a = npy(blobs, &[60, 60], &definite::<T>(words, 60));
    for (stage, shard) in [(0, 0), (1, 2), (2, 0), (3, 1), (4, 0), (6, 0)] {
        let spec = json!({"op": "cholesky", "dtype": dtype, "A": a, "tile": [16, 16]});
        let shard = Shard::new(spec, stage, shard, blobs);
        let tile = shard.tile::<T>();
        assert_eq!(shard.bits(&tile), 0, "the honest tile of stage {stage}");
        for (name, tile) in spoilt(&tile, shard.part.cols as usize) {
            assert_ne!(shard.bits(&tile), 0, "{dtype} stage {stage}: {name}");
        }
        if stage % 2 == 0 {
            let mut tile = tile.clone();
            tile[1] = -T::ZERO;
            assert_ne!(shard.bits(&tile), 0, "a zero above the diagonal keeps its sign");
            // Another root of the same product: L with a column negated.
            let cols = shard.part.cols as usize;
            let mut tile = shard.tile::<T>();
            (0..tile.len()).filter(|at| at % cols == 1).for_each(|at| tile[at] = -tile[at]);
            assert_ne!(shard.bits(&tile), 0, "a negative pivot");
        }
    }
}

#[test]
fn each_kind_of_spoilt_tile_of_a_factor_is_refused() {
    spoilt_factors_are_refused::<f64>("f64");
    spoilt_factors_are_refused::<f32>("f32");
}

fn honest<T: Real>(dtype: &str, words: &mut Words, blobs: &MemoryBlobs) {
    let mut side = |most: u64| 1 + (words.next() % most) as usize;
    let (m, k, n) = (side(24), side(200), side(24));
    let kind = words.next() % 4;
    let mut data = |count: usize| -> Vec<T> {
        let mut one = |_| match kind {
            0 => words.signed::<T>().wide(),
            1 => words.signed::<T>().wide().abs(),
            2 => 0.1,
            // Sizes far apart, down to where results underflow.
            _ => words.signed::<T>().wide() * power_of_two((words.next() % 120) as i32 - 100),
        };
        (0..count).map(|at| T::from_f64(one(at))).collect()
    };
    let (a, b, c) = (data(m * k), data(k * n), data(m * n));
    let [m64, k64, n64] = [m, k, n].map(|x| x as u64);
    let beta = if words.next().is_multiple_of(2) { 0.0 } else { -0.9 };
    let spec = json!({"op": "gemm", "dtype": dtype, "alpha": 0.3, "beta": beta, "A": npy(blobs, &[m64, k64], &a),
        "B": npy(blobs, &[k64, n64], &b), "C": npy(blobs, &[m64, n64], &c)});
    let shard = Shard::new(spec, 0, 0, blobs);
    assert_eq!(shard.bits(&shard.tile::<T>()), 0, "{dtype} {m}x{k}x{n}, data of kind {kind}");
}

/// 2 to a whole power.
fn power_of_two(power: i32) -> f64 {
    f64::from_bits(((1023 + power) as u64) << 52)
}

#[test]
fn honest_tiles_are_never_refused() {
    let count = if std::env::var("FORGE_FULL").is_ok() { 5_000 } else { 150 };
    let words = &mut Words(16);
    for _ in 0..count {
        let blobs = &MemoryBlobs::default();
        honest::<f64>("f64", words, blobs);
        honest::<f32>("f32", words, blobs);
    }
}
