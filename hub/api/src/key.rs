//! API keys as text: `fk_<label>_k<index>_<43 base62><6 base62 CRC-32>`.

use core::fmt;
use forge_event::{Digest, KeyId};
use subtle::ConstantTimeEq;

/// Random bytes of a key.
pub const SECRET_BYTES: usize = 32;
/// Separates this use of BLAKE3 from every other one.
const CONTEXT: &str = "forge-hub 2026-11-23 API key digest v1";
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const SECRET_DIGITS: usize = 43;
const CHECK_DIGITS: usize = 6;
const LABEL_BYTES_MAX: usize = 32;

/// What a key's text says. Its `Debug` does not show the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    pub id: KeyId,
    pub secret: [u8; SECRET_BYTES],
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({})", self.id)
    }
}

/// The text is no API key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyError {
    Form,
    /// Misspelt or cut.
    Checksum,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyError::Form => "an API key looks like fk_<label>_k<number>_<49 characters>",
            KeyError::Checksum => "the API key is misspelt or cut: its checksum does not fit",
        })
    }
}

impl core::error::Error for KeyError {}

/// What the log holds of a secret.
pub fn digest(secret: &[u8; SECRET_BYTES]) -> Digest {
    Digest(blake3::derive_key(CONTEXT, secret))
}

/// Compares in a time that does not depend on where they differ.
pub fn digests_equal(one: &Digest, two: &Digest) -> bool {
    one.0.ct_eq(&two.0).into()
}

/// The key as its owner keeps it. Characters of `label` that a header cannot carry become `-`.
pub fn compose(label: &str, id: KeyId, secret: &[u8; SECRET_BYTES]) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let mut label: String = label.chars().take(LABEL_BYTES_MAX).map(|c| if fits(c) { c } else { '-' }).collect();
    if label.is_empty() {
        label.push_str("key");
    }
    let mut digits = [0u8; SECRET_DIGITS];
    let mut number = *secret;
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[usize::from(divide(&mut number))];
    }
    let mut text = format!("fk_{label}_{id}_");
    text.extend(digits.iter().map(|d| char::from(*d)));
    let sum = check(&text);
    text + &sum
}

/// Reads a key's text.
///
/// # Errors
/// [`KeyError`], which says nothing about whether the key exists.
pub fn parse(text: &str) -> Result<ApiKey, KeyError> {
    let rest = text.strip_prefix("fk_").filter(|_| text.is_ascii()).ok_or(KeyError::Form)?;
    let mut parts = rest.rsplitn(3, '_');
    let (tail, id, label) = (parts.next(), parts.next(), parts.next());
    let tail = tail.filter(|t| t.len() == SECRET_DIGITS + CHECK_DIGITS).ok_or(KeyError::Form)?;
    let id: KeyId = id.and_then(|i| i.parse().ok()).ok_or(KeyError::Form)?;
    label.filter(|l| !l.is_empty()).ok_or(KeyError::Form)?;
    let (body, sum) = text.split_at(text.len() - CHECK_DIGITS);
    if check(body) != sum {
        return Err(KeyError::Checksum);
    }
    let mut secret = [0u8; SECRET_BYTES];
    for digit in tail.bytes().take(SECRET_DIGITS) {
        let digit = DIGITS.iter().position(|d| *d == digit).ok_or(KeyError::Form)?;
        multiply_add(&mut secret, digit as u8).ok_or(KeyError::Form)?;
    }
    Ok(ApiKey { id, secret })
}

/// CRC-32 of everything before it, base62, most significant digit first.
fn check(text: &str) -> String {
    let mut crc = crc32fast::hash(text.as_bytes());
    let mut digits = [0u8; CHECK_DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(crc % 62) as usize];
        crc /= 62;
    }
    digits.iter().map(|d| char::from(*d)).collect()
}

/// Divides the big-endian number by 62; gives the remainder.
fn divide(number: &mut [u8; SECRET_BYTES]) -> u8 {
    let mut remainder = 0u32;
    for byte in number.iter_mut() {
        let value = remainder << 8 | u32::from(*byte);
        *byte = (value / 62) as u8;
        remainder = value % 62;
    }
    remainder as u8
}

/// `number · 62 + digit`; `None` if it passes 2²⁵⁶.
fn multiply_add(number: &mut [u8; SECRET_BYTES], digit: u8) -> Option<()> {
    let mut carry = u32::from(digit);
    for byte in number.iter_mut().rev() {
        let value = u32::from(*byte) * 62 + carry;
        *byte = value as u8;
        carry = value >> 8;
    }
    (carry == 0).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(seed: u8) -> [u8; SECRET_BYTES] {
        *blake3::hash(&[seed]).as_bytes()
    }

    #[test]
    fn a_key_reads_back_as_written() {
        for seed in 0..50 {
            let text = compose("dev", KeyId(9), &secret(seed));
            assert_eq!(text.len(), "fk_dev_k9_".len() + 49);
            assert_eq!(parse(&text), Ok(ApiKey { id: KeyId(9), secret: secret(seed) }));
        }
        for edge in [[0; 32], [255; 32]] {
            assert_eq!(parse(&compose("a b_ü", KeyId(12), &edge)).map(|k| k.secret), Ok(edge));
        }
    }

    #[test]
    fn every_single_misspelling_is_seen() {
        let text = compose("dev", KeyId(9), &secret(1));
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
            let misspelt = String::from_utf8(bytes).expect("ascii");
            assert!(parse(&misspelt).is_err(), "{misspelt}");
        }
        assert!(parse(&text[..text.len() - 1]).is_err());
        for text in ["", "fk_", "fk__k9_", "Bearer", "fk_dev_k9_short"] {
            assert_eq!(parse(text), Err(KeyError::Form));
        }
    }

    #[test]
    fn the_secret_is_not_shown_by_debug() {
        let key = ApiKey { id: KeyId(9), secret: secret(1) };
        assert_eq!(format!("{key:?}"), "ApiKey(k9)");
    }
}
