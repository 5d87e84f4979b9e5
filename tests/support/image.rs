//! Container images written by hand: busybox, static, with the links a test needs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Commands that are links to busybox in the image.
const LINKS: [&str; 37] = [
    "sh", "sleep", "cat", "echo", "httpd", "nc", "id", "env", "ls", "true", "false", "grep", "hostname",
    "kill", "ps", "printf", "test", "touch", "date", "dd", "head", "tail", "mount", "stat", "wget", "yes",
    "seq", "trap", "mkdir", "rm", "ln", "awk", "sed", "wc", "expr", "stty", "tar",
];

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:2000:app:/home/app:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n";
const GROUP: &str = "root:x:0:\nextra:x:3000:app\napp:x:2000:\nnogroup:x:65534:\n";

/// `sha256:…` of some bytes.
pub fn digest_of(bytes: &[u8]) -> String {
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// An image to be: edit its fields, then write it in one of the formats.
#[derive(Clone)]
pub struct TestImage {
    /// Full reference, e.g. `docker.io/library/busybox:1`.
    pub reference: String,
    /// The image config's `config` object: `Env`, `Entrypoint`, `Cmd`, `User`, `WorkingDir`, `StopSignal`.
    pub config: Value,
    /// Uncompressed layer tars, the lowest first.
    pub layers: Vec<Vec<u8>>,
}

impl TestImage {
    /// Static busybox with its links, `/etc/passwd` (root, app 1000:2000, nobody) and `/etc/group` (extra 3000: app).
    pub fn busybox(reference: &str) -> Self {
        let binary = fs::read("/bin/busybox").expect("busybox-static is installed");
        let mut layer = tar::Builder::new(Vec::new());
        for dir in
            ["bin", "dev", "etc", "home", "home/app", "proc", "root", "run", "sys", "tmp", "var", "www"]
        {
            entry(&mut layer, tar::EntryType::Directory, dir, if dir == "tmp" { 0o1777 } else { 0o755 }, b"");
        }
        entry(&mut layer, tar::EntryType::Regular, "bin/busybox", 0o755, &binary);
        for link in LINKS {
            let mut header = header(tar::EntryType::Symlink, 0o777, 0);
            layer.append_link(&mut header, format!("bin/{link}"), "busybox").expect("in memory");
        }
        entry(&mut layer, tar::EntryType::Regular, "etc/passwd", 0o644, PASSWD.as_bytes());
        entry(&mut layer, tar::EntryType::Regular, "etc/group", 0o644, GROUP.as_bytes());
        Self {
            reference: reference.to_owned(),
            config: json!({ "Env": ["PATH=/bin"], "Cmd": ["sh"] }),
            layers: vec![layer.into_inner().expect("in memory")],
        }
    }

    /// Sets one member of the config object.
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    /// Adds a layer with one file.
    pub fn with_file(mut self, path: &str, mode: u32, contents: &[u8]) -> Self {
        let mut layer = tar::Builder::new(Vec::new());
        entry(&mut layer, tar::EntryType::Regular, path, mode, contents);
        self.layers.push(layer.into_inner().expect("in memory"));
        self
    }

    /// The image's blobs by digest.
    pub fn blobs(&self) -> Blobs {
        let compressed: Vec<Vec<u8>> = self.layers.iter().map(|layer| gzip(layer)).collect();
        let config = serde_json::to_vec(&json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": self.layers.iter().map(|l| digest_of(l)).collect::<Vec<_>>() },
        }))
        .expect("plain JSON");
        let layers: Vec<Value> = compressed
            .iter()
            .map(|layer| descriptor("application/vnd.oci.image.layer.v1.tar+gzip", layer))
            .collect();
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": layers,
        }))
        .expect("plain JSON");
        Blobs { manifest, config, layers: compressed }
    }

    /// Writes an OCI image layout in a tar.
    pub fn write_oci_archive(&self, path: &Path) {
        let blobs = self.blobs();
        let mut manifest = descriptor("application/vnd.oci.image.manifest.v1+json", &blobs.manifest);
        manifest["annotations"] = json!({ "io.containerd.image.name": self.reference });
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        let mut files = BTreeMap::from([
            ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            ("index.json".to_owned(), serde_json::to_vec(&index).expect("plain JSON")),
        ]);
        for blob in blobs.all() {
            files.insert(format!("blobs/{}", digest_of(blob).replace(':', "/")), blob.to_vec());
        }
        write_tar(path, &files);
    }

    /// Writes what `docker save` writes.
    pub fn write_docker_archive(&self, path: &Path) {
        let blobs = self.blobs();
        let config_name = format!("{}.json", digest_of(&blobs.config).trim_start_matches("sha256:"));
        let layer_names: Vec<String> = (0..self.layers.len()).map(|i| format!("{i}/layer.tar")).collect();
        let manifest =
            json!([{ "Config": config_name, "RepoTags": [self.reference], "Layers": layer_names }]);
        let mut files = BTreeMap::from([
            ("manifest.json".to_owned(), serde_json::to_vec(&manifest).expect("plain JSON")),
            (config_name, blobs.config),
        ]);
        files.extend(layer_names.into_iter().zip(self.layers.iter().cloned()));
        write_tar(path, &files);
    }
}

/// The bytes of an image.
pub struct Blobs {
    /// The OCI manifest.
    pub manifest: Vec<u8>,
    /// The image config.
    pub config: Vec<u8>,
    /// Layers, gzip.
    pub layers: Vec<Vec<u8>>,
}

impl Blobs {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &[u8]> {
        [&self.manifest, &self.config].into_iter().chain(&self.layers).map(Vec::as_slice)
    }
}

fn descriptor(media_type: &str, blob: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest_of(blob), "size": blob.len() })
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

fn header(kind: tar::EntryType, mode: u32, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size as u64);
    header
}

fn entry(tar: &mut tar::Builder<Vec<u8>>, kind: tar::EntryType, path: &str, mode: u32, contents: &[u8]) {
    let mut header = header(kind, mode, contents.len());
    tar.append_data(&mut header, path, contents).expect("in memory");
}

fn write_tar(path: &Path, files: &BTreeMap<String, Vec<u8>>) {
    let mut tar = tar::Builder::new(File::create(path).expect("creatable"));
    for (name, contents) in files {
        let mut header = header(tar::EntryType::Regular, 0o644, contents.len());
        tar.append_data(&mut header, name, contents.as_slice()).expect("writable");
    }
    tar.finish().expect("writable");
}
