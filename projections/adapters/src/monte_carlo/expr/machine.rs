//! Code to values, a batch of lanes at a time.

use super::{Op, Program};
use crate::monte_carlo::model::{LANES, Lanes};
use alloc::vec;
use alloc::vec::Vec;

/// A program with its stack.
#[derive(Debug)]
pub struct Machine {
    program: Program,
    stack: Vec<Lanes>,
}

impl Machine {
    pub fn new(program: Program) -> Machine {
        Machine { stack: vec![[0.0; LANES]; program.stack], program }
    }

    /// Evaluates a batch.
    ///
    /// Shape: at most [`LANES`] values; `inputs` holds the lanes of each variable of the program, in their order.
    pub fn run(&mut self, inputs: &[Lanes], values: &mut [f64]) {
        let count = values.len();
        let mut height = 0;
        for op in &self.program.ops {
            // The result replaces the first of the operands.
            let place = height - op.takes();
            let (low, high) = self.stack.split_at_mut(place + 1);
            step(*op, &mut low[place][..count], high, inputs);
            height = place + 1;
        }
        values.copy_from_slice(&self.stack[0][..count]);
    }
}

fn step(op: Op, first: &mut [f64], more: &[Lanes], inputs: &[Lanes]) {
    match op {
        Op::Constant(number) => first.fill(number),
        Op::Variable(place) => first.copy_from_slice(&inputs[usize::from(place)][..first.len()]),
        Op::Negate => one(first, |x| -x),
        Op::Abs => one(first, f64::abs),
        Op::Exp => one(first, core_math::exp),
        Op::Ln => one(first, core_math::log),
        Op::Sqrt => one(first, libm::sqrt),
        Op::Sin => one(first, core_math::sin),
        Op::Cos => one(first, core_math::cos),
        Op::Tanh => one(first, core_math::tanh),
        Op::Power(exponent) => one(first, |x| power(x, exponent)),
        Op::Add => two(first, more, |a, b| a + b),
        Op::Subtract => two(first, more, |a, b| a - b),
        Op::Multiply => two(first, more, |a, b| a * b),
        Op::Divide => two(first, more, |a, b| a / b),
        Op::Pow => two(first, more, core_math::pow),
        Op::Min => two(first, more, least),
        Op::Max => two(first, more, |a, b| -least(-a, -b)),
        Op::Less => two(first, more, |a, b| truth(a < b)),
        Op::LessOrEqual => two(first, more, |a, b| truth(a <= b)),
        Op::Greater => two(first, more, |a, b| truth(a > b)),
        Op::GreaterOrEqual => two(first, more, |a, b| truth(a >= b)),
        Op::Equal => two(first, more, |a, b| truth(a == b)),
        Op::NotEqual => two(first, more, |a, b| truth(a != b)),
        Op::And => two(first, more, |a, b| a * b),
        Op::Or => two(first, more, either),
        Op::If => {
            for ((c, a), b) in first.iter_mut().zip(&more[0]).zip(&more[1]) {
                *c = if *c != 0.0 { *a } else { *b };
            }
        }
    }
}

#[inline]
fn one(lanes: &mut [f64], f: impl Fn(f64) -> f64) {
    for x in lanes {
        *x = f(*x);
    }
}

#[inline]
fn two(first: &mut [f64], more: &[Lanes], f: impl Fn(f64, f64) -> f64) {
    for (a, b) in first.iter_mut().zip(&more[0]) {
        *a = f(*a, *b);
    }
}

#[inline]
fn truth(holds: bool) -> f64 {
    if holds { 1.0 } else { 0.0 }
}

/// True if one of two truth values is.
#[inline]
fn either(a: f64, b: f64) -> f64 {
    if a != 0.0 { a } else { b }
}

/// NaN if either is; −0 lies below +0.
#[inline]
fn least(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        return f64::NAN;
    }
    if a < b || (a == b && a.is_sign_negative()) { a } else { b }
}

/// `base` to an integer power: squares of the base are multiplied in, lowest bit of the exponent's size first; a negative
/// exponent gives one over that. `x^0` is 1 for every x.
#[inline]
pub fn power(base: f64, exponent: i32) -> f64 {
    let mut left = exponent.unsigned_abs();
    let (mut result, mut square) = (1.0, base);
    while left > 0 {
        if left & 1 == 1 {
            result *= square;
        }
        left >>= 1;
        if left > 0 {
            square *= square;
        }
    }
    if exponent < 0 { 1.0 / result } else { result }
}
