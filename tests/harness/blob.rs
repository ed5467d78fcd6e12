//! Blobs as tests make and put them.

use crate::client::Client;
use forge_adapters::npy::{Dtype, Header};
use reqwest::Method;

/// Puts a blob under its `digest`.
///
/// # Panics
/// If it is not taken.
pub async fn put(client: &Client, digest: &str, bytes: Vec<u8>) {
    let answer = client.try_send(Method::PUT, &format!("/v1/blobs/{digest}"), &[], Some(bytes)).await;
    answer.expect("an answer").is(201);
}

/// A matrix of doubles as `numpy.save` writes it.
pub fn npy(rows: usize, columns: usize, entry: impl Fn(usize, usize) -> f64) -> Vec<u8> {
    let mut bytes = Header::c_order(Dtype::F64, &[rows as u64, columns as u64]).encode();
    let entries = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
    bytes.extend(entries.flat_map(|(row, column)| entry(row, column).to_le_bytes()));
    bytes
}
