//! CSV files like those of IBTrACS, read by the names of their columns.
//!
//! Position: `cgps_lat`/`cgps_lon`, else `lat`/`lon`, else `usa_lat`/`usa_lon`. Wind, pressures and radius: `vmax`, `pcen`, `penv`, `rmax`,
//! else the `usa_` columns, else those of the WMO. Id: `ibtracsid` or `sid`. A second line with units is left out.

use super::text::{Header, fault, fields, optional, within};
use super::time::iso;
use super::tracks::{Builder, FormatReader, Found, PRESSURE, RMAX_NM_MAX, Time, VMAX_KN_MAX};
use alloc::format;
use alloc::vec::Vec;
use forge_projections::family::Fault;

#[derive(Debug)]
struct Columns {
    count: usize,
    id: Option<usize>,
    time: Option<usize>,
    step: Option<usize>,
    lat: usize,
    lon: usize,
    basin: Option<usize>,
    vmax: Vec<usize>,
    pcen: Vec<usize>,
    penv: Vec<usize>,
    rmax: Vec<usize>,
}

/// Reads lines of the format.
#[derive(Debug, Default)]
pub struct Reader {
    columns: Option<Columns>,
    lines: u64,
}

impl Columns {
    fn new(header: &Header) -> Result<Columns, Fault> {
        let all = |names: &[&str]| names.iter().filter_map(|name| header.find(&[name])).collect();
        let columns = Columns {
            count: header.count(),
            id: header.find(&["sid", "ibtracsid"]),
            time: header.find(&["iso_time", "isotime"]),
            step: header.find(&["tint"]),
            lat: header.need(&["cgps_lat", "lat", "usa_lat"])?,
            lon: header.need(&["cgps_lon", "lon", "usa_lon"])?,
            basin: header.find(&["basin", "gen_basin"]),
            vmax: all(&["vmax", "usa_wind", "wmo_wind"]),
            pcen: all(&["pcen", "usa_pres", "wmo_pres"]),
            penv: all(&["penv", "usa_poci"]),
            rmax: all(&["rmax", "usa_rmw"]),
        };
        if columns.time.is_none() && columns.step.is_none() {
            header.need(&["iso_time", "isotime", "tint"])?;
        }
        if columns.pcen.is_empty() {
            header.need(&["pcen", "usa_pres", "wmo_pres"])?;
        }
        Ok(columns)
    }
}

/// The first of some columns that holds a number.
fn first(
    line: u64,
    name: &str,
    fields: &[&str],
    places: &[usize],
    least: f64,
    most: f64,
) -> Result<Option<f64>, Fault> {
    for place in places {
        // IBTrACS writes 0 where it knows nothing.
        let field = if fields[*place] == "0" { "" } else { fields[*place] };
        let found = optional(line, name, field, least, most)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The usual pressure around storms of a basin. Units: hPa.
fn basin_pressure(basin: &str) -> Option<f64> {
    match basin.trim() {
        "EP" | "NA" | "SA" => Some(1010.0),
        "NI" | "SI" | "WP" => Some(1005.0),
        "SP" => Some(1004.0),
        _ => None,
    }
}

impl FormatReader for Reader {
    fn line(&mut self, line: u64, text: &str, builder: &mut Builder) -> Result<(), Fault> {
        let Some(columns) = &self.columns else {
            self.columns = Some(Columns::new(&Header::new(text))?);
            return Ok(());
        };
        let fields = fields(text);
        if fields.len() != columns.count {
            let detail = format!("{} fields where the header has {}", fields.len(), columns.count);
            return Err(fault(line, "bad-line", &detail));
        }
        self.lines += 1;
        // The second line of the real files says `degrees_north` and the like.
        if self.lines == 1 && fields[columns.lat].starts_with("degree") {
            return Ok(());
        }
        let id = columns.id.map_or("1", |place| fields[place]);
        if !builder.is_current(id) {
            builder.start(line, id)?;
        }
        let time = match (columns.time, columns.step) {
            (Some(place), _) => Time::At(iso(fields[place]).ok_or_else(|| {
                fault(line, "bad-time", "a time is written as `1992-08-16 18:00:00` or as `1992081618`")
            })?),
            (None, Some(place)) => Time::Step(within(line, "tint", fields[place], 0.0, super::tracks::STEP_H_MAX)?),
            (None, None) => return Err(fault(line, "missing-column", "there is no column with times")),
        };
        let basin = columns.basin.and_then(|place| basin_pressure(fields[place]));
        let found = Found {
            time,
            lat: within(line, "lat", fields[columns.lat], -90.0, 90.0)?,
            lon: within(line, "lon", fields[columns.lon], -180.0, 360.0)?,
            vmax_kn: first(line, "vmax", &fields, &columns.vmax, 0.0, VMAX_KN_MAX)?,
            pcen: first(line, "pcen", &fields, &columns.pcen, PRESSURE.0, PRESSURE.1)?,
            penv: first(line, "penv", &fields, &columns.penv, PRESSURE.0, PRESSURE.1)?.or(basin),
            rmax_nm: first(line, "rmax", &fields, &columns.rmax, 0.0, RMAX_NM_MAX)?,
        };
        builder.node(line, found)
    }
}
