//! Tables: what upstream's documentation and tests say of each rule.

#![expect(clippy::needless_pass_by_value, reason = "tables read better with json!() in place")]
use k8s_openapi::api::core::v1::{Node, PodSpec, Taint, Toleration};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a valid object")
}

fn node(labels: Value) -> Node {
    read(json!({ "metadata": { "name": "n1", "labels": labels } }))
}

fn pod(spec: Value) -> PodSpec {
    let mut whole = json!({ "containers": [] });
    whole.as_object_mut().expect("an object").extend(spec.as_object().cloned().unwrap_or_default());
    read(whole)
}

fn texts(reasons: &[Reason]) -> Vec<String> {
    reasons.iter().map(ToString::to_string).collect()
}

fn required(terms: Value) -> PodSpec {
    pod(json!({ "affinity": { "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms },
    } } }))
}

#[test]
fn node_affinity_matches_as_upstream() {
    let node = node(json!({ "gpu": "h100", "count": "8", "empty": "", "text": "eight" }));
    let expressions = |expressions: Value| json!([{ "matchExpressions": expressions }]);
    for (terms, matches) in [
        (expressions(json!([{ "key": "gpu", "operator": "In", "values": ["a100", "h100"] }])), true),
        (expressions(json!([{ "key": "gpu", "operator": "In", "values": ["a100"] }])), false),
        (expressions(json!([{ "key": "gpu", "operator": "In", "values": [] }])), false),
        (expressions(json!([{ "key": "none", "operator": "In", "values": [""] }])), false),
        (expressions(json!([{ "key": "empty", "operator": "In", "values": [""] }])), true),
        (expressions(json!([{ "key": "gpu", "operator": "NotIn", "values": ["a100"] }])), true),
        (expressions(json!([{ "key": "gpu", "operator": "NotIn", "values": ["h100"] }])), false),
        (expressions(json!([{ "key": "none", "operator": "NotIn", "values": ["h100"] }])), true),
        (expressions(json!([{ "key": "none", "operator": "NotIn", "values": [] }])), false),
        (expressions(json!([{ "key": "empty", "operator": "Exists" }])), true),
        (expressions(json!([{ "key": "none", "operator": "Exists" }])), false),
        (expressions(json!([{ "key": "gpu", "operator": "Exists", "values": ["h100"] }])), false),
        (expressions(json!([{ "key": "none", "operator": "DoesNotExist" }])), true),
        (expressions(json!([{ "key": "empty", "operator": "DoesNotExist" }])), false),
        (expressions(json!([{ "key": "count", "operator": "Gt", "values": ["7"] }])), true),
        (expressions(json!([{ "key": "count", "operator": "Gt", "values": ["8"] }])), false),
        (expressions(json!([{ "key": "count", "operator": "Lt", "values": ["10"] }])), true),
        (expressions(json!([{ "key": "count", "operator": "Lt", "values": ["-1"] }])), false),
        (expressions(json!([{ "key": "text", "operator": "Gt", "values": ["7"] }])), false),
        (expressions(json!([{ "key": "none", "operator": "Lt", "values": ["7"] }])), false),
        (expressions(json!([{ "key": "count", "operator": "Gt", "values": ["1", "2"] }])), false),
        (expressions(json!([{ "key": "count", "operator": "Gt", "values": ["x"] }])), false),
        (expressions(json!([{ "key": "gpu", "operator": "Like", "values": ["h*"] }])), false),
        // The requirements of a term are ANDed …
        (
            expressions(json!([
                { "key": "gpu", "operator": "Exists" },
                { "key": "none", "operator": "Exists" },
            ])),
            false,
        ),
        // … and terms are ORed.
        (
            json!([
                { "matchExpressions": [{ "key": "none", "operator": "Exists" }] },
                { "matchExpressions": [{ "key": "gpu", "operator": "Exists" }] },
            ]),
            true,
        ),
        // An empty term matches nothing, and neither does a list without terms.
        (json!([{}]), false),
        (json!([{}, { "matchExpressions": [{ "key": "gpu", "operator": "Exists" }] }]), true),
        (json!([]), false),
        (json!([{ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["n1"] }] }]), true),
        (json!([{ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["n2"] }] }]), false),
        (
            json!([{ "matchFields": [{ "key": "metadata.name", "operator": "NotIn", "values": ["n2"] }] }]),
            true,
        ),
        (
            json!([{ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["n1", "n2"] }] }]),
            false,
        ),
        (json!([{ "matchFields": [{ "key": "metadata.name", "operator": "Exists" }] }]), false),
        (
            json!([{
                "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["n1"] }],
                "matchExpressions": [{ "key": "none", "operator": "Exists" }],
            }]),
            false,
        ),
    ] {
        let reasons = mismatches(&required(terms.clone()), &node);
        assert_eq!(reasons.is_empty(), matches, "{terms}");
        assert!(reasons.iter().all(|r| r.to_string() == "node(s) didn't match Pod's node affinity/selector"));
    }
}

#[test]
fn every_pair_of_the_node_selector_must_be_on_the_node() {
    let node = node(json!({ "a": "1", "b": "" }));
    for (selector, clause) in [
        (json!({}), None),
        (json!({ "a": "1", "b": "" }), None),
        (json!({ "a": "1", "b": "2" }), Some("nodeSelector b=2: the node has \"\"")),
        (json!({ "c": "" }), Some("nodeSelector c=: the node has no such label")),
    ] {
        let reasons = mismatches(&pod(json!({ "nodeSelector": selector })), &node);
        let details: Vec<_> = reasons.iter().map(Reason::detail).collect();
        assert_eq!(details.first().map(String::as_str), clause, "{selector}");
    }
}

#[test]
fn tolerations_cover_taints_as_upstream() {
    let taint =
        |value: &str| -> Taint { read(json!({ "key": "gpu", "value": value, "effect": "NoSchedule" })) };
    for (toleration, value, covered) in [
        (json!({ "key": "gpu", "operator": "Exists", "effect": "NoSchedule" }), "x", true),
        (json!({ "key": "gpu", "operator": "Exists", "effect": "NoExecute" }), "x", false),
        (json!({ "key": "gpu", "operator": "Exists" }), "x", true),
        (json!({ "operator": "Exists" }), "x", true),
        (json!({ "operator": "Exists", "effect": "NoExecute" }), "x", false),
        (json!({ "key": "other", "operator": "Exists" }), "x", false),
        (json!({ "key": "gpu", "operator": "Equal", "value": "x" }), "x", true),
        (json!({ "key": "gpu", "operator": "Equal", "value": "y" }), "x", false),
        (json!({ "key": "gpu", "value": "x" }), "x", true),
        (json!({ "key": "gpu" }), "", true),
        (json!({ "key": "gpu" }), "x", false),
        (json!({ "key": "gpu", "operator": "Gt", "value": "1" }), "2", false),
        (json!({ "key": "gpu", "operator": "Exists", "tolerationSeconds": 0 }), "x", true),
    ] {
        let read: Toleration = read(toleration.clone());
        assert_eq!(tolerates(&read, &taint(value)), covered, "{toleration} on {value:?}");
    }
}

#[test]
fn a_taint_that_is_not_tolerated_keeps_the_pod_away_unless_it_only_prefers_to() {
    let node: Node = read(json!({ "metadata": { "name": "n1" }, "spec": { "taints": [
        { "key": "a", "effect": "PreferNoSchedule" },
        { "key": "b", "value": "1", "effect": "NoSchedule" },
        { "key": "c", "effect": "NoExecute" },
    ] } }));
    let reasons = mismatches(&pod(json!({})), &node);
    assert_eq!(
        texts(&reasons),
        ["node(s) had untolerated taint {b: 1}", "node(s) had untolerated taint {c: }"]
    );
    assert_eq!(reasons[0].detail(), "no toleration for the taint b=1:NoSchedule");
    assert_eq!(reasons[1].detail(), "no toleration for the taint c:NoExecute");
    assert!(mismatches(&pod(json!({ "tolerations": [{ "operator": "Exists" }] })), &node).is_empty());
}

#[test]
fn a_cordon_keeps_away_whoever_does_not_tolerate_its_taint() {
    let node: Node = read(json!({ "metadata": { "name": "n1" }, "spec": { "unschedulable": true } }));
    assert_eq!(texts(&mismatches(&pod(json!({})), &node)), ["node(s) were unschedulable"]);
    let tolerant = json!({ "tolerations": [{ "key": UNSCHEDULABLE_TAINT, "operator": "Exists" }] });
    assert!(mismatches(&pod(tolerant), &node).is_empty());
}

#[test]
fn a_pod_that_names_a_node_runs_on_no_other() {
    let node = node(json!({}));
    assert!(mismatches(&pod(json!({ "nodeName": "n1" })), &node).is_empty());
    assert!(mismatches(&pod(json!({ "nodeName": "" })), &node).is_empty());
    let reasons = mismatches(&pod(json!({ "nodeName": "n2" })), &node);
    assert_eq!(texts(&reasons), ["node(s) didn't match the requested node name"]);
}

fn container(cpu: &str) -> Value {
    json!({ "name": "c", "resources": { "requests": { "cpu": cpu } } })
}

fn sidecar(cpu: &str) -> Value {
    json!({ "name": "s", "restartPolicy": "Always", "resources": { "requests": { "cpu": cpu } } })
}

#[test]
fn a_pod_takes_the_sum_of_its_containers_or_what_its_hungriest_start_takes() {
    for (spec, cpu) in [
        (json!({ "containers": [container("1"), container("500m")] }), "1500m"),
        (json!({ "containers": [container("1")], "initContainers": [container("3")] }), "3"),
        (json!({ "containers": [container("4")], "initContainers": [container("3"), container("2")] }), "4"),
        (json!({ "containers": [container("1")], "initContainers": [sidecar("2")] }), "3"),
        // The second init container runs beside the sidecar that was started before it.
        (json!({ "containers": [container("1")], "initContainers": [sidecar("2"), container("5")] }), "7"),
        (json!({ "containers": [container("1")], "initContainers": [container("5"), sidecar("2")] }), "5"),
        (json!({ "containers": [container("1")], "overhead": { "cpu": "250m" } }), "1250m"),
        (
            json!({ "containers": [container("1")], "resources": { "requests": { "cpu": "6" } }, "overhead": { "cpu": "1" } }),
            "7",
        ),
        (
            json!({ "containers": [
                { "name": "c", "resources": { "limits": { "cpu": "2" }, "requests": { "cpu": "1" } } },
            ] }),
            "1",
        ),
        (json!({ "containers": [] }), "0"),
    ] {
        let demand = Demand::of(&pod(spec.clone()));
        assert_eq!(demand.resource("cpu").to_string(), cpu, "{spec}");
    }
}

#[test]
fn amounts_of_the_pod_itself_stand_for_cpu_memory_and_huge_pages_only() {
    let demand = Demand::of(&pod(json!({
        "containers": [{ "name": "c", "resources": { "requests": { "nvidia.com/gpu": "1", "hugepages-2Mi": "2Mi" } } }],
        "resources": { "requests": { "nvidia.com/gpu": "4", "hugepages-2Mi": "8Mi" } },
    })));
    assert_eq!(demand.resource("nvidia.com/gpu").to_string(), "1");
    assert_eq!(demand.resource("hugepages-2Mi").to_string(), "8Mi");
}

fn room() -> Room {
    let mut room = Room::default();
    let node = json!({ "metadata": { "name": "n1" }, "status": { "allocatable": {
        "cpu": "4", "memory": "8Gi", "pods": "3", "nvidia.com/gpu": "1", "ephemeral-storage": "10Gi", "hugepages-2Mi": "0",
    } } });
    assert!(room.set_allocatable(&read(node.clone())));
    assert!(!room.set_allocatable(&read(node)));
    room
}

fn demand(requests: Value) -> Demand {
    Demand::of(&pod(json!({ "containers": [{ "name": "c", "resources": { "requests": requests } }] })))
}

#[test]
fn what_does_not_fit_is_named_in_the_schedulers_words() {
    let mut room = room();
    room.bind("bound", demand(json!({ "cpu": "3500m", "memory": "1Gi" })));
    for (requests, reasons) in [
        (json!({ "cpu": "500m", "memory": "7Gi" }), vec![]),
        (json!({ "cpu": "501m" }), vec!["Insufficient cpu"]),
        (json!({ "cpu": "1", "memory": "8Gi" }), vec!["Insufficient cpu", "Insufficient memory"]),
        (json!({ "nvidia.com/gpu": "1" }), vec![]),
        (json!({ "nvidia.com/gpu": "2" }), vec!["Insufficient nvidia.com/gpu"]),
        (json!({ "example.com/none": "1" }), vec!["Insufficient example.com/none"]),
        (json!({ "example.com/none": "0" }), vec![]),
        (json!({ "ephemeral-storage": "11Gi" }), vec!["Insufficient ephemeral-storage"]),
        (json!({ "hugepages-2Mi": "2Mi" }), vec!["Insufficient hugepages-2Mi"]),
    ] {
        assert_eq!(texts(&room.lacks(&demand(requests.clone()), None)), reasons, "{requests}");
    }
    let reasons = room.lacks(&demand(json!({ "cpu": "1" })), None);
    assert_eq!(reasons[0].detail(), "cpu: 1 requested, 3500m of 4 taken");
}

#[test]
fn the_node_hosts_no_more_pods_than_it_may() {
    let mut room = room();
    for pod in ["a", "b", "c"] {
        assert!(room.lacks(&Demand::default(), None).is_empty());
        room.bind(pod, Demand::default());
    }
    assert_eq!(texts(&room.lacks(&Demand::default(), None)), ["Too many pods"]);
    assert!(room.lacks(&Demand::default(), Some("a")).is_empty());
    assert!(room.release("a"));
    assert!(!room.release("a"));
    assert!(room.lacks(&Demand::default(), None).is_empty());
}

#[test]
fn a_pod_bound_twice_counts_once_and_leaves_nothing_behind() {
    let mut room = room();
    room.bind("a", demand(json!({ "cpu": "3" })));
    room.bind("a", demand(json!({ "cpu": "2", "memory": "1Gi" })));
    assert!(room.holds("a"));
    assert!(room.lacks(&demand(json!({ "cpu": "2" })), None).is_empty());
    assert!(room.lacks(&demand(json!({ "cpu": "4" })), Some("a")).is_empty());
    room.release("a");
    assert!(room.lacks(&demand(json!({ "cpu": "4", "memory": "8Gi" })), None).is_empty());
}

fn ports(spec: Value) -> Demand {
    Demand::of(&pod(spec))
}

#[test]
fn host_ports_conflict_by_protocol_address_and_number() {
    let port = |protocol: &str, ip: &str, number: i32| {
        ports(json!({ "containers": [{ "name": "c", "ports": [
            { "containerPort": 1, "hostPort": number, "hostIP": ip, "protocol": protocol },
        ] }] }))
    };
    let mut room = room();
    room.bind("bound", port("TCP", "10.0.0.1", 80));
    for (protocol, ip, number, free) in [
        ("TCP", "10.0.0.1", 80, false),
        ("TCP", "", 80, false),
        ("TCP", "0.0.0.0", 80, false),
        ("TCP", "::", 80, false),
        ("TCP", "10.0.0.2", 80, true),
        ("UDP", "10.0.0.1", 80, true),
        ("TCP", "10.0.0.1", 81, true),
    ] {
        let reasons = room.lacks(&port(protocol, ip, number), None);
        assert_eq!(reasons.is_empty(), free, "{protocol} {ip}:{number}");
        assert!(reasons.iter().all(|reason| {
            reason.to_string() == "node(s) didn't have free ports for the requested pod ports"
        }));
    }
    assert!(room.lacks(&port("TCP", "", 80), Some("bound")).is_empty());
}

#[test]
fn on_the_hosts_network_every_container_port_is_one_of_the_host() {
    let containers = json!([{ "name": "c", "ports": [{ "containerPort": 9100 }] }]);
    let on_host = ports(json!({ "hostNetwork": true, "containers": containers }));
    let own_network = ports(json!({ "containers": containers }));
    let mut room = room();
    room.bind("bound", on_host.clone());
    assert_eq!(room.lacks(&on_host, None)[0].detail(), "host port 9100/TCP is taken");
    assert!(room.lacks(&own_network, None).is_empty());
}

#[test]
fn eligibility_gives_every_reason_at_once() {
    let spec = pod(json!({
        "nodeName": "n2", "nodeSelector": { "gpu": "h100" },
        "containers": [{ "name": "c", "resources": { "requests": { "nvidia.com/gpu": "2" } } }],
    }));
    assert_eq!(
        texts(&eligibility(&spec, &node(json!({})), &room())),
        [
            "node(s) didn't match the requested node name",
            "node(s) didn't match Pod's node affinity/selector",
            "Insufficient nvidia.com/gpu",
        ]
    );
}

#[test]
fn a_daemon_set_runs_and_keeps_running_as_upstream_says() {
    let tainted = |key: &str, effect: &str| -> Node {
        let labels = json!({ "metadata": { "name": "n1", "labels": { "a": "b" } } });
        let mut node = labels;
        node["spec"] = json!({ "unschedulable": true, "taints": [{ "key": key, "effect": effect }] });
        read(node)
    };
    let cordoned = tainted("node.kubernetes.io/unschedulable", "NoSchedule");
    for (spec, node, should_run, may_stay) in [
        (json!({}), &cordoned, true, true),
        (json!({ "nodeName": "n1" }), &cordoned, true, true),
        (json!({ "nodeName": "n2" }), &cordoned, false, false),
        (json!({ "nodeSelector": { "a": "b" } }), &cordoned, true, true),
        (json!({ "nodeSelector": { "a": "c" } }), &cordoned, false, false),
        (json!({}), &tainted("x", "NoSchedule"), false, true),
        (json!({}), &tainted("x", "NoExecute"), false, false),
        (json!({}), &tainted("x", "PreferNoSchedule"), true, true),
        (json!({ "tolerations": [{ "operator": "Exists" }] }), &tainted("x", "NoExecute"), true, true),
        (json!({}), &tainted("node.kubernetes.io/not-ready", "NoExecute"), true, true),
        (json!({}), &tainted("node.kubernetes.io/not-ready", "NoSchedule"), false, true),
        (json!({}), &tainted("node.kubernetes.io/network-unavailable", "NoSchedule"), false, true),
        (
            json!({ "hostNetwork": true }),
            &tainted("node.kubernetes.io/network-unavailable", "NoSchedule"),
            true,
            true,
        ),
        (json!({}), &tainted("node.kubernetes.io/disk-pressure", "NoSchedule"), true, true),
        (json!({}), &tainted("nvidia.com/gpu", "NoSchedule"), false, true),
    ] {
        let verdict = daemon_set::verdict(&pod(spec.clone()), node);
        assert_eq!(
            (verdict.should_run(), verdict.may_stay),
            (should_run, may_stay),
            "{spec} on {:?}",
            node.spec
        );
    }
}

#[test]
fn the_tolerations_of_daemon_sets_are_added_once_and_last_for_ever() {
    let own = json!([
        { "key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 },
        { "operator": "Exists" },
    ]);
    let tolerations = daemon_set::tolerations(&pod(json!({ "tolerations": own })));
    assert_eq!(tolerations.len(), 7);
    assert_eq!(tolerations[0].toleration_seconds, None);
    assert_eq!(daemon_set::tolerations(&pod(json!({ "hostNetwork": true }))).len(), 7);
    assert_eq!(daemon_set::tolerations(&pod(json!({ "tolerations": tolerations }))), tolerations);
}
