//! Reading a JSON object field by field, collecting every fault with its pointer and a way out.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use forge_event::Digest;
use forge_projections::family::SpecFault;
use serde_json::{Map, Value};

/// Longest piece of a client's text that is repeated to it. Units: characters.
const SHOWN_CHARS_MAX: usize = 40;

/// Faults of one spec that are told; a client mends these first.
const FAULTS_MAX: usize = 64;

/// `text`, cut where it gets long.
pub fn shown(text: &str) -> String {
    if text.chars().count() <= SHOWN_CHARS_MAX {
        return text.into();
    }
    text.chars().take(SHOWN_CHARS_MAX).chain(core::iter::once('…')).collect()
}

/// The candidate closest to `word`, if it is close enough to be meant.
pub fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    let near = candidates.iter().map(|c| (distance(word, c), *c)).min()?;
    (near.0 <= allowed).then_some(near.1)
}

/// Edits (insert, delete, replace) between two words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The faults of one spec.
#[derive(Debug, Default)]
pub struct Faults(Vec<SpecFault>);

impl Faults {
    /// Adds one, if there are not too many already. `fix` says what to do.
    pub fn add(&mut self, pointer: impl Into<String>, code: &'static str, detail: impl Into<String>, fix: &str) {
        if self.0.len() >= FAULTS_MAX {
            return;
        }
        let fix = (!fix.is_empty()).then(|| fix.to_string());
        self.0.push(SpecFault { pointer: pointer.into(), code, detail: detail.into(), fix });
    }

    /// True if there is none yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in the order found.
    pub fn into_vec(self) -> Vec<SpecFault> {
        self.0
    }

    /// What was read, if nothing is wrong with it.
    ///
    /// # Errors
    /// All faults, in the order found.
    pub fn unless_any<T>(self, read: Option<T>) -> Result<T, Vec<SpecFault>> {
        match read {
            Some(read) if self.is_empty() => Ok(read),
            _ => {
                debug_assert!(!self.is_empty(), "what cannot be read has a fault");
                Err(self.0)
            }
        }
    }

    /// A fault if shards without a cell are asked for.
    pub fn check_shard_cells(&mut self, shard_cells: Option<u64>) {
        if shard_cells == Some(0) {
            let fix = "leave it out to let the planner choose";
            self.add("/shard_cells", "out-of-range", "a shard has at least 1 cell", fix);
        }
    }

    /// `value` as an object, or a fault.
    pub fn object<'a>(&mut self, pointer: &str, value: &'a Value) -> Option<&'a Map<String, Value>> {
        if let Value::Object(map) = value {
            return Some(map);
        }
        self.wrong_type(pointer, "an object", value);
        None
    }

    /// `value` as the digest of a blob, or a fault.
    pub fn digest(&mut self, pointer: &str, value: &Value) -> Option<Digest> {
        let Value::String(text) = value else {
            self.wrong_type(pointer, "the digest of a blob", value);
            return None;
        };
        let digest = text.parse().ok();
        if digest.is_none() {
            let detail =
                format!("`{}` is not the digest of a blob: \"blake3:\" and 64 lower-case hex digits", shown(text));
            self.add(pointer, "bad-digest", detail, "upload the file, then write the digest that is answered");
        }
        digest
    }

    /// A value that has another JSON type than `expected`.
    pub fn wrong_type(&mut self, pointer: &str, expected: &str, value: &Value) {
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(n) if n.is_f64() => "a number with a point or an exponent",
            Value::Number(_) => "an integer",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        };
        self.add(pointer, "wrong-type", format!("expected {expected}, found {found}"), &format!("write {expected}"));
    }
}

/// The fields of one object, read by name; whatever is left unread is unknown.
pub struct Fields<'a, 'f> {
    pointer: String,
    map: &'a Map<String, Value>,
    known: &'f [&'f str],
    faults: &'f mut Faults,
}

impl<'a, 'f> Fields<'a, 'f> {
    /// Looks at `map`, which stands at `pointer`, and faults every field that `known` does not name.
    pub fn new(pointer: &str, map: &'a Map<String, Value>, known: &'f [&'f str], faults: &'f mut Faults) -> Self {
        for name in map.keys().filter(|n| !known.contains(&n.as_str())) {
            let fix = match nearest(name, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None if known.is_empty() => "leave it out: no field is taken here".into(),
                None => format!("the fields here are: {}", known.join(", ")),
            };
            let detail = format!("there is no field `{}`", shown(name));
            faults.add(format!("{pointer}/{}", escaped(name)), "unknown-field", detail, &fix);
        }
        Fields { pointer: pointer.into(), map, known, faults }
    }

    /// JSON pointer of a field.
    pub fn at(&self, name: &str) -> String {
        debug_assert!(self.known.contains(&name), "a field that is read is a known one");
        format!("{}/{name}", self.pointer)
    }

    /// The fault list, for checks between fields.
    pub fn faults(&mut self) -> &mut Faults {
        self.faults
    }

    /// The raw value, if the field is there; `null` counts as absent.
    pub fn optional(&self, name: &str) -> Option<&'a Value> {
        debug_assert!(self.known.contains(&name), "a field that is read is a known one");
        self.map.get(name).filter(|v| !v.is_null())
    }

    /// The raw value, or a fault that says what to add.
    pub fn required(&mut self, name: &str, example: &str) -> Option<&'a Value> {
        let value = self.optional(name);
        if value.is_none() {
            let (pointer, fix) = (self.at(name), format!("add \"{name}\": {example}"));
            self.faults.add(pointer, "missing-field", format!("`{name}` is required"), &fix);
        }
        value
    }

    /// An integer between two bounds, inclusive.
    pub fn integer(&mut self, name: &str, default: Option<u64>, min: u64, max: u64) -> Option<u64> {
        let value = match (self.optional(name), default) {
            (None, Some(default)) => return Some(default),
            (Some(value), _) => value,
            (None, None) => self.required(name, &min.to_string())?,
        };
        let pointer = self.at(name);
        let outside = |faults: &mut Faults, fix: &str| {
            faults.add(&*pointer, "out-of-range", format!("`{name}` must be from {min} to {max}"), fix);
        };
        match value.as_u64() {
            Some(number) if (min..=max).contains(&number) => return Some(number),
            Some(number) => outside(self.faults, &format!("the nearest allowed value is {}", number.clamp(min, max))),
            None if value.is_i64() => outside(self.faults, &format!("the nearest allowed value is {min}")),
            None => match value.as_f64() {
                Some(number) if number < min as f64 => {
                    outside(self.faults, &format!("the nearest allowed value is {min}"))
                }
                Some(number) if number > max as f64 => {
                    outside(self.faults, &format!("the nearest allowed value is {max}"))
                }
                Some(number) => {
                    let nearest = (number.max(0.0) + 0.5) as u64;
                    let detail = format!("`{name}` must be an integer, it is {value}");
                    self.faults.add(pointer, "wrong-type", detail, &format!("write {}", nearest.clamp(min, max)));
                }
                None => self.faults.wrong_type(&pointer, "an integer", value),
            },
        }
        None
    }

    /// A full-range u64, as a JSON integer or a decimal string.
    pub fn u64_or_text(&mut self, name: &str, default: Option<u64>) -> Option<u64> {
        let value = match (self.optional(name), default) {
            (None, Some(default)) => return Some(default),
            (Some(value), _) => value,
            (None, None) => self.required(name, "42")?,
        };
        let pointer = self.at(name);
        let number = match value {
            Value::Number(n) => n.as_u64(),
            Value::String(text) => {
                let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
                plain.then(|| text.parse().ok()).flatten()
            }
            other => {
                self.faults.wrong_type(&pointer, "an integer or a decimal string", other);
                return None;
            }
        };
        if number.is_none() {
            let detail = format!("`{name}` must be an integer from 0 to {} without point, sign or exponent", u64::MAX);
            self.faults.add(
                pointer,
                "out-of-range",
                detail,
                "write it as a decimal string if your JSON library has no u64",
            );
        }
        number
    }

    /// A finite float that `allowed` takes; `rule` says in words what that is.
    pub fn number(&mut self, name: &str, example: &str, rule: &str, allowed: fn(f64) -> bool) -> Option<f64> {
        let value = self.required(name, example)?;
        let pointer = self.at(name);
        let Some(number) = value.as_f64() else {
            self.faults.wrong_type(&pointer, "a number", value);
            return None;
        };
        if number.is_finite() && allowed(number) {
            return Some(number);
        }
        let fix = format!("a usual value is {example}");
        self.faults.add(pointer, "out-of-range", format!("`{name}` must be {rule}, it is {number:?}"), &fix);
        None
    }

    /// The digest of a blob.
    pub fn blob(&mut self, name: &str) -> Option<Digest> {
        let value = self.required(name, "\"blake3:…\"")?;
        let pointer = self.at(name);
        self.faults.digest(&pointer, value)
    }

    /// A boolean.
    pub fn flag(&mut self, name: &str, default: bool) -> Option<bool> {
        match self.optional(name) {
            None => Some(default),
            Some(Value::Bool(flag)) => Some(*flag),
            Some(other) => {
                let pointer = self.at(name);
                self.faults.wrong_type(&pointer, "true or false", other);
                None
            }
        }
    }

    /// One of a few words; gives its place in `words`.
    pub fn word(&mut self, name: &str, words: &[&str]) -> Option<usize> {
        let value = self.required(name, &format!("\"{}\"", words[0]))?;
        let pointer = self.at(name);
        match value {
            Value::String(text) => one_of(self.faults, &pointer, text, words),
            other => {
                self.faults.wrong_type(&pointer, "a string", other);
                None
            }
        }
    }
}

/// The place of `text` in `words`, or a fault `unknown-value`.
pub fn one_of(faults: &mut Faults, pointer: &str, text: &str, words: &[&str]) -> Option<usize> {
    let place = words.iter().position(|w| *w == text);
    if place.is_none() {
        let fix = match nearest(text, words) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("use one of: {}", words.join(", ")),
        };
        faults.add(pointer, "unknown-value", format!("`{}` is not taken here", shown(text)), &fix);
    }
    place
}

/// A field name as a JSON pointer token (RFC 6901), cut where it gets long.
fn escaped(name: &str) -> String {
    shown(name).replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_word() {
        let words = ["samples", "seed", "stream"];
        assert_eq!(nearest("sample", &words), Some("samples"));
        assert_eq!(nearest("sede", &words), Some("seed").filter(|_| distance("sede", "seed") <= 1));
        assert_eq!(nearest("zzzzzz", &words), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn a_number_that_is_no_integer_gets_the_nearest_one() {
        let fix = |value: &str| {
            let map: Map<String, Value> = serde_json::from_str(&format!("{{\"n\":{value}}}")).expect("JSON");
            let mut faults = Faults::default();
            let read = Fields::new("/spec", &map, &["n"], &mut faults).integer("n", None, 1, 1000);
            assert!(read.is_none(), "{value}");
            faults.into_vec().pop().map(|fault| (fault.code, fault.fix.unwrap_or_default())).expect("a fault")
        };
        assert_eq!(fix("1.5"), ("wrong-type", "write 2".into()));
        assert_eq!(fix("1e2"), ("wrong-type", "write 100".into()));
        assert_eq!(fix("1e30"), ("out-of-range", "the nearest allowed value is 1000".into()));
        assert_eq!(fix("-0.5"), ("out-of-range", "the nearest allowed value is 1".into()));
    }

    #[test]
    fn a_pointer_escapes_what_rfc_6901_asks() {
        assert_eq!(escaped("a/b~c"), "a~1b~0c");
    }
}
