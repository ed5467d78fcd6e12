//! The model `heston`: stochastic variance by full-truncation Euler, the spot by log-Euler, fixed steps.
//!
//! Step i takes word 2i for the variance's normal `a` and word 2i + 1 for the normal `b` of the spot alone. With
//! `dt = T/steps`, `root = sqrt(dt)`, `free = sqrt(1 − rho·rho)`, from `x = 0`, `v = v0`, in this order of operations:
//! `p = v` if positive, else 0; `s = sqrt(p)·root`; `x += (r − q − 0.5·p)·dt + s·(rho·a + free·b)`;
//! `v += kappa·(theta − p)·dt + xi·s·a`. The value is `exp(−r·T)·payoff(spot·exp(x))`.
//!
//! Source: R. Lord, R. Koekkoek, D. van Dijk, "A comparison of biased simulation schemes for stochastic volatility
//! models", Quantitative Finance 10 (2010) 177-194.

use super::draws::Draws;
use super::model::{Gbm, LANES, Lanes};
use serde::{Deserialize, Serialize};

/// A market with stochastic variance, and the option on it.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Heston {
    pub spot: f64,
    pub strike: f64,
    pub rate: f64,
    pub dividend_yield: f64,
    /// Units: years.
    pub maturity: f64,
    /// A call, else a put.
    pub call: bool,
    pub steps: u32,
    /// Variance at the start. Units: 1/year, as all variances here.
    pub v0: f64,
    /// Speed at which the variance returns. Units: 1/year.
    pub kappa: f64,
    /// Variance that it returns to.
    pub theta: f64,
    /// Volatility of the variance.
    pub xi: f64,
    /// Correlation of the variance's normals and the spot's.
    pub rho: f64,
}

impl Heston {
    /// The same option on a market of constant volatility: payoff and discount are those.
    pub(super) fn option(&self) -> Gbm {
        let Heston { spot, strike, rate, dividend_yield, maturity, call, .. } = *self;
        Gbm { spot, strike, rate, dividend_yield, volatility: 0.0, maturity, call }
    }
}

/// A batch of paths, one sign of their normals.
#[derive(Debug)]
struct Paths {
    x: Lanes,
    v: Lanes,
}

/// The model with its scratch memory.
#[derive(Debug)]
pub struct Walk {
    heston: Heston,
    option: Gbm,
    discount: f64,
    normals: [Lanes; 2],
    paths: [Paths; 2],
}

impl Walk {
    pub fn new(heston: Heston) -> Walk {
        let paths = || Paths { x: [0.0; LANES], v: [0.0; LANES] };
        let option = heston.option();
        Walk { heston, option, discount: option.discount(), normals: [[0.0; LANES]; 2], paths: [paths(), paths()] }
    }

    /// The values of a batch.
    pub fn evaluate(&mut self, draws: &mut Draws, antithetic: bool, values: &mut [f64]) {
        let Heston { rate, dividend_yield, steps, kappa, theta, xi, rho, .. } = self.heston;
        let count = values.len();
        let dt = self.heston.maturity / f64::from(steps);
        let (root, free) = (libm::sqrt(dt), libm::sqrt(1.0 - rho * rho));
        let signs: &[f64] = if antithetic { &[1.0, -1.0] } else { &[1.0] };
        for paths in &mut self.paths {
            paths.x[..count].fill(0.0);
            paths.v[..count].fill(self.heston.v0);
        }
        let [a, b] = &mut self.normals;
        for step in 0..u64::from(steps) {
            draws.normals(2 * step, a);
            draws.normals(2 * step + 1, b);
            for (paths, sign) in self.paths.iter_mut().zip(signs) {
                let lanes = paths.x[..count].iter_mut().zip(&mut paths.v);
                for ((x, v), (a, b)) in lanes.zip(a.iter().zip(b.iter())) {
                    let (a, b) = (sign * a, sign * b);
                    // Keeps NaN.
                    let p = if *v <= 0.0 { 0.0 } else { *v };
                    let s = libm::sqrt(p) * root;
                    *x += (rate - dividend_yield - 0.5 * p) * dt + s * (rho * a + free * b);
                    *v += kappa * (theta - p) * dt + xi * s * a;
                }
            }
        }
        let value = |x: f64| self.discount * self.option.payoff(self.option.spot * core_math::exp(x));
        for (i, out) in values.iter_mut().enumerate() {
            *out = value(self.paths[0].x[i]);
            if antithetic {
                *out = (*out + value(self.paths[1].x[i])) / 2.0;
            }
        }
    }
}
