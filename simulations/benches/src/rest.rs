//! A client of the hubs' REST door: tries every node, with one Idempotency-Key a request.

use anyhow::{Context, Result, anyhow, bail};
use forge_event::digest::hex;
use reqwest::{Certificate, Method};
use serde_json::Value;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// All tries of one request together.
const BUDGET: Duration = Duration::from_secs(30);
/// One try; exports of large logs take their time.
const TRY: Duration = Duration::from_secs(300);
const CONNECT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);

pub struct Rest {
    http: reqwest::Client,
    urls: Vec<String>,
    key: String,
    at: AtomicUsize,
}

impl Rest {
    /// # Errors
    /// If the CA cannot be read.
    pub fn new(urls: Vec<String>, key: String, ca: &Path) -> Result<Rest> {
        let pem = std::fs::read(ca).context("reading the CA")?;
        let certificates = Certificate::from_pem_bundle(&pem).context("reading the CA")?;
        let builder = reqwest::Client::builder().connect_timeout(CONNECT).timeout(TRY);
        let http = builder.tls_backend_rustls().tls_certs_only(certificates).build().context("setting up TLS")?;
        Ok(Rest { http, urls, key, at: AtomicUsize::new(0) })
    }

    /// # Errors
    /// The hub's problem, or nobody who answers.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let bytes = self.ask(Method::GET, path, None).await?;
        serde_json::from_slice(&bytes).with_context(|| format!("reading the answer to {path}"))
    }

    /// # Errors
    /// The hub's problem, or nobody who answers.
    pub async fn post(&self, path: &str, body: Value) -> Result<Value> {
        let bytes = self.ask(Method::POST, path, Some(body)).await?;
        serde_json::from_slice(&bytes).with_context(|| format!("reading the answer to {path}"))
    }

    /// # Errors
    /// The hub's problem, or nobody who answers.
    pub async fn bytes(&self, path: &str) -> Result<Vec<u8>> {
        self.ask(Method::GET, path, None).await
    }

    /// One node's answer, whatever the others say.
    ///
    /// # Errors
    /// If that node does not answer.
    pub async fn text_of(&self, url: &str, path: &str) -> Result<String> {
        let answer = self.http.get(format!("{url}{path}")).bearer_auth(&self.key).send().await;
        answer.with_context(|| format!("asking {url}{path}"))?.text().await.context("reading an answer")
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<Vec<u8>> {
        let key = hex(&rand::random::<[u8; 16]>());
        let started = Instant::now();
        loop {
            let at = self.at.load(Ordering::Relaxed);
            let url = &self.urls[at % self.urls.len()];
            let mut request = self.http.request(method.clone(), format!("{url}{path}")).bearer_auth(&self.key);
            if let Some(body) = &body {
                request = request.json(body).header("idempotency-key", &key);
            }
            let why = match request.send().await {
                Ok(answer) if answer.status().is_success() => {
                    return Ok(answer.bytes().await.with_context(|| format!("reading the answer to {path}"))?.to_vec());
                }
                Ok(answer) => {
                    let status = answer.status().as_u16();
                    let text = answer.text().await.unwrap_or_default();
                    if !matches!(status, 429 | 502 | 503 | 504) {
                        bail!("{method} {path}: {status} {text}");
                    }
                    anyhow!("{status} {text}")
                }
                Err(error) => error.into(),
            };
            if started.elapsed() >= BUDGET {
                return Err(why.context(format!("{method} {path}: no node answered in time")));
            }
            self.at.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(PAUSE).await;
        }
    }
}
