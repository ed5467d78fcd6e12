//! A sheet to draw on, with axes.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 56.0;
/// About the width of a letter of a label, and the least room between two labels.
const LETTER: f64 = 6.6;
const GAP: f64 = 8.0;

/// An SVG in the making. Colours work on light and dark pages.
pub struct Sheet {
    body: String,
    width: f64,
    height: f64,
}

impl Sheet {
    /// Titles begin at `left`.
    pub fn new((width, height): (f64, f64), left: f64, title: &str, subtitle: &str) -> Sheet {
        let mut sheet = Sheet { body: String::new(), width, height };
        sheet.text(left, 24.0, "start", "title", title);
        sheet.text(left, 42.0, "start", "note", subtitle);
        sheet
    }

    /// A sheet of the usual size, for axes.
    pub fn with_axes(title: &str, subtitle: &str) -> Sheet {
        Sheet::new((WIDTH, HEIGHT), LEFT, title, subtitle)
    }

    pub fn text(&mut self, x: f64, y: f64, anchor: &str, class: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" class=\"{class}\">{text}</text>"
        );
    }

    pub fn rect(&mut self, class: &str, (x, y): (f64, f64), (width, height): (f64, f64), fill: &str) {
        let _ = writeln!(
            self.body,
            "<rect class=\"{class}\" x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\" fill=\"{fill}\"/>"
        );
    }

    pub fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        let _ = writeln!(
            self.body,
            "<line class=\"{class}\" x1=\"{x1:.2}\" y1=\"{y1:.2}\" x2=\"{x2:.2}\" y2=\"{y2:.2}\"/>"
        );
    }

    pub fn path(&mut self, element: &str, style: &str, points: &[(f64, f64)]) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.2},{y:.2}")).collect();
        let _ = writeln!(self.body, "<{element} points=\"{}\" {style}/>", points.join(" "));
    }

    pub fn end(self) -> String {
        let Sheet { body, width, height } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
             font-family=\"system-ui, sans-serif\" font-size=\"12\">\n<style>text{{fill:#445}}.title{{font-size:15px;font-weight:600;fill:#223}}\
             .axis{{stroke:#889;stroke-width:1}}.grid{{stroke:#dde;stroke-width:1}}.mark{{stroke:#c2410c;stroke-width:1.5;stroke-dasharray:4 3}}</style>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{body}</svg>\n"
        )
    }
}

/// Maps values to places on a sheet of the usual size.
pub struct Axes {
    pub x: (f64, f64),
    pub y: (f64, f64),
    pub log_x: bool,
}

impl Axes {
    pub fn place_x(&self, x: f64) -> f64 {
        let scale = |v: f64| if self.log_x { v.max(f64::MIN_POSITIVE).ln() } else { v };
        let (low, high) = (scale(self.x.0), scale(self.x.1));
        let share = if high > low { (scale(x) - low) / (high - low) } else { 0.5 };
        LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    pub fn place_y(&self, y: f64) -> f64 {
        let share = if self.y.1 > self.y.0 { (y - self.y.0) / (self.y.1 - self.y.0) } else { 0.0 };
        HEIGHT - BOTTOM - share.clamp(0.0, 1.0) * (HEIGHT - TOP - BOTTOM)
    }

    /// Draws both axes with marks at round values; a label that would touch the one before is left out.
    pub fn draw(&self, sheet: &mut Sheet, name_x: &str, name_y: &str, marks_x: &[f64]) {
        for y in round_values(self.y) {
            let at = self.place_y(y);
            sheet.line("grid", (LEFT, at), (WIDTH - RIGHT, at));
            sheet.text(LEFT - 8.0, at + 4.0, "end", "note", &short(y));
        }
        let mut taken = f64::NEG_INFINITY;
        for x in marks_x {
            let (at, label) = (self.place_x(*x), short(*x));
            let half = label.chars().count() as f64 * LETTER / 2.0;
            sheet.line("axis", (at, HEIGHT - BOTTOM), (at, HEIGHT - BOTTOM + 5.0));
            if at - half >= taken + GAP {
                sheet.text(at, HEIGHT - BOTTOM + 20.0, "middle", "note", &label);
                taken = at + half;
            }
        }
        sheet.line("axis", (LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, HEIGHT - BOTTOM));
        sheet.line("axis", (LEFT, TOP), (LEFT, HEIGHT - BOTTOM));
        sheet.text((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 14.0, "middle", "note", name_x);
        sheet.text(LEFT - 8.0, TOP - 8.0, "end", "note", name_y);
    }
}

/// About five round values within a range.
pub fn round_values((low, high): (f64, f64)) -> Vec<f64> {
    let span = high - low;
    if !(span.is_finite() && span > 0.0) {
        return vec![low];
    }
    let rough = 10f64.powf((span / 5.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * rough).find(|s| span / s <= 6.0).unwrap_or(rough * 10.0);
    let first = (low / step).ceil() as i64;
    (first..=(high / step).floor() as i64).map(|n| n as f64 * step).collect()
}

/// A number as a label has it: `1.5M`.
pub fn short(value: f64) -> String {
    if value != 0.0 && value.abs() < 1e-2 {
        return format!("{value:.2e}");
    }
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let (scale, unit) = units.into_iter().find(|(scale, _)| value.abs() >= *scale).unwrap_or((1.0, ""));
    let number = format!("{:.3}", value / scale);
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
    format!("{number}{unit}")
}
