//! Streams, normals, elementary functions and exact statistics against numbers that Python computed.

use forge_adapters::monte_carlo::document::{mean, standard_error, variance};
use forge_adapters::monte_carlo::gather::Gather;
use forge_adapters::monte_carlo::tally::{Bits, FORMAT, Tally};
use forge_adapters::monte_carlo::{as241, philox};
use serde_json::Value;

fn bits(text: &str) -> u64 {
    u64::from_str_radix(text, 16).expect("the oracle writes hex")
}

fn double(text: &str) -> f64 {
    f64::from_bits(bits(text))
}

fn json(text: &str) -> Vec<Value> {
    serde_json::from_str(text).expect("the oracle writes JSON")
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().expect("the field is a string")
}

#[test]
fn streams_equal_numpys_philox() {
    for row in json(include_str!("../../../tests/oracles/data/streams.json")) {
        let number = |field| text(&row, field).parse::<u64>().expect("a u64");
        let (key, sample) =
            (philox::Key::new(number("seed"), number("stream")), row["sample"].as_u64().expect("a u64"));
        for (w, word) in row["words"].as_array().expect("words").iter().enumerate() {
            let block = philox::sample_block(&key, sample, w as u64 / 4);
            assert_eq!(block[w % 4], bits(word.as_str().expect("hex")), "word {w} of {row}");
        }
    }
}

#[test]
fn uniforms_and_normals_equal_cpythons() {
    let rows = include_str!("../../../tests/oracles/data/normals.csv").lines().skip(1);
    let rows: Vec<Vec<u64>> = rows.map(|row| row.split(',').map(bits).collect()).collect();
    assert!(rows.len() > 1000);
    let uniforms: Vec<f64> = rows.iter().map(|row| philox::uniform(row[0])).collect();
    let mut normals = uniforms.clone();
    as241::normals(&mut normals);
    for ((row, uniform), normal) in rows.iter().zip(uniforms).zip(normals) {
        assert_eq!([uniform.to_bits(), normal.to_bits()], [row[1], row[2]], "word {:x}", row[0]);
        assert_eq!(as241::normal(uniform).to_bits(), row[2], "alone as in a batch");
    }
}

#[test]
fn exp_and_ln_are_correctly_rounded() {
    let mut count = 0;
    for row in include_str!("../../../tests/oracles/data/elementary.csv").lines().skip(1) {
        let fields: Vec<&str> = row.split(',').collect();
        let argument = double(fields[1]);
        let value = if fields[0] == "exp" { core_math::exp(argument) } else { core_math::log(argument) };
        assert_eq!(value.to_bits(), bits(fields[2]), "{}({argument:e})", fields[0]);
        count += 1;
    }
    assert!(count > 900);
}

fn tally(values: &[f64]) -> Tally {
    let mut gather = Gather::default();
    // In odd pieces, so that slots fill and empty.
    values.chunks(7).for_each(|piece| gather.add(piece));
    let (sum, squares) = gather.sums();
    Tally {
        format: FORMAT,
        count: values.len() as u64,
        nan: 0,
        positive_infinite: 0,
        negative_infinite: 0,
        sum: sum.canonical(),
        squares: squares.canonical(),
        min: Bits::new(f64::NAN),
        max: Bits::new(f64::NAN),
        hist: None,
        sketch: None,
        tail: None,
    }
}

#[test]
fn mean_variance_and_standard_error_equal_exact_fractions_rounded_once() {
    for row in json(include_str!("../../../tests/oracles/data/sums.json")) {
        let values: Vec<f64> = text(&row, "values").split(' ').map(double).collect();
        let name = text(&row, "name");
        let mut backwards = values.clone();
        backwards.reverse();
        for values in [&values, &backwards] {
            let tally = tally(values);
            assert_eq!(mean(&tally).to_bits(), bits(text(&row, "mean")), "mean of {name}");
            let variance = variance(&tally);
            assert_eq!(variance.map(f64::to_bits), row["variance"].as_str().map(bits), "variance of {name}");
            let stderr = variance.map(|v| standard_error(v, tally.count).to_bits());
            assert_eq!(stderr, row["stderr"].as_str().map(bits), "standard error of {name}");
        }
    }
}
