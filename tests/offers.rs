//! Offers and claims for real: Pods that name no node, real kubectl, real containerd.

#![allow(clippy::disallowed_methods, reason = "the tests have no driver: they wait for real programs")]

mod support;

use support::{BUSYBOX, Up};

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
