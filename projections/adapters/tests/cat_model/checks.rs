//! Planted faults in results are found by the checks, each by its bit.

use super::{EXPOSURE, Job, TRACKS, usual};
use forge_adapters::Registry;
use forge_adapters::cat_model::elt::{ROW_BYTES, Row, rows};
use forge_adapters::cat_model::work::{Cut, Part, Stage, Work, Years, decode, encode};
use forge_adapters::cat_model::{kernel, verify};
use forge_adapters::host::Stop;
use forge_adapters::laws::{Agent, MemoryBlobs};
use forge_event::Digest;
use forge_projections::family::{Families, Past, PlanHints};

#[test]
fn a_wrong_row_is_flagged_by_its_bit() {
    let job = Job::new(TRACKS, EXPOSURE, usual());
    let family = Registry.newest("cat_model").expect("the family is built in");
    let spec = family.check_spec(&job.spec, None).expect("a sound spec").spec;
    let plan = family.plan(&Past::new(&spec), PlanHints { shard_cells: Some(5), slots: 1 }, &job.blobs);
    let plan = plan.expect("a plan").body;
    let known = family.metadata(&spec, &[&plan]);
    let cells = known["tracks"].as_u64().map(|tracks| tracks * 4);
    assert_eq!((known["cells"].as_u64(), known["shard_cells"].as_u64()), (cells, Some(5)), "{known:?}");
    let Some(Stage::Events(stage)) = decode(&plan) else { panic!("the first stage is the event loss table") };
    let result = kernel::run(&family.payload(&spec, &plan, 0), &mut Agent::new(&job.blobs));
    let part: Part = decode(&result.expect("an honest agent")).expect("a result");
    let honest = rows(&job.blobs.get(&part.blob).expect("its blob"));
    assert!(honest.iter().any(|row| row.loss > 0.0));
    let check = |rows: &[Row]| {
        let bytes: Vec<u8> = rows.iter().flat_map(Row::encode).collect();
        let result = encode(&Part { cells: part.cells, blob: job.blobs.keep(&bytes) });
        family.check_blobs(&spec, &plan, 0, &result, &job.blobs).expect("the blob is there")
    };
    assert_eq!(check(&honest), 0);
    let hit = honest.iter().position(|row| row.loss > 0.0).expect("a row with a loss");
    let with = |change: &dyn Fn(&mut Row)| {
        let mut rows = honest.clone();
        change(&mut rows[hit]);
        check(&rows)
    };
    assert_ne!(with(&|row| row.member += 1) & verify::CELLS, 0);
    assert_ne!(with(&|row| row.loss = stage.total_value * 1.001) & verify::LOSS, 0);
    assert_ne!(with(&|row| row.loss = -0.0) & verify::LOSS, 0);
    assert_ne!(with(&|row| row.loss = f64::NAN) & verify::LOSS, 0);
    assert_ne!(with(&|row| row.max_wind = 250.0) & verify::WIND, 0);
    assert_ne!(with(&|row| row.max_wind = 17.0) & verify::HITS, 0);
    assert_ne!(with(&|row| row.points_hit = 0) & verify::HITS, 0);
    assert_ne!(with(&|row| row.points_hit = 10_000) & verify::HITS, 0);
    assert_ne!(with(&|row| row.loss = stage.total_value) & verify::DAMAGE, 0);
    let mut swapped = honest.clone();
    swapped.swap(0, 1);
    assert_eq!(check(&swapped), verify::CELLS);
    assert_eq!(check(&honest[1..]), verify::LENGTH);
    let few = encode(&Part { cells: part.cells - 1, blob: part.blob });
    assert_eq!(family.check_result(&spec, &plan, 0, &few), verify::COUNT);
    assert_eq!(honest.len() * ROW_BYTES, job.blobs.get(&part.blob).expect("its blob").len());
}

#[test]
fn a_damaged_payload_never_makes_a_kernel_panic() {
    let mut spec = usual();
    spec["years_simulated"] = serde_json::json!(3);
    spec["vulnerability"] = serde_json::json!({"kind": "table", "v": [0, 50, 80], "mdr": [0, 0.2, 1]});
    let job = Job::new(TRACKS, EXPOSURE, spec);
    let family = Registry.newest("cat_model").expect("the family is built in");
    let spec = family.check_spec(&job.spec, None).expect("a sound spec").spec;
    let plan = family.plan(&Past::new(&spec), PlanHints { shard_cells: Some(1), slots: 1 }, &job.blobs);
    let payload = family.payload(&spec, &plan.expect("a plan").body, 1);
    let events = job
        .blobs
        .keep(&[[1.5f64, 0.25], [2.5, 0.5]].concat().into_iter().flat_map(f64::to_le_bytes).collect::<Vec<u8>>());
    let years = encode(&Work::Years { events, event_count: 2, seed: 1, stream: 2, first: 3, count: 4 });
    let mut refused = 0;
    for payload in [payload, years] {
        assert!(kernel::run(&payload, &mut Agent::new(&job.blobs)).is_ok());
        for bit in 0..payload.len() * 8 {
            let mut damaged = payload.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            refused += u32::from(kernel::run(&damaged, &mut Agent::new(&job.blobs)).is_err());
        }
        for cut in 0..payload.len() {
            assert_eq!(kernel::run(&payload[..cut], &mut Agent::new(&job.blobs)), Err(Stop::BadPayload));
        }
    }
    assert!(refused > 500, "{refused}");
}

#[test]
fn a_year_that_no_events_add_up_to_is_flagged() {
    let stage = Years {
        cut: Cut { cells: 3, cells_a_shard: 3 },
        events: Digest::default(),
        event_count: 2,
        rate: 0.5,
        loss_min: 1.5,
    };
    let plan = encode(&Stage::Years(stage));
    let blobs = MemoryBlobs::default();
    let family = Registry.newest("cat_model").expect("the family is built in");
    let job = Job::new(TRACKS, EXPOSURE, usual());
    let spec = family.check_spec(&job.spec, None).expect("a sound spec").spec;
    let check = |years: [f64; 3]| {
        let bytes: Vec<u8> = years.into_iter().flat_map(f64::to_le_bytes).collect();
        let result = encode(&Part { cells: 3, blob: blobs.keep(&bytes) });
        assert_eq!(family.check_result(&spec, &plan, 0, &result), 0);
        family.check_blobs(&spec, &plan, 0, &result, &blobs).expect("the blob is there")
    };
    assert_eq!(check([0.0, 1.5, 4.0]), 0);
    for bad in [-0.0, -1.5, 1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(check([0.0, bad, 4.0]), verify::YEAR, "{bad}");
    }
}
