//! A Pod's own facts as texts: the fields and resources that variables and downward API volumes may name. PURE.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};

use crate::api::pod_resources::{self, Resources};
use crate::api::quantity::Quantity;

/// What the node knows about a Pod beyond its object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// The Pod's addresses, the first is `podIP`.
    pub ips: Vec<String>,
    /// The node's addresses, the first is `hostIP`.
    pub host_ips: Vec<String>,
    /// The node's name.
    pub node_name: String,
    /// The Pod's host name, for `HOSTNAME`.
    pub host_name: String,
    /// The node's allocatable: what stands for a limit that is not set.
    pub allocatable: Resources,
    /// Host and port of the API server as containers reach it, if they do.
    pub api_server: Option<(String, u16)>,
    /// The epoch of its identity, of a Pod that runs under one.
    pub epoch: Option<i32>,
}

/// A field or resource that cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// No such field of a Pod, or not one that may be told.
    #[error("field label not supported: {0}")]
    Field(String),
    /// No such resource of a container.
    #[error("unsupported container resource : {0}")]
    Resource(String),
    /// The Pod has no such container.
    #[error("container {0} not found")]
    NoContainer(String),
    /// The divisor is no quantity, or not more than zero.
    #[error("divisor {0:?}: expected a quantity above zero")]
    Divisor(String),
}

/// The value of a field of the Pod, e.g. `metadata.labels['app']`; empty where the Pod does not say.
pub fn field(pod: &Pod, path: &str, facts: &PodFacts) -> Result<String, FieldError> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let spec = pod.spec.as_ref();
    let (labels, annotations) = (pod.metadata.labels.as_ref(), pod.metadata.annotations.as_ref());
    Ok(match path {
        "metadata.name" => text(&pod.metadata.name),
        "metadata.namespace" => text(&pod.metadata.namespace),
        "metadata.uid" => text(&pod.metadata.uid),
        "metadata.labels" => lines(labels),
        "metadata.annotations" => lines(annotations),
        "spec.nodeName" => spec
            .and_then(|spec| spec.node_name.clone())
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| facts.node_name.clone()),
        "spec.serviceAccountName" => spec.map(|spec| text(&spec.service_account_name)).unwrap_or_default(),
        "status.hostIP" => facts.host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => facts.host_ips.join(","),
        "status.podIP" => facts.ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => facts.ips.join(","),
        subscripted => {
            let (map, key) = match subscript(subscripted) {
                Some(("metadata.labels", key)) => (labels, key),
                Some(("metadata.annotations", key)) => (annotations, key),
                Some(_) | None => return Err(FieldError::Field(path.to_owned())),
            };
            map.and_then(|map| map.get(key)).cloned().unwrap_or_default()
        }
    })
}

/// The value of a resource of one of the Pod's containers, in units of the divisor, rounded up. A limit that is not set
/// is that of the Pod, or else the node's allocatable.
pub fn resource(
    pod: &Pod,
    container: Option<&Container>,
    selector: &ResourceFieldSelector,
    facts: &PodFacts,
) -> Result<String, FieldError> {
    let container = match selector.container_name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => named(pod, name).ok_or_else(|| FieldError::NoContainer(name.to_owned()))?,
        None => container.ok_or_else(|| FieldError::NoContainer(String::new()))?,
    };
    let unsupported = || FieldError::Resource(selector.resource.clone());
    let (list, name) = selector.resource.split_once('.').ok_or_else(unsupported)?;
    let known = matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
    let amount = match list {
        "limits" if known => limit(pod, container, name, facts),
        "requests" if known => pod_resources::container_requests(container).get(name).copied(),
        _ => return Err(unsupported()),
    };
    let amount = amount.unwrap_or(Quantity::ZERO);
    let divisor = divisor(selector)?;
    let (amount, divisor) = match name {
        "cpu" => (amount.milli_value(), divisor.milli_value()),
        _ => (amount.value(), divisor.value()),
    };
    Ok(divide_up(amount, divisor).to_string())
}

fn limit(pod: &Pod, container: &Container, name: &str, facts: &PodFacts) -> Option<Quantity> {
    let own = pod_resources::container_limits(container).get(name).copied();
    let of_pod = || {
        let resources = pod.spec.as_ref().and_then(|spec| spec.resources.as_ref());
        pod_resources::read(resources.and_then(|resources| resources.limits.as_ref())).get(name).copied()
    };
    let of_node = || facts.allocatable.get(name).filter(|_| !name.starts_with("hugepages-")).copied();
    own.filter(|amount| !amount.is_zero()).or_else(of_pod).or_else(of_node)
}

fn divisor(selector: &ResourceFieldSelector) -> Result<Quantity, FieldError> {
    let Some(written) = &selector.divisor else { return Ok(Quantity::from_units(1)) };
    match Quantity::parse(&written.0) {
        Ok(divisor) if divisor.is_zero() => Ok(Quantity::from_units(1)),
        Ok(divisor) if !divisor.is_negative() => Ok(divisor),
        Ok(_) | Err(_) => Err(FieldError::Divisor(written.0.clone())),
    }
}

fn divide_up(amount: i64, divisor: i64) -> i64 {
    let (amount, divisor) = (amount.max(0), divisor.max(1));
    amount / divisor + i64::from(amount % divisor != 0)
}

fn named<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    pod.spec.iter().flat_map(pod_resources::containers).find(|container| container.name == name)
}

/// `metadata.labels['key']` as its two parts.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// One `key="value"` line per entry, in order of the keys, quoted as Go quotes.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let entries = map.into_iter().flatten().map(|(key, value)| format!("{key}={}", quote(value)));
    entries.collect::<Vec<_>>().join("\n")
}

/// A Go string literal (`strconv.Quote`).
fn quote(text: &str) -> String {
    let escape = |c: char| match c {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '\n' => "\\n".to_owned(),
        '\t' => "\\t".to_owned(),
        '\r' => "\\r".to_owned(),
        '\u{7}' => "\\a".to_owned(),
        '\u{8}' => "\\b".to_owned(),
        '\u{b}' => "\\v".to_owned(),
        '\u{c}' => "\\f".to_owned(),
        control if control.is_ascii_control() => format!("\\x{:02x}", u32::from(control)),
        other => other.to_string(),
    };
    format!("\"{}\"", text.chars().map(escape).collect::<String>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web-0", "namespace": "shop", "uid": "u-1",
                "labels": {"b": "2", "a": "1"}, "annotations": {"x/y": "say \"hi\"\n\\"}},
            "spec": {"serviceAccountName": "robot", "nodeName": "n1",
                "initContainers": [{"name": "init", "resources": {"limits": {"cpu": "250m"}}}],
                "containers": [{"name": "c", "resources": {
                    "requests": {"cpu": "1100m", "memory": "100Mi"}, "limits": {"memory": "1Gi", "hugepages-2Mi": "4Mi"}}}]}
        }))
        .unwrap()
    }

    fn facts() -> PodFacts {
        PodFacts {
            ips: vec!["10.0.0.2".to_owned(), "fd00::2".to_owned()],
            host_ips: vec!["192.0.2.1".to_owned()],
            allocatable: [("cpu", 8), ("memory", 64 << 30), ("ephemeral-storage", 1000)]
                .map(|(name, units)| (name.to_owned(), Quantity::from_units(units)))
                .into(),
            ..PodFacts::default()
        }
    }

    #[test]
    fn every_field_that_may_be_told_is_told() {
        for (path, expected) in [
            ("metadata.name", "web-0"),
            ("metadata.namespace", "shop"),
            ("metadata.uid", "u-1"),
            ("metadata.labels", "a=\"1\"\nb=\"2\""),
            ("metadata.annotations", "x/y=\"say \\\"hi\\\"\\n\\\\\""),
            ("metadata.labels['b']", "2"),
            ("metadata.labels['none']", ""),
            ("metadata.annotations['x/y']", "say \"hi\"\n\\"),
            ("spec.nodeName", "n1"),
            ("spec.serviceAccountName", "robot"),
            ("status.hostIP", "192.0.2.1"),
            ("status.hostIPs", "192.0.2.1"),
            ("status.podIP", "10.0.0.2"),
            ("status.podIPs", "10.0.0.2,fd00::2"),
        ] {
            assert_eq!(field(&pod(), path, &facts()).unwrap(), expected, "{path}");
        }
        for path in ["status.phase", "metadata.labels[b]", "spec.x['y']", ""] {
            let error = field(&pod(), path, &facts()).unwrap_err();
            assert_eq!(error.to_string(), format!("field label not supported: {path}"));
        }
    }

    fn told(resource_name: &str, container: &str, divisor: &str) -> Result<String, FieldError> {
        let selector = json!({"resource": resource_name, "containerName": container, "divisor": divisor});
        let pod = pod();
        let own = &pod.spec.as_ref().unwrap().containers[0];
        resource(&pod, Some(own), &serde_json::from_value(selector).unwrap(), &facts())
    }

    #[test]
    fn resources_are_told_in_units_of_the_divisor_rounded_up() {
        for (name, container, divisor, expected) in [
            ("requests.cpu", "", "0", "2"),
            ("requests.cpu", "", "1m", "1100"),
            ("limits.memory", "", "1Mi", "1024"),
            ("requests.memory", "", "1G", "1"),
            ("limits.hugepages-2Mi", "", "1", "4194304"),
            ("limits.cpu", "init", "1m", "250"),
            ("limits.cpu", "", "1", "8"),
            ("limits.ephemeral-storage", "", "1", "1000"),
            ("requests.ephemeral-storage", "", "1", "0"),
        ] {
            assert_eq!(told(name, container, divisor).unwrap(), expected, "{name} {container} {divisor}");
        }
    }

    #[test]
    fn what_cannot_be_told_is_said() {
        assert_eq!(told("limits.cpu", "other", "1").unwrap_err().to_string(), "container other not found");
        let error = told("limits.nvidia.com/gpu", "", "1").unwrap_err();
        assert_eq!(error.to_string(), "unsupported container resource : limits.nvidia.com/gpu");
        assert!(matches!(told("limits.cpu", "", "-1").unwrap_err(), FieldError::Divisor(_)));
    }
}
