//! The Node says what is so, soon after it has become so.

#![allow(clippy::disallowed_methods, reason = "the tests have no driver: they wait for real programs")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount, umount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::{BUSYBOX, TestImage, Up, pod_manifest};

const GPU: &str = "feature.node.kubernetes.io/pci-0302_10de.present";

fn node(up: &Up) -> Value {
    up.json(&["get", "node", "n1"])
}

/// Status and message of a condition.
fn condition(up: &Up, kind: &str) -> Option<(String, String)> {
    let node = node(up);
    let found = node["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == kind)?.clone();
    let text = |key: &str| found[key].as_str().map(str::to_owned);
    Some((text("status")?, text("message")?))
}

fn images(up: &Up) -> String {
    node(up)["status"]["images"].to_string()
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status().expect("cp runs");
    assert!(status.success());
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

#[test]
fn images_that_others_bring_and_take_are_listed_and_not() {
    let Some(mut up) = Up::start(&[]) else { return };
    up.until("the first image is listed", || images(&up).contains(BUSYBOX).then_some(()));
    let archive = up.dir.join("other.tar");
    TestImage::busybox("example.test/other:1")
        .with_file("etc/other", 0o644, b"x")
        .write_oci_archive(&archive);
    up.import(&archive);
    up.until("the second is listed", || images(&up).contains("example.test/other:1").then_some(()));
    let namespace = up.containerd().namespace().to_owned();
    let removed = Command::new("ctr")
        .args(["--address", &up.containerd().address().to_string_lossy(), "--namespace", &namespace])
        .args(["image", "rm", "example.test/other:1"])
        .output()
        .expect("ctr runs");
    assert!(removed.status.success());
    up.until("it is listed no more", || (!images(&up).contains("example.test/other:1")).then_some(()));
}

#[test]
fn hardware_that_comes_and_goes_changes_labels_and_what_the_node_hosts() {
    let scratch = tempfile::tempdir().expect("a directory");
    let root = scratch.path().join("root");
    copy(&fixture("cpu-only"), &root);
    let Some(up) = Up::start(&["--sysroot", &root.to_string_lossy()]) else { return };
    up.apply(&format!(
        r#"
apiVersion: apps/v1
kind: DaemonSet
metadata: {{ name: gpu }}
spec:
  selector: {{ matchLabels: {{ app: gpu }} }}
  template:
    metadata: {{ labels: {{ app: gpu }} }}
    spec:
      nodeSelector: {{ {GPU}: "true" }}
      hostNetwork: true
      terminationGracePeriodSeconds: 1
      containers: [{{ name: main, image: {BUSYBOX}, command: [sleep, infinity] }}]
"#
    ));
    let label = || node(&up)["metadata"]["labels"][GPU].clone();
    assert_eq!(label(), Value::Null);
    // The kernel announces something, as it does when a device is plugged in.
    let devices = Path::new("sys/bus/pci/devices");
    let device = devices.join("0000:1b:00.0");
    copy(&fixture("h100x8").join(&device), &root.join(devices));
    std::fs::write("/sys/devices/system/cpu/cpu0/uevent", "change").expect("root may");
    up.running("app=gpu");
    assert_eq!(label(), "true");
    // And a person does.
    std::fs::remove_dir_all(root.join(&device)).expect("it is there");
    kill(Pid::from_raw(up.pid() as i32), Signal::SIGHUP).expect("it is our child");
    up.until("the Pod is gone", || {
        up.json(&["get", "pods"])["items"].as_array().is_some_and(Vec::is_empty).then_some(())
    });
    assert_eq!(label(), Value::Null);
}

#[test]
fn a_containerd_that_is_away_is_reported_and_stops_nothing() {
    let Some(mut up) = Up::start(&[]) else { return };
    for name in ["stays", "dies"] {
        up.apply(&pod_manifest(name, BUSYBOX, "[sleep, infinity]"));
    }
    let (before, dies) = (up.running("app=stays"), up.running("app=dies"));
    let dies = dies["status"]["containerStatuses"][0]["containerID"].as_str().expect("runs").to_owned();
    let listed = {
        let namespace = up.containerd().namespace().to_owned();
        let address = up.containerd().address();
        Command::new("ctr")
            .args(["--address", &address.to_string_lossy(), "--namespace", &namespace, "task", "ls"])
            .output()
            .expect("ctr runs")
    };
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let id = dies.trim_start_matches("containerd://");
    let line = listed.lines().find(|line| line.starts_with(id)).expect("listed");
    let pid: i32 = line.split_whitespace().nth(1).and_then(|pid| pid.parse().ok()).expect("a pid");

    up.containerd().kill();
    let (_, message) =
        up.until("the Node is not Ready", || condition(&up, "Ready").filter(|(status, _)| status == "False"));
    assert!(message.contains("containerd"), "{message}");
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
    let pods = up.json(&["get", "pods"]);
    assert!(pods["items"].as_array().expect("listed").iter().all(|pod| pod["status"]["phase"] == "Running"));
    up.containerd().boot();
    up.until("the Node is Ready again", || condition(&up, "Ready").filter(|(status, _)| status == "True"));
    up.until("what died runs again", || {
        let pod = up.json(&["get", "pod", "dies"]);
        let status = &pod["status"]["containerStatuses"][0];
        (status["restartCount"] == 1 && status["ready"] == true).then_some(())
    });
    let after = up.json(&["get", "pod", "stays"]);
    assert_eq!(after["status"], before["status"]);
}

#[test]
fn a_disk_that_fills_is_reported() {
    let Some(mut up) = Up::start(&["--pressure-thresholds", "nodefs.available<10%"]) else { return };
    up.kill();
    // The agent's data on a disk of its own.
    let state = up.dir.join("state");
    let aside = up.dir.join("aside");
    std::fs::rename(&state, &aside).expect("the same disk");
    std::fs::create_dir(&state).expect("creatable");
    mount(Some("tmpfs"), &state, Some("tmpfs"), MsFlags::empty(), Some("size=32m")).expect("root may");
    copy(&aside.join("."), &state);
    up.boot();
    // How full the machine's own disk is, where the agent was before, is not this test's.
    let (_, message) = up.until("the Node has disk enough", || {
        condition(&up, "DiskPressure").filter(|(status, _)| status == "False")
    });
    assert_eq!(message, "kubelet has no disk pressure");
    std::fs::write(state.join("ballast"), vec![0; 30 << 20]).expect("there is room");
    let (_, message) = up.until("the Node is short of disk", || {
        condition(&up, "DiskPressure").filter(|(status, _)| status == "True")
    });
    assert_eq!(message, "kubelet has disk pressure");
    std::fs::remove_file(state.join("ballast")).expect("is there");
    up.kill();
    umount(&state).expect("mounted here");
    std::fs::remove_dir(&state).expect("empty");
    std::fs::rename(&aside, &state).expect("the same disk");
}
