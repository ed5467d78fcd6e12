//! Storm tracks: what every format is read into, and the binary that agents read.

use super::geo::wrapped;
use super::spec::{Format, Wind};
use super::text::{Take, each_line, fault};
use super::{hurdat2, ibtracs, track_csv};
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use forge_event::Digest;
use forge_projections::family::{Blobs, Fault};

/// Most tracks of a job.
pub const TRACKS_MAX: usize = 1 << 18;
/// Most nodes of all tracks.
pub const NODES_MAX: usize = 1 << 20;
/// Most nodes of one track, after resampling too.
pub const TRACK_NODES_MAX: usize = 1 << 14;
/// A node in the binary: seven floats. Units: bytes.
pub const NODE_BYTES: usize = 56;
/// Bounds of pressures. Units: hPa.
pub const PRESSURE: (f64, f64) = (800.0, 1100.0);
/// Most wind that is taken for one. Units: kn.
pub const VMAX_KN_MAX: f64 = 250.0;
/// Most radius of maximum wind. Units: nautical miles.
pub const RMAX_NM_MAX: f64 = 1000.0;
/// Most hours of a step.
pub const STEP_H_MAX: f64 = 10_000.0;
/// A step longer than this is worth a warning. Units: hours.
pub const GAP_H: f64 = 12.0;

/// A storm at one time. What is not known is NaN.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Node {
    /// Hours since the node before; 0 at the first one.
    pub dt_h: f64,
    /// Units: degrees north.
    pub lat: f64,
    /// Units: degrees east, from -180 to below 180.
    pub lon: f64,
    /// Highest wind. Units: kn.
    pub vmax_kn: f64,
    /// Pressure in the centre, at most that around it. Units: hPa.
    pub pcen: f64,
    /// Pressure around it. Units: hPa.
    pub penv: f64,
    /// Radius of the highest wind; above 0 if known. Units: nautical miles.
    pub rmax_nm: f64,
}

/// What a format's reader finds in a line; `None` is missing.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    pub time: Time,
    pub lat: f64,
    pub lon: f64,
    pub vmax_kn: Option<f64>,
    pub pcen: Option<f64>,
    pub penv: Option<f64>,
    /// 0 counts as missing.
    pub rmax_nm: Option<f64>,
}

/// When a node is.
#[derive(Clone, Copy, Debug)]
pub enum Time {
    /// Hours since the node before.
    Step(f64),
    /// Seconds since some day.
    At(i64),
}

/// Things that are taken, but worth a word in the document.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Notes {
    /// Nodes whose central pressure was above that around them.
    pub capped: u32,
    /// Tracks of one node, which have no wind.
    pub single: u32,
    /// Steps above [`GAP_H`].
    pub gaps: u32,
}

/// All tracks of a job, in the order of the file.
#[derive(Debug, Default)]
pub struct Tracks {
    nodes: Vec<Node>,
    /// The node after the last one of each track.
    ends: Vec<u32>,
    pub notes: Notes,
}

impl Tracks {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Nodes of all tracks.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Every track's nodes.
    pub fn each(&self) -> impl Iterator<Item = &[Node]> {
        let starts = core::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.nodes[start as usize..*end as usize])
    }

    /// The binary form: the end of each track (u32), then the nodes' floats, all little-endian.
    pub fn encode(&self) -> impl Iterator<Item = Vec<u8>> {
        let ends = self.ends.iter().flat_map(|end| end.to_le_bytes()).collect();
        let nodes = self.nodes.chunks(4096).map(|chunk| chunk.iter().flat_map(encode_node).collect());
        core::iter::once(ends).chain(nodes)
    }
}

fn encode_node(n: &Node) -> impl Iterator<Item = u8> {
    let floats = [n.dt_h, n.lat, n.lon, n.vmax_kn, n.pcen, n.penv, n.rmax_nm];
    floats.into_iter().flat_map(f64::to_le_bytes)
}

/// Reads one node of the binary form.
pub fn decode_node(bytes: &[u8; NODE_BYTES]) -> Node {
    let [dt_h, lat, lon, vmax_kn, pcen, penv, rmax_nm] = super::elt::floats(bytes);
    Node { dt_h, lat, lon, vmax_kn, pcen, penv, rmax_nm }
}

/// Reads a file of tracks.
///
/// # Errors
/// Whatever is wrong first, with its line.
pub fn read(blobs: &dyn Blobs, digest: &Digest, format: Format, wind: Wind) -> Result<Tracks, Fault> {
    let mut builder =
        Builder { wind, tracks: Tracks::default(), ids: BTreeSet::new(), id: String::new(), last_at: None };
    let mut lines: Box<dyn FormatReader> = match format {
        Format::Csv => Box::new(track_csv::Reader::default()),
        Format::Hurdat2 => Box::new(hurdat2::Reader::default()),
        Format::Ibtracs => Box::new(ibtracs::Reader::default()),
    };
    let take: Take<'_> =
        &mut |line, text| if text.trim().is_empty() { Ok(()) } else { lines.line(line, text, &mut builder) };
    each_line(blobs, digest, take)?;
    lines.end()?;
    builder.finish()
}

/// Reads the lines of one format, blank ones left out.
pub trait FormatReader {
    /// # Errors
    /// What is wrong in this line.
    fn line(&mut self, line: u64, text: &str, builder: &mut Builder) -> Result<(), Fault>;

    /// # Errors
    /// What is missing at the end.
    fn end(&mut self) -> Result<(), Fault> {
        Ok(())
    }
}

/// Puts tracks together, node by node.
#[derive(Debug)]
pub struct Builder {
    wind: Wind,
    tracks: Tracks,
    ids: BTreeSet<String>,
    id: String,
    last_at: Option<i64>,
}

impl Builder {
    /// True if the track of the last node has this id.
    pub fn is_current(&self, id: &str) -> bool {
        !self.tracks.is_empty() && self.id == id
    }

    /// Starts a track.
    ///
    /// # Errors
    /// `duplicate-track`, `bad-line` without an id, `too-many-tracks`.
    pub fn start(&mut self, line: u64, id: &str) -> Result<(), Fault> {
        if id.is_empty() {
            return Err(fault(line, "bad-line", "a track has an id"));
        }
        if !self.ids.insert(id.into()) {
            let shown = crate::faults::shown(id);
            let detail =
                format!("track `{shown}` stood further up: the nodes of a track stand together, and its id is its own");
            return Err(fault(line, "duplicate-track", &detail));
        }
        if self.tracks.len() == TRACKS_MAX {
            return Err(fault(line, "too-many-tracks", &format!("a job has at most {TRACKS_MAX} tracks")));
        }
        self.id = id.into();
        self.last_at = None;
        self.tracks.ends.push(self.tracks.nodes.len() as u32);
        Ok(())
    }

    /// Adds a node to the track that was started last.
    ///
    /// # Errors
    /// `missing-pressure`, `missing-wind`, `not-ascending`, `out-of-range`, `too-many-nodes`.
    ///
    /// # Panics
    /// If no track was started.
    pub fn node(&mut self, line: u64, found: Found) -> Result<(), Fault> {
        let tracks = &mut self.tracks;
        let end = tracks.ends.last_mut().expect("a track was started");
        let first = self.last_at.is_none();
        let dt_h = match (first, found.time) {
            (true, _) => 0.0,
            (false, Time::Step(hours)) => hours,
            (false, Time::At(at)) => at.saturating_sub(self.last_at.unwrap_or(at)) as f64 / 3600.0,
        };
        self.last_at = Some(if let Time::At(at) = found.time { at } else { 0 });
        if !first && dt_h <= 0.0 {
            return Err(fault(line, "not-ascending", "a node is later than the one before it"));
        }
        if dt_h > STEP_H_MAX {
            return Err(fault(
                line,
                "out-of-range",
                &format!("a step has at most {STEP_H_MAX} hours, this one {dt_h:?}"),
            ));
        }
        let missing = |name: &str| {
            let detail = format!("`{name}` is missing; the wind model needs it at every node");
            fault(line, "missing-pressure", &detail)
        };
        let pcen = found.pcen.ok_or_else(|| missing("pcen"))?;
        let penv = found.penv.ok_or_else(|| missing("penv"))?;
        if found.vmax_kn.is_none() && self.wind.needs_vmax() {
            let detail = format!("`vmax` is missing; wind {} needs it at every node", self.wind.name());
            return Err(fault(line, "missing-wind", &detail));
        }
        if tracks.nodes.len() == NODES_MAX {
            return Err(fault(line, "too-many-nodes", &format!("a job has at most {NODES_MAX} nodes")));
        }
        tracks.notes.capped += u32::from(pcen > penv);
        tracks.notes.gaps += u32::from(dt_h > GAP_H);
        tracks.nodes.push(Node {
            dt_h,
            lat: found.lat,
            lon: wrapped(found.lon),
            vmax_kn: found.vmax_kn.unwrap_or(f64::NAN),
            pcen: if pcen > penv { penv } else { pcen },
            penv,
            rmax_nm: found.rmax_nm.filter(|r| *r > 0.0).unwrap_or(f64::NAN),
        });
        *end = tracks.nodes.len() as u32;
        Ok(())
    }

    fn finish(mut self) -> Result<Tracks, Fault> {
        if self.tracks.is_empty() {
            return Err(Fault::new("no-tracks", "there is no track in it"));
        }
        let mut single = 0;
        for (i, nodes) in self.tracks.each().enumerate() {
            if nodes.is_empty() {
                return Err(Fault::new("no-nodes", format!("track {i} (from 0) has no node")));
            }
            if nodes.len() > TRACK_NODES_MAX {
                let detail =
                    format!("track {i} (from 0) has {} nodes; at most {TRACK_NODES_MAX} are taken", nodes.len());
                return Err(Fault::new("too-many-nodes", detail));
            }
            single += u32::from(nodes.len() == 1);
        }
        self.tracks.notes.single = single;
        Ok(self.tracks)
    }
}
