//! Whole jobs against an independent recomputation in Python, bit for bit, and against closed forms.

use forge_adapters::Registry;
use forge_adapters::monte_carlo::kernel;
use forge_adapters::monte_carlo::model::{Evaluator, LANES};
use forge_adapters::monte_carlo::work::ShardWork;
use forge_projections::family::{Families, NoBlobs, Past, PlanHints};
use serde_json::{Value, json};

fn rows(text: &str) -> Vec<Value> {
    serde_json::from_str(text).expect("the oracle writes JSON")
}

/// The document of a job, and the payload of its first shard.
fn run(spec: &Value, shard_cells: Option<u64>) -> (Value, Vec<u8>) {
    let family = Registry.newest("monte_carlo").expect("the family is built in");
    let spec = family.check_spec(spec, shard_cells).expect("the oracle's specs have no fault").spec;
    let plan = family
        .plan(&Past::new(&spec), PlanHints { shard_cells, slots: 4 }, &NoBlobs)
        .expect("this family plans without blobs");
    let mut mid = family.mid_state(&spec, &plan.body);
    let payload = |shard| family.payload(&spec, &plan.body, shard);
    for shard in 0..plan.shard_count as u32 {
        let result = kernel::run(&payload(shard)).expect("a payload of this version");
        assert_eq!(family.check_result(&spec, &plan.body, shard, &result), 0);
        mid.fold(shard, &result);
    }
    (
        serde_json::from_slice(&mid.finish().expect("the document follows from the mid-state"))
            .expect("a document is JSON"),
        payload(0),
    )
}

fn hex(float: &Value) -> String {
    let bits = float["bits"].as_str().expect("a float has its bits");
    let bits = bits.strip_prefix("0x").expect("hex");
    if let Some(value) = float["value"].as_f64() {
        assert_eq!(format!("{:016x}", value.to_bits()), bits, "value and bits say the same");
    }
    bits.into()
}

#[test]
fn every_model_equals_an_independent_recomputation_bit_for_bit() {
    for row in rows(include_str!("../../../tests/oracles/data/paths.json")) {
        let (spec, expected) = (&row["spec"], &row["expected"]);
        let (document, payload) = run(spec, Some(50));
        let (whole, whole_payload) = run(spec, Some(331));
        assert_eq!(document, whole, "the sharding does not matter");
        assert_ne!(payload, whole_payload);

        let work = ShardWork::decode(&whole_payload).expect("a payload of this version");
        let mut evaluator = Evaluator::new(work.model, work.seed, work.stream, work.antithetic);
        let mut values = vec![0.0; 331];
        let mut first = 0;
        // Batches of uneven length: a lane's neighbours do not matter.
        for piece in [3, LANES, 1, 331 - 4 - LANES] {
            evaluator.evaluate(first as u64, &mut values[first..first + piece]);
            first += piece;
        }
        let values: Vec<String> = values.iter().map(|v| format!("{:016x}", v.to_bits())).collect();
        assert_eq!(values.join(" "), expected["values"].as_str().expect("hex"), "{spec}");

        for field in ["mean", "variance", "stderr", "min", "max"] {
            assert_eq!(hex(&document[field]), expected[field], "{field} of {spec}");
        }
        let hist = &document["hist"];
        for field in ["counts", "under", "over"] {
            assert_eq!(hist[field], expected[field], "{field} of {spec}");
        }
        let quantiles = document["quantiles"].as_array().expect("quantiles were asked for");
        for (found, expected) in quantiles.iter().zip(expected["quantiles"].as_array().expect("hex")) {
            let expected = f64::from_bits(u64::from_str_radix(expected.as_str().expect("hex"), 16).expect("hex"));
            let value = f64::from_bits(u64::from_str_radix(&hex(&found["value"]), 16).expect("hex"));
            let q = found["q"]["value"].as_f64().expect("a number");
            assert_eq!(found["exact"], q > 0.5, "the upper tail is exact");
            let allowed = found["relative_error"]["value"].as_f64().expect("a number");
            assert!(allowed <= 1.0 / 256.0 && (allowed == 0.0) == (q > 0.5));
            assert!((value - expected).abs() <= allowed * expected.abs(), "q {q}: {value} for {expected} in {spec}");
        }
    }
}

#[test]
fn prices_are_within_four_standard_errors_of_closed_forms() {
    let full = std::env::var_os("FORGE_FULL").is_some();
    for row in rows(include_str!("../../../tests/oracles/data/closed_forms.json")) {
        let price = row["price"].as_f64().expect("a price");
        let mut samples = 100_000u64;
        loop {
            let spec = json!({"model": row["model"], "params": row["params"], "samples": samples, "seed": 20261123});
            let (document, _) = run(&spec, None);
            let value = |field: &str| document[field]["value"].as_f64().expect("a finite number");
            let (mean, stderr) = (value("mean"), value("stderr"));
            assert!((mean - price).abs() <= 4.0 * stderr, "{mean} ± {stderr} for {price}: {}", row["model"]);
            if !full || stderr <= 0.0005 * price {
                break;
            }
            // As many as the bar asks for, and a little more.
            let ratio = stderr / (0.0005 * price);
            samples = (samples as f64 * ratio * ratio * 1.05) as u64;
        }
    }
}
