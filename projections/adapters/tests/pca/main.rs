//! `climate_pca`: the laws, numbers of other programs, and bad input.

mod bad_input;
mod damage;
#[path = "../bad_input/files.rs"]
mod files;
mod frozen;
mod laws;
mod oracle;

use forge_adapters::climate_pca::{ClimatePca, kernel};
use forge_adapters::laws::{Bench, MemoryBlobs};
use serde_json::Value;

/// A job of this family in one place.
pub fn bench<'a>(blobs: &'a MemoryBlobs, spec: Value, groupings: &[Option<u64>]) -> Bench<'a> {
    Bench { family: &ClimatePca, spec, groupings: groupings.to_vec(), blobs, run: &kernel::run }
}

/// The doubles and the shape of an array that a document names.
pub fn array(blobs: &MemoryBlobs, reference: &Value) -> (Vec<u64>, Vec<f64>) {
    let digest = reference["digest"].as_str().expect("a reference has a digest").parse().expect("a digest");
    let bytes = blobs.get(&digest).expect("the array was kept");
    assert_eq!(reference["bytes"], bytes.len());
    let header = forge_adapters::npy::Header::of_slice(&bytes).expect("an array");
    let data = &bytes[header.data_start as usize..];
    let values = data.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().expect("eight bytes")));
    (header.shape, values.collect())
}
