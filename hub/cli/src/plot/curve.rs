//! Losses by return period.

use super::svg::{Axes, HEIGHT, Sheet, WIDTH, short};
use super::{PlotError, double};
use serde_json::Value;

/// Return period and what a field of its row says.
fn points(rows: &Value, field: &str) -> Vec<(f64, f64)> {
    let rows = rows.as_array().into_iter().flatten();
    rows.filter_map(|row| Some((row["return_period"].as_f64()?, double(&row[field])?))).collect()
}

pub fn draw(document: &Value) -> Result<String, PlotError> {
    let (oep, aep) = (points(&document["oep"], "loss"), points(&document["aep"], "loss"));
    let (low, high) = (points(&document["aep"], "low"), points(&document["aep"], "high"));
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
    let mut sheet = Sheet::new(WIDTH, HEIGHT, "Loss by return period", &subtitle);
    let mut marks = periods.clone();
    marks.sort_by(f64::total_cmp);
    marks.dedup();
    axes.draw(&mut sheet, "return period, years", "loss", &marks);
    let place = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
        points.iter().map(|(period, loss)| (axes.place_x(*period), axes.place_y(*loss))).collect()
    };
    let mut band = place(&high);
    band.extend(place(&low).into_iter().rev());
    if band.len() > 2 {
        sheet.path("polygon", "fill=\"#3b6fb6\" fill-opacity=\"0.15\"", &band);
    }
    for (points, colour, name) in
        [(&oep, "#c2410c", "largest event of a year (OEP)"), (&aep, "#3b6fb6", "all events of a year (AEP), 95 % band")]
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
