//! Persistent volumes on one real node: data outlives Pods, and goes when it is to go.

#![allow(clippy::disallowed_methods, reason = "the tests have no driver: they wait for real programs")]

mod support;

use std::path::{Path, PathBuf};

use support::{BUSYBOX, Up};

/// Whether the directory of a volume is there, below the agent's data.
fn dirs(up: &Up) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(up.dir.join("state/agent/volumes"));
    entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// A Pod that uses a claim at `/data`; `more` are further fields of its spec.
fn pod(name: &str, claim: &str, more: &str, mount: &str, script: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\n\
         spec: {{hostNetwork: true, restartPolicy: Never, terminationGracePeriodSeconds: 1, {more} \
         volumes: [{{name: d, persistentVolumeClaim: {{claimName: {claim}}}}}], \
         containers: [{{name: c, image: '{BUSYBOX}', command: [sh, -c, '{script}'], \
         volumeMounts: [{{name: d, mountPath: /data{mount}}}]}}]}}\n"
    )
}

fn claim(name: &str, more: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {name}}}\n\
         spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 10Mi}}}}, {more}}}\n"
    )
}

fn gone(up: &Up, what: &[&str]) {
    up.until(&format!("{what:?} is gone"), || up.json(&[&["get"], what].concat()).is_null().then_some(()));
}

fn event(up: &Up, object: &str, reason: &str) {
    up.until(&format!("{reason} of {object}"), || {
        let events = up.json(&["get", "events"]);
        let is_it = |event: &serde_json::Value| {
            event["involvedObject"]["name"] == object && event["reason"] == reason
        };
        events["items"].as_array()?.iter().any(is_it).then_some(())
    });
}

#[test]
fn a_replacement_of_a_stateful_pod_meets_its_data_also_after_scaling_down_and_up() {
    let Some(mut up) = Up::start(&[]) else { return };
    let class = up.json(&["get", "sc", "local"]);
    assert_eq!(class["provisioner"], "leasehold.dev/local");
    let set = |policy: &str| {
        format!(
            "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {{name: db}}\nspec: {{replicas: 2, serviceName: db, \
             {policy} selector: {{matchLabels: {{app: db}}}}, template: {{metadata: {{labels: {{app: db}}}}, spec: \
             {{hostNetwork: true, terminationGracePeriodSeconds: 1, securityContext: {{fsGroup: 2000}}, containers: \
             [{{name: c, image: '{BUSYBOX}', securityContext: {{runAsUser: 1000}}, command: [sh, -c, 'echo start >> \
             /data/log; exec sleep 1000'], volumeMounts: [{{name: data, mountPath: /data, subPath: in}}]}}]}}}}, \
             volumeClaimTemplates: [{{metadata: {{name: data}}, spec: {{accessModes: [ReadWriteOnce], resources: \
             {{requests: {{storage: 10Mi}}}}}}}}]}}\n"
        )
    };
    up.apply(&set(""));
    up.ok(&["rollout", "status", "sts/db", "--timeout=90s"]);
    event(&up, "data-db-0", "ProvisioningSucceeded");
    let bound = up.json(&["get", "pvc", "data-db-0"]);
    assert_eq!(
        (&bound["status"]["phase"], &bound["spec"]["storageClassName"]),
        (&"Bound".into(), &"local".into())
    );
    let volume = bound["spec"]["volumeName"].as_str().unwrap_or_default().to_owned();
    let path = up.dir.join("state/agent/volumes").join(&volume);
    let log = || std::fs::read_to_string(path.join("in/log")).unwrap_or_default();
    assert_eq!(log(), "start\n");
    let listed = up.ok(&["get", "pv", &volume]);
    assert!(listed.contains("default/data-db-0") && listed.contains("Bound"), "{listed}");

    up.ok(&["delete", "pod", "db-0", "--timeout=60s"]);
    up.ok(&["rollout", "status", "sts/db", "--timeout=90s"]);
    up.until("the replacement", || (log() == "start\nstart\n").then_some(()));

    // The agent's restart restarts nothing.
    up.kill();
    up.boot();
    up.ok(&["scale", "sts", "db", "--replicas=0"]);
    gone(&up, &["pod", "db-0"]);
    assert_eq!(dirs(&up).len(), 2, "claims are kept");
    up.ok(&["scale", "sts", "db", "--replicas=1"]);
    up.ok(&["rollout", "status", "sts/db", "--timeout=90s"]);
    up.until("the third", || (log() == "start\nstart\nstart\n").then_some(()));

    // Claims that go when they are scaled away, and with the set.
    up.apply(&set("persistentVolumeClaimRetentionPolicy: {whenScaled: Delete, whenDeleted: Delete},"));
    up.ok(&["rollout", "status", "sts/db", "--timeout=90s"]);
    up.ok(&["scale", "sts", "db", "--replicas=1"]);
    gone(&up, &["pvc", "data-db-1"]);
    up.until("its directory goes", || (dirs(&up) == [path.clone()]).then_some(()));
    up.ok(&["delete", "sts", "db", "--timeout=60s"]);
    gone(&up, &["pvc", "data-db-0"]);
    up.until("all directories go", || dirs(&up).is_empty().then_some(()));
    up.until("all volumes go", || up.json(&["get", "pv"])["items"].as_array()?.is_empty().then_some(()));
}

#[test]
fn a_claim_waits_for_its_pod_and_its_volume_for_its_directory() {
    let Some(up) = Up::start(&[]) else { return };
    up.apply(&claim("work", ""));
    event(&up, "work", "WaitForFirstConsumer");
    assert_eq!(up.json(&["get", "pvc", "work"])["status"]["phase"], "Pending");
    up.apply(&pod("user", "work", "", "", "echo x > /data/x; sleep 1000"));
    up.running("app=user");
    let [path] = &dirs(&up)[..] else { panic!("one directory: {:?}", dirs(&up)) };
    up.ok(&["delete", "pvc", "work", "--wait=false"]);
    let ending = up.json(&["get", "pvc", "work"]);
    assert!(ending["metadata"]["deletionTimestamp"].is_string(), "{ending}");
    assert!(path.join("x").exists(), "nothing is deleted under a Pod");
    up.apply(&pod("late", "work", "", "", "true"));
    up.until("it says why it waits", || {
        let pod = up.json(&["get", "pod", "late"]);
        let message = pod["status"]["conditions"][0]["message"].as_str()?.to_owned();
        message.contains("persistentvolumeclaim \"work\" is being deleted").then_some(())
    });
    up.ok(&["delete", "pod", "user", "--timeout=60s"]);
    gone(&up, &["pvc", "work"]);
    up.until("its directory goes", || dirs(&up).is_empty().then_some(()));
    up.until("its volume goes", || up.json(&["get", "pv"])["items"].as_array()?.is_empty().then_some(()));
}

fn static_volume(name: &str, path: &Path) -> String {
    format!(
        "---\napiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: {name}}}\nspec: {{capacity: {{storage: 1Gi}}, \
         accessModes: [ReadWriteOnce, ReadWriteMany], hostPath: {{path: {}, type: DirectoryOrCreate}}}}\n",
        path.display()
    )
}

#[test]
fn a_volume_that_people_have_made_is_bound_at_once_shared_and_kept() {
    let Some(up) = Up::start(&[]) else { return };
    let path = up.dir.join("shared");
    up.apply(&static_volume("shared", &path));
    up.apply(&claim("share", "storageClassName: ''"));
    up.ok(&["wait", "pvc/share", "--for=jsonpath={.status.phase}=Bound", "--timeout=60s"]);
    up.apply(&pod("writer", "share", "", "", "echo hello > /data/word; sleep 1000"));
    up.running("app=writer");
    let script = "until cat /data/word; do sleep 0.1; done; touch /data/no || echo refused";
    up.apply(&pod("reader", "share", "", ", readOnly: true", script));
    up.ok(&["wait", "pod/reader", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s"]);
    let logs = up.ok(&["logs", "reader"]);
    assert!(logs.contains("hello\n") && logs.contains("refused"), "{logs}");
    up.ok(&["delete", "pod", "writer", "reader", "--timeout=60s"]);
    up.ok(&["delete", "pvc", "share", "--timeout=60s"]);
    up.ok(&["wait", "pv/shared", "--for=jsonpath={.status.phase}=Released", "--timeout=60s"]);
    assert_eq!(std::fs::read_to_string(path.join("word")).unwrap_or_default(), "hello\n");
    up.ok(&["delete", "pv", "shared", "--timeout=60s"]);
    assert!(path.exists(), "what people have made, they remove");
}
