//! The models `expr` and `integral`: an expression of draws, or of a point in a box.
//!
//! `u_i` takes word i of a sample; `z_i` takes word d + i, where d is the highest number of a `u` in the text plus one, or
//! 0 without any. `x_i = lower_i + (upper_i − lower_i)·u` of word i, and the value is the box's volume, multiplied up from
//! the first side on, times the expression.

use super::draws::Draws;
use super::expr::machine::Machine;
use super::expr::{Names, Program, Variable};
use super::model::{LANES, Lanes, Model};
use alloc::vec;
use alloc::vec::Vec;

/// Where a variable comes from.
#[derive(Clone, Copy, Debug)]
struct Input {
    word: u64,
    shape: Shape,
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    Uniform,
    Normal,
    Side { lower: f64, width: f64 },
}

/// The program of a model that has one; `None` for other models, and for text that is no expression of this model.
pub fn program(model: &Model) -> Option<Program> {
    let (text, names) = match model {
        Model::Expr { expression, constants } => (expression, Names::Draws(constants)),
        Model::Integral { expression, lower, .. } => (expression, Names::Box(u32::try_from(lower.len()).ok()?)),
        _ => return None,
    };
    Program::compile(text, names).ok()
}

/// The volume of a box, and its sides' widths in `widths`.
pub fn volume(lower: &[f64], upper: &[f64]) -> f64 {
    lower.iter().zip(upper).fold(1.0, |volume, (lower, upper)| volume * (upper - lower))
}

/// An expression that is evaluated on draws.
#[derive(Debug)]
pub struct Formula {
    inputs: Vec<Input>,
    /// The value is this times the expression.
    scale: f64,
    machine: Machine,
    /// As drawn, a list of lanes an input.
    drawn: Vec<Lanes>,
    /// As the machine takes them.
    taken: Vec<Lanes>,
}

impl Formula {
    /// `None` as [`program`].
    pub fn new(model: &Model) -> Option<Formula> {
        let program = program(model)?;
        let uniforms = program.variables().iter().filter_map(|v| match v {
            Variable::Uniform(i) => Some(u64::from(*i) + 1),
            _ => None,
        });
        let uniforms = uniforms.max().unwrap_or(0);
        let input = |variable: &Variable| match (*variable, model) {
            (Variable::Uniform(i), _) => Input { word: u64::from(i), shape: Shape::Uniform },
            (Variable::Normal(i), _) => Input { word: uniforms + u64::from(i), shape: Shape::Normal },
            (Variable::Coordinate(i), Model::Integral { lower, upper, .. }) => {
                let (lower, upper) = (lower[i as usize], upper[i as usize]);
                Input { word: u64::from(i), shape: Shape::Side { lower, width: upper - lower } }
            }
            (Variable::Coordinate(_), _) => unreachable!("only an integral has coordinates"),
        };
        let inputs: Vec<Input> = program.variables().iter().map(input).collect();
        let scale = match model {
            Model::Integral { lower, upper, .. } => volume(lower, upper),
            _ => 1.0,
        };
        let lanes = vec![[0.0; LANES]; inputs.len()];
        Some(Formula { inputs, scale, machine: Machine::new(program), drawn: lanes.clone(), taken: lanes })
    }

    /// The values of a batch.
    pub fn evaluate(&mut self, draws: &mut Draws, antithetic: bool, values: &mut [f64]) {
        for (input, drawn) in self.inputs.iter().zip(&mut self.drawn) {
            match input.shape {
                Shape::Normal => draws.normals(input.word, drawn),
                _ => draws.uniforms(input.word, drawn),
            }
        }
        self.once(false, values);
        if antithetic {
            let mut other = [0.0; LANES];
            let other = &mut other[..values.len()];
            self.once(true, other);
            for (value, other) in values.iter_mut().zip(other) {
                *value = (*value + *other) / 2.0;
            }
        }
    }

    fn once(&mut self, mirrored: bool, values: &mut [f64]) {
        for ((input, drawn), taken) in self.inputs.iter().zip(&self.drawn).zip(&mut self.taken) {
            let uniform = |u: f64| if mirrored { 1.0 - u } else { u };
            for (out, drawn) in taken[..values.len()].iter_mut().zip(drawn) {
                *out = match input.shape {
                    Shape::Uniform => uniform(*drawn),
                    Shape::Normal => {
                        if mirrored {
                            -*drawn
                        } else {
                            *drawn
                        }
                    }
                    Shape::Side { lower, width } => lower + width * uniform(*drawn),
                };
            }
        }
        self.machine.run(&self.taken, values);
        for value in values {
            *value *= self.scale;
        }
    }
}
