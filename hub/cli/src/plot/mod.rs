//! Pictures of results, as SVG: a histogram, a loss curve, a map of each pattern, a matrix.

mod curve;
mod histogram;
mod map;
mod svg;

use serde_json::Value;

/// A result cannot be drawn.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    #[error("results of kind `{0}` have no picture")]
    NoPicture(String),
    #[error("the job was not asked for `{output}`; submit it with {hint}")]
    NotAsked { output: &'static str, hint: &'static str },
    #[error("the array is not one that this program reads: {0}")]
    Array(&'static str),
}

/// Which blob of a result its picture needs; `None`: the document is enough.
pub fn needs(document: &Value) -> Option<&str> {
    let field = match document["kind"].as_str() {
        Some("climate_pca") => "eofs",
        Some("blas") => "C",
        _ => return None,
    };
    document[field]["digest"].as_str()
}

/// Draws a result; `array` holds the blob that [`needs`] names.
///
/// # Errors
/// [`PlotError`].
pub fn draw(document: &Value, array: Option<&[u8]>) -> Result<String, PlotError> {
    match document["kind"].as_str() {
        Some("monte_carlo") => histogram::draw(document),
        Some("cat_model") => curve::draw(document),
        Some("climate_pca") => {
            let asked = PlotError::NotAsked { output: "eofs", hint: "outputs=[\"eigenvalues\",\"eofs\"]" };
            map::patterns(document, array.ok_or(asked)?)
        }
        Some("blas") => map::matrix(array.ok_or(PlotError::Array("it is not there"))?),
        kind => Err(PlotError::NoPicture(kind.unwrap_or("?").to_string())),
    }
}

/// The double of an `F`.
fn double(value: &Value) -> Option<f64> {
    value["value"].as_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn f(value: f64) -> Value {
        json!({"value": value, "bits": format!("0x{:016x}", value.to_bits())})
    }

    #[test]
    fn a_histogram_has_a_bar_a_bin() {
        let document = json!({"kind": "monte_carlo", "samples": 10, "mean": f(1.5), "stderr": f(0.1),
            "hist": {"edges": [f(0.0), f(1.0), f(2.0), f(3.0)], "counts": [2, 5, 3], "under": 0, "over": 0, "nan": 0}});
        let svg = draw(&document, None).expect("it has a histogram");
        assert_eq!(svg.matches("<rect class=\"bar\"").count(), 3);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
        let without = json!({"kind": "monte_carlo", "hist": null});
        assert!(matches!(draw(&without, None), Err(PlotError::NotAsked { output: "hist", .. })));
    }

    #[test]
    fn a_loss_curve_rises_with_the_return_period() {
        let at = |period: u32, loss: f64| json!({"return_period": period, "loss": f(loss), "low": f(loss * 0.9), "high": f(loss * 1.1)});
        let document = json!({"kind": "cat_model", "aal": f(5.0), "total_value": f(100.0), "cells": 10,
            "oep": [at(10, 1.0), at(100, 7.0)], "aep": [at(10, 2.0), at(100, 9.0)]});
        let svg = draw(&document, None).expect("it has curves");
        assert_eq!(svg.matches("<polyline").count(), 2);
    }

    #[test]
    fn patterns_are_drawn_as_maps() {
        let mut array = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2, 3), }";
        array.extend(header.bytes());
        array.resize(10 + 0x76 - 1, b' ');
        array.push(b'\n');
        for value in [1.0, -1.0, f64::NAN, 0.5, 0.0, 2.0, 1.0, 1.0, f64::NAN, 1.0, 1.0, 1.0f64] {
            array.extend(value.to_le_bytes());
        }
        let document = json!({"kind": "climate_pca", "eofs": {"digest": "blake3:00", "bytes": 1},
            "variance_fraction": [f(0.6), f(0.2)]});
        let svg = draw(&document, Some(&array)).expect("it has patterns");
        assert_eq!(svg.matches("<rect class=\"cell\"").count(), 12);
        assert!(draw(&document, Some(b"no array")).is_err());
    }
}
