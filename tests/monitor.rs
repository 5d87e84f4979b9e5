//! The monitor for real: a node whose agent dies is found out, called lost, tainted and emptied, and taken back when it
//! returns.

#![allow(clippy::disallowed_methods, reason = "the tests have no driver: they wait for real programs")]

mod support;

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use support::Up;

/// A second agent, on a machine without containerd: its node is there and not ready.
struct Second<'a> {
    up: &'a Up,
    process: Child,
}

impl<'a> Second<'a> {
    fn start(up: &'a Up) -> Self {
        let path = |name: &str| up.dir.join("second").join(name).to_string_lossy().into_owned();
        let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("free").port();
        std::fs::create_dir_all(up.dir.join("second")).expect("made");
        let log = std::fs::File::options().create(true).append(true).open(path("log.txt")).expect("opened");
        let child = Command::new(env!("CARGO_BIN_EXE_leasehold"))
            .args(["agent", "--kubeconfig", &up.kubeconfig().to_string_lossy(), "--node-name", "n2"])
            .args(["--node-ip", "127.0.0.1", "--node-listen", &format!("127.0.0.1:{port}")])
            .args(["--data-dir", &path("data"), "--runtime-dir", &path("run"), "--log-dir", &path("log")])
            .args(["--cni-conf-dir", &path("cni"), "--containerd-address", &path("none.sock")])
            .args(["--session-duration", "10", "--pressure-thresholds="])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("runs");
        Self { up, process: child }
    }
}

impl Drop for Second<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let path = |name: &str| self.up.dir.join("second").join(name).to_string_lossy().into_owned();
        let reset = Command::new(env!("CARGO_BIN_EXE_leasehold"))
            .args(["reset", "--yes", "--data-dir", &path("none"), "--runtime-dir", &path("run")])
            .args(["--log-dir", &path("log"), "--containerd-namespace", "leasehold-test-second"])
            .args(["--containerd-address", &self.up.containerd_address().to_string_lossy()])
            .output()
            .expect("runs");
        assert!(reset.status.success(), "{}", String::from_utf8_lossy(&reset.stderr));
    }
}

fn node(up: &Up, name: &str) -> Value {
    serde_json::from_str(&up.ok(&["get", "node", name, "-o", "json"])).expect("JSON")
}

/// `Ready`'s status and the taints in short.
fn standing(node: &Value) -> (String, Vec<String>) {
    let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready");
    let taints = node["spec"]["taints"].as_array().into_iter().flatten().map(|taint| {
        let text = |field: &str| taint[field].as_str().unwrap_or_default().to_owned();
        format!("{}:{}", text("key").trim_start_matches("node.kubernetes.io/"), text("effect"))
    });
    (
        ready.map_or_else(String::new, |ready| ready["status"].as_str().unwrap_or_default().to_owned()),
        taints.collect(),
    )
}

fn until(up: &Up, name: &str, ready: &str, taints: &[&str]) {
    let what = format!("{name}: Ready {ready}, {taints:?}");
    up.until(&what, || {
        let node = Command::new("kubectl")
            .args(["--kubeconfig", &up.kubeconfig().to_string_lossy(), "get", "node", name, "-o", "json"])
            .output()
            .ok()
            .and_then(|output| serde_json::from_slice(&output.stdout).ok())?;
        (standing(&node) == (ready.to_owned(), taints.iter().map(|&it| it.to_owned()).collect()))
            .then_some(())
    });
}

#[test]
fn a_lost_node_is_tainted_and_emptied_and_a_node_that_returns_is_taken_back() {
    let Some(up) = Up::start(&["--session-duration", "10"]) else { return };
    let second = Second::start(&up);
    until(&up, "n2", "False", &["not-ready:NoSchedule", "not-ready:NoExecute"]);
    until(&up, "n1", "True", &[]);
    up.ok(&["cordon", "n1"]);
    until(&up, "n1", "True", &["unschedulable:NoSchedule"]);
    up.ok(&["uncordon", "n1"]);
    until(&up, "n1", "True", &[]);

    let pod = |name: &str, tolerations: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{ name: {name} }}\nspec: {{ nodeName: n2, hostNetwork: true, \
             tolerations: [{tolerations}], containers: [{{ name: main, image: 'example.test/busybox:1' }}] }}\n"
        )
    };
    let not_ready = "{ key: node.kubernetes.io/not-ready, operator: Exists }";
    let unreachable =
        "{ key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 1 }";
    up.apply(
        &(pod("stays", "{ operator: Exists }") + &pod("leaves", &format!("{not_ready}, {unreachable}"))),
    );

    drop(second);
    until(&up, "n2", "Unknown", &["unreachable:NoSchedule", "unreachable:NoExecute"]);
    let lease: Value =
        serde_json::from_str(&up.ok(&["get", "lease", "n2", "-n", "kube-node-lease", "-o", "json"]))
            .expect("JSON");
    assert_eq!(lease["spec"]["holderIdentity"], "", "the session was revoked: {lease}");
    let ending = |name: &str| {
        let pod = up.ok(&[
            "get",
            "pod",
            name,
            "--ignore-not-found",
            "-o",
            "jsonpath={.metadata.deletionTimestamp}|{.metadata.name}",
        ]);
        !pod.starts_with('|')
    };
    up.until("the Pod that does not tolerate it leaves", || ending("leaves").then_some(()));
    assert!(!ending("stays"));
    assert_eq!(standing(&node(&up, "n1")), ("True".to_owned(), vec![]), "the other node is as it was");
    let events = up.ok(&["get", "events", "-A"]);
    assert!(events.contains("TaintManagerEviction") && events.contains("NodeNotReady"), "{events}");

    let _second = Second::start(&up);
    until(&up, "n2", "False", &["not-ready:NoSchedule", "not-ready:NoExecute"]);
    up.ok(&["delete", "pod", "--all", "--force", "--grace-period=0"]);
}
