//! `climate_pca`.

use super::files::*;
use super::{Cases, with};
use forge_event::Digest;
use serde_json::{Value, json};

const KIND: &str = "climate_pca";

fn kept(cases: &Cases, shape: &[u64], values: &[f64]) -> Value {
    cases.keep(&npy(shape, values))
}

pub fn add(cases: &mut Cases) {
    let member = kept(cases, &[8, 4, 5], &field(8, 4, 5, 1));
    let lat = kept(cases, &[4], &latitudes(4));
    let good = json!({"members": [member], "layout": "npy", "lat": lat, "weights": "sqrt_cos_lat", "modes": 3,
        "mask": "nan", "outputs": ["eofs"]});
    specs(cases, &good);
    arrays(cases, &good);
    numbers(cases, &good);
    let file = netcdf(false, GRID, 0, &[north(), variable(&[0, 1, 2], FLOAT)]);
    let mut good = with(&with(&good, "/layout", json!("netcdf3")), "/var", json!("t"));
    (good["lat"], good["mask"]) = (json!("from_file"), json!("fill"));
    good["members"] = json!([cases.keep(&file)]);
    files(cases, &good, &file);
    variables(cases, &good);
}

fn specs(cases: &mut Cases, good: &Value) {
    let member = good["members"][0].clone();
    let mut of = cases.of(KIND, good);
    for at in ["/members", "/layout", "/lat", "/weights", "/modes", "/mask", "/outputs"] {
        of.fields("missing fields", [(at, json!(null), "", "missing-field")]);
    }
    of.fields(
        "fields of another type, or that nothing is known of",
        [
            ("/weights", json!("cos_lap"), "", "unknown-value"),
            ("/layout", json!("zarr"), "", "unknown-value"),
            ("/center", json!("each"), "", "unknown-value"),
            ("/mask", json!("zero"), "", "unknown-value"),
            ("/mask", json!("fill"), "", "not-applicable"),
            ("/lat", json!("from_file"), "", "not-applicable"),
            ("/lat", json!("blake3:12"), "", "bad-digest"),
            ("/members", json!([]), "", "out-of-range"),
            ("/members", json!(vec![member; 513]), "", "out-of-range"),
            ("/members", json!("blake3:12"), "", "wrong-type"),
            ("/members", json!(["sst.nc"]), "/0", "bad-digest"),
            ("/members", json!([7]), "/0", "wrong-type"),
            ("/modes", json!(0), "", "out-of-range"),
            ("/modes", json!(257), "", "out-of-range"),
            ("/modes", json!(1.5), "", "wrong-type"),
            ("/ddof", json!(-1), "", "out-of-range"),
            ("/outputs", json!(["eof"]), "/0", "unknown-value"),
            ("/outputs", json!(["eofs", "eofs"]), "/1", "duplicate"),
            ("/outputs", json!("eofs"), "", "wrong-type"),
            ("/mode", json!(3), "", "unknown-field"),
        ],
    );
    of.shard_cells(0, "out-of-range");
    let netcdf = with(&with(good, "/layout", json!("netcdf3")), "/lat", json!("from_file"));
    of.spec("a NetCDF file without a variable", netcdf.clone(), "/var", "missing-field");
    of.spec("a variable's name of no length", with(&netcdf, "/var", json!("")), "/var", "out-of-range");
    let mut large = with(good, "/members", json!(vec![good["members"][0].clone(); 512]));
    (large["modes"], large["outputs"]) = (json!(256), json!(["reconstruction"]));
    of.spec("a document that would not be inline", large, "/modes", "too-large-inline");
}

fn arrays(cases: &mut Cases, good: &Value) {
    let missing = json!([format!("{}", Digest::of(b"not uploaded"))]);
    cases.of(KIND, good).fields("a blob that is not there", [("/members", missing, "/0", "blob-missing")]);
    let whole = npy(&[8, 4, 5], &field(8, 4, 5, 1));
    let rows = [
        ("no array", b"PK\x03\x04 and so on".to_vec(), "not-npy"),
        ("an array cut short", whole[..900].to_vec(), "npy-length"),
        ("another number of axes", npy(&[160], &field(8, 4, 5, 1)), "wrong-rank"),
        ("another number of axes", npy(&[8, 2, 2, 5], &field(8, 4, 5, 1)), "wrong-rank"),
        ("an axis of no length", npy(&[8, 0, 5], &[]), "wrong-rank"),
    ];
    for (what, bytes, code) in rows {
        let member = cases.keep(&bytes);
        cases.of(KIND, good).fields(what, [("/members", json!([member]), "/0", code)]);
    }
    let rows = [
        ("latitudes that do not fit the grid", npy(&[5], &latitudes(5)), "lat-length"),
        ("latitudes that do not fit the grid", npy(&[4, 5], &[0.0; 20]), "wrong-rank"),
        ("latitudes that are none", npy(&[4], &[0.0, 1.0, 90.5, 2.0]), "lat-out-of-range"),
        ("latitudes that are none", npy(&[4], &[0.0, f64::NAN, 1.0, 2.0]), "lat-out-of-range"),
        ("latitudes that are none", b"hello".to_vec(), "not-npy"),
    ];
    for (what, bytes, code) in rows {
        let lat = cases.keep(&bytes);
        cases.of(KIND, good).fields(what, [("/lat", lat, "", code)]);
    }
    let first = good["members"][0].clone();
    let hole = masked(field(8, 4, 5, 2), 4, 5, f64::NAN);
    let rows = [
        ("members of several shapes", npy(&[8, 4, 6], &field(8, 4, 6, 2)), "shape-differs"),
        ("members of several shapes", npy(&[8, 20], &field(8, 4, 5, 2)), "shape-differs"),
        ("a mask that is not constant over all members", npy(&[8, 4, 5], &hole), "mask-differs"),
    ];
    for (what, bytes, code) in rows {
        let second = cases.keep(&bytes);
        cases.of(KIND, good).fields(what, [("/members", json!([first, second]), "/1", code)]);
    }
}

fn numbers(cases: &mut Cases, good: &Value) {
    let values = field(8, 4, 5, 1);
    let other = |at: usize, value: f64| {
        let mut values = values.clone();
        values[at] = value;
        values
    };
    let rows = [
        ("numbers that are none", other(47, f64::INFINITY), "/0", "infinite-value"),
        ("numbers beyond any field", other(47, -1e61), "/0", "value-too-large"),
        ("a mask that is not constant over all samples", other(47, f64::NAN), "/0", "mask-differs"),
        ("a mask that is not constant over all samples", other(7, f64::NAN), "/0", "mask-differs"),
        ("nothing but missing numbers", vec![f64::NAN; 160], "", "all-masked"),
    ];
    for (what, values, within, code) in rows {
        let member = kept(cases, &[8, 4, 5], &values);
        cases.of(KIND, good).fields(what, [("/members", json!([member]), within, code)]);
    }
    // Two points are left for three modes.
    let mut few = values;
    few.chunks_exact_mut(20).for_each(|sample| sample[2..].fill(f64::NAN));
    let few = kept(cases, &[8, 4, 5], &few);
    let what = "more modes than there can be";
    cases.of(KIND, good).spec(what, with(good, "/members", json!([few])), "/modes", "out-of-range");
    let members = |cases: &Cases, count: u64| json!([kept(cases, &[count, 4, 5], &field(count, 4, 5, 1))]);
    let (one, three, five) = (members(cases, 1), members(cases, 3), members(cases, 5));
    let mut of = cases.of(KIND, good);
    of.fields("one sample", [("/members", one, "", "too-few-samples")]);
    of.spec(what, with(good, "/members", three), "/modes", "out-of-range");
    let free = with(&with(good, "/members", five), "/ddof", json!(5));
    of.spec("no degree of freedom", free, "/ddof", "out-of-range");
    let pair: Vec<Value> = [1, 2].map(|seed| kept(cases, &[2, 4, 5], &field(2, 4, 5, seed))).to_vec();
    let mut each = with(good, "/members", json!(pair));
    cases.of(KIND, &each).taken("members of two samples, about one mean", "/center", json!("grand"));
    each["center"] = json!("member");
    cases.of(KIND, good).spec(what, each, "/modes", "out-of-range");
}

fn files(cases: &mut Cases, good: &Value, whole: &[u8]) {
    let rows = [
        ("HDF5", b"\x89HDF\r\n\x1a\n and so on".to_vec(), "not-netcdf3"),
        ("CDF-5", b"CDF\x05\0\0\0\0".to_vec(), "not-netcdf3"),
        ("no NetCDF", b"GRIB".to_vec(), "not-netcdf3"),
        ("no NetCDF", b"CD".to_vec(), "not-netcdf3"),
        ("no NetCDF", npy(&[8, 4, 5], &field(8, 4, 5, 1)), "not-netcdf3"),
        ("a file cut in its header", whole[..100].to_vec(), "netcdf-truncated"),
        ("a file cut in its numbers", whole[..whole.len() - 9].to_vec(), "netcdf-truncated"),
    ];
    for (what, bytes, code) in rows {
        let member = cases.keep(&bytes);
        cases.of(KIND, good).fields(what, [("/members", json!([member]), "/0", code)]);
    }
    let south = Variable::new("lat", &[1], FLOAT, vec![-60.0, -20.0, 20.0, 60.0]).words("units", "degrees_north");
    let south = cases.keep(&netcdf(false, GRID, 0, &[south, variable(&[0, 1, 2], FLOAT)]));
    let both = json!([good["members"][0], south]);
    cases.of(KIND, good).fields("latitudes that differ", [("/members", both, "/1", "lat-differs")]);
}

fn variables(cases: &mut Cases, good: &Value) {
    let other = Variable::new("tt", &[0, 1, 2], FLOAT, field(8, 4, 5, 1));
    let endless = variable(&[0, 1, 2], SHORT).number("scale_factor", DOUBLE, f64::INFINITY);
    let beyond = Variable::new("lat", &[1], FLOAT, vec![0.0, 30.0, 60.0, 95.0]).words("units", "degrees_north");
    let unsigned = variable(&[0, 1, 2], SHORT).words("_Unsigned", "true");
    let rows = [
        ("a variable that is not there", vec![north(), other], "/var", "unknown-variable"),
        ("a variable that is not there", vec![north()], "/var", "unknown-variable"),
        ("another number of axes", vec![north(), variable(&[0, 3], FLOAT)], "/members/0", "wrong-rank"),
        ("another number of axes", vec![north(), variable(&[], FLOAT)], "/members/0", "wrong-rank"),
        ("another number of axes", vec![north(), variable(&[1, 2], FLOAT)], "/members/0", "wrong-rank"),
        ("another number of axes", vec![north(), variable(&[0, 1, 2, 1, 2], FLOAT)], "/members/0", "wrong-rank"),
        ("a variable of text", vec![north(), variable(&[0, 1, 2], CHAR)], "/members/0", "not-numeric"),
        ("no latitudes", vec![variable(&[0, 1, 2], FLOAT)], "/members/0", "no-latitude"),
        ("unsigned integers", vec![north(), unsigned], "/members/0", "not-yet"),
        ("packed without a scale", vec![north(), endless], "/members/0", "bad-packing"),
        ("latitudes that are none", vec![beyond, variable(&[0, 1, 2], FLOAT)], "/lat", "lat-out-of-range"),
    ];
    for (what, variables, at, code) in rows {
        let member = cases.keep(&netcdf(false, GRID, 0, &variables));
        cases.of(KIND, good).spec(what, with(good, "/members", json!([member])), at, code);
    }
    // A fill value is no data, whatever the mask.
    let mut values = field(8, 4, 5, 1);
    values.iter_mut().skip(3).step_by(20).for_each(|x| *x = 1e20);
    let filled = Variable::new("t", &[0, 1, 2], FLOAT, values).number("missing_value", DOUBLE, 1e20);
    let member = cases.keep(&netcdf(false, GRID, 0, &[north(), filled]));
    let filled = with(good, "/members", json!([member]));
    cases.of(KIND, &filled).taken("missing_value alone, without _FillValue", "/mask", json!("fill"));
    let spec = with(&filled, "/mask", json!("nan"));
    cases.of(KIND, good).spec("fill values taken for data", spec, "/members/0", "infinite-value");
}
