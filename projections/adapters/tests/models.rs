//! `integral`, `expr`, `heston`, `portfolio_var` and `bootstrap`: the laws, and every bad input with its fault.

use forge_adapters::Registry;
use forge_adapters::laws::{Bench, MemoryBlobs};
use forge_adapters::monte_carlo::kernel::{self, ShardRun};
use forge_adapters::npy::{Dtype, Header};
use forge_event::Digest;
use forge_event::limits::INLINE_BYTES_MAX;
use forge_projections::family::{Families, Family, NoBlobs, Past, PlanHints, SpecFault};
use proptest::prelude::*;
use serde_json::{Value, json};

fn family() -> &'static dyn Family {
    static REGISTRY: Registry = Registry;
    REGISTRY.newest("monte_carlo").expect("the family is built in")
}

fn npy(dtype: Dtype, shape: &[u64], values: &[f64]) -> Vec<u8> {
    let mut bytes = Header::c_order(dtype, shape).encode();
    for value in values {
        match dtype {
            Dtype::F64 => bytes.extend(value.to_le_bytes()),
            Dtype::F32 => bytes.extend((*value as f32).to_le_bytes()),
        }
    }
    bytes
}

fn column(values: &[f64]) -> Vec<u8> {
    npy(Dtype::F64, &[values.len() as u64], values)
}

fn option(more: Value) -> Value {
    let mut params =
        json!({"spot": 100, "strike": 105, "rate": 0.05, "dividend_yield": 0.01, "maturity": 0.75, "option": "call"});
    for (key, value) in more.as_object().expect("fields") {
        params[key] = value.clone();
    }
    params
}

/// Good parameters of each model; the digest is that of any blob.
fn good(model: &str) -> Value {
    let params = match model {
        "integral" => {
            json!({"expression": "exp(-x0^2) * if(x1 > 0.5, x1, 0)", "lower": [0, -1], "upper": [1, 2]})
        }
        "expr" => json!({"expression": "max(spot*exp(vol*z0) - 100*u1, 0)", "constants": {"vol": 0.2, "spot": 100}}),
        "heston" => option(json!({"steps": 5, "v0": 0.04, "kappa": 2, "theta": 0.05, "xi": 0.6, "rho": -0.7})),
        "portfolio_var" => json!({"weights": [100, -50, 25], "mean": [0.01, 0.02, 0],
            "covariance": [[0.04, 0.01, 0.02], [0.01, 0.09, 0.0], [0.02, 0.0, 0.0625]]}),
        _ => json!({"column": Digest::of(b"any").to_string(), "statistic": "mean"}),
    };
    json!({"model": model, "params": params, "samples": 100000, "seed": 42})
}

const ALL: [&str; 5] = ["mean", "variance", "stderr", "hist", "quantiles"];

fn keeps_the_laws(mut spec: Value, blobs: &MemoryBlobs) -> Value {
    for (field, value) in [
        ("samples", json!(300)),
        ("outputs", json!(ALL)),
        ("hist", json!({"edges": [-10.0, 0.0, 0.5, 10.0]})),
        ("quantiles", json!([0.0, 0.01, 0.5, 0.99])),
    ] {
        spec[field] = value;
    }
    let groupings = [None, Some(1), Some(7), Some(64), Some(299)];
    let document =
        Bench { family: family(), spec, groupings: groupings.to_vec(), blobs, run: &kernel::run_hosted }.check();
    serde_json::from_slice(&document).expect("a document is JSON")
}

#[test]
fn every_model_keeps_the_laws() {
    for model in ["integral", "expr", "heston", "portfolio_var"] {
        for antithetic in [false, true] {
            let mut spec = good(model);
            spec["antithetic"] = json!(antithetic);
            spec["exact_tail"] = json!(antithetic);
            let document = keeps_the_laws(spec, &MemoryBlobs::default());
            assert_eq!([&document["nan"], &document["inf"]], [0, 0], "{model}");
            assert!(document["variance"]["value"].as_f64() > Some(0.0), "{model}: {document}");
        }
    }
}

#[test]
fn a_resampled_column_keeps_the_laws() {
    let blobs = MemoryBlobs::default();
    for (values, statistic) in
        [(&[1.5][..], "mean"), (&[3.0, -1.0, 0.25, 7.0, 7.0], "mean"), (&[9.0, 4.0, -2.0, 0.0], "median")]
    {
        let mut spec = good("bootstrap");
        spec["params"] = json!({"column": blobs.keep(&column(values)).to_string(), "statistic": statistic});
        spec["exact_tail"] = json!(true);
        let document = keeps_the_laws(spec, &blobs);
        let inside = |field: &str| document[field]["value"].as_f64().expect("a number");
        assert!(inside("min") >= -2.0 && inside("max") <= 9.0);
    }
}

#[test]
fn values_that_are_nan_or_infinite_are_counted() {
    let mut spec = good("expr");
    spec["params"] = json!({"expression": "if(u0 < 0.25, ln(-1), if(u0 < 0.5, 1/0, if(u0 < 0.75, -1/0, -z0)))"});
    let document = keeps_the_laws(spec, &MemoryBlobs::default());
    assert!(document["nan"].as_u64() > Some(50) && document["inf"].as_u64() > Some(100), "{document}");
    assert_eq!(document["mean"]["value"], Value::Null);
}

#[test]
fn results_are_inline_whatever_the_values_are() {
    // Values of both signs in every octave there is: the planner must not count on any range.
    let wild = "if(u1 < 0.5, -1, 1) * exp((u0 - 0.5) * 1420)";
    let spec = json!({"model": "expr", "params": {"expression": wild}, "samples": 3_000_000, "seed": 1,
        "outputs": ["quantiles"], "quantiles": [0.5]});
    let spec = family().check_spec(&spec, None).expect("no fault").spec;
    let hints = PlanHints { shard_cells: None, slots: 1 };
    let plan = family().plan(&Past::new(&spec), hints, &NoBlobs).expect("this model plans without blobs");
    let result = kernel::run(&family().payload(&spec, &plan.body, 0)).expect("a payload");
    assert_eq!(family().check_result(&spec, &plan.body, 0, &result), 0);
    assert!(result.len() <= INLINE_BYTES_MAX && result.len() > INLINE_BYTES_MAX / 3, "{}", result.len());
}

#[test]
fn canonical_parameters_have_their_defaults_and_order() {
    let canonical = |spec: &Value| {
        let checked = family().check_spec(spec, None).expect("no fault");
        String::from_utf8(checked.spec).expect("canonical JSON is text")
    };
    assert!(canonical(&good("expr")).contains(r#""constants":{"spot":100.0,"vol":0.2}},"samples""#));
    let bare = json!({"model": "expr", "params": {"expression": "u0\t+ 1"}, "samples": 1, "seed": 1});
    assert!(canonical(&bare).contains(r#""params":{"expression":"u0\t+ 1","constants":{}}"#));
    let heston = r#""maturity":0.75,"option":"call","steps":5,"v0":0.04,"kappa":2.0,"theta":0.05,"xi":0.6,"rho":-0.7}"#;
    assert!(canonical(&good("heston")).contains(heston), "{}", canonical(&good("heston")));
    assert!(
        canonical(&good("portfolio_var"))
            .contains(r#""covariance":[[0.04,0.01,0.02],[0.01,0.09,0.0],[0.02,0.0,0.0625]]}"#)
    );
    let checked = family().check_spec(&good("bootstrap"), None).expect("no fault");
    assert_eq!(checked.inputs, [Digest::of(b"any")]);
}

/// The spec with a field set fails with this pointer and code first; gives the detail and the fix.
fn fault(model: &str, at: &str, value: Value, expected: &str, code: &str) -> String {
    let mut spec = good(model);
    let (parent, name) = at.rsplit_once('/').expect("a pointer");
    spec.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object").insert(name.into(), value);
    let faults = family().check_spec(&spec, None).expect_err("the spec is bad");
    let SpecFault { pointer, code: found, detail, fix } = &faults[0];
    assert_eq!((pointer.as_str(), *found), (format!("/spec{expected}").as_str(), code), "{faults:?}");
    format!("{detail}; {}", fix.as_deref().unwrap_or_default())
}

#[test]
fn a_fault_says_where_it_is_and_what_to_do() {
    let at = "/params/expression";
    for model in ["expr", "integral"] {
        let said = fault(model, at, json!("1 + sine(2)"), at, "unknown-name");
        assert_eq!(said, "at character 5: there is no function `sine`; did you mean `sin`?");
    }
    assert!(fault("expr", at, json!("x0"), at, "unknown-name").contains("u0, u1"));
    assert!(fault("integral", at, json!("x2"), at, "unknown-name").contains("the last one is x1"));
    let constants = json!({"vol": 1, "spots": 1});
    assert!(fault("expr", "/params/constants", constants, at, "unknown-name").contains("`spots`"));
    let apart = json!([[1, -0.9, -0.9], [-0.9, 1, -0.9], [-0.9, -0.9, 1]]);
    let at = "/params/covariance";
    assert!(fault("portfolio_var", at, apart, at, "not-positive-semidefinite").contains("asset 2"));
    let blobs = MemoryBlobs::default();
    let mut late = vec![1.0; 70_000];
    late[69_999] = -f64::NAN;
    let mut spec = good("bootstrap");
    spec["params"]["column"] = json!(blobs.keep(&column(&late)).to_string());
    let checked = family().check_spec(&spec, None).expect("the column alone is bad");
    let faults = family().check_inputs(&checked.spec, &blobs).expect_err("a bad column");
    assert_eq!(faults[0].detail, "value 69999 of the column, counted from 0, is not a number");
}

#[test]
fn a_singular_covariance_is_taken() {
    // One asset twice, one without risk, and one that is the sum of two others.
    let matrix = json!([[0.1, 0.1, 0, 0.3], [0.1, 0.1, 0, 0.3], [0, 0, 0, 0], [0.3, 0.3, 0, 0.9]]);
    let mut spec = good("portfolio_var");
    spec["params"] = json!({"weights": [3, 0, 5, -1], "mean": [0, 0, 1, 0], "covariance": matrix});
    let document = keeps_the_laws(spec, &MemoryBlobs::default());
    // The last is three times the first, so that only the riskless asset is left, up to rounding.
    assert!((document["mean"]["value"].as_f64().expect("a number") - 5.0).abs() < 1e-12, "{document}");
    assert!(document["variance"]["value"].as_f64() < Some(1e-25));
}

#[test]
fn a_resample_needs_a_host_and_the_plan_tells_what_a_shard_costs() {
    let blobs = MemoryBlobs::default();
    let values: Vec<f64> = (0..1000).map(f64::from).collect();
    let mut spec = good("bootstrap");
    spec["params"]["column"] = json!(blobs.keep(&column(&values)).to_string());
    let spec = family().check_spec(&spec, None).expect("no fault").spec;
    let hints = PlanHints { shard_cells: None, slots: 1 };
    let plan = family().plan(&Past::new(&spec), hints, &blobs).expect("the column is there");
    assert!((100_000_000..2_000_000_000).contains(&family().shard_cost_ns(&spec, &plan)));
    let known = family().metadata(&spec, &[&plan.body]);
    assert_eq!((&known["model"], &known["column_values"]), (&json!("bootstrap"), &json!(1000)));
    assert!(known["shard_cells"].as_u64() > Some(0) && known["samples"].is_u64(), "{known:?}");
    assert_eq!(family().plan(&Past::new(&spec), hints, &NoBlobs).expect_err("no blob").code, "blob-missing");
    assert_eq!(kernel::run(&family().payload(&spec, &plan.body, 0)), None);
}

#[test]
fn no_market_of_stochastic_variance_makes_a_check_stumble() {
    for spot in [1e-308, 100.0, 1e308] {
        for variance in [0.0, 1e-300, 1.0, 1e308] {
            for xi in [0.0, 1e10, 1e308] {
                for rate in [-1e308, 0.0, 1e308] {
                    let mut spec = good("heston");
                    for (field, value) in
                        [("spot", spot), ("v0", variance), ("theta", variance), ("xi", xi), ("rate", rate)]
                    {
                        spec["params"][field] = json!(value);
                    }
                    spec["samples"] = json!(40);
                    spec["outputs"] = json!(ALL);
                    spec["hist"] = json!({"edges": [0, 1]});
                    spec["quantiles"] = json!([0.2, 0.9]);
                    let checked = family().check_spec(&spec, None).expect("no fault").spec;
                    let hints = PlanHints { shard_cells: None, slots: 1 };
                    let plan = family().plan(&Past::new(&checked), hints, &NoBlobs).expect("it plans without blobs");
                    let result = kernel::run(&family().payload(&checked, &plan.body, 0)).expect("a payload");
                    assert_eq!(family().check_result(&checked, &plan.body, 0, &result), 0, "{spec}");
                    let mut mid = family().mid_state(&checked, &plan.body);
                    mid.fold(0, &result);
                    assert!(mid.finish().is_some());
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_payload_makes_a_kernel_panic(model in 0..5usize, at in any::<usize>(), byte in any::<u8>(), cut in any::<bool>()) {
        let spec = good(["integral", "expr", "heston", "portfolio_var", "bootstrap"][model]);
        let spec = family().check_spec(&spec, None).expect("no fault").spec;
        let mut payload = family().payload(&spec, &[100], 0);
        let at = at % payload.len();
        payload[at] = byte;
        if cut {
            payload.truncate(at);
        }
        // Only the first steps: the count may be anything now.
        if let Some(mut run) = ShardRun::new(&payload) {
            run.advance();
        }
    }
}
