//! An image registry of the test's own on the loopback interface.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::image::{Blobs, digest_of};

const START_TIMEOUT: Duration = Duration::from_mins(1);

/// Keeps the registry as long as standard input is open: it goes with the test, however that ends.
const KEEPER: &str =
    "docker-registry serve \"$1\" & registry=$!; read -r _; kill -KILL $registry; rm -rf \"$2\"";

/// A running registry; gone when dropped.
pub struct Registry {
    dir: PathBuf,
    address: String,
    keeper: Child,
    keeper_input: Option<ChildStdin>,
}

impl Registry {
    /// Starts one; none (with the reason printed) where it is not installed.
    pub fn start() -> Option<Self> {
        if !super::on_path("docker-registry") {
            eprintln!("skipped: docker-registry is not installed");
            return None;
        }
        let dir = Self::directory();
        let storage = dir.join("storage");
        Some(Self::serve(dir, &storage, "", ""))
    }

    /// Another registry with the same images, which wants the name `me` and the password `s3cret`.
    pub fn with_password(&self) -> Self {
        let dir = Self::directory();
        let users = dir.join("htpasswd");
        // bcrypt, as docker-registry wants it.
        fs::write(&users, "me:$2b$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK\n")
            .expect("writable");
        let auth = format!("auth: {{ htpasswd: {{ realm: test, path: {} }} }}\n", users.display());
        Self::serve(dir, &self.dir.join("storage"), "", &auth)
    }

    /// Another registry with the same images, over TLS. Both are PEM files.
    pub fn with_tls(&self, certificate: &Path, key: &Path) -> Self {
        let tls = format!(", tls: {{ certificate: {}, key: {} }}", certificate.display(), key.display());
        Self::serve(Self::directory(), &self.dir.join("storage"), &tls, "")
    }

    fn directory() -> PathBuf {
        tempfile::Builder::new().prefix("lh-registry-").tempdir().expect("a directory").keep()
    }

    fn serve(dir: PathBuf, storage: &Path, http: &str, auth: &str) -> Self {
        let config = dir.join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{ level: info }}\nstorage: {{ filesystem: {{ rootdirectory: {} }}, delete: {{ enabled: true }} }}\n\
             http: {{ addr: '127.0.0.1:0', secret: test{http} }}\n{auth}",
            storage.display()
        );
        fs::write(&config, text).expect("writable");
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .args([&config, &dir])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("sh starts");
        let keeper_input = keeper.stdin.take();
        let stderr = keeper.stderr.take().expect("piped");
        let (found, address) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some((_, rest)) = line.split_once("listening on ") {
                    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':');
                    let _ = found.send(rest[..end.unwrap_or(rest.len())].to_owned());
                }
            }
        });
        let address = address.recv_timeout(START_TIMEOUT).expect("the registry says where it listens");
        Self { dir, address, keeper, keeper_input }
    }

    /// `127.0.0.1:<port>`
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Pushes an image under a tag (or a digest) and returns the digest of its manifest.
    pub async fn push(&self, repository: &str, tag: &str, blobs: &Blobs) -> String {
        for blob in blobs.layers.iter().chain([&blobs.config]) {
            self.push_blob(repository, blob).await;
        }
        self.push_manifest(repository, tag, "application/vnd.oci.image.manifest.v1+json", &blobs.manifest)
            .await;
        digest_of(&blobs.manifest)
    }

    /// Uploads one blob.
    pub async fn push_blob(&self, repository: &str, blob: &[u8]) {
        let client = client();
        let uploads = format!("http://{}/v2/{repository}/blobs/uploads/", self.address);
        let opened = client.post(uploads).send().await.expect("the registry answers");
        let location = opened.headers()["location"].to_str().expect("ASCII").to_owned();
        let separator = if location.contains('?') { '&' } else { '?' };
        let target = format!("{location}{separator}digest={}", digest_of(blob).replace(':', "%3A"));
        let put = client.put(target).header("content-type", "application/octet-stream").body(blob.to_vec());
        let answer = put.send().await.expect("the registry answers");
        assert_eq!(answer.status().as_u16(), 201, "{}", answer.text().await.unwrap_or_default());
    }

    /// Uploads a manifest or an index.
    pub async fn push_manifest(&self, repository: &str, tag: &str, media_type: &str, manifest: &[u8]) {
        let url = format!("http://{}/v2/{repository}/manifests/{tag}", self.address);
        let put = client().put(url).header("content-type", media_type).body(manifest.to_vec());
        let answer = put.send().await.expect("the registry answers");
        assert_eq!(answer.status().as_u16(), 201, "{}", answer.text().await.unwrap_or_default());
    }

    /// The file that holds a blob, for a test that spoils it.
    pub fn blob_file(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        self.dir.join("storage/docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.keeper_input.take());
        let _ = self.keeper.wait();
    }
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().expect("a client")
}
