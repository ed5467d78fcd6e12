//! Frozen bytes of `blas`: plans, payloads, results, mid-states and documents. Append only.

mod blas_rig;

use blas_rig::{Words, definite, npy};
use forge_adapters::Registry;
use forge_adapters::blas;
use forge_adapters::laws::{Agent, MemoryBlobs};
use forge_event::digest::hex;
use forge_projections::family::{DoneStage, Families, MidState, Past, Plan, PlanHints};
use serde_json::{Value, json};

/// Of each stage the plan body, the last shard's payload and result, and the mid-state in hex; then the document.
fn frozen_stages(spec: Value, blobs: &MemoryBlobs) -> String {
    let family = Registry.newest("blas").expect("the kind is known");
    let spec = family.check_spec(&spec, None).expect("the spec has no fault").spec;
    let mut done: Vec<(Plan, Box<dyn MidState>)> = Vec::new();
    let mut lines = Vec::new();
    loop {
        let stage = |(plan, mid): &(Plan, Box<dyn MidState>)| (plan.body.clone(), plan.shard_count, mid.clone_box());
        let stages: Vec<_> = done.iter().map(stage).collect();
        let stages: Vec<DoneStage<'_>> = stages
            .iter()
            .map(|(plan, shard_count, mid)| DoneStage { plan, shard_count: *shard_count, mid: mid.as_ref() })
            .collect();
        let past = Past { spec: &spec, stages: &stages };
        if done.last().is_some_and(|(plan, _)| plan.last) {
            let document = family.reduce(&past, blobs).expect("a document");
            let read: Value = serde_json::from_slice(&document).expect("a document is JSON");
            let plans: Vec<&[u8]> = done.iter().map(|(plan, _)| plan.body.as_slice()).collect();
            let known = family.metadata(&spec, &plans);
            assert!(["op", "dtype", "shape"].iter().all(|field| known[*field] == read[field]), "{known:?} of {read}");
            lines.push(String::from_utf8(document).expect("a document is text"));
            return lines.join("\n") + "\n";
        }
        let plan = family.plan(&past, PlanHints { shard_cells: None, slots: 1 }, blobs).expect("a plan");
        let mut mid = family.mid_state(&spec, &plan.body);
        let mut last = Vec::new();
        for shard in 0..plan.shard_count as u32 {
            let payload = family.payload(&spec, &plan.body, shard);
            let result = blas::kernel::run(&payload, &mut Agent::new(blobs)).expect("a result");
            mid.fold(shard, &result);
            last = vec![hex(&payload), hex(&result)];
        }
        lines.push(hex(&plan.body));
        lines.extend(last);
        lines.push(hex(&mid.encode()));
        done.push((plan, mid));
    }
}

#[test]
fn blas_is_frozen() {
    let (words, blobs) = (&mut Words(77), &MemoryBlobs::default());
    let gemm = json!({"op": "gemm", "dtype": "f32", "alpha": 0.5, "beta": -1, "transB": true, "tile": [2, 3],
        "A": npy(blobs, &[3, 4], &words.matrix::<f32>(12)), "B": npy(blobs, &[5, 4], &words.matrix::<f32>(20)),
        "C": npy(blobs, &[3, 5], &words.matrix::<f32>(15))});
    let factor = json!({"op": "cholesky", "dtype": "f64", "tile": [2, 2],
        "A": npy(blobs, &[5, 5], &definite::<f64>(words, 5))});
    for (name, spec, golden) in
        [("gemm", gemm, include_str!("golden/gemm.txt")), ("cholesky", factor, include_str!("golden/cholesky.txt"))]
    {
        let found = frozen_stages(spec, blobs);
        assert_eq!(found, golden, "{name}: the frozen bytes changed; found:\n{found}");
    }
}
