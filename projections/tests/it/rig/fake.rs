//! A family without numbers: counts shards and mixes their results, in any order.

use core::ops::Range;
use forge_event::{Digest, ShardIndex};
use forge_projections::Families;
use forge_projections::family::{Blobs, CheckedSpec, Family, Fault, MidState, Past, Plan, PlanHints, SpecFault};

#[derive(Debug)]
pub struct Fake;

pub static FAMILIES: Fake = Fake;

/// Bytes of a result that passes the checks.
pub fn good(byte: u8) -> Vec<u8> {
    vec![byte & 0x7f]
}

/// Bytes of a result, that passes the checks, of so many cells of a shard that can be resumed.
pub fn part(byte: u8, cells: u64) -> Vec<u8> {
    vec![byte & 0x7f, cells as u8]
}

/// Cells of each shard of a job that says so.
pub const CELLS: u64 = 16;

/// Cells of a shard of this plan; `None`: it has none to speak of.
fn cells_of(spec: &[u8], plan: &[u8]) -> Option<u64> {
    let spec: serde_json::Value = serde_json::from_slice(spec).ok()?;
    spec["resumable"].as_bool().filter(|is| *is)?;
    Some(plan.get(1).map_or(CELLS, |cells| u64::from(*cells)))
}

/// Bytes of a result that does not.
pub fn bad() -> Vec<u8> {
    vec![0xff]
}

impl Families for Fake {
    fn newest(&self, kind: &str) -> Option<&dyn Family> {
        (kind == "fake").then_some(self)
    }

    fn family(&self, kind: &str, version: u16) -> Option<&dyn Family> {
        (version == 1).then_some(()).and_then(|()| self.newest(kind))
    }

    fn kinds(&self) -> Vec<&'static str> {
        vec!["fake"]
    }
}

impl Family for Fake {
    fn kind(&self) -> &'static str {
        "fake"
    }

    fn version(&self) -> u16 {
        1
    }

    fn check_spec(&self, spec: &serde_json::Value, _: Option<u64>) -> Result<CheckedSpec, Vec<SpecFault>> {
        let fault = || SpecFault {
            pointer: "/spec/shards".into(),
            code: "out-of-range",
            detail: "shards are 1 to 2^32".into(),
            fix: None,
        };
        let shards = spec.get("shards").and_then(serde_json::Value::as_u64).filter(|n| *n > 0 && *n <= 1 << 32);
        let shards = shards.ok_or_else(|| vec![fault()])?;
        let stages = spec.get("stages").and_then(serde_json::Value::as_u64).unwrap_or(1);
        let more = if stages > 1 { format!(",\"stages\":{stages}") } else { String::new() };
        let mid = spec.get("mid_mib").and_then(serde_json::Value::as_u64);
        let more = mid.map_or(more, |mib| format!(",\"mid_mib\":{mib}"));
        let input: Option<Digest> = spec.get("input").and_then(|text| text.as_str()?.parse().ok());
        let named = input.map_or(String::new(), |digest| format!(",\"input\":\"{digest}\""));
        let resumable = spec.get("resumable").is_some_and(|is| is == true);
        let resumable = if resumable { ",\"resumable\":true" } else { "" };
        let spec = format!("{{\"shards\":{shards}{more}{named}{resumable}}}").into_bytes();
        Ok(CheckedSpec { spec, inputs: input.into_iter().collect() })
    }

    fn plan(&self, past: &Past<'_>, _: PlanHints, _: &dyn Blobs) -> Result<Plan, Fault> {
        let spec: serde_json::Value = serde_json::from_slice(past.spec).unwrap();
        let last = past.stages.len() as u64 + 1 >= spec["stages"].as_u64().unwrap_or(1);
        // Each stage has a shard less than the one before: what follows depends on what is done.
        let shards = spec["shards"].as_u64().unwrap() - past.stages.len() as u64;
        for stage in past.stages {
            let each = cells_of(past.spec, stage.plan).unwrap_or(1);
            let all = (stage.shard_count * each).to_le_bytes();
            assert_eq!(stage.mid.encode()[..8], all, "all of an earlier stage is folded, once");
        }
        Ok(Plan { shard_count: shards.max(1), segments: 1, body: vec![7], last })
    }

    fn shard_cost_ns(&self, _: &[u8], _: &Plan) -> u64 {
        1_000_000_000
    }

    fn mid_bytes_max(&self, spec: &[u8], _: &Plan) -> u64 {
        let spec: serde_json::Value = serde_json::from_slice(spec).unwrap();
        spec["mid_mib"].as_u64().map_or(40, |mib| mib << 20)
    }

    fn is_final(&self, code: &str) -> bool {
        code == "bad-input"
    }

    fn payload(&self, _: &[u8], _: &[u8], _: ShardIndex) -> Vec<u8> {
        Vec::new()
    }

    fn cells(&self, spec: &[u8], plan: &[u8], _: ShardIndex) -> Option<u64> {
        cells_of(spec, plan)
    }

    fn part(&self, _: &[u8], plan: &[u8], _: ShardIndex, cells: Range<u64>) -> Vec<u8> {
        vec![plan[0], (cells.end - cells.start) as u8]
    }

    fn check_result(&self, spec: &[u8], plan: &[u8], _: ShardIndex, result: &[u8]) -> u32 {
        let fits = match (result, cells_of(spec, plan)) {
            ([0..=0x7f], None) => true,
            ([0..=0x7f, cells], Some(all)) => u64::from(*cells) == all,
            _ => false,
        };
        u32::from(!fits)
    }

    fn mid_state(&self, _: &[u8], _: &[u8]) -> Box<dyn MidState> {
        Box::new(Mix::default())
    }

    fn thaw(&self, _: &[u8], _: &[u8], bytes: &[u8]) -> Option<Box<dyn MidState>> {
        let mut mix = Mix { count: u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?), mix: [0; 32] };
        mix.mix.copy_from_slice(bytes.get(8..)?);
        Some(Box::new(mix))
    }
}

#[derive(Clone, Default, Debug)]
struct Mix {
    count: u64,
    mix: [u8; 32],
}

impl MidState for Mix {
    fn fold(&mut self, shard: ShardIndex, result: &[u8]) {
        assert!(matches!(result, [0..=0x7f] | [0..=0x7f, _]), "only checked results are folded");
        // How a shard was divided does not show.
        if let [_, cells] = result {
            self.count += u64::from(*cells);
            return;
        }
        self.count += 1;
        let one = Digest::of(&[&shard.to_le_bytes()[..], result].concat());
        self.mix.iter_mut().zip(one.0).for_each(|(a, b)| *a ^= b);
    }

    fn encode(&self) -> Vec<u8> {
        [&self.count.to_le_bytes()[..], &self.mix].concat()
    }

    fn bytes(&self) -> usize {
        40
    }

    fn finish(&self) -> Option<Vec<u8>> {
        Some(
            format!("{{\"kind\":\"fake\",\"count\":{},\"mix\":\"{}\"}}", self.count, Digest(self.mix).hex())
                .into_bytes(),
        )
    }

    fn clone_box(&self) -> Box<dyn MidState> {
        Box::new(self.clone())
    }
}
