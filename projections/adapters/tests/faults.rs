//! Every bad input of every family has one fault with its pointer, its code and a way out; and what those of `monte_carlo` say.

mod bad_input;

use bad_input::Cases;
use forge_adapters::Registry;
use forge_projections::family::{Families, Past, PlanHints, SpecFault};
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

/// Faults of a submission: of the spec itself, or else of its inputs.
fn faults(cases: &Cases, kind: &str, spec: &Value, shard_cells: Option<u64>) -> Vec<SpecFault> {
    let family = Registry.newest(kind).expect("the family is built in");
    let checked = family.check_spec(spec, shard_cells);
    checked.and_then(|checked| family.check_inputs(&checked.spec, &cases.blobs)).err().unwrap_or_default()
}

#[test]
fn every_bad_input_has_one_fault_and_a_way_out() {
    let cases = Cases::all();
    let mut wrong = Vec::new();
    for case in &cases.refused {
        let found = faults(&cases, case.kind, &case.spec, case.shard_cells);
        let said = |f: &SpecFault| !f.detail.is_empty() && f.fix.as_ref().is_some_and(|fix| !fix.is_empty());
        let one = matches!(&found[..], [f] if f.pointer == case.pointer && f.code == case.code && said(f));
        if !one {
            wrong.push(format!("{}, {}: {} {} is due, found {found:?}", case.kind, case.what, case.pointer, case.code));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases.refused.len() > 300, "{}", cases.refused.len());
}

#[test]
fn what_only_looks_bad_is_planned() {
    let cases = Cases::all();
    for case in &cases.taken {
        assert_eq!(faults(&cases, case.kind, &case.spec, None), [], "{}", case.what);
        let family = Registry.newest(case.kind).expect("the family is built in");
        let spec = family.check_spec(&case.spec, None).expect("no fault").spec;
        let hints = PlanHints { shard_cells: None, slots: 1 };
        let plan = family.plan(&Past::new(&spec), hints, &cases.blobs);
        assert!(plan.is_ok_and(|plan| plan.shard_count > 0), "{}", case.what);
    }
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
fn a_near_word_is_offered() {
    assert_eq!(fault("european", "/params/option", json!("cal"), "unknown-value"), "did you mean `call`?");
    assert_eq!(fault("asian", "/params/averaging", json!("geometrical"), "unknown-value"), "did you mean `geometric`?");
    assert_eq!(fault("european", "/outputs", json!(["men"]), "unknown-value"), "did you mean `mean`?");
    assert_eq!(fault("european", "/sample", json!(5), "unknown-field"), "did you mean `samples`?");
    assert_eq!(fault("european", "/params/volatlity", json!(5), "unknown-field"), "did you mean `volatility`?");
    assert_eq!(fault("european", "/model", json!("europaen"), "unknown-model"), "did you mean `european`?");
}

#[test]
fn what_is_just_inline_is_taken() {
    let mut spec = good("european");
    spec["outputs"] = json!(["mean", "hist"]);
    spec["hist"] = json!({"edges": (0..600).collect::<Vec<_>>()});
    assert!(check(&spec, None).is_ok());
    // Half of a million values cannot be the tail of one shard, but of many.
    let mut spec = good("european");
    spec["outputs"] = json!(["quantiles"]);
    spec["quantiles"] = json!([0.51]);
    spec["exact_tail"] = json!(true);
    assert!(check(&spec, None).is_ok());
    let mut spec = good("european");
    spec["samples"] = json!(1u64 << 40);
    assert!(check(&spec, Some(256)).is_ok() && check(&spec, None).is_ok());
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
fn all_faults_are_found_at_once() {
    let spec = json!({"model": "european", "params": {"spot": -1}, "samples": 0, "sede": 1, "outputs": ["x"]});
    let faults = check(&spec, None).expect_err("much is wrong");
    assert!(faults.len() >= 9, "{faults:?}");
}
