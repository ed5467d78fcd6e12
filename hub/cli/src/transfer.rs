//! Blobs between files and a hub: streamed, resumed, tried on every node.

use crate::client::Client;
use crate::fail::{Failure, OTHER};
use forge_api::{Code, Problem};
use forge_event::Digest;
use reqwest::{Method, Response, StatusCode};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};

/// Tries that bring nothing on, one after the other, before a transfer is given up.
const FRUITLESS_MAX: u32 = 12;
const PAUSE: Duration = Duration::from_millis(500);

fn file_fault(file: &Path, error: &std::io::Error) -> Failure {
    Failure::new(OTHER, "file", format!("{}: {error}", file.display()))
}

impl Client {
    /// Uploads a file, going on where a cut upload stopped; gives its length in bytes.
    ///
    /// # Errors
    /// The hub's problem, `unreachable`, or the file's.
    pub async fn put_blob(&self, digest: &str, file: &Path) -> Result<u64, Failure> {
        let whole = tokio::fs::metadata(file).await.map_err(|e| file_fault(file, &e))?.len();
        let mut fruitless = 0;
        loop {
            let failure = match self.put_rest(digest, file, whole).await {
                Ok(()) => return Ok(whole),
                Err(failure) => failure,
            };
            fruitless += 1;
            if !failure.may_pass() || fruitless >= FRUITLESS_MAX {
                return Err(failure);
            }
            self.next_node();
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn put_rest(&self, digest: &str, file: &Path, whole: u64) -> Result<(), Failure> {
        let path = format!("/v1/blobs/{digest}");
        let stands = self.one_try(Method::HEAD, &path).send().await.map_err(|e| self.lost(&e))?;
        if stands.status().is_success() {
            return Ok(());
        }
        let offset = stands.headers().get("upload-offset").and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        let from = offset.filter(|from| *from <= whole).unwrap_or(0);
        let mut open = tokio::fs::File::open(file).await.map_err(|e| file_fault(file, &e))?;
        open.seek(std::io::SeekFrom::Start(from)).await.map_err(|e| file_fault(file, &e))?;
        let request = self
            .one_try(Method::PUT, &path)
            .header("content-type", "application/octet-stream")
            .header("content-length", whole - from)
            .header("upload-offset", from)
            .body(open);
        let answer = request.send().await.map_err(|e| self.lost(&e))?;
        fine(answer).await.map(drop)
    }

    /// Downloads a blob into a file, hashed on the way; gives its length in bytes.
    ///
    /// # Errors
    /// The hub's problem, `unreachable`, or the file's.
    pub async fn get_blob(&self, digest: &Digest, file: &Path) -> Result<u64, Failure> {
        let aside = file.with_extension("part");
        let (mut hasher, mut at, mut fruitless) = (blake3::Hasher::new(), 0u64, 0);
        let mut out = tokio::fs::File::create(&aside).await.map_err(|e| file_fault(&aside, &e))?;
        loop {
            let before = at;
            match self.get_rest(digest, &mut out, &mut hasher, &mut at).await {
                Ok(()) => break,
                Err(failure) => {
                    fruitless = if at > before { 0 } else { fruitless + 1 };
                    if !failure.may_pass() || fruitless >= FRUITLESS_MAX {
                        drop(tokio::fs::remove_file(&aside).await);
                        return Err(failure);
                    }
                }
            }
            self.next_node();
            tokio::time::sleep(PAUSE).await;
        }
        out.sync_all().await.map_err(|e| file_fault(&aside, &e))?;
        if hasher.finalize().as_bytes() != &digest.0 {
            drop(tokio::fs::remove_file(&aside).await);
            return Err(Failure::new(OTHER, "digest-mismatch", "the hub sent other bytes than the digest says"));
        }
        tokio::fs::rename(&aside, file).await.map_err(|e| file_fault(file, &e))?;
        Ok(at)
    }

    async fn get_rest(
        &self,
        digest: &Digest,
        out: &mut tokio::fs::File,
        hasher: &mut blake3::Hasher,
        at: &mut u64,
    ) -> Result<(), Failure> {
        let mut request = self.one_try(Method::GET, &format!("/v1/blobs/{digest}"));
        if *at > 0 {
            request = request.header("range", format!("bytes={at}-"));
        }
        let answer = request.send().await.map_err(|e| self.lost(&e))?;
        if answer.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            // It ended exactly where the last try was cut.
            return Ok(());
        }
        let mut answer = fine(answer).await?;
        while let Some(chunk) = answer.chunk().await.map_err(|e| self.lost(&e))? {
            hasher.update(&chunk);
            out.write_all(&chunk).await.map_err(|e| Failure::new(OTHER, "file", e.to_string()))?;
            *at += chunk.len() as u64;
        }
        Ok(())
    }

    /// Bytes `first` to `last` of a blob; not hashed.
    ///
    /// # Errors
    /// The hub's problem, or `unreachable`.
    pub async fn get_range(&self, digest: &Digest, first: u64, last: u64) -> Result<Vec<u8>, Failure> {
        let request = self.one_try(Method::GET, &format!("/v1/blobs/{digest}"));
        let answer =
            request.header("range", format!("bytes={first}-{last}")).send().await.map_err(|e| self.lost(&e))?;
        Ok(fine(answer).await?.bytes().await.map_err(|e| self.lost(&e))?.to_vec())
    }

    /// Length of a blob; `None` if the project does not have it. Units: bytes.
    ///
    /// # Errors
    /// The hub's problem, or `unreachable`.
    pub async fn stat_blob(&self, digest: &str) -> Result<Option<u64>, Failure> {
        let path = format!("/v1/blobs/{digest}");
        let mut fruitless = 0;
        loop {
            match self.one_try(Method::HEAD, &path).send().await {
                Ok(answer) if answer.status().is_success() => {
                    let length = answer.headers().get("content-length").and_then(|v| v.to_str().ok()?.parse().ok());
                    return Ok(length);
                }
                Ok(answer) if answer.status() == StatusCode::NOT_FOUND => return Ok(None),
                Ok(answer) => return fine(answer).await.map(|_| None),
                Err(error) if fruitless + 1 >= FRUITLESS_MAX => return Err(self.lost(&error)),
                Err(_) => fruitless += 1,
            }
            self.next_node();
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// The answer, if it is one; else the hub's problem.
async fn fine(answer: Response) -> Result<Response, Failure> {
    if answer.status().is_success() {
        return Ok(answer);
    }
    let status = answer.status();
    let bytes = answer.bytes().await.unwrap_or_default();
    let problem = serde_json::from_slice(&bytes).ok().and_then(|value| Problem::from_value(&value));
    Err(problem.unwrap_or_else(|| Problem::new(Code::Internal, format!("the hub answered {status}"))).into())
}
