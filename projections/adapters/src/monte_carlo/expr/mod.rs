//! The expression language of `integral` and `expr`: text to typed stack code to values, the same bits everywhere.
//!
//! Loosest first: `||`, `&&`, `== !=`, `< <= > >=`, `+ -`, `* /`, unary `-`, `^`. All of them group to the left, `^` to
//! the right, and unary minus is looser than `^`: `-2^2` is −4, `2^3^2` is 512, `2^-1` is 0.5. Numbers and truth values
//! are two types; comparisons take numbers, `&&` and `||` take truth values, `if(c, a, b)` takes one and two numbers.
//! Both branches of an `if` and both sides of `&&` and `||` are evaluated, which nothing can tell.
//!
//! `+ - * /` and `sqrt` are IEEE 754; `exp ln sin cos tanh pow` are correctly rounded. `min` and `max` give NaN if either
//! argument is NaN, and hold −0 below +0. `^` with an exponent that is a number, a named constant, or minus one of these,
//! and an integer of at most 2³¹ − 1 in size, is repeated squaring (`machine::power`); any other `^` is `pow`.

mod lexer;
pub mod machine;
mod parser;

use alloc::string::String;
use alloc::vec::Vec;

/// Longest text. Units: bytes.
pub const TEXT_BYTES_MAX: usize = 4096;
/// Deepest nesting of brackets, arguments, signs and right operands.
pub const DEPTH_MAX: u32 = 64;
/// Most operations, constants and variables of the code.
pub const OPS_MAX: usize = 1024;
/// Uniforms, normals and dimensions are numbered below this.
pub const VARIABLES_MAX: u32 = 1024;
/// Most named constants.
pub const CONSTANTS_MAX: usize = 256;
/// Longest name of a constant. Units: bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// A function's name and how many arguments it takes.
const FUNCTIONS: [(&str, usize); 11] = [
    ("min", 2),
    ("max", 2),
    ("abs", 1),
    ("exp", 1),
    ("ln", 1),
    ("sqrt", 1),
    ("sin", 1),
    ("cos", 1),
    ("tanh", 1),
    ("pow", 2),
    ("if", 3),
];

/// What is drawn for a variable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Variable {
    /// `u0`, `u1`, …: in (0, 1).
    Uniform(u32),
    /// `z0`, `z1`, …: standard normal.
    Normal(u32),
    /// `x0`, `x1`, …: a coordinate of a point in the box.
    Coordinate(u32),
}

/// The names that an expression may use besides functions.
#[derive(Clone, Copy, Debug)]
pub enum Names<'a> {
    /// `u0`.., `z0`.. and these constants.
    Draws(&'a [(String, f64)]),
    /// `x0`.. of a box with so many dimensions.
    Box(u32),
}

/// Why a text is no expression.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExprFault {
    /// Where, counted in characters from 1.
    pub position: usize,
    /// `bad-expression`, `unknown-name` or `expression-too-large`.
    pub code: &'static str,
    /// What is wrong, without the position.
    pub detail: String,
    /// What to do; empty if there is nothing to say.
    pub fix: String,
}

/// One operation on the stack. Truth values are 1 and 0 there.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Op {
    Constant(f64),
    /// The place of a variable in [`Program::variables`].
    Variable(u16),
    Negate,
    Abs,
    Exp,
    Ln,
    Sqrt,
    Sin,
    Cos,
    Tanh,
    /// An integer power by repeated squaring.
    Power(i32),
    Add,
    Subtract,
    Multiply,
    Divide,
    Pow,
    Min,
    Max,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
    And,
    Or,
    If,
}

impl Op {
    /// Values taken from the stack; each operation leaves one.
    fn takes(self) -> usize {
        match self {
            Op::Constant(_) | Op::Variable(_) => 0,
            Op::Negate | Op::Abs | Op::Exp | Op::Ln | Op::Sqrt | Op::Sin | Op::Cos | Op::Tanh | Op::Power(_) => 1,
            Op::If => 3,
            _ => 2,
        }
    }

    /// Estimated time for one value. Units: tenths of a nanosecond.
    fn cost(self) -> u64 {
        match self {
            Op::Exp => 65,
            Op::Ln => 75,
            Op::Sin | Op::Cos => 185,
            Op::Tanh => 260,
            Op::Pow => 380,
            Op::Sqrt => 32,
            Op::Power(n) => 10 + 6 * u64::from(32 - n.unsigned_abs().leading_zeros()),
            Op::Min | Op::Max => 15,
            Op::Divide => 9,
            _ => 3,
        }
    }
}

/// An expression ready to be evaluated.
///
/// Invariant: the code is well typed, leaves one number, and never holds more than `stack` values.
#[derive(Clone, PartialEq, Debug)]
pub struct Program {
    ops: Vec<Op>,
    variables: Vec<Variable>,
    stack: usize,
}

impl Program {
    /// Reads a text.
    ///
    /// # Errors
    /// The first fault.
    pub fn compile(text: &str, names: Names<'_>) -> Result<Program, ExprFault> {
        let (ops, variables) = parser::parse(text, names)?;
        let (mut height, mut stack) = (0, 0);
        for op in &ops {
            height = height + 1 - op.takes();
            stack = stack.max(height);
        }
        assert_eq!(height, 1, "an expression leaves one value");
        Ok(Program { ops, variables, stack })
    }

    /// The variables it uses, in the order met.
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// Estimated time of one value, without its draws. Units: nanoseconds.
    pub fn cost_ns(&self) -> u64 {
        self.ops.iter().map(|op| op.cost()).sum::<u64>().div_ceil(10)
    }
}

/// Whether a constant may have this name; if not, why not.
///
/// # Errors
/// A sentence for the client.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    let word = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !word || name.is_empty() || name.as_bytes()[0].is_ascii_digit() {
        return Err("a constant's name is a letter or `_`, then letters, digits and `_`");
    }
    if name.len() > NAME_BYTES_MAX {
        return Err("a constant's name has at most 64 bytes");
    }
    if FUNCTIONS.iter().any(|(function, _)| *function == name) {
        return Err("this is the name of a function");
    }
    if parser::numbered(name, "u").is_some() || parser::numbered(name, "z").is_some() {
        return Err("`u` and `z` with a number are the draws");
    }
    Ok(())
}
