//! Workloads from manifest to containers on one real node: a steward makes the Pods, the node takes them.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::collections::BTreeSet;

use serde_json::Value;
use support::{BUSYBOX, TestImage, Up};

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

/// What people type, from `kubectl create deployment` to `rollout undo`.
#[test]
fn a_deployment_rolls_out_and_back_as_people_know_it() {
    let Some(up) = Up::start(&[]) else { return };
    let second = "example.test/busybox:2";
    let archive = up.dir.join("second.tar");
    TestImage::busybox(second).write_oci_archive(&archive);
    up.import(&archive);
    up.ok(&["create", "deployment", "web", "--image", BUSYBOX, "--replicas=0", "--", "sleep", "1000"]);
    let host = r#"{"spec":{"template":{"spec":{"hostNetwork":true,"terminationGracePeriodSeconds":1}}}}"#;
    up.ok(&["patch", "deployment", "web", "-p", host]);
    up.ok(&["scale", "deployment", "web", "--replicas=3"]);
    up.ok(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    let before = uids(&up, "app=web");
    assert_eq!(before.len(), 3);

    up.ok(&["set", "image", "deployment/web", &format!("busybox={second}")]);
    up.ok(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    let after = uids(&up, "app=web");
    assert_eq!((after.len(), after.intersection(&before).count()), (3, 0), "all Pods are new");
    let history = up.ok(&["rollout", "history", "deployment/web"]);
    assert!(history.contains('3'), "created, patched, a new image: {history}");

    up.ok(&["rollout", "pause", "deployment/web"]);
    up.ok(&["set", "image", "deployment/web", "busybox=example.test/absent:1"]);
    up.until("the pause is told of", || {
        let reason = "jsonpath={.status.conditions[?(@.type=='Progressing')].reason}";
        (up.ok(&["get", "deployment", "web", "-o", reason]) == "DeploymentPaused").then_some(())
    });
    assert_eq!(uids(&up, "app=web"), after, "nothing is rolled out while it is paused");
    up.ok(&["rollout", "resume", "deployment/web"]);
    up.until("a Pod of an image that is not there", || {
        let sets = up.json(&["get", "rs", "-l", "app=web"]);
        let sets = sets["items"].as_array()?.iter();
        sets.filter(|set| set["status"]["replicas"] == 1).count().eq(&1).then_some(())
    });
    let available = up.json(&["get", "deployment", "web"])["status"]["availableReplicas"].clone();
    assert_eq!(available, 3, "25 % of three, rounded down, may be unavailable: none");
    up.ok(&["rollout", "undo", "deployment/web"]);
    up.ok(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    assert_eq!(uids(&up, "app=web"), after, "the others never left");

    up.ok(&["rollout", "restart", "deployment/web"]);
    up.ok(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    assert_eq!(uids(&up, "app=web").intersection(&after).count(), 0);
    up.ok(&["delete", "deployment", "web", "--cascade=foreground", "--timeout=60s"]);
    assert!(up.json(&["get", "pods,rs"])["items"].as_array().unwrap().is_empty(), "nothing is left");
}
