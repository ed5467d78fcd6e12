//! The multiplication of agents beside the crate `matrixmultiply` (through `ndarray`), f64, one thread, in one run.
//!
//! Prints a line a round, in turns, and the best of each with their ratio. Time is the thread's own where the system
//! tells it, so that other work on the machine counts less. Run with `cargo bench --workspace --bench gemm`.

use forge_adapters::blas::kernel::{Gemm, Plain};
use forge_agent::executors::blas::Fast;
use ndarray::Array2;
use std::hint::black_box;
use std::time::{Duration, Instant};

const SIDE: usize = 1024;
const ROUNDS: usize = 12;

fn main() {
    let mut state = 1u64;
    let mut number = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 12) as f64 / (1u64 << 51) as f64 - 1.0
    };
    let a = Array2::from_shape_simple_fn((SIDE, SIDE), &mut number);
    let b = Array2::from_shape_simple_fn((SIDE, SIDE), &mut number);
    let (a_flat, b_flat) = (a.as_slice().expect("C order"), b.as_slice().expect("C order"));
    let shape = [SIDE; 3];
    let mut best = [0f64; 3];
    for round in 0..ROUNDS {
        let theirs = gflops(|| drop(black_box(a.dot(&b))));
        let mut acc = vec![0.0; SIDE * SIDE];
        let ours = gflops(|| Fast::default().f64(shape, a_flat, b_flat, black_box(&mut acc)));
        let plain = if round > 0 { 0.0 } else { check(shape, a_flat, b_flat, &acc) };
        println!("matrixmultiply {theirs:.1} GFLOP/s, ours {ours:.1} GFLOP/s, ratio {:.2}", ours / theirs);
        for (best, now) in best.iter_mut().zip([theirs, ours, plain]) {
            *best = best.max(now);
        }
    }
    let [theirs, ours, plain] = best;
    println!(
        "{{\"side\":{SIDE},\"matrixmultiply_gflops\":{theirs:.1},\"ours_gflops\":{ours:.1},\"plain_gflops\":{plain:.1},\"ratio\":{:.2}}}",
        ours / theirs
    );
}

/// The plain loops give the same bits; gives their speed.
fn check(shape: [usize; 3], a: &[f64], b: &[f64], found: &[f64]) -> f64 {
    let mut acc = vec![0.0; SIDE * SIDE];
    let speed = gflops(|| Plain.f64(shape, a, b, &mut acc));
    assert!(acc.iter().zip(found).all(|(x, y)| x.to_bits() == y.to_bits()), "the bits are those of the plain loops");
    speed
}

fn gflops(run: impl FnOnce()) -> f64 {
    let (wall, thread) = (Instant::now(), thread_time());
    run();
    let took = match (thread, thread_time()) {
        (Some(before), Some(after)) => after - before,
        _ => wall.elapsed(),
    };
    2.0 * (SIDE as f64).powi(3) / took.as_secs_f64() / 1e9
}

/// Time this thread has run, where `/proc` tells it.
fn thread_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?))
}
