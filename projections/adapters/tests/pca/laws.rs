//! The document does not depend on the cutting, nor on how the same numbers are stored.

use super::files::*;
use super::{array, bench};
use forge_adapters::laws::MemoryBlobs;
use serde_json::{Value, json};

const GROUPINGS: [Option<u64>; 5] = [None, Some(1), Some(7), Some(24), Some(1000)];

fn document(blobs: &MemoryBlobs, spec: Value, groupings: &[Option<u64>]) -> Value {
    let document = bench(blobs, spec, groupings).check();
    serde_json::from_slice(&document).expect("a document is JSON")
}

/// A spec for arrays; the fields of `more` replace its own.
fn spec(members: &[String], lat: &str, more: Value) -> Value {
    let mut spec = json!({"members": members, "layout": "npy", "lat": lat, "weights": "sqrt_cos_lat", "modes": 3,
        "mask": "nan", "outputs": ["eigenvalues", "eofs", "pcs", "reconstruction"]});
    for (key, value) in more.as_object().expect("fields") {
        spec[key] = value.clone();
    }
    spec
}

#[test]
fn a_job_where_samples_are_fewer_keeps_the_laws() {
    let blobs = MemoryBlobs::default();
    let values = masked(field(13, 5, 6, 3), 5, 6, f64::NAN);
    let member = blobs.keep(&npy(&[13, 5, 6], &values)).to_string();
    let lat = blobs.keep(&npy(&[5], &latitudes(5))).to_string();
    let document = document(&blobs, spec(&[member], &lat, json!({})), &GROUPINGS);
    assert_eq!((&document["n"], &document["p"]), (&json!(13), &json!(30)));
    let (shape, eofs) = array(&blobs, &document["eofs"]);
    assert_eq!(shape, [3, 5, 6]);
    let valid = eofs.iter().filter(|x| !x.is_nan()).count() as u64;
    assert_eq!(document["p_valid"], valid / 3);
    for mode in eofs.chunks_exact(30) {
        let square: f64 = mode.iter().filter(|x| !x.is_nan()).map(|x| x * x).sum();
        assert!((square - 1.0).abs() < 1e-12, "unit length");
        let largest = mode.iter().copied().filter(|x| !x.is_nan()).max_by(|a, b| a.abs().total_cmp(&b.abs()));
        assert!(largest.is_some_and(|x| x > 0.0), "the largest entry is positive");
    }
    assert_eq!(array(&blobs, &document["pcs"]).0, [13, 3]);
    assert_eq!(array(&blobs, &document["reconstruction"][0]).0, [13, 5, 6]);
}

#[test]
fn a_job_where_points_are_fewer_keeps_the_laws() {
    let blobs = MemoryBlobs::default();
    let values = masked(field(25, 3, 4, 3), 3, 4, f64::NAN);
    let members = [&values[..9 * 12], &values[9 * 12..]];
    let members = members.map(|m| blobs.keep(&npy_f32(&[m.len() as u64 / 12, 12], m)).to_string());
    let lat = blobs.keep(&npy(&[12], &[10.0, 20.0, -30.0].repeat(4))).to_string();
    for center in ["grand", "member"] {
        let spec = spec(&members, &lat, json!({"center": center, "weights": "cos_lat"}));
        let document = document(&blobs, spec, &GROUPINGS);
        assert_eq!(array(&blobs, &document["eofs"]).0, [3, 12]);
        assert_eq!(array(&blobs, &document["pcs"]).0, [25, 3]);
        assert_eq!(array(&blobs, &document["reconstruction"][1]).0, [16, 12]);
    }
}

#[test]
fn what_is_not_asked_for_is_null_and_eigenvalues_alone_end_earlier() {
    let blobs = MemoryBlobs::default();
    let member = blobs.keep(&npy(&[9, 4, 5], &field(9, 4, 5, 1))).to_string();
    let alone = json!({"outputs": ["eigenvalues"], "weights": "none", "lat": null});
    let text = bench(&blobs, spec(std::slice::from_ref(&member), "", alone), &GROUPINGS).check();
    let document: Value = serde_json::from_slice(&text).expect("a document is JSON");
    assert_eq!(document["eigenvalues"].as_array().map(Vec::len), Some(3));
    let text = String::from_utf8(text).expect("a document is text");
    assert!(text.starts_with(r#"{"kind":"climate_pca","format":1,"n":9,"p":20,"p_valid":20,"eigenvalues":[{"value":"#));
    assert!(text.ends_with(r#","eofs":null,"pcs":null,"reconstruction":null}"#));
    let order = ["eigenvalues", "variance_fraction", "north_error", "total_variance", "degenerate", "eofs"];
    assert!(order.map(|field| text.find(&format!("\"{field}\":"))).is_sorted(), "fields stand in the contract's order");
}

/// The same numbers, each time stored in another way.
#[test]
fn storage_leaves_no_trace() {
    let blobs = MemoryBlobs::default();
    let (n, rows, columns) = (11, 4, 6);
    // Eighths are exact in all the ways that follow.
    let eighths: Vec<f64> = field(n, rows, columns, 2).into_iter().map(|x| (x * 8.0).round() / 8.0).collect();
    let lat = latitudes(rows);
    let lat_blob = blobs.keep(&npy(&[rows], &lat)).to_string();
    let plain = blobs.keep(&npy(&[n, rows, columns], &masked(eighths.clone(), rows, columns, f64::NAN))).to_string();
    let expected = bench(&blobs, spec(&[plain], &lat_blob, json!({})), &[None]).check();
    let (r, c, n) = (rows as usize, columns as usize, n as usize);
    let with = |missing: f64| masked(eighths.clone(), rows, columns, missing);
    let packed =
        |missing: f64| with(f64::NAN).into_iter().map(move |x| if x.is_nan() { missing } else { x * 8.0 - 4.0 });
    let latitude = |d: usize| Variable::new("lat", &[d], FLOAT, lat.clone()).words("units", "degrees_north");
    let time = || Variable::new("time", &[0], DOUBLE, (0..n).map(|t| t as f64).collect());
    let odd = || Variable::new("odd", &[0], SHORT, (0..n).map(|t| t as f64).collect());
    let records: &[(&str, usize)] = &[("time", 0), ("lat", r), ("lon", c), ("level", 1)];
    let fixed: &[(&str, usize)] = &[("time", n), ("lat", r), ("lon", c), ("level", 1)];
    let files = [
        netcdf(
            false,
            records,
            n,
            &[
                latitude(1),
                time(),
                odd(),
                Variable::new("t", &[0, 3, 1, 2], DOUBLE, with(1e20)).number("missing_value", DOUBLE, 1e20),
            ],
        ),
        netcdf(
            true,
            records,
            n,
            &[Variable::new("t", &[0, 1, 2], FLOAT, with(1e20)).number("missing_value", DOUBLE, 1e20), latitude(1)],
        ),
        netcdf(
            true,
            fixed,
            0,
            &[Variable::new("t", &[3, 0, 1, 2], FLOAT, with(-999.0)).number("_FillValue", FLOAT, -999.0), latitude(1)],
        ),
        // Nothing says what is missing but the format's own fill value, or NaN.
        netcdf(false, fixed, 0, &[latitude(1), Variable::new("t", &[0, 1, 2], FLOAT, with(9.969209968386869e36))]),
        netcdf(false, fixed, 0, &[latitude(1), Variable::new("t", &[0, 1, 2], DOUBLE, with(f64::NAN))]),
        // Packed: 8 x − 4 as an integer.
        netcdf(
            false,
            records,
            n,
            &[
                latitude(1),
                odd(),
                Variable::new("t", &[0, 1, 2], SHORT, packed(-30000.0).collect())
                    .number("_FillValue", SHORT, -30000.0)
                    .number("scale_factor", DOUBLE, 0.125)
                    .number("add_offset", DOUBLE, 0.5),
            ],
        ),
        netcdf(
            false,
            records,
            n,
            &[
                latitude(1),
                Variable::new("t", &[0, 1, 2], INT, packed(-2147483647.0).collect())
                    .number("scale_factor", DOUBLE, 0.125)
                    .number("add_offset", FLOAT, 0.5),
            ],
        ),
    ];
    for (i, file) in files.iter().enumerate() {
        let member = blobs.keep(file).to_string();
        let how = json!({"layout": "netcdf3", "var": "t", "mask": "fill"});
        for lat in [lat_blob.as_str(), "from_file"] {
            let found = bench(&blobs, spec(std::slice::from_ref(&member), lat, how.clone()), &[None]).check();
            // Latitudes of floats are exact here only by the blob.
            if lat != "from_file" {
                assert_eq!(String::from_utf8_lossy(&found), String::from_utf8_lossy(&expected), "file {i}");
            }
        }
    }
}

#[test]
fn an_unclosed_file_has_the_records_that_fit() {
    let blobs = MemoryBlobs::default();
    let values = field(10, 4, 4, 1);
    let file = |n: usize| {
        let t = Variable::new("t", &[0, 1, 2], DOUBLE, values[..n * 16].to_vec());
        netcdf(false, &[("time", 0), ("lat", 4), ("lon", 4)], n, &[t])
    };
    let mut streaming = file(10);
    streaming[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
    let how = json!({"layout": "netcdf3", "var": "t", "weights": "none", "lat": null});
    let run = |bytes: &[u8]| bench(&blobs, spec(&[blobs.keep(bytes).to_string()], "", how.clone()), &[None]).check();
    assert_eq!(run(&streaming), run(&file(10)));
}
