//! Values at points: the CSV that clients send, and the binary that agents read.

use super::exact::total;
use super::text::{Header, each_line, fault, fields, within};
use alloc::format;
use alloc::vec::Vec;
use forge_event::Digest;
use forge_projections::family::{Blobs, Fault};

/// Most points of an exposure.
pub const POINTS_MAX: usize = 1 << 21;
/// Highest total: its square is still a number.
pub const TOTAL_MAX: f64 = 1e120;
/// A point in the binary: latitude, longitude, value. Units: bytes.
pub const POINT_BYTES: usize = 24;

/// A place and what may be lost there.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Point {
    /// Units: degrees north.
    pub lat: f64,
    /// Units: degrees east, from -180 to below 180.
    pub lon: f64,
    /// Units: the currency of the exposure; 0 or more.
    pub value: f64,
}

/// Reads `lat,lon,value`.
///
/// # Errors
/// Whatever is wrong first, with its line: `missing-column`, `bad-line`, `bad-number`, `not-finite`, `out-of-range`, `no-points`,
/// `too-many-points`, or that the total is no number.
pub fn read(blobs: &dyn Blobs, digest: &Digest) -> Result<Vec<Point>, Fault> {
    let mut reader = Reader::default();
    each_line(blobs, digest, &mut |line, text| reader.line(line, text))?;
    if reader.points.is_empty() {
        return Err(Fault::new("no-points", "the exposure has no point"));
    }
    if total(reader.points.iter().map(|p| p.value)) > TOTAL_MAX {
        return Err(Fault::new("out-of-range", format!("the values add up to more than {TOTAL_MAX:e}")));
    }
    Ok(reader.points)
}

/// Reads lines of an exposure one by one.
#[derive(Debug, Default)]
struct Reader {
    columns: Option<([usize; 3], usize)>,
    points: Vec<Point>,
}

impl Reader {
    fn line(&mut self, line: u64, text: &str) -> Result<(), Fault> {
        let Some((places, columns)) = self.columns else {
            let header = Header::new(text);
            let places =
                [header.need(&["lat", "latitude"])?, header.need(&["lon", "longitude"])?, header.need(&["value"])?];
            self.columns = Some((places, header.count()));
            return Ok(());
        };
        if text.trim().is_empty() {
            return Ok(());
        }
        let fields = fields(text);
        if fields.len() != columns {
            let detail = format!("{} fields where the header has {columns}", fields.len());
            return Err(fault(line, "bad-line", &detail));
        }
        let [lat, lon, value] = places.map(|place| fields[place]);
        let point = Point {
            lat: within(line, "lat", lat, -90.0, 90.0)?,
            lon: super::geo::wrapped(within(line, "lon", lon, -180.0, 360.0)?),
            // -0 would make a loss of -0.
            value: within(line, "value", value, 0.0, f64::MAX)? + 0.0,
        };
        if self.points.len() == POINTS_MAX {
            return Err(fault(line, "too-many-points", &format!("an exposure has at most {POINTS_MAX} points")));
        }
        self.points.push(point);
        Ok(())
    }
}

/// The binary form: each point's three floats, little-endian, in the order of the file.
pub fn encode(points: &[Point]) -> impl Iterator<Item = Vec<u8>> {
    points.chunks(4096).map(|chunk| {
        let floats = chunk.iter().flat_map(|p| [p.lat, p.lon, p.value]);
        floats.flat_map(f64::to_le_bytes).collect()
    })
}

/// Reads the binary form; `None` if it is not one.
pub fn decode(bytes: &[u8]) -> Option<Vec<Point>> {
    let (points, rest) = bytes.as_chunks::<POINT_BYTES>();
    rest.is_empty().then(|| {
        let point = |p: &[u8; POINT_BYTES]| {
            let [lat, lon, value] = super::elt::floats(p);
            Point { lat, lon, value }
        };
        points.iter().map(point).collect()
    })
}
