//! The spec of a principal component job: reading it with every fault, and writing it canonically.

use crate::faults::{Faults, Fields, one_of};
use crate::json;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use forge_event::Digest;
use serde_json::Value;

/// Most members: all of them stand in each plan and payload.
pub const MEMBERS_MAX: usize = 512;
/// Most modes: all of them stand in the document.
pub const MODES_MAX: u64 = 256;
/// Longest name of a variable. Units: bytes.
pub const NAME_BYTES_MAX: usize = 255;

const FIELDS: [&str; 10] = ["members", "layout", "var", "lat", "weights", "center", "ddof", "modes", "mask", "outputs"];
const LAYOUTS: [&str; 2] = ["npy", "netcdf3"];
const WEIGHTS: [&str; 3] = ["sqrt_cos_lat", "cos_lat", "none"];
const CENTERS: [&str; 2] = ["grand", "member"];
const MASKS: [&str; 2] = ["nan", "fill"];
const OUTPUTS: [&str; 4] = ["eigenvalues", "eofs", "pcs", "reconstruction"];
const FROM_FILE: &str = "from_file";

/// How the members are stored, and which variable is meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Layout {
    Npy,
    Netcdf3 { var: String },
}

/// Where latitudes come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Latitude {
    FromFile,
    Blob(Digest),
}

/// What each anomaly is multiplied by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Weights {
    SqrtCos(Latitude),
    Cos(Latitude),
    None,
}

impl Weights {
    pub fn latitude(self) -> Option<Latitude> {
        match self {
            Weights::SqrtCos(latitude) | Weights::Cos(latitude) => Some(latitude),
            Weights::None => None,
        }
    }
}

/// A spec without faults.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spec {
    pub members: Vec<Digest>,
    pub layout: Layout,
    pub weights: Weights,
    /// Each member is centred on its own mean, not on the mean of all.
    pub center_member: bool,
    pub ddof: u64,
    pub modes: u64,
    /// The file's fill values are missing values, not only NaN.
    pub mask_fill: bool,
    /// By their place in [`OUTPUTS`].
    outputs: [bool; 4],
}

impl Spec {
    pub fn eofs(&self) -> bool {
        self.outputs[1]
    }

    pub fn pcs(&self) -> bool {
        self.outputs[2]
    }

    pub fn reconstruction(&self) -> bool {
        self.outputs[3]
    }

    /// True if eigenvalues alone do not do, so that there is a stage after the eigenvectors.
    pub fn projects(&self) -> bool {
        self.eofs() || self.pcs() || self.reconstruction()
    }

    /// Degrees of freedom that the means took: one, or one a member.
    pub fn means(&self) -> u64 {
        if self.center_member { self.members.len() as u64 } else { 1 }
    }

    /// What sums of squares are divided by, if that is above zero.
    pub fn divisor(&self, samples: u64) -> Option<u64> {
        samples.checked_sub(self.ddof.checked_mul(self.means())?).filter(|divisor| *divisor > 0)
    }

    /// Every blob the spec names, ascending.
    pub fn inputs(&self) -> Vec<Digest> {
        let mut inputs = self.members.clone();
        if let Some(Latitude::Blob(digest)) = self.weights.latitude() {
            inputs.push(digest);
        }
        inputs.sort_unstable();
        inputs.dedup();
        inputs
    }

    /// Reads a spec as a client sent it.
    pub fn read(value: &Value, faults: &mut Faults) -> Option<Spec> {
        let map = faults.object("/spec", value)?;
        let mut fields = Fields::new("/spec", map, &FIELDS, faults);
        let members = read_members(&mut fields);
        let layout = fields.word("layout", &LAYOUTS);
        let var = match layout {
            Some(1) => read_name(&mut fields).map(|var| Layout::Netcdf3 { var }),
            other => other.map(|_| Layout::Npy),
        };
        let weights = fields.word("weights", &WEIGHTS);
        let weights = weights.and_then(|word| read_weights(&mut fields, word, layout == Some(0)));
        let center = match fields.optional("center") {
            None => Some(0),
            Some(_) => fields.word("center", &CENTERS),
        };
        let ddof = fields.integer("ddof", Some(1), 0, 1_000_000);
        let modes = fields.integer("modes", None, 1, MODES_MAX);
        let mask = fields.word("mask", &MASKS);
        if let (Some(0), Some(1)) = (layout, mask) {
            let detail = "a .npy file has no fill value, so only NaN can mark what is missing";
            let pointer = fields.at("mask");
            fields.faults().add(pointer, "not-applicable", detail, "use \"nan\"");
        }
        let outputs = read_outputs(&mut fields);
        Some(Spec {
            members: members?,
            layout: var?,
            weights: weights?,
            center_member: center? == 1,
            ddof: ddof?,
            modes: modes?,
            mask_fill: mask? == 1,
            outputs: outputs?,
        })
    }

    /// Reads back what [`Spec::canonical`] wrote.
    ///
    /// # Panics
    /// If it did not.
    pub fn reread(spec: &[u8]) -> Spec {
        let value = serde_json::from_slice(spec).expect("a checked spec is JSON");
        Spec::read(&value, &mut Faults::default()).expect("a checked spec has no fault")
    }

    /// Canonical JSON: every field, in the contract's order; `var` and `lat` are null where nothing reads them.
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = String::from("{\"members\":");
        json::list(&mut out, &self.members, |out, digest| json::write(out, format_args!("\"{digest}\"")));
        match &self.layout {
            Layout::Npy => out.push_str(",\"layout\":\"npy\",\"var\":null"),
            Layout::Netcdf3 { var } => {
                let var = Value::String(var.clone());
                json::write(&mut out, format_args!(",\"layout\":\"netcdf3\",\"var\":{var}"));
            }
        }
        match self.weights.latitude() {
            None => out.push_str(",\"lat\":null"),
            Some(Latitude::FromFile) => json::write(&mut out, format_args!(",\"lat\":\"{FROM_FILE}\"")),
            Some(Latitude::Blob(digest)) => json::write(&mut out, format_args!(",\"lat\":\"{digest}\"")),
        }
        let weights = match self.weights {
            Weights::SqrtCos(_) => WEIGHTS[0],
            Weights::Cos(_) => WEIGHTS[1],
            Weights::None => WEIGHTS[2],
        };
        let (center, mask) = (CENTERS[usize::from(self.center_member)], MASKS[usize::from(self.mask_fill)]);
        let Spec { ddof, modes, .. } = self;
        json::write(&mut out, format_args!(",\"weights\":\"{weights}\",\"center\":\"{center}\",\"ddof\":{ddof}"));
        json::write(&mut out, format_args!(",\"modes\":{modes},\"mask\":\"{mask}\",\"outputs\":"));
        let asked: Vec<&str> = OUTPUTS.into_iter().zip(self.outputs).filter(|(_, on)| *on).map(|(n, _)| n).collect();
        json::list(&mut out, &asked, |out, name| json::write(out, format_args!("\"{name}\"")));
        out.push('}');
        out.into_bytes()
    }
}

fn read_members(fields: &mut Fields<'_, '_>) -> Option<Vec<Digest>> {
    let value = fields.required("members", "[\"blake3:…\"]")?;
    let pointer = fields.at("members");
    let Value::Array(items) = value else {
        fields.faults().wrong_type(&pointer, "an array of blobs", value);
        return None;
    };
    if !(1..=MEMBERS_MAX).contains(&items.len()) {
        let detail = format!("there must be from 1 to {MEMBERS_MAX} members, there are {}", items.len());
        let fix = "join the files of several members along time";
        fields.faults().add(pointer, "out-of-range", detail, if items.is_empty() { "name a blob" } else { fix });
        return None;
    }
    let members = items.iter().enumerate();
    let read: Vec<Option<Digest>> =
        members.map(|(i, item)| fields.faults().digest(&format!("{pointer}/{i}"), item)).collect();
    read.into_iter().collect()
}

fn read_name(fields: &mut Fields<'_, '_>) -> Option<String> {
    let value = fields.required("var", "\"sst\"")?;
    let pointer = fields.at("var");
    match value {
        Value::String(name) if (1..=NAME_BYTES_MAX).contains(&name.len()) => Some(name.clone()),
        Value::String(name) => {
            let detail = format!("a variable's name has from 1 to {NAME_BYTES_MAX} bytes, this has {}", name.len());
            fields.faults().add(pointer, "out-of-range", detail, "write it as `ncdump -h` shows it");
            None
        }
        other => {
            fields.faults().wrong_type(&pointer, "a string", other);
            None
        }
    }
}

fn read_weights(fields: &mut Fields<'_, '_>, word: usize, npy: bool) -> Option<Weights> {
    if word == 2 {
        // A latitude that nothing reads leaves no trace.
        return Some(Weights::None);
    }
    let value = fields.required("lat", if npy { "\"blake3:…\"" } else { "\"from_file\"" })?;
    let pointer = fields.at("lat");
    let latitude = if value.as_str() == Some(FROM_FILE) {
        if npy {
            let detail = "a .npy file has no latitudes in it";
            fields.faults().add(pointer, "not-applicable", detail, "name a .npy blob of latitudes in degrees");
            return None;
        }
        Latitude::FromFile
    } else {
        Latitude::Blob(fields.faults().digest(&pointer, value)?)
    };
    Some(if word == 0 { Weights::SqrtCos(latitude) } else { Weights::Cos(latitude) })
}

fn read_outputs(fields: &mut Fields<'_, '_>) -> Option<[bool; 4]> {
    let value = fields.required("outputs", "[\"eigenvalues\", \"eofs\", \"pcs\"]")?;
    let pointer = fields.at("outputs");
    let Value::Array(items) = value else {
        fields.faults().wrong_type(&pointer, "an array of strings", value);
        return None;
    };
    let mut asked = [false; 4];
    for (i, item) in items.iter().enumerate() {
        let pointer = format!("{pointer}/{i}");
        let Value::String(name) = item else {
            fields.faults().wrong_type(&pointer, "a string", item);
            return None;
        };
        let place = one_of(fields.faults(), &pointer, name, &OUTPUTS)?;
        if asked[place] {
            fields.faults().add(pointer, "duplicate", format!("`{name}` stands twice"), "leave one out");
        }
        asked[place] = true;
    }
    Some(asked)
}
