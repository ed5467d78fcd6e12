//! Every bad input has a fault with its pointer, its code and a way out.

use forge_adapters::Registry;
use forge_projections::family::{Families, SpecFault};
use serde_json::{Value, json};

fn good(model: &str) -> Value {
    let mut params = json!({"spot": 100, "strike": 100, "rate": 0.05, "dividend_yield": 0.0, "volatility": 0.2,
        "maturity": 1.0, "option": "call"});
    let more = match model {
        "asian" => json!({"steps": 12, "averaging": "arithmetic"}),
        "barrier" => json!({"steps": 12, "barrier": 120, "direction": "up", "knock": "out"}),
        _ => json!({}),
    };
    for (key, value) in more.as_object().expect("fields") {
        params[key] = value.clone();
    }
    json!({"model": model, "params": params, "samples": 1000000, "seed": 42})
}

fn check(spec: &Value, shard_cells: Option<u64>) -> Result<String, Vec<SpecFault>> {
    let family = Registry.newest("monte_carlo").expect("the family is built in");
    family.check_spec(spec, shard_cells).map(|c| String::from_utf8(c.spec).expect("canonical JSON is text"))
}

/// The spec with a field set (or removed, with null) fails with exactly this pointer and code; gives the fix.
fn fault(model: &str, at: &str, value: Value, code: &str) -> String {
    let mut spec = good(model);
    let (parent, name) = at.rsplit_once('/').expect("a pointer");
    let parent = spec.pointer_mut(parent).and_then(Value::as_object_mut).expect("the parent is an object");
    if value == json!("REMOVE") {
        parent.remove(name);
    } else {
        parent.insert(name.into(), value);
    }
    let faults = check(&spec, None).expect_err("the spec is bad");
    let found: Vec<(&str, &str)> = faults.iter().map(|f| (&*f.pointer, f.code)).collect();
    assert!(found.iter().any(|(p, c)| p.starts_with(&format!("/spec{at}")) && *c == code), "{at}: {faults:?}");
    assert!(faults.iter().all(|f| !f.detail.is_empty()));
    faults[0].fix.clone().unwrap_or_default()
}

#[test]
fn defaults_are_filled_in_and_the_order_is_fixed() {
    let canonical = check(&good("european"), None);
    let expected = r#"{"model":"european","params":{"spot":100.0,"strike":100.0,"rate":0.05,"dividend_yield":0.0,"volatility":0.2,"maturity":1.0,"option":"call"},"samples":1000000,"seed":42,"stream":0,"antithetic":false,"outputs":["mean","stderr"],"hist":null,"quantiles":[],"exact_tail":false}"#;
    assert_eq!(canonical, Ok(expected.into()));
    let pi = check(&json!({"model": "pi", "samples": 1, "seed": "18446744073709551615"}), None);
    assert!(pi.expect("no fault").contains(r#""params":{},"samples":1,"seed":18446744073709551615"#));
    for model in ["asian", "barrier"] {
        assert!(check(&good(model), Some(4096)).is_ok());
    }
}

#[test]
fn an_integer_and_its_text_are_one_seed() {
    let mut text = good("european");
    text["seed"] = json!("42");
    assert_eq!(check(&text, None), check(&good("european"), None));
}

#[test]
fn numbers_out_of_range_are_refused() {
    for (at, value) in [
        ("/samples", json!(0)),
        ("/samples", json!((1u64 << 40) + 1)),
        ("/samples", json!(-5)),
        ("/seed", json!(-1)),
        ("/seed", json!("18446744073709551616")),
        ("/seed", json!(1.5)),
        ("/stream", json!("0x10")),
        ("/params/volatility", json!(-0.1)),
        ("/params/maturity", json!(0)),
        ("/params/maturity", json!(-1)),
        ("/params/strike", json!(0)),
        ("/params/spot", json!(-3)),
    ] {
        fault("european", at, value, "out-of-range");
    }
    fault("asian", "/params/steps", json!(0), "out-of-range");
    fault("asian", "/params/steps", json!(65537), "out-of-range");
    fault("barrier", "/params/barrier", json!(0.0), "out-of-range");
}

#[test]
fn other_types_are_refused() {
    fault("european", "/samples", serde_json::from_str("1e8").expect("a number"), "wrong-type");
    fault("european", "/samples", json!("100"), "wrong-type");
    fault("european", "/params", json!([]), "wrong-type");
    fault("european", "/params/spot", json!("100"), "wrong-type");
    fault("european", "/antithetic", json!(1), "wrong-type");
    fault("european", "/outputs", json!("mean"), "wrong-type");
    fault("european", "/quantiles", json!(["a"]), "wrong-type");
    fault("european", "/seed", json!(null), "missing-field");
}

#[test]
fn words_are_checked_and_a_near_one_is_offered() {
    assert_eq!(fault("european", "/params/option", json!("cal"), "unknown-value"), "did you mean `call`?");
    assert_eq!(fault("asian", "/params/averaging", json!("geometrical"), "unknown-value"), "did you mean `geometric`?");
    fault("barrier", "/params/direction", json!("sideways"), "unknown-value");
    fault("barrier", "/params/knock", json!("over"), "unknown-value");
    assert_eq!(fault("european", "/outputs", json!(["men"]), "unknown-value"), "did you mean `mean`?");
    fault("european", "/outputs", json!(["mean", "mean"]), "duplicate");
}

#[test]
fn unknown_fields_are_refused_and_a_near_one_is_offered() {
    assert_eq!(fault("european", "/sample", json!(5), "unknown-field"), "did you mean `samples`?");
    assert_eq!(fault("european", "/params/volatlity", json!(5), "unknown-field"), "did you mean `volatility`?");
    fault("european", "/params/steps", json!(5), "unknown-field");
    fault("pi", "/params/spot", json!(5), "unknown-field");
    fault("european", "/hist", json!({"edges": [0, 1], "bins": 3}), "unknown-field");
}

#[test]
fn missing_fields_are_named_with_an_example() {
    for at in ["/model", "/params", "/samples", "/seed", "/params/strike", "/params/dividend_yield", "/params/option"] {
        let fix = fault("european", at, json!("REMOVE"), "missing-field");
        assert!(fix.starts_with("add \""), "{fix}");
    }
}

#[test]
fn what_an_output_needs_must_be_given() {
    let mut spec = good("european");
    spec["outputs"] = json!(["hist", "quantiles"]);
    let faults = check(&spec, None).expect_err("neither edges nor quantiles are given");
    let found: Vec<(&str, &str)> = faults.iter().map(|f| (&*f.pointer, f.code)).collect();
    assert_eq!(found, [("/spec/hist", "missing-field"), ("/spec/quantiles", "missing-field")]);
}

#[test]
fn edges_and_quantiles_are_checked() {
    fault("european", "/hist", json!({"edges": [0.0, 2.0, 1.0]}), "not-ascending");
    fault("european", "/hist", json!({"edges": [0.0, 1.0, 1.0]}), "not-ascending");
    fault("european", "/hist", json!({"edges": [0.0]}), "out-of-range");
    fault("european", "/hist", json!({"edges": [0.0, null]}), "wrong-type");
    fault("european", "/hist", json!({}), "missing-field");
    fault("european", "/quantiles", json!([0.5, 1.01]), "out-of-range");
    fault("european", "/quantiles", json!([-0.01]), "out-of-range");
}

#[test]
fn models_are_known_or_unknown() {
    fault("european", "/model", json!("wasm"), "unknown-model");
    assert_eq!(fault("european", "/model", json!("europaen"), "unknown-model"), "did you mean `european`?");
}

#[test]
fn what_would_not_be_inline_is_refused() {
    let mut spec = good("european");
    spec["outputs"] = json!(["mean", "hist"]);
    spec["hist"] = json!({"edges": (0..5000).collect::<Vec<_>>()});
    let faults = check(&spec, None).expect_err("the document would be too large");
    assert_eq!((&*faults[0].pointer, faults[0].code), ("/spec/hist/edges", "too-large-inline"));

    spec["hist"] = json!({"edges": (0..600).collect::<Vec<_>>()});
    assert!(check(&spec, None).is_ok());

    // Half of a million values cannot be the tail of one shard, but of many.
    let mut spec = good("european");
    spec["outputs"] = json!(["quantiles"]);
    spec["quantiles"] = json!([0.51]);
    spec["exact_tail"] = json!(true);
    assert!(check(&spec, None).is_ok());
    let faults = check(&spec, Some(100_000)).expect_err("that many do not fit");
    assert_eq!((&*faults[0].pointer, faults[0].code), ("/shard_cells", "too-large-inline"));
}

#[test]
fn shard_cells_have_their_bounds() {
    let faults = check(&good("european"), Some(0)).expect_err("a shard has a cell");
    assert_eq!((&*faults[0].pointer, faults[0].code), ("/shard_cells", "out-of-range"));
    let mut spec = good("european");
    spec["samples"] = json!(1u64 << 40);
    let faults = check(&spec, Some(255)).expect_err("too many shards");
    assert_eq!((&*faults[0].pointer, faults[0].code), ("/shard_cells", "out-of-range"));
    assert!(check(&spec, Some(256)).is_ok() && check(&spec, None).is_ok());
}

#[test]
fn all_faults_are_found_at_once() {
    let spec = json!({"model": "european", "params": {"spot": -1}, "samples": 0, "sede": 1, "outputs": ["x"]});
    let faults = check(&spec, None).expect_err("much is wrong");
    assert!(faults.len() >= 9, "{faults:?}");
}
