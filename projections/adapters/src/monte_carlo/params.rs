//! The parameters of each model: reading them with every fault, and writing them canonically.

use super::expr::{self, Names, Program};
use super::formula;
use super::heston::Heston;
use super::model::{Gbm, Model};
use super::portfolio::{self, place};
use super::spec::{STEPS_MAX, read_numbers};
use crate::faults::{Faults, Fields, shown};
use crate::json;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use serde_json::{Map, Value};

/// Every model, in the order of [`Model`].
pub const MODELS: [&str; 9] =
    ["pi", "european", "asian", "barrier", "integral", "expr", "heston", "portfolio_var", "bootstrap"];

const GBM_FIELDS: [&str; 7] = ["spot", "strike", "rate", "dividend_yield", "volatility", "maturity", "option"];
const HESTON_FIELDS: [&str; 12] =
    ["spot", "strike", "rate", "dividend_yield", "maturity", "option", "steps", "v0", "kappa", "theta", "xi", "rho"];

/// The word in `model`.
pub fn name(model: &Model) -> &'static str {
    MODELS[match model {
        Model::Pi => 0,
        Model::European(_) => 1,
        Model::Asian { .. } => 2,
        Model::Barrier { .. } => 3,
        Model::Integral { .. } => 4,
        Model::Expr { .. } => 5,
        Model::Heston(_) => 6,
        Model::PortfolioVar { .. } => 7,
        Model::Bootstrap { .. } => 8,
    }]
}

/// The canonical `params` object.
pub fn write(out: &mut String, model: &Model) {
    out.push('{');
    if let Some(gbm) = model.gbm() {
        write_market(out, gbm, Some(gbm.volatility));
    }
    let numbers = |out: &mut String, list: &[f64]| json::list(out, list, json::float);
    match model {
        Model::Pi | Model::European(_) => {}
        Model::Asian { steps, geometric, .. } => {
            let averaging = if *geometric { "geometric" } else { "arithmetic" };
            json::write(out, format_args!(",\"steps\":{steps},\"averaging\":\"{averaging}\""));
        }
        Model::Barrier { steps, barrier, up, knock_in, .. } => {
            json::write(out, format_args!(",\"steps\":{steps},\"barrier\":"));
            json::float(out, *barrier);
            let (direction, knock) = (if *up { "up" } else { "down" }, if *knock_in { "in" } else { "out" });
            json::write(out, format_args!(",\"direction\":\"{direction}\",\"knock\":\"{knock}\""));
        }
        Model::Integral { expression, lower, upper } => {
            write_text(out, "\"expression\":", expression);
            out.push_str(",\"lower\":");
            numbers(out, lower);
            out.push_str(",\"upper\":");
            numbers(out, upper);
        }
        Model::Expr { expression, constants } => {
            write_text(out, "\"expression\":", expression);
            out.push_str(",\"constants\":{");
            for (i, (name, number)) in constants.iter().enumerate() {
                json::write(out, format_args!("{}\"{name}\":", if i > 0 { "," } else { "" }));
                json::float(out, *number);
            }
            out.push('}');
        }
        Model::Heston(heston) => {
            write_market(out, &heston.option(), None);
            json::write(out, format_args!(",\"steps\":{}", heston.steps));
            let Heston { v0, kappa, theta, xi, rho, .. } = *heston;
            for (field, number) in HESTON_FIELDS[7..].iter().zip([v0, kappa, theta, xi, rho]) {
                json::write(out, format_args!(",\"{field}\":"));
                json::float(out, number);
            }
        }
        Model::PortfolioVar { weights, mean, covariance } => {
            out.push_str("\"weights\":");
            numbers(out, weights);
            out.push_str(",\"mean\":");
            numbers(out, mean);
            out.push_str(",\"covariance\":");
            let assets: Vec<usize> = (0..weights.len()).collect();
            json::list(out, &assets, |out, i| {
                json::list(out, &assets, |out, j| json::float(out, covariance[place(i.max(j), i.min(j))]));
            });
        }
        Model::Bootstrap { column, median } => {
            let statistic = if *median { "median" } else { "mean" };
            json::write(out, format_args!("\"column\":\"{column}\",\"statistic\":\"{statistic}\""));
        }
    }
    out.push('}');
}

fn write_market(out: &mut String, gbm: &Gbm, volatility: Option<f64>) {
    let first = [gbm.spot, gbm.strike, gbm.rate, gbm.dividend_yield].map(Some);
    let numbers = first.into_iter().chain([volatility, Some(gbm.maturity)]);
    for (field, number) in GBM_FIELDS.into_iter().zip(numbers) {
        let Some(number) = number else { continue };
        json::write(out, format_args!("\"{field}\":"));
        json::float(out, number);
        out.push(',');
    }
    json::write(out, format_args!("\"option\":\"{}\"", if gbm.call { "call" } else { "put" }));
}

fn write_text(out: &mut String, field: &str, text: &str) {
    out.push_str(field);
    out.push_str(&serde_json::to_string(text).expect("a text has a JSON form"));
}

/// Reads the `params` of a model that [`MODELS`] names.
pub fn read(model: &str, params: &Map<String, Value>, pointer: &str, faults: &mut Faults) -> Option<Model> {
    let (base, more): (&[&str], &[&str]) = match model {
        "pi" => (&[], &[]),
        "european" => (&GBM_FIELDS, &[]),
        "asian" => (&GBM_FIELDS, &["steps", "averaging"]),
        "barrier" => (&GBM_FIELDS, &["steps", "barrier", "direction", "knock"]),
        "integral" => (&[], &["expression", "lower", "upper"]),
        "expr" => (&[], &["expression", "constants"]),
        // The volatility of the other options is taken and means nothing here: v0 stands for it.
        "heston" => (&HESTON_FIELDS, &["volatility"]),
        "portfolio_var" => (&[], &["weights", "mean", "covariance"]),
        _ => (&[], &["column", "statistic"]),
    };
    let known: Vec<&str> = base.iter().chain(more).copied().collect();
    let mut fields = Fields::new(pointer, params, &known, faults);
    match model {
        "pi" => Some(Model::Pi),
        "european" => read_gbm(&mut fields).map(Model::European),
        "asian" => {
            let (gbm, steps) = (read_gbm(&mut fields), read_steps(&mut fields));
            let averaging = fields.word("averaging", &["arithmetic", "geometric"]);
            Some(Model::Asian { gbm: gbm?, steps: steps?, geometric: averaging? == 1 })
        }
        "barrier" => {
            let (gbm, steps) = (read_gbm(&mut fields), read_steps(&mut fields));
            let barrier = fields.number("barrier", "120.0", "above 0", |x| x > 0.0);
            let direction = fields.word("direction", &["up", "down"]);
            let knock = fields.word("knock", &["in", "out"]);
            let (up, knock_in) = (direction? == 0, knock? == 0);
            Some(Model::Barrier { gbm: gbm?, steps: steps?, barrier: barrier?, up, knock_in })
        }
        "integral" => read_integral(&mut fields),
        "expr" => read_expr(&mut fields),
        "heston" => read_heston(&mut fields).map(Model::Heston),
        "portfolio_var" => read_portfolio(&mut fields),
        _ => {
            let column = fields.blob("column");
            let statistic = fields.word("statistic", &["mean", "median"]);
            Some(Model::Bootstrap { column: column?, median: statistic? == 1 })
        }
    }
}

fn read_steps(fields: &mut Fields<'_, '_>) -> Option<u32> {
    fields.integer("steps", None, 1, STEPS_MAX).map(|s| s as u32)
}

/// Spot, strike, rate, dividend yield.
fn read_market(fields: &mut Fields<'_, '_>) -> Option<[f64; 4]> {
    let spot = fields.number("spot", "100.0", "above 0", |x| x > 0.0);
    let strike = fields.number("strike", "100.0", "above 0", |x| x > 0.0);
    let rate = fields.number("rate", "0.05", "finite", |_| true);
    let dividend_yield = fields.number("dividend_yield", "0.0", "finite", |_| true);
    Some([spot?, strike?, rate?, dividend_yield?])
}

/// Maturity, and whether the option is a call.
fn read_option(fields: &mut Fields<'_, '_>) -> Option<(f64, bool)> {
    let maturity = fields.number("maturity", "1.0", "above 0", |x| x > 0.0);
    let option = fields.word("option", &["call", "put"]);
    Some((maturity?, option? == 0))
}

fn read_gbm(fields: &mut Fields<'_, '_>) -> Option<Gbm> {
    let market = read_market(fields);
    let volatility = fields.number("volatility", "0.2", "0 or above", |x| x >= 0.0);
    let option = read_option(fields);
    let ([spot, strike, rate, dividend_yield], (maturity, call)) = (market?, option?);
    Some(Gbm { spot, strike, rate, dividend_yield, volatility: volatility?, maturity, call })
}

fn read_heston(fields: &mut Fields<'_, '_>) -> Option<Heston> {
    let (market, option, steps) = (read_market(fields), read_option(fields), read_steps(fields));
    let mut above = |name, example| fields.number(name, example, "0 or above", |x| x >= 0.0);
    let (v0, kappa, theta, xi) =
        (above("v0", "0.04"), above("kappa", "2.0"), above("theta", "0.04"), above("xi", "0.3"));
    let rho = fields.number("rho", "-0.7", "from -1 to 1", |x| x.abs() <= 1.0);
    let ([spot, strike, rate, dividend_yield], (maturity, call)) = (market?, option?);
    let (steps, v0, kappa, theta, xi, rho) = (steps?, v0?, kappa?, theta?, xi?, rho?);
    Some(Heston { spot, strike, rate, dividend_yield, maturity, call, steps, v0, kappa, theta, xi, rho })
}

fn read_integral(fields: &mut Fields<'_, '_>) -> Option<Model> {
    let expression = text(fields, "expression", "\"x0^2 + x1\"");
    let (lower, upper) = (numbers(fields, "lower", "[0.0]"), numbers(fields, "upper", "[1.0]"));
    let (expression, lower, upper) = (expression?, lower?, upper?);
    let (at_lower, at_upper) = (fields.at("lower"), fields.at("upper"));
    let faults = fields.faults();
    if !(1..=expr::VARIABLES_MAX as usize).contains(&lower.len()) {
        let detail = format!("a box has 1 to {} dimensions, this one {}", expr::VARIABLES_MAX, lower.len());
        faults.add(at_lower, "out-of-range", detail, "give a bound for each x in the expression");
        return None;
    }
    if !lengths_agree(faults, &at_upper, "bounds", lower.len(), upper.len()) {
        return None;
    }
    if let Some(i) = lower.iter().zip(&upper).position(|(lower, upper)| lower >= upper) {
        let detail =
            format!("x{i} runs from {:?} to {:?}; the upper bound must be above the lower", lower[i], upper[i]);
        faults.add(format!("{at_upper}/{i}"), "out-of-range", detail, "swap them, and the sign of the result");
        return None;
    }
    let volume = formula::volume(&lower, &upper);
    if !volume.is_normal() {
        let detail = format!("the box's volume is {volume:?}, beyond what a double can say");
        faults.add(at_upper, "out-of-range", detail, "take other units for some of the coordinates");
        return None;
    }
    compiles(fields, expression, Names::Box(lower.len() as u32))?;
    Some(Model::Integral { expression: expression.into(), lower, upper })
}

fn read_expr(fields: &mut Fields<'_, '_>) -> Option<Model> {
    let expression = text(fields, "expression", "\"exp(0.2*z0)\"");
    let constants = match fields.optional("constants") {
        Some(value) => read_constants(fields, value),
        None => Some(Vec::new()),
    };
    let (expression, constants) = (expression?, constants?);
    compiles(fields, expression, Names::Draws(&constants))?;
    Some(Model::Expr { expression: expression.into(), constants })
}

/// By name, ascending.
fn read_constants(fields: &mut Fields<'_, '_>, value: &Value) -> Option<Vec<(String, f64)>> {
    let pointer = fields.at("constants");
    let map = fields.faults().object(&pointer, value)?;
    let faults = fields.faults();
    if map.len() > expr::CONSTANTS_MAX {
        let detail = format!("there are {} constants; at most {} are taken", map.len(), expr::CONSTANTS_MAX);
        faults.add(pointer, "out-of-range", detail, "write some of them into the expression");
        return None;
    }
    let mut constants = Some(Vec::with_capacity(map.len()));
    for (name, value) in map {
        if let Err(rule) = expr::check_name(name) {
            let detail = format!("`{}` cannot name a constant: {rule}", shown(name));
            faults.add(&*pointer, "bad-name", detail, "give it another name");
            constants = None;
        } else if let Some(number) = value.as_f64().filter(|n| n.is_finite()) {
            constants.iter_mut().for_each(|list| list.push((name.clone(), number)));
        } else {
            faults.wrong_type(&format!("{pointer}/{name}"), "a finite number", value);
            constants = None;
        }
    }
    // Whatever order the JSON reader keeps.
    constants.iter_mut().for_each(|list| list.sort_by(|a, b| a.0.cmp(&b.0)));
    constants
}

fn compiles(fields: &mut Fields<'_, '_>, expression: &str, names: Names<'_>) -> Option<()> {
    let pointer = fields.at("expression");
    match Program::compile(expression, names) {
        Ok(_) => Some(()),
        Err(fault) => {
            let detail = format!("at character {}: {}", fault.position, fault.detail);
            let usual = "join numbers, names and functions by operators, as in max(exp(0.2*z0) - 1, 0)";
            let fix = if fault.fix.is_empty() { usual } else { &fault.fix };
            fields.faults().add(pointer, fault.code, detail, fix);
            None
        }
    }
}

fn read_portfolio(fields: &mut Fields<'_, '_>) -> Option<Model> {
    let (weights, mean) = (numbers(fields, "weights", "[0.6, 0.4]"), numbers(fields, "mean", "[0.0, 0.0]"));
    let rows = fields.required("covariance", "[[0.04, 0.01], [0.01, 0.09]]");
    let (weights, mean, rows) = (weights?, mean?, rows?);
    let (at_weights, at_mean, pointer) = (fields.at("weights"), fields.at("mean"), fields.at("covariance"));
    let faults = fields.faults();
    let count = weights.len();
    if !(1..=portfolio::ASSETS_MAX).contains(&count) {
        let detail = format!("a portfolio has 1 to {} assets, this one {count}", portfolio::ASSETS_MAX);
        faults.add(at_weights, "out-of-range", detail, "merge assets that move together");
        return None;
    }
    let agree = lengths_agree(faults, &at_mean, "assets", count, mean.len());
    let covariance = read_covariance(faults, &pointer, rows, count)?;
    agree.then_some(Model::PortfolioVar { weights, mean, covariance })
}

/// The lower triangle of a symmetric, positive semidefinite matrix.
fn read_covariance(faults: &mut Faults, pointer: &str, value: &Value, count: usize) -> Option<Vec<f64>> {
    let Value::Array(rows) = value else {
        faults.wrong_type(pointer, "an array of rows", value);
        return None;
    };
    if !lengths_agree(faults, pointer, "rows", count, rows.len()) {
        return None;
    }
    let mut matrix = Vec::with_capacity(count);
    for (i, row) in rows.iter().enumerate() {
        let pointer = format!("{pointer}/{i}");
        let row = read_numbers(faults, &pointer, row)?;
        if !lengths_agree(faults, &pointer, "entries", count, row.len()) {
            return None;
        }
        matrix.push(row);
    }
    let mut covariance = Vec::with_capacity(place(count, 0));
    for (i, row) in matrix.iter().enumerate() {
        for (j, entry) in row[..=i].iter().enumerate() {
            let mirrored = matrix[j][i];
            if *entry != mirrored {
                let detail = format!("entry ({i}, {j}) is {entry:?}, but ({j}, {i}) is {mirrored:?}");
                let fix = "a covariance is symmetric to the last bit: send (C + C')/2";
                faults.add(format!("{pointer}/{i}/{j}"), "not-symmetric", detail, fix);
                return None;
            }
            // One zero, whatever its sign was.
            covariance.push(entry + 0.0);
        }
    }
    if let Err(asset) = portfolio::factor(&covariance, count) {
        let detail = format!("the covariance is not positive semidefinite: it fails at asset {asset}, counted from 0");
        let fix = "estimate it from complete rows, or take the nearest positive semidefinite matrix";
        faults.add(pointer, "not-positive-semidefinite", detail, fix);
        return None;
    }
    Some(covariance)
}

fn lengths_agree(faults: &mut Faults, pointer: &str, what: &str, expected: usize, found: usize) -> bool {
    if expected != found {
        let detail = format!("{expected} {what} are needed here, there are {found}");
        faults.add(pointer, "length-mismatch", detail, "make all lists equally long");
    }
    expected == found
}

fn text<'a>(fields: &mut Fields<'a, '_>, name: &str, example: &str) -> Option<&'a str> {
    let value = fields.required(name, example)?;
    let pointer = fields.at(name);
    if let Value::String(text) = value {
        return Some(text);
    }
    fields.faults().wrong_type(&pointer, "a string", value);
    None
}

fn numbers(fields: &mut Fields<'_, '_>, name: &str, example: &str) -> Option<Vec<f64>> {
    let value = fields.required(name, example)?;
    let pointer = fields.at(name);
    read_numbers(fields.faults(), &pointer, value)
}
