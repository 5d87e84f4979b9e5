//! What is particular to Services: the cluster IPs and node ports that they are given, and keep until they are deleted.
//!
//! It runs before validation, as upstream's allocators do. Who has what is an index beside the objects
//! ([`Allotments`]), so that giving out costs the same however many Services there are.

mod addresses;
mod allotments;
mod families;
mod ports;
#[cfg(test)]
mod tests;

use serde_json::Value;

pub use allotments::{Allotments, Allotted, Drafted, RangeError, ServiceRange};

use crate::api::status::{FieldError, Status};
use crate::coordinator::command::Entropy;
use crate::coordinator::metadata;
use crate::coordinator::state::{Draft, Key};

/// One Service that is being given what it needs.
struct Allotting<'a, 's> {
    draft: &'a Draft<'s>,
    key: Key,
    entropy: &'a mut dyn Entropy,
    /// Taken for this Service just now.
    taken: Vec<Allotted>,
}

/// Gives a new Service its addresses and ports.
pub(super) fn prepare_new(
    service: &mut Value,
    key: Key,
    draft: &Draft<'_>,
    entropy: &mut dyn Entropy,
) -> Result<(), Status> {
    addresses::normalise(service, None);
    families::initialise(service, None, draft.allotments().ranges())?;
    let mut allotting = Allotting { draft, key, entropy, taken: Vec::new() };
    allotting.take_addresses(service)?;
    allotting.take_ports(service)
}

/// Carries over what a Service has and its new version does not speak of, and gives it what it needs in addition.
pub(super) fn prepare_update(
    new: &mut Value,
    old: &Value,
    key: Key,
    draft: &Draft<'_>,
    entropy: &mut dyn Entropy,
) -> Result<(), Status> {
    drop_what_its_type_lacks(new, old);
    carry_over(new, old);
    addresses::normalise(new, Some(old));
    families::initialise(new, Some(old), draft.allotments().ranges())?;
    let mut allotting = Allotting { draft, key, entropy, taken: Vec::new() };
    let was_external = kind(old) == "ExternalName";
    if was_external || !addresses::is_headless(old) {
        allotting.take_addresses(new)?;
    }
    allotting.take_ports(new)
}

impl Allotting<'_, '_> {
    /// Whether this Service may have it.
    fn is_free(&self, wanted: Allotted) -> bool {
        self.draft.holder(wanted).is_none_or(|holder| *holder == self.key)
    }

    /// Whether it is given to nobody, nor to this Service.
    fn is_unused(&self, wanted: Allotted) -> bool {
        self.draft.holder(wanted).is_none() && !self.taken.contains(&wanted)
    }

    /// A number that nobody can foresee and tests can.
    fn draw(&mut self) -> u128 {
        let seed = self.entropy.uid();
        // FNV-1a: any spreading of the uid's characters will do.
        let hash = seed.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        hash.into()
    }

    fn refuse(&self, field: &str, value: &Value, why: &str) -> Status {
        invalid(&self.key.name, &[FieldError::invalid(field, value, why)])
    }
}

fn invalid(name: &str, errors: &[FieldError]) -> Status {
    Status::invalid("", "Service", name, errors)
}

/// Its type; `ClusterIP` where it does not say.
fn kind(service: &Value) -> &str {
    service["spec"]["type"].as_str().filter(|kind| !kind.is_empty()).unwrap_or("ClusterIP")
}

fn has_node_ports(service: &Value) -> bool {
    matches!(kind(service), "NodePort" | "LoadBalancer")
}

/// Traffic policy `Local` behind a load balancer: whether a node has endpoints is asked on a port of its own.
fn needs_health_check(service: &Value) -> bool {
    kind(service) == "LoadBalancer" && service["spec"]["externalTrafficPolicy"] == "Local"
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn texts(value: &Value) -> Vec<&str> {
    list(value).iter().filter_map(Value::as_str).collect()
}

fn fields(service: &mut Value) -> &mut serde_json::Map<String, Value> {
    if !service["spec"].is_object() {
        service["spec"] = Value::Object(serde_json::Map::new());
    }
    service["spec"].as_object_mut().expect("it is one by now")
}

/// A type that has no use for a field takes it away, unless the writer changed that very field.
fn drop_what_its_type_lacks(new: &mut Value, old: &Value) {
    if kind(new) == "ExternalName" && kind(old) != "ExternalName" {
        let same = |field: &str| new["spec"][field] == old["spec"][field];
        let unchanged = same("clusterIP") && same("clusterIPs");
        if unchanged {
            for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                fields(new).remove(field);
            }
        }
    }
    if !has_node_ports(new) && has_node_ports(old) {
        let numbers = |service: &Value| -> Vec<Value> {
            list(&service["spec"]["ports"]).iter().map(|port| port["nodePort"].clone()).collect()
        };
        if numbers(new).iter().all(|number| number.is_null() || numbers(old).contains(number)) {
            for port in fields(new).get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
                port.as_object_mut().map(|port| port.remove("nodePort"));
            }
        }
        if new["spec"]["externalTrafficPolicy"] == old["spec"]["externalTrafficPolicy"] {
            fields(new).remove("externalTrafficPolicy");
        }
        if new["spec"]["allocateLoadBalancerNodePorts"] == old["spec"]["allocateLoadBalancerNodePorts"] {
            fields(new).remove("allocateLoadBalancerNodePorts");
        }
    }
    if !needs_health_check(new)
        && needs_health_check(old)
        && new["spec"]["healthCheckNodePort"] == old["spec"]["healthCheckNodePort"]
    {
        fields(new).remove("healthCheckNodePort");
    }
}

/// What was given out and is not spoken of stays, so that a manifest can be applied again.
fn carry_over(new: &mut Value, old: &Value) {
    let is_served = |service: &Value| kind(service) != "ExternalName";
    if is_served(new) && is_served(old) {
        let unset = |value: &Value| value.as_str().is_none_or(str::is_empty);
        if unset(&new["spec"]["clusterIP"]) && list(&new["spec"]["clusterIPs"]).is_empty() {
            for field in ["clusterIP", "clusterIPs"] {
                let had = old["spec"][field].clone();
                if !had.is_null() {
                    fields(new).insert(field.into(), had);
                }
            }
        }
    }
    if has_node_ports(new) && has_node_ports(old) {
        ports::carry_over(new, old);
    }
    if needs_health_check(new) && needs_health_check(old) && new["spec"]["healthCheckNodePort"].is_null() {
        let had = old["spec"]["healthCheckNodePort"].clone();
        fields(new).insert("healthCheckNodePort".into(), had);
    }
}

/// The name, for errors.
fn name(service: &Value) -> &str {
    metadata::text(service, "name")
}
