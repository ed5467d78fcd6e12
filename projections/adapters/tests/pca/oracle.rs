//! Numbers that `eofs` and NumPy computed (`tests/oracles/climate_pca.py`).

use super::files::*;
use super::{array, bench};
use forge_adapters::laws::MemoryBlobs;
use serde_json::{Value, json};

fn committed() -> Value {
    serde_json::from_str(include_str!("../../../../tests/oracles/data/climate_pca.json"))
        .expect("the oracle writes JSON")
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

/// Eigenvalues to 1e-9 of the first, the rest to `slack` of its own scale; signs are those of the rule.
fn check(name: &str, row: &Value, document: &Value, blobs: &MemoryBlobs, slack: f64) {
    let first = number(&row["eigenvalues"][0]);
    for field in ["eigenvalues", "variance_fraction", "north_error"] {
        let (found, expected) = (&document[field], row[field].as_array().expect("a list"));
        assert_eq!(found.as_array().map(Vec::len), Some(expected.len()));
        for (k, expected) in expected.iter().enumerate() {
            let found = number(&found[k]["value"]);
            let scale = if field == "variance_fraction" { 1.0 } else { first };
            assert!((found - number(expected)).abs() <= 1e-9 * scale, "{name}: {field} {k}: {found} {expected}");
        }
    }
    assert_eq!(document["degenerate"], row["degenerate"], "{name}");
    let total = number(&row["total_variance"]);
    assert!((number(&document["total_variance"]["value"]) - total).abs() <= 1e-9 * total, "{name}: total variance");
    let members: Vec<f64> = match document["reconstruction"].as_array() {
        Some(members) => members.iter().flat_map(|m| array(blobs, m).1).collect(),
        None => Vec::new(),
    };
    let arrays = [
        ("eofs", array(blobs, &document["eofs"]).1),
        ("pcs", array(blobs, &document["pcs"]).1),
        ("reconstruction", members),
    ];
    for (field, values) in arrays {
        let entries = row[field].as_array().expect("entries");
        let size = entries.iter().filter_map(|e| e[1].as_f64()).fold(0.0, |most: f64, x| most.max(x.abs()));
        for entry in entries {
            let found = values[entry[0].as_u64().expect("a place") as usize];
            match entry[1].as_f64() {
                None => assert!(found.is_nan(), "{name}: {field} {entry}: {found}"),
                Some(expected) => {
                    assert!((found - expected).abs() <= slack * size, "{name}: {field} {entry}: {found}");
                }
            }
        }
    }
}

#[test]
fn generated_fields_agree_with_eofs_and_numpy() {
    for row in committed()["generated"].as_array().expect("rows") {
        let name = row["name"].as_str().expect("a name");
        let blobs = MemoryBlobs::default();
        let (rows, columns) = (row["shape"][0].as_u64().expect("rows"), row["shape"][1].as_u64().expect("columns"));
        let sizes = row["members"].as_array().expect("sizes");
        let members: Vec<String> = sizes
            .iter()
            .enumerate()
            .map(|(i, n)| {
                let (i, n) = (i as u64, n.as_u64().expect("a size"));
                let seed = if sizes.len() == 1 { 3 } else { 10 * i };
                let offset = if sizes.len() == 1 { number(&row["offset"]) } else { 2.0 * i as f64 };
                let values: Vec<f64> = field(n, rows, columns, seed).into_iter().map(|x| x + offset).collect();
                let values = if row["mask"] == true { masked(values, rows, columns, f64::NAN) } else { values };
                blobs.keep(&npy(&[n, rows, columns], &values)).to_string()
            })
            .collect();
        let lat = blobs.keep(&npy(&[rows], &latitudes(rows))).to_string();
        let spec = json!({"members": members, "layout": "npy", "lat": lat, "weights": row["weights"], "modes": row["modes"],
            "center": row["center"], "mask": "nan", "outputs": ["eofs", "pcs", "reconstruction"]});
        let document = bench(&blobs, spec, &[None]).job(Some(100), false).expect("the job ends well");
        let document = serde_json::from_slice(&document).expect("JSON");
        check(name, row, &document, &blobs, 1e-7);
    }
}

/// The files are part of a package under another licence, so they are not here.
#[test]
fn real_fields_agree_with_eofs() {
    let Some(folder) = std::env::var_os("FORGE_EOFS_DATA") else {
        println!("SKIPPED: set FORGE_EOFS_DATA to the folder of hgt_djf.nc and sst_ndjfm_anom.nc (PyPI: eofs 2.0.0)");
        return;
    };
    for row in committed()["real"].as_array().expect("rows") {
        let name = row["name"].as_str().expect("a name");
        let blobs = MemoryBlobs::default();
        let bytes = std::fs::read(std::path::Path::new(&folder).join(name)).expect("the file is in the folder");
        let spec = json!({"members": [blobs.keep(&bytes).to_string()], "layout": "netcdf3", "var": row["var"],
            "lat": "from_file", "weights": row["weights"], "modes": row["modes"], "mask": "fill",
            "outputs": ["eofs", "pcs", "reconstruction"]});
        let document = bench(&blobs, spec, &[None, Some(50), Some(301), Some(10_000)]).check();
        let document: Value = serde_json::from_slice(&document).expect("JSON");
        for field in ["n", "p", "p_valid"] {
            assert_eq!(document[field], row[field], "{name}");
        }
        check(name, row, &document, &blobs, 1e-7);
        println!("{name}: agrees with eofs");
    }
}
