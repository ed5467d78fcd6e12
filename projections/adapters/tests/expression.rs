//! The expression language against an evaluator and a printer of its own, and against whatever text comes.

use forge_adapters::monte_carlo::expr::machine::Machine;
use forge_adapters::monte_carlo::expr::{DEPTH_MAX, ExprFault, Names, OPS_MAX, Program, TEXT_BYTES_MAX, Variable};
use forge_adapters::monte_carlo::model::LANES;
use proptest::prelude::*;

/// What variables and constants stand for in these tests.
const UNIFORM: f64 = 0.3;
const NORMAL: f64 = -1.7;
const HALF: f64 = 0.5;
const FOUR: f64 = 4.0;

fn compile(text: &str) -> Result<Program, ExprFault> {
    Program::compile(text, Names::Draws(&[("half".into(), HALF), ("four".into(), FOUR)]))
}

fn value(text: &str) -> f64 {
    let program = compile(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
    let number = |variable: &Variable| match variable {
        Variable::Uniform(i) => UNIFORM + f64::from(*i),
        Variable::Normal(i) => NORMAL + f64::from(*i),
        Variable::Coordinate(_) => panic!("there is no box here"),
    };
    let inputs: Vec<[f64; LANES]> = program.variables().iter().map(|v| [number(v); LANES]).collect();
    let mut values = [0.0; 3];
    Machine::new(program).run(&inputs, &mut values);
    assert!(values.iter().all(|v| v.to_bits() == values[0].to_bits()), "equal lanes are equal: {text}");
    values[0]
}

fn fault(text: &str) -> (usize, &'static str, String) {
    let fault = compile(text).expect_err(text);
    (fault.position, fault.code, fault.fix)
}

#[test]
fn precedence_is_as_documented() {
    for (text, expected) in [
        ("-2^2", -4.0),
        ("(-2)^2", 4.0),
        ("2^3^2", 512.0),
        ("2^-1", 0.5),
        ("2^-1*4", 2.0),
        ("-2*3", -6.0),
        ("1-2-3", -4.0),
        ("8/4/2", 1.0),
        ("2+3*4^2", 50.0),
        ("if(1 < 2 && 3 >= 4 || 5 != 5, 1, 2)", 2.0),
        ("if(1 < 2 || 3 >= 4 && 5 != 5, 1, 2)", 1.0),
        ("if(1 + 1 == 2, 1, 2)", 1.0),
        ("--2", 2.0),
        (" 1.5e1\n+ .5 + 2. ", 17.5),
        ("four^half", 2.0),
        ("half^four", 0.0625),
        ("pow(2, 0.5)^2", core_math::pow(core_math::pow(2.0, 0.5), 2.0)),
        ("max(min(3, 4), 2) + abs(-1)", 4.0),
        ("sqrt(2) + exp(1) * ln(10)", 2f64.sqrt() + core_math::exp(1.0) * core_math::log(10.0)),
        ("sin(1) - cos(1) / tanh(1)", core_math::sin(1.0) - core_math::cos(1.0) / core_math::tanh(1.0)),
        ("u0 + u7 * z1", UNIFORM + (UNIFORM + 7.0) * (NORMAL + 1.0)),
    ] {
        assert_eq!(value(text).to_bits(), expected.to_bits(), "{text}: {}", value(text));
    }
}

#[test]
fn the_ends_of_the_numbers_behave_as_documented() {
    let nan = "(0/0)";
    assert_eq!(value("1/0"), f64::INFINITY);
    assert!(value(&format!("min({nan}, 1)")).is_nan() && value(&format!("max(1, {nan})")).is_nan());
    assert_eq!(value(&format!("if({nan} == {nan}, 1, 2)")), 2.0);
    assert_eq!(value(&format!("if({nan} != {nan}, 1, 2)")), 1.0);
    assert_eq!(value(&format!("{nan}^0")), 1.0);
    assert_eq!(value("min(0, -0)").to_bits(), (-0.0f64).to_bits());
    assert_eq!(value("max(-0, 0)").to_bits(), 0.0f64.to_bits());
    // What is not taken does not matter, though it is evaluated.
    assert_eq!(value("if(u0 > 0, 1, ln(-1))"), 1.0);
    assert!(value("sqrt(-1)").is_nan() && value("ln(-1)").is_nan());
}

#[test]
fn an_integer_exponent_is_repeated_squaring_and_others_are_not() {
    let x = 1.0 + UNIFORM / 3.0;
    let squared = x * x;
    assert_eq!(value("(1 + u0/3)^5"), (1.0 * x) * (squared * squared));
    assert_eq!(value("(1 + u0/3)^-2"), 1.0 / squared);
    assert_eq!(value("(1 + u0/3)^four"), squared * squared);
    assert_eq!(value("(1 + u0/3)^(2 + 3)"), core_math::pow(x, 5.0));
    assert_eq!(value("pow(1 + u0/3, 5)"), core_math::pow(x, 5.0));
    assert_eq!(value("(1 + u0/3)^2147483648"), core_math::pow(x, 2147483648.0));
}

#[test]
fn a_fault_says_where_and_what_to_do() {
    for (text, position, code, fix) in [
        ("", 1, "bad-expression", ""),
        ("1 +", 4, "bad-expression", ""),
        ("1 + )", 5, "bad-expression", ""),
        ("(1 + 2", 7, "bad-expression", ""),
        ("1 2", 3, "bad-expression", ""),
        ("1)", 2, "bad-expression", "a `(` is missing"),
        ("2**3", 2, "bad-expression", "write `^`"),
        ("if(u0 = 1, 1, 2)", 7, "bad-expression", "write `==`"),
        ("+1", 1, "bad-expression", "leave out a leading `+`"),
        ("1e", 1, "bad-expression", "write 1e-3"),
        ("1e999", 1, "bad-expression", ""),
        (".", 1, "bad-expression", ""),
        ("2u0", 2, "bad-expression", "put an operator or a space between them"),
        ("1 + ü", 5, "bad-expression", ""),
        ("exp + 1", 1, "bad-expression", "write exp(…)"),
        ("max(1)", 6, "bad-expression", ""),
        ("max(1, 2, 3)", 9, "bad-expression", ""),
        ("u0 < 1", 1, "bad-expression", "write if(…, 1, 0)"),
        ("if(u0, 1, 2)", 4, "bad-expression", "compare it with something, as in x > 0"),
        ("if(1 < u0 < 2, 1, 2)", 11, "bad-expression", CHAIN),
        ("1 + (u0 < 2)", 5, "bad-expression", CHAIN),
        ("log(u0)", 1, "unknown-name", "did you mean `ln`?"),
        ("1 + sqr(u0)", 5, "unknown-name", "did you mean `sqrt`?"),
        ("haf", 1, "unknown-name", "did you mean `half`?"),
        ("2*u1024", 3, "unknown-name", "the last one is u1023"),
        ("z99999999999999999999999", 1, "unknown-name", "the last one is z1023"),
    ] {
        assert_eq!(fault(text), (position, code, fix.to_string()), "{text}: {:?}", compile(text));
    }
    assert!(fault("x0 + u01").2.starts_with("the variables here are u0"));
    let in_box = Program::compile("x0 + x2", Names::Box(2)).expect_err("two dimensions");
    assert_eq!((in_box.position, in_box.fix.as_str()), (6, "the last one is x1"));
    assert_eq!(Program::compile("u0", Names::Box(2)).expect_err("no draws").code, "unknown-name");
}

const CHAIN: &str = "comparisons do not chain: write a < b && b < c, or if(c, 1, 0) for a number";

#[test]
fn every_limit_is_kept_and_can_be_reached() {
    let nested = |depth: usize| "(".repeat(depth) + "1" + &")".repeat(depth);
    let deepest = DEPTH_MAX as usize - 1;
    assert_eq!(value(&nested(deepest)), 1.0);
    assert_eq!(fault(&nested(deepest + 1)).1, "expression-too-large");
    assert_eq!(fault(&nested(2000)).1, "expression-too-large");
    assert_eq!(fault(&("-".repeat(4000) + "1")).1, "expression-too-large");
    let sum = |terms: usize| vec!["1"; terms].join("+");
    assert_eq!(value(&sum(OPS_MAX / 2)), 512.0);
    assert_eq!(fault(&sum(OPS_MAX / 2 + 1)).1, "expression-too-large");
    let padded = |bytes: usize| " ".repeat(bytes - 1) + "1";
    assert_eq!(value(&padded(TEXT_BYTES_MAX)), 1.0);
    assert_eq!(fault(&padded(TEXT_BYTES_MAX + 1)).1, "expression-too-large");
    // Right operands that wait make the stack deep.
    let chain = "1+(1*(".repeat(15) + "1" + &"))".repeat(15);
    assert_eq!(value(&chain), 16.0);
}

/// An expression as a tree.
#[derive(Clone, Debug)]
enum Tree {
    Number(f64),
    Name(&'static str),
    Negate(Box<Tree>),
    Call(&'static str, Vec<Tree>),
    Infix(&'static str, Box<Tree>, Box<Tree>),
}

/// How tightly a tree's outermost operator binds, from the documentation.
fn level(tree: &Tree) -> u32 {
    match tree {
        Tree::Infix("||", ..) => 1,
        Tree::Infix("&&", ..) => 2,
        Tree::Infix("==" | "!=", ..) => 3,
        Tree::Infix("<" | "<=" | ">" | ">=", ..) => 4,
        Tree::Infix("+" | "-", ..) => 5,
        Tree::Infix("*" | "/", ..) => 6,
        Tree::Negate(_) => 7,
        Tree::Infix(..) => 8,
        _ => 9,
    }
}

/// The text with the fewest brackets, or with all of them.
fn print(tree: &Tree, all: bool) -> String {
    let part = |tree: &Tree, least: u32| {
        let text = print(tree, all);
        if level(tree) < least || (all && level(tree) < 9) { format!("({text})") } else { text }
    };
    match tree {
        Tree::Number(number) => format!("{number:?}"),
        Tree::Name(name) => (*name).into(),
        Tree::Negate(inner) => format!("-{}", part(inner, 7)),
        Tree::Call(name, arguments) => {
            let arguments: Vec<String> = arguments.iter().map(|a| part(a, 1)).collect();
            format!("{name}({})", arguments.join(", "))
        }
        Tree::Infix("^", left, right) => format!("{}^{}", part(left, 9), part(right, 7)),
        Tree::Infix(op, left, right) => format!("{} {op} {}", part(left, level(tree)), part(right, level(tree) + 1)),
    }
}

/// The value, one number at a time; truth is 1 or 0.
fn evaluate(tree: &Tree) -> f64 {
    let truth = f64::from;
    match tree {
        Tree::Number(number) => *number,
        Tree::Name("half") => HALF,
        Tree::Name("four") => FOUR,
        Tree::Name("u0") => UNIFORM,
        Tree::Name(_) => NORMAL,
        Tree::Negate(inner) => -evaluate(inner),
        Tree::Call("if", a) => evaluate(&a[if evaluate(&a[0]) == 1.0 { 1 } else { 2 }]),
        Tree::Call(name, arguments) => {
            let a: Vec<f64> = arguments.iter().map(evaluate).collect();
            let is_nan = a.iter().any(|x| x.is_nan());
            match *name {
                "min" | "max" if is_nan => f64::NAN,
                "min" => {
                    if a[0].total_cmp(&a[1]).is_lt() {
                        a[0]
                    } else {
                        a[1]
                    }
                }
                "max" => {
                    if a[0].total_cmp(&a[1]).is_gt() {
                        a[0]
                    } else {
                        a[1]
                    }
                }
                "abs" => a[0].abs(),
                "exp" => core_math::exp(a[0]),
                "ln" => core_math::log(a[0]),
                "sqrt" => a[0].sqrt(),
                "sin" => core_math::sin(a[0]),
                "cos" => core_math::cos(a[0]),
                "tanh" => core_math::tanh(a[0]),
                _ => core_math::pow(a[0], a[1]),
            }
        }
        Tree::Infix("^", base, exponent) => {
            let written = match &**exponent {
                Tree::Negate(inner) => matches!(**inner, Tree::Number(_) | Tree::Name("half" | "four")),
                other => matches!(other, Tree::Number(_) | Tree::Name("half" | "four")),
            };
            let (x, y) = (evaluate(base), evaluate(exponent));
            if !written || y.trunc() != y || y.abs() > 2147483647.0 {
                return core_math::pow(x, y);
            }
            // The squares first, then those that are wanted.
            let squares = (0..32).scan(x, |square, _| {
                let now = *square;
                *square *= *square;
                Some(now)
            });
            let bits = y.abs() as u64;
            let power = squares.enumerate().filter(|(i, _)| bits >> i & 1 == 1).fold(1.0, |p, (_, square)| p * square);
            if y < 0.0 { 1.0 / power } else { power }
        }
        Tree::Infix(op, left, right) => {
            let (a, b) = (evaluate(left), evaluate(right));
            match *op {
                "+" => a + b,
                "-" => a - b,
                "*" => a * b,
                "/" => a / b,
                "<" => truth(a < b),
                "<=" => truth(a <= b),
                ">" => truth(a > b),
                ">=" => truth(a >= b),
                "==" => truth(a == b),
                "!=" => truth(a != b),
                "&&" => truth(a == 1.0 && b == 1.0),
                _ => truth(a == 1.0 || b == 1.0),
            }
        }
    }
}

fn number() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        (0..6u32).prop_map(|n| Tree::Number(f64::from(n))),
        (0.0..1e3f64).prop_map(Tree::Number),
        any::<f64>().prop_filter_map("finite", |x| x.is_finite().then(|| Tree::Number(x.abs()))),
        proptest::sample::select(vec!["u0", "z0", "half", "four"]).prop_map(Tree::Name),
    ];
    leaf.prop_recursive(5, 48, 4, |inner| {
        let two = (inner.clone(), inner.clone());
        let infix = |ops: &'static [&'static str], two: (BoxedStrategy<Tree>, BoxedStrategy<Tree>)| {
            (proptest::sample::select(ops), two).prop_map(|(op, (a, b))| Tree::Infix(op, a.into(), b.into()))
        };
        let boxed = (two.0.clone().boxed(), two.1.clone().boxed());
        let compare = infix(&["<", "<=", ">", ">=", "==", "!="], boxed.clone()).boxed();
        let truth = prop_oneof![compare.clone(), infix(&["&&", "||"], (compare.clone(), compare))].boxed();
        let truth = prop_oneof![truth.clone(), infix(&["&&", "||"], (truth.clone(), truth))];
        let one = proptest::sample::select(vec!["abs", "exp", "ln", "sqrt", "sin", "cos", "tanh"]);
        prop_oneof![
            infix(&["+", "-", "*", "/", "^"], boxed.clone()),
            infix(&["+", "-", "*", "/", "^"], boxed),
            inner.clone().prop_map(|a| Tree::Negate(a.into())),
            (one, inner.clone()).prop_map(|(name, a)| Tree::Call(name, vec![a])),
            (proptest::sample::select(vec!["min", "max", "pow"]), two.clone())
                .prop_map(|(name, (a, b))| Tree::Call(name, vec![a, b])),
            (truth, two).prop_map(|(c, (a, b))| Tree::Call("if", vec![c, a, b])),
        ]
    })
}

fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_evaluates_to_what_the_tree_says(tree in number()) {
        let expected = evaluate(&tree);
        for all in [false, true] {
            let text = print(&tree, all);
            if text.len() <= TEXT_BYTES_MAX {
                let found = value(&text);
                prop_assert!(same(found, expected), "{text}: {found} for {expected}");
            }
        }
    }

    #[test]
    fn no_text_panics(text in ".{0,200}") {
        drop(compile(&text));
    }

    #[test]
    fn no_heap_of_tokens_panics(tokens in proptest::collection::vec(0..TOKENS.len(), 0..60), space in any::<bool>()) {
        let words: Vec<&str> = tokens.into_iter().map(|i| TOKENS[i]).collect();
        let text = words.join(if space { " " } else { "" });
        match compile(&text) {
            Ok(_) => drop(value(&text)),
            Err(fault) => prop_assert!((1..=text.chars().count() + 1).contains(&fault.position)),
        }
    }
}

const TOKENS: [&str; 32] = [
    "1", "2.5", ".5e-3", "u0", "z1", "half", "x0", "(", ")", "(", ")", ",", "+", "-", "*", "/", "^", "<", "<=", "==",
    "!=", "&&", "||", "min(", "exp(", "if(", "pow(", "=", "1e", "é", "\t", "é(",
];
