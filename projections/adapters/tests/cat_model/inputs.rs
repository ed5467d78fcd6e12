//! Odd inputs that are sound, and what they give; and the formats, which say the same thing.

use super::{EXPOSURE, Job, TRACKS, usual};
use serde_json::{Value, json};

const HEADER: &str = "track,node,dt_h,lat,lon,vmax_kn,pcen_mb,penv_mb,rmax_nm\n";
/// A storm along 178° east to 178° west: (latitude, longitude, highest wind, pressure), every six hours.
const STORM: [(f64, f64, u32, u32); 4] =
    [(15.0, 178.0, 80, 960), (15.5, 179.5, 90, 950), (16.0, -179.0, 95, 945), (16.5, -177.5, 90, 950)];
const POINTS: [(f64, f64, u32); 3] = [(15.25, 179.0, 1000), (16.5, -179.5, 2000), (15.75, -178.75, 500)];

fn tracks(lat: impl Fn(f64) -> f64, lon: impl Fn(f64) -> f64) -> String {
    let rows = STORM.iter().enumerate().map(|(i, (a, b, wind, pressure))| {
        let dt_h = if i == 0 { 0 } else { 6 };
        format!("a,{i},{dt_h},{},{},{wind},{pressure},1010,\n", lat(*a), lon(*b))
    });
    HEADER.to_string() + &rows.collect::<String>()
}

fn points(lat: impl Fn(f64) -> f64, lon: impl Fn(f64) -> f64) -> String {
    let rows = POINTS.iter().map(|(a, b, value)| format!("{},{},{value}\n", lat(*a), lon(*b)));
    String::from("lat,lon,value\n") + &rows.collect::<String>()
}

fn run(tracks: &str, points: &str, change: impl Fn(&mut Value)) -> (Job, Value) {
    let mut spec = usual();
    change(&mut spec);
    let job = Job::new(tracks, points, spec);
    let document = job.run();
    (job, document)
}

fn same(x: f64) -> f64 {
    x
}

#[test]
fn the_date_line_and_the_way_longitudes_are_written_change_nothing() {
    let east = |lon: f64| if lon < 0.0 { lon + 360.0 } else { lon };
    for dt_h in [Value::Null, json!(1.5)] {
        let change = |spec: &mut Value| spec["dt_h"] = dt_h.clone();
        let (_, both) = run(&tracks(same, same), &points(same, same), change);
        assert!(both["aal"]["value"].as_f64() > Some(0.0));
        assert_eq!(both, run(&tracks(same, east), &points(same, same), change).1);
        assert_eq!(both, run(&tracks(same, same), &points(same, east), change).1);
    }
}

#[test]
fn the_south_mirrors_the_north() {
    let south = |lat: f64| -lat;
    let original = |spec: &mut Value| spec["members"] = json!(0);
    let (_, north) = run(&tracks(same, same), &points(same, same), original);
    assert_eq!(north, run(&tracks(south, same), &points(south, same), original).1);
}

#[test]
fn unequal_steps_are_taken_and_gaps_are_told() {
    let uneven = tracks(same, same).replace("a,2,6,", "a,2,2.5,").replace("a,3,6,", "a,3,18,");
    let (_, document) = run(&uneven, &points(same, same), |_| ());
    assert_eq!(document["warnings"][0], "1 steps between nodes are longer than 12.0 hours");
    assert!(document["aal"]["value"].as_f64() > Some(0.0));
}

#[test]
fn one_node_has_no_wind() {
    let one = format!("{HEADER}a,0,0,15.2,179,90,950,1010,\n");
    let (job, document) = run(&one, &points(same, same), |spec| spec["wind_threshold"] = json!(0));
    assert!(job.rows(&document).iter().all(|row| (row.loss, row.max_wind, row.points_hit) == (0.0, 0.0, 0)));
    assert_eq!(document["warnings"][0], "1 tracks have one node, and so no wind");
}

#[test]
fn nothing_within_reach_is_a_table_of_zeros() {
    for exposure in ["lat,lon,value\n90,0,5\n-90,180,7\n", "lat,lon,value\n0,0,12\n"] {
        let (job, document) = run(&tracks(same, same), exposure, |spec| spec["years_simulated"] = json!(50));
        assert_eq!(document["total_value"]["value"], 12.0);
        assert_eq!(job.rows(&document).len(), 4);
        for list in ["oep", "frequency", "aep", "tvar"] {
            for point in document[list].as_array().expect("a list") {
                assert_eq!(point["loss"]["bits"], "0x0000000000000000", "{list}");
            }
        }
        assert_eq!(document["aal"]["bits"], "0x0000000000000000");
        assert!(document["warnings"][0].as_str().expect("text").starts_with("no point has a loss"));
    }
}

#[test]
fn a_storm_at_the_pole_has_finite_winds() {
    let rows = "a,0,0,89.5,0,60,970,1010,\na,1,6,90,90,60,970,1010,\na,2,6,89.5,180,60,970,1010,\n";
    let exposure = "lat,lon,value\n90,0,1\n89.9,12,1\n";
    let (job, document) = run(&format!("{HEADER}{rows}"), exposure, |spec| spec["members"] = json!(2));
    let rows = job.rows(&document);
    assert!(rows.iter().all(|row| row.max_wind.is_finite()));
    // Members that start beyond 70 degrees are cut at once.
    assert!(rows[1..].iter().all(|row| row.points_hit == 0));
}

#[test]
fn a_centre_above_its_surroundings_has_no_drop_and_a_warning() {
    let text = tracks(same, same).replace(",1010,", ",940,");
    let (job, document) = run(&text, &points(same, same), |spec| spec["members"] = json!(0));
    assert_eq!(job.rows(&document)[0].points_hit, 0);
    assert!(document["warnings"][0].as_str().expect("text").starts_with("4 nodes have a higher pressure"));
}

#[test]
fn too_few_years_and_cells_show_as_null() {
    let (_, document) = run(TRACKS, EXPOSURE, |spec| {
        (spec["members"], spec["years_simulated"]) = (json!(0), json!(30));
    });
    assert_eq!(document["aal_stderr"], json!({"value": null, "bits": "0x7ff8000000000000"}));
    assert_eq!(document["aep"][1]["high"], json!({"value": null, "bits": "0x7ff0000000000000"}));
    assert_eq!(document["tvar"][0]["stderr"]["value"], Value::Null);
    let text = document["warnings"].to_string();
    assert!(text.contains("rest on fewer than 10 of 30 years"), "{text}");
    assert!(run(TRACKS, EXPOSURE, |_| ()).1["aep"] == json!([]));
}

#[test]
fn three_formats_say_the_same_storm() {
    // Hurricane Andrew, from the public best track.
    let nodes = [
        ("19920824", "0000", 25.4, -78.3, 125, 930),
        ("19920824", "0600", 25.4, -79.3, 130, 937),
        ("19920824", "1200", 25.6, -81.2, 110, 951),
        ("19920824", "1800", 25.8, -83.1, 115, 947),
    ];
    let (mut csv, mut hurdat2) = (HEADER.to_string(), String::from("AL041992,             ANDREW,      4,\r\n"));
    let mut demo = String::from("cgps_lat,cgps_lon,gen_basin,ibtracsID,isotime,pcen,penv,rmax,tint,vmax\n");
    let mut basin = String::from("SID,BASIN,ISO_TIME,LAT,LON,WMO_WIND,WMO_PRES,USA_WIND,USA_PRES,USA_RMW\n");
    basin.push_str(" , , ,degrees_north,degrees_east,kts,mb,kts,mb,nmile\n");
    for (i, (date, time, lat, lon, wind, pressure)) in nodes.into_iter().enumerate() {
        let (west, hour) = (-lon, &time[..2]);
        let iso = format!("{}-{}-{} {hour}:00:00", &date[..4], &date[4..6], &date[6..]);
        csv += &format!("x,{i},6,{lat},{lon},{wind},{pressure},1010,0\n");
        hurdat2 += &format!("{date}, {time},  , HU, {lat:.1}N,  {west:.1}W, {wind:3}, {pressure:4}, -999, -999,\r\n");
        demo += &format!("{lat},{lon},NA,1992230N11325,{date}{hour}.0,{pressure}.0,1010,0,6.0,{wind}.0\n");
        basin += &format!("1992230N11325,NA,{iso},{lat},{lon},,,{wind},{pressure}, \n");
    }
    let expected = run(&csv, EXPOSURE, |_| ()).1;
    assert!(expected["aal"]["value"].as_f64() > Some(0.0));
    for (format, text) in [("hurdat2", &hurdat2), ("ibtracs", &demo), ("ibtracs", &basin)] {
        let found = run(text, EXPOSURE, |spec| spec["tracks_format"] = json!(format)).1;
        assert_eq!(found, expected, "{format}");
    }
}
