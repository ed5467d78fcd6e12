//! A real S3 server as processes, behind a door that counts who comes with a signed URL and can hold a removal.

use crate::client::choose_provider;
use crate::until::{until, within};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, TcpListener as Bound};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The bucket that there is.
const BUCKET: &str = "forge";
const ACCESS_KEY: &str = "forge-test";
const SECRET: &str = "a-secret-that-nobody-may-write-down";

/// SeaweedFS with one bucket and one user, who may do everything with objects and nothing with buckets.
pub struct S3 {
    program: PathBuf,
    gateway: Option<Child>,
    _storage: Child,
    ports: Ports,
    url: String,
    door: JoinHandle<()>,
    seen: Arc<Seen>,
    folder: TempDir,
    http: reqwest::Client,
}

/// What came through the door.
#[derive(Default)]
struct Seen {
    /// Requests with a signed URL.
    signed: AtomicUsize,
    /// The next removal is held so long, once it has been announced.
    hold: Mutex<Option<(oneshot::Sender<()>, Duration)>>,
}

struct Ports {
    master: u16,
    master_grpc: u16,
    filer: u16,
    filer_grpc: u16,
    s3: u16,
    s3_grpc: u16,
}

impl S3 {
    /// `None`, visibly, where there is no server: `tests/s3-server` installs it.
    pub async fn start(test: &str) -> Option<S3> {
        let Some(program) = program() else {
            eprintln!("SKIPPED {test}: no S3 server; tests/s3-server installs one");
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder for the server");
        let user = serde_json::json!({"identities": [{"name": "forge",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET}],
            "actions": ["Read", "Write", "List"]}]});
        std::fs::write(folder.path().join("users.json"), user.to_string()).expect("a file");
        let [master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3, s3_grpc] = free_ports();
        let ports = Ports { master, master_grpc, filer, filer_grpc, s3, s3_grpc };
        let storage = run(
            &program,
            folder.path(),
            &format!(
                "server -dir={} -ip=127.0.0.1 -ip.bind=127.0.0.1 -master.port={master} -master.port.grpc={master_grpc} \
             -volume.port={volume} -volume.port.grpc={volume_grpc} -volume.max=20 -volume.preStopSeconds=0 \
             -master.volumeSizeLimitMB=64 -filer -filer.port={filer} -filer.port.grpc={filer_grpc}",
                folder.path().display()
            ),
        );
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("it has an address"));
        let seen = Arc::<Seen>::default();
        let door = tokio::spawn(open(listener, s3, seen.clone()));
        choose_provider();
        let http = reqwest::Client::new();
        let mut server = S3 { program, gateway: None, _storage: storage, ports, url, door, seen, folder, http };
        let filer = format!("http://127.0.0.1:{filer}");
        until("the S3 server's disk takes files", async || {
            let sent = server.http.put(format!("{filer}/ready")).body("ready").send().await;
            sent.is_ok_and(|answer| answer.status().is_success()).then_some(())
        })
        .await;
        let made = server.http.post(format!("{filer}/buckets/{BUCKET}/")).send().await.expect("an answer");
        assert!(made.status().is_success(), "{made:?}");
        server.resume().await;
        Some(server)
    }

    /// `[blobs]` of a node's settings that name it.
    pub fn table(&self) -> String {
        // Nothing stays on a node's disk that is older than a minute.
        format!("\n[blobs]\nendpoint = \"{}\"\nbucket = \"{BUCKET}\"\nprefix = \"a/b\"\ncache_bytes = 0\n", self.url)
    }

    /// What a node has in its environment.
    pub fn environment(&self) -> Vec<(String, String)> {
        let pairs = [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", self.secret())];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }

    pub fn secret(&self) -> &'static str {
        SECRET
    }

    /// What a URL of it begins with.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Requests with a signed URL so far.
    pub fn signed(&self) -> usize {
        self.seen.signed.load(Ordering::Relaxed)
    }

    /// The next request that removes an object waits so long at the door; tells when one has come.
    pub fn hold_next_removal(&self, time: Duration) -> oneshot::Receiver<()> {
        let (come, told) = oneshot::channel();
        *self.seen.hold.lock().expect("nobody panics with it") = Some((come, time));
        told
    }

    /// Kills the server; what it stored stays.
    pub async fn kill(&mut self) {
        self.gateway.take().expect("it runs").kill().await.expect("it can be killed");
    }

    /// Starts it again.
    pub async fn resume(&mut self) {
        let Ports { filer, filer_grpc, s3, s3_grpc, .. } = self.ports;
        let users = self.folder.path().join("users.json");
        self.gateway = Some(run(
            &self.program,
            self.folder.path(),
            &format!(
                "s3 -filer=127.0.0.1:{filer}.{filer_grpc} -ip.bind=127.0.0.1 -port={s3} -port.grpc={s3_grpc} \
             -port.iceberg=0 -port.lance=0 -config={} -iam=false -autoCreateBucket=false",
                users.display()
            ),
        ));
        until("the S3 server answers", async || {
            let answer = self.http.get(&self.url).send().await;
            answer.is_ok_and(|answer| !answer.status().is_server_error()).then_some(())
        })
        .await;
    }

    /// The keys of all objects.
    pub async fn keys(&self) -> Vec<String> {
        self.objects().await.into_iter().map(|(key, _)| key).collect()
    }

    /// The keys of all objects, and when the server says that they came.
    async fn objects(&self) -> Vec<(String, jiff::Timestamp)> {
        let (root, mut objects, mut open) = (self.folder_url(), Vec::new(), vec![String::new()]);
        while let Some(folder) = open.pop() {
            let url = format!("{root}{folder}/?limit=10000");
            let listing = self.http.get(url).header("accept", "application/json").send().await.expect("an answer");
            let listing: serde_json::Value = listing.json().await.expect("a listing");
            for entry in listing["Entries"].as_array().into_iter().flatten() {
                let path = entry["FullPath"].as_str().expect("entries have paths");
                let path = path.strip_prefix(&format!("/buckets/{BUCKET}")).expect("it lies in the bucket").to_owned();
                // Folders have this bit in their mode.
                if entry["Mode"].as_u64().is_some_and(|mode| mode & (1 << 31) != 0) {
                    open.push(path);
                } else {
                    let came = entry["Mtime"].as_str().and_then(|text| text.parse().ok());
                    objects.push((path, came.expect("entries have times")));
                }
            }
        }
        objects
    }

    /// Where the server's own file system has the bucket.
    fn folder_url(&self) -> String {
        format!("http://127.0.0.1:{}/buckets/{BUCKET}", self.ports.filer)
    }

    /// Puts an object past every node.
    pub async fn put(&self, key: &str, bytes: &[u8]) {
        let sent = self.http.put(format!("{}{key}", self.folder_url())).body(bytes.to_vec()).send().await;
        let answer = sent.expect("an answer");
        assert!(answer.status().is_success(), "{answer:?}");
    }

    /// Sets back the times of all objects below a folder, as if everything there had come so much earlier.
    pub async fn grow_older(&self, folder: &str, by: Duration) {
        let below: Vec<_> = self.objects().await.into_iter().filter(|(key, _)| key.starts_with(folder)).collect();
        let path = self.folder.path().join("older");
        let file = path.display();
        self.shell(&format!("fs.meta.save -o {file} /buckets/{BUCKET}{folder}")).await;
        let mut entries = std::fs::read(&path).expect("the server's metadata");
        let times: BTreeSet<i64> = below.iter().map(|(_, came)| came.as_second()).collect();
        // From the earliest, so that none is set back twice.
        for came in times {
            let (from, to) = (time_field(came), time_field(came - by.as_secs() as i64));
            for at in 0..entries.len() - from.len() {
                if entries[at..].starts_with(&from) {
                    entries[at..at + to.len()].copy_from_slice(&to);
                }
            }
        }
        // Twice, because its command does not wait for the last entry that it sends.
        entries.extend_from_within(..);
        std::fs::write(&path, entries).expect("a file");
        self.shell(&format!("fs.meta.load {file}")).await;
        let before: BTreeMap<_, _> = below.into_iter().collect();
        until("the server has the earlier times", async || {
            let now = self.objects().await;
            let older = now.iter().filter(|(key, came)| before.get(key).is_some_and(|then| came < then)).count();
            (older == before.len()).then_some(())
        })
        .await;
    }

    /// Runs a command of the server's own shell.
    async fn shell(&self, line: &str) {
        let Ports { master, master_grpc, filer, filer_grpc, .. } = self.ports;
        let mut shell = Command::new(&self.program)
            .args(["shell", &format!("-master=127.0.0.1:{master}.{master_grpc}")])
            .arg(format!("-filer=127.0.0.1:{filer}.{filer_grpc}"))
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the S3 server has a shell");
        let mut input = shell.stdin.take().expect("it is piped");
        input.write_all(format!("{line}\n").as_bytes()).await.expect("the shell reads");
        drop(input);
        assert!(within("the shell ends", shell.wait()).await.expect("it can be waited for").success(), "{line}");
    }
}

/// A time of modification in the protocol buffers of the server's metadata: field 2, seconds since 1970. Both formats
/// write numbers alike.
fn time_field(seconds: i64) -> Vec<u8> {
    postcard::to_stdvec(&(0x10_u8, seconds as u64)).expect("two numbers can be written")
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.door.abort();
    }
}

/// Where `weed` is.
fn program() -> Option<PathBuf> {
    let named = std::env::var_os("FORGE_S3_SERVER").map(PathBuf::from);
    let own = std::env::current_exe().ok()?;
    // target/<profile>/deps/<test>
    let installed = own.ancestors().nth(3).map(|target| target.join("s3-server/bin/weed"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("weed"));
    named.into_iter().chain(installed).chain(on_path).find(|file| file.is_file())
}

fn run(program: &Path, folder: &Path, words: &str) -> Child {
    let mut command = Command::new(program);
    command.args(words.split_whitespace()).current_dir(folder).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("the S3 server starts")
}

/// Ports that were free a moment ago.
fn free_ports<const N: usize>() -> [u16; N] {
    let bound: [Bound; N] = std::array::from_fn(|_| Bound::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"));
    bound.map(|socket| socket.local_addr().expect("it has an address").port())
}

/// Passes everything on; counts requests with a signature in their URL, and holds a removal.
async fn open(listener: TcpListener, to: u16, seen: Arc<Seen>) {
    while let Ok((client, _)) = listener.accept().await {
        let seen = seen.clone();
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await else { return };
            let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                (client.into_split(), server.into_split());
            let back = tokio::spawn(async move {
                // Whichever side ends, ends both.
                let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
            });
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
                let line = String::from_utf8_lossy(&buffer[..count.min(2048)]);
                if line.starts_with("GET ") && line.contains("X-Amz-Signature=") {
                    seen.signed.fetch_add(1, Ordering::Relaxed);
                }
                if line.starts_with("DELETE ") {
                    let hold = seen.hold.lock().expect("nobody panics with it").take();
                    if let Some((come, time)) = hold {
                        // Whoever asked for it may be gone.
                        let _ = come.send(());
                        tokio::time::sleep(time).await;
                    }
                }
                if to_server.write_all(&buffer[..count]).await.is_err() {
                    break;
                }
            }
            drop(to_server);
            let _ = back.await;
        });
    }
}
