//! Rollouts of a DaemonSet by ticket for real: three agents on one machine, each with a containerd of its own.

#![allow(clippy::disallowed_methods, reason = "the tests have no driver: they wait for real programs")]

mod support;

use std::collections::BTreeMap;

use serde_json::Value;
use support::{BUSYBOX, Second, Up, leasehold};

const HASH: &str = "controller-revision-hash";

fn daemon_set(command: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{name: web}}\nspec: {{minReadySeconds: 1, selector: \
         {{matchLabels: {{app: web}}}}, template: {{metadata: {{labels: {{app: web}}}}, spec: {{hostNetwork: true, \
         terminationGracePeriodSeconds: 1, containers: [{{name: c, image: '{BUSYBOX}', command: {command}, \
         readinessProbe: {{exec: {{command: [test, '!', -e, /bad]}}, periodSeconds: 1}}}}]}}}}}}\n"
    )
}

fn pods(up: &Up) -> Vec<Value> {
    up.json(&["get", "pods", "-l", "app=web"])["items"].as_array().cloned().unwrap_or_default()
}

/// The revision of each node's Pod.
fn revisions(up: &Up) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let alive = pods(up).into_iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    alive.map(|pod| (text(&pod["spec"]["nodeName"]), text(&pod["metadata"]["labels"][HASH]))).collect()
}

fn holders(up: &Up) -> Vec<String> {
    let list = up.json(&["get", "leases", "-l", "leasehold.dev/kind=ticket"]);
    let items = list["items"].as_array().cloned().unwrap_or_default();
    items.iter().filter_map(|lease| lease["spec"]["holderIdentity"].as_str().map(str::to_owned)).collect()
}

fn explained(up: &Up) -> String {
    let kubeconfig = up.kubeconfig().to_string_lossy().into_owned();
    let output =
        leasehold(&["explain", "daemonset/web", "--kubeconfig", &kubeconfig]).output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn i6_a_rollout_goes_by_ticket_halts_at_a_bad_release_and_passes_over_a_dead_node() {
    let Some(up) = Up::start(&[]) else { return };
    let Some(_n2) = Second::join(&up, "n2", &[]) else { return };
    let Some(mut n3) = Second::join(&up, "n3", &["--session-duration", "10"]) else { return };
    up.apply(&daemon_set("[sleep, '1000']"));
    up.ok(&["rollout", "status", "ds/web", "--timeout=90s"]);
    let first = revisions(&up);
    assert_eq!(first.len(), 3);

    // A good release: one node after the other, never more than one Pod away.
    up.apply(&daemon_set("[sleep, '2000']"));
    let mut most = 0;
    up.until("all nodes are updated", || {
        let list = pods(&up);
        let is_ready = |pod: &&Value| {
            let all = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
            pod["metadata"]["deletionTimestamp"].is_null()
                && all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
        };
        most = most.max(3 - list.iter().filter(is_ready).count());
        let now = revisions(&up);
        (now.len() == 3 && now.iter().all(|(node, hash)| first[node] != *hash)).then_some(())
    });
    assert_eq!(most, 1, "one ticket, one Pod away");
    up.ok(&["rollout", "status", "ds/web", "--timeout=90s"]);
    up.until("all tickets are back", || holders(&up).is_empty().then_some(()));
    let good = revisions(&up);

    // A bad one: it stops at the first node, and says so.
    up.apply(&daemon_set("[sh, -c, 'touch /bad; sleep 3000']"));
    let victim = up.until("a node has the bad release", || {
        let now = revisions(&up);
        now.into_iter().find(|(node, hash)| good[node] != *hash).map(|(node, _)| node)
    });
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(holders(&up), std::slice::from_ref(&victim));
    assert_eq!(revisions(&up).iter().filter(|(node, hash)| good[*node] == **hash).count(), 2);
    let text = explained(&up);
    assert!(text.contains(&format!("waits for a ticket: 1 of 1 held by {victim}")), "{text}");
    assert!(text.contains("holds a ticket until its new Pod is available"), "{text}");
    let stuck = up.kubectl(&["rollout", "status", "ds/web", "--timeout=1s"]);
    assert!(!stuck.status.success(), "it is not complete");

    // Undone under the ticket that is there.
    up.ok(&["rollout", "undo", "ds/web"]);
    up.ok(&["rollout", "status", "ds/web", "--timeout=90s"]);
    assert_eq!(revisions(&up), good);
    up.until("the ticket is back", || holders(&up).is_empty().then_some(()));

    // A node that is dead before it is asked takes no ticket and holds nothing up.
    n3.process.kill().expect("it is our child");
    up.ok(&["wait", "node/n3", "--for=condition=Ready=Unknown", "--timeout=60s"]);
    up.apply(&daemon_set("[sleep, '4000']"));
    let now = up.until("the living nodes are updated", || {
        let now = revisions(&up);
        let is_new = |node: &str| now.get(node).is_some_and(|hash| *hash != good[node]);
        (is_new("n1") && is_new("n2")).then_some(now.clone())
    });
    assert_eq!(now["n3"], good["n3"], "it keeps what it runs");
    up.until("no ticket is out", || holders(&up).is_empty().then_some(()));
    let text = explained(&up);
    assert!(text.contains("is down: it takes no ticket"), "{text}");
}
