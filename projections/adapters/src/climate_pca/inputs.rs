//! From the blobs of a spec to a table: what the headers say, and every fault that they show.

use super::netcdf::{FileFault, Header, Variable};
use super::source::Hub;
use super::spec::{Latitude, Layout, Spec};
use super::table::{Member, Number, Table};
use crate::faults::{Faults, nearest, shown};
use crate::npy::{self, Dtype, NpyFault};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use forge_event::Digest;
use forge_projections::family::{Blobs, SpecFault};

/// Most points of a sample, masked ones included.
pub const POINTS_MAX: u64 = 1 << 26;
/// Most samples of all members.
pub const SAMPLES_MAX: u64 = 1 << 32;
/// Most axes of a sample.
const SPACE_AXES_MAX: usize = 3;
/// Most stored numbers that mark what is missing.
const MISSING_MAX: usize = 4;
/// What the format puts where nothing was written, as float and as double: 0x1.ep+122.
const NC_FILL_BITS: u64 = 0x479e_0000_0000_0000;
const LATITUDE_UNITS: [&str; 6] = ["degrees_north", "degree_north", "degree_N", "degrees_N", "degreeN", "degreesN"];

/// The axis of a sample along which latitude runs, and its values.
#[derive(Clone, PartialEq, Debug)]
pub struct Latitudes {
    pub axis: usize,
    /// Units: degrees north.
    pub values: Vec<f64>,
}

/// What the headers say.
#[derive(Clone, PartialEq, Debug)]
pub struct Inputs {
    pub table: Table,
    /// `None` if nothing is weighted.
    pub latitudes: Option<Latitudes>,
}

/// One member as its own file tells it.
struct Read {
    member: Member,
    space: Vec<u64>,
    latitudes: Option<Latitudes>,
}

impl Inputs {
    /// Reads every header.
    ///
    /// # Errors
    /// Every fault found, at least one, addressed to the field that names the blob.
    pub fn read(spec: &Spec, blobs: &dyn Blobs) -> Result<Inputs, Vec<SpecFault>> {
        let mut faults = Faults::default();
        let mut reads: Vec<Read> = Vec::new();
        for (i, blob) in spec.members.iter().enumerate() {
            let pointer = format!("/spec/members/{i}");
            let read = match &spec.layout {
                Layout::Npy => read_npy(blobs, blob, &pointer, &mut faults),
                Layout::Netcdf3 { var } => read_netcdf(spec, blobs, blob, var, &pointer, &mut faults),
            };
            let Some(read) = read else { continue };
            if let Some(first) = reads.first() {
                agree(first, &read, &pointer, &mut faults);
            }
            reads.push(read);
        }
        if !faults.is_empty() {
            return Err(faults.into_vec());
        }
        let mut latitudes = reads[0].latitudes.take();
        let space = reads[0].space.clone();
        if let Some(Latitude::Blob(blob)) = spec.weights.latitude() {
            latitudes = read_latitudes(blobs, &blob, &space, latitudes.map(|l| l.axis), &mut faults);
        }
        if let Some(latitudes) = &latitudes {
            check_latitudes(latitudes, &mut faults);
        }
        let members = reads.into_iter().map(|r| r.member).collect();
        let table = Table { members, space, center_member: spec.center_member };
        check_counts(spec, &table, &mut faults);
        faults.unless_any(Some(Inputs { table, latitudes }))
    }
}

/// Latitudes along the space of a NetCDF file's variable; `None` if no axis has any, or the file is not to be read.
pub fn latitudes_in(blobs: &dyn Blobs, blob: &Digest, variable: &str) -> Option<Latitudes> {
    let header = Header::read(blobs, blob).ok()?;
    let variable = header.variable(variable)?;
    let shape = header.shape(variable);
    let axes: Vec<usize> = (0..shape.len())
        .filter(|i| shape[*i] != 1 || header.dimensions[variable.dimensions[*i]].record)
        .map(|i| variable.dimensions[i])
        .collect();
    let (axis, list) = (1..axes.len()).find_map(|k| Some((k - 1, latitude_variable(&header, axes[k])?)))?;
    let count = header.dimensions[axes[axis + 1]].length;
    let (stride, number) = (0, list.kind.number()?);
    let (packing, missing) = (packing(list), Vec::new());
    let list = Member { blob: *blob, samples: 1, first: list.begin, stride, number, packing, missing, masks: false };
    Some(Latitudes { axis, values: values(blobs, &list, count).ok()? })
}

/// Faults of counts that no mode can come from.
fn check_counts(spec: &Spec, table: &Table, faults: &mut Faults) {
    let (n, p) = (table.samples(), table.points());
    if p > POINTS_MAX || n > SAMPLES_MAX {
        let detail = format!("{n} samples of {p} points are too many: at most {SAMPLES_MAX} and {POINTS_MAX}");
        faults.add("/spec/members", "too-large", detail, "take a coarser grid or a region");
        return;
    }
    if n < 2 {
        let detail = format!("{n} sample has no variance: there must be at least 2");
        faults.add("/spec/members", "too-few-samples", detail, "add samples or members");
        return;
    }
    if spec.divisor(n).is_none() {
        let detail =
            format!("{n} samples leave no degree of freedom for ddof {} and {} mean(s)", spec.ddof, spec.means());
        faults.add("/spec/ddof", "out-of-range", detail, "take a smaller ddof, or more samples");
    }
    check_modes(spec, n, p, faults);
}

/// A fault if there cannot be that many modes.
pub fn check_modes(spec: &Spec, samples: u64, points: u64, faults: &mut Faults) {
    let most = samples.saturating_sub(spec.means()).min(points);
    if spec.modes > most {
        let detail = format!(
            "{samples} samples about {} mean(s) at {points} points have at most {most} modes, {} are asked for",
            spec.means(),
            spec.modes
        );
        faults.add("/spec/modes", "out-of-range", detail, &format!("the nearest allowed value is {most}"));
    }
}

/// Members must have one shape and one set of latitudes.
fn agree(first: &Read, read: &Read, pointer: &str, faults: &mut Faults) {
    if first.space != read.space {
        let detail = format!("a sample here has shape {:?}, in member 0 it has {:?}", read.space, first.space);
        faults.add(pointer, "shape-differs", detail, "put all members on one grid");
    } else if first.latitudes != read.latitudes {
        faults.add(pointer, "lat-differs", "the latitudes are not those of member 0", "put all members on one grid");
    }
}

fn read_npy(blobs: &dyn Blobs, blob: &Digest, pointer: &str, faults: &mut Faults) -> Option<Read> {
    let header = npy_header(blobs, blob, pointer, faults)?;
    if !(2..=3).contains(&header.shape.len()) || header.shape.contains(&0) {
        let detail = format!("the array has shape {:?}; a member is (n, p) or (n, lat, lon)", header.shape);
        faults.add(pointer, "wrong-rank", detail, "reshape it: samples first, then space");
        return None;
    }
    let number = match header.dtype {
        Dtype::F32 => Number::F32,
        Dtype::F64 => Number::F64,
    };
    let space = header.shape[1..].to_vec();
    let member = Member {
        blob: *blob,
        samples: header.shape[0],
        first: header.data_start,
        stride: space.iter().product::<u64>() * number.bytes(),
        number,
        packing: None,
        missing: Vec::new(),
        masks: false,
    };
    // Latitude runs along the first axis of space, be it of a grid or of a list of points.
    Some(Read { member, space, latitudes: None })
}

fn npy_header(blobs: &dyn Blobs, blob: &Digest, pointer: &str, faults: &mut Faults) -> Option<npy::Header> {
    let header = npy::Header::of_blob(blobs, blob).and_then(|header| match header.fortran {
        true => Err(NpyFault::Fortran),
        false => Ok(header),
    });
    let add = |fault: NpyFault| faults.add(pointer, fault.code(), fault.to_string(), fault.fix());
    header.map_err(add).ok()
}

fn read_latitudes(
    blobs: &dyn Blobs,
    blob: &Digest,
    space: &[u64],
    axis: Option<usize>,
    faults: &mut Faults,
) -> Option<Latitudes> {
    let header = npy_header(blobs, blob, "/spec/lat", faults)?;
    let axis = axis.unwrap_or(0);
    if header.shape.len() != 1 {
        let detail = format!("latitudes are a list, this array has shape {:?}", header.shape);
        faults.add("/spec/lat", "wrong-rank", detail, "give one latitude a row of the grid");
        return None;
    }
    if header.shape[0] != space[axis] {
        let detail = format!("there are {} latitudes; a sample has shape {space:?}", header.shape[0]);
        faults.add("/spec/lat", "lat-length", detail, &format!("give {} latitudes", space[axis]));
        return None;
    }
    let number = if header.dtype == Dtype::F32 { Number::F32 } else { Number::F64 };
    let member = Member {
        blob: *blob,
        samples: 1,
        first: header.data_start,
        stride: 0,
        number,
        packing: None,
        missing: Vec::new(),
        masks: false,
    };
    match values(blobs, &member, header.shape[0]) {
        Ok(values) => Some(Latitudes { axis, values }),
        Err(fault) => {
            faults.add("/spec/lat", fault.code, fault.detail, fault.fix);
            None
        }
    }
}

/// All numbers of a list.
fn values(blobs: &dyn Blobs, list: &Member, count: u64) -> Result<Vec<f64>, FileFault> {
    let mut values = vec![0.0; count as usize];
    list.read(&mut Hub(blobs), 0, 0..count, &mut Vec::new(), &mut values)?;
    Ok(values)
}

fn check_latitudes(latitudes: &Latitudes, faults: &mut Faults) {
    if let Some(i) = latitudes.values.iter().position(|lat| !(-90.0..=90.0).contains(lat)) {
        let detail = format!("latitude {i} is {:?}; it must be from -90 to 90 degrees", latitudes.values[i]);
        faults.add("/spec/lat", "lat-out-of-range", detail, "give latitudes in degrees north");
    }
}

fn read_netcdf(
    spec: &Spec,
    blobs: &dyn Blobs,
    blob: &Digest,
    var: &str,
    pointer: &str,
    faults: &mut Faults,
) -> Option<Read> {
    let mut add = |fault: FileFault| faults.add(pointer, fault.code, fault.detail, fault.fix);
    let header = Header::read(blobs, blob).map_err(&mut add).ok()?;
    let Some(variable) = header.variable(var) else {
        let names: Vec<&str> = header.variables.iter().map(|v| v.name.as_str()).take(20).collect();
        let fix = match nearest(var, &names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the variables are: {}", shown_names(&names)),
        };
        let detail = format!("`{pointer}` has no variable `{}`", shown(var));
        faults.add("/spec/var", "unknown-variable", detail, &fix);
        return None;
    };
    read_variable(spec, blobs, blob, &header, variable).map_err(add).ok()
}

fn shown_names(names: &[&str]) -> String {
    names.iter().map(|n| shown(n)).collect::<Vec<_>>().join(", ")
}

fn read_variable(
    spec: &Spec,
    blobs: &dyn Blobs,
    blob: &Digest,
    header: &Header,
    variable: &Variable,
) -> Result<Read, FileFault> {
    let shape = header.shape(variable);
    // An axis of one entry says nothing of space; but the record axis counts samples, even if there is one.
    let kept: Vec<usize> =
        (0..shape.len()).filter(|i| shape[*i] != 1 || header.dimensions[variable.dimensions[*i]].record).collect();
    let wrong_rank = |what: &str| {
        let detail = format!("`{}` has shape {shape:?}: {what}", shown(&variable.name));
        FileFault::new(
            "wrong-rank",
            detail,
            "a variable is (time, lat, lon) or (time, point); axes of length 1 are dropped",
        )
    };
    if !(2..=1 + SPACE_AXES_MAX).contains(&kept.len()) {
        return Err(wrong_rank("samples and 1 to 3 axes of space are wanted"));
    }
    if shape.contains(&0) {
        return Err(wrong_rank("it has no entry"));
    }
    let is_latitude = |i: usize| latitude_variable(header, variable.dimensions[i]).is_some();
    if is_latitude(kept[0]) {
        return Err(wrong_rank("its first axis is latitude, where samples are wanted"));
    }
    let samples = shape[kept[0]];
    let points: u64 = shape[kept[0] + 1..].iter().product();
    let member = member_of(spec, header, variable, blob, samples, points)?;
    let axis = (1..kept.len()).find(|k| is_latitude(kept[*k]));
    let latitudes = match (spec.weights.latitude(), axis) {
        (None, _) => None,
        (Some(Latitude::FromFile), Some(k)) => {
            let place = variable.dimensions[kept[k]];
            let list = latitude_variable(header, place).expect("the axis was found by its latitudes");
            let count = header.dimensions[place].length;
            let list = member_of(spec, header, list, blob, 1, count)?;
            Some(Latitudes { axis: k - 1, values: values(blobs, &list, count)? })
        }
        (Some(Latitude::FromFile), None) => {
            let detail = format!("no axis of `{}` has latitudes in the file", shown(&variable.name));
            let fix = "name a .npy blob of latitudes in `lat`, or set `weights` to \"none\"";
            return Err(FileFault::new("no-latitude", detail, fix));
        }
        // The values are in the blob; only the axis comes from here, the first one of space if the file is silent.
        (Some(Latitude::Blob(_)), axis) => Some(Latitudes { axis: axis.map_or(0, |k| k - 1), values: Vec::new() }),
    };
    Ok(Read { member, space: kept[1..].iter().map(|i| shape[*i]).collect(), latitudes })
}

/// The list of latitudes along a dimension: its coordinate variable, or another list along it that says so.
fn latitude_variable(header: &Header, dimension: usize) -> Option<&Variable> {
    let name = header.dimensions[dimension].name.as_str();
    let lists = || header.variables.iter().filter(|v| v.dimensions == [dimension] && v.kind.number().is_some());
    let says = |v: &&Variable| {
        let units = v.words("units").is_some_and(|units| LATITUDE_UNITS.contains(&units));
        units || v.words("standard_name") == Some("latitude")
    };
    let named = |v: &&Variable| v.name.eq_ignore_ascii_case("lat") || v.name.eq_ignore_ascii_case("latitude");
    let own = lists().find(|v| v.name == name).filter(|v| says(v) || named(v));
    own.or_else(|| lists().find(says)).or_else(|| lists().find(named))
}

fn member_of(
    spec: &Spec,
    header: &Header,
    variable: &Variable,
    blob: &Digest,
    samples: u64,
    points: u64,
) -> Result<Member, FileFault> {
    let name = shown(&variable.name);
    let Some(number) = variable.kind.number() else {
        return Err(FileFault::new("not-numeric", format!("`{name}` holds text"), "name a variable of numbers"));
    };
    if variable.words("_Unsigned").is_some_and(|word| word == "true") {
        let detail = format!("`{name}` holds unsigned integers, which this version does not read");
        return Err(FileFault::new("not-yet", detail, "store it as float"));
    }
    let packing = packing(variable);
    if packing.is_some_and(|(scale, offset)| !scale.is_finite() || !offset.is_finite()) {
        let detail = format!("`{name}` has a scale or offset that is not finite");
        return Err(FileFault::new(
            "bad-packing",
            detail,
            "mend `scale_factor` and `add_offset`, or store it as float",
        ));
    }
    let stride = if header.has_records(variable) { header.record_bytes } else { points * number.bytes() };
    let missing = missing(variable, number)?;
    let masks = spec.mask_fill;
    Ok(Member { blob: *blob, samples, first: variable.begin, stride, number, packing, missing, masks })
}

/// `scale_factor` and `add_offset`, if there is one of them.
fn packing(variable: &Variable) -> Option<(f64, f64)> {
    let one = |attribute: &str| variable.numbers(attribute).and_then(|numbers| numbers.first().copied());
    match (one("scale_factor"), one("add_offset")) {
        (None, None) => None,
        (scale, offset) => Some((scale.unwrap_or(1.0), offset.unwrap_or(0.0))),
    }
}

/// Stored numbers that stand for nothing: `_FillValue` (or the format's own if there is none) and `missing_value`.
fn missing(variable: &Variable, number: Number) -> Result<Vec<f64>, FileFault> {
    let narrow = |value: f64| if number == Number::BigF32 { f64::from(value as f32) } else { value };
    let default: &[f64] = match number {
        Number::BigI16 => &[-32767.0],
        Number::BigI32 => &[-2147483647.0],
        Number::BigF32 | Number::BigF64 => &[f64::from_bits(NC_FILL_BITS)],
        _ => &[],
    };
    let fill = variable.numbers("_FillValue").unwrap_or(default);
    let also = variable.numbers("missing_value").unwrap_or(&[]);
    let mut missing: Vec<f64> = Vec::new();
    for value in fill.iter().chain(also).map(|v| narrow(*v)).filter(|v| !v.is_nan()) {
        if !missing.contains(&value) {
            missing.push(value);
        }
    }
    if missing.len() > MISSING_MAX {
        let detail = format!("`{}` marks missing values by more than {MISSING_MAX} numbers", shown(&variable.name));
        return Err(FileFault::new("not-yet", detail, "mark all of them by one"));
    }
    Ok(missing)
}
