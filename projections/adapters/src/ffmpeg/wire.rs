//! Canonical postcard: one value, one encoding.

use alloc::vec::Vec;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The bytes of a value.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).expect("a value of these types is always writable")
}

/// Reads what [`encode`] wrote; `None` for any other bytes, also for another encoding of the same value.
pub fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (value, rest) = postcard::take_from_bytes::<T>(bytes).ok()?;
    (rest.is_empty() && encode(&value) == bytes).then_some(value)
}
