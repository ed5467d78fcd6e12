//! Frozen bytes: plans, payloads, results, mid-states and the document of a small job. Append only.

use super::{Job, usual};
use forge_adapters::Registry;
use forge_adapters::cat_model::kernel;
use forge_adapters::laws::Agent;
use forge_event::digest::hex;
use forge_projections::family::{DoneStage, Families, MidState, Past, PlanHints};
use serde_json::json;

const TRACKS: &str = "track,node,dt_h,lat,lon,vmax_kn,pcen_mb,penv_mb,rmax_nm\n\
    a,0,0,24.5,-78,130,930,1010,\na,1,6,25.4,-80.5,145,922,1010,9\nb,0,0,26,-79,60,985,1010,\nb,1,3,26.5,-80,65,980,1010,\n";
const EXPOSURE: &str = "lat,lon,value\n25.7,-80.2,1000000\n26.1,-80.1,250000.5\n27,-80.5,1\n";

/// Plan body, then payload, result and mid-state of the first shard, of each stage; then the document.
fn frozen() -> String {
    let mut spec = usual();
    (spec["years_simulated"], spec["dt_h"], spec["wind"]) = (json!(25), json!(1.5), json!("H10"));
    let job = Job::new(TRACKS, EXPOSURE, spec);
    let family = Registry.newest("cat_model").expect("the family is built in");
    let spec = family.check_spec(&job.spec, Some(5)).expect("a sound spec").spec;
    let hints = PlanHints { shard_cells: Some(5), slots: 1 };
    let mut text = String::from_utf8(spec.clone()).expect("canonical JSON is text") + "\n";
    let mut done: Vec<(Vec<u8>, u64, Box<dyn MidState>)> = Vec::new();
    for last in [false, true] {
        let stages: Vec<DoneStage<'_>> = shown(&done);
        let plan = family.plan(&Past { spec: &spec, stages: &stages }, hints, &job.blobs).expect("a plan");
        assert_eq!(plan.last, last);
        let mut mid = family.mid_state(&spec, &plan.body);
        text += &(hex(&plan.body) + "\n");
        for shard in 0..plan.shard_count as u32 {
            let payload = family.payload(&spec, &plan.body, shard);
            let result = kernel::run(&payload, &mut Agent::new(&job.blobs)).expect("an honest agent");
            mid.fold(shard, &result);
            if shard == 0 {
                text += &[&payload, &result, &mid.encode()].map(|bytes| hex(bytes) + "\n").concat();
            }
        }
        done.push((plan.body, plan.shard_count, mid));
    }
    let document = family.reduce(&Past { spec: &spec, stages: &shown(&done) }, &job.blobs).expect("a document");
    text + &String::from_utf8(document).expect("a document is text") + "\n"
}

fn shown(done: &[(Vec<u8>, u64, Box<dyn MidState>)]) -> Vec<DoneStage<'_>> {
    done.iter().map(|(plan, count, mid)| DoneStage { plan, shard_count: *count, mid: mid.as_ref() }).collect()
}

#[test]
fn cat_models_are_frozen() {
    let found = frozen();
    assert_eq!(found, include_str!("../golden/cat_model.txt"), "the frozen bytes changed; found:\n{found}");
}
