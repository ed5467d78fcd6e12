//! The agent's way to blobs: signed URLs over HTTP, a cache on disk.
//!
//! A hub whose blobs lie in an object store answers with a URL of that store; from where that cannot be reached, the hub
//! passes the bytes on.
//!
//! Blocking, for compute threads. What is in the cache was hashed on its way in.

use forge_adapters::host::Stop;
use forge_event::Digest;
use forge_protocol::message::{BlobAccess, BlobGrant};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;

/// The cache's folder in an agent's data folder.
pub const FOLDER: &str = "blobs";
/// Bytes the cache keeps; the files read longest ago go first.
const CACHE_BYTES_MAX: u64 = 8 << 30;
/// A hub that does not answer within this is passed over.
const CONNECT: Duration = Duration::from_secs(5);
/// A body that brings nothing for so long is given up.
const SILENCE: Duration = Duration::from_secs(30);
/// Says to a hub that a redirect to an object store is welcome.
const DIRECT: &str = "forge-direct";
/// Rounds over all hubs before a shard fails for want of a blob, and the first pause between them; each is twice the last.
const ROUNDS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// What all shards of an agent share.
#[derive(Debug)]
pub struct Blobs {
    folder: PathBuf,
    runtime: Handle,
    /// By the certificate they trust.
    clients: Mutex<BTreeMap<Option<String>, reqwest::Client>>,
    /// For object stores.
    public: Mutex<Option<reqwest::Client>>,
}

impl Blobs {
    /// A cache in `folder`; `runtime` does the network's part.
    pub fn new(folder: PathBuf, runtime: Handle) -> Blobs {
        Blobs { folder, runtime, clients: Mutex::default(), public: Mutex::default() }
    }

    fn client(&self, ca: Option<&String>) -> Result<reqwest::Client, Stop> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&ca.cloned()) {
            return Ok(client.clone());
        }
        // Whoever embeds the agent may have chosen one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let trusted = match ca {
            Some(pem) => reqwest::Certificate::from_pem_bundle(pem.as_bytes()).map_err(unreachable_blob)?,
            None => Vec::new(),
        };
        // Where a hub points to is no hub, and has no such certificate.
        let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        let builder = builder.connect_timeout(CONNECT).read_timeout(SILENCE);
        // Only the cluster's own certificate is trusted: the machine's roots vouch for nobody here.
        let client = builder.tls_backend_rustls().tls_certs_only(trusted).build().map_err(unreachable_blob)?;
        clients.insert(ca.cloned(), client.clone());
        Ok(client)
    }

    /// A client that trusts whom the machine trusts.
    fn public(&self) -> Result<reqwest::Client, reqwest::Error> {
        let mut public = self.public.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = public.as_ref() {
            return Ok(client.clone());
        }
        let builder = reqwest::Client::builder().connect_timeout(CONNECT).read_timeout(SILENCE);
        let client = builder.tls_backend_rustls().build()?;
        Ok(public.insert(client).clone())
    }

    /// Fetches from a hub, or from where it points to.
    async fn fetch(&self, hub: &reqwest::Client, url: &str, digest: &Digest, path: &Path) -> Result<(), String> {
        let answer = hub.get(url).header(DIRECT, "1").send().await.map_err(chain)?;
        let location = answer.headers().get("location").filter(|_| answer.status().is_redirection());
        let Some(location) = location else { return save(answer, digest, path).await };
        let elsewhere = async {
            let location = location.to_str().map_err(|e| e.to_string())?;
            let answer = self.public().map_err(chain)?.get(location).send().await.map_err(chain)?;
            // What a store says of a signature is nobody else's business.
            if !answer.status().is_success() {
                return Err(answer.status().to_string());
            }
            save(answer, digest, path).await
        };
        let Err(why) = elsewhere.await else { return Ok(()) };
        tracing::debug!(%digest, why, "the object store did not give a blob; the hub is asked for it");
        let answer = hub.get(url).send().await.map_err(chain)?;
        save(answer, digest, path).await.map_err(|error| format!("{error}; and from the object store: {why}"))
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.hex())
    }

    /// The file of a blob, fetched if it is not in the cache.
    fn need(&self, access: &BlobAccess, grant: &BlobGrant) -> Result<PathBuf, Stop> {
        let path = self.path(&grant.digest);
        if fs::metadata(&path).is_ok_and(|meta| meta.len() == grant.bytes) {
            return Ok(path);
        }
        fs::create_dir_all(&self.folder).map_err(|e| disk(&e))?;
        self.make_room(grant.bytes);
        let client = self.client(access.ca.as_ref())?;
        let mut why = String::from("no hub is known");
        for round in 0..ROUNDS {
            for base in &access.bases {
                let url = format!("{base}/v1/blobs/{}?{}", grant.digest, grant.query);
                match self.runtime.block_on(self.fetch(&client, &url, &grant.digest, &path)) {
                    Ok(()) => return Ok(path),
                    Err(error) => why = error,
                }
            }
            if round + 1 < ROUNDS {
                std::thread::sleep(PAUSE * (1 << round));
            }
        }
        Err(Stop::failed("blob-unreachable", format!("blob {}: {why}", grant.digest)))
    }

    fn put(&self, access: &BlobAccess, bytes: &[u8]) -> Result<Digest, Stop> {
        let digest = Digest::of(bytes);
        let client = self.client(access.ca.as_ref())?;
        let mut why = String::from("no hub is known");
        for round in 0..ROUNDS {
            for base in &access.bases {
                let url = format!("{base}/v1/blobs/{digest}?{}", access.keep);
                let sent = async {
                    let request = client.put(&url).header("content-type", "application/octet-stream");
                    let answer = request.body(bytes.to_vec()).send().await.map_err(chain)?;
                    let status = answer.status();
                    if status.is_success() {
                        return Ok(());
                    }
                    Err(format!("{status}: {}", answer.text().await.unwrap_or_default()))
                };
                match self.runtime.block_on(sent) {
                    Ok(()) => return Ok(digest),
                    Err(error) => why = error,
                }
            }
            if round + 1 < ROUNDS {
                std::thread::sleep(PAUSE * (1 << round));
            }
        }
        Err(Stop::failed("blob-unreachable", format!("keeping {} bytes: {why}", bytes.len())))
    }

    /// Removes what was fetched longest ago until `bytes` more fit; what another shard fetches just now stays.
    fn make_room(&self, bytes: u64) {
        let Ok(files) = fs::read_dir(&self.folder) else { return };
        let mut known: Vec<(SystemTime, u64, PathBuf)> = files
            .flatten()
            .filter_map(|file| {
                let meta = file.metadata().ok()?;
                Some((meta.modified().ok()?, meta.len(), file.path()))
            })
            .collect();
        known.sort();
        let mut total: u64 = known.iter().map(|(_, length, _)| length).sum();
        let whole = |path: &PathBuf| path.extension().is_none_or(|extension| extension != "part");
        for (_, length, path) in known.into_iter().filter(|(.., path)| whole(path)) {
            if total + bytes <= CACHE_BYTES_MAX {
                return;
            }
            // A shard that reads it just now keeps its open file.
            if fs::remove_file(path).is_ok() {
                total -= length;
            }
        }
    }
}

/// What went wrong, without the URL: it is a secret, and this may end up in the log.
fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn disk(error: &io::Error) -> Stop {
    Stop::failed("agent-disk", error.to_string())
}

fn unreachable_blob(error: reqwest::Error) -> Stop {
    Stop::failed("blob-unreachable", chain(error))
}

/// Writes a body into a file beside `path`, and names it `path` if its bytes are those of the digest.
async fn save(mut answer: reqwest::Response, digest: &Digest, path: &Path) -> Result<(), String> {
    if !answer.status().is_success() {
        return Err(format!("{}: {}", answer.status(), answer.text().await.unwrap_or_default()));
    }
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let aside = Aside(path.with_extension(format!("{number}.part")));
    let mut file = File::create(&aside.0).map_err(|e| e.to_string())?;
    let mut hasher = blake3::Hasher::new();
    while let Some(chunk) = answer.chunk().await.map_err(chain)? {
        hasher.update(&chunk);
        file.write_all(&chunk).map_err(|e| e.to_string())?;
    }
    if hasher.finalize().as_bytes() != &digest.0 {
        return Err("other bytes came".into());
    }
    fs::rename(&aside.0, path).map_err(|e| e.to_string())
}

/// Removes a file that did not get its name.
struct Aside(PathBuf);

impl Drop for Aside {
    fn drop(&mut self) {
        // After the rename there is nothing here.
        let _ = fs::remove_file(&self.0);
    }
}

/// One shard's way to the blobs it may read and keep.
#[derive(Clone, Debug)]
pub struct ShardBlobs {
    blobs: Arc<Blobs>,
    access: Arc<BlobAccess>,
    /// Files that this shard reads.
    open: Arc<Mutex<BTreeMap<Digest, File>>>,
}

impl ShardBlobs {
    pub(crate) fn new(blobs: Arc<Blobs>, access: BlobAccess) -> ShardBlobs {
        ShardBlobs { blobs, access: Arc::new(access), open: Arc::default() }
    }

    fn grant(&self, digest: &Digest) -> Result<&BlobGrant, Stop> {
        let grant = self.access.read.iter().find(|grant| grant.digest == *digest);
        grant.ok_or_else(|| Stop::failed("blob-not-granted", format!("the shard may not read {digest}")))
    }

    /// # Errors
    /// [`Stop::Failed`] if the shard may not read it.
    pub fn bytes(&self, digest: &Digest) -> Result<u64, Stop> {
        self.grant(digest).map(|grant| grant.bytes)
    }

    /// # Errors
    /// [`Stop::Failed`] if it cannot be had, or ends before the buffer does.
    pub fn read(&self, digest: &Digest, first: u64, buffer: &mut [u8]) -> Result<(), Stop> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if !open.contains_key(digest) {
            let path = self.blobs.need(&self.access, self.grant(digest)?)?;
            open.insert(*digest, File::open(path).map_err(|e| disk(&e))?);
        }
        let file = open.get_mut(digest).expect("opened above");
        file.seek(SeekFrom::Start(first)).and_then(|_| file.read_exact(buffer)).map_err(|e| disk(&e))
    }

    /// # Errors
    /// [`Stop::Failed`] if no hub took it.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, Stop> {
        self.blobs.put(&self.access, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::net::{SocketAddr, TcpListener};

    /// Answers every request with what `answer` makes of its head.
    fn serve(answer: impl Fn(&str) -> String + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                // Whoever asked may be gone.
                let _ = (&stream).write_all(answer(&head.join("\n")).as_bytes());
            }
        });
        address
    }

    fn body(bytes: &str) -> String {
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{bytes}", bytes.len())
    }

    /// A hub that has `bytes` and sends whoever takes a redirect to `elsewhere`.
    fn hub(bytes: &'static str, elsewhere: SocketAddr) -> SocketAddr {
        serve(move |head| {
            let redirect = "HTTP/1.1 307 Temporary Redirect\r\ncontent-length: 0\r\nconnection: close\r\n";
            let takes = head.contains("forge-direct: 1");
            if takes { format!("{redirect}location: http://{elsewhere}/it?X-Amz=secret\r\n\r\n") } else { body(bytes) }
        })
    }

    #[test]
    fn the_hub_gives_what_the_object_store_does_not_and_nobody_gives_other_bytes() {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let blobs = Blobs::new(folder.path().into(), runtime.handle().clone());
        let client = blobs.client(None).expect("a client");
        let (good, path) = (Digest::of(b"bytes"), folder.path().join("blob"));
        let fetch = |hub: SocketAddr| {
            let url = format!("http://{hub}/v1/blobs/{good}?sig=secret");
            let fetched = runtime.block_on(blobs.fetch(&client, &url, &good, &path));
            fetched.map(|()| fs::read(&path).expect("it was named"))
        };
        let closed = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port that nobody serves");
        let store = serve(|head| if head.contains("forge-direct") { "not for stores".into() } else { body("bytes") });
        let refuses = serve(|_| "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".into());
        let lies = serve(|_| body("bites"));
        assert_eq!(fetch(hub("bites", store)), Ok(b"bytes".to_vec()), "the store alone is asked");
        for store in [closed, refuses, lies] {
            assert_eq!(fetch(hub("bytes", store)), Ok(b"bytes".to_vec()));
        }
        fs::remove_file(&path).expect("it is there");
        let why = fetch(hub("bites", closed)).expect_err("nobody has it");
        assert!(why.contains("other bytes") && !why.contains("secret"), "{why}");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing is kept of it");
    }
}
