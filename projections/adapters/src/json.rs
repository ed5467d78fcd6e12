//! Canonical JSON: fixed field order, no white space, floats shortest round-trip.

use alloc::string::String;
use core::fmt::Write;
use forge_projections::family::Metadata;
use serde_json::Value;

/// The only NaN that reaches a result; NaN signs and payloads differ between CPUs.
pub const CANONICAL_NAN: u64 = 0x7ff8_0000_0000_0000;

/// Longest text of one [`float_object`]. Units: bytes.
pub const FLOAT_OBJECT_BYTES_MAX: u64 = 65;

/// A finite float, shortest text that reads back to the same bits, always with a point or an exponent.
///
/// # Panics
/// If `value` is not finite: JSON has no text for it.
pub fn float(out: &mut String, value: f64) {
    assert!(value.is_finite(), "only finite floats are written as JSON numbers");
    write(out, format_args!("{value:?}"));
}

/// The `F` of the API: `{"value":…,"bits":"0x…"}`, where `value` is `null` if it is NaN or infinite.
pub fn float_object(out: &mut String, value: f64) {
    out.push_str("{\"value\":");
    if value.is_finite() {
        float(out, value);
    } else {
        out.push_str("null");
    }
    let bits = if value.is_nan() { CANONICAL_NAN } else { value.to_bits() };
    write(out, format_args!(",\"bits\":\"0x{bits:016x}\"}}"));
}

/// [`float_object`], or `null`.
pub fn float_object_or_null(out: &mut String, value: Option<f64>) {
    match value {
        Some(value) => float_object(out, value),
        None => out.push_str("null"),
    }
}

/// Formatted text at the end of `out`.
pub fn write(out: &mut String, text: core::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a string does not fail");
}

/// An object of these fields.
pub fn object<const N: usize>(fields: [(&str, Value); N]) -> Metadata {
    fields.into_iter().map(|(name, value)| (name.into(), value)).collect()
}

/// `[a,b,…]`, each item written by `item`.
pub fn list<T: Copy>(out: &mut String, items: &[T], mut item: impl FnMut(&mut String, T)) {
    out.push('[');
    for (i, value) in items.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        item(out, *value);
    }
    out.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: f64) -> String {
        let mut out = String::new();
        float_object(&mut out, value);
        out
    }

    #[test]
    fn a_float_shows_its_value_and_its_bits() {
        assert_eq!(object(10.450583572185565), r#"{"value":10.450583572185565,"bits":"0x4024e6b2e3d54dc0"}"#);
        assert_eq!(object(-0.0), r#"{"value":-0.0,"bits":"0x8000000000000000"}"#);
        assert_eq!(object(1e300), r#"{"value":1e300,"bits":"0x7e37e43c8800759c"}"#);
    }

    #[test]
    fn what_json_cannot_say_is_null_beside_its_bits() {
        assert_eq!(object(-f64::NAN), r#"{"value":null,"bits":"0x7ff8000000000000"}"#);
        assert_eq!(object(f64::INFINITY), r#"{"value":null,"bits":"0x7ff0000000000000"}"#);
    }

    #[test]
    fn the_longest_object_keeps_its_bound() {
        assert!(object(-2.2250738585072014e-308).len() as u64 <= FLOAT_OBJECT_BYTES_MAX);
        assert!(object(-1.2345678901234567e-300).len() as u64 <= FLOAT_OBJECT_BYTES_MAX);
        assert!(object(-1234567890123456.7).len() as u64 <= FLOAT_OBJECT_BYTES_MAX);
        assert!(object(-0.000012345678901234567).len() as u64 <= FLOAT_OBJECT_BYTES_MAX);
    }
}
