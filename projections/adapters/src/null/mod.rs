//! `null`: shards that do nothing, for measuring the hub.
//!
//! A job may have 2³² of them, so nothing here parses JSON per shard: the plan's body already is the
//! payload of every shard.

mod mid;

use crate::faults::{Faults, Fields};
use crate::json;
use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use forge_event::ShardIndex;
use forge_event::limits::{INLINE_BYTES_MAX, JOB_SHARDS_MAX};
use forge_projections::family::{
    Blobs, CheckedSpec, Family, Fault, Metadata, MidState, Past, Plan, PlanHints, SpecFault,
};
use serde_json::Value;

/// Longest sleep of one shard. Units: microseconds.
pub const SLEEP_US_MAX: u64 = 60_000_000;

/// The result has another length than the spec asks for.
pub const CHECK_LENGTH: u32 = 1 << 0;
/// The result holds a byte that is not zero.
pub const CHECK_ZERO: u32 = 1 << 1;

const PAYLOAD_BYTES: usize = 9;
const PAYLOAD_FORMAT: u8 = 1;

/// The family.
#[derive(Clone, Copy, Debug, Default)]
pub struct Null;

/// What an agent does for a shard: sleep, then answer with zeros.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Payload {
    pub sleep_us: u32,
    pub payload_bytes: u32,
}

impl Payload {
    /// Shape: format byte, `sleep_us`, `payload_bytes`, both little-endian u32.
    pub fn encode(self) -> [u8; PAYLOAD_BYTES] {
        let mut bytes = [PAYLOAD_FORMAT; PAYLOAD_BYTES];
        bytes[1..5].copy_from_slice(&self.sleep_us.to_le_bytes());
        bytes[5..].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes
    }

    /// Reads what [`Payload::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Option<Payload> {
        let bytes: &[u8; PAYLOAD_BYTES] = bytes.try_into().ok()?;
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let payload = Payload { sleep_us: word(1), payload_bytes: word(5) };
        (bytes[0] == PAYLOAD_FORMAT && payload.payload_bytes as usize <= INLINE_BYTES_MAX).then_some(payload)
    }
}

struct Spec {
    shards: u64,
    payload: Payload,
}

impl Spec {
    fn read(value: &Value, faults: &mut Faults) -> Option<Spec> {
        let map = faults.object("/spec", value)?;
        let mut fields = Fields::new("/spec", map, &["shards", "sleep_us", "payload_bytes"], faults);
        let shards = fields.integer("shards", None, 1, JOB_SHARDS_MAX);
        let sleep_us = fields.integer("sleep_us", Some(0), 0, SLEEP_US_MAX);
        let payload_bytes = fields.integer("payload_bytes", Some(0), 0, INLINE_BYTES_MAX as u64);
        let payload = Payload { sleep_us: sleep_us? as u32, payload_bytes: payload_bytes? as u32 };
        Some(Spec { shards: shards?, payload })
    }

    fn canonical(&self) -> Vec<u8> {
        let Payload { sleep_us, payload_bytes } = self.payload;
        let shards = self.shards;
        format!(r#"{{"shards":{shards},"sleep_us":{sleep_us},"payload_bytes":{payload_bytes}}}"#).into_bytes()
    }

    fn reread(spec: &[u8]) -> Spec {
        let value = serde_json::from_slice(spec).expect("a checked spec is JSON");
        Spec::read(&value, &mut Faults::default()).expect("a checked spec has no fault")
    }
}

fn payload_of(plan: &[u8]) -> Payload {
    Payload::decode(plan).expect("the body of a null plan is the payload of its shards")
}

impl Family for Null {
    fn kind(&self) -> &'static str {
        "null"
    }

    fn version(&self) -> u16 {
        1
    }

    fn check_spec(&self, spec: &Value, shard_cells: Option<u64>) -> Result<CheckedSpec, Vec<SpecFault>> {
        let mut faults = Faults::default();
        let read = Spec::read(spec, &mut faults);
        if shard_cells.is_some() {
            let detail = "a null shard is one cell, so `shard_cells` does not apply";
            faults.add("/shard_cells", "not-applicable", detail, "leave it out; `shards` says how many there are");
        }
        let read = faults.unless_any(read)?;
        Ok(CheckedSpec { spec: read.canonical(), inputs: Vec::new() })
    }

    fn plan(&self, past: &Past<'_>, _hints: PlanHints, _blobs: &dyn Blobs) -> Result<Plan, Fault> {
        let spec = Spec::reread(past.spec);
        Ok(Plan { shard_count: spec.shards, segments: 1, body: spec.payload.encode().to_vec(), last: true })
    }

    fn shard_cost_ns(&self, _: &[u8], plan: &Plan) -> u64 {
        // What a shard costs that does nothing: its way to the agent and back.
        const WAY_NS: u64 = 100_000;
        WAY_NS + u64::from(payload_of(&plan.body).sleep_us) * 1000
    }

    fn metadata(&self, spec: &[u8], _plans: &[&[u8]]) -> Metadata {
        let Spec { shards, payload } = Spec::reread(spec);
        json::object([
            ("shards", shards.into()),
            ("sleep_us", payload.sleep_us.into()),
            ("payload_bytes", payload.payload_bytes.into()),
        ])
    }

    fn payload(&self, _spec: &[u8], plan: &[u8], _shard: ShardIndex) -> Vec<u8> {
        plan.to_vec()
    }

    fn check_result(&self, _spec: &[u8], plan: &[u8], _shard: ShardIndex, result: &[u8]) -> u32 {
        let mut bits = 0;
        if result.len() != payload_of(plan).payload_bytes as usize {
            bits |= CHECK_LENGTH;
        }
        if result.iter().any(|byte| *byte != 0) {
            bits |= CHECK_ZERO;
        }
        bits
    }

    fn mid_state(&self, spec: &[u8], _plan: &[u8]) -> Box<dyn MidState> {
        Box::new(mid::Counter::new(Spec::reread(spec).shards))
    }

    fn thaw(&self, spec: &[u8], _plan: &[u8], bytes: &[u8]) -> Option<Box<dyn MidState>> {
        let counter = mid::Counter::decode(Spec::reread(spec).shards, bytes)?;
        Some(Box::new(counter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    fn check(text: &str) -> Result<String, Vec<(String, &'static str)>> {
        let value = serde_json::from_str(text).expect("the test writes JSON");
        let text = |c: CheckedSpec| String::from_utf8(c.spec).expect("canonical JSON is text");
        Null.check_spec(&value, None).map(text).map_err(|f| f.into_iter().map(|f| (f.pointer, f.code)).collect())
    }

    #[test]
    fn defaults_are_filled_in_fixed_order() {
        assert_eq!(check(r#"{"shards":7}"#), Ok(r#"{"shards":7,"sleep_us":0,"payload_bytes":0}"#.into()));
        assert!(check(r#"{"shards":4294967296,"sleep_us":60000000,"payload_bytes":65536}"#).is_ok());
    }

    #[test]
    fn each_fault_has_its_pointer_and_code() {
        let one = |text: &str| check(text).map_err(|f| f[0].clone()).expect_err("the spec is bad");
        assert_eq!(one("[]"), ("/spec".into(), "wrong-type"));
        assert_eq!(one("{}"), ("/spec/shards".into(), "missing-field"));
        assert_eq!(one(r#"{"shards":0}"#), ("/spec/shards".into(), "out-of-range"));
        assert_eq!(one(r#"{"shards":-1}"#), ("/spec/shards".into(), "out-of-range"));
        assert_eq!(one(r#"{"shards":4294967297}"#), ("/spec/shards".into(), "out-of-range"));
        assert_eq!(one(r#"{"shards":1e3}"#), ("/spec/shards".into(), "wrong-type"));
        assert_eq!(one(r#"{"shards":1,"payload_bytes":65537}"#), ("/spec/payload_bytes".into(), "out-of-range"));
        assert_eq!(one(r#"{"shards":1,"slep_us":1}"#), ("/spec/slep_us".into(), "unknown-field"));
    }

    #[test]
    fn shard_cells_are_refused() {
        let value = serde_json::from_str(r#"{"shards":7}"#).expect("the test writes JSON");
        let faults = Null.check_spec(&value, Some(1)).expect_err("shard_cells does not apply");
        assert_eq!((&*faults[0].pointer, faults.len()), ("/shard_cells", 1));
    }

    #[test]
    fn a_result_of_other_bytes_is_flagged() {
        let plan = Payload { sleep_us: 0, payload_bytes: 3 }.encode();
        assert_eq!(Null.check_result(b"", &plan, 0, &[0, 0, 0]), 0);
        assert_eq!(Null.check_result(b"", &plan, 0, &[0, 0]), CHECK_LENGTH);
        assert_eq!(Null.check_result(b"", &plan, 0, &[0, 0, 1]), CHECK_ZERO);
    }
}
