//! Stage 3: the largest eigenvalues of a symmetric matrix, and their vectors.
//!
//! Householder tridiagonalisation, then implicit QL; plain loops in a fixed order of + − × ÷ √, so that every machine
//! gives the same bits. Source: Wilkinson & Reinsch, "Handbook for Automatic Computation", II/1 and II/4.

use alloc::vec;
use alloc::vec::Vec;

/// QL sweeps an eigenvalue may take; two is usual.
const SWEEPS_MAX: u32 = 60;
/// Numbers worked on between two looks at the caller.
const TICK: usize = 1 << 20;

/// Eigenvalues, largest first, and unit vectors.
#[derive(Clone, PartialEq, Debug)]
pub struct Pairs {
    pub values: Vec<f64>,
    /// By mode, then by entry.
    pub vectors: Vec<Vec<f64>>,
}

impl Pairs {
    /// Shape: all values, then each vector.
    pub fn flat(&self) -> Vec<f64> {
        self.values.iter().chain(self.vectors.iter().flatten()).copied().collect()
    }

    /// Reads what [`Pairs::flat`] wrote.
    ///
    /// # Panics
    /// If there are too few numbers.
    pub fn of(flat: &[f64], order: usize, modes: usize) -> Pairs {
        let (values, vectors) = flat.split_at(modes);
        Pairs {
            values: values.to_vec(),
            vectors: vectors.chunks_exact(order).take(modes).map(<[f64]>::to_vec).collect(),
        }
    }
}

/// A symmetric matrix. Shape: the lower triangle, row by row.
#[derive(Clone, PartialEq, Debug)]
pub struct Symmetric {
    pub order: usize,
    pub packed: Vec<f64>,
}

/// Entries of the lower triangle.
pub fn packed_len(order: u64) -> u64 {
    order * (order + 1) / 2
}

impl Symmetric {
    /// Part of a row, up to the diagonal.
    pub fn row(&self, row: usize) -> &[f64] {
        let start = row * (row + 1) / 2;
        &self.packed[start..start + row + 1]
    }

    pub fn diagonal(&self) -> impl Iterator<Item = f64> + '_ {
        (0..self.order).map(|row| self.row(row)[row])
    }

    /// √ of the sum of all squares.
    pub fn frobenius(&self) -> f64 {
        let mut sum = 0.0;
        for row in 0..self.order {
            let (diagonal, others) = self.row(row).split_last().expect("a row holds its diagonal");
            sum += diagonal * diagonal + 2.0 * dot(others, others);
        }
        libm::sqrt(sum)
    }

    /// The matrix times a vector.
    pub fn times(&self, vector: &[f64]) -> Vec<f64> {
        let mut product = vec![0.0; self.order];
        for row in 0..self.order {
            let (diagonal, others) = self.row(row).split_last().expect("a row holds its diagonal");
            product[row] += dot(others, vector) + diagonal * vector[row];
            add_scaled(&mut product[..row], vector[row], others);
        }
        product
    }

    /// Both triangles, row by row.
    fn full(&self) -> Vec<f64> {
        let n = self.order;
        let mut full = vec![0.0; n * n];
        for row in 0..n {
            for (column, entry) in self.row(row).iter().enumerate() {
                full[row * n + column] = *entry;
                full[column * n + row] = *entry;
            }
        }
        full
    }

    /// The `modes` largest eigenvalues and their vectors; `None` if the iteration does not settle, which takes a
    /// matrix that is not finite.
    ///
    /// # Errors
    /// What `tick` says, which is called every few milliseconds.
    pub fn largest<E>(&self, modes: usize, tick: &mut dyn FnMut() -> Result<(), E>) -> Result<Option<Pairs>, E> {
        let mut reduced = Tridiagonal::of(self, tick)?;
        let Some(rotated) = reduced.diagonalise(tick)? else { return Ok(None) };
        let n = self.order;
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|a, b| reduced.diagonal[*b].total_cmp(&reduced.diagonal[*a]).then(a.cmp(b)));
        order.truncate(modes);
        let values = order.iter().map(|i| reduced.diagonal[*i]).collect();
        let mut vectors = Vec::with_capacity(modes);
        for i in order {
            tick()?;
            let mut vector = rotated[i * n..(i + 1) * n].to_vec();
            reduced.back(&mut vector);
            let length = libm::sqrt(dot(&vector, &vector));
            vector.iter_mut().for_each(|x| *x /= length);
            vectors.push(vector);
        }
        Ok(Some(Pairs { values, vectors }))
    }
}

/// `Σ a·b`, first to last.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).fold(0.0, |sum, (a, b)| sum + a * b)
}

/// `sums += factor · values`.
fn add_scaled(sums: &mut [f64], factor: f64, values: &[f64]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += factor * value;
    }
}

/// Q T Qᵀ, where Q is a product of reflections.
struct Tridiagonal {
    diagonal: Vec<f64>,
    /// Below the diagonal; the last entry is unused.
    beside: Vec<f64>,
    /// Reflection k is 1 − factor · v vᵀ, where v begins at entry k + 1.
    reflections: Vec<(f64, Vec<f64>)>,
}

impl Tridiagonal {
    fn of<E>(matrix: &Symmetric, tick: &mut dyn FnMut() -> Result<(), E>) -> Result<Tridiagonal, E> {
        let n = matrix.order;
        let mut full = matrix.full();
        let (mut diagonal, mut beside) = (vec![0.0; n], vec![0.0; n]);
        let mut reflections = Vec::new();
        let mut since_tick = 0;
        for k in 0..n {
            diagonal[k] = full[k * n + k];
            if k + 1 == n {
                break;
            }
            let mut v = full[k * n + k + 1..(k + 1) * n].to_vec();
            let rest = dot(&v[1..], &v[1..]);
            if rest == 0.0 {
                beside[k] = v[0];
                reflections.push((0.0, Vec::new()));
                continue;
            }
            let length = libm::sqrt(v[0] * v[0] + rest);
            // The sign that does not cancel.
            let alpha = if v[0] > 0.0 { -length } else { length };
            v[0] -= alpha;
            beside[k] = alpha;
            let factor = 2.0 / (v[0] * v[0] + rest);
            let m = v.len();
            // p = factor · A v, summed over rows of A, which is symmetric.
            let mut p = vec![0.0; m];
            for (i, x) in v.iter().enumerate() {
                add_scaled(&mut p, factor * x, &full[(k + 1 + i) * n + k + 1..(k + 2 + i) * n]);
            }
            let half = 0.5 * factor * dot(&p, &v);
            add_scaled(&mut p, -half, &v);
            // A − v pᵀ − p vᵀ.
            for i in 0..m {
                let row = &mut full[(k + 1 + i) * n + k + 1..(k + 2 + i) * n];
                let (vi, pi) = (v[i], p[i]);
                for ((entry, v), p) in row.iter_mut().zip(&v).zip(&p) {
                    *entry -= vi * p + pi * v;
                }
            }
            reflections.push((factor, v));
            since_tick += 2 * m * m;
            if since_tick > TICK {
                since_tick = 0;
                tick()?;
            }
        }
        Ok(Tridiagonal { diagonal, beside, reflections })
    }

    /// Makes the diagonal the eigenvalues; gives the vectors of T, one a row, or `None` if it does not settle.
    fn diagonalise<E>(&mut self, tick: &mut dyn FnMut() -> Result<(), E>) -> Result<Option<Vec<f64>>, E> {
        let n = self.diagonal.len();
        let (d, e) = (&mut self.diagonal, &mut self.beside);
        let mut vectors = vec![0.0; n * n];
        (0..n).for_each(|i| vectors[i * n + i] = 1.0);
        let mut since_tick = 0;
        for l in 0..n {
            let mut sweeps = 0;
            loop {
                let negligible = |m: usize| {
                    let size = d[m].abs() + d[m + 1].abs();
                    e[m].abs() <= f64::EPSILON * size
                };
                let m = (l..n - 1).find(|m| negligible(*m)).unwrap_or(n - 1);
                if m == l {
                    break;
                }
                sweeps += 1;
                if sweeps > SWEEPS_MAX {
                    return Ok(None);
                }
                let g = (d[l + 1] - d[l]) / (2.0 * e[l]);
                let r = libm::sqrt(g * g + 1.0);
                let mut g = d[m] - d[l] + e[l] / (g + if g < 0.0 { -r } else { r });
                let (mut s, mut c, mut p) = (1.0, 1.0, 0.0);
                let mut split = false;
                for i in (l..m).rev() {
                    let (f, b) = (s * e[i], c * e[i]);
                    let r = libm::sqrt(f * f + g * g);
                    e[i + 1] = r;
                    if r == 0.0 {
                        d[i + 1] -= p;
                        e[m] = 0.0;
                        split = true;
                        break;
                    }
                    s = f / r;
                    c = g / r;
                    g = d[i + 1] - p;
                    let r = (d[i] - g) * s + 2.0 * c * b;
                    p = s * r;
                    d[i + 1] = g + p;
                    g = c * r - b;
                    let (low, high) = vectors[i * n..(i + 2) * n].split_at_mut(n);
                    for (low, high) in low.iter_mut().zip(high) {
                        let f = *high;
                        *high = s * *low + c * f;
                        *low = c * *low - s * f;
                    }
                    since_tick += 4 * n;
                    if since_tick > TICK {
                        since_tick = 0;
                        tick()?;
                    }
                }
                if split {
                    continue;
                }
                d[l] -= p;
                e[l] = g;
                e[m] = 0.0;
            }
        }
        Ok(Some(vectors))
    }

    /// Turns a vector of T into one of the matrix.
    fn back(&self, vector: &mut [f64]) {
        for (k, (factor, v)) in self.reflections.iter().enumerate().rev() {
            if *factor != 0.0 {
                let part = &mut vector[k + 1..];
                let along = factor * dot(v, part);
                add_scaled(part, -along, v);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::certificate;
    use super::*;
    use core::convert::Infallible;

    fn largest(matrix: &Symmetric, modes: usize) -> Pairs {
        let pairs = matrix.largest(modes, &mut || Ok::<(), Infallible>(()));
        pairs.expect("nothing stops it").expect("it settles")
    }

    fn of(order: usize, entry: impl Fn(usize, usize) -> f64) -> Symmetric {
        let packed = (0..order).flat_map(|i| (0..=i).map(move |j| (i, j))).map(|(i, j)| entry(i, j)).collect();
        Symmetric { order, packed }
    }

    #[test]
    fn a_path_has_the_eigenvalues_that_are_known() {
        // 2 on the diagonal, −1 beside it: 2 − 2 cos(kπ/(n+1)).
        for n in [1, 2, 3, 10, 65] {
            let matrix = of(n, |i, j| {
                if i == j {
                    2.0
                } else if i == j + 1 {
                    -1.0
                } else {
                    0.0
                }
            });
            let pairs = largest(&matrix, n);
            for (k, value) in pairs.values.iter().enumerate() {
                let angle = (n - k) as f64 * core::f64::consts::PI / (n as f64 + 1.0);
                assert!((value - (2.0 - 2.0 * core_math::cos(angle))).abs() < 1e-13, "{n} {k} {value}");
            }
            assert_eq!(certificate::faults(&matrix, &pairs), 0);
        }
    }

    #[test]
    fn degenerate_zero_and_diagonal_matrices_settle() {
        for n in [1, 2, 7] {
            for matrix in [
                of(n, |_, _| 0.0),
                of(n, |i, j| f64::from(u8::from(i == j))),
                of(n, |_, _| 1.0),
                of(n, |i, j| if i == j { i as f64 } else { 0.0 }),
            ] {
                let pairs = largest(&matrix, n);
                assert_eq!(certificate::faults(&matrix, &pairs), 0, "{matrix:?} {pairs:?}");
            }
        }
    }

    #[test]
    fn a_large_matrix_of_small_rank_is_resolved() {
        let x = |i: usize, k: usize| core_math::sin((i * (k + 2)) as f64 * 0.37 + k as f64);
        let matrix = of(90, |i, j| (0..5).map(|k| x(i, k) * x(j, k) * 10f64.powi(-(k as i32))).sum());
        let pairs = largest(&matrix, 5);
        assert_eq!(certificate::faults(&matrix, &pairs), 0);
        assert!(pairs.values.windows(2).all(|w| w[0] > w[1]) && pairs.values[4] > 0.0);
    }

    #[test]
    fn what_is_no_pair_or_not_the_largest_is_flagged() {
        let matrix = of(40, |i, j| core_math::cos((i * j) as f64) + if i == j { 10.0 } else { 0.0 });
        let all = largest(&matrix, 6);
        let mut lesser = all.clone();
        lesser.values.remove(0);
        lesser.vectors.remove(0);
        assert_ne!(certificate::faults(&matrix, &lesser), 0, "the largest is missing");
        let mut missing = all.clone();
        missing.values.remove(3);
        missing.vectors.remove(3);
        assert_ne!(certificate::faults(&matrix, &missing), 0, "one in the middle is missing");
        let mut off = all.clone();
        off.values[2] *= 1.0 + 1e-9;
        assert_ne!(certificate::faults(&matrix, &off), 0);
        let mut bent = all.clone();
        bent.vectors[1][7] += 1e-9;
        assert_ne!(certificate::faults(&matrix, &bent), 0);
        let mut twice = all;
        twice.vectors[1] = twice.vectors[0].clone();
        twice.values[1] = twice.values[0];
        assert_ne!(certificate::faults(&matrix, &twice), 0);
    }

    #[test]
    fn what_is_not_finite_does_not_settle_or_is_flagged() {
        let matrix = of(5, |i, j| if (i, j) == (3, 1) { f64::NAN } else { 1.0 });
        let pairs = matrix.largest(2, &mut || Ok::<(), Infallible>(())).expect("nothing stops it");
        assert!(pairs.is_none_or(|pairs| certificate::faults(&matrix, &pairs) != 0));
    }
}
