//! `key=value` on the command line → the spec's JSON.

use crate::fail::Failure;
use serde_json::{Map, Number, Value};

/// Fields that stand under `params` for the Monte Carlo models.
const PARAMS: [&str; 12] = [
    "spot",
    "strike",
    "rate",
    "dividend_yield",
    "volatility",
    "maturity",
    "option",
    "steps",
    "averaging",
    "barrier",
    "direction",
    "knock",
];

/// Reads `key=value` pairs into a spec. Keys may be dotted (`params.spot=100`); `1e8` is an integer here.
pub fn spec(kind: &str, pairs: &[String]) -> Result<Map<String, Value>, Failure> {
    let mut spec = Map::new();
    for pair in pairs {
        let (key, text) = pair.split_once('=').filter(|(k, _)| !k.is_empty()).ok_or_else(|| {
            Failure::usage(format!("`{pair}` is not key=value")).with_fix("for example: samples=1e8, params.spot=100")
        })?;
        let path: Vec<&str> = match key {
            key if kind == "monte_carlo" && PARAMS.contains(&key) => vec!["params", key],
            key => key.split('.').collect(),
        };
        insert(&mut spec, &path, value(text))
            .map_err(|()| Failure::usage(format!("`{key}` is given twice, or is both a field and an object")))?;
    }
    if kind == "monte_carlo" {
        spec.entry("model").or_insert_with(|| "pi".into());
        spec.entry("seed").or_insert_with(|| 0.into());
    }
    Ok(spec)
}

fn insert(map: &mut Map<String, Value>, path: &[&str], value: Value) -> Result<(), ()> {
    match path {
        [] => Err(()),
        [last] => match map.insert((*last).into(), value) {
            None => Ok(()),
            Some(_) => Err(()),
        },
        [first, rest @ ..] => {
            let inner = map.entry(*first).or_insert_with(|| Value::Object(Map::new()));
            insert(inner.as_object_mut().ok_or(())?, rest, value)
        }
    }
}

/// JSON if it is JSON, an integer if it is one in floating clothes, a list if it has commas, else a string.
pub fn value(text: &str) -> Value {
    if let Some(number) = number(text) {
        return number;
    }
    match serde_json::from_str::<Value>(text) {
        Ok(value) => value,
        Err(_) if text.contains(',') => text.split(',').map(|t| value(t.trim())).collect(),
        Err(_) => text.into(),
    }
}

fn number(text: &str) -> Option<Value> {
    let exponent = text.contains(['e', 'E']);
    let number: f64 =
        text.parse().ok().filter(|_| exponent && text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)))?;
    // Below 2^53 a float that is whole is exact.
    if number.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&number) {
        return Some(Value::from(number as u64));
    }
    Number::from_f64(number).map(Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_may_be_written_short() {
        assert_eq!(value("1e8"), json!(100_000_000u64));
        assert_eq!(value("2.5e3"), json!(2500));
        assert_eq!(value("1e-2"), json!(0.01));
        assert_eq!(value("100"), json!(100));
        assert_eq!(value("0.05"), json!(0.05));
        assert_eq!(value("18446744073709551615"), json!(u64::MAX));
    }

    #[test]
    fn words_lists_and_json_are_told_apart() {
        assert_eq!(value("call"), json!("call"));
        assert_eq!(value("true"), json!(true));
        assert_eq!(value("mean,stderr"), json!(["mean", "stderr"]));
        assert_eq!(value("0.01,0.99"), json!([0.01, 0.99]));
        assert_eq!(value("{\"edges\":[0,1]}"), json!({"edges": [0, 1]}));
        assert_eq!(value("e8"), json!("e8"));
    }

    #[test]
    fn parameters_of_a_model_find_their_place() {
        let pairs = ["model=european", "spot=100", "params.strike=1e2", "samples=1e6"].map(String::from);
        let spec = spec("monte_carlo", &pairs).expect("reads");
        assert_eq!(
            Value::Object(spec),
            json!({"model": "european", "params": {"spot": 100, "strike": 100}, "samples": 1_000_000, "seed": 0})
        );
    }

    #[test]
    fn a_pair_given_twice_is_a_mistake() {
        assert!(spec("null", &["shards=1".into(), "shards=2".into()]).is_err());
        assert!(spec("null", &["shards".into()]).is_err());
    }
}
