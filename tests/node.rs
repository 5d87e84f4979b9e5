//! One node for real: `leasehold up` on a real containerd, driven by kubectl.

#![allow(clippy::disallowed_methods, reason = "the tests have no driver: they wait for real programs")]

mod support;

use std::time::Duration;

use serde_json::Value;
use support::{BUSYBOX, Up};

fn daemon_set(name: &str, spec: &str) -> String {
    format!(
        r"
apiVersion: apps/v1
kind: DaemonSet
metadata: {{ name: {name} }}
spec:
  selector: {{ matchLabels: {{ app: {name} }} }}
  template:
    metadata: {{ labels: {{ app: {name} }} }}
    spec:
      terminationGracePeriodSeconds: 1
      hostNetwork: true
{}
",
        spec.trim_matches('\n').lines().map(|line| format!("      {line}")).collect::<Vec<_>>().join("\n")
    )
}

fn sleeper(name: &str) -> String {
    daemon_set(name, &format!("containers: [{{ name: main, image: {BUSYBOX}, command: [sleep, infinity] }}]"))
}

fn pid_of(up: &mut Up, pod: &Value) -> String {
    let id = pod["status"]["containerStatuses"][0]["containerID"].as_str().expect("started");
    let id = id.strip_prefix("containerd://").expect("containerd's").to_owned();
    let namespace = up.containerd().namespace().to_owned();
    let address = up.containerd().address();
    let output = std::process::Command::new("ctr")
        .args(["--address", &address.to_string_lossy(), "--namespace", &namespace, "task", "ls"])
        .output()
        .expect("ctr runs");
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = listed.lines().find(|line| line.starts_with(&id)).expect("the task is listed");
    line.split_whitespace().nth(1).expect("a pid").to_owned()
}

#[test]
fn a_daemon_set_is_hosted_shown_and_removed() {
    let Some(up) = Up::start(&[]) else { return };
    up.apply(&sleeper("web"));
    let pod = up.running("app=web");
    assert_eq!(pod["spec"]["nodeName"], "n1");
    assert_eq!(pod["metadata"]["ownerReferences"][0]["kind"], "DaemonSet");
    up.ok(&["rollout", "status", "ds/web", "--timeout=60s"]);
    let shown = up.ok(&["get", "ds", "web"]);
    assert!(shown.contains("1         1         1       1            1"), "{shown}");
    let described = up.ok(&["describe", "pod", pod["metadata"]["name"].as_str().expect("named")]);
    assert!(described.contains("Started"), "{described}");
    up.ok(&["delete", "ds", "web"]);
    up.until("the Pod is gone", || {
        let list = up.json(&["get", "pods", "-A"]);
        list["items"].as_array().is_some_and(Vec::is_empty).then_some(())
    });
    let left: Vec<_> = std::fs::read_dir(up.dir.join("state/agent/pods")).expect("is there").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_label_brings_a_pod_and_takes_it_away() {
    let Some(up) = Up::start(&[]) else { return };
    up.apply(&daemon_set(
        "gpu",
        &format!(
            "nodeSelector: {{ rack: r7 }}\ncontainers: [{{ name: main, image: {BUSYBOX}, command: [sleep, infinity] }}]"
        ),
    ));
    up.until("nothing is desired", || {
        (up.json(&["get", "ds", "gpu"])["status"]["observedGeneration"] == 1).then_some(())
    });
    assert_eq!(up.json(&["get", "pods"])["items"].as_array().map(Vec::len), Some(0));
    up.ok(&["label", "node", "n1", "rack=r7"]);
    up.running("app=gpu");
    up.ok(&["label", "node", "n1", "rack-"]);
    up.until("the Pod is gone", || {
        up.json(&["get", "pods"])["items"].as_array().is_some_and(Vec::is_empty).then_some(())
    });
}

#[test]
fn logs_exec_and_exit_codes_reach_kubectl() {
    let Some(up) = Up::start(&[]) else { return };
    up.apply(&daemon_set(
        "talk",
        &format!(
            "containers: [{{ name: main, image: {BUSYBOX}, command: [sh, -c, 'echo out; echo err >&2; exec sleep infinity'] }}]"
        ),
    ));
    let pod = up.running("app=talk");
    let name = pod["metadata"]["name"].as_str().expect("named");
    let logs = up.until("both lines", || {
        let logs = up.ok(&["logs", name]);
        (logs.contains("out\n") && logs.contains("err\n")).then_some(logs)
    });
    assert_eq!(logs.lines().count(), 2, "{logs}");
    assert_eq!(up.ok(&["exec", name, "--", "echo", "hello"]), "hello\n");
    let failed = up.kubectl(&["exec", name, "--", "sh", "-c", "exit 7"]);
    assert_eq!(failed.status.code(), Some(7));
}

#[test]
fn all_of_it_works_over_ipv6() {
    let host = std::net::Ipv6Addr::LOCALHOST;
    if let Err(error) = std::net::TcpListener::bind((host, 0)) {
        eprintln!("skipped: this machine has no {host}: {error}");
        return;
    }
    let Some(up) = Up::start_on(host.into(), &[], &[]) else { return };
    let kubeconfig = std::fs::read_to_string(up.kubeconfig()).expect("written");
    assert!(kubeconfig.contains("https://[::1]:"), "{kubeconfig}");
    up.apply(&daemon_set(
        "talk",
        &format!("containers: [{{ name: main, image: {BUSYBOX}, command: [sh, -c, 'echo out; exec sleep infinity'] }}]"),
    ));
    let pod = up.running("app=talk");
    let name = pod["metadata"]["name"].as_str().expect("named");
    assert_eq!((&pod["status"]["hostIP"], &pod["status"]["podIP"]), (&"::1".into(), &"::1".into()));
    let addresses = up.json(&["get", "node", "n1"])["status"]["addresses"].clone();
    assert_eq!(addresses[0], serde_json::json!({ "type": "InternalIP", "address": "::1" }));
    // From the coordinator to where the node listens, and back.
    up.until("its log", || (up.ok(&["logs", name]) == "out\n").then_some(()));
    assert_eq!(up.ok(&["exec", name, "--", "echo", "hello"]), "hello\n");
    assert_eq!(up.ok(&["get", "--raw", "/api/v1/nodes/n1/proxy/healthz"]), "ok");
}

#[test]
fn i5_the_death_of_the_agent_restarts_nothing_and_flips_no_readiness() {
    let Some(mut up) = Up::start(&[]) else { return };
    up.apply(&sleeper("web"));
    let before = up.running("app=web");
    let pid = pid_of(&mut up, &before);
    for _ in 0..3 {
        up.kill();
        up.boot();
    }
    std::thread::sleep(Duration::from_secs(2));
    let after = up.running("app=web");
    assert_eq!(pid_of(&mut up, &after), pid);
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(after["status"]["conditions"], before["status"]["conditions"]);
    assert_eq!(after["status"]["containerStatuses"][0]["restartCount"], 0);
}

#[test]
fn i9_without_a_coordinator_dead_daemon_set_pods_start_again_from_the_disk() {
    let Some(mut up) = Up::start(&[]) else { return };
    up.apply(&sleeper("web"));
    let before = up.running("app=web");
    let first = pid_of(&mut up, &before);
    up.kill();
    std::process::Command::new("kill").args(["-9", &first]).status().expect("kill runs");
    up.boot_agent_alone();
    let start = std::time::Instant::now();
    let second = loop {
        let id =
            before["metadata"]["annotations"]["leasehold.dev/uid"].as_str().unwrap_or_default().to_owned();
        let address = up.containerd().address();
        let namespace = up.containerd().namespace().to_owned();
        let output = std::process::Command::new("ctr")
            .args(["--address", &address.to_string_lossy(), "--namespace", &namespace, "task", "ls"])
            .output()
            .expect("ctr runs");
        let listed = String::from_utf8_lossy(&output.stdout).into_owned();
        let running = listed.lines().find(|line| line.starts_with(&id) && line.contains("RUNNING"));
        if let Some(line) = running {
            break line.split_whitespace().nth(1).expect("a pid").to_owned();
        }
        assert!(start.elapsed() < support::PATIENCE, "not started again:\n{listed}\n{}", up.log());
        std::thread::sleep(Duration::from_millis(100));
    };
    assert_ne!(first, second);
    up.kill();
    up.boot();
    let after = up.running("app=web");
    assert_eq!(pid_of(&mut up, &after), second, "the coordinator's return restarts nothing");
}
