//! The models `pi`, `european`, `asian` and `barrier`: plain draws, and paths under geometric Brownian motion.
//!
//! One normal a step, in time order; the order of every operation is that of api.md §7.3.

use super::as241::normals;
use super::model::{Gbm, LANES, Lanes, Model};
use super::philox::{Key, fill, uniform};

/// The constants of a step.
#[derive(Clone, Copy, Debug)]
struct Step {
    drift: f64,
    vol: f64,
}

impl Step {
    fn new(gbm: &Gbm, steps: u32) -> Step {
        let (r, q, v) = (gbm.rate, gbm.dividend_yield, gbm.volatility);
        let dt = gbm.maturity / f64::from(steps);
        Step { drift: (r - q - 0.5 * v * v) * dt, vol: v * libm::sqrt(dt) }
    }
}

/// A path of each lane, one sign of its normals.
#[derive(Debug)]
struct Batch {
    price: Lanes,
    /// Sum of prices, or of their logarithms.
    sum: Lanes,
    hit: [bool; LANES],
}

/// A model with its scratch memory.
#[derive(Debug)]
pub struct Paths {
    model: Model,
    key: Key,
    antithetic: bool,
    step: Step,
    discount: f64,
    /// A block's words, then the uniforms and normals of one of them.
    words: [[u64; LANES]; 4],
    normals: Lanes,
    paths: [Batch; 2],
}

impl Paths {
    /// `model` is one of those of this file.
    pub fn new(model: Model, seed: u64, stream: u64, antithetic: bool) -> Self {
        let (step, discount) = match model.gbm() {
            Some(gbm) => (Step::new(gbm, model.steps()), gbm.discount()),
            None => (Step { drift: 0.0, vol: 0.0 }, 1.0),
        };
        let paths = || Batch { price: [0.0; LANES], sum: [0.0; LANES], hit: [false; LANES] };
        let (words, normals) = ([[0; LANES]; 4], [0.0; LANES]);
        let key = Key::new(seed, stream);
        Paths { model, key, antithetic, step, discount, words, normals, paths: [paths(), paths()] }
    }

    /// The values of a batch.
    pub fn evaluate(&mut self, first: u64, values: &mut [f64]) {
        match self.model {
            Model::European(gbm) => self.european(gbm, first, values),
            Model::Asian { gbm, steps, geometric } => self.asian(gbm, steps, geometric, first, values),
            Model::Barrier { gbm, steps, barrier, up, knock_in } => {
                let hit = move |price: f64| if up { price >= barrier } else { price <= barrier };
                self.barrier(gbm, steps, knock_in, hit, first, values);
            }
            _ => self.pi(first, values),
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
        let value = |paths: &Batch, i: usize| {
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
        let value = |paths: &Batch, i: usize| {
            let payoff = if paths.hit[i] == knock_in { gbm.payoff(paths.price[i]) } else { 0.0 };
            discount * payoff
        };
        self.settle(values, value);
    }

    /// Walks every lane through all steps; `visit` sees the paths after each and says whether they still matter.
    fn walk(&mut self, steps: u32, first: u64, count: usize, mut visit: impl FnMut(&mut Batch) -> bool) {
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

    fn settle(&self, values: &mut [f64], value: impl Fn(&Batch, usize) -> f64) {
        for (i, out) in values.iter_mut().enumerate() {
            *out = value(&self.paths[0], i);
            if self.antithetic {
                *out = (*out + value(&self.paths[1], i)) / 2.0;
            }
        }
    }
}
