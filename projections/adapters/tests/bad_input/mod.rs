//! Every bad input of the contract, as data: what is submitted, and the one fault that it has; and what only looks bad.
//!
//! Included by tests of the families here, and by those that go through a hub's doors.

mod blas;
mod cat_model;
mod climate_pca;
mod ffmpeg;
mod files;
mod monte_carlo;
mod null;

use forge_adapters::laws::MemoryBlobs;
use serde_json::Value;

/// A submission that is refused.
#[derive(Clone, Debug)]
pub struct Refused {
    /// What is wrong, in the contract's words where it has some.
    pub what: &'static str,
    pub kind: &'static str,
    pub spec: Value,
    pub shard_cells: Option<u64>,
    /// Its one fault: JSON pointer into the submission, and code.
    pub pointer: String,
    pub code: &'static str,
}

/// A submission that is not refused, however odd it looks.
#[derive(Clone, Debug)]
pub struct Taken {
    pub what: &'static str,
    pub kind: &'static str,
    pub spec: Value,
}

/// All cases, and the blobs that their specs name.
#[derive(Debug, Default)]
pub struct Cases {
    pub blobs: MemoryBlobs,
    pub refused: Vec<Refused>,
    pub taken: Vec<Taken>,
}

impl Cases {
    /// Those of all kinds.
    pub fn all() -> Cases {
        let mut cases = Cases::default();
        null::add(&mut cases);
        monte_carlo::add(&mut cases);
        blas::add(&mut cases);
        ffmpeg::add(&mut cases);
        climate_pca::add(&mut cases);
        cat_model::add(&mut cases);
        cases
    }

    /// Cases of one kind: a good spec, changed.
    fn of<'c>(&'c mut self, kind: &'static str, good: &Value) -> Of<'c> {
        Of { cases: self, kind, good: good.clone() }
    }

    /// Keeps a blob; gives its digest as specs write it.
    fn keep(&self, bytes: &[u8]) -> Value {
        Value::String(format!("{}", self.blobs.keep(bytes)))
    }
}

/// What follows from one good spec.
struct Of<'c> {
    cases: &'c mut Cases,
    kind: &'static str,
    good: Value,
}

impl Of<'_> {
    /// Rows: field of the spec, its value (null leaves it out), what of the field is at fault, code.
    fn fields<const N: usize>(&mut self, what: &'static str, rows: [(&str, Value, &str, &'static str); N]) {
        for (at, value, within, code) in rows {
            self.spec(what, with(&self.good, at, value), &format!("{at}{within}"), code);
        }
    }

    /// A whole spec; `at` is the field at fault.
    fn spec(&mut self, what: &'static str, spec: Value, at: &str, code: &'static str) {
        let pointer = format!("/spec{at}");
        self.cases.refused.push(Refused { what, kind: self.kind, spec, shard_cells: None, pointer, code });
    }

    /// The good spec with a bad `shard_cells`.
    fn shard_cells(&mut self, cells: u64, code: &'static str) {
        let (what, pointer) = ("shards that cannot be", String::from("/shard_cells"));
        let spec = self.good.clone();
        self.cases.refused.push(Refused { what, kind: self.kind, spec, shard_cells: Some(cells), pointer, code });
    }

    /// The good spec with one field changed, which is taken.
    fn taken(&mut self, what: &'static str, at: &str, value: Value) {
        let spec = with(&self.good, at, value);
        self.cases.taken.push(Taken { what, kind: self.kind, spec });
    }

    fn keep(&self, bytes: &[u8]) -> Value {
        self.cases.keep(bytes)
    }
}

/// `spec` with the field at `at` set; null leaves it out.
///
/// # Panics
/// If there is nothing that could have such a field.
fn with(spec: &Value, at: &str, value: Value) -> Value {
    let mut spec = spec.clone();
    let (parent, name) = at.rsplit_once('/').expect("a pointer has a slash");
    spec.pointer_mut(parent).expect("the parent is there")[name] = value;
    spec
}
