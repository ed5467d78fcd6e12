//! The conformance suite for every family of the registry.

use forge_adapters::Registry;
use forge_adapters::host::{Host, Stop};
use forge_adapters::laws::{Bench, MemoryBlobs, Run};
use forge_adapters::monte_carlo::kernel;
use forge_adapters::null::Payload;
use forge_projections::family::Families;
use serde_json::{Value, json};

fn null(payload: &[u8], _: &mut dyn Host) -> Result<Vec<u8>, Stop> {
    Ok(vec![0; Payload::decode(payload).ok_or(Stop::BadPayload)?.payload_bytes as usize])
}

fn monte_carlo(payload: &[u8], _: &mut dyn Host) -> Result<Vec<u8>, Stop> {
    kernel::run(payload).ok_or(Stop::BadPayload)
}

fn check(kind: &str, spec: Value, groupings: &[Option<u64>]) -> String {
    let family = Registry.newest(kind).expect("the kind is known");
    let run: Run<'_> = if kind == "null" { &null } else { &monte_carlo };
    let bench = Bench { family, spec, groupings: groupings.to_vec(), blobs: &MemoryBlobs::default(), run };
    String::from_utf8(bench.check()).expect("a document is text")
}

const ALL: [&str; 5] = ["mean", "variance", "stderr", "hist", "quantiles"];

#[test]
fn null_keeps_the_laws() {
    let document = check("null", json!({"shards": 300, "payload_bytes": 5}), &[None]);
    assert_eq!(document, r#"{"kind":"null","format":1,"shards":300}"#);
    check("null", json!({"shards": 1}), &[None]);
}

#[test]
fn pi_keeps_the_laws() {
    for antithetic in [false, true] {
        let spec = json!({"model": "pi", "samples": 5000, "seed": 1, "antithetic": antithetic, "outputs": ALL,
            "hist": {"edges": [0, 1, 2, 4]}, "quantiles": [0, 0.3, 0.9, 1], "exact_tail": true});
        check("monte_carlo", spec, &[None, Some(7), Some(64), Some(4999)]);
    }
}

#[test]
fn options_keep_the_laws() {
    let gbm = json!({"spot": 100, "strike": 105, "rate": 0.05, "dividend_yield": 0.01, "volatility": 0.3,
        "maturity": 0.75, "option": "call"});
    let with = |more: Value| {
        let mut params = gbm.clone();
        for (key, value) in more.as_object().expect("fields") {
            params[key] = value.clone();
        }
        params
    };
    let barrier = json!({"steps": 6, "barrier": 130, "direction": "up", "knock": "out"});
    let models = [
        ("european", with(json!({}))),
        ("european", with(json!({"option": "put"}))),
        ("asian", with(json!({"steps": 9, "averaging": "arithmetic"}))),
        ("asian", with(json!({"steps": 4, "averaging": "geometric"}))),
        ("barrier", with(barrier)),
    ];
    for (i, (model, params)) in models.into_iter().enumerate() {
        let spec = json!({"model": model, "params": params, "samples": 1500, "seed": "18446744073709551615", "stream": i,
            "antithetic": i % 2 == 1, "outputs": ALL, "hist": {"edges": [0.0, 5.5, 10.0, 50.0]},
            "quantiles": [0.01, 0.5, 0.99], "exact_tail": i < 3});
        check("monte_carlo", spec, &[None, Some(1), Some(7), Some(64), Some(1024)]);
    }
}

#[test]
fn samples_that_are_nan_or_infinite_are_counted_and_shown() {
    // exp overflows for most paths, and a discount of infinity times a payoff of zero is not a number.
    let params = json!({"spot": 1e300, "strike": 1, "rate": -800, "dividend_yield": -1e4, "volatility": 90, "maturity": 1,
        "option": "call"});
    let spec = json!({"model": "european", "params": params, "samples": 400, "seed": 3, "outputs": ALL,
        "hist": {"edges": [0, 1]}, "quantiles": [0.2, 0.9], "exact_tail": true});
    let document = check("monte_carlo", spec, &[None, Some(3), Some(100)]);
    let read: Value = serde_json::from_str(&document).expect("a document is JSON");
    assert!(read["inf"].as_u64() > Some(0) || read["nan"].as_u64() > Some(0), "{document}");
    assert_eq!(read["mean"]["value"], Value::Null);
    assert_eq!(read["variance"]["bits"], "0x7ff8000000000000");
}
