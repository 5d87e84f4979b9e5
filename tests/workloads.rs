//! Workloads from manifest to containers on one real node: a steward makes the Pods, the node takes them.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::collections::BTreeSet;

use serde_json::Value;
use support::{BUSYBOX, Up};

fn manifest(kind: &str, name: &str, spec: &str, restart: &str, command: &str) -> String {
    let group = if kind == "Job" { "batch/v1" } else { "apps/v1" };
    let selector =
        if kind == "Job" { String::new() } else { format!("selector: {{matchLabels: {{app: {name}}}}}, ") };
    format!(
        "apiVersion: {group}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {{{spec}, {selector}template: \
         {{metadata: {{labels: {{app: {name}}}}}, spec: {{hostNetwork: true, restartPolicy: {restart}, \
         terminationGracePeriodSeconds: 1, containers: [{{name: c, image: '{BUSYBOX}', command: {command}}}]}}}}}}\n"
    )
}

fn uids(up: &Up, label: &str) -> BTreeSet<String> {
    let list = up.json(&["get", "pods", "-l", label]);
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let uid = |pod: &Value| pod["metadata"]["uid"].as_str().map(str::to_owned);
    items.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).filter_map(uid).collect()
}

#[test]
fn replica_sets_stateful_sets_and_jobs_run_on_a_real_node() {
    let Some(up) = Up::start(&[]) else { return };
    let sleep = "[sleep, '1000']";
    up.apply(&manifest("ReplicaSet", "web", "replicas: 3", "Always", sleep));
    up.ok(&["wait", "rs/web", "--for=jsonpath={.status.availableReplicas}=3", "--timeout=90s"]);
    let before = uids(&up, "app=web");
    let victim = up.ok(&["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].metadata.name}"]);
    up.ok(&["delete", "pod", &victim, "--timeout=60s"]);
    up.ok(&["wait", "rs/web", "--for=jsonpath={.status.availableReplicas}=3", "--timeout=90s"]);
    assert_eq!(uids(&up, "app=web").intersection(&before).count(), 2, "the others ran on");

    up.apply(&manifest("StatefulSet", "db", "replicas: 2, serviceName: dbs", "Always", sleep));
    up.ok(&["rollout", "status", "sts/db", "--timeout=90s"]);
    up.ok(&["scale", "sts", "db", "--replicas=1"]);
    up.until("db-1 goes", || up.json(&["get", "pod", "db-1"]).is_null().then_some(()));

    let spec = "completions: 4, parallelism: 2, completionMode: Indexed";
    up.apply(&manifest("Job", "sum", spec, "Never", "[sh, -c, 'echo index=$JOB_COMPLETION_INDEX']"));
    up.ok(&["wait", "--for=condition=complete", "job/sum", "--timeout=90s"]);
    let job = up.json(&["get", "job", "sum"]);
    assert_eq!((&job["status"]["succeeded"], &job["status"]["completedIndexes"]), (&4.into(), &"0-3".into()));
    let logs = up.ok(&["logs", "-l", "app=sum", "--tail=-1"]);
    let indexes: BTreeSet<&str> = logs.lines().collect();
    assert_eq!(indexes, BTreeSet::from(["index=0", "index=1", "index=2", "index=3"]));

    for of in ["rs/web", "sts/db", "job/sum"] {
        up.ok(&["delete", of, "--cascade=foreground", "--timeout=60s"]);
    }
    assert!(up.json(&["get", "pods"])["items"].as_array().unwrap().is_empty(), "nothing is left");
}
