//! One node: a Pod waits for an identity that another holds, is told its epoch, and gives it back.

use serde_json::Value;

use crate::support::{BUSYBOX, Up};

fn lease(name: &str, holder: &str, transitions: i32) -> String {
    format!(
        "---\napiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {{ name: default.{name}, namespace: \
         leasehold-system, labels: {{ leasehold.dev/kind: identity }}, finalizers: [leasehold.dev/identity], annotations: \
         {{ leasehold.dev/pod-uid: earlier }} }}\nspec: {{ holderIdentity: '{holder}', leaseTransitions: {transitions} }}\n"
    )
}

/// A Pod of the StatefulSet, but no ordinal of it: its controller leaves it alone.
fn pod(name: &str, owner: &str, annotations: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{ name: {name}, labels: {{ app: db, pod: {name} }}, annotations: {{ {annotations} \
         }}, ownerReferences: [{{ apiVersion: apps/v1, kind: StatefulSet, name: db, uid: '{owner}', controller: true }}] \
         }}\nspec: {{ nodeName: n1, hostNetwork: true, terminationGracePeriodSeconds: 1, containers: [{{ name: main, \
         image: '{BUSYBOX}', command: [sleep, infinity] }}] }}\n"
    )
}

fn stored(up: &Up, name: &str) -> Value {
    up.json(&["get", "lease", "-n", "leasehold-system", &format!("default.{name}")])
}

#[test]
fn a_pod_waits_for_its_identity_is_told_the_epoch_and_gives_it_back() {
    let Some(mut up) = Up::start(&[]) else { return };
    up.apply(
        "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: { name: db }\nspec: { replicas: 0, serviceName: db, selector: \
         { matchLabels: { app: db } }, template: { metadata: { labels: { app: db } }, spec: { containers: [{ name: main, \
         image: x }] } } }\n",
    );
    let set = up.json(&["get", "statefulset", "db"]);
    let owner = set["metadata"]["uid"].as_str().expect("a UID");
    up.apply(&(lease("held", "elsewhere/uid/3", 4) + &pod("held", owner, "")));
    up.apply(&(lease("kept", "", 0) + &pod("kept", owner, "leasehold.dev/failover: never")));

    up.running("pod=kept");
    let kept = stored(&up, "kept");
    assert_eq!(kept["metadata"]["annotations"]["leasehold.dev/fence-level"], "none", "{kept}");
    assert_eq!(kept["metadata"]["labels"]["leasehold.dev/holder"], "n1");
    let condition = up.until("the Pod says who holds its identity", || {
        let pod = up.json(&["get", "pod", "held"]);
        let conditions = pod["status"]["conditions"].as_array()?.clone();
        conditions
            .into_iter()
            .find(|it| it["type"] == "leasehold.dev/IdentityHeld" && it["status"] == "False")
    });
    assert_eq!(condition["reason"], "HeldElsewhere", "{condition}");
    up.until("an Event says it too", || {
        up.ok(&["get", "events"]).contains("the identity is held by elsewhere/uid/3").then_some(())
    });
    let pod = up.json(&["get", "pod", "held"]);
    assert!(pod["status"]["containerStatuses"][0]["state"]["waiting"].is_object(), "{pod}");

    up.ok(&[
        "patch",
        "lease",
        "-n",
        "leasehold-system",
        "default.held",
        "--type=merge",
        r#"-p={"spec":{"holderIdentity":""}}"#,
    ]);
    let pod = up.running("pod=held");
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0, "{pod}");
    let held = stored(&up, "held");
    assert_eq!(
        (&held["spec"]["leaseTransitions"], &held["metadata"]["annotations"]["leasehold.dev/pod-uid"]),
        (&5.into(), &pod["metadata"]["uid"])
    );
    assert_eq!(held["metadata"]["annotations"]["leasehold.dev/fence-level"], "kill", "{held}");
    let told = up.ok(&["exec", "held", "--", "sh", "-c", "echo $LEASEHOLD_EPOCH; cat /run/leasehold/epoch"]);
    assert_eq!(told, "5\n5\n");

    // The agent, restarted within its session, goes on with what it holds.
    up.kill();
    up.boot();
    up.ok(&["exec", "held", "--", "true"]);
    up.ok(&["delete", "pod", "kept"]);
    up.until("the identity is given back", || {
        (stored(&up, "kept")["spec"]["holderIdentity"] == "").then_some(())
    });
    let held = stored(&up, "held");
    assert_eq!(held["spec"]["leaseTransitions"], 5, "{held}");
    assert_eq!(up.running("pod=held")["status"]["containerStatuses"][0]["restartCount"], 0);
    up.ok(&["delete", "pod", "held"]);
    up.until("both are given back", || (stored(&up, "held")["spec"]["holderIdentity"] == "").then_some(()));
}
