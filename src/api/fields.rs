//! What field selectors may name, kind by kind (besides `metadata.name` and `metadata.namespace`).

use serde_json::Value;

use crate::api::event_form::EVENTS_K8S_IO;

/// Fields of one object, with their values as selectors compare them.
pub type Fields = Vec<(&'static str, String)>;

/// For kinds that can be selected by name and namespace only.
pub fn none(_: &Value) -> Fields {
    Vec::new()
}

/// `type`
pub fn secret(object: &Value) -> Fields {
    read(object, &["type"])
}

/// `spec.clusterIP` and `spec.type`
pub fn service(object: &Value) -> Fields {
    read(object, &["spec.clusterIP", "spec.type"])
}

/// `status.phase`
pub fn namespace(object: &Value) -> Fields {
    read(object, &["status.phase"])
}

/// `spec.unschedulable`, `false` when unset.
pub fn node(object: &Value) -> Fields {
    vec![truth(object, "spec.unschedulable")]
}

/// The node, the restart policy, the scheduler, the service account, host network, phase, IP and nomination.
pub fn pod(object: &Value) -> Fields {
    let mut fields = read(
        object,
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
    );
    if let Some((_, ip)) = fields.iter_mut().find(|(name, ip)| *name == "status.podIP" && ip.is_empty()) {
        *ip = at(object, "status.podIPs.0.ip");
    }
    fields.push(truth(object, "spec.hostNetwork"));
    fields
}

/// `status.replicas`, of a `ReplicaSet` or a `ReplicationController`.
pub fn replicas(object: &Value) -> Fields {
    vec![count(object, "status.replicas", "status.replicas")]
}

/// `status.successful`, which the status calls `succeeded`.
pub fn job(object: &Value) -> Fields {
    vec![count(object, "status.successful", "status.succeeded")]
}

/// What the event is about, its reason, who reports it and its type.
pub fn event(object: &Value) -> Fields {
    let mut fields = read(
        object,
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "type",
        ],
    );
    let component = at(object, "source.component");
    let source = if component.is_empty() { at(object, "reportingComponent") } else { component };
    fields.push(("source", source));
    fields
}

/// The same in the words of `events.k8s.io`.
pub fn event_of_events(object: &Value) -> Fields {
    let mut fields = read(object, &["reason", "type"]);
    fields.extend(EVENTS_K8S_IO.stored_fields.iter().map(|(name, _)| (*name, at(object, name))));
    fields
}

fn read(object: &Value, names: &[&'static str]) -> Fields {
    names.iter().map(|name| (*name, at(object, name))).collect()
}

fn truth(object: &Value, name: &'static str) -> (&'static str, String) {
    (name, if at(object, name) == "true" { "true".into() } else { "false".into() })
}

/// A number, zero when unset.
fn count(object: &Value, name: &'static str, path: &str) -> (&'static str, String) {
    let number = at(object, path);
    (name, if number.is_empty() { "0".into() } else { number })
}

/// The value at a dotted path as text, empty when unset.
fn at(object: &Value, path: &str) -> String {
    match object.pointer(&format!("/{}", path.replace('.', "/"))) {
        Some(Value::String(text)) => text.clone(),
        Some(scalar @ (Value::Bool(_) | Value::Number(_))) => scalar.to_string(),
        Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => String::new(),
    }
}

/// `spec.signerName`
pub fn certificate_signing_request(object: &Value) -> Fields {
    read(object, &["spec.signerName"])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value(fields: &Fields, name: &str) -> String {
        fields.iter().find(|(field, _)| *field == name).expect("the field is selectable").1.clone()
    }

    #[test]
    fn a_pod_is_found_by_its_node_and_its_offer() {
        let fields = pod(&json!({
            "spec": { "nodeName": "n1", "hostNetwork": true, "restartPolicy": "Always" },
            "status": { "nominatedNodeName": "n2", "podIPs": [{ "ip": "10.0.0.1" }] },
        }));
        assert_eq!(value(&fields, "spec.nodeName"), "n1");
        assert_eq!(value(&fields, "spec.hostNetwork"), "true");
        assert_eq!(value(&fields, "status.nominatedNodeName"), "n2");
        assert_eq!(value(&fields, "status.podIP"), "10.0.0.1");
        assert_eq!(value(&fields, "status.phase"), "");
    }

    #[test]
    fn unset_truths_select_as_false() {
        assert_eq!(value(&pod(&json!({})), "spec.hostNetwork"), "false");
        assert_eq!(value(&node(&json!({})), "spec.unschedulable"), "false");
        assert_eq!(value(&node(&json!({ "spec": { "unschedulable": true } })), "spec.unschedulable"), "true");
    }

    #[test]
    fn an_event_without_a_source_selects_by_its_reporter() {
        let fields = event(&json!({ "reportingComponent": "agent", "involvedObject": { "kind": "Pod" } }));
        assert_eq!(value(&fields, "source"), "agent");
        assert_eq!(value(&fields, "involvedObject.kind"), "Pod");
    }
}
