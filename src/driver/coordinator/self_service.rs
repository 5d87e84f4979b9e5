//! The Service `kubernetes`, by which Pods know the endpoint, and its Endpoints: written anew when the endpoint has moved.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::writer::Writer;
use crate::api::kinds;
use crate::coordinator::{Action, Command, Subresource};
use crate::driver::entropy::SystemEntropy;

const NAMESPACE: &str = "default";
const NAME: &str = "kubernetes";
/// The Service's own port, as upstream's.
const PORT: u16 = 443;

/// Makes what is missing and corrects what has changed. What cannot be written is said and left: no Pod needs it, for
/// each is told the address itself.
pub(super) fn write(writer: &mut Writer, address: SocketAddr) {
    let mut objects = vec![("", "Service", service(writer, address))];
    // Loopback is nobody else's endpoint, and the API refuses it as one.
    if !address.ip().is_loopback() {
        objects.push(("", "Endpoints", endpoints(address)));
        objects.push(("discovery.k8s.io", "EndpointSlice", slice(address)));
    }
    for (group, kind, wanted) in objects {
        if let Err(why) = put(writer, group, kind, &wanted) {
            tracing::warn!(why, kind, "the Service kubernetes could not be written");
        }
    }
}

fn put(writer: &mut Writer, group: &str, kind: &str, wanted: &Value) -> Result<(), String> {
    let kind = kinds::by_kind(group, "v1", kind).ok_or("no such kind is served")?;
    let action = match writer.view.get(kind, NAMESPACE, NAME).map(|there| there.value()) {
        None => Action::Create { body: wanted.clone() },
        Some(there) if covers(&there, wanted) => return Ok(()),
        Some(mut there) => {
            overlay(&mut there, wanted);
            Action::Update { name: NAME.into(), subresource: Subresource::Main, body: there }
        }
    };
    let command = Command::new(kind, NAMESPACE, action);
    let answers = writer.commit(&[&command], &mut SystemEntropy).map_err(|e| e.to_string())?;
    answers.into_iter().try_for_each(|answer| answer.map(drop).map_err(|status| status.message))
}

/// Whether everything wanted is there already; lists count as one.
fn covers(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => {
            wanted.iter().all(|(key, value)| there.get(key).is_some_and(|there| covers(there, value)))
        }
        (Value::Array(there), Value::Array(wanted)) => {
            there.len() == wanted.len()
                && there.iter().zip(wanted).all(|(there, wanted)| covers(there, wanted))
        }
        _ => there == wanted,
    }
}

fn overlay(there: &mut Value, wanted: &Value) {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => {
            for (key, value) in wanted {
                overlay(there.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (there, wanted) => *there = wanted.clone(),
    }
}

fn service(writer: &Writer, address: SocketAddr) -> Value {
    let port = json!({ "name": "https", "port": PORT, "protocol": "TCP", "targetPort": address.port() });
    let mut service = json!({
        "metadata": {
            "name": NAME, "namespace": NAMESPACE, "labels": { "component": "apiserver", "provider": "kubernetes" },
        },
        "spec": { "type": "ClusterIP", "ports": [port] },
    });
    let kind = kinds::by_kind("", "v1", "Service");
    let is_there = kind.is_some_and(|kind| writer.view.get(kind, NAMESPACE, NAME).is_some());
    let range = writer.view.state().allotments.ranges().first().copied();
    if let Some(range) = range.filter(|_| !is_there) {
        service["spec"]["clusterIP"] = range.api_server().to_string().into();
    }
    service
}

fn endpoints(address: SocketAddr) -> Value {
    json!({
        "metadata": {
            "name": NAME, "namespace": NAMESPACE,
            "labels": { "endpointslice.kubernetes.io/skip-mirror": "true" },
        },
        "subsets": [{
            "addresses": [{ "ip": address.ip().to_string() }],
            "ports": [{ "name": "https", "port": address.port(), "protocol": "TCP" }],
        }],
    })
}

fn slice(address: SocketAddr) -> Value {
    json!({
        "metadata": {
            "name": NAME, "namespace": NAMESPACE, "labels": { "kubernetes.io/service-name": NAME },
        },
        "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{ "addresses": [address.ip().to_string()], "conditions": { "ready": true } }],
        "ports": [{ "name": "https", "port": address.port(), "protocol": "TCP" }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_written() {
        let address: SocketAddr = "192.0.2.1:6443".parse().expect("an address");
        let mut there = endpoints(address);
        there["metadata"]["uid"] = "u".into();
        there["subsets"][0]["addresses"][0]["nodeName"] = Value::Null;
        assert!(covers(&there, &endpoints(address)));
        let moved = endpoints("192.0.2.1:6444".parse().expect("an address"));
        assert!(!covers(&there, &moved));
        overlay(&mut there, &moved);
        assert!(covers(&there, &moved) && there["metadata"]["uid"] == "u");
    }
}
