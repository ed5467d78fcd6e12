//! Our own track format: `track,node,dt_h,lat,lon,vmax_kn,pcen_mb,penv_mb,rmax_nm`.
//!
//! `dt_h` is the time since the node before, and not looked at for the first one; `node` counts up by one within a track.

use super::text::{Header, fault, fields, optional, within};
use super::tracks::{Builder, FormatReader, Found, PRESSURE, RMAX_NM_MAX, STEP_H_MAX, Time, VMAX_KN_MAX};
use alloc::format;
use forge_projections::family::Fault;

const COLUMNS: [&str; 9] = ["track", "node", "dt_h", "lat", "lon", "vmax_kn", "pcen_mb", "penv_mb", "rmax_nm"];

/// Reads lines of the format.
#[derive(Debug, Default)]
pub struct Reader {
    columns: Option<([usize; 9], usize)>,
    node: u64,
}

impl FormatReader for Reader {
    fn line(&mut self, line: u64, text: &str, builder: &mut Builder) -> Result<(), Fault> {
        let Some((places, columns)) = self.columns else {
            let header = Header::new(text);
            let mut places = [0; 9];
            for (place, name) in places.iter_mut().zip(COLUMNS) {
                *place = header.need(&[name])?;
            }
            self.columns = Some((places, header.count()));
            return Ok(());
        };
        let fields = fields(text);
        if fields.len() != columns {
            let detail = format!("{} fields where the header has {columns}", fields.len());
            return Err(fault(line, "bad-line", &detail));
        }
        let [track, node, dt_h, lat, lon, vmax, pcen, penv, rmax] = places.map(|place| fields[place]);
        let Ok(number) = node.parse::<u64>() else {
            return Err(fault(line, "bad-number", "`node` is a number that counts up by one within a track"));
        };
        let first = !builder.is_current(track);
        if first {
            builder.start(line, track)?;
        } else if self.node.checked_add(1) != Some(number) {
            let detail = format!("node {number} follows node {}; nodes of a track count up by one", self.node);
            return Err(fault(line, "not-ascending", &detail));
        }
        self.node = number;
        let found = Found {
            time: Time::Step(if first { 0.0 } else { within(line, "dt_h", dt_h, 0.0, STEP_H_MAX)? }),
            lat: within(line, "lat", lat, -90.0, 90.0)?,
            lon: within(line, "lon", lon, -180.0, 360.0)?,
            vmax_kn: optional(line, "vmax_kn", vmax, 0.0, VMAX_KN_MAX)?,
            pcen: optional(line, "pcen_mb", pcen, PRESSURE.0, PRESSURE.1)?,
            penv: optional(line, "penv_mb", penv, PRESSURE.0, PRESSURE.1)?,
            rmax_nm: optional(line, "rmax_nm", rmax, 0.0, RMAX_NM_MAX)?,
        };
        builder.node(line, found)
    }
}
