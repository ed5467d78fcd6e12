//! Fields that a formula gives, and files of them.

#![allow(dead_code)] // Of those that include it none needs all.

use forge_adapters::npy::{Dtype, Header};

/// Samples by rows by columns; the same doubles as `tests/oracles/climate_pca.py` computes.
pub fn field(samples: u64, rows: u64, columns: u64, seed: u64) -> Vec<f64> {
    let mut out = Vec::new();
    let wave = |number: u64, period: u64, half: f64| ((number % period) as f64 - half) / half;
    for s in 0..samples {
        for r in 0..rows {
            for c in 0..columns {
                let mixed = s * 7919 + r * 104729 + c * 1299709 + s * r * 31 + s * c * 17 + seed * 97;
                let noise = (mixed % 1009) as f64 / 1009.0 - 0.5;
                let first = wave(s * 37 + seed, 101, 50.0) * (r as f64 - c as f64 / 2.0);
                let second = wave(s * 53 + 11, 89, 44.0) * (((r * 3 + c * 5) % 7) as f64 - 3.0);
                let third = wave(s * 71 + 5, 97, 48.0) * (((c * 11 + r * r) % 5) as f64 - 2.0);
                out.push(first + second * 0.5 + third * 0.25 + noise);
            }
        }
    }
    out
}

/// The same points in every sample become `missing`.
pub fn masked(mut values: Vec<f64>, rows: u64, columns: u64, missing: f64) -> Vec<f64> {
    for (i, value) in values.iter_mut().enumerate() {
        let point = i as u64 % (rows * columns);
        if (point / columns * 5 + point % columns * 3).is_multiple_of(7) {
            *value = missing;
        }
    }
    values
}

pub fn latitudes(rows: u64) -> Vec<f64> {
    (0..rows).map(|r| 80.0 - 160.0 * r as f64 / (rows - 1) as f64).collect()
}

pub fn npy(shape: &[u64], values: &[f64]) -> Vec<u8> {
    let mut bytes = Header::c_order(Dtype::F64, shape).encode();
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    bytes
}

pub fn npy_f32(shape: &[u64], values: &[f64]) -> Vec<u8> {
    let mut bytes = Header::c_order(Dtype::F32, shape).encode();
    bytes.extend(values.iter().flat_map(|v| (*v as f32).to_le_bytes()));
    bytes
}

/// A type of classic NetCDF by its number.
pub const BYTE: u32 = 1;
pub const CHAR: u32 = 2;
pub const SHORT: u32 = 3;
pub const INT: u32 = 4;
pub const FLOAT: u32 = 5;
pub const DOUBLE: u32 = 6;

pub enum Attribute {
    Words(&'static str),
    Number(u32, f64),
}

pub struct Variable {
    pub name: &'static str,
    pub dimensions: Vec<usize>,
    pub kind: u32,
    pub attributes: Vec<(&'static str, Attribute)>,
    /// As stored.
    pub values: Vec<f64>,
}

impl Variable {
    pub fn new(name: &'static str, dimensions: &[usize], kind: u32, values: Vec<f64>) -> Variable {
        Variable { name, dimensions: dimensions.to_vec(), kind, attributes: Vec::new(), values }
    }

    pub fn with(mut self, name: &'static str, attribute: Attribute) -> Variable {
        self.attributes.push((name, attribute));
        self
    }

    pub fn words(self, name: &'static str, words: &'static str) -> Variable {
        self.with(name, Attribute::Words(words))
    }

    pub fn number(self, name: &'static str, kind: u32, number: f64) -> Variable {
        self.with(name, Attribute::Number(kind, number))
    }
}

fn encoded(kind: u32, value: f64) -> Vec<u8> {
    match kind {
        BYTE => (value as i8).to_be_bytes().to_vec(),
        CHAR => vec![value as u8],
        SHORT => (value as i16).to_be_bytes().to_vec(),
        INT => (value as i32).to_be_bytes().to_vec(),
        FLOAT => (value as f32).to_be_bytes().to_vec(),
        _ => value.to_be_bytes().to_vec(),
    }
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn word(number: usize) -> Vec<u8> {
    (number as u32).to_be_bytes().to_vec()
}

fn name(text: &str) -> Vec<u8> {
    [word(text.len()), padded(text.as_bytes().to_vec())].concat()
}

fn attributes(list: &[(&'static str, Attribute)]) -> Vec<u8> {
    if list.is_empty() {
        return [word(0), word(0)].concat();
    }
    let mut out = [word(12), word(list.len())].concat();
    for (label, attribute) in list {
        out.extend(name(label));
        match attribute {
            Attribute::Words(words) => {
                out.extend([word(2), word(words.len()), padded(words.as_bytes().to_vec())].concat())
            }
            Attribute::Number(kind, number) => {
                out.extend([word(*kind as usize), word(1), padded(encoded(*kind, *number))].concat());
            }
        }
    }
    out
}

/// A classic NetCDF file; a dimension of length 0 is the record dimension, of `records`. CDF-2 if `wide`.
pub fn netcdf(wide: bool, dimensions: &[(&str, usize)], records: usize, variables: &[Variable]) -> Vec<u8> {
    let is_record = |v: &Variable| v.dimensions.first().is_some_and(|d| dimensions[*d].1 == 0);
    let parts = |v: &Variable| if is_record(v) { records } else { 1 };
    let part_bytes = |v: &Variable| encoded(v.kind, 0.0).len() * v.values.len() / parts(v).max(1);
    let lone = variables.iter().filter(|v| is_record(v)).count() == 1;
    let stored = |v: &Variable| if is_record(v) && lone { part_bytes(v) } else { part_bytes(v).next_multiple_of(4) };
    let header = |begins: &[usize]| {
        let mut out = vec![b'C', b'D', b'F', if wide { 2 } else { 1 }];
        out.extend(word(records));
        out.extend([word(10), word(dimensions.len())].concat());
        dimensions.iter().for_each(|(label, length)| out.extend([name(label), word(*length)].concat()));
        out.extend(attributes(&[("history", Attribute::Words("made by a test"))]));
        out.extend([word(11), word(variables.len())].concat());
        for (variable, begin) in variables.iter().zip(begins) {
            out.extend([name(variable.name), word(variable.dimensions.len())].concat());
            variable.dimensions.iter().for_each(|d| out.extend(word(*d)));
            out.extend(attributes(&variable.attributes));
            out.extend([word(variable.kind as usize), word(stored(variable))].concat());
            out.extend(if wide { (*begin as u64).to_be_bytes().to_vec() } else { word(*begin) });
        }
        out
    };
    let mut at = header(&vec![0; variables.len()]).len();
    let mut begins = vec![0; variables.len()];
    for record in [false, true] {
        for (variable, begin) in variables.iter().zip(&mut begins).filter(|(v, _)| is_record(v) == record) {
            *begin = at;
            at += stored(variable);
        }
    }
    let mut out = header(&begins);
    let bytes = |v: &Variable, part: usize| {
        let count = v.values.len() / parts(v).max(1);
        let bytes = v.values[part * count..(part + 1) * count].iter().flat_map(|x| encoded(v.kind, *x)).collect();
        if is_record(v) && lone { bytes } else { padded(bytes) }
    };
    variables.iter().filter(|v| !is_record(v)).for_each(|v| out.extend(bytes(v, 0)));
    for record in 0..records {
        variables.iter().filter(|v| is_record(v)).for_each(|v| out.extend(bytes(v, record)));
    }
    out
}

/// Dimensions of the NetCDF files of bad inputs.
pub const GRID: &[(&str, usize)] = &[("time", 8), ("lat", 4), ("lon", 5), ("one", 1)];

/// The variable of the files.
pub fn variable(dimensions: &[usize], kind: u32) -> Variable {
    let lengths = dimensions.iter().map(|d| GRID[*d].1.max(1));
    let values = field(8, 4, 5, 1).into_iter().cycle().take(lengths.product()).collect();
    Variable::new("t", dimensions, kind, values)
}

/// The latitudes of the files.
pub fn north() -> Variable {
    Variable::new("lat", &[1], FLOAT, latitudes(4)).words("units", "degrees_north")
}
