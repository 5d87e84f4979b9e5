//! I5 at the size of a full node: the agent dies again and again, and no Pod notices.

#![allow(clippy::disallowed_methods, reason = "the tests have no driver: they wait for real programs")]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{BUSYBOX, SlowRegistry, TestImage, Up};

const PODS: usize = 50;
const KILLS: u64 = 20;

/// Grace period of the Pod that is being stopped all the while, seconds.
const GRACE: u64 = 12;

fn pod(name: &str, image: &str, grace: u64, command: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{ name: {name}, labels: {{ app: {} }} }}\n\
         spec: {{ nodeName: n1, hostNetwork: true, terminationGracePeriodSeconds: {grace}, \
         containers: [{{ name: main, image: '{image}', command: {command} }}] }}\n",
        name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-')
    )
}

const SLEEP: &str = "[sleep, infinity]";

/// What a restart or a flip would change, by Pod.
fn seen(up: &Up, label: &str) -> BTreeMap<String, Value> {
    let list = up.json(&["get", "pods", "-l", label]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of = |pod: &Value| {
        let status = &pod["status"];
        let kept = ["conditions", "containerStatuses", "phase", "startTime"].map(|key| status[key].clone());
        (text(&pod["metadata"]["name"]), Value::from(kept.to_vec()))
    };
    list["items"].as_array().into_iter().flatten().map(of).collect()
}

fn ready(pod: &Value) -> bool {
    pod[0].as_array().is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}

/// Host pids of the containers' first processes, by container id.
fn pids(up: &mut Up) -> BTreeMap<String, String> {
    let namespace = up.containerd().namespace().to_owned();
    let output = Command::new("ctr")
        .args(["--address", &up.containerd().address().to_string_lossy(), "--namespace", &namespace])
        .args(["task", "ls"])
        .output()
        .expect("ctr runs");
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = listed.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    words.filter(|w| w.get(2) == Some(&"RUNNING")).map(|w| (w[0].to_owned(), w[1].to_owned())).collect()
}

/// Whether a process with this command line runs, outside of kubectl.
fn runs(command: &[&str]) -> bool {
    let wanted = command.join("\0") + "\0";
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == wanted.as_bytes()))
}

#[test]
fn i5_twenty_deaths_of_the_agent_restart_none_of_fifty_pods_also_amid_a_pull_a_stop_and_an_exec() {
    let Some(mut up) = Up::start(&[]) else { return };
    let image = TestImage::busybox("example.test/slow:1").with_file("etc/slow", 0o644, &vec![b'x'; 100_000]);
    let registry = SlowRegistry::start(&image.blobs());
    let mut manifest = String::new();
    for number in 0..PODS {
        let _ = write!(manifest, "{}", pod(&format!("host-{number}"), BUSYBOX, 1, SLEEP));
    }
    let deaf = "[sh, -c, 'trap : TERM; while true; do sleep 1; done']";
    let _ = write!(manifest, "{}", pod("stopping", BUSYBOX, GRACE, deaf));
    up.apply(&manifest);
    let before = up.until("all Pods are ready", || {
        let seen = seen(&up, "app=host");
        (seen.len() == PODS && seen.values().all(ready)).then_some(seen)
    });
    up.until("the Pod to be stopped is ready", || {
        seen(&up, "app=stopping").values().any(ready).then_some(())
    });
    let pids_before = pids(&mut up);
    assert_eq!(pids_before.len(), PODS + 1);

    // Something is under way in all directions.
    up.apply(&pod("pulling", &registry.reference(), 1, SLEEP));
    up.until("the pull has begun", || (registry.asked() > 0).then_some(()));
    let marker = format!("3600.{}", std::process::id());
    let command = ["sleep", marker.as_str()];
    let mut exec = Command::new("kubectl")
        .args(["exec", "host-0", "--"])
        .args(command)
        .env("KUBECONFIG", up.kubeconfig())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("kubectl starts");
    up.until("the exec runs", || runs(&command).then_some(()));
    up.ok(&["delete", "pod", "stopping", "--wait=false"]);
    let deleted = Instant::now();

    for kill in 0..KILLS {
        up.kill();
        if kill % 2 == 0 {
            up.boot();
        } else {
            // Dies at some moment of its start, and the next one with it.
            up.flash(Duration::from_millis(kill * 25));
            up.boot();
        }
    }
    up.until("the process of a cut exec is ended", || (!runs(&command)).then_some(()));
    exec.wait().expect("kubectl ends");

    up.until("the Pod is stopped", || seen(&up, "app=stopping").is_empty().then_some(()));
    let took = deleted.elapsed().as_secs();
    assert!(took >= GRACE, "stopped before its grace period was over: after {took} s");
    registry.release();
    let pulled = up.running("app=pulling");
    assert_eq!(pulled["status"]["containerStatuses"][0]["restartCount"], 0);

    let after = seen(&up, "app=host");
    for (name, pod) in &before {
        assert_eq!(after.get(name), Some(pod), "{name}");
    }
    let pids_after = pids(&mut up);
    assert_eq!(pids_after.len(), PODS + 1, "all but the stopped one, and the pulled one");
    let kept = pids_before.iter().filter(|(id, pid)| pids_after.get(*id) == Some(pid)).count();
    assert_eq!(kept, PODS);
}
