//! `forge blob …`.

use super::{Done, Session};
use crate::fail::{Failure, OTHER};
use crate::output::{self, column, text};
use clap::Subcommand;
use forge_event::Digest;
use serde_json::json;
use std::io::Read;
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub enum Verb {
    /// Upload a file and print its digest
    #[command(
        after_help = "Examples:\n  forge blob put a.npy\n  forge submit blas op=gemm dtype=f64 A=$(forge blob put a.npy) B=$(forge blob put b.npy)"
    )]
    Put { file: PathBuf },
    /// Download a blob into a file
    Get { digest: String, file: PathBuf },
    /// Say whether the project has a blob, and how long it is
    Stat { digest: String },
}

pub async fn run(session: &Session, verb: Verb) -> Done {
    let format = session.global.output;
    match verb {
        Verb::Put { file } => {
            let digest = hash(&file)?;
            let bytes = session.client.put_blob(&digest.to_string(), &file).await?;
            match format.is_json() {
                true => output::out(&format!("{}\n", json!({"digest": digest.to_string(), "bytes": bytes}))),
                false => output::out(&format!("{digest}\n")),
            }
        }
        Verb::Get { digest, file } => {
            let digest = parse(&digest)?;
            let bytes = session.client.get_blob(&digest, &file).await?;
            if format.is_json() {
                output::out(&format!("{}\n", json!({"digest": digest.to_string(), "bytes": bytes})));
            }
        }
        Verb::Stat { digest } => {
            let digest = parse(&digest)?;
            let bytes = session.client.stat_blob(&digest.to_string()).await?;
            let Some(bytes) = bytes else {
                return Err(Failure::new(
                    crate::fail::NOT_FOUND,
                    "not-found",
                    format!("the project has no blob {digest}"),
                ));
            };
            let fields = [column("digest", |b| text(&b["digest"])), column("bytes", |b| text(&b["bytes"]))];
            output::object(format, &json!({"digest": digest.to_string(), "bytes": bytes}), &fields);
        }
    }
    Ok(0)
}

fn parse(text: &str) -> Result<Digest, Failure> {
    text.parse()
        .map_err(|_| Failure::usage(format!("`{text}` is not a digest: `blake3:` and 64 lower-case hex digits")))
}

/// The digest of a file.
pub fn hash(file: &Path) -> Result<Digest, Failure> {
    let unreadable = |e: std::io::Error| Failure::new(OTHER, "file", format!("{}: {e}", file.display()));
    let mut open = std::fs::File::open(file).map_err(unreadable)?;
    let (mut hasher, mut buffer) = (blake3::Hasher::new(), vec![0; 1 << 20]);
    loop {
        match open.read(&mut buffer).map_err(unreadable)? {
            0 => return Ok(Digest(*hasher.finalize().as_bytes())),
            count => hasher.update(&buffer[..count]),
        };
    }
}
