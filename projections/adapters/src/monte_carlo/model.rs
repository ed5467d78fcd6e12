//! The models: what a sample's value is, as a pure function of (model, seed, stream, sample).
//!
//! The order of every operation is part of the contract (api.md §7.3, and the files of the models); vector or scalar, the
//! bits are the same.

use super::bootstrap::Resample;
use super::draws::Draws;
use super::expr::{self, Program};
use super::formula::{self, Formula};
use super::heston::{Heston, Walk};
use super::paths::Paths;
use super::portfolio::{self, Portfolio};
use super::spec::STEPS_MAX;
use alloc::string::String;
use alloc::vec::Vec;
use forge_event::Digest;
use serde::{Deserialize, Serialize};

/// Samples evaluated side by side.
pub const LANES: usize = 256;

/// One number of each sample of a batch.
pub type Lanes = [f64; LANES];

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

impl Gbm {
    /// What a payment at maturity is worth at the start.
    pub(super) fn discount(&self) -> f64 {
        core_math::exp(-self.rate * self.maturity)
    }

    #[inline]
    pub(super) fn payoff(&self, price: f64) -> f64 {
        let gain = if self.call { price - self.strike } else { self.strike - price };
        // Keeps NaN, and gives +0 for what is not in the money.
        if gain <= 0.0 { 0.0 } else { gain }
    }
}

/// A model with its parameters.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Model {
    Pi,
    European(Gbm),
    Asian {
        gbm: Gbm,
        steps: u32,
        geometric: bool,
    },
    Barrier {
        gbm: Gbm,
        steps: u32,
        barrier: f64,
        up: bool,
        knock_in: bool,
    },
    /// An expression of a point in a box, times the box's volume.
    Integral {
        expression: String,
        lower: Vec<f64>,
        upper: Vec<f64>,
    },
    /// An expression of uniforms, normals and named constants, these by name.
    Expr {
        expression: String,
        constants: Vec<(String, f64)>,
    },
    Heston(Heston),
    PortfolioVar {
        weights: Vec<f64>,
        mean: Vec<f64>,
        /// Lower triangle, row by row.
        covariance: Vec<f64>,
    },
    /// A statistic of a column drawn again.
    Bootstrap {
        column: Digest,
        median: bool,
    },
}

impl Model {
    /// Monitoring steps of a path; 1 for models without paths.
    pub fn steps(&self) -> u32 {
        match self {
            Model::Asian { steps, .. } | Model::Barrier { steps, .. } => *steps,
            Model::Heston(heston) => heston.steps,
            _ => 1,
        }
    }

    /// The market, if the model has one of constant volatility.
    pub fn gbm(&self) -> Option<&Gbm> {
        match self {
            Model::European(gbm) | Model::Asian { gbm, .. } | Model::Barrier { gbm, .. } => Some(gbm),
            _ => None,
        }
    }

    /// The compiled expression, if the model has one.
    pub fn program(&self) -> Option<Program> {
        formula::program(self)
    }

    /// The blob that it draws from.
    pub fn column(&self) -> Option<&Digest> {
        match self {
            Model::Bootstrap { column, .. } => Some(column),
            _ => None,
        }
    }

    /// True if no sample's value can be below zero.
    pub fn is_payoff(&self) -> bool {
        self.gbm().is_some() || matches!(self, Model::Pi | Model::Heston(_))
    }

    /// Whether a kernel can run it: what [`super::spec::Spec::read`] makes sure of, for bytes that come from elsewhere.
    pub fn is_sound(&self) -> bool {
        match self {
            Model::Expr { .. } => self.program().is_some(),
            Model::Integral { lower, upper, .. } => {
                (1..=expr::VARIABLES_MAX as usize).contains(&lower.len())
                    && lower.len() == upper.len()
                    && self.program().is_some()
            }
            Model::PortfolioVar { weights, mean, covariance } => {
                let count = weights.len();
                (1..=portfolio::ASSETS_MAX).contains(&count)
                    && mean.len() == count
                    && covariance.len() == portfolio::place(count, 0)
                    && portfolio::factor(covariance, count).is_ok()
            }
            _ => (1..=STEPS_MAX).contains(&u64::from(self.steps())),
        }
    }
}

/// What a family of models needs between batches.
#[derive(Debug)]
enum Engine {
    Paths(Paths),
    Formula(Formula),
    Heston(Walk),
    Portfolio(Portfolio),
    Resample(Resample),
}

/// A model ready to be evaluated.
#[derive(Debug)]
pub struct Evaluator {
    engine: Engine,
    draws: Draws,
    antithetic: bool,
}

impl Evaluator {
    /// For a sound model without a column.
    pub fn new(model: Model, seed: u64, stream: u64, antithetic: bool) -> Self {
        Evaluator::over(Vec::new(), model, seed, stream, antithetic)
    }

    /// For any sound model; `column` holds the values of [`Model::column`].
    ///
    /// # Panics
    /// If the model is not sound, or its column is empty.
    pub fn over(column: Vec<f64>, model: Model, seed: u64, stream: u64, antithetic: bool) -> Self {
        let engine = match &model {
            Model::Integral { .. } | Model::Expr { .. } => {
                Engine::Formula(Formula::new(&model).expect("a sound model's expression compiles"))
            }
            Model::Heston(heston) => Engine::Heston(Walk::new(*heston)),
            Model::PortfolioVar { weights, mean, covariance } => {
                let portfolio = Portfolio::new(weights, mean, covariance);
                Engine::Portfolio(portfolio.expect("a sound model's covariance has a factor"))
            }
            Model::Bootstrap { median, .. } => Engine::Resample(Resample::new(seed, stream, column, *median)),
            _ => Engine::Paths(Paths::new(model, seed, stream, antithetic)),
        };
        Evaluator { engine, draws: Draws::new(seed, stream), antithetic }
    }

    /// The values of samples `first`, `first + 1`, …. Shape: at most [`LANES`].
    pub fn evaluate(&mut self, first: u64, values: &mut [f64]) {
        assert!(values.len() <= LANES, "a batch fits the lanes");
        let Evaluator { engine, draws, antithetic } = self;
        draws.turn_to(first, values.len());
        match engine {
            Engine::Paths(paths) => paths.evaluate(first, values),
            Engine::Formula(formula) => formula.evaluate(draws, *antithetic, values),
            Engine::Heston(walk) => walk.evaluate(draws, *antithetic, values),
            Engine::Portfolio(portfolio) => portfolio.evaluate(draws, *antithetic, values),
            Engine::Resample(resample) => resample.evaluate(first, values),
        }
    }
}
