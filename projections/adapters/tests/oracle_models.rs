//! Expressions, integrals, Heston, portfolios and resampled columns: bit for bit against Python, and against closed forms.

use forge_adapters::Registry;
use forge_adapters::laws::{Agent, MemoryBlobs};
use forge_adapters::monte_carlo::kernel;
use forge_adapters::monte_carlo::model::{Evaluator, LANES};
use forge_adapters::monte_carlo::tally::Tally;
use forge_adapters::monte_carlo::work::ShardWork;
use forge_adapters::npy::{Dtype, Header};
use forge_projections::family::{Families, Past, PlanHints};
use serde_json::{Value, json};

fn double(text: &str) -> f64 {
    f64::from_bits(u64::from_str_radix(text, 16).expect("the oracle writes hex"))
}

fn doubles(text: &Value) -> Vec<f64> {
    text.as_str().expect("the oracle writes hex").split(' ').map(double).collect()
}

fn hex(float: &Value) -> &str {
    float["bits"].as_str().and_then(|bits| bits.strip_prefix("0x")).expect("a float has its bits")
}

/// The column as a blob, and its name in the spec.
fn keep_column(spec: &mut Value, column: &[f64], blobs: &MemoryBlobs) {
    let mut file = Header::c_order(Dtype::F64, &[column.len() as u64]).encode();
    column.iter().for_each(|value| file.extend(value.to_le_bytes()));
    spec["params"]["column"] = json!(blobs.keep(&file).to_string());
}

/// A job's document, the tally of all its samples, and the payload of its first shard.
fn run(spec: &Value, shard_cells: Option<u64>, blobs: &MemoryBlobs) -> (Value, Tally, Vec<u8>) {
    let family = Registry.newest("monte_carlo").expect("the family is built in");
    let spec = family.check_spec(spec, shard_cells).expect("the oracle's specs have no fault").spec;
    family.check_inputs(&spec, blobs).expect("the oracle's columns have no fault");
    let plan = family.plan(&Past::new(&spec), PlanHints { shard_cells, slots: 4 }, blobs).expect("a plan");
    let mut mid = family.mid_state(&spec, &plan.body);
    let payload = |shard| family.payload(&spec, &plan.body, shard);
    for shard in 0..plan.shard_count as u32 {
        let result = kernel::run_hosted(&payload(shard), &mut Agent::new(blobs)).expect("a payload of this version");
        assert_eq!(family.check_result(&spec, &plan.body, shard, &result), 0);
        mid.fold(shard, &result);
    }
    let document = serde_json::from_slice(&mid.finish().expect("the document follows from the mid-state"));
    let tally = Tally::decode(&mid.encode()).expect("a frozen mid-state is a tally");
    (document.expect("a document is JSON"), tally, payload(0))
}

#[test]
fn sin_cos_tanh_and_pow_are_correctly_rounded() {
    let mut count = 0;
    for row in include_str!("../../../tests/oracles/data/functions.csv").lines().skip(1) {
        let fields: Vec<&str> = row.split(',').collect();
        let first = double(fields[1]);
        let value = match fields[0] {
            "sin" => core_math::sin(first),
            "cos" => core_math::cos(first),
            "tanh" => core_math::tanh(first),
            _ => core_math::pow(first, double(fields[2])),
        };
        assert_eq!(format!("{:016x}", value.to_bits()), fields[3], "{row}");
        count += 1;
    }
    assert!(count > 800);
}

#[test]
fn every_value_equals_an_independent_recomputation_bit_for_bit() {
    let rows: Vec<Value> =
        serde_json::from_str(include_str!("../../../tests/oracles/data/models.json")).expect("the oracle writes JSON");
    for row in rows {
        let (mut spec, expected, blobs) = (row["spec"].clone(), &row["expected"], MemoryBlobs::default());
        let column = row["column"].as_str().map_or(Vec::new(), |_| doubles(&row["column"]));
        if !column.is_empty() {
            keep_column(&mut spec, &column, &blobs);
        }
        let (document, _, _) = run(&spec, Some(10), &blobs);
        let (whole, _, payload) = run(&spec, Some(97), &blobs);
        assert_eq!(document, whole, "the sharding does not matter");

        let work = ShardWork::decode(&payload).expect("a payload of this version");
        let mut evaluator = Evaluator::over(column, work.model, work.seed, work.stream, work.antithetic);
        let mut values = [0.0; 97];
        let mut first = 0;
        for piece in [3, 64.min(LANES), 1, 29] {
            evaluator.evaluate(first as u64, &mut values[first..first + piece]);
            first += piece;
        }
        let values: Vec<String> = values.iter().map(|v| format!("{:016x}", v.to_bits())).collect();
        assert_eq!(values.join(" "), expected["values"].as_str().expect("hex"), "{spec}");
        for field in ["mean", "variance", "stderr", "min", "max"] {
            assert_eq!(hex(&document[field]), expected[field], "{field} of {spec}");
        }
        for (i, quantile) in document["quantiles"].as_array().expect("quantiles were asked for").iter().enumerate() {
            assert_eq!(
                (hex(&quantile["value"]), &quantile["exact"]),
                (expected["quantiles"][i].as_str().expect("hex"), &json!(true))
            );
        }
    }
}

fn forms() -> Value {
    serde_json::from_str(include_str!("../../../tests/oracles/data/model_forms.json")).expect("the oracle writes JSON")
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

#[test]
fn means_are_within_four_standard_errors_of_closed_forms() {
    for row in forms()["means"].as_array().expect("rows") {
        let spec = json!({"model": row["model"], "params": row["params"], "samples": 400_000, "seed": 20261123});
        let (document, _, _) = run(&spec, None, &MemoryBlobs::default());
        let (mean, stderr) = (number(&document["mean"]["value"]), number(&document["stderr"]["value"]));
        let expected = number(&row["value"]);
        assert!(stderr > 0.0 && stderr < 0.01 * expected, "{spec}");
        assert!((mean - expected).abs() <= 4.0 * stderr, "{mean} ± {stderr} for {expected}: {spec}");
    }
}

#[test]
fn value_at_risk_and_expected_shortfall_are_those_of_the_normal_distribution() {
    let losses = &forms()["losses"];
    let samples = 200_000f64;
    let levels = losses["levels"].as_array().expect("levels");
    let quantiles: Vec<f64> = levels.iter().map(|level| number(&level["q"])).collect();
    let spec = json!({"model": "portfolio_var", "params": losses["params"], "samples": samples as u64, "seed": 7,
        "outputs": ["mean", "variance", "stderr", "quantiles"], "quantiles": quantiles, "exact_tail": true});
    let (document, tally, _) = run(&spec, None, &MemoryBlobs::default());
    let value = |field: &str| number(&document[field]["value"]);
    assert!((value("mean") - number(&losses["mean"])).abs() <= 4.0 * value("stderr"));
    // A sample variance of normals has a relative standard deviation of sqrt(2/n).
    let variance = number(&losses["variance"]);
    assert!((value("variance") / variance - 1.0).abs() <= 4.0 * (2.0 / samples).sqrt());
    let tail: Vec<f64> = tally.tail.expect("an exact tail was asked for").iter().map(|kept| kept.value()).collect();
    for (level, found) in levels.iter().zip(document["quantiles"].as_array().expect("quantiles")) {
        let (at_risk, error) = (number(&level["value_at_risk"]), number(&level["error_of_one"]) / samples.sqrt());
        let found = number(&found["value"]["value"]);
        assert!((found - at_risk).abs() <= 4.0 * error, "{found} ± {error} for {at_risk}");
        // The mean of the tail has no more than the spread of the quantile it starts at, and that of the tail itself.
        let beyond: Vec<f64> = tail.iter().copied().filter(|loss| *loss > found).collect();
        let shortfall = beyond.iter().sum::<f64>() / beyond.len() as f64;
        let expected = number(&level["expected_shortfall"]);
        let error = error + (variance / beyond.len() as f64).sqrt();
        assert!((shortfall - expected).abs() <= 4.0 * error, "{shortfall} ± {error} for {expected}");
        assert!(shortfall > found && expected > at_risk);
    }
}

#[test]
fn resampled_means_have_the_mean_and_the_spread_that_they_must_have() {
    let (forms, blobs) = (forms(), MemoryBlobs::default());
    let resampled = &forms["resampled"];
    let samples = 50_000f64;
    let mut spec = json!({"model": "bootstrap", "params": {"statistic": "mean"}, "samples": samples as u64, "seed": 3,
        "outputs": ["mean", "variance", "stderr"]});
    keep_column(&mut spec, &doubles(&resampled["column"]), &blobs);
    let (document, _, _) = run(&spec, None, &blobs);
    let value = |field: &str| number(&document[field]["value"]);
    assert!((value("mean") - number(&resampled["mean"])).abs() <= 4.0 * value("stderr"));
    assert!((value("variance") / number(&resampled["variance"]) - 1.0).abs() <= 4.0 * (2.5 / samples).sqrt());
}
