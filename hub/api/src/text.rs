//! Times, spans and amounts as the API writes them.

use forge_event::{DurationMs, Timestamp};

/// Reads RFC 3339, any offset.
///
/// # Errors
/// What a time looks like.
pub fn time(text: &str) -> Result<Timestamp, &'static str> {
    let expected = "a time is RFC 3339, such as \"2026-11-23T10:14:03.221Z\"";
    let time: jiff::Timestamp = text.parse().map_err(|_| expected)?;
    u64::try_from(time.as_millisecond()).map(Timestamp).map_err(|_| expected)
}

/// Reads `"90s"`, `"15m"`, `"500ms"`, `"2h"`, `"7d"`.
///
/// # Errors
/// What a span looks like.
pub fn duration(text: &str) -> Result<DurationMs, &'static str> {
    let expected = "a duration is an integer with ms, s, m, h or d, such as \"90s\"";
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(expected),
    };
    let number: u64 = number.parse().map_err(|_| expected)?;
    number.checked_mul(scale).map(DurationMs).ok_or(expected)
}

/// A span in its largest exact unit: `90s`, `1500ms`.
pub fn show_duration(span: DurationMs) -> String {
    if span.0.is_multiple_of(1000) { format!("{}s", span.0 / 1000) } else { format!("{}ms", span.0) }
}

/// A signed amount of micro-credits, in credits with six places.
pub fn micro(amount: i128) -> String {
    forge_event::unit::signed(amount)
}

/// An unsigned amount of micro-credits, in credits with six places.
pub fn credits(amount: u128) -> String {
    forge_event::Credits(amount).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_reads_back_as_written() {
        let text = "2026-11-23T10:14:03.221Z";
        assert_eq!(time(text).map(|t| t.to_string()), Ok(text.into()));
        assert_eq!(time("2026-11-23T11:14:03.221+01:00"), time(text));
        assert!(time("yesterday").is_err() && time("2026-11-23").is_err());
    }

    #[test]
    fn a_span_needs_its_unit() {
        assert_eq!(duration("90s"), Ok(DurationMs(90_000)));
        assert_eq!(duration("15m").map(show_duration), Ok("900s".into()));
        for text in ["90", "s", "-1s", "1.5s", "1 s", "", "99999999999999999999s", "1w"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }
}
