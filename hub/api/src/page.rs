//! Lists in pages (AIP-158).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Items a page has unless asked otherwise, and at the most.
pub const LIMIT_DEFAULT: usize = 50;
pub const LIMIT_MAX: usize = 500;

/// A page of a list.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    pub data: Vec<T>,
    /// Null on the last page.
    pub next_page_token: Option<String>,
    /// The state the page reflects.
    pub as_of_index: u64,
}

/// The token has been changed, or belongs to a list with other filters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TokenError;

impl core::fmt::Display for TokenError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the page token is not one this list gave; start again without it, or keep its filters")
    }
}

/// A token for the page behind `key` of the list that `filters` describe.
pub fn token(filters: &str, key: u64) -> String {
    let mut bytes = [0u8; 16];
    bytes[..8].copy_from_slice(&key.to_be_bytes());
    bytes[8..].copy_from_slice(&tag(filters, key));
    forge_event::digest::hex(&bytes)
}

/// The key that [`token`] was given.
///
/// # Errors
/// If the token is not one of this list. That is no access rule: each page is filtered by itself.
pub fn key(filters: &str, token: &str) -> Result<u64, TokenError> {
    let bytes: [u8; 16] = forge_event::digest::unhex(token).ok_or(TokenError)?;
    let (key, sum) = bytes.split_at(8);
    let key = u64::from_be_bytes(key.try_into().map_err(|_| TokenError)?);
    if sum == tag(filters, key) { Ok(key) } else { Err(TokenError) }
}

fn tag(filters: &str, key: u64) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new_derive_key("forge-hub 2026-11-23 page token v1");
    hasher.update(filters.as_bytes()).update(&[0]).update(&key.to_be_bytes());
    let mut tag = [0; 8];
    hasher.finalize_xof().fill(&mut tag);
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_belongs_to_its_list() {
        let given = token("jobs state=running", 1842);
        assert_eq!(key("jobs state=running", &given), Ok(1842));
        assert_eq!(key("jobs state=queued", &given), Err(TokenError));
        assert_eq!(key("jobs state=running", &given.replace('2', "3")), Err(TokenError));
        assert_eq!(key("jobs state=running", ""), Err(TokenError));
    }
}
