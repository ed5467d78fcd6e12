//! `null`.

use super::Cases;
use serde_json::json;

pub fn add(cases: &mut Cases) {
    let mut of = cases.of("null", &json!({"shards": 3}));
    of.fields(
        "no shards, or more than a job may have",
        [
            ("/shards", json!(null), "", "missing-field"),
            ("/shards", json!(0), "", "out-of-range"),
            ("/shards", json!(-1), "", "out-of-range"),
            ("/shards", json!(1u64 << 33), "", "out-of-range"),
            ("/shards", json!(2.5), "", "wrong-type"),
            ("/shards", json!("3"), "", "wrong-type"),
        ],
    );
    of.fields(
        "sleep or answer too long",
        [
            ("/sleep_us", json!(60_000_001), "", "out-of-range"),
            ("/payload_bytes", json!(1 << 20), "", "out-of-range"),
            ("/sleep", json!(1), "", "unknown-field"),
        ],
    );
    of.spec("no object", json!([3]), "", "wrong-type");
    of.shard_cells(2, "not-applicable");
}
