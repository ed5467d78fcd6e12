//! What the machine gives bare: one fdatasync, QUIC streams between two processes, BLAKE3 on one core.

use crate::fleet::say;
use crate::house::Process;
use anyhow::{Context, Result, anyhow};
use forge_event::digest::{hex, unhex};
use forge_log::network::identity::Identity;
use futures::future::try_join_all;
use hdrhistogram::Histogram;
use quinn::{Connection, Endpoint, TransportConfig, VarInt};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;

const ALPN: &[u8] = b"forge-bench/1";
/// The fdatasync measure: for how long, pages of its file, and the bytes of each. A few hundred syncs vary by half.
const SYNCS_FOR: Duration = Duration::from_millis(500);
const SYNC_PAGES: u64 = 256;
const SYNC_BYTES: usize = 4096;
/// Connections, and streams open at once on each: as many as a busy hub has with eight agents.
const CONNECTIONS: usize = 8;
const STREAMS_AT_ONCE: usize = 64;
/// Bytes of a request and of its answer.
const STREAM_BYTES: usize = 64;
const STREAMS_FOR: Duration = Duration::from_millis(1500);
const HASH_FOR: Duration = Duration::from_millis(300);
const HASH_BYTES: usize = 1 << 20;
const WAIT: Duration = Duration::from_secs(10);

/// The bare figures of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    pub fdatasync_us_p50: u64,
    /// Client-opened bidirectional streams, 64 bytes each way, loopback, TLS 1.3, two processes.
    pub quic_streams_per_s: u64,
    /// One core.
    pub blake3_bytes_per_s: u64,
}

impl Limits {
    /// Measures them; `folder` lies on the disk that the logs will be on.
    ///
    /// # Errors
    /// If the disk or the network does not let us.
    pub async fn measure(folder: &Path) -> Result<Limits> {
        Ok(Limits {
            fdatasync_us_p50: fdatasync_us(&folder.join("fdatasync"))?,
            quic_streams_per_s: quic_streams(&folder.join("echo")).await?,
            blake3_bytes_per_s: blake3_bytes(),
        })
    }

    pub fn to_json(self) -> Value {
        json!({
            "fdatasync_us_p50": self.fdatasync_us_p50,
            "quic_streams_per_s": self.quic_streams_per_s,
            "blake3_bytes_per_s": self.blake3_bytes_per_s,
        })
    }
}

/// Median of overwriting a page and `fdatasync`, as a log in its preallocated file does it.
fn fdatasync_us(path: &Path) -> Result<u64> {
    let mut file = File::create(path).context("making a file to sync")?;
    let page = [7u8; SYNC_BYTES];
    for _ in 0..SYNC_PAGES {
        file.write_all(&page).context("writing")?;
    }
    file.sync_all().context("syncing")?;
    let mut took: Histogram<u64> = Histogram::new(3)?;
    let begun = Instant::now();
    for at in (0..SYNC_PAGES).cycle() {
        let started = Instant::now();
        file.write_all_at(&page, at * SYNC_BYTES as u64).and_then(|()| file.sync_data()).context("syncing")?;
        took.record(started.elapsed().as_micros() as u64)?;
        if begun.elapsed() >= SYNCS_FOR {
            break;
        }
    }
    std::fs::remove_file(path).context("removing the file")?;
    Ok(took.value_at_quantile(0.5))
}

fn blake3_bytes() -> u64 {
    let buffer = vec![0x5a; HASH_BYTES];
    let (mut hashed, mut last) = (0u64, [0u8; 32]);
    let started = Instant::now();
    while started.elapsed() < HASH_FOR {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&last).update(&buffer);
        last = *hasher.finalize().as_bytes();
        hashed += HASH_BYTES as u64;
    }
    (hashed as f64 / started.elapsed().as_secs_f64()) as u64
}

async fn quic_streams(folder: &Path) -> Result<u64> {
    let mut other = Process::start(folder, &["bench-echo"])?;
    let ready = other.line(WAIT).await?;
    let address: SocketAddr = ready["address"].as_str().unwrap_or_default().parse().context("the other's address")?;
    let pin = ready["public_key"].as_str().and_then(unhex::<32>).ok_or_else(|| anyhow!("the other has no key"))?;
    let mut config = Identity::generate()?.client_config(ALPN, pin)?;
    config.transport_config(Arc::new(transport()));
    let endpoint = Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).context("opening a socket")?;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(endpoint.connect_with(config.clone(), address, "forge")?.await?);
    }
    let started = Instant::now();
    let streams = connections.iter().flat_map(|c| (0..STREAMS_AT_ONCE).map(move |_| c.clone()));
    let tasks = streams.map(|c| async move { tokio::spawn(exchange(c, started + STREAMS_FOR)).await? });
    let done: u64 = try_join_all(tasks).await?.into_iter().sum();
    let seconds = started.elapsed().as_secs_f64();
    endpoint.close(VarInt::from_u32(0), b"done");
    Ok((done as f64 / seconds) as u64)
}

/// Opens one stream after another until `end`; gives how many.
async fn exchange(connection: Connection, end: Instant) -> Result<u64> {
    let mut done = 0;
    while Instant::now() < end {
        let (mut send, mut recv) = connection.open_bi().await?;
        send.write_all(&[1; STREAM_BYTES]).await?;
        send.finish()?;
        recv.read_to_end(STREAM_BYTES).await?;
        done += 1;
    }
    Ok(done)
}

/// The other side: answers every stream with as many bytes, until stdin ends.
///
/// # Errors
/// If it cannot listen.
pub async fn echo() -> Result<()> {
    let identity = Identity::generate()?;
    let mut config = identity.server_config(ALPN, Arc::new(|_| true))?;
    config.transport_config(Arc::new(transport()));
    let endpoint = Endpoint::server(config, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).context("listening")?;
    let address = endpoint.local_addr().context("listening")?;
    say(&json!({"ready": true, "address": address.to_string(), "public_key": hex(&identity.public_key())}))?;
    let accepting = async {
        while let Some(incoming) = endpoint.accept().await {
            tokio::spawn(async move {
                if let Ok(connection) = incoming.await {
                    answer_all(connection).await;
                }
            });
        }
    };
    let mut input = Vec::new();
    let mut stdin = tokio::io::stdin();
    tokio::select! { biased;
        _ = stdin.read_to_end(&mut input) => {}
        () = accepting => {}
    }
    Ok(())
}

async fn answer_all(connection: Connection) {
    while let Ok((mut send, mut recv)) = connection.accept_bi().await {
        tokio::spawn(async move {
            let Ok(bytes) = recv.read_to_end(STREAM_BYTES).await else { return };
            // A client that is done closes the connection, and with it what is under way.
            if send.write_all(&bytes).await.is_ok() {
                let _ = send.finish();
            }
        });
    }
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport.max_concurrent_bidi_streams(VarInt::from_u32(4 * STREAMS_AT_ONCE as u32));
    transport
}
