//! Arrays as fields of colour.

use super::svg::Sheet;
use super::{PlotError, double};
use serde_json::Value;

/// Cells a side; a larger field is drawn from every nth cell.
const CELLS_MAX: usize = 180;
/// Patterns drawn.
const PATTERNS_MAX: usize = 6;
const PANEL: (f64, f64) = (340.0, 200.0);

/// A C-ordered array of doubles.
struct Array {
    shape: Vec<usize>,
    values: Vec<f64>,
}

impl Array {
    /// Reads what the hub writes: `.npy` v1.0, `<f8` or `<f4`, C order.
    fn read(bytes: &[u8]) -> Result<Array, PlotError> {
        let bad = PlotError::Array;
        let length = bytes.get(8..10).ok_or(bad("it is cut"))?;
        let start = 10 + usize::from(u16::from_le_bytes([length[0], length[1]]));
        let header = bytes.get(10..start).and_then(|h| std::str::from_utf8(h).ok()).ok_or(bad("it has no header"))?;
        if !bytes.starts_with(b"\x93NUMPY\x01") || header.contains("True") {
            return Err(bad("it is not version 1.0 in C order"));
        }
        let shape = header.split_once("'shape': (").and_then(|(_, rest)| rest.split_once(')')).map(|(shape, _)| shape);
        let shape: Option<Vec<usize>> = shape
            .ok_or(bad("it has no shape"))?
            .split(',')
            .map(str::trim)
            .filter(|n| !n.is_empty())
            .map(|n| n.parse().ok())
            .collect();
        let shape = shape.ok_or(bad("its shape does not read"))?;
        let body = &bytes[start..];
        let values: Vec<f64> = if header.contains("<f8") {
            body.chunks_exact(8).map(|c| f64::from_le_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]])).collect()
        } else if header.contains("<f4") {
            body.chunks_exact(4).map(|c| f64::from(f32::from_le_bytes([c[0], c[1], c[2], c[3]]))).collect()
        } else {
            return Err(bad("its entries are not floats"));
        };
        if shape.iter().product::<usize>() != values.len() {
            return Err(bad("its length is not its shape's"));
        }
        Ok(Array { shape, values })
    }
}

/// The EOFs, first row at the bottom as latitudes mostly ascend.
pub fn patterns(document: &Value, array: &[u8]) -> Result<String, PlotError> {
    let array = Array::read(array)?;
    let (modes, rows, columns) = match array.shape[..] {
        [modes, points] => (modes, 1, points),
        [modes, rows, columns] => (modes, rows, columns),
        _ => return Err(PlotError::Array("it has not two or three axes")),
    };
    let shown = modes.min(PATTERNS_MAX);
    let lines = shown.div_ceil(2);
    let (width, height) = (2.0 * (PANEL.0 + 16.0) + 16.0, 60.0 + lines as f64 * (PANEL.1 + 40.0));
    let mut sheet =
        Sheet::new(width, height, "Patterns of variability (EOFs)", "red: positive · blue: negative · grey: masked");
    for mode in 0..shown {
        let (x, y) = (16.0 + (mode % 2) as f64 * (PANEL.0 + 16.0), 76.0 + (mode / 2) as f64 * (PANEL.1 + 40.0));
        let share =
            double(&document["variance_fraction"][mode]).map_or_else(String::new, |f| format!(" · {:.1} %", f * 100.0));
        sheet.text(x, y - 6.0, "start", "note", &format!("mode {}{share}", mode + 1));
        let field = &array.values[mode * rows * columns..(mode + 1) * rows * columns];
        paint(&mut sheet, field, (rows, columns), (x, y), true);
    }
    Ok(sheet.end())
}

/// A matrix, first row at the top.
pub fn matrix(array: &[u8]) -> Result<String, PlotError> {
    let array = Array::read(array)?;
    let (rows, columns) = match array.shape[..] {
        [rows] => (rows, 1),
        [rows, columns] => (rows, columns),
        [batch, rows, columns] => (batch * rows, columns),
        _ => return Err(PlotError::Array("it has not one to three axes")),
    };
    let subtitle = format!("{rows} × {columns} · red: positive · blue: negative");
    let mut sheet = Sheet::new(PANEL.0 + 32.0, PANEL.1 + 96.0, "Entries of the matrix", &subtitle);
    paint(&mut sheet, &array.values, (rows, columns), (16.0, 72.0), false);
    Ok(sheet.end())
}

fn paint(sheet: &mut Sheet, field: &[f64], (rows, columns): (usize, usize), (x, y): (f64, f64), upwards: bool) {
    let most = field.iter().copied().filter(|v| v.is_finite()).map(f64::abs).fold(0.0, f64::max);
    let (skip_rows, skip_columns) = (rows.div_ceil(CELLS_MAX).max(1), columns.div_ceil(CELLS_MAX).max(1));
    let (down, across) = (rows.div_ceil(skip_rows), columns.div_ceil(skip_columns));
    let (width, height) = (PANEL.0 / across as f64, PANEL.1 / down as f64);
    for row in 0..down {
        for column in 0..across {
            let value = field[row * skip_rows * columns + column * skip_columns];
            let at = if upwards { down - 1 - row } else { row };
            let place = (x + column as f64 * width, y + at as f64 * height);
            sheet.rect("cell", place, (width + 0.2, height + 0.2), &colour(value, most));
        }
    }
}

/// White at zero, red above, blue below; masked cells are grey.
fn colour(value: f64, most: f64) -> String {
    if !value.is_finite() {
        return "#eee".into();
    }
    let share = if most > 0.0 { (value / most).clamp(-1.0, 1.0) } else { 0.0 };
    let fade = |full: f64| (255.0 - (255.0 - full) * share.abs()).round() as u8;
    let (r, g, b) = if share >= 0.0 { (178.0, 24.0, 43.0) } else { (33.0, 102.0, 172.0) };
    format!("#{:02x}{:02x}{:02x}", fade(r), fade(g), fade(b))
}
