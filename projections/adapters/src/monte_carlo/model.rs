//! The models: what a sample's value is, as a pure function of (model, seed, stream, sample).
//!
//! The order of every operation is part of the contract (api.md §7.3); vector or scalar, the bits are the same.

use super::as241::normals;
use super::philox::{Key, fill, uniform};
use serde::{Deserialize, Serialize};

/// Samples evaluated side by side.
pub const LANES: usize = 256;

/// A market under geometric Brownian motion, and the option on it.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Gbm {
    pub spot: f64,
    pub strike: f64,
    pub rate: f64,
    pub dividend_yield: f64,
    pub volatility: f64,
    /// Units: years.
    pub maturity: f64,
    /// A call, else a put.
    pub call: bool,
}

/// A model with its parameters.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub enum Model {
    Pi,
    European(Gbm),
    Asian { gbm: Gbm, steps: u32, geometric: bool },
    Barrier { gbm: Gbm, steps: u32, barrier: f64, up: bool, knock_in: bool },
}

impl Model {
    /// Words drawn a sample, as steps of one normal each.
    pub fn steps(&self) -> u32 {
        match self {
            Model::Pi | Model::European(_) => 1,
            Model::Asian { steps, .. } | Model::Barrier { steps, .. } => *steps,
        }
    }

    /// The market, if the model has one.
    pub fn gbm(&self) -> Option<&Gbm> {
        match self {
            Model::Pi => None,
            Model::European(gbm) | Model::Asian { gbm, .. } | Model::Barrier { gbm, .. } => Some(gbm),
        }
    }
}

/// The constants of a step.
#[derive(Clone, Copy, Debug)]
struct Step {
    drift: f64,
    vol: f64,
}

impl Gbm {
    fn step(&self, steps: u32) -> Step {
        let (r, q, v) = (self.rate, self.dividend_yield, self.volatility);
        let dt = self.maturity / f64::from(steps);
        Step { drift: (r - q - 0.5 * v * v) * dt, vol: v * libm::sqrt(dt) }
    }

    fn discount(&self) -> f64 {
        core_math::exp(-self.rate * self.maturity)
    }

    #[inline]
    fn payoff(&self, price: f64) -> f64 {
        let gain = if self.call { price - self.strike } else { self.strike - price };
        // Keeps NaN, and gives +0 for what is not in the money.
        if gain <= 0.0 { 0.0 } else { gain }
    }
}

type Lanes = [f64; LANES];

/// A path of each lane, one sign of its normals.
#[derive(Debug)]
struct Paths {
    price: Lanes,
    /// Sum of prices, or of their logarithms.
    sum: Lanes,
    hit: [bool; LANES],
}

/// A model ready to be evaluated, with its scratch memory.
#[derive(Debug)]
pub struct Evaluator {
    model: Model,
    key: Key,
    antithetic: bool,
    step: Step,
    discount: f64,
    /// A block's words, then the uniforms and normals of one of them.
    words: [[u64; LANES]; 4],
    normals: Lanes,
    paths: [Paths; 2],
}

impl Evaluator {
    pub fn new(model: Model, seed: u64, stream: u64, antithetic: bool) -> Self {
        let (step, discount) = match model.gbm() {
            Some(gbm) => (gbm.step(model.steps()), gbm.discount()),
            None => (Step { drift: 0.0, vol: 0.0 }, 1.0),
        };
        let paths = || Paths { price: [0.0; LANES], sum: [0.0; LANES], hit: [false; LANES] };
        let (words, normals) = ([[0; LANES]; 4], [0.0; LANES]);
        let key = Key::new(seed, stream);
        Evaluator { model, key, antithetic, step, discount, words, normals, paths: [paths(), paths()] }
    }

    /// The values of samples `first`, `first + 1`, …. Shape: at most [`LANES`].
    pub fn evaluate(&mut self, first: u64, values: &mut [f64]) {
        assert!(values.len() <= LANES, "a batch fits the lanes");
        match self.model {
            Model::Pi => self.pi(first, values),
            Model::European(gbm) => self.european(gbm, first, values),
            Model::Asian { gbm, steps, geometric } => self.asian(gbm, steps, geometric, first, values),
            Model::Barrier { gbm, steps, barrier, up, knock_in } => {
                let hit = move |price: f64| if up { price >= barrier } else { price <= barrier };
                self.barrier(gbm, steps, knock_in, hit, first, values);
            }
        }
    }

    fn pi(&mut self, first: u64, values: &mut [f64]) {
        let value = |x: f64, y: f64| if x * x + y * y <= 1.0 { 4.0 } else { 0.0 };
        fill(&self.key, first, 0, values.len(), &mut self.words);
        for ((out, x), y) in values.iter_mut().zip(&self.words[0]).zip(&self.words[1]) {
            let (x, y) = (uniform(*x), uniform(*y));
            *out = value(x, y);
            if self.antithetic {
                *out = (*out + value(1.0 - x, 1.0 - y)) / 2.0;
            }
        }
    }

    fn european(&mut self, gbm: Gbm, first: u64, values: &mut [f64]) {
        let Step { drift, vol } = self.step;
        fill(&self.key, first, 0, values.len(), &mut self.words);
        self.draw(0, values.len());
        let value = |z: f64| self.discount * gbm.payoff(gbm.spot * core_math::exp(drift + vol * z));
        for (out, z) in values.iter_mut().zip(&self.normals) {
            *out = value(*z);
            if self.antithetic {
                *out = (*out + value(-*z)) / 2.0;
            }
        }
    }

    /// Makes the normals of one word of the block.
    fn draw(&mut self, word: usize, count: usize) {
        for (z, word) in self.normals[..count].iter_mut().zip(&self.words[word]) {
            *z = uniform(*word);
        }
        normals(&mut self.normals[..count]);
    }

    fn asian(&mut self, gbm: Gbm, steps: u32, geometric: bool, first: u64, values: &mut [f64]) {
        let count = values.len();
        for paths in &mut self.paths {
            paths.price[..count].fill(gbm.spot);
            paths.sum[..count].fill(0.0);
        }
        self.walk(steps, first, count, |paths| {
            for (sum, price) in paths.sum[..count].iter_mut().zip(&paths.price) {
                *sum += if geometric { core_math::log(*price) } else { *price };
            }
            true
        });
        let discount = self.discount;
        let value = |paths: &Paths, i: usize| {
            let mean = paths.sum[i] / f64::from(steps);
            discount * gbm.payoff(if geometric { core_math::exp(mean) } else { mean })
        };
        self.settle(values, value);
    }

    fn barrier(
        &mut self,
        gbm: Gbm,
        steps: u32,
        knock_in: bool,
        is_hit: impl Fn(f64) -> bool,
        first: u64,
        values: &mut [f64],
    ) {
        let count = values.len();
        for paths in &mut self.paths {
            paths.price[..count].fill(gbm.spot);
            paths.hit[..count].fill(false);
        }
        self.walk(steps, first, count, |paths| {
            let mut all_hit = true;
            for (hit, price) in paths.hit[..count].iter_mut().zip(&paths.price) {
                *hit |= is_hit(*price);
                all_hit &= *hit;
            }
            // A path that is knocked out pays nothing wherever it goes.
            knock_in || !all_hit
        });
        let discount = self.discount;
        let value = |paths: &Paths, i: usize| {
            let payoff = if paths.hit[i] == knock_in { gbm.payoff(paths.price[i]) } else { 0.0 };
            discount * payoff
        };
        self.settle(values, value);
    }

    /// Walks every lane through all steps; `visit` sees the paths after each and says whether they still matter.
    fn walk(&mut self, steps: u32, first: u64, count: usize, mut visit: impl FnMut(&mut Paths) -> bool) {
        let Step { drift, vol } = self.step;
        let signs: &[f64] = if self.antithetic { &[1.0, -1.0] } else { &[1.0] };
        for block in 0..u64::from(steps.div_ceil(4)) {
            fill(&self.key, first, block, count, &mut self.words);
            for word in 0..(u64::from(steps) - 4 * block).min(4) as usize {
                self.draw(word, count);
                let mut matter = false;
                for (paths, sign) in self.paths.iter_mut().zip(signs) {
                    for (price, z) in paths.price[..count].iter_mut().zip(&self.normals) {
                        *price *= core_math::exp(drift + vol * (sign * z));
                    }
                    matter |= visit(paths);
                }
                if !matter {
                    return;
                }
            }
        }
    }

    fn settle(&self, values: &mut [f64], value: impl Fn(&Paths, usize) -> f64) {
        for (i, out) in values.iter_mut().enumerate() {
            *out = value(&self.paths[0], i);
            if self.antithetic {
                *out = (*out + value(&self.paths[1], i)) / 2.0;
            }
        }
    }
}
