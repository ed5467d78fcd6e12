//! One-time tokens for agents and nodes: one opaque string with addresses, key pins and a secret.
//!
//! ```text
//! "fa_" (an agent's enrolment) or "fn_" (a node's invite)
//! base64url without padding of:
//!   byte 0      format version, 1
//!   bytes 1-    postcard of (cluster [32], secret [32], hubs: [{address: string, public_key [32]}])
//!   last 4      CRC-32 (IEEE) of everything before and the 3-letter prefix, little-endian
//! ```

use crate::limits::HUB_ADDRESSES_MAX;
use crate::message::{HubAddress, Secret};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;
use forge_event::Digest;
use serde::{Deserialize, Serialize};

const VERSION: u8 = 1;
/// No token is longer. Units: bytes of text.
const TOKEN_BYTES_MAX: usize = 32 * 1024;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What a token is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenKind {
    /// Enrols an agent; the addresses are the agents' ones.
    Agent,
    /// Admits a node; the addresses are the peers' ones.
    Node,
}

impl TokenKind {
    fn prefix(self) -> &'static str {
        match self {
            TokenKind::Agent => "fa_",
            TokenKind::Node => "fn_",
        }
    }
}

/// A one-time token. Its text is a secret; `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    pub kind: TokenKind,
    /// Id of the cluster that gave it.
    pub cluster: Digest,
    pub secret: Secret,
    /// At least one, at most [`HUB_ADDRESSES_MAX`].
    pub hubs: Vec<HubAddress>,
}

#[derive(Serialize, Deserialize)]
struct Body {
    cluster: Digest,
    secret: Secret,
    hubs: Vec<HubAddress>,
}

/// Why a text is no token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenError {
    /// It does not begin with `fa_` or `fn_`.
    Prefix,
    /// A letter is wrong or missing.
    Damaged,
    /// A newer format than this program reads.
    Version(u8),
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenError::Prefix => f.write_str("a token begins with `fa_` (agent) or `fn_` (node)"),
            TokenError::Damaged => f.write_str("the token is damaged: a letter is wrong or missing; copy it whole"),
            TokenError::Version(v) => write!(f, "the token has format {v}, newer than this program; upgrade it"),
        }
    }
}

impl core::error::Error for TokenError {}

/// The digest under which the log knows an agent's enrolment secret.
pub fn agent_token_digest(secret: &Secret) -> Digest {
    Digest(blake3::derive_key("forge-hub 2026 agent enrolment token v1", &secret.0))
}

/// The digest under which the log knows a node's invite secret.
pub fn node_token_digest(secret: &Secret) -> Digest {
    Digest(blake3::derive_key("forge-hub 2026 node invite token v1", &secret.0))
}

impl Token {
    /// The digest under which the log knows the secret (`token_digest`).
    pub fn digest(&self) -> Digest {
        match self.kind {
            TokenKind::Agent => agent_token_digest(&self.secret),
            TokenKind::Node => node_token_digest(&self.secret),
        }
    }

    /// The text to hand out.
    pub fn encode(&self) -> String {
        let body = Body { cluster: self.cluster, secret: self.secret, hubs: self.hubs.clone() };
        let mut bytes = postcard::to_extend(&body, alloc::vec![VERSION]).expect("a token has no unwritable value");
        let crc = checksum(self.kind, &bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        let mut text = String::from(self.kind.prefix());
        to_base64(&bytes, &mut text);
        text
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Token, TokenError> {
        let text = text.trim();
        let kinds = [TokenKind::Agent, TokenKind::Node];
        let found = kinds.into_iter().find_map(|k| Some((k, text.strip_prefix(k.prefix())?)));
        let (kind, letters) = found.ok_or(TokenError::Prefix)?;
        if letters.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Damaged);
        }
        let bytes = from_base64(letters).ok_or(TokenError::Damaged)?;
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or(TokenError::Damaged)?;
        if checksum(kind, body).to_le_bytes() != *crc {
            return Err(TokenError::Damaged);
        }
        let (version, body) = body.split_first().ok_or(TokenError::Damaged)?;
        if *version != VERSION {
            return Err(TokenError::Version(*version));
        }
        let Ok((body, [])) = postcard::take_from_bytes::<Body>(body) else { return Err(TokenError::Damaged) };
        if body.hubs.is_empty() || body.hubs.len() > HUB_ADDRESSES_MAX {
            return Err(TokenError::Damaged);
        }
        Ok(Token { kind, cluster: body.cluster, secret: body.secret, hubs: body.hubs })
    }
}

fn checksum(kind: TokenKind, body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(body);
    crc.update(kind.prefix().as_bytes());
    crc.finalize()
}

fn to_base64(bytes: &[u8], text: &mut String) {
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |g, b| g << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for letter in 0..=chunk.len() {
            text.push(ALPHABET[(group >> (18 - 6 * letter) & 63) as usize] as char);
        }
    }
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for chunk in text.as_bytes().chunks(4) {
        if chunk.len() == 1 {
            return None;
        }
        let mut group = 0u32;
        for letter in chunk {
            group = group << 6 | ALPHABET.iter().position(|a| a == letter)? as u32;
        }
        group <<= 6 * (4 - chunk.len());
        let whole = group.to_be_bytes();
        bytes.extend_from_slice(&whole[1..chunk.len()]);
        // The spare bits of the last letter are zero, so that one token has one text.
        if whole[chunk.len()..].iter().any(|b| *b != 0) {
            return None;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(kind: TokenKind, address: &str) -> Token {
        let hubs = alloc::vec![HubAddress { address: address.into(), public_key: [7; 32] }];
        Token { kind, cluster: Digest([1; 32]), secret: Secret([0xab; 32]), hubs }
    }

    #[test]
    fn a_token_reads_back_as_written() {
        for kind in [TokenKind::Agent, TokenKind::Node] {
            for address in ["a:1", "127.0.0.1:7401", "hub.example.org:7401"] {
                let token = token(kind, address);
                assert_eq!(token.encode().parse(), Ok(token));
            }
        }
    }

    #[test]
    fn a_changed_letter_is_refused() {
        let text = token(TokenKind::Agent, "127.0.0.1:7401").encode();
        for at in 3..text.len() {
            for letter in ['A', 'b', '9', '_', '='] {
                let mut changed: Vec<char> = text.chars().collect();
                if changed[at] == letter {
                    continue;
                }
                changed[at] = letter;
                let changed: String = changed.into_iter().collect();
                assert!(changed.parse::<Token>().is_err(), "{changed}");
            }
        }
    }

    #[test]
    fn a_token_of_one_kind_is_none_of_the_other() {
        let text = token(TokenKind::Agent, "a:1").encode().replacen("fa_", "fn_", 1);
        assert_eq!(text.parse::<Token>(), Err(TokenError::Damaged));
    }

    #[test]
    fn debug_does_not_show_the_secret() {
        assert!(!alloc::format!("{:?}", token(TokenKind::Agent, "a:1")).contains("171"));
    }
}
