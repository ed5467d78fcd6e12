//! `cat_model`.

use super::{Cases, Of, with};
use forge_event::Digest;
use serde_json::{Value, json};

const KIND: &str = "cat_model";
const HEADER: &str = "track,node,dt_h,lat,lon,vmax_kn,pcen_mb,penv_mb,rmax_nm\n";
const STORM: &str = "a,0,0,25,-79,125,930,1010,\na,1,6,25.4,-80.3,145,922,1010,9\na,2,6,25.8,-82,115,947,1010,\n";
const EXPOSURE: &str = "lat,lon,value\n25.7,-80.2,1000000\n26.1,-80.1,250000.5\n";

pub fn add(cases: &mut Cases) {
    let (tracks, exposure) = (storms(cases, STORM), cases.keep(EXPOSURE.as_bytes()));
    let good = json!({"tracks": tracks, "tracks_format": "csv", "exposure": exposure, "members": 3, "dt_h": null,
        "wind": "H08", "wind_threshold": 17.5, "years": 10, "return_periods": [10, 50], "seed": 42,
        "vulnerability": {"kind": "analytic", "v_threshold": 25.7, "v_half": 74.7},
        "perturb": {"max_shift_ini": 0.75, "max_dspeed_rel": 0.3, "max_ddirection": 0.00873, "autocorr_dspeed": 0.85,
            "autocorr_ddirection": 0.5}});
    specs(&mut cases.of(KIND, &good));
    frequencies(cases, &good);
    tracks_alone(cases, &good);
    best_tracks(cases, &good);
    exposures(cases, &good);
}

/// A file of tracks in the own format.
fn storms(cases: &Cases, rows: &str) -> Value {
    cases.keep(format!("{HEADER}{rows}").as_bytes())
}

fn specs(of: &mut Of<'_>) {
    let table = |v: Value, mdr: Value| json!({"kind": "table", "v": v, "mdr": mdr});
    of.fields(
        "fields that are missing, of another type or of no name",
        [
            ("/tracks", json!("blake3:00"), "", "bad-digest"),
            ("/tracks", json!(7), "", "wrong-type"),
            ("/exposure", json!(null), "", "missing-field"),
            ("/exposure", json!(format!("{}", Digest::of(b"not uploaded"))), "", "blob-missing"),
            ("/tracks_format", json!("netcdf"), "", "unknown-value"),
            ("/members", json!(null), "", "missing-field"),
            ("/members", json!(-1), "", "out-of-range"),
            ("/members", json!(2_000_000), "", "out-of-range"),
            ("/perturb", json!(null), "", "missing-field"),
            ("/perturb/max_shift", json!(1), "", "unknown-field"),
            ("/perturb/autocorr_dspeed", json!(1.5), "", "out-of-range"),
            ("/perturb/max_ddirection", json!(-0.1), "", "out-of-range"),
            ("/dt_h", json!(0), "", "out-of-range"),
            ("/wind", json!("H09"), "", "unknown-value"),
            ("/wind_threshold", json!(-1), "", "out-of-range"),
            ("/seed", json!(null), "", "missing-field"),
            ("/sed", json!(1), "", "unknown-field"),
        ],
    );
    of.shard_cells(0, "out-of-range");
    of.fields(
        "vulnerabilities that are none",
        [
            ("/vulnerability/v_half", json!(20), "", "out-of-range"),
            ("/vulnerability/kind", json!("step"), "", "unknown-value"),
            ("/vulnerability", table(json!([0, 10]), json!([0])), "/mdr", "length-mismatch"),
            ("/vulnerability", table(json!([]), json!([])), "/mdr", "length-mismatch"),
            ("/vulnerability", table(json!([0, 10, 10]), json!([0, 0, 1])), "/v/2", "not-ascending"),
            ("/vulnerability", table(json!([0, 10]), json!([0, 1.1])), "/mdr/1", "out-of-range"),
        ],
    );
    of.fields(
        "years and periods that are none",
        [
            ("/years", json!(null), "", "missing-field"),
            ("/years", json!(0), "", "out-of-range"),
            ("/rates", json!([1]), "", "conflict"),
            ("/years_simulated", json!(0), "", "out-of-range"),
            ("/return_periods", json!([50, 10]), "/1", "not-ascending"),
            ("/return_periods", json!([10, 10]), "/1", "not-ascending"),
            ("/return_periods", json!([0.5]), "/0", "out-of-range"),
            ("/return_periods", json!(["10"]), "/0", "wrong-type"),
        ],
    );
}

fn frequencies(cases: &mut Cases, good: &Value) {
    let rated = with(good, "/years", json!(null));
    let mut of = cases.of(KIND, &rated);
    of.fields(
        "rates that do not fit the tracks",
        [("/rates", json!([1, 1]), "", "length-mismatch"), ("/rates", json!([-1]), "/0", "out-of-range")],
    );
    let often = with(&with(&rated, "/rates", json!([900])), "/years_simulated", json!(10));
    of.spec("more events a year than are simulated", often, "/rates", "out-of-range");
    let five = (0..5).fold(String::new(), |rows, i| format!("{rows}{i},0,0,20,-70,60,980,1010,\n"));
    let many = with(&with(good, "/tracks", storms(cases, &five)), "/members", json!(1_000_000));
    let nothing = with(&with(good, "/members", json!(0)), "/include_original", json!(false));
    let long = storms(cases, "a,0,0,20,-70,60,980,1010,\na,1,9000,21,-71,60,980,1010,\n");
    let long = with(&with(good, "/tracks", long), "/dt_h", json!(0.01));
    let mut of = cases.of(KIND, good);
    of.spec("too many cells, or none", many, "/members", "out-of-range");
    of.spec("too many cells, or none", nothing, "/members", "out-of-range");
    of.spec("more nodes than a track may have", long, "/dt_h", "out-of-range");
}

fn tracks_alone(cases: &mut Cases, good: &Value) {
    let rows = [
        ("no track", "", "no-tracks"),
        ("pcen missing (-999)", "a,0,0,20,-70,60,-999,1010,\n", "missing-pressure"),
        ("pcen missing (-999)", "a,0,0,20,-70,60,,1010,\n", "missing-pressure"),
        ("penv missing (-999)", "a,0,0,20,-70,60,980,-999,\n", "missing-pressure"),
        ("NaN", "a,0,0,20,-70,60,nan,1010,\n", "not-finite"),
        ("NaN", "a,0,0,NaN,-70,60,980,1010,\n", "not-finite"),
        ("NaN", "a,0,0,20,inf,60,980,1010,\n", "not-finite"),
        ("numbers out of range", "a,0,0,20,-70,60,98,1010,\n", "out-of-range"),
        ("numbers out of range", "a,0,0,91,-70,60,980,1010,\n", "out-of-range"),
        ("lon beyond 0..360 and +-180", "a,0,0,20,361,60,980,1010,\n", "out-of-range"),
        ("lon beyond 0..360 and +-180", "a,0,0,20,-181,60,980,1010,\n", "out-of-range"),
        ("negative values", "a,0,0,20,-70,-60,980,1010,\n", "out-of-range"),
        ("negative values", "a,0,0,20,-70,60,980,1010,-5\n", "out-of-range"),
        ("negative values", "a,0,0,20,-70,60,980,1010,\na,1,-6,21,-71,60,980,1010,\n", "out-of-range"),
        ("lines that do not read", "a,0,0,20,,60,980,1010,\n", "bad-number"),
        ("lines that do not read", "a,x,0,20,-70,60,980,1010,\n", "bad-number"),
        ("lines that do not read", "a,0,0,20,-70,60,980,1010\n", "bad-line"),
        ("lines that do not read", ",0,0,20,-70,60,980,1010,\n", "bad-line"),
        ("nodes out of order", "a,0,0,20,-70,60,980,1010,\na,2,6,21,-71,60,980,1010,\n", "not-ascending"),
        ("nodes out of order", "a,0,0,20,-70,60,980,1010,\na,0,6,21,-71,60,980,1010,\n", "not-ascending"),
        ("nodes at one time", "a,0,0,20,-70,60,980,1010,\na,1,0,21,-71,60,980,1010,\n", "not-ascending"),
        ("nodes at one time", "a,0,0,20,-70,60,980,1010,\na,1,1e-9,21,-71,60,980,1010,\n", "not-ascending"),
        (
            "duplicated ids",
            "a,0,0,20,-70,60,980,1010,\nb,0,0,20,-70,60,980,1010,\na,0,0,20,-70,60,980,1010,\n",
            "duplicate-track",
        ),
    ];
    for (what, rows, code) in rows {
        let tracks = storms(cases, rows);
        cases.of(KIND, good).fields(what, [("/tracks", tracks, "", code)]);
    }
    let columns = cases.keep(b"track,node\n");
    let still = storms(cases, "a,0,0,20,-70,,980,1010,\n");
    let mut of = cases.of(KIND, good);
    of.fields("a file of other columns", [("/tracks", columns, "", "missing-column")]);
    of.taken("vmax missing, where pressure says it", "/tracks", still.clone());
    for wind in ["H80", "ER11"] {
        let spec = with(&with(good, "/tracks", still.clone()), "/wind", json!(wind));
        of.spec("vmax missing", spec, "/tracks", "missing-wind");
    }
    for (what, rows) in [
        ("one-node track (no wind)", "a,0,0,15.2,179,90,950,1010,\n"),
        (
            "time gaps/unequal steps",
            "a,0,0,25,-79,90,950,1010,\na,1,2.5,25,-80,90,950,1010,\na,2,30,26,-81,90,950,1010,\n",
        ),
        ("antimeridian", "a,0,0,15,179,90,950,1010,\na,1,6,15.5,-179,90,950,1010,\n"),
        ("southern hemisphere sign", "a,0,0,-15,170,90,950,1010,\na,1,6,-16,169,90,950,1010,\n"),
        ("pcen > penv", "a,0,0,25,-79,90,1012,1010,\na,1,6,25,-80,90,1012,1010,\n"),
        ("lon 0..360 against +-180", "a,0,0,25,281,90,950,1010,\na,1,6,25,280,90,950,1010,\n"),
    ] {
        let tracks = storms(cases, rows);
        cases.of(KIND, good).taken(what, "/tracks", tracks);
    }
}

fn best_tracks(cases: &mut Cases, good: &Value) {
    const STORM: &str = "AL041992,             ANDREW,      1,\n";
    const NODE: &str = "19920824, 0900, L, HU, 25.5N,  80.3W, 145,  922,";
    for (format, text, code) in [
        ("hurdat2", String::from("nothing\n"), "bad-header"),
        ("hurdat2", format!("{NODE}\n"), "bad-header"),
        ("hurdat2", String::from(STORM), "cut-short"),
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
        let tracks = cases.keep(text.as_bytes());
        let spec = with(&with(good, "/tracks", tracks), "/tracks_format", json!(format));
        cases.of(KIND, good).spec("best tracks that do not read", spec, "/tracks", code);
    }
}

fn exposures(cases: &mut Cases, good: &Value) {
    for (what, text, code) in [
        ("no exposure", "", "no-points"),
        ("no exposure", "lat,lon,value\n", "no-points"),
        ("a file of other columns", "lat,lon\n1,2\n", "missing-column"),
        ("lines that do not read", "lat,lon,value\n1,2\n", "bad-line"),
        ("lines that do not read", "lat,lon,value\n1,2,x\n", "bad-number"),
        ("negative values", "lat,lon,value\n1,2,-5\n", "out-of-range"),
        ("NaN", "lat,lon,value\n1,2,nan\n", "not-finite"),
        ("NaN", "lat,lon,value\n1,2,1e999\n", "not-finite"),
        ("NaN", "lat,lon,value\nNaN,2,5\n", "not-finite"),
        ("numbers out of range", "lat,lon,value\n90.5,2,5\n", "out-of-range"),
        ("numbers out of range", "lat,lon,value\n1,400,5\n", "out-of-range"),
        ("numbers out of range", "lat,lon,value\n1,2,1e300\n", "out-of-range"),
    ] {
        let exposure = cases.keep(text.as_bytes());
        cases.of(KIND, good).fields(what, [("/exposure", exposure, "", code)]);
    }
    for (what, text) in [
        ("exposure at the pole", "lat,lon,value\n90,0,5\n-90,180,7\n"),
        ("no exposure within reach", "lat,lon,value\n0,0,12\n"),
    ] {
        let exposure = cases.keep(text.as_bytes());
        cases.of(KIND, good).taken(what, "/exposure", exposure);
    }
}
