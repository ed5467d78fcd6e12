//! Frozen bytes: payloads, plans, results, mid-states and documents. Append only.

use forge_adapters::Registry;
use forge_adapters::laws::{Agent, MemoryBlobs};
use forge_adapters::monte_carlo::kernel;
use forge_adapters::npy::{Dtype, Header};
use forge_event::digest::hex;
use forge_projections::family::{Blobs, Families, NoBlobs, Past, PlanHints};
use serde_json::{Value, json};

/// Plan body, payload, result and mid-state of the first shard in hex, then the document of the whole job.
fn frozen(kind: &str, spec: Value, shard_cells: Option<u64>, run: fn(&[u8]) -> Vec<u8>) -> [String; 5] {
    frozen_on(&NoBlobs, kind, spec, shard_cells, &run)
}

/// The same, where the planner reads blobs.
fn frozen_on(
    blobs: &dyn Blobs,
    kind: &str,
    spec: Value,
    shard_cells: Option<u64>,
    run: &dyn Fn(&[u8]) -> Vec<u8>,
) -> [String; 5] {
    let family = Registry.newest(kind).expect("the kind is known");
    let spec = family.check_spec(&spec, shard_cells).expect("the spec has no fault").spec;
    let plan = family
        .plan(&Past::new(&spec), PlanHints { shard_cells, slots: 1 }, blobs)
        .expect("what the plan reads is there");
    let mut mid = family.mid_state(&spec, &plan.body);
    let mut first = None;
    for shard in 0..plan.shard_count as u32 {
        let payload = family.payload(&spec, &plan.body, shard);
        let result = run(&payload);
        mid.fold(shard, &result);
        first.get_or_insert_with(|| [hex(&payload), hex(&result), hex(&mid.encode())]);
    }
    let [payload, result, state] = first.expect("a job has a shard");
    [
        hex(&plan.body),
        payload,
        result,
        state,
        String::from_utf8(mid.finish().expect("the document follows from the mid-state")).expect("a document is text"),
    ]
}

fn check(name: &str, found: [String; 5], golden: &str) {
    let found = found.join("\n") + "\n";
    assert_eq!(found, golden, "{name}: the frozen bytes changed; found:\n{found}");
}

#[test]
fn null_is_frozen() {
    let found = frozen("null", json!({"shards": 3, "sleep_us": 7, "payload_bytes": 2}), None, |_| vec![0, 0]);
    check("null", found, include_str!("golden/null.txt"));
}

#[test]
fn monte_carlo_is_frozen() {
    let run = |payload: &[u8]| kernel::run(payload).expect("a payload of this version");
    let pi = json!({"model": "pi", "samples": 10, "seed": 1});
    check("pi", frozen("monte_carlo", pi, Some(4), run), include_str!("golden/pi.txt"));
    let barrier = json!({"model": "barrier", "samples": 40, "seed": 2, "stream": 3, "antithetic": true,
        "params": {"spot": 100, "strike": 95, "rate": 0.03, "dividend_yield": 0.01, "volatility": 0.25, "maturity": 0.5,
            "option": "call", "steps": 3, "barrier": 90, "direction": "down", "knock": "out"},
        "outputs": ["mean", "variance", "stderr", "hist", "quantiles"], "hist": {"edges": [0, 5, 10]},
        "quantiles": [0.25, 0.9], "exact_tail": true});
    check("barrier", frozen("monte_carlo", barrier, Some(16), run), include_str!("golden/barrier.txt"));
}

#[test]
fn models_with_lists_and_texts_are_frozen() {
    let run = |payload: &[u8]| kernel::run(payload).expect("a payload of this version");
    for (model, golden, params) in [
        (
            "integral",
            include_str!("golden/integral.txt"),
            json!({"expression": "if(x0 < x1, 1, x1^2)", "lower": [0, -1], "upper": [1, 1.5]}),
        ),
        (
            "expr",
            include_str!("golden/expr.txt"),
            json!({"expression": "tanh(a*z0) + u1^b", "constants": {"b": 3, "a": 0.5}}),
        ),
        (
            "heston",
            include_str!("golden/heston.txt"),
            json!({"spot": 100, "strike": 95, "rate": 0.03, "dividend_yield": 0.01, "maturity": 0.5, "option": "put", "steps": 3,
                "v0": 0.04, "kappa": 1.5, "theta": 0.06, "xi": 0.9, "rho": -0.6}),
        ),
        (
            "portfolio_var",
            include_str!("golden/portfolio_var.txt"),
            json!({"weights": [10, -4], "mean": [0.01, 0], "covariance": [[0.04, 0.01], [0.01, 0.09]]}),
        ),
    ] {
        let spec = json!({"model": model, "samples": 12, "seed": 2, "stream": 3, "antithetic": true, "params": params,
            "outputs": ["mean", "variance", "stderr", "quantiles"], "quantiles": [0.25, 0.9], "exact_tail": true});
        check(model, frozen("monte_carlo", spec, Some(5), run), golden);
    }
}

#[test]
fn a_resampled_column_is_frozen() {
    let blobs = MemoryBlobs::default();
    let mut file = Header::c_order(Dtype::F64, &[3]).encode();
    [1.5f64, -2.0, 0.25].iter().for_each(|value| file.extend(value.to_le_bytes()));
    let spec = json!({"model": "bootstrap", "samples": 12, "seed": 2, "stream": 3,
        "params": {"column": blobs.keep(&file).to_string(), "statistic": "median"}});
    let run = |payload: &[u8]| kernel::run_hosted(payload, &mut Agent::new(&blobs)).expect("a payload of this version");
    let found = frozen_on(&blobs, "monte_carlo", spec, Some(5), &run);
    check("bootstrap", found, include_str!("golden/bootstrap.txt"));
}
