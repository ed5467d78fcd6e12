//! Laws by random trial: no sharding, no order and no thaw changes a bit; no bytes make the checks panic.

use forge_adapters::Registry;
use forge_adapters::monte_carlo::kernel;
use forge_projections::family::{Families, Family, NoBlobs, Past, Plan, PlanHints};
use proptest::prelude::*;
use serde_json::{Value, json};

fn family() -> &'static dyn Family {
    static REGISTRY: Registry = Registry;
    REGISTRY.newest("monte_carlo").expect("the family is built in")
}

fn params() -> impl Strategy<Value = (&'static str, Value)> {
    let market = (1.0..200.0f64, 1.0..200.0f64, -0.1..0.2f64, -0.1..0.1f64, 0.0..1.5f64, 0.01..5.0f64, any::<bool>());
    let market = market.prop_map(|(spot, strike, rate, dividend_yield, volatility, maturity, call)| {
        json!({"spot": spot, "strike": strike, "rate": rate, "dividend_yield": dividend_yield, "volatility": volatility,
            "maturity": maturity, "option": if call { "call" } else { "put" }})
    });
    (market, 0..4usize, 1..10u32, 10.0..200.0f64, any::<[bool; 2]>()).prop_map(
        |(mut p, model, steps, barrier, flags)| {
            let word = |yes: bool, words: [&'static str; 2]| json!(words[usize::from(yes)]);
            match model {
                0 => ("pi", json!({})),
                1 => ("european", p),
                2 => {
                    p["steps"] = json!(steps);
                    p["averaging"] = word(flags[0], ["arithmetic", "geometric"]);
                    ("asian", p)
                }
                _ => {
                    p["steps"] = json!(steps);
                    p["barrier"] = json!(barrier);
                    p["direction"] = word(flags[0], ["up", "down"]);
                    p["knock"] = word(flags[1], ["in", "out"]);
                    ("barrier", p)
                }
            }
        },
    )
}

fn spec() -> impl Strategy<Value = Value> {
    (params(), 1..900u64, any::<[u64; 2]>(), any::<[bool; 2]>(), proptest::collection::vec(0.0..=1.0f64, 1..4)).prop_map(
        |((model, params), samples, [seed, stream], [antithetic, exact_tail], quantiles)| {
            json!({"model": model, "params": params, "samples": samples, "seed": seed, "stream": stream.to_string(),
                "antithetic": antithetic, "exact_tail": exact_tail, "quantiles": quantiles,
                "outputs": ["mean", "variance", "stderr", "hist", "quantiles"], "hist": {"edges": [0.0, 0.1, 3.0, 50.0]}})
        },
    )
}

fn planned(spec: &Value, shard_cells: Option<u64>) -> (Vec<u8>, Plan) {
    let checked = family().check_spec(spec, shard_cells).expect("the strategy gives good specs").spec;
    let plan = family()
        .plan(&Past::new(&checked), PlanHints { shard_cells, slots: 3 }, &NoBlobs)
        .expect("this family plans without blobs");
    (checked, plan)
}

fn result(spec: &[u8], plan: &Plan, shard: u32) -> Vec<u8> {
    kernel::run(&family().payload(spec, &plan.body, shard)).expect("a payload of this version")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sharding_and_no_order_changes_a_bit(spec in spec(), cells in 1..300u64, order in any::<u64>()) {
        let (checked, whole) = planned(&spec, Some(1000));
        let mut mid = family().mid_state(&checked, &whole.body);
        mid.fold(0, &result(&checked, &whole, 0));
        let (document, state) = (mid.finish().expect("the document follows from the mid-state"), mid.encode());

        let (checked, plan) = planned(&spec, Some(cells));
        let mut shards: Vec<u32> = (0..plan.shard_count as u32).collect();
        shards.sort_by_key(|s| u64::from(*s + 1).wrapping_mul(order | 1).rotate_left(23).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut mid = family().mid_state(&checked, &plan.body);
        for (i, shard) in shards.iter().enumerate() {
            let result = result(&checked, &plan, *shard);
            prop_assert_eq!(family().check_result(&checked, &plan.body, *shard, &result), 0);
            mid.fold(*shard, &result);
            if i % 5 == 1 {
                mid = family().thaw(&checked, &plan.body, &mid.encode()).expect("a frozen state thaws");
            }
        }
        prop_assert_eq!(mid.encode(), state);
        prop_assert_eq!(mid.finish().expect("the document follows from the mid-state"), document);
    }

    #[test]
    fn no_bytes_make_the_checks_panic(spec in spec(), bytes in proptest::collection::vec(any::<u8>(), 0..300),
                                      at in any::<usize>(), byte in any::<u8>()) {
        let (checked, plan) = planned(&spec, Some(100));
        family().check_result(&checked, &plan.body, 0, &bytes);
        family().thaw(&checked, &plan.body, &bytes);
        // Near misses reach deeper than noise.
        let mut near = result(&checked, &plan, 0);
        let at = at % near.len();
        near[at] = byte;
        family().check_result(&checked, &plan.body, 0, &near);
        family().thaw(&checked, &plan.body, &near);
        family().check_result(&checked, &plan.body, u32::MAX, &near);
    }

    #[test]
    fn a_result_of_another_shard_or_spec_has_another_count_or_passes(spec in spec(), cells in 1..300u64) {
        let (checked, plan) = planned(&spec, Some(cells));
        let last = plan.shard_count as u32 - 1;
        let own = result(&checked, &plan, last);
        prop_assert_eq!(family().check_result(&checked, &plan.body, last, &own), 0);
        let samples = spec["samples"].as_u64().expect("a number");
        if last > 0 && samples % cells != 0 {
            prop_assert_ne!(family().check_result(&checked, &plan.body, 0, &own), 0);
        }
    }
}
