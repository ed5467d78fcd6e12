//! Reads a JSON object strictly: every fault is found, each with its pointer.

use forge_projections::FieldFault;
use serde_json::{Map, Value};

/// Reads the fields of one object.
///
/// Ask for each field by name; [`Fields::finish`] then reports what was never asked for. `null` counts as absent.
pub struct Fields<'a> {
    at: String,
    map: Option<&'a Map<String, Value>>,
    known: Vec<&'static str>,
    faults: Vec<FieldFault>,
}

impl<'a> Fields<'a> {
    /// A whole request body. A body that is no object is a fault, and reads as an empty one.
    pub fn of(body: &'a Value) -> Fields<'a> {
        let mut fields = Fields { at: String::new(), map: body.as_object(), known: Vec::new(), faults: Vec::new() };
        if fields.map.is_none() {
            fields.fault(
                "",
                "wrong-type",
                format!("the body is {}, it must be an object", type_of(body)),
                Some("write {…}".into()),
            );
        }
        fields
    }

    fn pointer(&self, name: &str) -> String {
        if name.is_empty() { self.at.clone() } else { format!("{}/{}", self.at, escape(name)) }
    }

    /// Reports a fault of a field; an empty name is the object itself.
    pub fn fault(&mut self, name: &str, code: &str, detail: impl Into<String>, fix: Option<String>) {
        let pointer = self.pointer(name);
        self.faults.push(FieldFault { pointer, code: code.into(), detail: detail.into(), fix });
    }

    /// Reports a fault of an item of an array.
    pub fn fault_in(&mut self, name: &str, at: usize, code: &str, detail: impl Into<String>, fix: Option<String>) {
        let pointer = format!("{}/{at}", self.pointer(name));
        self.faults.push(FieldFault { pointer, code: code.into(), detail: detail.into(), fix });
    }

    /// Takes over faults whose pointers start at the body.
    pub fn absorb(&mut self, faults: impl IntoIterator<Item = FieldFault>) {
        self.faults.extend(faults);
    }

    /// The field as it is; `None` if absent or null.
    pub fn value(&mut self, name: &'static str) -> Option<&'a Value> {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
        self.map?.get(name).filter(|v| !v.is_null())
    }

    /// The field, which must be there.
    pub fn required(&mut self, name: &'static str) -> Option<&'a Value> {
        let value = self.value(name);
        if value.is_none() && self.map.is_some() {
            self.fault(name, "missing-field", format!("`{name}` is required"), Some(format!("add `{name}`")));
        }
        value
    }

    fn typed<T>(&mut self, name: &'static str, expected: &str, read: impl FnOnce(&'a Value) -> Option<T>) -> Option<T> {
        let value = self.value(name)?;
        let read = read(value);
        if read.is_none() {
            self.wrong(name, value, expected);
        }
        read
    }

    /// Reports a value of the wrong type.
    pub fn wrong(&mut self, name: &str, value: &Value, expected: &str) {
        let detail = format!("`{name}` is {}, it must be {expected}", shown(value));
        self.fault(name, "wrong-type", detail, Some(format!("write {expected}")));
    }

    pub fn text(&mut self, name: &'static str) -> Option<&'a str> {
        self.typed(name, "a string", Value::as_str)
    }

    /// A label for people: 1 to 255 bytes, no control characters.
    pub fn name(&mut self, name: &'static str) -> Option<String> {
        let text = self.text(name)?;
        let limit = forge_event::limits::NAME_BYTES_MAX;
        if text.is_empty() || text.len() > limit || text.chars().any(char::is_control) {
            self.fault(
                name,
                "out-of-range",
                format!("`{name}` has 1 to {limit} bytes and no control characters"),
                Some(format!("write a text of 1 to {limit} bytes on one line")),
            );
            return None;
        }
        Some(text.into())
    }

    pub fn flag(&mut self, name: &'static str) -> Option<bool> {
        self.typed(name, "true or false", Value::as_bool)
    }

    /// An integer within `least..=most`. `1e8` and `1.0` are no integers.
    pub fn integer(&mut self, name: &'static str, least: u64, most: u64) -> Option<u64> {
        let value = self.value(name)?;
        let nearest = match value.as_u64() {
            Some(number) if (least..=most).contains(&number) => return Some(number),
            Some(number) => number.clamp(least, most),
            None if value.is_i64() => least,
            None => {
                self.wrong(name, value, "an integer");
                return None;
            }
        };
        let fix = format!("the nearest allowed value is {nearest}");
        self.fault(name, "out-of-range", format!("`{name}` is {value}, it must be {least} to {most}"), Some(fix));
        None
    }

    /// An array of strings of 1 to 255 bytes, each with its place.
    pub fn items(&mut self, name: &'static str) -> Vec<(usize, String)> {
        let Some(list) = self.typed(name, "an array", Value::as_array) else { return Vec::new() };
        let limit = forge_event::limits::NAME_BYTES_MAX;
        let mut items = Vec::with_capacity(list.len());
        for (at, item) in list.iter().enumerate() {
            let (code, found) = match item.as_str() {
                Some(word) if (1..=limit).contains(&word.len()) => {
                    items.push((at, word.to_string()));
                    continue;
                }
                Some(word) => ("out-of-range", format!("a string of {} bytes", word.len())),
                None => ("wrong-type", shown(item)),
            };
            let detail = format!("item {at} of `{name}` is {found}, it must be a string of 1 to {limit} bytes");
            self.fault_in(
                name,
                at,
                code,
                detail,
                Some(format!("write a string of 1 to {limit} bytes, or leave it out")),
            );
        }
        items
    }

    /// An array of strings, sorted, without repeats.
    pub fn words(&mut self, name: &'static str) -> Vec<String> {
        let mut words: Vec<String> = self.items(name).into_iter().map(|(_, word)| word).collect();
        words.sort();
        words.dedup();
        words
    }

    /// A text that `read` understands; its error is the fault's detail, and `such` is what to write instead.
    pub fn parsed<T, E: core::fmt::Display>(
        &mut self,
        name: &'static str,
        such: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match read(self.text(name)?) {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(name, "out-of-range", format!("`{name}`: {error}"), Some(format!("write {such}")));
                None
            }
        }
    }

    /// A nested object: `read` reads it; absent reads as `None`.
    pub fn object<T>(&mut self, name: &'static str, read: impl FnOnce(&mut Fields<'a>) -> T) -> Option<T> {
        let map = self.typed(name, "an object", Value::as_object)?;
        let mut inner = Fields { at: self.pointer(name), map: Some(map), known: Vec::new(), faults: Vec::new() };
        let value = read(&mut inner);
        inner.report_unknown();
        self.faults.append(&mut inner.faults);
        Some(value)
    }

    fn report_unknown(&mut self) {
        let Some(map) = self.map else { return };
        let unknown: Vec<String> = map.keys().filter(|k| !self.known.contains(&k.as_str())).cloned().collect();
        for field in unknown {
            let fix = suggestion(&field, self.known.iter().copied()).or_else(|| Some("leave it out".into()));
            let whose = self.at.rsplit('/').next().filter(|n| !n.is_empty()).unwrap_or("the body").to_string();
            let detail = format!("{whose} has no field `{field}`; fields: {}", self.known.join(", "));
            self.fault(&field, "unknown-field", detail, fix);
        }
    }

    /// # Errors
    /// Every fault found.
    pub fn finish<T>(mut self, value: Option<T>) -> Result<T, Vec<FieldFault>> {
        self.report_unknown();
        match value {
            Some(value) if self.faults.is_empty() => Ok(value),
            _ => {
                if self.faults.is_empty() {
                    let fix = format!("it takes {}", self.known.join(", "));
                    self.fault("", "missing-field", "the body lacks a required field", Some(fix));
                }
                // A misspelt required field is one mistake: the unknown field explains the missing one.
                self.faults.sort_by_key(|f| f.code != "unknown-field");
                Err(self.faults)
            }
        }
    }
}

/// `did you mean …?` for the nearest of `known`, if one is near.
pub fn suggestion<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    let near = known.into_iter().map(|k| (distance(word, k), k)).min()?;
    let limit = if word.len() <= 4 { 1 } else { 2 + word.len() / 8 };
    (near.0 <= limit).then(|| format!("did you mean `{}`?", near.1))
}

/// Edit distance with transpositions (optimal string alignment), case ignored.
fn distance(a: &str, b: &str) -> usize {
    let lower = |t: &str| t.chars().flat_map(char::to_lowercase).take(64).collect::<Vec<char>>();
    let (a, b) = (lower(a), lower(b));
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + same);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// A name inside a JSON pointer (RFC 6901).
fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Number(n) => n.to_string(),
        Value::Bool(b) => b.to_string(),
        other => type_of(other).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_misspelt_field_is_named_with_a_suggestion() {
        let body = json!({"knid": "null"});
        let mut fields = Fields::of(&body);
        let kind = fields.required("kind").map(|_| ());
        let faults = fields.finish(kind).expect_err("misspelt");
        assert_eq!(faults[0].code, "unknown-field");
        assert_eq!(faults[0].pointer, "/knid");
        assert_eq!(faults[0].fix.as_deref(), Some("did you mean `kind`?"));
        assert_eq!(faults[1].code, "missing-field");
    }

    #[test]
    fn a_field_that_is_like_no_other_is_to_be_left_out() {
        let body = json!({"inputs": []});
        let mut fields = Fields::of(&body);
        let kind = fields.text("kind").map(drop);
        let faults = fields.finish(Some(kind)).expect_err("unknown");
        assert_eq!((faults.len(), faults[0].fix.as_deref()), (1, Some("leave it out")));
    }

    #[test]
    fn an_integer_is_an_integer_in_json() {
        for (value, fine) in
            [(json!(5), true), (json!(5.0), false), (json!(1e1), false), (json!("5"), false), (json!(-5), false)]
        {
            let body = json!({"n": value});
            let mut fields = Fields::of(&body);
            let n = fields.integer("n", 0, 10);
            assert_eq!(fields.finish(n).is_ok(), fine, "{body}");
        }
    }

    #[test]
    fn a_nested_fault_has_the_whole_pointer() {
        let body = json!({"limits": {"max/credits": 1}});
        let mut fields = Fields::of(&body);
        let limits = fields.object("limits", |f| f.text("max_credits").map(String::from));
        let faults = fields.finish(limits).expect_err("unknown");
        assert_eq!(faults[0].pointer, "/limits/max~1credits");
    }

    #[test]
    fn an_item_is_pointed_at_by_its_place() {
        let body = json!({"regions": ["eu", "", 5]});
        let mut fields = Fields::of(&body);
        let words = fields.words("regions");
        let faults = fields.finish(Some(words)).expect_err("two are none");
        let said: Vec<(&str, &str)> = faults.iter().map(|f| (f.pointer.as_str(), f.detail.as_str())).collect();
        let due = [
            ("/regions/1", "item 1 of `regions` is a string of 0 bytes, it must be a string of 1 to 255 bytes"),
            ("/regions/2", "item 2 of `regions` is 5, it must be a string of 1 to 255 bytes"),
        ];
        assert_eq!(said, due);
        assert!(faults.iter().all(|f| f.fix.is_some()));
    }

    #[test]
    fn a_body_that_is_no_object_is_a_fault() {
        let body = json!([1]);
        let mut fields = Fields::of(&body);
        let x = fields.text("x");
        assert_eq!(fields.finish(x).map_err(|f| f.len()), Err(1));
    }
}
