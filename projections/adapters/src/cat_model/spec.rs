//! The spec of a catastrophe model: reading it with every fault, and writing it canonically.

use super::damage::Vulnerability;
use super::work::Perturb;
use crate::faults::{Faults, Fields};
use crate::json;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use forge_event::Digest;
use forge_event::limits::INLINE_BYTES_MAX;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most perturbed members of a track.
pub const MEMBERS_MAX: u64 = 1_000_000;
/// Most simulated years.
pub const YEARS_MAX: u64 = 10_000_000;
/// Most return periods: their curves stand in the document.
pub const PERIODS_MAX: usize = 64;
/// Most points of a vulnerability table: it stands in every payload.
pub const TABLE_MAX: usize = 512;
/// Longest return period. Units: years.
const PERIOD_MAX: f64 = 1e9;

const FIELDS: [&str; 16] = [
    "tracks",
    "tracks_format",
    "exposure",
    "members",
    "include_original",
    "perturb",
    "dt_h",
    "wind",
    "wind_threshold",
    "vulnerability",
    "years",
    "rates",
    "years_simulated",
    "return_periods",
    "seed",
    "stream",
];
const FORMATS: [&str; 3] = ["csv", "hurdat2", "ibtracs"];
const PERTURB: [&str; 5] =
    ["max_shift_ini", "max_dspeed_rel", "max_ddirection", "autocorr_dspeed", "autocorr_ddirection"];

/// How the text of the tracks is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    Csv,
    Hurdat2,
    Ibtracs,
}

/// The wind model.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Wind {
    H08,
    H80,
    H10,
    ER11,
}

const WINDS: [Wind; 4] = [Wind::H08, Wind::H80, Wind::H10, Wind::ER11];

impl Wind {
    pub fn name(self) -> &'static str {
        match self {
            Wind::H08 => "H08",
            Wind::H80 => "H80",
            Wind::H10 => "H10",
            Wind::ER11 => "ER11",
        }
    }

    /// True if a node without its highest wind has none.
    pub fn needs_vmax(self) -> bool {
        matches!(self, Wind::H80 | Wind::ER11)
    }
}

/// How often the tracks come.
#[derive(Clone, PartialEq, Debug)]
pub enum Rates {
    /// The tracks are those of so many years.
    Years(f64),
    /// Each track's own. Units: 1 a year.
    Each(Vec<f64>),
}

/// A spec without faults.
#[derive(Clone, PartialEq, Debug)]
pub struct Spec {
    pub tracks: Digest,
    pub format: Format,
    pub exposure: Digest,
    /// Perturbed members of a track.
    pub members: u32,
    pub include_original: bool,
    /// There if `members` is above 0.
    pub perturb: Option<Perturb>,
    /// Nodes as given, or this far apart. Units: hours.
    pub dt_h: Option<f64>,
    pub wind: Wind,
    /// Units: m/s.
    pub threshold: f64,
    pub vulnerability: Vulnerability,
    pub rates: Rates,
    pub years_simulated: Option<u64>,
    /// Ascending. Units: years.
    pub return_periods: Vec<f64>,
    pub seed: u64,
    pub stream: u64,
}

impl Spec {
    /// Cells of a track.
    pub fn cells_a_track(&self) -> u64 {
        u64::from(self.members) + u64::from(self.include_original)
    }

    /// How often each cell of a track comes. Units: 1 a year.
    pub fn cell_rate(&self, track: usize) -> f64 {
        let lambda = match &self.rates {
            Rates::Years(years) => 1.0 / years,
            Rates::Each(rates) => rates.get(track).copied().unwrap_or(0.0),
        };
        lambda / self.cells_a_track() as f64
    }

    /// Reads a spec as a client sent it.
    pub fn read(value: &Value, faults: &mut Faults) -> Option<Spec> {
        let map = faults.object("/spec", value)?;
        let mut fields = Fields::new("/spec", map, &FIELDS, faults);
        let tracks = fields.blob("tracks");
        let format = fields.word("tracks_format", &FORMATS);
        let exposure = fields.blob("exposure");
        let members = fields.integer("members", None, 0, MEMBERS_MAX);
        let include_original = fields.flag("include_original", true);
        if (members, include_original) == (Some(0), Some(false)) {
            let pointer = fields.at("members");
            let detail = "without the original track there must be members, or nothing is left to run";
            fields.faults().add(
                pointer,
                "out-of-range",
                detail,
                "ask for 1 or more, or set `include_original` to true",
            );
            return None;
        }
        let perturb = read_perturb(&mut fields, members);
        let dt_h = match fields.optional("dt_h") {
            None => Some(None),
            Some(_) => {
                fields.number("dt_h", "1.0", "from 0.01 to 100 hours", |x| (0.01..=100.0).contains(&x)).map(Some)
            }
        };
        let wind = fields.word("wind", &WINDS.map(Wind::name)).map(|place| WINDS[place]);
        let threshold = match fields.optional("wind_threshold") {
            None => Some(17.5),
            Some(_) => fields.number("wind_threshold", "17.5", "from 0 to 100 m/s", |x| (0.0..=100.0).contains(&x)),
        };
        let vulnerability = read_vulnerability(&mut fields);
        let rates = read_rates(&mut fields);
        let years_simulated = match fields.optional("years_simulated") {
            None => Some(None),
            Some(_) => fields.integer("years_simulated", None, 1, YEARS_MAX).map(Some),
        };
        let return_periods = read_periods(&mut fields);
        let seed = fields.u64_or_text("seed", None);
        let stream = fields.u64_or_text("stream", Some(0));
        let spec = Spec {
            tracks: tracks?,
            format: [Format::Csv, Format::Hurdat2, Format::Ibtracs][format?],
            exposure: exposure?,
            members: members? as u32,
            include_original: include_original?,
            perturb: perturb?,
            dt_h: dt_h?,
            wind: wind?,
            // -0 would show in the canonical spec.
            threshold: threshold? + 0.0,
            vulnerability: vulnerability?,
            rates: rates?,
            years_simulated: years_simulated?,
            return_periods: return_periods?,
            seed: seed?,
            stream: stream?,
        };
        if spec.canonical().len() > INLINE_BYTES_MAX {
            let detail = format!("the spec has more than {INLINE_BYTES_MAX} bytes");
            faults.add(
                "/spec/rates",
                "too-large-inline",
                detail,
                "give `years` instead, or cut the tracks into several jobs",
            );
            return None;
        }
        Some(spec)
    }

    /// Reads back what [`Spec::canonical`] wrote.
    ///
    /// # Panics
    /// If it did not.
    pub fn reread(spec: &[u8]) -> Spec {
        let value = serde_json::from_slice(spec).expect("a checked spec is JSON");
        Spec::read(&value, &mut Faults::default()).expect("a checked spec has no fault")
    }

    /// Canonical JSON: every field, in the contract's order.
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = String::new();
        let format = FORMATS[self.format as usize];
        let Spec { tracks, exposure, members, include_original, .. } = self;
        json::write(
            &mut out,
            format_args!(r#"{{"tracks":"{tracks}","tracks_format":"{format}","exposure":"{exposure}""#),
        );
        json::write(&mut out, format_args!(r#","members":{members},"include_original":{include_original},"perturb":"#));
        match &self.perturb {
            None => out.push_str("null"),
            Some(perturb) => {
                for (i, (name, value)) in PERTURB.into_iter().zip(perturb.floats()).enumerate() {
                    json::write(&mut out, format_args!("{}\"{name}\":", if i == 0 { '{' } else { ',' }));
                    json::float(&mut out, value);
                }
                out.push('}');
            }
        }
        out.push_str(",\"dt_h\":");
        float_or_null(&mut out, self.dt_h);
        json::write(&mut out, format_args!(",\"wind\":\"{}\",\"wind_threshold\":", self.wind.name()));
        json::float(&mut out, self.threshold);
        out.push_str(",\"vulnerability\":");
        match &self.vulnerability {
            Vulnerability::Analytic { v_threshold, v_half } => {
                out.push_str("{\"kind\":\"analytic\",\"v_threshold\":");
                json::float(&mut out, *v_threshold);
                out.push_str(",\"v_half\":");
                json::float(&mut out, *v_half);
            }
            Vulnerability::Table { v, mdr } => {
                out.push_str("{\"kind\":\"table\",\"v\":");
                json::list(&mut out, v, json::float);
                out.push_str(",\"mdr\":");
                json::list(&mut out, mdr, json::float);
            }
        }
        out.push_str("},\"years\":");
        let (years, rates) = match &self.rates {
            Rates::Years(years) => (Some(*years), None),
            Rates::Each(rates) => (None, Some(rates)),
        };
        float_or_null(&mut out, years);
        out.push_str(",\"rates\":");
        match rates {
            None => out.push_str("null"),
            Some(rates) => json::list(&mut out, rates, json::float),
        }
        match self.years_simulated {
            None => out.push_str(",\"years_simulated\":null"),
            Some(years) => json::write(&mut out, format_args!(",\"years_simulated\":{years}")),
        }
        out.push_str(",\"return_periods\":");
        json::list(&mut out, &self.return_periods, json::float);
        json::write(&mut out, format_args!(",\"seed\":{},\"stream\":{}}}", self.seed, self.stream));
        out.into_bytes()
    }
}

fn float_or_null(out: &mut String, value: Option<f64>) {
    match value {
        Some(value) => json::float(out, value),
        None => out.push_str("null"),
    }
}

/// `Some(None)` if there is nothing to perturb.
fn read_perturb(fields: &mut Fields<'_, '_>, members: Option<u64>) -> Option<Option<Perturb>> {
    let example = r#"{"max_shift_ini":0.75,"max_dspeed_rel":0.3,"max_ddirection":0.00873,"autocorr_dspeed":0.85,"autocorr_ddirection":0.5}"#;
    if members == Some(0) && fields.optional("perturb").is_none() {
        return Some(None);
    }
    let value = fields.required("perturb", example)?;
    let pointer = fields.at("perturb");
    let map = fields.faults().object(&pointer, value)?;
    let mut inner = Fields::new(&pointer, map, &PERTURB, fields.faults());
    let correlation = |x: f64| (0.0..=1.0).contains(&x);
    let [shift, speed, direction, speed_corr, direction_corr] = [
        inner.number(PERTURB[0], "0.75", "from 0 to 10 degrees", |x| (0.0..=10.0).contains(&x)),
        inner.number(PERTURB[1], "0.3", "from 0 to 1", |x| (0.0..=1.0).contains(&x)),
        inner.number(PERTURB[2], "0.00873", "from 0 to 3.15 radians an hour", |x| (0.0..=3.15).contains(&x)),
        inner.number(PERTURB[3], "0.85", "from 0 to 1", correlation),
        inner.number(PERTURB[4], "0.5", "from 0 to 1", correlation),
    ];
    let perturb = Perturb {
        max_shift_ini: shift? + 0.0,
        max_dspeed_rel: speed? + 0.0,
        max_ddirection: direction? + 0.0,
        autocorr_dspeed: speed_corr? + 0.0,
        autocorr_ddirection: direction_corr? + 0.0,
    };
    // Without members it changes nothing, and leaves no trace.
    Some(Some(perturb).filter(|_| members != Some(0)))
}

fn read_vulnerability(fields: &mut Fields<'_, '_>) -> Option<Vulnerability> {
    let value = fields.required("vulnerability", r#"{"kind":"analytic","v_threshold":25.7,"v_half":74.7}"#)?;
    let pointer = fields.at("vulnerability");
    let map = fields.faults().object(&pointer, value)?;
    let kind = map.get("kind").and_then(Value::as_str).unwrap_or("");
    let known: &[&str] = if kind == "table" { &["kind", "v", "mdr"] } else { &["kind", "v_threshold", "v_half"] };
    let mut inner = Fields::new(&pointer, map, known, fields.faults());
    if inner.word("kind", &["analytic", "table"])? == 0 {
        let v_threshold = inner.number("v_threshold", "25.7", "0 to 200 m/s", |x| (0.0..=200.0).contains(&x));
        let v_half = inner.number("v_half", "74.7", "above 0, to 500 m/s", |x| x > 0.0 && x <= 500.0);
        let (v_threshold, v_half) = (v_threshold? + 0.0, v_half?);
        if v_half <= v_threshold {
            let detail = format!(
                "half of the value is lost at {v_half:?} m/s, which must be above the threshold of {v_threshold:?}"
            );
            inner.faults().add(format!("{pointer}/v_half"), "out-of-range", detail, "usual values are 25.7 and 74.7");
            return None;
        }
        return Some(Vulnerability::Analytic { v_threshold, v_half });
    }
    let (v, mdr) = (inner.required("v", "[0.0, 50.0, 100.0]"), inner.required("mdr", "[0.0, 0.1, 1.0]"));
    let v = floats(inner.faults(), &format!("{pointer}/v"), v?, TABLE_MAX, "from 0 to 1000 m/s", |x| {
        (0.0..=1000.0).contains(&x)
    });
    let mdr =
        floats(inner.faults(), &format!("{pointer}/mdr"), mdr?, TABLE_MAX, "from 0 to 1", |x| (0.0..=1.0).contains(&x));
    let (v, mdr) = (v?, mdr?);
    if v.len() != mdr.len() || v.is_empty() {
        let detail =
            format!("`v` has {} points and `mdr` {}; both need the same number, 1 or more", v.len(), mdr.len());
        inner.faults().add(format!("{pointer}/mdr"), "length-mismatch", detail, "give a damage ratio for each wind");
        return None;
    }
    ascending(inner.faults(), &format!("{pointer}/v"), &v)?;
    Some(Vulnerability::Table { v, mdr })
}

fn read_rates(fields: &mut Fields<'_, '_>) -> Option<Rates> {
    match (fields.optional("years"), fields.optional("rates")) {
        (None, None) => {
            let pointer = fields.at("years");
            let detail = "one of `years` and `rates` says how often the tracks come";
            fields.faults().add(
                pointer,
                "missing-field",
                detail,
                "add \"years\": 50 if the tracks are those of 50 years",
            );
            None
        }
        (Some(_), Some(_)) => {
            let pointer = fields.at("rates");
            let detail = "`years` and `rates` are two ways to say the same thing";
            fields.faults().add(pointer, "conflict", detail, "leave one of them out");
            None
        }
        (Some(_), None) => {
            let years = fields.number("years", "50", "from 0.001 to 1e9", |x| (0.001..=1e9).contains(&x));
            years.map(Rates::Years)
        }
        (None, Some(value)) => {
            let pointer = fields.at("rates");
            let rule = "from 0 to 1000 a year";
            floats(fields.faults(), &pointer, value, super::tracks::TRACKS_MAX, rule, |x| (0.0..=1000.0).contains(&x))
                .map(Rates::Each)
        }
    }
}

fn read_periods(fields: &mut Fields<'_, '_>) -> Option<Vec<f64>> {
    let value = fields.required("return_periods", "[10, 50, 100]")?;
    let pointer = fields.at("return_periods");
    let rule = "from 1 to 1e9 years";
    let periods = floats(fields.faults(), &pointer, value, PERIODS_MAX, rule, |x| (1.0..=PERIOD_MAX).contains(&x))?;
    ascending(fields.faults(), &pointer, &periods)?;
    Some(periods)
}

/// A list of finite floats that `allowed` takes; -0 becomes 0.
fn floats(
    faults: &mut Faults,
    pointer: &str,
    value: &Value,
    most: usize,
    rule: &str,
    allowed: fn(f64) -> bool,
) -> Option<Vec<f64>> {
    let Value::Array(items) = value else {
        faults.wrong_type(pointer, "an array of numbers", value);
        return None;
    };
    if items.len() > most {
        let detail = format!("at most {most} numbers are taken here, there are {}", items.len());
        faults.add(pointer, "too-large-inline", detail, "leave some out, or cut the work into several jobs");
        return None;
    }
    let mut floats = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        match item.as_f64() {
            Some(float) if float.is_finite() && allowed(float) => floats.push(float + 0.0),
            Some(float) => {
                let detail = format!("a number here must be {rule}, it is {float:?}");
                faults.add(format!("{pointer}/{i}"), "out-of-range", detail, &format!("write a number {rule}"));
            }
            None => faults.wrong_type(&format!("{pointer}/{i}"), "a number", item),
        }
    }
    (floats.len() == items.len()).then_some(floats)
}

fn ascending(faults: &mut Faults, pointer: &str, floats: &[f64]) -> Option<()> {
    let Some(i) = floats.windows(2).position(|pair| pair[0] >= pair[1]) else { return Some(()) };
    let detail = format!("the numbers must ascend strictly, but {:?} is followed by {:?}", floats[i], floats[i + 1]);
    faults.add(format!("{pointer}/{}", i + 1), "not-ascending", detail, "sort them and leave out repeated ones");
    None
}
