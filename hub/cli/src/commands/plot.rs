//! `forge job plot`: a result, and what else its picture needs, as SVG.

use super::{Done, Session};
use crate::client::{Ask, Client};
use crate::fail::Failure;
use crate::plot::{self, Rows};
use crate::{ids, output};
use anyhow::Context as _;
use forge_adapters::climate_pca::inputs::latitudes_in;
use forge_event::Digest;
use forge_projections::family::{Blobs, Fault};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

/// Bytes of a blob read at once, where not all of it is wanted.
const PAGE_BYTES: u64 = 1 << 18;
/// Pages read to find where latitudes stand.
const PAGES_MAX: usize = 16;

/// Draws a job's result into a file.
pub async fn run(session: &Session, id: &str, file: &Path) -> Done {
    let client = &session.client;
    let id = ids::job(client, id).await?;
    let document = client.json(Ask::get(format!("/v1/jobs/{id}/result"))).await?;
    let array = match plot::needs(&document).and_then(|digest| digest.parse().ok()) {
        Some(digest) => Some(whole(client, &digest).await?),
        None => None,
    };
    let rows = match document["kind"].as_str() {
        Some("climate_pca") => rows(client, &id).await?,
        _ => Rows::Unknown,
    };
    let svg = plot::draw(&document, array.as_deref(), rows).map_err(|e| Failure::usage(e.to_string()))?;
    std::fs::write(file, svg).with_context(|| format!("writing {}", file.display()))?;
    output::out(&format!("{}\n", file.display()));
    Ok(0)
}

async fn whole(client: &Client, digest: &Digest) -> Result<Vec<u8>, Failure> {
    let folder = tempfile::tempdir().context("a folder for the array")?;
    let aside = folder.path().join("array");
    client.get_blob(digest, &aside).await?;
    Ok(std::fs::read(&aside).with_context(|| format!("reading {}", aside.display()))?)
}

/// Which way the rows of a job's grid go. What its family says of it may change: then nothing is known.
async fn rows(client: &Client, id: &str) -> Result<Rows, Failure> {
    let job = client.json(Ask::get(format!("/v1/jobs/{id}"))).await?;
    let known = &job["metadata"];
    let digest = |field: &str| known[field].as_str().and_then(|text| text.parse::<Digest>().ok());
    if let Some(list) = digest("latitudes") {
        return Ok(plot::values(&whole(client, &list).await?).map_or(Rows::Unknown, |list| Rows::along(&list)));
    }
    let (Some(file), Some(variable)) = (digest("latitudes_in"), known["variable"].as_str()) else {
        return Ok(Rows::Unknown);
    };
    let Some(bytes) = client.stat_blob(&file.to_string()).await? else { return Ok(Rows::Unknown) };
    let pages = Pages { bytes, read: BTreeMap::new(), wanted: RefCell::default() };
    let found = pages.until(client, &file, |pages| latitudes_in(pages, &file, variable)).await?;
    Ok(found.filter(|found| found.axis == 0).map_or(Rows::Unknown, |found| Rows::along(&found.values)))
}

/// A blob of which only some pages are here; remembers which one was missed.
#[derive(Debug)]
struct Pages {
    bytes: u64,
    read: BTreeMap<u64, Vec<u8>>,
    wanted: RefCell<Option<u64>>,
}

impl Pages {
    /// Reads until no page is missed.
    async fn until<T>(
        mut self,
        client: &Client,
        digest: &Digest,
        read: impl Fn(&Pages) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        loop {
            let found = read(&self);
            let Some(page) = self.wanted.take().filter(|_| self.read.len() < PAGES_MAX) else { return Ok(found) };
            let first = page * PAGE_BYTES;
            let last = (first + PAGE_BYTES).min(self.bytes) - 1;
            self.read.insert(page, client.get_range(digest, first, last).await?);
        }
    }
}

impl Blobs for Pages {
    fn bytes(&self, _: &Digest) -> Result<u64, Fault> {
        Ok(self.bytes)
    }

    fn read(&self, digest: &Digest, first: u64, buffer: &mut [u8]) -> Result<(), Fault> {
        let mut at = first;
        let end = first.saturating_add(buffer.len() as u64);
        while at < end {
            let page = at / PAGE_BYTES;
            let within = (at % PAGE_BYTES) as usize;
            let Some(bytes) = self.read.get(&page) else {
                if at < self.bytes {
                    self.wanted.borrow_mut().get_or_insert(page);
                }
                return Err(Fault::new("blob-unreadable", format!("byte {at} of {digest} is not here")));
            };
            let count = bytes.len().saturating_sub(within).min((end - at) as usize);
            if count == 0 {
                return Err(Fault::new("blob-unreadable", format!("{digest} ends before byte {end}")));
            }
            let to = (at - first) as usize;
            buffer[to..to + count].copy_from_slice(&bytes[within..within + count]);
            at += count as u64;
        }
        Ok(())
    }

    fn put(&self, _: &mut dyn Iterator<Item = Result<Vec<u8>, Fault>>) -> Result<(Digest, u64), Fault> {
        Err(Fault::new("blob-unwritable", "nothing is kept here"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_here_is_remembered_once() {
        let all: Vec<u8> = (0..PAGE_BYTES as u32 + 100).map(|n| (n * 7) as u8).collect();
        let (bytes, digest) = (all.len() as u64, Digest([1; 32]));
        let mut pages = Pages { bytes, read: BTreeMap::new(), wanted: RefCell::default() };
        let mut buffer = vec![0; 50];
        assert!(pages.read(&digest, PAGE_BYTES - 10, &mut buffer).is_err());
        assert_eq!(pages.wanted.take(), Some(0));
        pages.read.insert(0, all[..PAGE_BYTES as usize].to_vec());
        assert!(pages.read(&digest, PAGE_BYTES - 10, &mut buffer).is_err());
        assert_eq!(pages.wanted.take(), Some(1));
        pages.read.insert(1, all[PAGE_BYTES as usize..].to_vec());
        pages.read(&digest, PAGE_BYTES - 10, &mut buffer).expect("it is all here");
        assert_eq!(buffer, &all[PAGE_BYTES as usize - 10..][..50]);
        assert!(pages.read(&digest, bytes - 10, &mut buffer).is_err(), "it ends there");
        assert_eq!(pages.wanted.take(), None);
    }
}
