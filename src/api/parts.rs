//! The parts of objects that have paths of their own: subresources, as data of a kind's row. (`status` is not among
//! them: whether a kind has it is a fact of its own.)

use std::collections::BTreeMap;

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::Binding;
use k8s_openapi::api::policy::v1::Eviction;
use schemars::SchemaGenerator;
use serde_json::{Value, json};

use crate::api::kinds::{Form, Kind};
use crate::api::selectors::Selector;
use crate::api::status::FieldError;
use crate::api::tables;

/// One subresource.
#[derive(Debug)]
pub struct Part {
    /// As paths name it.
    pub name: &'static str,
    /// What it is.
    pub face: Face,
    /// What goes over the wire: a row of [`WIRE_KINDS`], or the object itself.
    pub kind: Option<&'static Kind>,
    /// What may be asked of it, in the words of access rules.
    pub verbs: &'static [&'static str],
}

/// What a subresource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// The object, of which only `spec.finalizers` are written.
    Finalizers,
    /// The request, of which only the conditions `Approved` and `Denied` are written.
    Approval,
    /// The Pod, of which only `spec.ephemeralContainers` are written.
    EphemeralContainers,
    /// The Pod, of which only its containers' resources are written.
    Resize,
    /// How many Pods there shall be.
    Scale,
    /// The node that takes the Pod.
    Binding,
    /// A deletion that a `PodDisruptionBudget` may refuse.
    Eviction,
    /// A token for a `ServiceAccount`.
    Token,
    /// What a node answers, such as `log`.
    Node,
}

const OBJECT_VERBS: &[&str] = &["get", "patch", "update"];
const CREATE: &[&str] = &["create"];
const STREAM: &[&str] = &["create", "get"];
const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];

/// The part of a Node.
pub const NODE: &[Part] =
    &[Part { name: "proxy", face: Face::Node, kind: Some(&NODE_PROXY_OPTIONS), verbs: PROXY }];

/// The part of a Service.
pub const SERVICE: &[Part] =
    &[Part { name: "proxy", face: Face::Node, kind: Some(&SERVICE_PROXY_OPTIONS), verbs: PROXY }];

/// Parts of a Namespace.
pub const NAMESPACE: &[Part] =
    &[Part { name: "finalize", face: Face::Finalizers, kind: None, verbs: &["update"] }];

/// The part of a `CertificateSigningRequest`.
pub const SIGNING_REQUEST: &[Part] =
    &[Part { name: "approval", face: Face::Approval, kind: None, verbs: OBJECT_VERBS }];

/// The part of a workload that has replicas.
pub const SCALABLE: &[Part] =
    &[Part { name: "scale", face: Face::Scale, kind: Some(&SCALE), verbs: OBJECT_VERBS }];

/// Parts of a Pod.
pub const POD: &[Part] = &[
    Part { name: "attach", face: Face::Node, kind: Some(&ATTACH_OPTIONS), verbs: STREAM },
    Part { name: "binding", face: Face::Binding, kind: Some(&BINDING), verbs: CREATE },
    Part { name: "ephemeralcontainers", face: Face::EphemeralContainers, kind: None, verbs: OBJECT_VERBS },
    Part { name: "eviction", face: Face::Eviction, kind: Some(&EVICTION), verbs: CREATE },
    Part { name: "exec", face: Face::Node, kind: Some(&EXEC_OPTIONS), verbs: STREAM },
    Part { name: "log", face: Face::Node, kind: None, verbs: &["get"] },
    Part { name: "portforward", face: Face::Node, kind: Some(&PORT_FORWARD_OPTIONS), verbs: STREAM },
    Part { name: "proxy", face: Face::Node, kind: Some(&POD_PROXY_OPTIONS), verbs: PROXY },
    Part { name: "resize", face: Face::Resize, kind: None, verbs: OBJECT_VERBS },
];

/// The part of a `ServiceAccount`.
pub const SERVICE_ACCOUNT: &[Part] =
    &[Part { name: "token", face: Face::Token, kind: Some(&TOKEN_REQUEST), verbs: CREATE }];

/// Rows of what is only ever a part of something else, so that it has a shape and, where it can be read, columns.
pub static WIRE_KINDS: &[&Kind] = &[&EVICTION, &SCALE, &TOKEN_REQUEST];

/// `autoscaling/v1` Scale.
pub static SCALE: Kind = Kind {
    form: Some(&Form { stored_group: "", to_stored: as_it_is, from_stored: to_scale, stored_fields: &[] }),
    columns: tables::SCALE,
    cells: tables::scale,
    ..Kind::plain("autoscaling", "Scale", "scales", SchemaGenerator::subschema_for::<Scale>)
};

/// `policy/v1` Eviction.
pub static EVICTION: Kind =
    Kind::plain("policy", "Eviction", "evictions", SchemaGenerator::subschema_for::<Eviction>);

/// `v1` Binding.
pub static BINDING: Kind = Kind::plain("", "Binding", "bindings", SchemaGenerator::subschema_for::<Binding>);

/// `authentication.k8s.io/v1` `TokenRequest`.
pub static TOKEN_REQUEST: Kind = Kind::plain(
    "authentication.k8s.io",
    "TokenRequest",
    "tokenrequests",
    SchemaGenerator::subschema_for::<TokenRequest>,
);

static ATTACH_OPTIONS: Kind = options("PodAttachOptions");
static EXEC_OPTIONS: Kind = options("PodExecOptions");
static PORT_FORWARD_OPTIONS: Kind = options("PodPortForwardOptions");
static NODE_PROXY_OPTIONS: Kind = options("NodeProxyOptions");
static POD_PROXY_OPTIONS: Kind = options("PodProxyOptions");
static SERVICE_PROXY_OPTIONS: Kind = options("ServiceProxyOptions");

/// What discovery says of a stream; its parameters travel in the query and have no schema.
const fn options(kind: &'static str) -> Kind {
    Kind::plain("", kind, "", SchemaGenerator::subschema_for::<Value>)
}

fn as_it_is(_: &mut Value) {}

/// From a stored object to its Scale.
pub fn to_scale(object: &mut Value) {
    *object = scale(object);
}

/// The Scale of an object that has replicas.
pub fn scale(object: &Value) -> Value {
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(field) {
            metadata[field] = value.clone();
        }
    }
    let count = |part: &str| object[part]["replicas"].as_i64().unwrap_or_default();
    let mut scale = json!({
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": metadata,
        "spec": {},
        "status": { "replicas": count("status") },
    });
    // As upstream writes it: no replicas where there shall be none.
    if count("spec") != 0 {
        scale["spec"]["replicas"] = count("spec").into();
    }
    let selector = scale_selector(object);
    if !selector.is_empty() {
        scale["status"]["selector"] = selector.into();
    }
    scale
}

fn scale_selector(object: &Value) -> String {
    let selector = &object["spec"]["selector"];
    if object["kind"] == "ReplicationController" {
        let labels: BTreeMap<&str, &str> = selector
            .as_object()
            .into_iter()
            .flatten()
            .map(|(label, value)| (label.as_str(), value.as_str().unwrap_or_default()))
            .collect();
        let pairs: Vec<String> = labels.iter().map(|(label, value)| format!("{label}={value}")).collect();
        return pairs.join(",");
    }
    Selector::from_value(selector).map(|selector| selector.to_string()).unwrap_or_default()
}

/// What is wrong with a Scale that is to be written.
pub fn scale_errors(scale: &Value) -> Vec<FieldError> {
    let replicas = &scale["spec"]["replicas"];
    if replicas.as_i64().is_some_and(|count| count < 0) {
        return vec![FieldError::invalid("spec.replicas", replicas, "must be greater than or equal to 0")];
    }
    Vec::new()
}

impl Kind {
    /// The part of its objects that a path names.
    pub fn part(&self, name: &str) -> Option<&'static Part> {
        self.parts.iter().find(|part| part.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_tells_what_is_asked_for_and_what_is_there() {
        let object = json!({
            "kind": "Deployment", "apiVersion": "apps/v1",
            "metadata": { "name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7", "labels": { "x": "y" } },
            "spec": { "replicas": 3, "selector": { "matchLabels": { "b": "2", "a": "1" } } },
            "status": { "replicas": 2 },
        });
        assert_eq!(
            scale(&object),
            json!({
                "kind": "Scale", "apiVersion": "autoscaling/v1",
                "metadata": { "name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7" },
                "spec": { "replicas": 3 },
                "status": { "replicas": 2, "selector": "a=1,b=2" },
            })
        );
        let old = json!({ "kind": "ReplicationController", "spec": { "replicas": 0, "selector": { "b": "2", "a": "1" } } });
        assert_eq!(scale(&old)["spec"], json!({}));
        assert_eq!(scale(&old)["status"], json!({ "replicas": 0, "selector": "a=1,b=2" }));
    }

    #[test]
    fn nobody_can_ask_for_fewer_than_no_pods() {
        assert!(scale_errors(&json!({ "spec": { "replicas": 0 } })).is_empty());
        let errors = scale_errors(&json!({ "spec": { "replicas": -1 } }));
        assert_eq!(errors[0].message, "Invalid value: -1: must be greater than or equal to 0");
    }
}
