//! Arrays as fields of colour.

use super::array::Array;
use super::svg::{Sheet, short};
use super::{PlotError, Rows, double};
use serde_json::Value;

/// Cells a side; a larger field is drawn from every nth cell.
const CELLS_MAX: usize = 180;
/// Fields drawn.
const PANELS_MAX: usize = 6;
const PANEL: (f64, f64) = (340.0, 200.0);
/// Around panels, and where the titles begin.
const MARGIN: f64 = 16.0;
/// Below the titles.
const TOP: f64 = 60.0;
/// Above a panel, for its name; below it, for its scale.
const ABOVE: f64 = 22.0;
const BELOW: f64 = 38.0;
/// Steps of a scale of colours.
const STEPS: usize = 40;

/// Fields of one shape, each with its name.
struct Fields<'a> {
    values: &'a [f64],
    shape: (usize, usize),
    names: Vec<String>,
    /// The first row is drawn at the bottom.
    upwards: bool,
}

/// The EOFs as maps.
pub fn patterns(document: &Value, array: &[u8], order: Rows) -> Result<String, PlotError> {
    let array = Array::read(array)?;
    let (modes, rows, columns) = match array.shape[..] {
        [modes, points] => (modes, 1, points),
        [modes, rows, columns] => (modes, rows, columns),
        _ => return Err(PlotError::Array("it has not two or three axes")),
    };
    let share = |mode: usize| double(&document["variance_fraction"][mode]).map(|f| format!(" · {:.1} %", f * 100.0));
    let name = |mode: usize| format!("mode {}{}", mode + 1, share(mode).unwrap_or_default());
    let upwards = rows > 1 && order != Rows::NorthFirst;
    let sense = match order {
        _ if rows == 1 => "points in the order of the members",
        Rows::SouthFirst | Rows::NorthFirst => "north is up",
        Rows::Unknown => "row 0 is at the bottom; no latitudes tell which way is north",
    };
    let fields =
        Fields { values: &array.values, shape: (rows, columns), names: (0..modes).map(name).collect(), upwards };
    Ok(fields.draw("Patterns of variability (EOFs)", &["red: positive · blue: negative · grey: masked", sense]))
}

/// A matrix, or several, first row at the top.
pub fn matrix(array: &[u8]) -> Result<String, PlotError> {
    let array = Array::read(array)?;
    let (count, rows, columns) = match array.shape[..] {
        [rows] => (1, rows, 1),
        [rows, columns] => (1, rows, columns),
        [batch, rows, columns] => (batch, rows, columns),
        _ => return Err(PlotError::Array("it has not one to three axes")),
    };
    let batched = array.shape.len() == 3;
    let name = |at: usize| if batched { format!("matrix {at} of the batch") } else { String::new() };
    let fields =
        Fields { values: &array.values, shape: (rows, columns), names: (0..count).map(name).collect(), upwards: false };
    let shape = if batched { format!("{count} of {rows} × {columns}") } else { format!("{rows} × {columns}") };
    let title = if batched { "Entries of the matrices" } else { "Entries of the matrix" };
    Ok(fields.draw(title, &[&shape, "red: positive · blue: negative"]))
}

impl Fields<'_> {
    fn draw(&self, title: &str, notes: &[&str]) -> String {
        let shown = self.names.len().min(PANELS_MAX);
        let (across, down) = (shown.clamp(1, 2), shown.div_ceil(2).max(1));
        let mut notes: Vec<String> = notes.iter().map(|note| (*note).to_string()).collect();
        if self.names.len() > shown {
            notes.push(format!("the first {shown} of {}", self.names.len()));
        }
        notes.extend(self.thinned());
        // A line holds what stands above one panel.
        let lines = notes.len().div_ceil(across);
        let top = TOP + (lines - 1) as f64 * 15.0;
        let width = across as f64 * (PANEL.0 + MARGIN) + MARGIN;
        let height = top + down as f64 * (ABOVE + PANEL.1 + BELOW);
        let (first, others) = notes.split_at(across.min(notes.len()));
        let mut sheet = Sheet::new((width, height), MARGIN, title, &first.join(" · "));
        for (line, notes) in others.chunks(across).enumerate() {
            sheet.text(MARGIN, 57.0 + line as f64 * 15.0, "start", "note", &notes.join(" · "));
        }
        let cells = self.shape.0 * self.shape.1;
        for (at, name) in self.names.iter().take(shown).enumerate() {
            let x = MARGIN + (at % 2) as f64 * (PANEL.0 + MARGIN);
            let y = top + (at / 2) as f64 * (ABOVE + PANEL.1 + BELOW) + ABOVE;
            sheet.text(x, y - 6.0, "start", "note", name);
            self.paint(&mut sheet, &self.values[at * cells..(at + 1) * cells], (x, y));
        }
        sheet.end()
    }

    /// Every which row and column is drawn.
    fn steps(&self) -> (usize, usize) {
        let step = |count: usize| count.div_ceil(CELLS_MAX).max(1);
        (step(self.shape.0), step(self.shape.1))
    }

    /// Says so where not every cell is drawn.
    fn thinned(&self) -> Option<String> {
        let nth = |step: usize, what: &str| match step {
            1 => format!("every {what}"),
            2 => format!("every 2nd {what}"),
            3 => format!("every 3rd {what}"),
            step => format!("every {step}th {what}"),
        };
        match self.steps() {
            (1, 1) => None,
            (rows, columns) => Some(format!("drawn from {} and {}", nth(rows, "row"), nth(columns, "column"))),
        }
    }

    fn paint(&self, sheet: &mut Sheet, field: &[f64], (x, y): (f64, f64)) {
        let most = field.iter().copied().filter(|v| v.is_finite()).map(f64::abs).fold(0.0, f64::max);
        let ((rows, columns), (skip_rows, skip_columns)) = (self.shape, self.steps());
        let (down, across) = (rows.div_ceil(skip_rows), columns.div_ceil(skip_columns));
        let (width, height) = (PANEL.0 / across as f64, PANEL.1 / down as f64);
        for row in 0..down {
            for column in 0..across {
                let value = field[row * skip_rows * columns + column * skip_columns];
                let at = if self.upwards { down - 1 - row } else { row };
                let place = (x + column as f64 * width, y + at as f64 * height);
                sheet.rect("cell", place, (width + 0.2, height + 0.2), &colour(value, most));
            }
        }
        scale(sheet, (x, y + PANEL.1 + 8.0), most);
    }
}

/// What the colours of a panel stand for.
fn scale(sheet: &mut Sheet, (x, y): (f64, f64), most: f64) {
    let width = PANEL.0 / STEPS as f64;
    for step in 0..STEPS {
        let value = ((step as f64 + 0.5) / STEPS as f64 * 2.0 - 1.0) * most;
        sheet.rect("scale", (x + step as f64 * width, y), (width + 0.2, 6.0), &colour(value, most));
    }
    for (share, anchor) in [(0.0, "start"), (0.5, "middle"), (1.0, "end")] {
        sheet.text(x + share * PANEL.0, y + 18.0, anchor, "note", &short((share * 2.0 - 1.0) * most));
    }
}

/// White at zero, red above, blue below; masked cells are grey.
fn colour(value: f64, most: f64) -> String {
    if !value.is_finite() {
        return "#ddd".into();
    }
    let share = if most > 0.0 { (value / most).clamp(-1.0, 1.0) } else { 0.0 };
    let fade = |full: f64| (255.0 - (255.0 - full) * share.abs()).round() as u8;
    let (r, g, b) = if share >= 0.0 { (178.0, 24.0, 43.0) } else { (33.0, 102.0, 172.0) };
    format!("#{:02x}{:02x}{:02x}", fade(r), fade(g), fade(b))
}
