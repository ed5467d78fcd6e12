//! Planted errors are flagged by the checks that read blobs, and what no check can flag ends the job with its reason.

use super::bench;
use super::files::*;
use forge_adapters::climate_pca::stage::{ANSWER_BYTES_MAX, Answer, FORMAT};
use forge_adapters::climate_pca::table::{Bad, Wrong};
use forge_adapters::climate_pca::{ClimatePca, kernel};
use forge_adapters::laws::{Agent, MemoryBlobs};
use forge_projections::family::{DoneStage, Family, MidState, Past, Plan, PlanHints};
use serde_json::{Value, json};

/// A stage's plan, its answers, its mid-state.
type Done = (Plan, Vec<Vec<u8>>, Box<dyn MidState>);

/// Plans of all stages and the answers of their shards.
pub fn stages(blobs: &MemoryBlobs, spec: &[u8], cells: u64) -> Vec<(Plan, Vec<Vec<u8>>)> {
    let mut done: Vec<Done> = Vec::new();
    while done.last().is_none_or(|(plan, ..)| !plan.last) {
        let views: Vec<DoneStage<'_>> = done
            .iter()
            .map(|(plan, results, mid)| DoneStage {
                plan: &plan.body,
                shard_count: results.len() as u64,
                mid: mid.as_ref(),
            })
            .collect();
        let hints = PlanHints { shard_cells: Some(cells), slots: 1 };
        let plan = ClimatePca.plan(&Past { spec, stages: &views }, hints, blobs).expect("a good job");
        drop(views);
        let mut mid = ClimatePca.mid_state(spec, &plan.body);
        let mut results = Vec::new();
        for shard in 0..plan.shard_count as u32 {
            let payload = ClimatePca.payload(spec, &plan.body, shard);
            let result = kernel::run(&payload, &mut Agent::new(blobs)).expect("an honest agent");
            mid.fold(shard, &result);
            results.push(result);
        }
        done.push((plan, results, mid));
    }
    done.into_iter().map(|(plan, results, _)| (plan, results)).collect()
}

fn job(blobs: &MemoryBlobs, samples: u64, points: u64) -> Vec<u8> {
    let values = masked(field(samples, points / 5, 5, 3), points / 5, 5, f64::NAN);
    let member = blobs.keep(&npy(&[samples, points / 5, 5], &values)).to_string();
    let spec = json!({"members": [member], "layout": "npy", "weights": "none", "modes": 2, "mask": "nan",
        "outputs": ["eofs", "reconstruction"]});
    ClimatePca.check_spec(&spec, None).expect("a good spec").spec
}

fn numbers(blobs: &MemoryBlobs, result: &[u8]) -> Vec<f64> {
    let blob = ClimatePca.result_blobs(b"", b"", result)[0];
    let bytes = blobs.get(&blob).expect("the answer's blob");
    bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().expect("eight bytes"))).collect()
}

fn answer(blobs: &MemoryBlobs, bad: Option<Bad>, numbers: &[f64]) -> Vec<u8> {
    let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    Answer { format: FORMAT, bad, blob: blobs.keep(&bytes) }.encode()
}

#[test]
fn a_part_that_is_off_in_its_last_bits_is_flagged_in_every_stage() {
    for (samples, points) in [(9, 30), (40, 20)] {
        let blobs = MemoryBlobs::default();
        let spec = job(&blobs, samples, points);
        let stages = stages(&blobs, &spec, 6);
        assert_eq!(stages.len(), 4);
        let plans: Vec<&[u8]> = stages.iter().map(|(plan, _)| plan.body.as_slice()).collect();
        let known = |done: usize| Value::from(ClimatePca.metadata(&spec, &plans[..done]));
        let read = json!({"members": 1, "modes": 2, "samples": samples, "points": points, "stage": "mean"});
        assert_eq!(known(1), read, "the route is not known before the mask is");
        assert_eq!(known(4)["route"], if samples == 9 { "dual" } else { "primal" });
        for (i, (plan, results)) in stages.iter().enumerate() {
            for (shard, result) in results.iter().enumerate() {
                let check = |result: &[u8]| {
                    assert_eq!(ClimatePca.check_result(&spec, &plan.body, shard as u32, result), 0);
                    ClimatePca.check_blobs(&spec, &plan.body, shard as u32, result, &blobs).expect("blobs are there")
                };
                assert_eq!(check(result), 0, "an honest result passes");
                let honest = numbers(&blobs, result);
                // The third stage is checked within rounding, the others to the bit.
                let off = if i == 2 { 1e-9 } else { 1e-15 };
                let all: Vec<f64> = honest.iter().map(|x| x * (1.0 + off) + 1e-300).collect();
                assert_ne!(check(&answer(&blobs, None, &all)), 0, "stage {i}, shard {shard}: all are off");
                let mut longer = honest.clone();
                longer.push(0.0);
                assert_ne!(check(&answer(&blobs, None, &longer)), 0, "too long");
                assert_ne!(check(&answer(&blobs, None, &honest[1..])), 0, "too short");
                let mut infinite = honest.clone();
                infinite[0] = f64::INFINITY;
                assert_ne!(check(&answer(&blobs, None, &infinite)), 0, "infinite");
                let mut nan = honest.clone();
                nan[0] = -f64::NAN;
                assert_ne!(check(&answer(&blobs, None, &nan)), 0, "another NaN");
            }
        }
        // Any one entry of any tile, by little.
        let (plan, results) = &stages[1];
        for (shard, result) in results.iter().enumerate() {
            let honest = numbers(&blobs, result);
            for at in 0..honest.len() {
                let mut tile = honest.clone();
                tile[at] += 1e-9;
                let result = answer(&blobs, None, &tile);
                let bits = ClimatePca.check_blobs(&spec, &plan.body, shard as u32, &result, &blobs);
                assert_ne!(bits, Ok(0), "entry {at} of tile {shard} is off");
            }
        }
        // One entry of a tile on the diagonal, beside its mirror image.
        let mut tile = numbers(&blobs, &results[0]);
        tile[1] += 1e-3;
        let bits = ClimatePca.check_blobs(&spec, &plan.body, 0, &answer(&blobs, None, &tile), &blobs);
        assert_ne!(bits, Ok(0), "not symmetric");
    }
}

#[test]
fn a_number_said_to_be_wrong_is_looked_at() {
    let blobs = MemoryBlobs::default();
    let spec = job(&blobs, 9, 30);
    let plan = &stages(&blobs, &spec, 10)[0].0;
    let claim = |bad: Bad, value: f64| {
        let result = answer(&blobs, Some(bad), &[value]);
        match ClimatePca.check_result(&spec, &plan.body, 1, &result) {
            0 => ClimatePca.check_blobs(&spec, &plan.body, 1, &result, &blobs).expect("blobs are there"),
            bits => bits,
        }
    };
    let bad = Bad { sample: 3, point: 12, wrong: Wrong::Infinite };
    assert_ne!(claim(bad, f64::INFINITY), 0, "it is not infinite");
    assert_ne!(claim(Bad { wrong: Wrong::MaskDiffers, ..bad }, f64::NAN), 0, "it is not missing");
    assert_ne!(claim(Bad { sample: 9, ..bad }, 1.0), 0, "there is no such sample");
    assert_ne!(claim(Bad { point: 9, ..bad }, 1.0), 0, "the point is another shard's");
}

/// Members too large to be looked at beforehand: the first stage tells, and the plan of the second ends the job.
#[test]
fn the_first_stage_tells_the_first_wrong_number_whatever_the_cutting() {
    let blobs = MemoryBlobs::default();
    let mut values = field(9, 6, 5, 3);
    (values[4 * 30 + 21], values[4 * 30 + 8], values[7 * 30 + 2]) = (f64::INFINITY, f64::NAN, 1e70);
    let member = blobs.keep(&npy(&[9, 30], &values)).to_string();
    let spec =
        json!({"members": [member], "layout": "npy", "weights": "none", "modes": 2, "mask": "nan", "outputs": []});
    let checked = ClimatePca.check_spec(&spec, None).expect("a good spec").spec;
    let mut told = Vec::new();
    for cells in [1, 4, 30] {
        let hints = PlanHints { shard_cells: Some(cells), slots: 1 };
        let plan = ClimatePca.plan(&Past::new(&checked), hints, &blobs).expect("headers are good");
        let mut mid = ClimatePca.mid_state(&checked, &plan.body);
        for shard in 0..plan.shard_count as u32 {
            let payload = ClimatePca.payload(&checked, &plan.body, shard);
            let result = kernel::run(&payload, &mut Agent::new(&blobs)).expect("an honest agent");
            assert!(result.len() as u64 <= ANSWER_BYTES_MAX);
            assert_eq!(ClimatePca.check_result(&checked, &plan.body, shard, &result), 0);
            assert_eq!(ClimatePca.check_blobs(&checked, &plan.body, shard, &result, &blobs), Ok(0));
            mid.fold(shard, &result);
        }
        let done = [DoneStage { plan: &plan.body, shard_count: plan.shard_count, mid: mid.as_ref() }];
        let fault = ClimatePca.plan(&Past { spec: &checked, stages: &done }, hints, &blobs).expect_err("a bad number");
        told.push((fault.code, fault.detail));
    }
    assert_eq!(told[0].0, "mask-differs");
    assert!(told[0].1.starts_with("member 0, sample 4, point 8 "), "{}", told[0].1);
    assert!(told.iter().all(|fault| *fault == told[0]));
}

#[test]
fn modes_that_are_only_rounding_end_the_job() {
    let blobs = MemoryBlobs::default();
    // Each sample is a multiple of one pattern: one mode.
    let pattern = field(1, 4, 5, 1);
    let values: Vec<f64> = (0..9).flat_map(|s| pattern.iter().map(move |x| x * f64::from(s))).collect();
    let spec = |modes: u64, values: &[f64], outputs: Value| {
        json!({"members": [blobs.keep(&npy(&[9, 20], values)).to_string()], "layout": "npy", "weights": "none",
            "modes": modes, "mask": "nan", "outputs": outputs})
    };
    for outputs in [json!(["eofs"]), json!(["eigenvalues"])] {
        let fault = bench(&blobs, spec(2, &values, outputs.clone()), &[None]).job(None, true).expect_err("one mode");
        assert_eq!(fault.0, "rank-deficient");
        assert!(fault.1.starts_with("the members have 1 modes"), "{}", fault.1);
        assert!(bench(&blobs, spec(1, &values, outputs.clone()), &[None]).job(None, true).is_ok());
        let constant = bench(&blobs, spec(1, &[2.5; 180], outputs), &[None]).job(None, true).expect_err("no variance");
        assert_eq!(constant.0, "rank-deficient");
    }
}
