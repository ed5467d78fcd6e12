//! What agents compute, and what a job's result must be.

use forge_adapters::Registry;
use forge_adapters::monte_carlo::kernel::ShardRun;
use forge_adapters::null::Payload;
use forge_projections::family::{Families, NoBlobs, Past, PlanHints};

/// The result of a shard; `None` if its payload is not one.
pub fn compute(kind: &str, payload: &[u8]) -> Option<Vec<u8>> {
    match kind {
        "null" => Some(vec![0; Payload::decode(payload)?.payload_bytes as usize]),
        "monte_carlo" => {
            let mut run = ShardRun::new(payload)?;
            while run.advance() {}
            Some(run.finish())
        }
        _ => None,
    }
}

/// What a shard that can be resumed has given after half its cells, with their number.
pub fn half(kind: &str, payload: &[u8]) -> Option<(u64, Vec<u8>)> {
    let mut run = (kind == "monte_carlo").then(|| ShardRun::new(payload)).flatten()?;
    let half = run.cells() / 2;
    (half > 0 && run.advance_by(half)).then(|| (half, run.so_far()))
}

/// How long an honest agent takes. Units: ms.
pub fn takes_ms(kind: &str, payload: &[u8]) -> u64 {
    match kind {
        "null" => Payload::decode(payload).map_or(0, |p| u64::from(p.sleep_us) / 1000),
        _ => 5,
    }
}

/// The result document of a job that one agent does in one piece.
///
/// # Panics
/// If the spec is not canonical: it was admitted.
pub fn whole(kind: &str, spec: &[u8]) -> Vec<u8> {
    let family = Registry.newest(kind).expect("an admitted job's kind is known");
    let value = serde_json::from_slice(spec).expect("an admitted spec is JSON");
    let hints = PlanHints { shard_cells: (kind == "monte_carlo").then_some(u64::MAX >> 1), slots: 1 };
    let spec = family.check_spec(&value, None).expect("an admitted spec has no fault").spec;
    let plan = family.plan(&Past::new(&spec), hints, &NoBlobs).expect("this family plans without blobs");
    let mut mid = family.mid_state(&spec, &plan.body);
    for shard in 0..plan.shard_count as u32 {
        let payload = family.payload(&spec, &plan.body, shard);
        let result = compute(kind, &payload).expect("a family's payload is one");
        mid.fold(shard, &result);
    }
    mid.finish().expect("the document follows from the mid-state")
}
