//! The result document, and the event loss table as CSV.

use super::curves::{Annual, Exceedance};
use super::elt;
use super::exact::{total, total_of_products};
use super::plan::elt_part;
use super::spec::Spec;
use super::tracks::Notes;
use super::work::{Events, Part, decode};
use super::years::YEAR_BYTES;
use super::{tracks, wind};
use crate::gathered::Gathered;
use crate::json::{float, float_object, list, write};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use forge_event::Digest;
use forge_projections::family::{Blobs, DoneStage, Fault};

/// The document of a job all of whose stages are done.
///
/// # Errors
/// Those of the blobs.
pub fn document(
    spec: &Spec,
    stage: &Events,
    events: &DoneStage<'_>,
    years: Option<&DoneStage<'_>>,
    blobs: &dyn Blobs,
) -> Result<Vec<u8>, Fault> {
    let table = Table::read(spec, &Gathered::of(events), blobs)?;
    let annual = years.map(|years| read_years(&Gathered::of(years), blobs)).transpose()?;
    let mut out = String::new();
    let cells = table.losses.len();
    write(&mut out, format_args!(r#"{{"kind":"cat_model","format":1,"cells":{cells},"total_value":"#));
    float_object(&mut out, stage.total_value);
    out.push_str(",\"aal\":");
    let rates = |spec: &Spec, cell: usize| spec.cell_rate((cell as u64 / spec.cells_a_track()) as usize);
    let pairs = table.losses.iter().enumerate().map(|(cell, loss)| (*loss, rates(spec, cell)));
    float_object(&mut out, total_of_products(pairs.clone()));
    out.push_str(",\"aal_stderr\":");
    float_object(&mut out, standard_error(spec, &table.losses));
    let (digest, bytes) = table.csv;
    write(&mut out, format_args!(r#","elt":{{"digest":"{digest}","bytes":{bytes}}},"oep":"#));
    let curve = Exceedance::new(pairs);
    let periods = &spec.return_periods;
    list(&mut out, periods, |out, period| point(out, period, &[("loss", curve.occurrence(period))]));
    out.push_str(",\"frequency\":");
    list(&mut out, periods, |out, period| point(out, period, &[("loss", curve.frequency(period))]));
    let simulated = if annual.is_some() { &periods[..] } else { &[] };
    let annual = annual.unwrap_or_else(|| Annual::new(Vec::new()));
    out.push_str(",\"aep\":");
    list(&mut out, simulated, |out, period| {
        let (loss, low, high) = annual.loss(period);
        point(out, period, &[("loss", loss), ("low", low), ("high", high)]);
    });
    out.push_str(",\"tvar\":");
    list(&mut out, simulated, |out, period| {
        let (loss, stderr) = annual.tail(period);
        point(out, period, &[("loss", loss), ("stderr", stderr)]);
    });
    out.push_str(",\"warnings\":");
    let warnings = warnings(spec, stage.notes, &curve, spec.years_simulated);
    let warnings: Vec<&str> = warnings.iter().map(String::as_str).collect();
    // They hold nothing that JSON would escape.
    list(&mut out, &warnings, |out, warning| write(out, format_args!("\"{warning}\"")));
    out.push('}');
    Ok(out.into_bytes())
}

/// `{"return_period":T,name:F,…}`.
fn point(out: &mut String, period: f64, values: &[(&str, f64)]) {
    out.push_str("{\"return_period\":");
    number(out, period);
    for (name, value) in values {
        write(out, format_args!(",\"{name}\":"));
        float_object(out, *value);
    }
    out.push('}');
}

/// A number of years, without a point where it is whole.
fn number(out: &mut String, value: f64) {
    if libm::floor(value) == value && value < 1e15 {
        write(out, format_args!("{}", value as u64));
    } else {
        float(out, value);
    }
}

struct Table {
    /// In the order of cells.
    losses: Vec<f64>,
    csv: (Digest, u64),
}

impl Table {
    fn read(spec: &Spec, parts: &Gathered, blobs: &dyn Blobs) -> Result<Table, Fault> {
        let mut losses = Vec::new();
        let mut texts = parts.parts().map(|part| {
            let mut text = String::new();
            for row in elt_part(part, blobs)? {
                losses.push(row.loss);
                row.csv(&mut text);
            }
            Ok(text.into_bytes())
        });
        let header = core::iter::once(Ok(elt::HEADER.into()));
        let csv = blobs.put(&mut header.chain(&mut texts))?;
        drop(texts);
        assert!((losses.len() as u64).is_multiple_of(spec.cells_a_track()), "every cell has its row");
        Ok(Table { losses, csv })
    }
}

fn read_years(parts: &Gathered, blobs: &dyn Blobs) -> Result<Annual, Fault> {
    let mut years = Vec::new();
    for part in parts.parts() {
        let part: Part = decode(part).expect("a folded result is one");
        let bytes = blobs.whole(&part.blob, part.cells * YEAR_BYTES as u64)?;
        years.extend(bytes.as_chunks::<YEAR_BYTES>().0.iter().map(|year| f64::from_le_bytes(*year)));
    }
    Ok(Annual::new(years))
}

/// Of the average annual loss, tracks taken as given and the cells of one as draws: `√Σ λ² s² / n`. NaN for one cell a track.
fn standard_error(spec: &Spec, losses: &[f64]) -> f64 {
    let n = spec.cells_a_track() as usize;
    if n < 2 {
        return f64::NAN;
    }
    let squares = losses.chunks(n).enumerate().map(|(track, losses)| {
        let mean = total(losses.iter().copied()) / n as f64;
        let variance = total(losses.iter().map(|loss| (loss - mean) * (loss - mean))) / (n as f64 - 1.0);
        let lambda = spec.cell_rate(track) * n as f64;
        lambda * lambda * variance / n as f64
    });
    libm::sqrt(total(squares))
}

fn warnings(spec: &Spec, notes: Notes, curve: &Exceedance, years: Option<u64>) -> Vec<String> {
    let mut warnings = Vec::new();
    if notes.capped > 0 {
        warnings.push(format!(
            "{} nodes have a higher pressure in the centre than around it; taken as no drop",
            notes.capped
        ));
    }
    if notes.single > 0 {
        warnings.push(format!("{} tracks have one node, and so no wind", notes.single));
    }
    if notes.gaps > 0 {
        warnings.push(format!("{} steps between nodes are longer than {:?} hours", notes.gaps, tracks::GAP_H));
    }
    match curve.rate_of_largest() {
        None => warnings.push(format!("no point has a loss: is any within {:?} km of a track?", wind::REACH_KM)),
        Some(rate) => {
            let beyond = spec.return_periods.iter().find(|period| rate > 1.0 / **period);
            if let Some(period) = beyond {
                warnings.push(format!(
                    "from the return period {period:?} on, oep and frequency give the largest loss of the tracks"
                ));
            }
        }
    }
    if let Some(years) = years {
        let beyond = spec.return_periods.iter().find(|period| **period > years as f64 / 10.0);
        if let Some(period) = beyond {
            warnings.push(format!(
                "from the return period {period:?} on, aep and tvar rest on fewer than 10 of {years} years"
            ));
        }
    }
    warnings
}
