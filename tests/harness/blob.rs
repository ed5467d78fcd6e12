//! Blobs as tests make and put them.

use crate::client::Client;
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
    let mut header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    for row in 0..rows {
        for column in 0..columns {
            bytes.extend(entry(row, column).to_le_bytes());
        }
    }
    bytes
}
