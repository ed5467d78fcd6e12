//! Every bad spec and every bad input has a fault with its pointer and its code.

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

/// The job has this one fault.
fn fault(job: &Job, pointer: &str, code: &str) -> String {
    let faults = check(job).expect_err(&format!("{pointer} {code}"));
    let found: Vec<(&str, &str)> = faults.iter().map(|f| (&*f.pointer, f.code)).collect();
    assert_eq!(found, [(pointer, code)], "{faults:?}");
    faults[0].detail.clone()
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
fn a_bad_spec_is_refused_at_its_field() {
    let table = |v: Value, mdr: Value| json!({"kind": "table", "v": v, "mdr": mdr});
    for (at, value, pointer, code) in [
        ("/tracks", json!("blake3:00"), "", "bad-digest"),
        ("/tracks", json!(7), "", "wrong-type"),
        ("/exposure", json!("REMOVE"), "", "missing-field"),
        ("/tracks_format", json!("netcdf"), "", "unknown-value"),
        ("/members", json!("REMOVE"), "", "missing-field"),
        ("/members", json!(-1), "", "out-of-range"),
        ("/members", json!(2_000_000), "", "out-of-range"),
        ("/perturb", json!("REMOVE"), "", "missing-field"),
        ("/perturb/max_shift", json!(1), "", "unknown-field"),
        ("/perturb/autocorr_dspeed", json!(1.5), "", "out-of-range"),
        ("/perturb/max_ddirection", json!(-0.1), "", "out-of-range"),
        ("/dt_h", json!(0), "", "out-of-range"),
        ("/wind", json!("ER11"), "", "not-yet"),
        ("/wind", json!("H09"), "", "unknown-value"),
        ("/wind_threshold", json!(-1), "", "out-of-range"),
        ("/vulnerability/v_half", json!(20), "", "out-of-range"),
        ("/vulnerability/kind", json!("step"), "", "unknown-value"),
        ("/vulnerability", table(json!([0, 10]), json!([0])), "/mdr", "length-mismatch"),
        ("/vulnerability", table(json!([]), json!([])), "/mdr", "length-mismatch"),
        ("/vulnerability", table(json!([0, 10, 10]), json!([0, 0, 1])), "/v/2", "not-ascending"),
        ("/vulnerability", table(json!([0, 10]), json!([0, 1.1])), "/mdr/1", "out-of-range"),
        ("/years", json!("REMOVE"), "", "missing-field"),
        ("/years", json!(0), "", "out-of-range"),
        ("/rates", json!([1, 1, 1]), "", "conflict"),
        ("/years_simulated", json!(0), "", "out-of-range"),
        ("/return_periods", json!([50, 10]), "/1", "not-ascending"),
        ("/return_periods", json!([10, 10]), "/1", "not-ascending"),
        ("/return_periods", json!([0.5]), "/0", "out-of-range"),
        ("/return_periods", json!(["10"]), "/0", "wrong-type"),
        ("/seed", json!("REMOVE"), "", "missing-field"),
        ("/sed", json!(1), "", "unknown-field"),
    ] {
        fault(&with(at, value), &format!("/spec{at}{pointer}"), code);
    }
}

#[test]
fn what_only_the_inputs_show_is_refused_at_its_field() {
    let rates = |rates: Value| {
        let mut job = with("/rates", rates);
        job.spec["years"] = Value::Null;
        job
    };
    fault(&rates(json!([1, 1])), "/spec/rates", "length-mismatch");
    fault(&rates(json!([1, -1, 1])), "/spec/rates/1", "out-of-range");
    let mut often = rates(json!([900, 1, 1]));
    assert!(check(&often).is_ok());
    often.spec["years_simulated"] = json!(10);
    fault(&often, "/spec/rates", "out-of-range");
    let five = (0..5).map(|i| format!("{i},0,0,20,-70,60,980,1010,\n")).collect::<String>();
    let mut many = Job::new(&(HEADER.to_string() + &five), EXPOSURE, usual());
    many.spec["members"] = json!(1_000_000);
    assert!(fault(&many, "/spec/members", "out-of-range").contains("5 tracks"));
    let mut nothing = with("/members", json!(0));
    nothing.spec["include_original"] = json!(false);
    fault(&nothing, "/spec/members", "out-of-range");
    let mut missing = with("/seed", json!(1));
    missing.blobs = MemoryBlobs::default();
    let faults = check(&missing).expect_err("there are no blobs");
    assert!(faults.iter().all(|f| f.code == "blob-missing") && faults.len() == 2);
    let long = format!("{HEADER}a,0,0,20,-70,60,980,1010,\na,1,9000,21,-71,60,980,1010,\n");
    let mut job = Job::new(&long, EXPOSURE, usual());
    job.spec["dt_h"] = json!(0.01);
    fault(&job, "/spec/dt_h", "out-of-range");
}

#[test]
fn bad_tracks_are_refused_with_their_line() {
    for (rows, code) in [
        ("", "no-tracks"),
        ("a,0,0,20,-70,60,-999,1010,\n", "missing-pressure"),
        ("a,0,0,20,-70,60,,1010,\n", "missing-pressure"),
        ("a,0,0,20,-70,60,980,-999,\n", "missing-pressure"),
        ("a,0,0,20,-70,60,98,1010,\n", "out-of-range"),
        ("a,0,0,20,-70,60,nan,1010,\n", "not-finite"),
        ("a,0,0,NaN,-70,60,980,1010,\n", "not-finite"),
        ("a,0,0,20,inf,60,980,1010,\n", "not-finite"),
        ("a,0,0,20,,60,980,1010,\n", "bad-number"),
        ("a,0,0,91,-70,60,980,1010,\n", "out-of-range"),
        ("a,0,0,20,361,60,980,1010,\n", "out-of-range"),
        ("a,0,0,20,-181,60,980,1010,\n", "out-of-range"),
        ("a,0,0,20,-70,-60,980,1010,\n", "out-of-range"),
        ("a,0,0,20,-70,60,980,1010,-5\n", "out-of-range"),
        ("a,0,0,20,-70,60,980,1010\n", "bad-line"),
        ("a,x,0,20,-70,60,980,1010,\n", "bad-number"),
        (",0,0,20,-70,60,980,1010,\n", "bad-line"),
        ("a,0,0,20,-70,60,980,1010,\na,2,6,21,-71,60,980,1010,\n", "not-ascending"),
        ("a,0,0,20,-70,60,980,1010,\na,0,6,21,-71,60,980,1010,\n", "not-ascending"),
        ("a,0,0,20,-70,60,980,1010,\na,1,0,21,-71,60,980,1010,\n", "not-ascending"),
        ("a,0,0,20,-70,60,980,1010,\na,1,-6,21,-71,60,980,1010,\n", "out-of-range"),
        ("a,0,0,20,-70,60,980,1010,\nb,0,0,20,-70,60,980,1010,\na,0,0,20,-70,60,980,1010,\n", "duplicate-track"),
    ] {
        let detail = fault(&Job::new(&format!("{HEADER}{rows}"), EXPOSURE, usual()), "/spec/tracks", code);
        assert!(rows.is_empty() || detail.starts_with("line "), "{detail}");
    }
    fault(&Job::new("track,node\n", EXPOSURE, usual()), "/spec/tracks", "missing-column");
    let no_wind = format!("{HEADER}a,0,0,20,-70,,980,1010,\n");
    let mut job = Job::new(&no_wind, EXPOSURE, usual());
    assert!(check(&job).is_ok(), "H08 needs no highest wind");
    job.spec["wind"] = json!("H80");
    fault(&job, "/spec/tracks", "missing-wind");
}

#[test]
fn bad_best_tracks_are_refused() {
    const STORM: &str = "AL041992,             ANDREW,      1,\n";
    const NODE: &str = "19920824, 0900, L, HU, 25.5N,  80.3W, 145,  922,";
    for (format, text, code) in [
        ("hurdat2", String::from("nothing\n"), "bad-header"),
        ("hurdat2", format!("{NODE}\n"), "bad-header"),
        ("hurdat2", STORM.to_string(), "cut-short"),
        ("hurdat2", format!("{STORM}{}\n", NODE.replace("0824", "0832")), "bad-time"),
        ("hurdat2", format!("{STORM}{}\n", NODE.replace("25.5N", "25.5")), "bad-number"),
        ("hurdat2", format!("{STORM}{}\n", NODE.replace("922", "-999")), "missing-pressure"),
        ("hurdat2", format!("{STORM}19920824, 0900\n"), "bad-line"),
        ("hurdat2", format!("{STORM}{NODE}\n{STORM}{NODE}\n"), "duplicate-track"),
        ("ibtracs", String::from("sid,lat,lon\n"), "missing-column"),
        ("ibtracs", String::from("sid,iso_time,lat,lon\n"), "missing-column"),
        ("ibtracs", String::from("sid,iso_time,lat,lon,pcen,penv\na,1992,1,2,980,1010\n"), "bad-time"),
        ("ibtracs", String::from("sid,iso_time,lat,lon,pcen,penv\na,1992-08-24,1,2,,1010\n"), "missing-pressure"),
        ("ibtracs", String::from("sid,iso_time,lat,lon,pcen,penv\na,1992-08-24,1,2,980\n"), "bad-line"),
    ] {
        let mut spec = usual();
        spec["tracks_format"] = json!(format);
        fault(&Job::new(&text, EXPOSURE, spec), "/spec/tracks", code);
    }
}

#[test]
fn a_bad_exposure_is_refused_with_its_line() {
    for (text, code) in [
        ("", "no-points"),
        ("lat,lon,value\n", "no-points"),
        ("lat,lon\n1,2\n", "missing-column"),
        ("lat,lon,value\n1,2\n", "bad-line"),
        ("lat,lon,value\n1,2,x\n", "bad-number"),
        ("lat,lon,value\n1,2,-5\n", "out-of-range"),
        ("lat,lon,value\n1,2,nan\n", "not-finite"),
        ("lat,lon,value\n1,2,1e999\n", "not-finite"),
        ("lat,lon,value\nNaN,2,5\n", "not-finite"),
        ("lat,lon,value\n90.5,2,5\n", "out-of-range"),
        ("lat,lon,value\n1,400,5\n", "out-of-range"),
        ("lat,lon,value\n1,2,1e300\n", "out-of-range"),
    ] {
        fault(&Job::new(TRACKS, text, usual()), "/spec/exposure", code);
    }
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
