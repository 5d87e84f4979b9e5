//! Offers and claims for real: Pods that name no node, real kubectl, real containerd.

#![allow(clippy::disallowed_methods, reason = "the tests have no driver: they wait for real programs")]

mod support;

use support::{BUSYBOX, Second, Up, leasehold};

/// A Pod that names no node. `spec` is more YAML of its spec, `container` of its container.
fn pod(name: &str, spec: &str, container: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{ name: {name}, labels: {{ app: {name} }} }}\n\
         spec: {{ hostNetwork: true, terminationGracePeriodSeconds: 1, {spec} containers: [{{ name: main, \
         image: '{BUSYBOX}', command: [sleep, infinity], {container} }}] }}\n"
    )
}

#[test]
fn a_bare_pod_is_offered_claimed_and_runs() {
    let Some(up) = Up::start(&[]) else { return };
    let overrides = r#"{ "spec": { "hostNetwork": true, "terminationGracePeriodSeconds": 1 } }"#;
    let image = format!("--image={BUSYBOX}");
    let overrides = format!("--overrides={overrides}");
    up.ok(&[
        "run",
        "one",
        &image,
        "--labels=app=one",
        &overrides,
        "--restart=Never",
        "--",
        "sleep",
        "infinity",
    ]);
    let ran = up.running("app=one");
    assert_eq!(ran["spec"]["nodeName"], "n1");
    assert!(ran["status"]["nominatedNodeName"].is_null());
    let scheduled = ran["status"]["conditions"].as_array().expect("a list").iter();
    let scheduled = scheduled.filter(|condition| condition["type"] == "PodScheduled").collect::<Vec<_>>();
    assert_eq!(scheduled.len(), 1, "{scheduled:?}");
    assert_eq!(scheduled[0]["status"], "True");
    up.apply(&pod("two", "", ""));
    up.running("app=two");
    let events = up.until("the event", || {
        let events = up.ok(&["get", "events"]);
        events.contains("Successfully assigned default/two to n1").then_some(events)
    });
    assert!(!events.contains("FailedScheduling"), "{events}");
    up.ok(&["delete", "pod", "one", "two"]);
}

fn phase(up: &Up, name: &str) -> String {
    up.json(&["get", "pod", name])["status"]["phase"].as_str().unwrap_or_default().to_owned()
}

/// What a Pod says of why it waits, once it says something that contains `part`.
fn waits(up: &Up, name: &str, part: &str) -> String {
    up.until(&format!("{name} says {part:?}"), || {
        let pod = up.json(&["get", "pod", name]);
        let conditions = pod["status"]["conditions"].as_array()?.clone();
        let scheduled = conditions.into_iter().find(|condition| condition["type"] == "PodScheduled")?;
        let message = scheduled["message"].as_str()?.to_owned();
        (scheduled["reason"] == "Unschedulable" && message.contains(part)).then_some(message)
    })
}

fn node_of(up: &Up, name: &str) -> String {
    up.running(&format!("app={name}"))["spec"]["nodeName"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn two_nodes_share_pods_by_room_ports_taints_and_labels() {
    let Some(up) = Up::start(&["--max-pods", "2"]) else { return };
    let Some(mut second) = Second::join(&up, "n2", &["--node-labels", "disk=ssd"]) else { return };

    // A selector that only the second node matches; a port of the host that is taken there.
    let selector = "nodeSelector: { disk: ssd },";
    let port = "ports: [{ containerPort: 7777, hostPort: 7777 }]";
    up.apply(&pod("first", selector, port));
    assert_eq!(node_of(&up, "first"), "n2");
    up.apply(&pod("clash", selector, port));
    let said = waits(&up, "clash", "free ports");
    assert_eq!(
        said,
        "0/2 nodes can host this Pod: 1 node(s) didn't have free ports for the requested pod ports, \
         1 node(s) didn't match Pod's node affinity/selector."
    );
    up.ok(&["delete", "pod", "first"]);
    assert_eq!(node_of(&up, "clash"), "n2");

    // The first node has places for two; whoever comes then goes to the second.
    let only = "nodeSelector: { kubernetes.io/hostname: n1 },";
    for name in ["one", "two"] {
        up.apply(&pod(name, only, ""));
        assert_eq!(node_of(&up, name), "n1");
    }
    up.apply(&pod("three", "", ""));
    assert_eq!(node_of(&up, "three"), "n2");

    // A cordon keeps new Pods away and wakes who waits when it ends.
    up.ok(&["cordon", "n2"]);
    up.apply(&pod("four", "", ""));
    let said = waits(&up, "four", "unschedulable");
    assert_eq!(said, "0/2 nodes can host this Pod: 1 Too many pods, 1 node(s) were unschedulable.");
    let described = up.ok(&["describe", "pod", "four"]);
    assert!(described.contains("FailedScheduling"), "{described}");
    up.ok(&["uncordon", "n2"]);
    assert_eq!(node_of(&up, "four"), "n2");

    // Drained, the Pods that have no controller are gone.
    up.ok(&["drain", "n2", "--force", "--disable-eviction=false", "--timeout=60s"]);
    assert_eq!(phase(&up, "four"), "");
    up.ok(&["uncordon", "n2"]);

    // A node that cannot answer is passed over; when it is deleted and comes back, it is asked again.
    up.ok(&["delete", "pod", "two"]);
    second.process.kill().expect("it is our child");
    second.process.wait().expect("it is our child");
    up.apply(&pod("five", "", ""));
    assert_eq!(node_of(&up, "five"), "n1");
    assert!(second.containerd.address().exists());
}

#[test]
fn gates_and_taints_hold_pods_back_and_explain_tells_why() {
    let Some(up) = Up::start(&["--node-labels", "disk=hdd"]) else { return };
    up.apply(&pod("gated", "schedulingGates: [{ name: example.com/wait }],", ""));
    let shown = up.ok(&["get", "pod", "gated"]);
    assert!(shown.contains("SchedulingGated"), "{shown}");
    up.ok(&[
        "patch",
        "pod",
        "gated",
        "--type=json",
        r#"-p=[{"op":"remove","path":"/spec/schedulingGates"}]"#,
    ]);
    up.running("app=gated");

    up.ok(&["taint", "node", "n1", "team=a:NoSchedule"]);
    up.apply(&pod("picky", "nodeSelector: { disk: ssd },", ""));
    waits(&up, "picky", "0/1 nodes can host this Pod: 1 node(s) had untolerated taint {team: a}.");
    let kubeconfig = up.kubeconfig().to_string_lossy().into_owned();
    let explain = |args: &[&str]| {
        let output = leasehold(&["explain", "--kubeconfig", &kubeconfig]).args(args).output().expect("runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let told = explain(&["pod/picky"]);
    for part in
        ["no toleration for the taint team=a:NoSchedule", "nodeSelector disk=ssd: the node has \"hdd\""]
    {
        assert!(told.contains(part), "{told}");
    }
    up.ok(&["taint", "node", "n1", "team-"]);
    waits(&up, "picky", "0/1 nodes can host this Pod: 1 node(s) didn't match Pod's node affinity/selector.");
    let told = explain(&["pod/picky", "--node", "n1", "--what-if-label", "disk=ssd", "-o", "json"]);
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told["now"]["nodes"][0]["verdict"], "cannot");
    assert_eq!(told["then"]["nodes"][0]["verdict"], "next");
    up.ok(&["label", "node", "n1", "disk=ssd", "--overwrite"]);
    up.running("app=picky");
    assert!(explain(&["pod/picky"]).contains("hosts it"));
    for (subject, code, told) in [
        ("pod/none", 1, "leasehold: pods \"none\" not found\n"),
        ("frog", 2, "leasehold: \"frog\": expected pod/NAME or daemonset/NAME\n"),
    ] {
        let output =
            leasehold(&["explain", "--kubeconfig", &kubeconfig, subject]).output().expect("leasehold runs");
        assert_eq!(
            (output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()),
            (Some(code), told)
        );
    }
}

#[test]
fn a_pod_that_names_a_node_without_room_fails_as_it_would_with_a_kubelet() {
    let Some(up) = Up::start(&[]) else { return };
    up.apply(&pod("greedy", "nodeName: n1,", "resources: { requests: { cpu: 4000 } }"));
    up.apply(&pod("lost", "nodeName: n1, nodeSelector: { disk: ssd },", ""));
    for (name, reason, message) in [
        ("greedy", "OutOfcpu", "Pod was rejected: Node didn't have enough resource: cpu, requested: 4000000"),
        ("lost", "NodeAffinity", "Pod was rejected: Predicate NodeAffinity failed"),
    ] {
        let failed = up.until("the Pod has failed", || {
            let pod = up.json(&["get", "pod", name]);
            (pod["status"]["phase"] == "Failed").then_some(pod)
        });
        assert_eq!(failed["status"]["reason"], reason);
        let said = failed["status"]["message"].as_str().unwrap_or_default();
        assert!(said.starts_with(message), "{said}");
    }
    up.ok(&["delete", "pod", "greedy", "lost", "--timeout=30s"]);
}
