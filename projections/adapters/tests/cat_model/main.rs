//! Catastrophe models: the laws of a family, and the numbers that plain Python and CLIMADA computed.

mod checks;
mod faults;
mod golden;
mod inputs;

use forge_adapters::Registry;
use forge_adapters::cat_model::{elt, kernel};
use forge_adapters::laws::{Bench, MemoryBlobs};
use forge_event::Digest;
use forge_projections::family::Families;
use serde_json::{Value, json};

const TRACKS: &str = include_str!("../../../../tests/oracles/data/cat_model_tracks.csv");
const EXPOSURE: &str = include_str!("../../../../tests/oracles/data/cat_model_exposure.csv");
const ORACLE: &str = include_str!("../../../../tests/oracles/data/cat_model.json");

/// Losses by the formula, of the tracks as given and three perturbed likes.
fn usual() -> Value {
    json!({"members": 3, "dt_h": null, "wind": "H08", "wind_threshold": 17.5, "years": 10, "return_periods": [10, 50],
        "vulnerability": {"kind": "analytic", "v_threshold": 25.7, "v_half": 74.7}, "seed": 42,
        "perturb": {"max_shift_ini": 0.75, "max_dspeed_rel": 0.3, "max_ddirection": 0.00873, "autocorr_dspeed": 0.85,
            "autocorr_ddirection": 0.5}})
}

/// A job on its own blobs.
struct Job {
    blobs: MemoryBlobs,
    spec: Value,
}

impl Job {
    fn new(tracks: &str, exposure: &str, mut spec: Value) -> Job {
        let blobs = MemoryBlobs::default();
        spec["tracks"] = json!(blobs.keep(tracks.as_bytes()).to_string());
        spec["exposure"] = json!(blobs.keep(exposure.as_bytes()).to_string());
        if spec["tracks_format"].is_null() {
            spec["tracks_format"] = json!("csv");
        }
        Job { blobs, spec }
    }

    fn bench(&self, groupings: &[Option<u64>]) -> Bench<'_> {
        let family = Registry.newest("cat_model").expect("the family is built in");
        let (spec, groupings) = (self.spec.clone(), groupings.to_vec());
        Bench { family, spec, groupings, blobs: &self.blobs, run: &kernel::run }
    }

    fn run(&self) -> Value {
        let document = self.bench(&[None]).job(None, false).expect("the job ends well");
        serde_json::from_slice(&document).expect("a document is JSON")
    }

    /// The event loss table: track, member, loss, highest wind, points hit.
    fn rows(&self, document: &Value) -> Vec<elt::Row> {
        let digest: Digest = document["elt"]["digest"].as_str().expect("a digest").parse().expect("a digest");
        let csv = String::from_utf8(self.blobs.get(&digest).expect("the table is kept")).expect("CSV is text");
        assert_eq!(document["elt"]["bytes"], csv.len());
        let mut lines = csv.lines();
        assert_eq!(lines.next(), Some(elt::HEADER.trim_end()));
        lines.map(row).collect()
    }
}

fn row(line: &str) -> elt::Row {
    let fields: Vec<&str> = line.split(',').collect();
    let float = |at: usize| {
        let float: f64 = fields[at].parse().expect("a float");
        assert_eq!(format!("0x{:016x}", float.to_bits()), fields[at + 1], "the bits are those of the text");
        float
    };
    let count = |at: usize| fields[at].parse().expect("a count");
    elt::Row { track: count(0), member: count(1), loss: float(2), max_wind: float(4), points_hit: count(6) }
}

fn oracle() -> Vec<Value> {
    serde_json::from_str(ORACLE).expect("the oracle writes JSON")
}

fn float(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

/// Equal but for the elementary functions of Python's platform.
fn near(found: f64, expected: f64, what: &str) {
    let scale = expected.abs().max(1e-6);
    assert!((found - expected).abs() <= 1e-9 * scale, "{what}: {found:?} is not {expected:?}");
}

#[test]
fn cat_models_keep_the_laws() {
    for (case, years) in oracle().into_iter().zip([Some(150), None, Some(40), Some(1)]) {
        let mut spec = case["spec"].clone();
        spec["years_simulated"] = json!(years);
        spec["wind_threshold"] = json!(17.5);
        Job::new(TRACKS, EXPOSURE, spec).bench(&[None, Some(1), Some(4), Some(7), Some(1000)]).check();
    }
}

#[test]
fn event_losses_are_those_of_plain_python() {
    for case in oracle() {
        let job = Job::new(TRACKS, EXPOSURE, case["spec"].clone());
        let document = job.run();
        near(float(&document["total_value"]["value"]), float(&case["total_value"]), "total value");
        let (rows, expected) = (job.rows(&document), case["rows"].as_array().expect("rows"));
        assert_eq!((rows.len(), document["cells"].as_u64()), (expected.len(), Some(expected.len() as u64)));
        for (row, expected) in rows.iter().zip(expected) {
            let ids = [row.track, row.member, row.points_hit].map(f64::from);
            assert_eq!(ids, [0, 1, 4].map(|at| float(&expected[at])), "{expected}");
            near(row.loss, float(&expected[2]), "loss");
            near(row.max_wind, float(&expected[3]), "highest wind");
        }
    }
}

#[test]
fn curves_are_those_of_plain_python() {
    for case in oracle() {
        let document = Job::new(TRACKS, EXPOSURE, case["spec"].clone()).run();
        let value = |list: &str, i: usize, field: &str| float(&document[list][i][field]["value"]);
        near(float(&document["aal"]["value"]), float(&case["aal"]), "aal");
        near(float(&document["aal_stderr"]["value"]), float(&case["aal_stderr"]), "aal_stderr");
        for (i, expected) in case["periods"].as_array().expect("periods").iter().enumerate() {
            for list in ["oep", "frequency", "aep", "tvar"] {
                assert_eq!(document[list][i]["return_period"], expected["return_period"]);
                near(value(list, i, "loss"), float(&expected[list]), list);
            }
            let (low, high) = (value("aep", i, "low"), value("aep", i, "high"));
            let (panjer, width) = (float(&expected["panjer"]), float(&expected["width"]));
            assert!(low <= value("aep", i, "loss") && value("aep", i, "loss") <= high);
            // The lattice rounds every loss to a 2000th of the largest, and a year has a few.
            assert!(
                low - 2.0 * width <= panjer && panjer <= high + 2.0 * width,
                "{low:?} {panjer:?} {high:?} of {expected}"
            );
            assert!(value("tvar", i, "stderr") > 0.0);
        }
    }
}

#[test]
fn winds_and_losses_are_those_of_climada() {
    let oracle: Value = serde_json::from_str(include_str!("../../../../tests/oracles/data/cat_model_climada.json"))
        .expect("the oracle writes JSON");
    for (wind, expected) in oracle["models"].as_object().expect("models") {
        for kind in ["analytic", "table"] {
            let mut spec = usual();
            (spec["members"], spec["wind"], spec["wind_threshold"]) = (json!(0), json!(wind), json!(0));
            if kind == "table" {
                spec["vulnerability"] = json!({"kind": "table", "v": oracle["v"], "mdr": oracle["mdr"]});
            }
            let job = Job::new(TRACKS, EXPOSURE, spec);
            for (i, row) in job.rows(&job.run()).iter().enumerate() {
                near(row.loss, float(&expected[kind][i]), wind);
                near(row.max_wind, float(&expected["max_wind"][i]), wind);
                assert_eq!(expected["points_hit"][i], row.points_hit);
            }
        }
    }
}
