//! `monte_carlo`.

use super::{Cases, files, with};
use forge_event::Digest;
use serde_json::{Value, json};

const KIND: &str = "monte_carlo";

fn spec(model: &str, params: Value) -> Value {
    json!({"model": model, "params": params, "samples": 100_000, "seed": 42})
}

fn option(more: Value) -> Value {
    let mut params = json!({"spot": 100, "strike": 105, "rate": 0.05, "dividend_yield": 0.01, "volatility": 0.2,
        "maturity": 0.75, "option": "call"});
    for (name, value) in more.as_object().expect("fields") {
        params[name] = value.clone();
    }
    params
}

pub fn add(cases: &mut Cases) {
    options(cases);
    outputs(cases);
    expressions(cases);
    portfolios(cases);
    columns(cases);
}

fn options(cases: &mut Cases) {
    let european = spec("european", option(json!({})));
    let mut of = cases.of(KIND, &european);
    of.fields(
        "samples 0 or > 2^40",
        [
            ("/samples", json!(0), "", "out-of-range"),
            ("/samples", json!((1u64 << 40) + 1), "", "out-of-range"),
            ("/samples", json!(-5), "", "out-of-range"),
            ("/samples", json!(1e8), "", "wrong-type"),
            ("/samples", json!("100"), "", "wrong-type"),
            ("/samples", json!(null), "", "missing-field"),
        ],
    );
    of.fields(
        "sigma < 0, T <= 0, K <= 0, S <= 0",
        [
            ("/params/volatility", json!(-0.1), "", "out-of-range"),
            ("/params/maturity", json!(0), "", "out-of-range"),
            ("/params/maturity", json!(-1), "", "out-of-range"),
            ("/params/strike", json!(0), "", "out-of-range"),
            ("/params/strike", json!(-100), "", "out-of-range"),
            ("/params/spot", json!(-3), "", "out-of-range"),
        ],
    );
    of.fields(
        "seeds that are no u64",
        [
            ("/seed", json!(-1), "", "out-of-range"),
            ("/seed", json!("18446744073709551616"), "", "out-of-range"),
            ("/seed", json!(1.5), "", "out-of-range"),
            ("/seed", json!(null), "", "missing-field"),
            ("/stream", json!("0x10"), "", "out-of-range"),
        ],
    );
    of.fields(
        "fields that are missing, of another type or of no name",
        [
            ("/model", json!(null), "", "missing-field"),
            ("/model", json!("wasm"), "", "unknown-model"),
            ("/model", json!("europaen"), "", "unknown-model"),
            ("/model", json!(7), "", "wrong-type"),
            ("/params", json!(null), "", "missing-field"),
            ("/params", json!([]), "", "wrong-type"),
            ("/params/strike", json!(null), "", "missing-field"),
            ("/params/dividend_yield", json!(null), "", "missing-field"),
            ("/params/option", json!(null), "", "missing-field"),
            ("/params/option", json!("cal"), "", "unknown-value"),
            ("/params/spot", json!("100"), "", "wrong-type"),
            ("/params/volatlity", json!(5), "", "unknown-field"),
            ("/params/steps", json!(5), "", "unknown-field"),
            ("/sample", json!(5), "", "unknown-field"),
            ("/antithetic", json!(1), "", "wrong-type"),
        ],
    );
    of.shard_cells(0, "out-of-range");
    let many = with(&european, "/samples", json!(1u64 << 40));
    cases.of(KIND, &many).shard_cells(255, "out-of-range");
    let asian = spec("asian", option(json!({"steps": 12, "averaging": "arithmetic"})));
    cases.of(KIND, &asian).fields(
        "steps and averages that are none",
        [
            ("/params/steps", json!(0), "", "out-of-range"),
            ("/params/steps", json!(65_537), "", "out-of-range"),
            ("/params/averaging", json!("geometrical"), "", "unknown-value"),
        ],
    );
    let barrier = spec("barrier", option(json!({"steps": 12, "barrier": 120, "direction": "up", "knock": "out"})));
    cases.of(KIND, &barrier).fields(
        "barriers that are none",
        [
            ("/params/barrier", json!(0.0), "", "out-of-range"),
            ("/params/direction", json!("sideways"), "", "unknown-value"),
            ("/params/knock", json!("over"), "", "unknown-value"),
        ],
    );
    let mut market = option(json!({"steps": 5, "v0": 0.04, "kappa": 2, "theta": 0.05, "xi": 0.6, "rho": -0.7}));
    market["volatility"] = json!(null);
    let heston = spec("heston", market);
    cases.of(KIND, &heston).fields(
        "|rho| > 1, variances below 0",
        [
            ("/params/rho", json!(-1.0001), "", "out-of-range"),
            ("/params/rho", json!(1.5), "", "out-of-range"),
            ("/params/v0", json!(-0.01), "", "out-of-range"),
            ("/params/kappa", json!(-0.01), "", "out-of-range"),
            ("/params/theta", json!(-0.01), "", "out-of-range"),
            ("/params/xi", json!(-0.01), "", "out-of-range"),
            ("/params/steps", json!(0), "", "out-of-range"),
            ("/params/maturity", json!(0), "", "out-of-range"),
        ],
    );
    cases
        .of(KIND, &json!({"model": "pi", "samples": 1, "seed": 1}))
        .fields("parameters where none are taken", [("/params", json!({"spot": 5}), "/spot", "unknown-field")]);
}

fn outputs(cases: &mut Cases) {
    let mut good = spec("european", option(json!({})));
    good["outputs"] = json!(["mean", "hist", "quantiles"]);
    (good["hist"], good["quantiles"]) = (json!({"edges": [0.0, 10.0]}), json!([0.5]));
    let mut of = cases.of(KIND, &good);
    of.fields(
        "unsorted, duplicate or non-finite edges",
        [
            ("/hist/edges", json!([0.0, 2.0, 1.0]), "/2", "not-ascending"),
            ("/hist/edges", json!([0.0, 1.0, 1.0]), "/2", "not-ascending"),
            ("/hist/edges", json!([0.0, null]), "/1", "wrong-type"),
            ("/hist/edges", json!([0.0, "inf"]), "/1", "wrong-type"),
            ("/hist/edges", json!([0.0]), "", "out-of-range"),
            ("/hist", json!({}), "/edges", "missing-field"),
            ("/hist/bins", json!(3), "", "unknown-field"),
            ("/hist", json!(null), "", "missing-field"),
        ],
    );
    of.fields(
        "quantiles outside of 0 to 1",
        [
            ("/quantiles", json!([0.5, 1.01]), "/1", "out-of-range"),
            ("/quantiles", json!([-0.01]), "/0", "out-of-range"),
            ("/quantiles", json!(["a"]), "/0", "wrong-type"),
            ("/quantiles", json!(null), "", "missing-field"),
        ],
    );
    of.fields(
        "outputs that are none",
        [
            ("/outputs", json!(["men", "hist", "quantiles"]), "/0", "unknown-value"),
            ("/outputs", json!(["mean", "mean"]), "/1", "duplicate"),
            ("/outputs", json!("mean"), "", "wrong-type"),
        ],
    );
    let edges: Vec<u32> = (0..5000).collect();
    of.fields("a document that would not be inline", [("/hist/edges", json!(edges), "", "too-large-inline")]);
    of.taken("the variance of one sample, which is null", "/samples", json!(1));
    let tail = json!({"model": "pi", "samples": 1_000_000, "seed": 1, "outputs": ["quantiles"], "quantiles": [0.51],
        "exact_tail": true});
    cases.of(KIND, &tail).shard_cells(100_000, "too-large-inline");
}

fn expressions(cases: &mut Cases) {
    let expr = spec("expr", json!({"expression": "exp(0.2*z0)", "constants": {}}));
    let integral = spec("integral", json!({"expression": "x0 + x1", "lower": [0, -1], "upper": [1, 2]}));
    let deep = json!(vec!["1"; 600].join("+"));
    for good in [&expr, &integral] {
        cases.of(KIND, good).fields(
            "expression with unknown name, or none at all",
            [
                ("/params/expression", json!("1 + sine(2)"), "", "unknown-name"),
                ("/params/expression", json!("y0"), "", "unknown-name"),
                ("/params/expression", json!("1 +"), "", "bad-expression"),
                ("/params/expression", json!("1 < 2"), "", "bad-expression"),
                ("/params/expression", deep.clone(), "", "expression-too-large"),
                ("/params/expression", json!(5), "", "wrong-type"),
                ("/params/expression", json!(null), "", "missing-field"),
            ],
        );
    }
    let mut of = cases.of(KIND, &expr);
    of.fields(
        "expression with unknown name, or none at all",
        [("/params/expression", json!("x0"), "", "unknown-name")],
    );
    for name in ["u0", "z17", "exp", "if", "2x", "", "a b", "ä"] {
        of.fields("constants that cannot be", [("/params/constants", json!({name: 1}), "", "bad-name")]);
    }
    of.fields(
        "constants that cannot be",
        [
            ("/params/constants", json!({"vol": "0.2"}), "/vol", "wrong-type"),
            ("/params/constants", json!([1]), "", "wrong-type"),
        ],
    );
    of.taken("samples that are not a number, which are counted", "/params/expression", json!("ln(0 - u0)"));
    cases.of(KIND, &integral).fields(
        "boxes that are none",
        [
            ("/params/expression", json!("x2"), "", "unknown-name"),
            ("/params/upper", json!([1]), "", "length-mismatch"),
            ("/params/lower", json!([]), "", "out-of-range"),
            ("/params/upper", json!([0, 2]), "/0", "out-of-range"),
            ("/params/upper", json!([1, -2]), "/1", "out-of-range"),
            ("/params/upper", json!([1e308, 1e308]), "", "out-of-range"),
            ("/params/upper", json!([1, "2"]), "/1", "wrong-type"),
            ("/params/constants", json!({}), "", "unknown-field"),
        ],
    );
}

fn portfolios(cases: &mut Cases) {
    let identity = json!([[1, 0, 0], [0, 1, 0], [0, 0, 1]]);
    let good = json!({"weights": [100, -50, 25], "mean": [0.01, 0.02, 0], "covariance": identity});
    let mut of = cases.of(KIND, &spec("portfolio_var", good));
    let apart = json!([[1, -0.9, -0.9], [-0.9, 1, -0.9], [-0.9, -0.9, 1]]);
    of.fields(
        "correlation not PSD",
        [
            // Three assets cannot all move against each other so strongly.
            ("/params/covariance", apart, "", "not-positive-semidefinite"),
            ("/params/covariance", json!([[1, 0, 0], [0, -1, 0], [0, 0, 1]]), "", "not-positive-semidefinite"),
            ("/params/covariance", json!([[0, 1, 0], [1, 1, 0], [0, 0, 1]]), "", "not-positive-semidefinite"),
            ("/params/covariance", json!([[1, 1.1, 0], [1.1, 1, 0], [0, 0, 1]]), "", "not-positive-semidefinite"),
            (
                "/params/covariance",
                json!([[1e300, 1e300, 0], [1e300, 1e-300, 0], [0, 0, 1]]),
                "",
                "not-positive-semidefinite",
            ),
            ("/params/covariance", json!([[1, 0, 0], [0, 1, 0.5], [0, 0.4, 1]]), "/2/1", "not-symmetric"),
        ],
    );
    of.fields(
        "lists that do not fit each other",
        [
            ("/params/covariance", json!([[1, 0], [0, 1]]), "", "length-mismatch"),
            ("/params/covariance", json!([[1, 0, 0], [0, 1], [0, 0, 1]]), "/1", "length-mismatch"),
            ("/params/covariance", json!([[1, 0, 0], [0, 1, null], [0, 0, 1]]), "/1/2", "wrong-type"),
            ("/params/covariance", json!({}), "", "wrong-type"),
            ("/params/mean", json!([0]), "", "length-mismatch"),
            ("/params/weights", json!([]), "", "out-of-range"),
            ("/params/weights", json!(vec![1; 129]), "", "out-of-range"),
        ],
    );
}

fn columns(cases: &mut Cases) {
    let any = cases.keep(&files::npy(&[2], &[1.0, 2.0]));
    let mut of = cases.of(KIND, &spec("bootstrap", json!({"column": any, "statistic": "mean"})));
    let mut late = vec![1.0; 70_000];
    late[69_999] = -f64::NAN;
    let columns = [
        (b"1.0\n2.0\n".to_vec(), "not-npy"),
        (files::npy(&[0], &[]), "empty-column"),
        (files::npy_f32(&[2], &[1.0, 2.0]), "npy-dtype"),
        (files::npy(&[2, 1], &[1.0, 2.0]), "npy-shape"),
        (files::npy(&[], &[1.0]), "npy-shape"),
        (files::npy(&[3], &[1.0, 2.0]), "npy-length"),
        (files::npy(&[70_000], &late), "nan-in-column"),
    ];
    for (bytes, code) in columns {
        let column = of.keep(&bytes);
        of.fields("columns that are none", [("/params/column", column, "", code)]);
    }
    let missing = Digest::of(b"not uploaded");
    of.fields(
        "columns that are not there",
        [
            ("/params/column", json!(format!("{missing}")), "", "blob-missing"),
            ("/params/column", json!("sha256:00"), "", "bad-digest"),
            ("/params/column", json!(7), "", "wrong-type"),
            ("/params/column", json!(null), "", "missing-field"),
            ("/params/statistic", json!("mode"), "", "unknown-value"),
            ("/antithetic", json!(true), "", "out-of-range"),
        ],
    );
}
