//! Images from registries that want something: a password, a proxy, an authority, a mirror.

#![allow(clippy::disallowed_methods, reason = "the tests have no driver: they wait for real programs")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use support::{BUSYBOX, Registry, TestImage, Up, pod_manifest};

fn push(registry: &Registry, repository: &str) {
    let image =
        TestImage::busybox("example.test/pushed:1").with_file("etc/name", 0o644, repository.as_bytes());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(registry.push(repository, "1", &image.blobs()));
}

/// Why the only container of a Pod waits.
fn waiting(up: &Up, pod: &str) -> Option<(String, String)> {
    let pod = up.json(&["get", "pod", pod]);
    let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
    Some((waiting["reason"].as_str()?.to_owned(), waiting["message"].as_str().unwrap_or_default().to_owned()))
}

fn with_secret(name: &str, image: &str, secret: &str) -> String {
    let pod = pod_manifest(name, image, "[sleep, infinity]");
    pod.replace("nodeName: n1,", &format!("nodeName: n1, imagePullSecrets: [{{ name: {secret} }}],"))
}

#[test]
fn a_private_registry_is_shown_the_pull_secret_of_the_pod() {
    let Some(open) = Registry::start() else { return };
    push(&open, "team/app");
    let private = open.with_password();
    let image = format!("{}/team/app:1", private.address());
    let Some(up) = Up::start(&[]) else { return };
    let login = |password: &str| {
        serde_json::json!({ "auths": { private.address(): { "username": "me", "password": password } } })
            .to_string()
    };
    for (name, password) in [("right", "s3cret"), ("wrong", "guess")] {
        let secret: Value = serde_json::json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name },
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": { ".dockerconfigjson": login(password) },
        });
        up.apply(&secret.to_string());
    }
    up.apply(&pod_manifest("none", &image, "[sleep, infinity]"));
    up.apply(&with_secret("bad", &image, "wrong"));
    up.apply(&with_secret("lost", &image, "nosuch"));
    for (pod, part) in [("none", "refuses access"), ("bad", "refuses access"), ("lost", "nosuch")] {
        up.until(part, || {
            let (reason, message) = waiting(&up, pod)?;
            (reason == "ErrImagePull" && message.contains(part)).then_some(())
        });
    }
    up.apply(&with_secret("good", &image, "right"));
    up.running("app=good");
}

/// A proxy that only knows CONNECT, and leads everything to one address.
struct Proxy {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let address = format!("http://{}", listener.local_addr().expect("bound"));
        let (asked, target) = (Arc::new(Mutex::new(Vec::new())), target.to_owned());
        let seen = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (seen, target) = (seen.clone(), target.clone());
                std::thread::spawn(move || tunnel(&stream, &target, &seen));
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        let mut asked = self.asked.lock().expect("whole").clone();
        asked.sort();
        asked.dedup();
        asked
    }
}

fn tunnel(mut client: &TcpStream, target: &str, seen: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(client);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    seen.lock().expect("whole").push(first.trim_end_matches(" HTTP/1.1\r\n").to_owned());
    let mut line = String::from("-");
    while !line.trim().is_empty() {
        line.clear();
        reader.read_line(&mut line).ok()?;
    }
    if !first.starts_with("CONNECT ") {
        return write!(client, "HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n").ok();
    }
    let server = TcpStream::connect(target).ok()?;
    write!(client, "HTTP/1.1 200 Connection established\r\n\r\n").ok()?;
    let (mut up, mut down) = (server.try_clone().ok()?, client.try_clone().ok()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut &server, &mut down);
        let _ = down.shutdown(Shutdown::Write);
    });
    std::io::copy(&mut reader, &mut up).ok()?;
    up.shutdown(Shutdown::Write).ok()
}

/// A certificate for `registry.test` that is its own authority, and its key.
fn certificate(dir: &Path) {
    let made = rcgen::generate_simple_self_signed(["registry.test".to_owned()]).expect("a certificate");
    std::fs::write(dir.join("ca.pem"), made.cert.pem()).expect("writable");
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).expect("writable");
}

#[test]
fn pulls_go_through_the_proxy_by_the_machines_authorities_and_nothing_else_does() {
    let Some(open) = Registry::start() else { return };
    push(&open, "team/app");
    let scratch = tempfile::tempdir().expect("a directory");
    let hosts = scratch.path().join("registry.test");
    std::fs::create_dir(&hosts).expect("creatable");
    certificate(&hosts);
    std::fs::write(
        hosts.join("hosts.toml"),
        "server = \"https://registry.test\"\nca = \"ca.pem\"\n[host.\"http://127.0.0.1:1\"]\n",
    )
    .expect("writable");
    let secure = open.with_tls(&hosts.join("ca.pem"), &hosts.join("key.pem"));
    let proxy = Proxy::to(secure.address());
    let Some(up) = Up::start_in(
        &["--registry-config-dir", &scratch.path().to_string_lossy()],
        &[("HTTPS_PROXY", &proxy.address), ("HTTP_PROXY", &proxy.address)],
    ) else {
        return;
    };
    up.apply(&pod_manifest(
        "far",
        "registry.test/team/app:1",
        "[sh, -c, 'cat /etc/name; echo; exec sleep infinity']",
    ));
    up.running("app=far");
    // Through the coordinator to the node and back.
    up.until("its log", || up.ok(&["logs", "far"]).contains("team/app").then_some(()));
    assert_eq!(up.ok(&["exec", "far", "--", "echo", "hello"]), "hello\n");
    up.apply(&pod_manifest("near", BUSYBOX, "[sleep, infinity]"));
    up.running("app=near");
    assert_eq!(proxy.asked(), ["CONNECT registry.test:443"]);
}

/// `0.0.0.0` leads to this machine as loopback does, but nobody takes it for this machine before connecting.
#[test]
fn pulls_go_past_the_proxy_where_no_proxy_says_so_and_only_there() {
    let Some(open) = Registry::start() else { return };
    push(&open, "team/app");
    let (_, port) = open.address().rsplit_once(':').expect("it has a port");
    let scratch = tempfile::tempdir().expect("a directory");
    let hosts = scratch.path().join("far.test");
    std::fs::create_dir(&hosts).expect("creatable");
    std::fs::write(hosts.join("hosts.toml"), format!("server = \"http://0.0.0.0:{port}\"\n"))
        .expect("writable");
    for (no_proxy, is_asked) in [("other.test,0.0.0.0", false), ("0.0.0.0/8", false), ("other.test", true)] {
        let proxy = Proxy::to(open.address());
        let Some(up) = Up::start_in(
            &["--registry-config-dir", &scratch.path().to_string_lossy()],
            &[("HTTP_PROXY", &proxy.address), ("HTTPS_PROXY", &proxy.address), ("NO_PROXY", no_proxy)],
        ) else {
            return;
        };
        up.apply(&pod_manifest("app", "far.test/team/app:1", "[sleep, infinity]"));
        if is_asked {
            // This proxy refuses what is not CONNECT.
            up.until("the proxy's refusal", || waiting(&up, "app").filter(|(why, _)| why == "ErrImagePull"));
            let asked = proxy.asked();
            assert!(asked.iter().all(|line| line.contains(" http://0.0.0.0:")), "{no_proxy}: {asked:?}");
            assert!(!asked.is_empty(), "{no_proxy}");
        } else {
            up.running("app=app");
            up.ok(&["exec", "app", "--", "true"]);
            assert_eq!(proxy.asked(), <[String; 0]>::default(), "{no_proxy}");
        }
    }
}

#[test]
fn a_mirror_serves_what_its_registry_would() {
    let Some(mirror) = Registry::start() else { return };
    push(&mirror, "cache/team/app");
    let scratch = tempfile::tempdir().expect("a directory");
    let hosts = scratch.path().join("_default");
    std::fs::create_dir(&hosts).expect("creatable");
    let text = format!("[host.\"http://{}/v2/cache\"]\noverride_path = true\n", mirror.address());
    std::fs::write(hosts.join("hosts.toml"), text).expect("writable");
    let Some(up) = Up::start(&["--registry-config-dir", &scratch.path().to_string_lossy()]) else { return };
    up.apply(&pod_manifest("app", "registry.test/team/app:1", "[sleep, infinity]"));
    let pod = up.running("app=app");
    let id = pod["status"]["containerStatuses"][0]["imageID"].as_str().expect("known");
    assert!(id.starts_with("registry.test/team/app@sha256:"), "{id}");
}
