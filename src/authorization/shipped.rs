//! The roles and bindings that every cluster has, as upstream's for the kinds that are served here, and how they are
//! completed when a newer version brings more.

use serde_json::{Value, json};

use super::rbac::GROUP;
use super::rule::{Rule, not_held};
use super::{AUTHENTICATED, MASTERS, UNAUTHENTICATED};

/// Whoever sets it to `false` keeps a role as it is.
pub const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const BOOTSTRAPPING: (&str, &str) = ("kubernetes.io/bootstrapping", "rbac-defaults");
/// What the labels begin with by which rules are gathered.
const AGGREGATE_TO: &str = "rbac.authorization.k8s.io/aggregate-to-";

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];
const READ_WRITE: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const GET: &[&str] = &["get"];
const CREATE: &[&str] = &["create"];
const ALL: &[&str] = &["*"];

/// Verbs, API group and resources; no group stands for paths.
type Row = (&'static [&'static str], Option<&'static str>, &'static [&'static str]);

const CORE: Option<&str> = Some("");
const APPS: Option<&str> = Some("apps");
const BATCH: Option<&str> = Some("batch");
const POLICY: Option<&str> = Some("policy");
const NETWORKING: Option<&str> = Some("networking.k8s.io");
const DISCOVERY: Option<&str> = Some("discovery.k8s.io");
const COORDINATION: Option<&str> = Some("coordination.k8s.io");
const AUTHENTICATION: Option<&str> = Some("authentication.k8s.io");
const AUTHORIZATION: Option<&str> = Some("authorization.k8s.io");
const CERTIFICATES: Option<&str> = Some("certificates.k8s.io");
const EVENTS: Option<&str> = Some("events.k8s.io");
const PATHS: Option<&str> = None;

/// Names, to whom their rules are added, and their rules.
const ROLES: &[(&str, Option<&str>, &[Row])] = &[
    ("cluster-admin", None, &[(ALL, Some("*"), ALL), (ALL, PATHS, ALL)]),
    (
        "system:discovery",
        None,
        &[(
            GET,
            PATHS,
            &[
                "/api",
                "/api/*",
                "/apis",
                "/apis/*",
                "/healthz",
                "/livez",
                "/openapi",
                "/openapi/*",
                "/readyz",
                "/version",
                "/version/",
            ],
        )],
    ),
    (
        "system:public-info-viewer",
        None,
        &[(GET, PATHS, &["/healthz", "/livez", "/readyz", "/version", "/version/"])],
    ),
    (
        "system:service-account-issuer-discovery",
        None,
        &[(
            GET,
            PATHS,
            &[
                "/.well-known/openid-configuration",
                "/.well-known/openid-configuration/",
                "/openid/v1/jwks",
                "/openid/v1/jwks/",
            ],
        )],
    ),
    (
        "system:basic-user",
        None,
        &[
            (CREATE, AUTHORIZATION, &["selfsubjectaccessreviews", "selfsubjectrulesreviews"]),
            (CREATE, AUTHENTICATION, &["selfsubjectreviews"]),
        ],
    ),
    (
        "system:auth-delegator",
        None,
        &[(CREATE, AUTHENTICATION, &["tokenreviews"]), (CREATE, AUTHORIZATION, &["subjectaccessreviews"])],
    ),
    (
        "system:monitoring",
        None,
        &[(
            GET,
            PATHS,
            &[
                "/healthz",
                "/healthz/*",
                "/livez",
                "/livez/*",
                "/metrics",
                "/metrics/slis",
                "/readyz",
                "/readyz/*",
            ],
        )],
    ),
    (
        "system:aggregate-to-admin",
        Some("admin"),
        &[
            (CREATE, AUTHORIZATION, &["localsubjectaccessreviews"]),
            (READ_WRITE, Some(GROUP), &["rolebindings", "roles"]),
        ],
    ),
    (
        "system:aggregate-to-edit",
        Some("edit"),
        &[
            (
                READ,
                CORE,
                &["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets", "services/proxy"],
            ),
            (&["impersonate"], CORE, &["serviceaccounts"]),
            (WRITE, CORE, &["pods", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy"]),
            (CREATE, CORE, &["pods/eviction"]),
            (
                WRITE,
                CORE,
                &[
                    "configmaps",
                    "events",
                    "persistentvolumeclaims",
                    "replicationcontrollers",
                    "replicationcontrollers/scale",
                    "secrets",
                    "serviceaccounts",
                    "services",
                    "services/proxy",
                ],
            ),
            (CREATE, CORE, &["serviceaccounts/token"]),
            (
                WRITE,
                APPS,
                &[
                    "daemonsets",
                    "deployments",
                    "deployments/rollback",
                    "deployments/scale",
                    "replicasets",
                    "replicasets/scale",
                    "statefulsets",
                    "statefulsets/scale",
                ],
            ),
            (WRITE, BATCH, &["cronjobs", "jobs"]),
            (WRITE, POLICY, &["poddisruptionbudgets"]),
            (WRITE, NETWORKING, &["ingresses", "networkpolicies"]),
            (READ_WRITE, COORDINATION, &["leases"]),
        ],
    ),
    (
        "system:aggregate-to-view",
        Some("view"),
        &[
            (
                READ,
                CORE,
                &[
                    "configmaps",
                    "endpoints",
                    "persistentvolumeclaims",
                    "persistentvolumeclaims/status",
                    "pods",
                    "replicationcontrollers",
                    "replicationcontrollers/scale",
                    "serviceaccounts",
                    "services",
                    "services/status",
                ],
            ),
            (
                READ,
                CORE,
                &[
                    "bindings",
                    "events",
                    "limitranges",
                    "namespaces/status",
                    "pods/log",
                    "pods/status",
                    "replicationcontrollers/status",
                    "resourcequotas",
                    "resourcequotas/status",
                ],
            ),
            (READ, CORE, &["namespaces"]),
            (READ, DISCOVERY, &["endpointslices"]),
            (
                READ,
                APPS,
                &[
                    "controllerrevisions",
                    "daemonsets",
                    "daemonsets/status",
                    "deployments",
                    "deployments/scale",
                    "deployments/status",
                    "replicasets",
                    "replicasets/scale",
                    "replicasets/status",
                    "statefulsets",
                    "statefulsets/scale",
                    "statefulsets/status",
                ],
            ),
            (READ, BATCH, &["cronjobs", "cronjobs/status", "jobs", "jobs/status"]),
            (READ, POLICY, &["poddisruptionbudgets", "poddisruptionbudgets/status"]),
            (READ, NETWORKING, &["ingresses", "ingresses/status", "networkpolicies"]),
        ],
    ),
    // What is particular to one node, its authorizer says.
    (
        "leasehold:nodes",
        None,
        &[
            (READ, CORE, &["namespaces", "nodes", "replicationcontrollers", "services"]),
            (READ, DISCOVERY, &["endpointslices"]),
            (
                READ,
                APPS,
                &["controllerrevisions", "daemonsets", "deployments", "replicasets", "statefulsets"],
            ),
            (READ, BATCH, &["cronjobs", "jobs"]),
            (READ, Some("node.k8s.io"), &["runtimeclasses"]),
            (READ, Some("scheduling.k8s.io"), &["priorityclasses"]),
            (READ, Some("storage.k8s.io"), &["storageclasses"]),
            (&["create", "patch", "update"], CORE, &["events"]),
            (&["create", "patch", "update"], EVENTS, &["events"]),
            (&["create", "get", "list", "watch"], CERTIFICATES, &["certificatesigningrequests"]),
            (CREATE, AUTHENTICATION, &["tokenreviews"]),
            (CREATE, AUTHORIZATION, &["localsubjectaccessreviews", "subjectaccessreviews"]),
        ],
    ),
    // What controllers do upstream, in one: workloads and their Pods, namespaces, garbage, leases.
    (
        "leasehold:stewards",
        None,
        &[
            (&["delete", "deletecollection", "get", "list", "patch", "watch"], Some("*"), ALL),
            (
                ALL,
                CORE,
                &[
                    "configmaps",
                    "endpoints",
                    "events",
                    "namespaces",
                    "namespaces/finalize",
                    "namespaces/status",
                    "nodes",
                    "nodes/status",
                    "persistentvolumeclaims",
                    "persistentvolumeclaims/status",
                    "persistentvolumes",
                    "persistentvolumes/status",
                    "pods",
                    "pods/binding",
                    "pods/eviction",
                    "pods/status",
                    "replicationcontrollers",
                    "replicationcontrollers/scale",
                    "replicationcontrollers/status",
                    "resourcequotas/status",
                    "serviceaccounts",
                ],
            ),
            (ALL, APPS, ALL),
            (ALL, BATCH, ALL),
            (ALL, POLICY, ALL),
            (ALL, DISCOVERY, &["endpointslices"]),
            (ALL, COORDINATION, &["leases"]),
            (ALL, EVENTS, &["events"]),
            (&["create"], CERTIFICATES, &["certificatesigningrequests"]),
            (&["escalate", "update"], Some(GROUP), &["clusterroles"]),
        ],
    ),
];

/// Which roles gather their rules, and where these are added in turn.
const GATHERING: &[(&str, Option<&str>)] =
    &[("admin", None), ("edit", Some("admin")), ("view", Some("edit"))];

const BINDINGS: &[(&str, &[&str])] = &[
    ("cluster-admin", &[MASTERS]),
    ("leasehold:nodes", &["leasehold:nodes"]),
    ("leasehold:stewards", &["leasehold:stewards"]),
    ("system:basic-user", &[AUTHENTICATED]),
    ("system:discovery", &[AUTHENTICATED]),
    ("system:monitoring", &["system:monitoring"]),
    ("system:public-info-viewer", &[AUTHENTICATED, UNAUTHENTICATED]),
    ("system:service-account-issuer-discovery", &[AUTHENTICATED]),
];

/// All ClusterRoles.
pub fn cluster_roles() -> Vec<Value> {
    let plain = ROLES.iter().map(|(name, to, rows)| {
        let rules: Vec<Value> = rows.iter().map(|row| rule(row).to_json()).collect();
        json!({ "metadata": metadata(name, *to), "rules": rules })
    });
    let gathering = GATHERING.iter().map(|(name, to)| {
        let label = format!("{AGGREGATE_TO}{name}");
        json!({
            "metadata": metadata(name, *to), "rules": gathered(name),
            "aggregationRule": { "clusterRoleSelectors": [{ "matchLabels": { label: "true" } }] },
        })
    });
    plain.chain(gathering).collect()
}

/// All `ClusterRoleBindings`.
pub fn bindings() -> Vec<Value> {
    let made = BINDINGS.iter().map(|(role, groups)| {
        let group = |name: &&str| json!({ "kind": "Group", "apiGroup": GROUP, "name": name });
        let subjects: Vec<Value> = groups.iter().map(group).collect();
        json!({
            "metadata": metadata(role, None), "subjects": subjects,
            "roleRef": { "apiGroup": GROUP, "kind": "ClusterRole", "name": role },
        })
    });
    made.collect()
}

fn rule((verbs, group, things): &Row) -> Rule {
    let list = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    match group {
        Some(group) => Rule {
            verbs: list(verbs),
            groups: vec![(*group).to_owned()],
            resources: list(things),
            ..Rule::default()
        },
        None => Rule { verbs: list(verbs), paths: list(things), ..Rule::default() },
    }
}

/// What a gathering role has to begin with, for people to read; what counts is gathered whenever it is asked for.
fn gathered(name: &str) -> Vec<Value> {
    let own = ROLES.iter().filter(|(_, to, _)| *to == Some(name));
    let mut rules: Vec<Value> =
        own.flat_map(|(_, _, rows)| rows.iter().map(|row| rule(row).to_json())).collect();
    for (below, _) in GATHERING.iter().filter(|(_, to)| *to == Some(name)) {
        rules.extend(gathered(below));
    }
    rules
}

fn metadata(name: &str, adds_to: Option<&str>) -> Value {
    let mut labels = json!({ BOOTSTRAPPING.0: BOOTSTRAPPING.1 });
    if let Some(to) = adds_to {
        labels[format!("{AGGREGATE_TO}{to}")] = "true".into();
    }
    json!({ "name": name, "labels": labels, "annotations": { AUTOUPDATE: "true" } })
}

/// What is there with what it lacks of a shipped object; none where it lacks nothing, or is to be left alone.
pub fn completed(there: &Value, shipped: &Value) -> Option<Value> {
    if there["metadata"]["annotations"][AUTOUPDATE] == "false" {
        return None;
    }
    let mut new = there.clone();
    for field in ["labels", "annotations"] {
        for (key, value) in shipped["metadata"][field].as_object().into_iter().flatten() {
            if new["metadata"][field].get(key).is_none() {
                new["metadata"][field][key.as_str()] = value.clone();
            }
        }
    }
    if shipped["aggregationRule"].is_null() {
        let held = Rule::read_all(&there["rules"]);
        let lacking = not_held(&held, &Rule::read_all(&shipped["rules"]));
        extend(&mut new, "rules", lacking.iter().map(Rule::to_json));
    } else {
        let wanted = &shipped["aggregationRule"]["clusterRoleSelectors"];
        if !new["aggregationRule"].is_object() {
            new["aggregationRule"] = json!({});
        }
        extend_missing(&mut new["aggregationRule"], "clusterRoleSelectors", wanted);
    }
    extend_missing(&mut new, "subjects", &shipped["subjects"]);
    (new != *there).then_some(new)
}

fn extend(object: &mut Value, field: &str, items: impl Iterator<Item = Value>) {
    let items: Vec<Value> = items.collect();
    if items.is_empty() {
        return;
    }
    match object[field].as_array_mut() {
        Some(list) => list.extend(items),
        None => object[field] = items.into(),
    }
}

fn extend_missing(object: &mut Value, field: &str, wanted: &Value) {
    let there = object.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    let missing = wanted.as_array().into_iter().flatten().filter(|item| !there.contains(item)).cloned();
    extend(object, field, missing);
}

#[cfg(test)]
mod tests {
    use super::super::rbac::{Index, Part};
    use super::super::{Attributes, Decision, Resource, Subject, User};
    use super::*;

    fn index() -> Index {
        let mut index = Index::default();
        for (part, objects) in [(Part::Role, cluster_roles()), (Part::Binding, bindings())] {
            for object in objects {
                index.put(part, "", object["metadata"]["name"].as_str().unwrap(), &object);
            }
        }
        index
    }

    #[test]
    fn view_sees_edit_changes_and_admin_hands_out() {
        let mut index = index();
        for role in ["view", "edit", "admin", "cluster-admin"] {
            let binding = json!({
                "roleRef": { "kind": "ClusterRole", "name": role }, "subjects": [{ "kind": "User", "name": role }],
            });
            index.put(Part::Binding, "a", role, &binding);
        }
        let who_may = |verb: &str, group: &str, resource: &str, subresource: &str| {
            let asked =
                Resource { group, resource, subresource, namespace: "a", name: "x", fields: "", labels: "" };
            ["view", "edit", "admin", "cluster-admin"]
                .into_iter()
                .filter(|name| {
                    let user = User::new(*name, &[AUTHENTICATED]);
                    let attributes = Attributes { user: &user, verb, subject: Subject::Resource(asked) };
                    index.decide(&attributes) == Decision::Allow
                })
                .collect::<Vec<_>>()
        };
        let (all, editors) = (["view", "edit", "admin", "cluster-admin"], ["edit", "admin", "cluster-admin"]);
        assert_eq!(who_may("list", "", "pods", ""), all);
        assert_eq!(who_may("get", "", "pods", "log"), all);
        assert_eq!(who_may("watch", "apps", "daemonsets", ""), all);
        assert_eq!(who_may("get", "", "secrets", ""), editors);
        assert_eq!(who_may("create", "", "pods", "exec"), editors);
        assert_eq!(who_may("deletecollection", "batch", "jobs", ""), editors);
        assert_eq!(who_may("create", "", "serviceaccounts", "token"), editors);
        assert_eq!(who_may("create", "rbac.authorization.k8s.io", "roles", ""), ["admin", "cluster-admin"]);
        assert_eq!(who_may("get", "rbac.authorization.k8s.io", "clusterroles", ""), ["cluster-admin"]);
        assert_eq!(who_may("update", "", "namespaces", ""), ["cluster-admin"]);
        assert_eq!(who_may("update", "", "pods", "status"), ["cluster-admin"]);
        assert_eq!(who_may("create", "authorization.k8s.io", "selfsubjectaccessreviews", ""), all);
    }

    #[test]
    fn what_people_changed_is_completed_and_not_taken_back() {
        let roles = cluster_roles();
        let named = |name: &str| roles.iter().find(|role| role["metadata"]["name"] == name).unwrap();
        for shipped in roles.iter().chain(&bindings()) {
            assert_eq!(completed(shipped, shipped), None);
        }
        let shipped = named("system:basic-user");
        let mut there = shipped.clone();
        let own = json!({ "verbs": ["get"], "apiGroups": [""], "resources": ["pods"] });
        there["rules"] = json!([own]);
        there["metadata"]["labels"] = json!({ "mine": "yes" });
        let new = completed(&there, shipped).unwrap();
        assert_eq!(new["rules"][0], own);
        assert_eq!(not_held(&Rule::read_all(&new["rules"]), &Rule::read_all(&shipped["rules"])), []);
        assert_eq!(new["metadata"]["labels"]["mine"], "yes");
        assert_eq!(new["metadata"]["labels"][BOOTSTRAPPING.0], BOOTSTRAPPING.1);
        there["metadata"]["annotations"][AUTOUPDATE] = "false".into();
        assert_eq!(completed(&there, shipped), None);

        let binding = &bindings()[0];
        let mut emptied = binding.clone();
        emptied.as_object_mut().unwrap().remove("subjects");
        assert_eq!(completed(&emptied, binding).unwrap()["subjects"], binding["subjects"]);
        let mut bare = named("view").clone();
        bare.as_object_mut().unwrap().remove("aggregationRule");
        assert_eq!(
            completed(&bare, named("view")).unwrap()["aggregationRule"],
            named("view")["aggregationRule"]
        );
    }
}
