//! Frozen bytes: plans, payloads, results, mid-states and the document of one job. Append only.

use super::bench;
use super::damage::stages;
use super::files::*;
use forge_adapters::climate_pca::ClimatePca;
use forge_adapters::climate_pca::gram::Basis;
use forge_adapters::climate_pca::stage::{Body, Payload, Stage};
use forge_adapters::climate_pca::table::{Member, Number, Table};
use forge_adapters::laws::MemoryBlobs;
use forge_event::Digest;
use forge_event::digest::hex;
use forge_event::limits::INLINE_BYTES_MAX;
use forge_projections::family::Family;
use serde_json::json;

#[test]
fn a_job_is_frozen() {
    let blobs = MemoryBlobs::default();
    let halves = [1.0, 2.0, 4.5, 8.0, 2.5, 3.0, -1.0, 0.0, 7.0, 7.5, -2.0, 1.0];
    let member = blobs.keep(&npy(&[4, 3], &halves)).to_string();
    let spec = json!({"members": [member], "layout": "npy", "weights": "none", "modes": 2, "mask": "nan",
        "outputs": ["eofs", "pcs", "reconstruction"]});
    let checked = ClimatePca.check_spec(&spec, None).expect("a good spec").spec;
    let mut found = String::new();
    for (plan, results) in stages(&blobs, &checked, 2) {
        let mut mid = ClimatePca.mid_state(&checked, &plan.body);
        mid.fold(0, &results[0]);
        let payload = ClimatePca.payload(&checked, &plan.body, 0);
        for bytes in [&plan.body, &payload, &results[0], &mid.encode()] {
            found += &hex(bytes);
            found.push('\n');
        }
    }
    let document = bench(&blobs, spec, &[None]).job(Some(2), false).expect("the job ends well");
    found += &String::from_utf8(document).expect("a document is text");
    found.push('\n');
    let golden = include_str!("../golden/climate_pca.txt");
    assert_eq!(found, golden, "the frozen bytes changed; found:\n{found}");
}

#[test]
fn the_longest_plan_and_payload_are_inline() {
    let member = Member {
        blob: Digest([255; 32]),
        samples: 1 << 32,
        first: 1 << 62,
        stride: 1 << 40,
        number: Number::BigF64,
        packing: Some((0.1, 0.1)),
        missing: vec![0.1; 4],
        masks: true,
    };
    let table = Table { members: vec![member; 512], space: vec![1 << 26, 1 << 26, 1 << 26], center_member: true };
    let (field, basis) = (Digest([255; 32]), Basis::Points);
    let most = u64::MAX;
    let (order, modes, block, edge) = (most, most, most, most);
    let stages = [
        Stage::Mean { block },
        Stage::Gram { field, basis, order, edge },
        Stage::Eigen { field, basis, order, modes, matrix: field, trace: 0.1, floor: 0.1 },
        Stage::Project { field, basis, order, modes, pairs: field, block, reconstruct: true },
    ];
    for stage in stages {
        let body = Body::new(table.clone(), stage);
        assert!(body.encode().len() <= INLINE_BYTES_MAX);
        assert!(Payload { body, shard: u32::MAX }.encode().len() <= INLINE_BYTES_MAX);
    }
}
