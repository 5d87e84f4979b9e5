//! Logs and exec the whole way: kubectl, coordinator, node, containerd, container and back.

#![allow(clippy::disallowed_methods, reason = "the tests have no driver: they wait for real programs")]

mod support;

use std::fs;
use std::path::PathBuf;

use leasehold::logs::files;
use leasehold::logs::format::{Record, Stream};
use serde_json::Value;
use support::{BUSYBOX, Up};

/// A Pod of one container that runs a shell script.
fn pod(name: &str, policy: &str, script: &str) -> String {
    let command = serde_json::json!(["sh", "-c", script]);
    format!(
        r"
apiVersion: v1
kind: Pod
metadata: {{ name: {name}, labels: {{ app: {name} }} }}
spec:
  nodeName: n1
  hostNetwork: true
  restartPolicy: {policy}
  terminationGracePeriodSeconds: 1
  containers:
  - {{ name: main, image: {BUSYBOX}, command: {command} }}
"
    )
}

fn log_file(up: &Up, pod: &Value) -> PathBuf {
    let field = |name: &str| pod["metadata"][name].as_str().expect("set").to_owned();
    let dir = format!("{}_{}_{}", field("namespace"), field("name"), field("uid"));
    up.dir.join("log/pods").join(dir).join("main/0.log")
}

/// What the container wrote to its standard output, from all its log files.
fn written(log: &PathBuf) -> String {
    let mut text = Vec::new();
    for file in files::rotated(log).expect("listable").iter().map(|file| &file.path).chain([log]) {
        let bytes = fs::read(file).expect("readable");
        for record in bytes.split(|byte| *byte == b'\n').filter_map(Record::parse) {
            assert_eq!(record.stream, Stream::Stdout);
            text.extend_from_slice(record.text);
            text.extend_from_slice(if record.whole { b"\n" } else { b"" });
        }
    }
    String::from_utf8(text).expect("text")
}

#[test]
fn i5_a_counting_container_shows_no_gap_across_twenty_kills_of_the_agent() {
    let Some(mut up) = Up::start(&[]) else { return };
    // Slow enough for one log file: what is rotated away is no gap.
    let script =
        "i=0; while true; do echo line number $i; i=$((i+1)); [ $((i % 50)) = 0 ] && usleep 10000; done";
    up.apply(&pod("count", "Always", script));
    let before = up.running("app=count");
    let log = log_file(&up, &before);
    for _ in 0..20 {
        let length = fs::metadata(&log).expect("there").len();
        up.kill();
        up.until("more lines while no agent runs", || {
            (fs::metadata(&log).expect("there").len() > length).then_some(())
        });
        up.boot();
    }
    let after = up.running("app=count");
    assert_eq!(after["status"]["containerStatuses"], before["status"]["containerStatuses"]);
    up.ok(&["delete", "pod", "count", "--wait=false"]);
    up.kill();
    let mut expected = 0;
    let text = written(&log);
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        assert_eq!(line, format!("line number {expected}\n"));
        expected += 1;
    }
    assert!(expected > 1_000, "{expected}");
}

#[test]
fn kubectl_reads_logs_in_all_its_ways() {
    let Some(up) = Up::start(&[]) else { return };
    up.apply(&pod(
        "ends",
        "Never",
        "for i in 1 2 3; do echo $i; done; printf unfinished; sleep 2; echo; exit 3",
    ));
    // Follows from before the end, and ends with the container.
    up.until("a first line", || up.kubectl(&["logs", "ends"]).stdout.starts_with(b"1\n").then_some(()));
    assert_eq!(up.ok(&["logs", "-f", "ends"]), "1\n2\n3\nunfinished\n");
    assert_eq!(up.ok(&["logs", "ends", "--tail=2"]), "3\nunfinished\n");
    assert_eq!(up.ok(&["logs", "ends", "--tail=0"]), "");
    assert_eq!(up.ok(&["logs", "ends", "--limit-bytes=3"]), "1\n2");
    assert_eq!(up.ok(&["logs", "ends", "--since=1h", "-c", "main"]), "1\n2\n3\nunfinished\n");
    assert_eq!(up.ok(&["logs", "ends", "--since-time=2099-01-01T00:00:00Z"]), "");
    let stamped = up.ok(&["logs", "ends", "--timestamps", "--tail=1"]);
    let (time, line) = stamped.split_once(' ').expect("a time and a line");
    assert!(time.len() == 30 && line == "unfinished\n", "{stamped}");
    let refused = |args: &[&str]| {
        let output = up.kubectl(args);
        assert!(!output.status.success(), "{args:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    let message = refused(&["logs", "ends", "--previous"]);
    assert!(
        message.contains("previous terminated container \"main\" in pod \"ends\" not found"),
        "{message}"
    );
    let message = refused(&["logs", "ends", "-c", "other"]);
    assert!(message.contains("container other is not valid for pod ends"), "{message}");

    up.apply(&pod("again", "Always", "echo run; exit 1"));
    up.until("a second run", || {
        let pod = up.json(&["get", "pod", "again"]);
        (pod["status"]["containerStatuses"][0]["restartCount"].as_u64()? > 0).then_some(())
    });
    assert_eq!(up.ok(&["logs", "again", "--previous"]), "run\n");
}

#[test]
fn kubectl_runs_commands_with_input_and_output() {
    let Some(up) = Up::start(&[]) else { return };
    up.apply(&pod("host", "Always", "exec sleep infinity"));
    up.running("app=host");
    let input = "a line of input that is neither short nor long\n".repeat(100_000);
    let output = up.kubectl_with_input(&["exec", "-i", "host", "--", "cat"], &input);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} bytes, {:?}, {stderr}", output.stdout.len(), output.status);
    assert!(output.stdout == input.as_bytes(), "{} bytes", output.stdout.len());
    let counted = up
        .kubectl_with_input(&["exec", "-i", "host", "--", "sh", "-c", "wc -c; echo err >&2; exit 4"], &input);
    assert_eq!(String::from_utf8_lossy(&counted.stdout).trim(), input.len().to_string());
    assert!(counted.stderr.starts_with(b"err\n"));
    assert_eq!(counted.status.code(), Some(4));
    // What the process does not read does not hold it.
    assert_eq!(up.kubectl_with_input(&["exec", "-i", "host", "--", "true"], &input).status.code(), Some(0));
    let killed = up.kubectl(&["exec", "host", "--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(killed.status.code(), Some(137));
    let missing = up.kubectl(&["exec", "host", "--", "no-such-program"]);
    let message = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(!missing.status.success() && message.contains("no-such-program"), "{message}");
}
