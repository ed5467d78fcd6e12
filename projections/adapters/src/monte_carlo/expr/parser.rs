//! Tokens to code: operator precedence after Pratt, without a tree in between.
//!
//! Source: V. R. Pratt, "Top down operator precedence", POPL 1973.

use super::lexer::{Lexer, Token};
use super::{DEPTH_MAX, ExprFault, FUNCTIONS, Names, OPS_MAX, Op, TEXT_BYTES_MAX, VARIABLES_MAX, Variable};
use crate::faults::{nearest, shown};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Type {
    Number,
    Truth,
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Type::Number => "a number",
            Type::Truth => "a truth value",
        }
    }
}

/// How an operator binds: it takes what is on its left if `left` is enough, and its right operand binds by `right`.
#[derive(Clone, Copy, Debug)]
struct Infix {
    symbol: &'static str,
    left: u8,
    right: u8,
    op: Op,
    takes: Type,
    gives: Type,
}

/// Looser than `^`, tighter than `*`.
const MINUS_BINDS: u8 = 13;

const fn infix(symbol: &'static str, left: u8, right: u8, op: Op, takes: Type, gives: Type) -> Infix {
    Infix { symbol, left, right, op, takes, gives }
}

const INFIX: [Infix; 13] = [
    infix("||", 1, 2, Op::Or, Type::Truth, Type::Truth),
    infix("&&", 3, 4, Op::And, Type::Truth, Type::Truth),
    infix("==", 5, 6, Op::Equal, Type::Number, Type::Truth),
    infix("!=", 5, 6, Op::NotEqual, Type::Number, Type::Truth),
    infix("<", 7, 8, Op::Less, Type::Number, Type::Truth),
    infix("<=", 7, 8, Op::LessOrEqual, Type::Number, Type::Truth),
    infix(">", 7, 8, Op::Greater, Type::Number, Type::Truth),
    infix(">=", 7, 8, Op::GreaterOrEqual, Type::Number, Type::Truth),
    infix("+", 9, 10, Op::Add, Type::Number, Type::Number),
    infix("-", 9, 10, Op::Subtract, Type::Number, Type::Number),
    infix("*", 11, 12, Op::Multiply, Type::Number, Type::Number),
    infix("/", 11, 12, Op::Divide, Type::Number, Type::Number),
    infix("^", 16, 15, Op::Pow, Type::Number, Type::Number),
];

/// The number of `u7` or the like; `None` for anything else, also `u07`.
pub(super) fn numbered(name: &str, letter: &str) -> Option<u64> {
    let digits = name.strip_prefix(letter)?;
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let canonical = plain && (digits == "0" || !digits.starts_with('0'));
    // A number too long to read is still a variable's, only too large.
    canonical.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Code, and the variables it uses.
pub(super) fn parse(text: &str, names: Names<'_>) -> Result<(Vec<Op>, Vec<Variable>), ExprFault> {
    let mut lexer = Lexer::new(text);
    if text.len() > TEXT_BYTES_MAX {
        let detail = format!("the text has {} bytes; at most {TEXT_BYTES_MAX} are taken", text.len());
        return Err(lexer.fault_of("expression-too-large", 0, detail, "shorten it"));
    }
    let (next, at) = lexer.next()?;
    let mut parser = Parser { lexer, next, at, names, ops: Vec::new(), variables: Vec::new(), depth: 0 };
    let found = parser.expression(0)?;
    if parser.next != Token::End {
        let detail = format!("an operator or the end is expected before {}", parser.shown());
        return Err(parser.fault(&detail, if parser.next == Token::Symbol(")") { "a `(` is missing" } else { "" }));
    }
    if found == Type::Truth {
        let detail = "the whole is a truth value; a sample's value is a number".into();
        return Err(parser.lexer.fault(0, detail, "write if(…, 1, 0)"));
    }
    Ok((parser.ops, parser.variables))
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    next: Token<'a>,
    /// The byte where `next` begins.
    at: usize,
    names: Names<'a>,
    ops: Vec<Op>,
    variables: Vec<Variable>,
    depth: u32,
}

impl<'a> Parser<'a> {
    /// Reads as much as binds by `least` or tighter.
    fn expression(&mut self, least: u8) -> Result<Type, ExprFault> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.too_large(format!("it is nested more than {DEPTH_MAX} deep here")));
        }
        let mut left = self.operand()?;
        while let Token::Symbol(symbol) = self.next {
            let Some(infix) = INFIX.iter().find(|i| i.symbol == symbol && i.left >= least) else { break };
            let at = self.at;
            self.expect_type(infix.takes, left, &format!("left of `{symbol}`"), at)?;
            self.advance()?;
            let (start, right_at) = (self.ops.len(), self.at);
            let right = self.expression(infix.right)?;
            self.expect_type(infix.takes, right, &format!("right of `{symbol}`"), right_at)?;
            match self.literal_power(start).filter(|_| infix.op == Op::Pow) {
                Some(power) => {
                    self.ops.truncate(start);
                    self.emit(Op::Power(power))?;
                }
                None => self.emit(infix.op)?,
            }
            left = infix.gives;
        }
        self.depth -= 1;
        Ok(left)
    }

    /// The exponent that the code from `start` on is, if it is a small integer written out.
    fn literal_power(&self, start: usize) -> Option<i32> {
        let exponent = match self.ops[start..] {
            [Op::Constant(number)] => number,
            [Op::Constant(number), Op::Negate] => -number,
            _ => return None,
        };
        // The least i32 has no size that is one.
        let small = exponent.abs() <= f64::from(i32::MAX);
        (small && f64::from(exponent as i32) == exponent).then_some(exponent as i32)
    }

    fn operand(&mut self) -> Result<Type, ExprFault> {
        match self.next {
            Token::Number(number) => {
                self.emit(Op::Constant(number))?;
                self.advance()?;
                Ok(Type::Number)
            }
            Token::Name(name) => {
                let at = self.at;
                self.advance()?;
                if self.next == Token::Symbol("(") { self.call(name, at) } else { self.value(name, at) }
            }
            Token::Symbol("(") => {
                self.advance()?;
                let inner = self.expression(0)?;
                self.close()?;
                Ok(inner)
            }
            Token::Symbol("-") => {
                self.advance()?;
                let at = self.at;
                let inner = self.expression(MINUS_BINDS)?;
                self.expect_type(Type::Number, inner, "behind `-`", at)?;
                self.emit(Op::Negate)?;
                Ok(Type::Number)
            }
            Token::Symbol("+") => Err(self.fault("an operand is expected before `+`", "leave out a leading `+`")),
            _ => Err(self.fault(&format!("an operand is expected before {}", self.shown()), "")),
        }
    }

    /// A function's call; `next` is its `(`.
    fn call(&mut self, name: &'a str, at: usize) -> Result<Type, ExprFault> {
        let Some((_, takes)) = FUNCTIONS.iter().find(|(function, _)| *function == name) else {
            let functions = FUNCTIONS.map(|(function, _)| function);
            let fix = match (name, nearest(name, &functions)) {
                ("log", _) => "did you mean `ln`?".into(),
                (_, Some(near)) => format!("did you mean `{near}`?"),
                (_, None) => format!("the functions are: {}", functions.join(", ")),
            };
            let detail = format!("there is no function `{}`", shown(name));
            return Err(self.lexer.fault_of("unknown-name", at, detail, &fix));
        };
        self.advance()?;
        for i in 0..*takes {
            let argument_at = self.at;
            if self.next == Token::Symbol(")") {
                return Err(self.fault(&format!("`{name}` takes {takes} arguments, there are {i}"), ""));
            }
            let found = self.expression(0)?;
            let wanted = if name == "if" && i == 0 { Type::Truth } else { Type::Number };
            self.expect_type(wanted, found, &format!("as argument {} of `{name}`", i + 1), argument_at)?;
            if i + 1 < *takes && self.next == Token::Symbol(",") {
                self.advance()?;
            } else if i + 1 < *takes && self.next != Token::Symbol(")") {
                return Err(self.fault(&format!("`,` is expected before {}", self.shown()), ""));
            }
        }
        if self.next == Token::Symbol(",") {
            return Err(self.fault(&format!("`{name}` takes no more than {takes} arguments"), ""));
        }
        self.close()?;
        self.emit(match name {
            "min" => Op::Min,
            "max" => Op::Max,
            "abs" => Op::Abs,
            "exp" => Op::Exp,
            "ln" => Op::Ln,
            "sqrt" => Op::Sqrt,
            "sin" => Op::Sin,
            "cos" => Op::Cos,
            "tanh" => Op::Tanh,
            "pow" => Op::Pow,
            _ => Op::If,
        })?;
        Ok(Type::Number)
    }

    /// A variable or a constant.
    fn value(&mut self, name: &'a str, at: usize) -> Result<Type, ExprFault> {
        let (variable, limit) = match self.names {
            Names::Draws(constants) => {
                if let Some((_, number)) = constants.iter().find(|(constant, _)| constant == name) {
                    self.emit(Op::Constant(*number))?;
                    return Ok(Type::Number);
                }
                let uniform = numbered(name, "u").map(|i| (i, Variable::Uniform as fn(u32) -> Variable));
                (uniform.or_else(|| numbered(name, "z").map(|i| (i, Variable::Normal as _))), VARIABLES_MAX)
            }
            Names::Box(dimensions) => (numbered(name, "x").map(|i| (i, Variable::Coordinate as _)), dimensions),
        };
        let Some((number, variable)) = variable else { return Err(self.unknown(name, at)) };
        if number >= u64::from(limit) {
            let letter = &name[..1];
            let detail = format!("there is no variable `{}` here", shown(name));
            let fix = format!("the last one is {letter}{}", limit - 1);
            return Err(self.lexer.fault_of("unknown-name", at, detail, &fix));
        }
        let variable = variable(number as u32);
        let place = self.variables.iter().position(|known| *known == variable).unwrap_or(self.variables.len());
        if place == self.variables.len() {
            self.variables.push(variable);
        }
        self.emit(Op::Variable(place as u16))?;
        Ok(Type::Number)
    }

    fn unknown(&self, name: &str, at: usize) -> ExprFault {
        if FUNCTIONS.iter().any(|(function, _)| *function == name) {
            return self.lexer.fault(at, format!("`{name}` is a function"), &format!("write {name}(…)"));
        }
        let (variables, mut candidates): (&str, Vec<&str>) = match self.names {
            Names::Draws(constants) => {
                let names = constants.iter().map(|(constant, _)| constant.as_str());
                ("u0, u1, … (uniform), z0, z1, … (normal) and the names in `constants`", names.collect())
            }
            Names::Box(_) => ("x0, x1, …, one a dimension of the box", Vec::new()),
        };
        candidates.extend(FUNCTIONS.map(|(function, _)| function));
        let fix = match nearest(name, &candidates) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the variables here are {variables}"),
        };
        self.lexer.fault_of("unknown-name", at, format!("there is no name `{}` here", shown(name)), &fix)
    }

    fn emit(&mut self, op: Op) -> Result<(), ExprFault> {
        if self.ops.len() >= OPS_MAX {
            return Err(self.too_large(format!("it has more than {OPS_MAX} operations, numbers and variables")));
        }
        self.ops.push(op);
        Ok(())
    }

    fn advance(&mut self) -> Result<(), ExprFault> {
        (self.next, self.at) = self.lexer.next()?;
        Ok(())
    }

    fn close(&mut self) -> Result<(), ExprFault> {
        if self.next != Token::Symbol(")") {
            return Err(self.fault(&format!("`)` is expected before {}", self.shown()), ""));
        }
        self.advance()
    }

    fn expect_type(&self, wanted: Type, found: Type, place: &str, at: usize) -> Result<(), ExprFault> {
        if wanted == found {
            return Ok(());
        }
        let fix = match wanted {
            Type::Number => "comparisons do not chain: write a < b && b < c, or if(c, 1, 0) for a number",
            Type::Truth => "compare it with something, as in x > 0",
        };
        Err(self.lexer.fault(at, format!("{} is needed {place}, this is {}", wanted.name(), found.name()), fix))
    }

    fn shown(&self) -> String {
        match self.next {
            Token::End => "the end".into(),
            Token::Symbol(symbol) => format!("`{symbol}`"),
            Token::Name(name) => format!("`{}`", shown(name)),
            Token::Number(number) => format!("{number:?}"),
        }
    }

    fn fault(&self, detail: &str, fix: &str) -> ExprFault {
        self.lexer.fault(self.at, detail.into(), fix)
    }

    fn too_large(&self, detail: String) -> ExprFault {
        self.lexer.fault_of("expression-too-large", self.at, detail, "shorten it")
    }
}
