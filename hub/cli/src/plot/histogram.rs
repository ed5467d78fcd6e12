//! The values of a Monte Carlo job.

use super::svg::{Axes, Sheet, round_values, short};
use super::{PlotError, double};
use serde_json::Value;

pub fn draw(document: &Value) -> Result<String, PlotError> {
    let hist = &document["hist"];
    let edges: Vec<f64> = hist["edges"].as_array().into_iter().flatten().filter_map(double).collect();
    let counts: Vec<f64> = hist["counts"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    if edges.len() != counts.len() + 1 || counts.is_empty() {
        return Err(PlotError::NotAsked { output: "hist", hint: "outputs=[\"hist\"] and hist.edges=[…]" });
    }
    let total = document["samples"].as_f64().unwrap_or(1.0);
    // Bins may differ in width: what is drawn is the density.
    let density: Vec<f64> = counts.iter().zip(edges.windows(2)).map(|(n, e)| n / total / (e[1] - e[0])).collect();
    let most = density.iter().copied().fold(0.0, f64::max);
    let axes = Axes { x: (edges[0], edges[edges.len() - 1]), y: (0.0, most * 1.05), log_x: false };
    let (mean, error) = (double(&document["mean"]), double(&document["stderr"]));
    let said = match (mean, error) {
        (Some(mean), Some(error)) => Some(format!("mean {mean} ± {error:.3e} (one standard error)")),
        (Some(mean), None) => Some(format!("mean {mean}")),
        _ => None,
    };
    let count = |field: &str| hist[field].as_f64().unwrap_or(0.0);
    let (outside, holes) = (count("under") + count("over"), count("nan"));
    let mut notes: Vec<String> = said.into_iter().collect();
    notes.push(format!("{} of {} samples outside the edges", short(outside), short(total)));
    if holes > 0.0 {
        notes.push(format!("{} of {} samples are not a number", short(holes), short(total)));
    }
    let mut sheet = Sheet::with_axes("Density of the sampled values", &notes.join(" · "));
    axes.draw(&mut sheet, "value", "density", &round_values(axes.x));
    for (bin, density) in edges.windows(2).zip(&density) {
        let (left, right, top) = (axes.place_x(bin[0]), axes.place_x(bin[1]), axes.place_y(*density));
        sheet.rect("bar", (left, top), ((right - left - 0.5).max(0.5), axes.place_y(0.0) - top), "#3b6fb6");
    }
    if let Some(mean) = mean.filter(|mean| (axes.x.0..=axes.x.1).contains(mean)) {
        sheet.line("mark", (axes.place_x(mean), axes.place_y(0.0)), (axes.place_x(mean), axes.place_y(axes.y.1)));
    }
    Ok(sheet.end())
}
