//! JSON written in the order of the contract, without a value in between.

use alloc::string::{String, ToString};
use core::fmt::{Display, Write};

/// An object under construction.
pub(crate) struct Object(String);

impl Object {
    pub fn new() -> Self {
        Object("{".into())
    }

    fn key(&mut self, key: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.write(format_args!("\"{key}\":"));
    }

    fn write(&mut self, text: core::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("a string takes whatever is written to it");
    }

    /// A number, `true`, `false`, or finished JSON.
    pub fn raw(mut self, key: &str, value: impl Display) -> Self {
        self.key(key);
        self.write(format_args!("{value}"));
        self
    }

    /// Text that needs no escaping: ids, digests, times, amounts, names from closed lists.
    pub fn plain(mut self, key: &str, value: impl Display) -> Self {
        self.key(key);
        self.write(format_args!("\"{value}\""));
        self
    }

    /// Text from outside.
    pub fn text(self, key: &str, value: &str) -> Self {
        let escaped = escaped(value);
        self.raw(key, escaped)
    }

    pub fn raw_or_null(self, key: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.raw(key, value),
            None => self.raw(key, "null"),
        }
    }

    pub fn plain_or_null(self, key: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.plain(key, value),
            None => self.raw(key, "null"),
        }
    }

    pub fn text_or_null(self, key: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(key, value),
            None => self.raw(key, "null"),
        }
    }

    pub fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// `text` as a JSON string, quotes included.
pub(crate) fn escaped(text: &str) -> String {
    serde_json::to_string(text).expect("a string is always JSON")
}

/// An array of finished JSON values.
pub(crate) fn array(items: impl IntoIterator<Item = impl Display>) -> String {
    let mut text = String::from("[");
    for item in items {
        if text.len() > 1 {
            text.push(',');
        }
        write!(text, "{item}").expect("a string takes whatever is written to it");
    }
    text.push(']');
    text
}

/// An array of texts that need no escaping.
pub(crate) fn plains(items: impl IntoIterator<Item = impl Display>) -> String {
    array(items.into_iter().map(|item| quoted(item)))
}

/// An array of texts from outside.
pub(crate) fn texts<'a>(items: impl IntoIterator<Item = &'a String>) -> String {
    array(items.into_iter().map(|item| escaped(item)))
}

/// `text` in quotes; it needs no escaping.
pub(crate) fn quoted(text: impl Display) -> String {
    let mut quoted = String::from("\"");
    quoted.push_str(&text.to_string());
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_in_the_order_they_were_given() {
        let json = Object::new().raw("b", 1).text("a", "x\"\n").raw_or_null("c", None::<u8>).plain("d", "j1").end();
        assert_eq!(json, r#"{"b":1,"a":"x\"\n","c":null,"d":"j1"}"#);
        assert_eq!(Object::new().end(), "{}");
    }
}
