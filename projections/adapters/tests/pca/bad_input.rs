//! What faults of bad inputs say, and inputs damaged anywhere.

use super::files::*;
use forge_adapters::climate_pca::ClimatePca;
use forge_adapters::climate_pca::inputs::latitudes_in;
use forge_adapters::laws::MemoryBlobs;
use forge_projections::family::{Family, SpecFault};
use serde_json::{Value, json};

fn good(blobs: &MemoryBlobs) -> Value {
    let member = blobs.keep(&npy(&[8, 4, 5], &field(8, 4, 5, 1))).to_string();
    let lat = blobs.keep(&npy(&[4], &latitudes(4))).to_string();
    json!({"members": [member], "layout": "npy", "lat": lat, "weights": "sqrt_cos_lat", "modes": 3, "mask": "nan",
        "outputs": ["eofs"]})
}

/// The faults of a spec, of its form first.
fn faults(blobs: &MemoryBlobs, spec: &Value) -> Result<String, Vec<SpecFault>> {
    let checked = ClimatePca.check_spec(spec, None)?;
    ClimatePca.check_inputs(&checked.spec, blobs)?;
    Ok(String::from_utf8(checked.spec).expect("canonical JSON is text"))
}

fn first(blobs: &MemoryBlobs, spec: &Value) -> (String, &'static str, String) {
    let faults = faults(blobs, spec).expect_err("the input is bad");
    (faults[0].pointer.clone(), faults[0].code, faults[0].fix.clone().unwrap_or_default())
}

/// The fault of a good spec, changed in one field.
fn changed(field: &str, value: Value) -> (String, &'static str, String) {
    let blobs = MemoryBlobs::default();
    let mut spec = good(&blobs);
    if value == "REMOVE" {
        spec.as_object_mut().expect("an object").remove(field);
    } else {
        spec[field] = value;
    }
    first(&blobs, &spec)
}

fn expect(found: (String, &'static str, String), pointer: &str, code: &str) -> String {
    assert_eq!((&*found.0, found.1), (pointer, code));
    found.2
}

/// The fault of a member's bytes, with what else `more` says.
fn member(bytes: &[u8], more: Value) -> (String, &'static str, String) {
    let blobs = MemoryBlobs::default();
    let mut spec = good(&blobs);
    spec["members"] = json!([blobs.keep(bytes).to_string()]);
    for (key, value) in more.as_object().expect("fields") {
        spec[key] = value.clone();
    }
    first(&blobs, &spec)
}

const NETCDF: &str = r#"{"layout":"netcdf3","var":"t","lat":"from_file","mask":"fill"}"#;

fn netcdf_member(bytes: &[u8]) -> (String, &'static str, String) {
    member(bytes, serde_json::from_str(NETCDF).expect("JSON"))
}

#[test]
fn the_good_ones_are_good_and_canonical() {
    let blobs = MemoryBlobs::default();
    let spec = good(&blobs);
    let canonical = faults(&blobs, &spec).expect("no fault");
    let (member, lat) = (spec["members"][0].as_str().expect("text"), spec["lat"].as_str().expect("text"));
    let expected = format!(
        "{{\"members\":[\"{member}\"],\"layout\":\"npy\",\"var\":null,\"lat\":\"{lat}\",\"weights\":\"sqrt_cos_lat\",\
         \"center\":\"grand\",\"ddof\":1,\"modes\":3,\"mask\":\"nan\",\"outputs\":[\"eofs\"]}}"
    );
    assert_eq!(canonical, expected);
    let inputs = ClimatePca.check_spec(&spec, None).expect("no fault").inputs;
    assert_eq!(inputs.len(), 2);
    let mut spec: Value = serde_json::from_str(NETCDF).expect("JSON");
    for (key, value) in good(&blobs).as_object().expect("an object") {
        spec.as_object_mut().expect("an object").entry(key).or_insert(value.clone());
    }
    let file = netcdf(false, GRID, 0, &[north(), variable(&[0, 1, 2], FLOAT)]);
    spec["members"] = json!([blobs.keep(&file).to_string()]);
    assert!(faults(&blobs, &spec).is_ok());
}

#[test]
fn a_file_tells_which_way_its_latitudes_go() {
    let blobs = MemoryBlobs::default();
    let keep = |bytes: Vec<u8>| blobs.keep(&bytes);
    let file = keep(netcdf(false, GRID, 0, &[north(), variable(&[0, 1, 2], FLOAT)]));
    let found = latitudes_in(&blobs, &file, "t").expect("they are there");
    let stored: Vec<f64> = latitudes(4).iter().map(|lat| f64::from(*lat as f32)).collect();
    assert_eq!((found.axis, found.values), (0, stored));
    assert_eq!(latitudes_in(&blobs, &file, "no such"), None);
    let silent = keep(netcdf(false, GRID, 0, &[variable(&[0, 1, 2], FLOAT)]));
    assert_eq!(latitudes_in(&blobs, &silent, "t"), None);
    assert_eq!(latitudes_in(&blobs, &keep(b"no file of this kind".to_vec()), "t"), None);
}

#[test]
fn a_fault_says_what_to_do() {
    for field in ["members", "layout", "lat", "weights", "modes", "mask", "outputs"] {
        let fix = expect(changed(field, json!("REMOVE")), &format!("/spec/{field}"), "missing-field");
        assert!(fix.starts_with("add \""), "{fix}");
    }
    let near = expect(changed("weights", json!("cos_lap")), "/spec/weights", "unknown-value");
    assert_eq!(near, "did you mean `cos_lat`?");
    let fix = expect(netcdf_member(b"\x89HDF\r\n\x1a\n and so on"), "/spec/members/0", "not-netcdf3");
    assert!(fix.contains("nccopy -k classic") && fix.contains("NETCDF3_64BIT"), "{fix}");
    let with = |variables: &[Variable]| netcdf_member(&netcdf(false, GRID, 0, variables));
    let other = Variable::new("tt", &[0, 1, 2], FLOAT, field(8, 4, 5, 1));
    assert_eq!(expect(with(&[north(), other]), "/spec/var", "unknown-variable"), "did you mean `tt`?");
    assert_eq!(expect(with(&[north()]), "/spec/var", "unknown-variable"), "the variables are: lat");
    let few = member(&npy(&[3, 4, 5], &field(3, 4, 5, 1)), json!({}));
    assert_eq!(expect(few, "/spec/modes", "out-of-range"), "the nearest allowed value is 2");
}

#[test]
fn what_is_just_enough_is_taken() {
    let blobs = MemoryBlobs::default();
    let mut spec = good(&blobs);
    spec["members"] = json!(vec![spec["members"][0].clone(); 512]);
    spec["modes"] = json!(256);
    assert!(ClimatePca.check_spec(&spec, None).is_ok(), "256 modes alone are inline");
    (spec["outputs"], spec["modes"]) = (json!(["reconstruction"]), json!(3));
    assert!(ClimatePca.check_spec(&spec, None).is_ok());
    // Three points are left for three modes.
    let mut values = field(8, 4, 5, 1);
    values.chunks_exact_mut(20).for_each(|sample| sample[3..].fill(f64::NAN));
    let mut spec = good(&blobs);
    spec["members"] = json!([blobs.keep(&npy(&[8, 4, 5], &values)).to_string()]);
    assert!(faults(&blobs, &spec).is_ok());
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let records: &[(&str, usize)] = &[("time", 0), ("lat", 4), ("lon", 5)];
    for (dimensions, count) in [(GRID, 0), (records, 8)] {
        let file = netcdf(count > 0, dimensions, count, &[north(), variable(&[0, 1, 2], DOUBLE)]);
        for cut in (4..file.len()).step_by(3) {
            expect(netcdf_member(&file[..cut]), "/spec/members/0", "netcdf-truncated");
        }
    }
}

#[test]
fn a_header_of_noise_never_panics() {
    let file = netcdf(false, GRID, 0, &[north(), variable(&[0, 1, 2], SHORT).number("scale_factor", DOUBLE, 2.0)]);
    let header = file.len() - 320;
    let blobs = MemoryBlobs::default();
    let mut spec = good(&blobs);
    for (key, value) in serde_json::from_str::<Value>(NETCDF).expect("JSON").as_object().expect("fields") {
        spec[key] = value.clone();
    }
    for at in 0..header {
        for byte in [0, 1, 0x7f, 0xff] {
            let mut noisy = file.clone();
            noisy[at] = byte;
            spec["members"] = json!([blobs.keep(&noisy).to_string()]);
            let _ = faults(&blobs, &spec);
        }
    }
}

#[test]
fn what_is_large_both_ways_is_refused() {
    let n = 4097;
    let values = vec![0.5f64; n * n];
    let bytes = npy_f32(&[n as u64, n as u64], &values);
    let found = member(&bytes, json!({"weights": "none"}));
    assert_eq!((&*found.0, found.1), ("/spec/members", "too-large"));
}
