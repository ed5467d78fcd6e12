//! Pictures of results, as SVG: a histogram, a loss curve, a map of each pattern, a matrix.

mod array;
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

/// Which way the rows of a grid go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rows {
    SouthFirst,
    NorthFirst,
    /// Nothing tells.
    Unknown,
}

impl Rows {
    /// By the latitudes of the rows.
    pub fn along(latitudes: &[f64]) -> Rows {
        match (latitudes.first(), latitudes.last()) {
            (Some(first), Some(last)) if first < last => Rows::SouthFirst,
            (Some(first), Some(last)) if first > last => Rows::NorthFirst,
            _ => Rows::Unknown,
        }
    }
}

/// The values of a list that is an array; `None` if it is not.
pub fn values(array: &[u8]) -> Option<Vec<f64>> {
    array::Array::read(array).ok().filter(|array| array.shape.len() == 1).map(|array| array.values)
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

/// Draws a result; `array` holds the blob that [`needs`] names, `rows` is for maps.
///
/// # Errors
/// [`PlotError`].
pub fn draw(document: &Value, array: Option<&[u8]>, rows: Rows) -> Result<String, PlotError> {
    match document["kind"].as_str() {
        Some("monte_carlo") => histogram::draw(document),
        Some("cat_model") => curve::draw(document),
        Some("climate_pca") => {
            let asked = PlotError::NotAsked { output: "eofs", hint: "outputs=[\"eigenvalues\",\"eofs\"]" };
            map::patterns(document, array.ok_or(asked)?, rows)
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

    fn drawn(document: &Value) -> String {
        draw(document, None, Rows::Unknown).expect("it has a picture")
    }

    /// An array as the hub writes it.
    fn npy(shape: &str, values: &[f64]) -> Vec<u8> {
        let mut array = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        array.extend(format!("{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}").bytes());
        array.resize(10 + 0x76 - 1, b' ');
        array.push(b'\n');
        array.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        array
    }

    #[test]
    fn a_histogram_has_a_bar_a_bin_and_says_what_is_not_in_it() {
        let document = json!({"kind": "monte_carlo", "samples": 10, "mean": f(1.5), "stderr": f(0.1),
            "hist": {"edges": [f(0.0), f(1.0), f(2.0), f(3.0)], "counts": [2, 5, 3], "under": 0, "over": 0, "nan": 0}});
        let svg = drawn(&document);
        assert_eq!(svg.matches("<rect class=\"bar\"").count(), 3);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && !svg.contains("not a number"));
        let mut holes = document.clone();
        (holes["mean"], holes["hist"]["nan"]) = (json!({"value": null, "bits": "0x7ff8000000000000"}), json!(4));
        let svg = drawn(&holes);
        assert!(svg.contains("4 of 10 samples are not a number") && svg.contains(">0 of 10 samples outside"), "{svg}");
        let without = json!({"kind": "monte_carlo", "hist": null});
        assert!(matches!(draw(&without, None, Rows::Unknown), Err(PlotError::NotAsked { output: "hist", .. })));
    }

    #[test]
    fn a_loss_curve_rises_with_the_return_period() {
        let at = |period: u32, loss: f64| json!({"return_period": period, "loss": f(loss), "low": f(loss * 0.9), "high": f(loss * 1.1)});
        let document = json!({"kind": "cat_model", "aal": f(5.0), "total_value": f(100.0), "cells": 10,
            "oep": [at(10, 1.0), at(100, 7.0)], "aep": [at(10, 2.0), at(100, 9.0)]});
        let svg = drawn(&document);
        assert_eq!((svg.matches("<polyline").count(), svg.matches("<polygon").count()), (2, 1));
        assert!(svg.contains("95 % band"));
    }

    #[test]
    fn a_band_ends_where_a_bound_is_not_known() {
        let at =
            |period: u32, high: Value| json!({"return_period": period, "loss": f(5.0), "low": f(4.0), "high": high});
        let none = json!({"value": null, "bits": "0x7ff0000000000000"});
        let document = json!({"kind": "cat_model", "aal": f(5.0), "total_value": f(100.0), "cells": 10,
            "oep": [], "aep": [at(10, f(6.0)), at(20, f(6.0)), at(50, none.clone()), at(51, none)]});
        let svg = drawn(&document);
        let polygon = svg.lines().find(|line| line.starts_with("<polygon")).expect("a band");
        assert_eq!(polygon.matches(',').count(), 4, "two periods, two bounds each: {polygon}");
        assert!(svg.contains("no upper bound at 50, 51"), "{svg}");
        assert_eq!(svg.matches(">51</text>").count(), 0, "its label would touch that of 50");
    }

    #[test]
    fn patterns_are_drawn_as_maps_with_north_up() {
        let array = npy("(2, 2, 3)", &[1.0, -1.0, f64::NAN, 0.5, 0.0, 2.0, 1.0, 1.0, f64::NAN, 1.0, 1.0, 1.0]);
        let document = json!({"kind": "climate_pca", "eofs": {"digest": "blake3:00", "bytes": 1},
            "variance_fraction": [f(0.6), f(0.2)]});
        let map = |rows: Rows| draw(&document, Some(&array), rows).expect("it has patterns");
        let south = map(Rows::along(&[-10.0, 10.0]));
        assert_eq!(south.matches("<rect class=\"cell\"").count(), 12);
        assert!(south.contains("north is up") && south.contains("<rect class=\"scale\""));
        // The only masked cell of the first row: at the bottom if that is the south, else at the top.
        let masked =
            |svg: &str| svg.lines().find(|line| line.contains("#ddd")).map(str::to_owned).expect("one is masked");
        let (top, bottom) = ("y=\"82.00\"", "y=\"182.00\"");
        assert!(masked(&south).contains(bottom), "{}", masked(&south));
        let north = map(Rows::along(&[10.0, -10.0]));
        assert!(masked(&north).contains(top), "{}", masked(&north));
        assert!(map(Rows::Unknown).contains("no latitudes tell"));
        assert!(draw(&document, Some(b"no array"), Rows::Unknown).is_err());
    }

    #[test]
    fn a_matrix_says_what_is_left_out_of_it() {
        let document = json!({"kind": "blas"});
        let whole = draw(&document, Some(&npy("(2, 2)", &[1.0, 2.0, 3.0, 4.0])), Rows::Unknown).expect("it is drawn");
        assert!(whole.contains("2 × 2") && !whole.contains("drawn from"));
        let wide = npy("(1, 400)", &vec![1.0; 400]);
        let wide = draw(&document, Some(&wide), Rows::Unknown).expect("it is drawn");
        assert!(wide.contains("drawn from every row and every 3rd column"), "{wide}");
        let batch = npy("(8, 1, 2)", &[1.0; 16]);
        let batch = draw(&document, Some(&batch), Rows::Unknown).expect("it is drawn");
        assert!(batch.contains("8 of 1 × 2") && batch.contains("the first 6 of 8"));
        assert_eq!(batch.matches("<rect class=\"cell\"").count(), 12);
    }
}
