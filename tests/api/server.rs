//! A coordinator on loopback over a directory of its own, an HTTP client for it, and kubectl.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use leasehold::coordinator::INITIAL_NAMESPACES;
use leasehold::driver::coordinator::{CoordinatorConfig, Running, start};
use leasehold::server::tls::Identity;
use serde_json::Value;
use tempfile::TempDir;

/// A running coordinator; its files go with it.
pub struct Server {
    pub running: Running,
    pub http: reqwest::Client,
    pub directory: Arc<TempDir>,
}

/// An answer: status code and body.
pub type Answer = (u16, Value);

impl Server {
    pub async fn start() -> Self {
        let directory = Arc::new(tempfile::tempdir().expect("a temporary directory"));
        Self::start_in(directory, "127.0.0.1:0").await
    }

    pub async fn start_in(directory: Arc<TempDir>, listen: &str) -> Self {
        let running = start(config(&directory.path().join("data"), listen)).await.expect("it starts");
        running.write_admin_kubeconfig(&directory.path().join("kubeconfig")).expect("written");
        let http = client(running.authority.ca_pem(), Some(&running.admin));
        let server = Self { running, http, directory };
        // ConfigMaps stand for any kind in these tests: they begin without those of the cluster's own.
        for namespace in INITIAL_NAMESPACES {
            let path = format!("/api/v1/namespaces/{namespace}/configmaps/kube-root-ca.crt");
            server.delete(&path, "").await;
        }
        server
    }

    /// Stops it and starts another on the same directory.
    pub async fn restart(self) -> Self {
        let directory = self.directory.clone();
        self.running.stop().await;
        Self::start_in(directory, "127.0.0.1:0").await
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.running.url())
    }

    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub async fn get(&self, path: &str) -> Answer {
        answer(self.http.get(self.url(path)).send().await.expect("answered")).await
    }

    pub async fn delete(&self, path: &str, body: &str) -> Answer {
        let request = self.http.delete(self.url(path)).header("content-type", "application/json");
        answer(request.body(body.to_owned()).send().await.expect("answered")).await
    }

    pub async fn send(
        &self,
        method: reqwest::Method,
        path: &str,
        media_type: &str,
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let request = self.http.request(method, self.url(path)).header("content-type", media_type);
        answer(request.body(body).send().await.expect("answered")).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(reqwest::Method::POST, path, "application/json", body.to_string()).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(reqwest::Method::PUT, path, "application/json", body.to_string()).await
    }

    /// Runs kubectl; on a thread, since the server shares this test's runtime.
    pub async fn kubectl(&self, arguments: &[&str]) -> Output {
        self.kubectl_with(arguments, "").await
    }

    pub async fn kubectl_with(&self, arguments: &[&str], stdin: &str) -> Output {
        let kubeconfig = self.directory.path().join("kubeconfig");
        let cache = self.directory.path().join("cache");
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(kubeconfig).arg("--cache-dir").arg(cache).args(arguments);
        let input = self.directory.path().join("stdin");
        std::fs::write(&input, stdin).expect("written");
        command.stdin(std::fs::File::open(&input).expect("there"));
        tokio::task::spawn_blocking(move || command.output().expect("kubectl is installed"))
            .await
            .expect("joined")
    }

    /// Standard output of a kubectl that must succeed.
    pub async fn kubectl_ok(&self, arguments: &[&str]) -> String {
        said(arguments, &self.kubectl(arguments).await)
    }

    pub async fn apply(&self, manifest: &str) -> String {
        let arguments = ["apply", "-f", "-"];
        said(&arguments, &self.kubectl_with(&arguments, manifest).await)
    }
}

fn said(arguments: &[&str], output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "kubectl {arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn config(data_dir: &Path, listen: &str) -> CoordinatorConfig {
    let listen: SocketAddr = listen.parse().expect("an address");
    CoordinatorConfig::new(data_dir.into(), listen)
}

pub fn client(ca_pem: &str, identity: Option<&Identity>) -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let roots = reqwest::Certificate::from_pem_bundle(ca_pem.as_bytes()).expect("PEM");
    let mut builder = reqwest::Client::builder().no_proxy().tls_certs_only(roots);
    if let Some(identity) = identity {
        let pem = format!("{}\n{}", identity.certificate_pem, identity.key_pem);
        builder = builder.identity(reqwest::Identity::from_pem(pem.as_bytes()).expect("PEM"));
    }
    builder.build().expect("a client")
}

pub async fn answer(response: reqwest::Response) -> Answer {
    let code = response.status().as_u16();
    let bytes = response.bytes().await.expect("a whole body");
    let value = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&bytes).into_owned()));
    (code, value)
}

/// A watch, event by event.
pub struct Watch {
    response: reqwest::Response,
    buffer: Vec<u8>,
}

impl Server {
    pub async fn watch(&self, path: &str) -> Watch {
        let response = self.http.get(self.url(path)).send().await.expect("answered");
        assert_eq!(response.status(), 200, "{path}");
        Watch::of(response)
    }
}

impl Watch {
    pub fn of(response: reqwest::Response) -> Self {
        Self { response, buffer: Vec::new() }
    }

    /// The next event; none when the watch has ended.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("a line is JSON"));
            }
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.response.chunk());
            match chunk.await.expect("an event or an end comes in time") {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// The next event as `TYPE name`, or `TYPE @revision` for a bookmark.
    pub async fn told(&mut self) -> String {
        let Some(event) = self.next().await else { return "END".into() };
        let metadata = &event["object"]["metadata"];
        let kind = event["type"].as_str().expect("a type");
        match metadata["name"].as_str() {
            Some(name) => format!("{kind} {name}"),
            None => format!("{kind} @{}", metadata["resourceVersion"].as_str().unwrap_or_default()),
        }
    }
}
