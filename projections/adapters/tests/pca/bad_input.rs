//! Every bad input has a fault with its pointer, its code and, where there is one, a way out.

use super::files::*;
use forge_adapters::climate_pca::ClimatePca;
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

const GRID: &[(&str, usize)] = &[("time", 8), ("lat", 4), ("lon", 5), ("one", 1)];

fn variable(dimensions: &[usize], kind: u32) -> Variable {
    let lengths = dimensions.iter().map(|d| GRID[*d].1.max(1));
    let values = field(8, 4, 5, 1).into_iter().cycle().take(lengths.product()).collect();
    Variable::new("t", dimensions, kind, values)
}

fn lat() -> Variable {
    Variable::new("lat", &[1], FLOAT, latitudes(4)).words("units", "degrees_north")
}

#[test]
fn the_good_ones_are_good_and_canonical() {
    let blobs = MemoryBlobs::default();
    let spec = good(&blobs);
    let canonical = faults(&blobs, &spec).expect("no fault");
    let (member, north) = (spec["members"][0].as_str().expect("text"), spec["lat"].as_str().expect("text"));
    let expected = format!(
        "{{\"members\":[\"{member}\"],\"layout\":\"npy\",\"var\":null,\"lat\":\"{north}\",\"weights\":\"sqrt_cos_lat\",\
         \"center\":\"grand\",\"ddof\":1,\"modes\":3,\"mask\":\"nan\",\"outputs\":[\"eofs\"]}}"
    );
    assert_eq!(canonical, expected);
    let inputs = ClimatePca.check_spec(&spec, None).expect("no fault").inputs;
    assert_eq!(inputs.len(), 2);
    let mut spec: Value = serde_json::from_str(NETCDF).expect("JSON");
    for (key, value) in good(&blobs).as_object().expect("an object") {
        spec.as_object_mut().expect("an object").entry(key).or_insert(value.clone());
    }
    let file = netcdf(false, GRID, 0, &[lat(), variable(&[0, 1, 2], FLOAT)]);
    spec["members"] = json!([blobs.keep(&file).to_string()]);
    assert!(faults(&blobs, &spec).is_ok());
}

#[test]
fn fields_are_checked() {
    for field in ["members", "layout", "lat", "weights", "modes", "mask", "outputs"] {
        let fix = expect(changed(field, json!("REMOVE")), &format!("/spec/{field}"), "missing-field");
        assert!(fix.starts_with("add \""), "{fix}");
    }
    assert_eq!(
        expect(changed("weights", json!("cos_lap")), "/spec/weights", "unknown-value"),
        "did you mean `cos_lat`?"
    );
    expect(changed("layout", json!("zarr")), "/spec/layout", "unknown-value");
    expect(changed("center", json!("each")), "/spec/center", "unknown-value");
    expect(changed("mask", json!("zero")), "/spec/mask", "unknown-value");
    expect(changed("mask", json!("fill")), "/spec/mask", "not-applicable");
    expect(changed("lat", json!("from_file")), "/spec/lat", "not-applicable");
    expect(changed("lat", json!("blake3:12")), "/spec/lat", "bad-digest");
    expect(changed("members", json!([])), "/spec/members", "out-of-range");
    expect(changed("members", json!("blake3:12")), "/spec/members", "wrong-type");
    expect(changed("members", json!(["sst.nc"])), "/spec/members/0", "bad-digest");
    expect(changed("members", json!([7])), "/spec/members/0", "wrong-type");
    expect(changed("layout", json!("netcdf3")), "/spec/var", "missing-field");
    expect(changed("modes", json!(0)), "/spec/modes", "out-of-range");
    expect(changed("modes", json!(257)), "/spec/modes", "out-of-range");
    expect(changed("modes", json!(1.5)), "/spec/modes", "wrong-type");
    expect(changed("ddof", json!(-1)), "/spec/ddof", "out-of-range");
    expect(changed("outputs", json!(["eof"])), "/spec/outputs/0", "unknown-value");
    expect(changed("outputs", json!(["eofs", "eofs"])), "/spec/outputs/1", "duplicate");
    assert_eq!(expect(changed("mode", json!(3)), "/spec/mode", "unknown-field"), "did you mean `modes`?");
    let blobs = MemoryBlobs::default();
    let none = ClimatePca.check_spec(&good(&blobs), Some(0)).expect_err("a shard has a cell");
    assert_eq!((&*none[0].pointer, none[0].code), ("/shard_cells", "out-of-range"));
}

#[test]
fn a_document_that_would_not_be_inline_is_refused() {
    let blobs = MemoryBlobs::default();
    let mut spec = good(&blobs);
    spec["members"] = json!(vec![spec["members"][0].clone(); 512]);
    spec["modes"] = json!(256);
    assert!(ClimatePca.check_spec(&spec, None).is_ok(), "256 modes alone are inline");
    spec["outputs"] = json!(["reconstruction"]);
    let faults = ClimatePca.check_spec(&spec, None).expect_err("too many");
    assert_eq!((&*faults[0].pointer, faults[0].code), ("/spec/modes", "too-large-inline"));
    spec["modes"] = json!(3);
    assert!(ClimatePca.check_spec(&spec, None).is_ok());
    spec["members"] = json!(vec![spec["members"][0].clone(); 513]);
    let faults = ClimatePca.check_spec(&spec, None).expect_err("too many");
    assert_eq!((&*faults[0].pointer, faults[0].code), ("/spec/members", "out-of-range"));
}

#[test]
fn blobs_that_are_no_arrays_are_told() {
    expect(changed("members", json!([format!("blake3:{}", "0".repeat(64))])), "/spec/members/0", "blob-missing");
    expect(member(b"PK\x03\x04 and so on", json!({})), "/spec/members/0", "not-npy");
    expect(member(&npy(&[8, 4, 5], &field(8, 4, 5, 1))[..900], json!({})), "/spec/members/0", "npy-length");
    expect(member(&npy(&[160], &field(8, 4, 5, 1)), json!({})), "/spec/members/0", "wrong-rank");
    expect(member(&npy(&[8, 2, 2, 5], &field(8, 4, 5, 1)), json!({})), "/spec/members/0", "wrong-rank");
    expect(member(&npy(&[8, 0, 5], &[]), json!({})), "/spec/members/0", "wrong-rank");
}

#[test]
fn latitudes_fit_the_grid() {
    let given = |bytes: Vec<u8>| {
        let blobs = MemoryBlobs::default();
        let mut spec = good(&blobs);
        spec["lat"] = json!(blobs.keep(&bytes).to_string());
        first(&blobs, &spec)
    };
    assert_eq!(expect(given(npy(&[5], &latitudes(5))), "/spec/lat", "lat-length"), "give 4 latitudes");
    expect(given(npy(&[4, 5], &[0.0; 20])), "/spec/lat", "wrong-rank");
    expect(given(npy(&[4], &[0.0, 1.0, 90.5, 2.0])), "/spec/lat", "lat-out-of-range");
    expect(given(npy(&[4], &[0.0, f64::NAN, 1.0, 2.0])), "/spec/lat", "lat-out-of-range");
    expect(given(b"hello".to_vec()), "/spec/lat", "not-npy");
}

#[test]
fn files_that_are_not_classic_netcdf_are_told_and_how_to_make_one() {
    let fix = expect(netcdf_member(b"\x89HDF\r\n\x1a\n and so on"), "/spec/members/0", "not-netcdf3");
    assert!(fix.contains("nccopy -k classic") && fix.contains("NETCDF3_64BIT"), "{fix}");
    expect(netcdf_member(b"CDF\x05\0\0\0\0"), "/spec/members/0", "not-netcdf3");
    expect(netcdf_member(b"GRIB"), "/spec/members/0", "not-netcdf3");
    expect(netcdf_member(b"CD"), "/spec/members/0", "not-netcdf3");
    expect(netcdf_member(&npy(&[8, 4, 5], &field(8, 4, 5, 1))), "/spec/members/0", "not-netcdf3");
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let records: &[(&str, usize)] = &[("time", 0), ("lat", 4), ("lon", 5)];
    for (dimensions, count) in [(GRID, 0), (records, 8)] {
        let file = netcdf(count > 0, dimensions, count, &[lat(), variable(&[0, 1, 2], DOUBLE)]);
        for cut in (4..file.len()).step_by(3) {
            expect(netcdf_member(&file[..cut]), "/spec/members/0", "netcdf-truncated");
        }
    }
}

#[test]
fn a_header_of_noise_never_panics() {
    let file = netcdf(false, GRID, 0, &[lat(), variable(&[0, 1, 2], SHORT).number("scale_factor", DOUBLE, 2.0)]);
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
fn variables_are_checked() {
    let with = |variables: &[Variable]| netcdf_member(&netcdf(false, GRID, 0, variables));
    let other = Variable::new("tt", &[0, 1, 2], FLOAT, field(8, 4, 5, 1));
    assert_eq!(expect(with(&[lat(), other]), "/spec/var", "unknown-variable"), "did you mean `tt`?");
    assert_eq!(expect(with(&[lat()]), "/spec/var", "unknown-variable"), "the variables are: lat");
    expect(with(&[lat(), variable(&[0, 3], FLOAT)]), "/spec/members/0", "wrong-rank");
    expect(with(&[lat(), variable(&[], FLOAT)]), "/spec/members/0", "wrong-rank");
    expect(with(&[lat(), variable(&[1, 2], FLOAT)]), "/spec/members/0", "wrong-rank");
    expect(with(&[lat(), variable(&[0, 1, 2, 1, 2], FLOAT)]), "/spec/members/0", "wrong-rank");
    expect(with(&[lat(), variable(&[0, 1, 2], CHAR)]), "/spec/members/0", "not-numeric");
    expect(with(&[variable(&[0, 1, 2], FLOAT)]), "/spec/members/0", "no-latitude");
    expect(with(&[lat(), variable(&[0, 1, 2], SHORT).words("_Unsigned", "true")]), "/spec/members/0", "not-yet");
    let packed = variable(&[0, 1, 2], SHORT).number("scale_factor", DOUBLE, f64::INFINITY);
    expect(with(&[lat(), packed]), "/spec/members/0", "bad-packing");
    let north = Variable::new("lat", &[1], FLOAT, vec![0.0, 30.0, 60.0, 95.0]).words("units", "degrees_north");
    expect(with(&[north, variable(&[0, 1, 2], FLOAT)]), "/spec/lat", "lat-out-of-range");
    // A fill value is no data, whatever the mask.
    let mut values = field(8, 4, 5, 1);
    values.iter_mut().skip(3).step_by(20).for_each(|x| *x = 1e20);
    let filled = || Variable::new("t", &[0, 1, 2], FLOAT, values.clone()).number("missing_value", DOUBLE, 1e20);
    let file = netcdf(false, GRID, 0, &[lat(), filled()]);
    let nan = json!({"layout": "netcdf3", "var": "t", "lat": "from_file", "mask": "nan"});
    expect(member(&file, nan), "/spec/members/0", "infinite-value");
}

#[test]
fn members_agree() {
    let blobs = MemoryBlobs::default();
    let with = |second: Vec<u8>, more: Value| {
        let mut spec = good(&blobs);
        spec["members"] = json!([spec["members"][0], blobs.keep(&second).to_string()]);
        for (key, value) in more.as_object().expect("fields") {
            spec[key] = value.clone();
        }
        first(&blobs, &spec)
    };
    expect(with(npy(&[8, 4, 6], &field(8, 4, 6, 2)), json!({})), "/spec/members/1", "shape-differs");
    expect(with(npy(&[8, 20], &field(8, 4, 5, 2)), json!({})), "/spec/members/1", "shape-differs");
    let hole = masked(field(8, 4, 5, 2), 4, 5, f64::NAN);
    expect(with(npy(&[8, 4, 5], &hole), json!({})), "/spec/members/1", "mask-differs");
    let south = Variable::new("lat", &[1], FLOAT, vec![-60.0, -20.0, 20.0, 60.0]).words("units", "degrees_north");
    let files = [lat(), south].map(|lat| blobs.keep(&netcdf(false, GRID, 0, &[lat, variable(&[0, 1, 2], FLOAT)])));
    let mut spec = good(&blobs);
    for (key, value) in serde_json::from_str::<Value>(NETCDF).expect("JSON").as_object().expect("fields") {
        spec[key] = value.clone();
    }
    spec["members"] = json!(files.map(|f| f.to_string()));
    expect(first(&blobs, &spec), "/spec/members/1", "lat-differs");
}

#[test]
fn numbers_that_cannot_be_decomposed_are_told() {
    let with = |change: fn(&mut [f64])| {
        let mut values = field(8, 4, 5, 1);
        change(&mut values);
        member(&npy(&[8, 4, 5], &values), json!({}))
    };
    expect(with(|v| v[47] = f64::INFINITY), "/spec/members/0", "infinite-value");
    expect(with(|v| v[47] = -1e61), "/spec/members/0", "value-too-large");
    expect(with(|v| v[47] = f64::NAN), "/spec/members/0", "mask-differs");
    expect(with(|v| v[7] = f64::NAN), "/spec/members/0", "mask-differs");
    expect(with(|v| v.fill(f64::NAN)), "/spec/members", "all-masked");
    // Three points are left for three modes, then two.
    let most = |left: usize| {
        let mut values = field(8, 4, 5, 1);
        values.chunks_exact_mut(20).for_each(|sample| sample[left..].fill(f64::NAN));
        npy(&[8, 4, 5], &values)
    };
    assert_eq!(expect(member(&most(2), json!({})), "/spec/modes", "out-of-range"), "the nearest allowed value is 2");
    let blobs = MemoryBlobs::default();
    let mut spec = good(&blobs);
    spec["members"] = json!([blobs.keep(&most(3)).to_string()]);
    assert!(faults(&blobs, &spec).is_ok());
}

#[test]
fn there_are_samples_for_the_modes_and_the_divisor() {
    let few = |n: u64, more: Value| member(&npy(&[n, 4, 5], &field(n, 4, 5, 1)), more);
    expect(few(1, json!({})), "/spec/members", "too-few-samples");
    assert_eq!(expect(few(3, json!({})), "/spec/modes", "out-of-range"), "the nearest allowed value is 2");
    expect(few(5, json!({"ddof": 5})), "/spec/ddof", "out-of-range");
    let blobs = MemoryBlobs::default();
    let mut spec = good(&blobs);
    let members = [1, 2].map(|seed| blobs.keep(&npy(&[2, 4, 5], &field(2, 4, 5, seed))).to_string());
    spec["members"] = json!(members);
    assert!(faults(&blobs, &spec).is_ok(), "four samples about one mean have three modes");
    spec["center"] = json!("member");
    assert_eq!(expect(first(&blobs, &spec), "/spec/modes", "out-of-range"), "the nearest allowed value is 2");
}

#[test]
fn what_is_large_both_ways_is_refused() {
    let n = 4097;
    let values = vec![0.5f64; n * n];
    let bytes = npy_f32(&[n as u64, n as u64], &values);
    let found = member(&bytes, json!({"weights": "none"}));
    assert_eq!((&*found.0, found.1), ("/spec/members", "too-large"));
}
