//! A REST client that hides nothing: every answer is given as it came.

use crate::until::until;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Method};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use std::io::{Read, Write};
use std::sync::{Arc, Once};
use std::time::Duration;
use tokio::sync::oneshot;

/// Longer than any answer of the API may take.
const PATIENCE: Duration = Duration::from_secs(80);

/// Bytes of a body that are handed over at once.
const PIECE_BYTES: usize = 64 * 1024;

/// A node's REST door, as a holder of one key sees it.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    tls: Arc<rustls::ClientConfig>,
    pub url: String,
    pub key: String,
}

/// An answer, whatever it is.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub bytes: Bytes,
}

/// Every client of a process uses the same cryptography.
pub(crate) fn choose_provider() {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        rustls::crypto::ring::default_provider().install_default().expect("no other provider is installed");
    });
}

/// The ways to send what they send; each panics only if the connection itself fails.
impl Client {
    /// A client that trusts the cluster's own CA and nobody else.
    pub fn new(url: &str, ca_pem: &str, key: &str) -> Client {
        choose_provider();
        let ca = Certificate::from_pem(ca_pem.as_bytes()).expect("ca.pem is a certificate");
        let mut roots = rustls::RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(ca_pem.as_bytes()).expect("ca.pem is a certificate");
        roots.add(root).expect("it may be trusted");
        let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let http = reqwest::Client::builder().tls_certs_only([ca]).timeout(PATIENCE).build();
        Client {
            http: http.expect("the client is configured well"),
            tls: Arc::new(tls),
            url: url.to_owned(),
            key: key.to_owned(),
        }
    }

    /// The same door with another key.
    pub fn with_key(&self, key: &str) -> Client {
        Client { key: key.to_owned(), ..self.clone() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, &[], Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, &[], None).await
    }

    /// POST with an Idempotency-Key.
    pub async fn post_once(&self, path: &str, idempotency: &str, body: Value) -> Answer {
        self.send(Method::POST, path, &[("idempotency-key", idempotency)], Some(body)).await
    }

    /// As [`Client::post_once`], again with the same key for as long as the hub says that this may help.
    pub async fn post_until_answered(&self, path: &str, idempotency: &str, body: Value) -> Answer {
        until(&format!("{path} is answered"), async || {
            let answer = self.post_once(path, idempotency, body.clone()).await;
            let again = matches!(answer.status, 500 | 503 | 504) || answer.header("retry-after").is_some();
            (!again).then_some(answer)
        })
        .await
    }

    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
        let body = body.map(|b| b.to_string().into_bytes());
        self.try_send(method, path, headers, body).await.unwrap_or_else(|e| panic!("{path}: {e:?}"))
    }

    /// Gives the connection's failure instead of panicking.
    ///
    /// # Errors
    /// If no answer comes.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Result<Answer, reqwest::Error> {
        let response = self.request(method, path, headers, body).send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, bytes: response.bytes().await? })
    }

    /// Begins to PUT a body that stops after `bytes` and never ends; aborting the task cuts the connection.
    pub fn put_and_hang(&self, path: &str, bytes: Vec<u8>) -> tokio::task::JoinHandle<()> {
        let first = futures::stream::once(async { Ok::<_, std::io::Error>(Bytes::from(bytes)) });
        let body = reqwest::Body::wrap_stream(first.chain(futures::stream::pending()));
        let begun = self.request(Method::PUT, path, &[], None).body(body);
        tokio::spawn(async move {
            let sent = begun.send().await;
            assert!(!sent.is_ok_and(|answer| answer.status().is_success()), "a part is not taken for the whole");
        })
    }

    /// PUTs `first`, says so, and goes on with `second`.
    pub fn put_in_two(
        &self,
        path: &str,
        first: Bytes,
        second: Bytes,
    ) -> (oneshot::Receiver<()>, tokio::task::JoinHandle<()>) {
        let (tell, told) = oneshot::channel();
        // In pieces: the stream is asked for the next one when the one before is on its way.
        let pieces = |bytes: Bytes| {
            let starts = (0..bytes.len()).step_by(PIECE_BYTES);
            starts.map(move |at| bytes.slice(at..(at + PIECE_BYTES).min(bytes.len())))
        };
        let between = futures::stream::once(async move {
            let _ = tell.send(());
            Bytes::new()
        });
        let all = futures::stream::iter(pieces(first)).chain(between).chain(futures::stream::iter(pieces(second)));
        let body = reqwest::Body::wrap_stream(all.map(Ok::<_, std::io::Error>));
        let begun = self.request(Method::PUT, path, &[], None).body(body);
        // A cut or an early answer is what the caller provoked.
        (told, tokio::spawn(async move { drop(begun.send().await) }))
    }

    /// The body of a GET as it comes; `None` if there is none.
    pub async fn parts(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Option<impl Stream<Item = reqwest::Result<Bytes>> + use<>> {
        let response = self.request(Method::GET, path, headers, None).send().await.ok()?;
        response.status().is_success().then(|| Box::pin(response.bytes_stream()))
    }

    /// Writes a request by hand over HTTP/1.1, all of it before it looks for the answer; gives the answer's status. Blocking.
    ///
    /// # Errors
    /// If the connection breaks, or no answer comes.
    pub fn plainly(&self, head: &[u8], body: &[u8]) -> std::io::Result<u16> {
        let host = self.url.trim_start_matches("https://");
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_matches(['[', ']']).to_owned();
        let name = rustls::pki_types::ServerName::try_from(name).map_err(std::io::Error::other)?;
        let session = rustls::ClientConnection::new(self.tls.clone(), name).map_err(std::io::Error::other)?;
        let socket = std::net::TcpStream::connect(host)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let mut stream = rustls::StreamOwned::new(session, socket);
        stream.write_all(head)?;
        stream.write_all(body)?;
        let mut line = [0; 12];
        stream.read_exact(&mut line)?;
        let status = line.strip_prefix(b"HTTP/1.1 ").and_then(|code| std::str::from_utf8(code).ok()?.parse().ok());
        status.ok_or_else(|| std::io::Error::other(format!("no answer: {}", String::from_utf8_lossy(&line))))
    }

    /// A request with the key on it.
    pub(crate) fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> reqwest::RequestBuilder {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if !self.key.is_empty() {
            request = request.bearer_auth(&self.key);
        }
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
            request = request.header(name, HeaderValue::from_str(value).expect("a header's value"));
        }
        match body {
            Some(body) => request.header("content-type", "application/json").body(body),
            None => request,
        }
    }
}

impl Answer {
    /// Itself, if it has this status.
    ///
    /// # Panics
    /// With the body, if it has another.
    #[track_caller]
    pub fn is(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.bytes));
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).expect("the answer is JSON")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// `Forge-Log-Index`.
    #[track_caller]
    pub fn index(&self) -> u64 {
        let index = self.header("forge-log-index").expect("every answer has Forge-Log-Index");
        index.parse().expect("an index is a number")
    }

    /// A text field of the JSON body.
    #[track_caller]
    pub fn text(&self, field: &str) -> String {
        self.json()[field].as_str().unwrap_or_else(|| panic!("no text `{field}` in {}", self.json())).to_owned()
    }

    /// The problem's code, having checked what every problem says.
    #[track_caller]
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let body = self.json();
        let code = body["code"].as_str().expect("a problem has a code").to_owned();
        assert_eq!(body["status"], self.status, "{body}");
        assert_eq!(body["type"], format!("/docs/errors/{code}"), "{body}");
        assert!(["title", "detail", "instance", "request_id"].iter().all(|f| body[f].is_string()), "{body}");
        assert_eq!(body["request_id"].as_str(), self.header("forge-request-id"), "{body}");
        assert!(body["retryable"].is_boolean() && body["log_index"].is_u64(), "{body}");
        let unknown = matches!(self.status, 500 | 504) || code == "idempotency-in-flight";
        assert_eq!(body["outcome"], if unknown { "unknown" } else { "not_applied" }, "{body}");
        assert_eq!(body["retryable"] == true, self.header("retry-after").is_some(), "{body}");
        code
    }
}
