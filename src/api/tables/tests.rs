use serde_json::{Value, json};

use crate::api::kinds::{KINDS, by_kind};
use crate::time::WallTime;

const NOW: &str = "2026-01-02T12:00:00Z";

fn now() -> WallTime {
    WallTime::parse(NOW).unwrap()
}

/// The cells of one object by the header of their column.
fn row(group: &str, kind: &str, object: Value) -> impl Fn(&str) -> Value {
    let kind = by_kind(group, "v1", kind).unwrap();
    let cells = (kind.cells)(&object, now());
    assert_eq!(cells.len(), kind.columns.len());
    move |column: &str| cells[kind.columns.iter().position(|it| it.name == column).unwrap()].clone()
}

fn headers(group: &str, kind: &str, priority: u8) -> Vec<&'static str> {
    let kind = by_kind(group, "v1", kind).unwrap();
    kind.columns.iter().filter(|it| it.priority <= priority).map(|it| it.name).collect()
}

fn pod_status(object: Value) -> [String; 3] {
    let cell = row("", "Pod", object);
    ["Ready", "Status", "Restarts"].map(|column| cell(column).as_str().unwrap().to_owned())
}

#[test]
fn every_kind_has_a_name_column_and_as_many_cells_as_columns() {
    for kind in KINDS {
        assert_eq!(kind.columns.iter().filter(|it| it.format == "name").count(), 1, "{kind:?}");
        assert_eq!((kind.cells)(&json!({}), now()).len(), kind.columns.len(), "{kind:?}");
        assert_eq!(
            (kind.cells)(&json!({ "status": 1, "spec": [], "metadata": "" }), now()).len(),
            kind.columns.len()
        );
    }
}

#[test]
fn columns_stand_in_the_order_that_kubectl_users_know() {
    assert_eq!(
        headers("", "Pod", 1),
        ["Name", "Ready", "Status", "Restarts", "Age", "IP", "Node", "Nominated Node", "Readiness Gates"]
    );
    assert_eq!(headers("", "Pod", 0), ["Name", "Ready", "Status", "Restarts", "Age"]);
    assert_eq!(headers("", "Node", 0), ["Name", "Status", "Roles", "Age", "Version"]);
    assert_eq!(
        headers("", "Node", 1)[5..],
        ["Internal-IP", "External-IP", "OS-Image", "Kernel-Version", "Container-Runtime"]
    );
    assert_eq!(
        headers("apps", "DaemonSet", 1),
        [
            "Name",
            "Desired",
            "Current",
            "Ready",
            "Up-to-date",
            "Available",
            "Node Selector",
            "Age",
            "Containers",
            "Images",
            "Selector"
        ]
    );
    assert_eq!(headers("", "Event", 0), ["Last Seen", "Type", "Reason", "Object", "Message"]);
    assert_eq!(headers("", "Secret", 1), ["Name", "Type", "Data", "Age"]);
    assert_eq!(headers("apps", "ControllerRevision", 1), ["Name", "Controller", "Revision", "Age"]);
}

#[test]
fn the_status_of_a_pod_is_the_word_that_matters_most() {
    let one = json!([{ "name": "a" }]);
    let two = json!([{ "name": "a" }, { "name": "b" }]);
    let running = json!({ "name": "a", "ready": true, "restartCount": 0, "state": { "running": {} } });
    for (story, spec, status, expected) in [
        ("just made", json!({ "containers": one }), json!({ "phase": "Pending" }), ["0/1", "Pending", "0"]),
        (
            "being created",
            json!({ "containers": one }),
            json!({ "phase": "Pending", "containerStatuses": [{ "name": "a", "state": { "waiting": { "reason": "ContainerCreating" } } }] }),
            ["0/1", "ContainerCreating", "0"],
        ),
        (
            "runs",
            json!({ "containers": one }),
            json!({ "phase": "Running", "containerStatuses": [running] }),
            ["1/1", "Running", "0"],
        ),
        (
            "runs but is not ready",
            json!({ "containers": one }),
            json!({ "phase": "Running", "containerStatuses": [{ "name": "a", "ready": false, "state": { "running": {} } }] }),
            ["0/1", "Running", "0"],
        ),
        (
            "one of two crashes",
            json!({ "containers": two }),
            json!({ "phase": "Running", "containerStatuses": [
                running,
                { "name": "b", "restartCount": 3, "state": { "waiting": { "reason": "CrashLoopBackOff" } },
                  "lastState": { "terminated": { "finishedAt": "2026-01-02T11:55:00Z" } } },
            ] }),
            ["1/2", "CrashLoopBackOff", "3 (5m ago)"],
        ),
        (
            "restarted, nobody knows when",
            json!({ "containers": one }),
            json!({ "phase": "Running", "containerStatuses": [{ "name": "a", "ready": true, "restartCount": 2, "state": { "running": {} } }] }),
            ["1/1", "Running", "2"],
        ),
        (
            "no image",
            json!({ "containers": one }),
            json!({ "phase": "Pending", "containerStatuses": [{ "name": "a", "state": { "waiting": { "reason": "ImagePullBackOff" } } }] }),
            ["0/1", "ImagePullBackOff", "0"],
        ),
        (
            "ended well",
            json!({ "containers": one }),
            json!({ "phase": "Succeeded", "containerStatuses": [{ "name": "a", "state": { "terminated": { "exitCode": 0, "reason": "Completed" } } }] }),
            ["0/1", "Completed", "0"],
        ),
        (
            "ended by a signal",
            json!({ "containers": one }),
            json!({ "phase": "Failed", "containerStatuses": [{ "name": "a", "state": { "terminated": { "exitCode": 137, "signal": 9 } } }] }),
            ["0/1", "Signal:9", "0"],
        ),
        (
            "ended with a code",
            json!({ "containers": one }),
            json!({ "phase": "Failed", "containerStatuses": [{ "name": "a", "state": { "terminated": { "exitCode": 3 } } }] }),
            ["0/1", "ExitCode:3", "0"],
        ),
        (
            "one completed while the other runs and the Pod is ready",
            json!({ "containers": two }),
            json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }], "containerStatuses": [
                { "name": "a", "state": { "terminated": { "exitCode": 0, "reason": "Completed" } } },
                { "name": "b", "ready": true, "state": { "running": {} } },
            ] }),
            ["1/2", "Running", "0"],
        ),
        (
            "one completed while the other runs and the Pod is not ready",
            json!({ "containers": two }),
            json!({ "phase": "Running", "containerStatuses": [
                { "name": "a", "state": { "terminated": { "exitCode": 0, "reason": "Completed" } } },
                { "name": "b", "ready": true, "state": { "running": {} } },
            ] }),
            ["1/2", "NotReady", "0"],
        ),
        (
            "evicted",
            json!({ "containers": one }),
            json!({ "phase": "Failed", "reason": "Evicted" }),
            ["0/1", "Evicted", "0"],
        ),
        (
            "gated",
            json!({ "containers": one }),
            json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "SchedulingGated" }] }),
            ["0/1", "SchedulingGated", "0"],
        ),
    ] {
        assert_eq!(pod_status(json!({ "spec": spec, "status": status })), expected, "{story}");
    }
}

#[test]
fn init_containers_come_before_the_rest() {
    let spec = json!({
        "initContainers": [{ "name": "i" }, { "name": "j" }, { "name": "side", "restartPolicy": "Always" }],
        "containers": [{ "name": "a" }],
    });
    let done = json!({ "name": "i", "state": { "terminated": { "exitCode": 0, "reason": "Completed" } } });
    let waiting = json!({ "name": "a", "state": { "waiting": { "reason": "PodInitializing" } } });
    for (story, init, expected) in [
        ("the first runs", json!([{ "name": "i", "state": { "running": {} } }]), ["0/2", "Init:0/3", "0"]),
        (
            "the second waits its turn",
            json!([done, { "name": "j", "state": { "waiting": { "reason": "PodInitializing" } } }]),
            ["0/2", "Init:1/3", "0"],
        ),
        (
            "the second crashes",
            json!([done, { "name": "j", "restartCount": 4, "state": { "waiting": { "reason": "CrashLoopBackOff" } },
                "lastState": { "terminated": { "finishedAt": "2026-01-02T11:59:30Z" } } }]),
            ["0/2", "Init:CrashLoopBackOff", "4 (30s ago)"],
        ),
        (
            "the second failed",
            json!([done, { "name": "j", "state": { "terminated": { "exitCode": 1, "reason": "Error" } } }]),
            ["0/2", "Init:Error", "0"],
        ),
        (
            "the second failed with a code",
            json!([done, { "name": "j", "state": { "terminated": { "exitCode": 2 } } }]),
            ["0/2", "Init:ExitCode:2", "0"],
        ),
        (
            "the second was killed",
            json!([done, { "name": "j", "state": { "terminated": { "exitCode": 137, "signal": 9 } } }]),
            ["0/2", "Init:Signal:9", "0"],
        ),
    ] {
        let status =
            json!({ "phase": "Pending", "initContainerStatuses": init, "containerStatuses": [waiting] });
        assert_eq!(pod_status(json!({ "spec": spec, "status": status })), expected, "{story}");
    }
}

#[test]
fn sidecars_count_among_the_containers_and_their_restarts_stay() {
    let object = json!({
        "spec": {
            "initContainers": [{ "name": "i" }, { "name": "side", "restartPolicy": "Always" }],
            "containers": [{ "name": "a" }],
        },
        "status": {
            "phase": "Running",
            "initContainerStatuses": [
                { "name": "i", "restartCount": 5, "state": { "terminated": { "exitCode": 0 } },
                  "lastState": { "terminated": { "finishedAt": "2026-01-02T11:59:59Z" } } },
                { "name": "side", "restartCount": 1, "started": true, "ready": true, "state": { "running": {} },
                  "lastState": { "terminated": { "finishedAt": "2026-01-02T10:00:00Z" } } },
            ],
            "containerStatuses": [{ "name": "a", "ready": true, "restartCount": 2, "state": { "running": {} },
                "lastState": { "terminated": { "finishedAt": "2026-01-02T11:00:00Z" } } }],
        },
    });
    assert_eq!(pod_status(object), ["2/2", "Running", "3 (60m ago)"]);
}

#[test]
fn a_pod_being_deleted_is_terminating_unless_it_has_ended_or_its_node_is_lost() {
    for (phase, reason, expected) in [
        ("Running", "", "Terminating"),
        ("Pending", "", "Terminating"),
        ("Running", "NodeLost", "Unknown"),
        ("Succeeded", "", "Succeeded"),
        ("Failed", "Evicted", "Evicted"),
    ] {
        let object = json!({
            "metadata": { "deletionTimestamp": NOW },
            "status": { "phase": phase, "reason": reason },
        });
        assert_eq!(pod_status(object)[1], expected, "{phase} {reason}");
    }
}

#[test]
fn the_wide_row_of_a_pod_tells_where_it_is() {
    let cell = row(
        "",
        "Pod",
        json!({
            "metadata": { "name": "a", "creationTimestamp": "2026-01-02T11:50:00Z" },
            "spec": { "nodeName": "n1", "readinessGates": [{ "conditionType": "x/a" }, { "conditionType": "x/b" }] },
            "status": {
                "podIPs": [{ "ip": "10.0.0.1" }, { "ip": "fd00::1" }], "nominatedNodeName": "n2",
                "conditions": [{ "type": "x/a", "status": "True" }, { "type": "x/b", "status": "False" }],
            },
        }),
    );
    assert_eq!(
        ["Name", "Age", "IP", "Node", "Nominated Node", "Readiness Gates"].map(cell),
        ["a", "10m", "10.0.0.1", "n1", "n2", "1/2"].map(Value::from)
    );
    let cell = row("", "Pod", json!({}));
    assert_eq!(
        ["Age", "IP", "Node", "Nominated Node", "Readiness Gates"].map(cell),
        ["<unknown>", "<none>", "<none>", "<none>", "<none>"].map(Value::from)
    );
}

#[test]
fn a_node_is_ready_or_not_and_may_be_cordoned() {
    for (conditions, unschedulable, expected) in [
        (json!([{ "type": "Ready", "status": "True" }]), false, "Ready"),
        (json!([{ "type": "Ready", "status": "True" }]), true, "Ready,SchedulingDisabled"),
        (json!([{ "type": "Ready", "status": "Unknown" }]), false, "NotReady"),
        (json!([{ "type": "DiskPressure", "status": "False" }]), false, "Unknown"),
        (json!([]), true, "Unknown,SchedulingDisabled"),
    ] {
        let object =
            json!({ "spec": { "unschedulable": unschedulable }, "status": { "conditions": conditions } });
        assert_eq!(row("", "Node", object)("Status"), expected);
    }
}

#[test]
fn a_node_tells_its_roles_addresses_and_software() {
    let cell = row(
        "",
        "Node",
        json!({
            "metadata": { "labels": {
                "node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/gpu": "", "kubernetes.io/role": "edge",
                "node-role.kubernetes.io/": "x",
            } },
            "status": {
                "addresses": [{ "type": "Hostname", "address": "n1" }, { "type": "InternalIP", "address": "10.0.0.1" }],
                "nodeInfo": { "kubeletVersion": "v1", "osImage": "Debian", "kernelVersion": "6.1" },
            },
        }),
    );
    assert_eq!(
        ["Roles", "Version", "Internal-IP", "External-IP", "OS-Image", "Kernel-Version", "Container-Runtime"]
            .map(cell),
        ["edge,gpu,worker", "v1", "10.0.0.1", "<none>", "Debian", "6.1", "<unknown>"].map(Value::from)
    );
    assert_eq!(row("", "Node", json!({}))("Roles"), "<none>");
}

#[test]
fn a_daemon_set_counts_its_nodes() {
    let cell = row(
        "apps",
        "DaemonSet",
        json!({
            "metadata": { "name": "a" },
            "spec": {
                "selector": { "matchLabels": { "app": "a" }, "matchExpressions": [{ "key": "tier", "operator": "In", "values": ["x", "y"] }] },
                "template": { "spec": {
                    "nodeSelector": { "b": "2", "a": "1" },
                    "containers": [{ "name": "c1", "image": "i1" }, { "name": "c2", "image": "i2:v" }],
                } },
            },
            "status": { "desiredNumberScheduled": 5, "currentNumberScheduled": 4, "numberReady": 3, "updatedNumberScheduled": 2, "numberAvailable": 1 },
        }),
    );
    assert_eq!(
        ["Desired", "Current", "Ready", "Up-to-date", "Available"].map(&cell),
        [5, 4, 3, 2, 1].map(Value::from)
    );
    assert_eq!(
        ["Node Selector", "Containers", "Images", "Selector"].map(cell),
        ["a=1,b=2", "c1,c2", "i1,i2:v", "app=a,tier in (x,y)"].map(Value::from)
    );
    assert_eq!(row("apps", "DaemonSet", json!({}))("Node Selector"), "<none>");
}

#[test]
fn an_event_tells_when_what_and_to_whom() {
    let cell = row(
        "",
        "Event",
        json!({
            "metadata": { "name": "a.1" }, "type": "Warning", "reason": "BackOff", "message": " again\n", "count": 7,
            "firstTimestamp": "2026-01-02T11:00:00Z", "lastTimestamp": "2026-01-02T11:59:00Z",
            "involvedObject": { "kind": "Pod", "name": "a", "fieldPath": "spec.containers{c}" },
            "source": { "component": "agent", "host": "n1" },
        }),
    );
    assert_eq!(
        [
            "Last Seen",
            "Type",
            "Reason",
            "Object",
            "Subobject",
            "Source",
            "Message",
            "First Seen",
            "Count",
            "Name"
        ]
        .map(cell),
        [
            json!("60s"),
            json!("Warning"),
            json!("BackOff"),
            json!("pod/a"),
            json!("spec.containers{c}"),
            json!("agent, n1"),
            json!("again"),
            json!("60m"),
            json!(7),
            json!("a.1"),
        ]
    );
}

#[test]
fn an_event_of_the_new_kind_uses_its_own_times() {
    let new = json!({
        "eventTime": "2026-01-02T11:58:20.000000Z", "reportingComponent": "x", "reportingInstance": "x-1",
        "involvedObject": { "kind": "Node" },
    });
    let cell = row("", "Event", new.clone());
    assert_eq!(
        ["Last Seen", "First Seen", "Source", "Object", "Count"].map(cell),
        [json!("100s"), json!("100s"), json!("x, x-1"), json!("node"), json!(1)]
    );
    let mut series = new;
    series["series"] = json!({ "count": 9, "lastObservedTime": "2026-01-02T11:59:50.000000Z" });
    let cell = row("", "Event", series);
    assert_eq!(["Last Seen", "First Seen", "Count"].map(cell), [json!("10s"), json!("100s"), json!(9)]);
}

#[test]
fn the_short_rows() {
    let made = json!({ "name": "a", "creationTimestamp": "2026-01-01T12:00:00Z" });
    for (group, kind, object, expected) in [
        (
            "",
            "Namespace",
            json!({ "metadata": made, "status": { "phase": "Active" } }),
            json!(["a", "Active", "24h"]),
        ),
        (
            "",
            "ConfigMap",
            json!({ "metadata": made, "data": { "x": "", "y": "" }, "binaryData": { "z": "" } }),
            json!(["a", 3, "24h"]),
        ),
        (
            "",
            "Secret",
            json!({ "metadata": made, "type": "Opaque", "data": { "x": "" } }),
            json!(["a", "Opaque", 1, "24h"]),
        ),
        ("", "ServiceAccount", json!({ "metadata": made, "secrets": [{}] }), json!(["a", 1, "24h"])),
        (
            "coordination.k8s.io",
            "Lease",
            json!({ "metadata": made, "spec": { "holderIdentity": "n1" } }),
            json!(["a", "n1", "24h"]),
        ),
        ("coordination.k8s.io", "Lease", json!({ "metadata": made }), json!(["a", "", "24h"])),
    ] {
        let row = by_kind(group, "v1", kind).unwrap();
        assert_eq!(json!((row.cells)(&object, now())), expected, "{kind}");
    }
}

#[test]
fn a_revision_names_its_controller_with_its_group() {
    let cell = row(
        "apps",
        "ControllerRevision",
        json!({
            "metadata": { "name": "a-1", "ownerReferences": [
                { "apiVersion": "v1", "kind": "X", "name": "other" },
                { "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "a", "controller": true },
            ] },
            "revision": 3,
        }),
    );
    assert_eq!(["Controller", "Revision"].map(cell), [json!("daemonset.apps/a"), json!(3)]);
    assert_eq!(row("apps", "ControllerRevision", json!({}))("Controller"), "<none>");
}
