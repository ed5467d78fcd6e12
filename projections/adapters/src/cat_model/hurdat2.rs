//! HURDAT2, the best tracks of the National Hurricane Center: a header line a storm, then a line a node.
//!
//! `AL041992,             ANDREW,     66,` and then `19920816, 1800,  , TD, 10.8N,  35.5W,  25, 1010, …`. It has no pressure around
//! the storm: 1010 hPa, as for the Atlantic and the eastern Pacific, which it covers. A radius of maximum wind is its 21st field.

use super::text::{fault, fields, number, optional, within};
use super::time::compact;
use super::tracks::{Builder, FormatReader, Found, PRESSURE, RMAX_NM_MAX, Time, VMAX_KN_MAX};
use alloc::format;
use forge_projections::family::Fault;

const PENV: f64 = 1010.0;
const FIELDS_MIN: usize = 8;
const RMAX_FIELD: usize = 20;

/// Reads lines of the format.
#[derive(Debug, Default)]
pub struct Reader {
    /// Nodes of this storm that are still to come.
    left: u64,
    line: u64,
}

impl FormatReader for Reader {
    fn line(&mut self, line: u64, text: &str, builder: &mut Builder) -> Result<(), Fault> {
        let fields = fields(text);
        self.line = line;
        if self.left == 0 {
            let count = fields.get(2).and_then(|count| count.parse::<u64>().ok()).filter(|count| *count > 0);
            let Some(count) = count.filter(|_| fields[0].starts_with(|c: char| c.is_ascii_alphabetic())) else {
                let detail = "here a storm's header should stand, such as `AL041992, ANDREW, 66,`";
                return Err(fault(line, "bad-header", detail));
            };
            self.left = count;
            return builder.start(line, fields[0]);
        }
        if fields.len() < FIELDS_MIN {
            let detail = format!("a node has at least {FIELDS_MIN} fields, here are {}", fields.len());
            return Err(fault(line, "bad-line", &detail));
        }
        let Some(at) = compact(fields[0], fields[1]) else {
            return Err(fault(line, "bad-time", "a node starts with its date and time, such as `19920816, 1800`"));
        };
        self.left -= 1;
        let rmax = fields.get(RMAX_FIELD).copied().unwrap_or("");
        let found = Found {
            time: Time::At(at),
            lat: degrees(line, "lat", fields[4], 'N', 'S', 90.0)?,
            lon: degrees(line, "lon", fields[5], 'E', 'W', 360.0)?,
            vmax_kn: optional(line, "wind", fields[6], 0.0, VMAX_KN_MAX)?,
            pcen: optional(line, "pressure", fields[7], PRESSURE.0, PRESSURE.1)?,
            penv: Some(PENV),
            rmax_nm: optional(line, "radius of maximum wind", rmax, 0.0, RMAX_NM_MAX)?,
        };
        builder.node(line, found)
    }

    fn end(&mut self) -> Result<(), Fault> {
        if self.left == 0 {
            return Ok(());
        }
        Err(fault(self.line, "cut-short", &format!("the storm's header promises {} nodes more", self.left)))
    }
}

fn degrees(line: u64, name: &str, text: &str, plus: char, minus: char, most: f64) -> Result<f64, Fault> {
    let (size, sign) = match (text.strip_suffix(plus), text.strip_suffix(minus)) {
        (Some(size), _) => (size, 1.0),
        (_, Some(size)) => (size, -1.0),
        _ => {
            number(line, name, text)?;
            return Err(fault(line, "bad-number", &format!("`{name}` ends with {plus} or {minus}")));
        }
    };
    let value = sign * within(line, name, size, 0.0, most)?;
    // Some lines of the real file write a longitude west as more than 180.
    Ok(if value < -180.0 { value + 360.0 } else { value })
}
