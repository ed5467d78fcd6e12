//! What faults of bad inputs say, and inputs damaged anywhere.

use super::{EXPOSURE, Job, TRACKS, usual};
use forge_adapters::Registry;
use forge_adapters::laws::MemoryBlobs;
use forge_projections::family::{Families, SpecFault};
use serde_json::{Value, json};

const HEADER: &str = "track,node,dt_h,lat,lon,vmax_kn,pcen_mb,penv_mb,rmax_nm\n";

fn check(job: &Job) -> Result<String, Vec<SpecFault>> {
    let family = Registry.newest("cat_model").expect("the family is built in");
    let checked = family.check_spec(&job.spec, None)?;
    family.check_inputs(&checked.spec, &job.blobs)?;
    Ok(String::from_utf8(checked.spec).expect("canonical JSON is text"))
}

/// The usual spec with a field set, or without it.
fn with(at: &str, value: Value) -> Job {
    let mut job = Job::new(TRACKS, EXPOSURE, usual());
    let (parent, name) = at.rsplit_once('/').expect("a pointer");
    let parent = job.spec.pointer_mut(parent).and_then(Value::as_object_mut).expect("the parent is an object");
    match value.as_str() {
        Some("REMOVE") => drop(parent.remove(name)),
        _ => drop(parent.insert(name.into(), value)),
    }
    job
}

#[test]
fn defaults_are_filled_in_and_the_order_is_fixed() {
    let mut job = with("/wind_threshold", json!("REMOVE"));
    let [tracks, exposure] = ["tracks", "exposure"].map(|name| job.spec[name].clone());
    job.spec["stream"] = json!("7");
    let expected = r#","members":3,"include_original":true,"perturb":{"max_shift_ini":0.75,"max_dspeed_rel":0.3,"max_ddirection":0.00873,"autocorr_dspeed":0.85,"autocorr_ddirection":0.5},"dt_h":null,"wind":"H08","wind_threshold":17.5,"vulnerability":{"kind":"analytic","v_threshold":25.7,"v_half":74.7},"years":10.0,"rates":null,"years_simulated":null,"return_periods":[10.0,50.0],"seed":42,"stream":7}"#;
    let start = format!(r#"{{"tracks":{tracks},"tracks_format":"csv","exposure":{exposure}"#);
    assert_eq!(check(&job), Ok(start + expected));
}

#[test]
fn a_fault_in_a_file_names_its_line() {
    for (rows, line) in
        [("a,0,0,20,-70,60,-999,1010,\n", "line 2"), ("a,0,0,20,-70,60,980,1010,\na,1,6,20\n", "line 3")]
    {
        let faults = check(&Job::new(&format!("{HEADER}{rows}"), EXPOSURE, usual())).expect_err("a bad line");
        assert!(faults[0].detail.starts_with(line), "{faults:?}");
    }
    let faults = check(&Job::new(TRACKS, "lat,lon,value\n1,2,3\n1,2,x\n", usual())).expect_err("a bad line");
    assert!(faults[0].detail.starts_with("line 3"), "{faults:?}");
    let mut missing = Job::new(TRACKS, EXPOSURE, usual());
    missing.blobs = MemoryBlobs::default();
    let faults = check(&missing).expect_err("there are no blobs");
    assert!(faults.iter().all(|f| f.code == "blob-missing") && faults.len() == 2);
}

#[test]
fn arbitrary_bytes_never_panic() {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut noise = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        state >> 33
    };
    for round in 0..400 {
        for format in ["csv", "hurdat2", "ibtracs"] {
            let mut bytes = match format {
                "csv" => TRACKS.as_bytes()[..300].to_vec(),
                "hurdat2" => b"AL041992, ANDREW, 2,\n19920824, 0900, L, HU, 25.5N, 80.3W, 145, 922,\n".to_vec(),
                _ => b"sid,iso_time,lat,lon,pcen,penv\na,1992-08-24 00:00,1,2,980,1010\n".to_vec(),
            };
            for _ in 0..=round % 8 {
                let at = noise() as usize % bytes.len();
                bytes[at] = noise() as u8;
            }
            let mut spec = usual();
            spec["tracks_format"] = json!(format);
            let mut job = Job::new("", EXPOSURE, spec);
            job.spec["tracks"] = json!(job.blobs.keep(&bytes).to_string());
            job.spec["exposure"] = json!(job.blobs.keep(&bytes[..bytes.len() / 2]).to_string());
            let _ = check(&job);
        }
    }
}
