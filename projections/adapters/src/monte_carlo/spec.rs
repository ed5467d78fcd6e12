//! The spec of a Monte Carlo job: reading it with every fault, and writing it canonically.

use super::model::Model;
use super::params::{self, MODELS};
use crate::faults::{Faults, Fields, nearest, one_of, shown};
use crate::json;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use serde_json::{Map, Value};

/// Most samples of a job.
pub const SAMPLES_MAX: u64 = 1 << 40;
/// Most monitoring steps of a path.
pub const STEPS_MAX: u64 = 65_536;

const FIELDS: [&str; 10] =
    ["model", "params", "samples", "seed", "stream", "antithetic", "outputs", "hist", "quantiles", "exact_tail"];
const OUTPUTS: [&str; 5] = ["mean", "variance", "stderr", "hist", "quantiles"];

/// Which outputs were asked for, by their place in [`OUTPUTS`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outputs([bool; 5]);

impl Outputs {
    pub fn variance(self) -> bool {
        self.0[1]
    }

    pub fn stderr(self) -> bool {
        self.0[2]
    }

    pub fn hist(self) -> bool {
        self.0[3]
    }

    pub fn quantiles(self) -> bool {
        self.0[4]
    }
}

/// A spec without faults.
#[derive(Clone, PartialEq, Debug)]
pub struct Spec {
    pub model: Model,
    /// With `antithetic`, pairs.
    pub samples: u64,
    pub seed: u64,
    pub stream: u64,
    pub antithetic: bool,
    pub outputs: Outputs,
    /// Ascending; `None` unless the histogram was asked for.
    pub edges: Option<Vec<f64>>,
    /// As asked; empty unless quantiles were asked for.
    pub quantiles: Vec<f64>,
    pub exact_tail: bool,
}

impl Spec {
    /// Reads a spec as a client sent it.
    pub fn read(value: &Value, faults: &mut Faults) -> Option<Spec> {
        let map = faults.object("/spec", value)?;
        let mut fields = Fields::new("/spec", map, &FIELDS, faults);
        let model = read_model(&mut fields);
        let samples = fields.integer("samples", None, 1, SAMPLES_MAX);
        let seed = fields.u64_or_text("seed", None);
        let stream = fields.u64_or_text("stream", Some(0));
        let antithetic = fields.flag("antithetic", false);
        if let (Some(Model::Bootstrap { .. }), Some(true)) = (&model, antithetic) {
            let (pointer, detail) = (fields.at("antithetic"), "a resample has no mirror image");
            fields.faults().add(pointer, "out-of-range", detail, "set it to false, or leave it out");
        }
        let outputs = read_outputs(&mut fields);
        let edges = read_edges(&mut fields, outputs);
        let quantiles = read_quantiles(&mut fields, outputs);
        let exact_tail = fields.flag("exact_tail", false);
        let (outputs, edges, quantiles) = (outputs?, edges?, quantiles?);
        Some(Spec {
            model: model?,
            samples: samples?,
            seed: seed?,
            stream: stream?,
            antithetic: antithetic?,
            outputs,
            edges: edges.filter(|_| outputs.hist()),
            exact_tail: exact_tail? && outputs.quantiles(),
            quantiles: if outputs.quantiles() { quantiles } else { Vec::new() },
        })
    }

    /// Reads back what [`Spec::canonical`] wrote.
    ///
    /// # Panics
    /// If it did not.
    pub fn reread(spec: &[u8]) -> Spec {
        let value = serde_json::from_slice(spec).expect("a checked spec is JSON");
        Spec::read(&value, &mut Faults::default()).expect("a checked spec has no fault")
    }

    /// Canonical JSON: every field, in the contract's order, integers as integers.
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = String::from("{\"model\":");
        write_model(&mut out, &self.model);
        let Spec { samples, seed, stream, antithetic, .. } = self;
        json::write(&mut out, format_args!(",\"samples\":{samples},\"seed\":{seed},\"stream\":{stream}"));
        json::write(&mut out, format_args!(",\"antithetic\":{antithetic},\"outputs\":"));
        let asked: Vec<&str> = OUTPUTS.into_iter().zip(self.outputs.0).filter(|(_, on)| *on).map(|(n, _)| n).collect();
        json::list(&mut out, &asked, |out, name| json::write(out, format_args!("\"{name}\"")));
        out.push_str(",\"hist\":");
        match &self.edges {
            Some(edges) => {
                out.push_str("{\"edges\":");
                json::list(&mut out, edges, json::float);
                out.push('}');
            }
            None => out.push_str("null"),
        }
        out.push_str(",\"quantiles\":");
        json::list(&mut out, &self.quantiles, json::float);
        json::write(&mut out, format_args!(",\"exact_tail\":{}}}", self.exact_tail));
        out.into_bytes()
    }
}

fn write_model(out: &mut String, model: &Model) {
    json::write(out, format_args!("\"{}\",\"params\":", params::name(model)));
    params::write(out, model);
}

fn read_model(fields: &mut Fields<'_, '_>) -> Option<Model> {
    let value = fields.required("model", "\"european\"")?;
    let pointer = fields.at("model");
    let Value::String(name) = value else {
        fields.faults().wrong_type(&pointer, "a string", value);
        return None;
    };
    if !MODELS.contains(&name.as_str()) {
        let fix = match nearest(name, &MODELS) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("use one of: {}", MODELS.join(", ")),
        };
        fields.faults().add(pointer, "unknown-model", format!("there is no model `{}`", shown(name)), &fix);
        return None;
    }
    let empty = Map::new();
    let params = match (fields.optional("params"), name.as_str()) {
        (None, "pi") => &empty,
        _ => {
            let value = fields.required("params", "{…}")?;
            let pointer = fields.at("params");
            fields.faults().object(&pointer, value)?
        }
    };
    params::read(name, params, &fields.at("params"), fields.faults())
}

fn read_outputs(fields: &mut Fields<'_, '_>) -> Option<Outputs> {
    let Some(value) = fields.optional("outputs") else {
        return Some(Outputs([true, false, true, false, false]));
    };
    let pointer = fields.at("outputs");
    let Value::Array(items) = value else {
        fields.faults().wrong_type(&pointer, "an array of strings", value);
        return None;
    };
    let mut asked = Some(Outputs([false; 5]));
    for (i, item) in items.iter().enumerate() {
        let pointer = format!("{pointer}/{i}");
        let Value::String(name) = item else {
            fields.faults().wrong_type(&pointer, "a string", item);
            asked = None;
            continue;
        };
        match (one_of(fields.faults(), &pointer, name, &OUTPUTS), &mut asked) {
            (Some(place), Some(asked)) if asked.0[place] => {
                fields.faults().add(pointer, "duplicate", format!("`{name}` stands twice"), "leave one out");
            }
            (Some(place), Some(asked)) => asked.0[place] = true,
            _ => asked = None,
        }
    }
    asked
}

/// `Some(None)` if there is no histogram to make.
fn read_edges(fields: &mut Fields<'_, '_>, outputs: Option<Outputs>) -> Option<Option<Vec<f64>>> {
    let asked = outputs.is_some_and(Outputs::hist);
    let pointer = fields.at("hist");
    let value = match fields.optional("hist") {
        None | Some(Value::Null) if asked => {
            let detail = "`outputs` asks for `hist`, so `hist` must give its edges";
            fields.faults().add(pointer, "missing-field", detail, "add \"hist\": {\"edges\": [0.0, 10.0, 20.0]}");
            return None;
        }
        None | Some(Value::Null) => return Some(None),
        Some(value) => value,
    };
    let map = fields.faults().object(&pointer, value)?;
    let known = ["edges"];
    let mut inner = Fields::new(&pointer, map, &known, fields.faults());
    let value = inner.required("edges", "[0.0, 10.0, 20.0]")?;
    let pointer = inner.at("edges");
    let edges = read_numbers(inner.faults(), &pointer, value)?;
    if edges.len() < 2 {
        let detail = format!("a histogram needs at least 2 edges, there are {}", edges.len());
        inner.faults().add(pointer, "out-of-range", detail, "n edges make n - 1 bins");
        return None;
    }
    if let Some(i) = edges.windows(2).position(|pair| pair[0] >= pair[1]) {
        let detail = format!("edges must ascend strictly, but {:?} is followed by {:?}", edges[i], edges[i + 1]);
        let fix = "sort the edges and leave out repeated ones";
        inner.faults().add(format!("{pointer}/{}", i + 1), "not-ascending", detail, fix);
        return None;
    }
    Some(Some(edges))
}

fn read_quantiles(fields: &mut Fields<'_, '_>, outputs: Option<Outputs>) -> Option<Vec<f64>> {
    let asked = outputs.is_some_and(Outputs::quantiles);
    let pointer = fields.at("quantiles");
    let quantiles = match fields.optional("quantiles") {
        None | Some(Value::Null) => Vec::new(),
        Some(value) => read_numbers(fields.faults(), &pointer, value)?,
    };
    if asked && quantiles.is_empty() {
        let detail = "`outputs` asks for `quantiles`, so `quantiles` must name at least one";
        fields.faults().add(pointer, "missing-field", detail, "add \"quantiles\": [0.01, 0.99]");
        return None;
    }
    if let Some(i) = quantiles.iter().position(|q| !(0.0..=1.0).contains(q)) {
        let detail = format!("a quantile must be from 0 to 1, it is {:?}", quantiles[i]);
        fields.faults().add(format!("{pointer}/{i}"), "out-of-range", detail, "0.99 is the 99 % quantile");
        return None;
    }
    // Minus zero has another text and the same meaning.
    Some(quantiles.into_iter().map(|q| q + 0.0).collect())
}

pub(super) fn read_numbers(faults: &mut Faults, pointer: &str, value: &Value) -> Option<Vec<f64>> {
    let Value::Array(items) = value else {
        faults.wrong_type(pointer, "an array of numbers", value);
        return None;
    };
    let mut numbers = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        match item.as_f64().filter(|n| n.is_finite()) {
            Some(number) => numbers.push(number),
            None => {
                faults.wrong_type(&format!("{pointer}/{i}"), "a finite number", item);
                return None;
            }
        }
    }
    Some(numbers)
}
