//! What makes two requests the same request.

use forge_event::Digest;
use serde_json::Value;

/// Longest Idempotency-Key. Units: bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// JSON with sorted names and no white space: equal for bodies that say the same.
pub fn canonical(body: &Value) -> String {
    let mut text = String::new();
    write(body, &mut text);
    text
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => {
            let mut names: Vec<&String> = map.keys().collect();
            names.sort();
            text.push('{');
            for (at, name) in names.into_iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                write(&map[name], text);
            }
            text.push('}');
        }
        Value::Array(list) => {
            text.push('[');
            for (at, value) in list.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                write(value, text);
            }
            text.push(']');
        }
        plain => text.push_str(&plain.to_string()),
    }
}

/// BLAKE3 of method, path, project and canonical body, each ended by a zero byte.
pub fn request(method: &str, path: &str, project: &str, body: &Value) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for part in [method, path, project, &canonical(body)] {
        hasher.update(part.as_bytes()).update(&[0]);
    }
    Digest(*hasher.finalize().as_bytes())
}

/// The digest under which the log remembers an Idempotency-Key.
///
/// # Errors
/// If it is empty, longer than [`IDEMPOTENCY_KEY_BYTES_MAX`], or not visible ASCII.
pub fn idempotency(key: &[u8]) -> Result<Digest, &'static str> {
    let fine = (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic);
    if fine { Ok(Digest::of(key)) } else { Err("an Idempotency-Key is 1 to 255 visible ASCII characters") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_order_of_fields_does_not_matter_and_everything_else_does() {
        let one: Value = serde_json::from_str(r#"{"a":1,"b":{"c":[1,2],"d":null}}"#).expect("json");
        let two: Value = serde_json::from_str(r#"{ "b": {"d":null,"c":[1,2]}, "a":1 }"#).expect("json");
        assert_eq!(request("POST", "/v1/jobs", "p3", &one), request("POST", "/v1/jobs", "p3", &two));
        assert_ne!(request("POST", "/v1/jobs", "p3", &one), request("POST", "/v1/jobs", "p4", &one));
        assert_ne!(request("POST", "/v1/jobs", "p3", &one), request("POST", "/v1/plans", "p3", &one));
        assert_ne!(request("POST", "/v1/jobs", "p3", &one), request("POST", "/v1/jobs", "p3", &json!({"a": 1})));
    }

    #[test]
    fn a_key_is_visible_ascii() {
        assert!(idempotency(b"01JD-x").is_ok());
        for key in [&b""[..], b"a b", b"\xff", &[b'a'; 256]] {
            assert!(idempotency(key).is_err());
        }
    }
}
