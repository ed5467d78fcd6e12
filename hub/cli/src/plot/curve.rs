//! Losses by return period.

use super::svg::{Axes, Sheet, short};
use super::{PlotError, double};
use serde_json::Value;

/// Return period and what a field of its row says.
fn points(rows: &Value, field: &str) -> Vec<(f64, f64)> {
    let rows = rows.as_array().into_iter().flatten();
    rows.filter_map(|row| Some((row["return_period"].as_f64()?, double(&row[field])?))).collect()
}

/// Bounds of a loss at a return period.
type Bounds = (f64, f64, f64);

/// Where both bounds are known: stretches of neighbouring rows. And the periods where one is not.
fn band(rows: &Value) -> (Vec<Vec<Bounds>>, Vec<f64>) {
    let (mut stretches, mut open) = (vec![Vec::new()], Vec::new());
    for row in rows.as_array().into_iter().flatten() {
        let Some(period) = row["return_period"].as_f64() else { continue };
        match (double(&row["low"]), double(&row["high"]), stretches.last_mut()) {
            (Some(low), Some(high), Some(stretch)) => stretch.push((period, low, high)),
            _ => {
                open.push(period);
                stretches.push(Vec::new());
            }
        }
    }
    (stretches, open)
}

pub fn draw(document: &Value) -> Result<String, PlotError> {
    let (oep, aep) = (points(&document["oep"], "loss"), points(&document["aep"], "loss"));
    let high = points(&document["aep"], "high");
    let (stretches, open) = band(&document["aep"]);
    let periods: Vec<f64> = oep.iter().chain(&aep).map(|(period, _)| *period).collect();
    let (Some(first), Some(last)) =
        (periods.iter().copied().reduce(f64::min), periods.iter().copied().reduce(f64::max))
    else {
        return Err(PlotError::NotAsked { output: "return_periods", hint: "return_periods=[10,50,100]" });
    };
    let most = oep.iter().chain(&aep).chain(&high).map(|(_, loss)| *loss).fold(0.0, f64::max);
    let axes = Axes { x: (first, last), y: (0.0, if most > 0.0 { most * 1.05 } else { 1.0 }), log_x: true };
    let aal = double(&document["aal"]).map_or_else(String::new, short);
    let subtitle = format!(
        "{} events · average annual loss {aal} · exposed {}",
        document["cells"],
        double(&document["total_value"]).map_or_else(String::new, short)
    );
    let mut sheet = Sheet::with_axes("Loss by return period", &subtitle);
    let mut marks = periods.clone();
    marks.sort_by(f64::total_cmp);
    marks.dedup();
    axes.draw(&mut sheet, "return period, years", "loss", &marks);
    let place = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
        points.iter().map(|(period, loss)| (axes.place_x(*period), axes.place_y(*loss))).collect()
    };
    for stretch in stretches.iter().filter(|stretch| stretch.len() > 1) {
        let upper: Vec<(f64, f64)> = stretch.iter().map(|(period, _, high)| (*period, *high)).collect();
        let lower: Vec<(f64, f64)> = stretch.iter().rev().map(|(period, low, _)| (*period, *low)).collect();
        let outline = [place(&upper), place(&lower)].concat();
        sheet.path("polygon", "fill=\"#3b6fb6\" fill-opacity=\"0.15\"", &outline);
    }
    let mut years = String::from("all events of a year (AEP), 95 % band");
    if !open.is_empty() {
        let at: Vec<String> = open.iter().copied().map(short).collect();
        years = format!("{years}; too few years simulated: no upper bound at {}", at.join(", "));
    }
    for (points, colour, name) in
        [(&oep, "#c2410c", "largest event of a year (OEP)"), (&aep, "#3b6fb6", years.as_str())]
    {
        if points.is_empty() {
            continue;
        }
        sheet.path("polyline", &format!("fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\""), &place(points));
        let y = if name.contains("OEP") { 70.0 } else { 88.0 };
        sheet.rect("key", (100.0, y - 9.0), (14.0, 4.0), colour);
        sheet.text(120.0, y - 3.0, "start", "note", name);
    }
    Ok(sheet.end())
}
