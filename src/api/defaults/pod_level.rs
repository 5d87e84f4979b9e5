//! Requests and limits of the Pod as a whole: what is missing follows from its containers.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{field, field_or_new, fill};
use crate::api::quantity::Quantity;

/// Amounts by resource name.
pub type Amounts = BTreeMap<String, Quantity>;

/// The amounts of a resource list; what cannot be read is left out.
pub(super) fn amounts(list: &Value) -> Amounts {
    let entries = list.as_object().into_iter().flatten();
    entries.filter_map(|(name, text)| Some((name.clone(), Quantity::parse(text.as_str()?).ok()?))).collect()
}

/// Fills `spec.resources` where it is given in part.
pub(super) fn pod_level_resources(spec: &mut Map<String, Value>) {
    let (limits, requests) = (given(spec, "limits"), given(spec, "requests"));
    if limits.is_empty() && requests.is_empty() {
        return;
    }
    let container_limits = container_amounts(spec, "limits");
    let container_requests = container_amounts(spec, "requests");
    for (name, amount) in &container_limits {
        if is_huge(name) && !requests.contains_key(name) {
            set(spec, "limits", name, *amount);
        }
    }
    let limits = given(spec, "limits");
    if limits.is_empty() {
        for (name, amount) in container_limits.iter().filter(|(name, _)| is_shared(name)) {
            if all_containers_limit(spec, name) {
                set(spec, "limits", name, *amount);
            }
        }
        return;
    }
    for (name, amount) in container_requests.iter().filter(|(name, _)| is_shared(name)) {
        set(spec, "requests", name, *amount);
    }
    for (name, amount) in limits.iter().filter(|(name, _)| is_shared(name) || is_huge(name)) {
        set(spec, "requests", name, *amount);
    }
}

fn given(spec: &Map<String, Value>, list: &str) -> Amounts {
    spec.get("resources").map(|resources| amounts(&resources[list])).unwrap_or_default()
}

fn is_shared(name: &str) -> bool {
    matches!(name, "cpu" | "memory")
}

fn is_huge(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn set(spec: &mut Map<String, Value>, list: &str, name: &str, amount: Quantity) {
    if let Some(list) = field(spec, "resources").and_then(|it| field_or_new(it, list)) {
        fill(list, name, amount.to_string());
    }
}

/// What the containers of a spec ask for (`requests`) or may use (`limits`) at once: containers and sidecars together, or
/// the greediest init container.
pub fn container_amounts(spec: &Map<String, Value>, list: &str) -> Amounts {
    let mut together = Amounts::new();
    for container in all(spec, "containers") {
        add(&mut together, &amounts(&container["resources"][list]));
    }
    let (mut sidecars, mut greediest) = (Amounts::new(), Amounts::new());
    for container in all(spec, "initContainers") {
        let mut wanted = amounts(&container["resources"][list]);
        if container["restartPolicy"] == "Always" {
            add(&mut together, &wanted);
            add(&mut sidecars, &wanted);
            wanted = sidecars.clone();
        } else {
            add(&mut wanted, &sidecars);
        }
        raise(&mut greediest, &wanted);
    }
    raise(&mut together, &greediest);
    together
}

fn all<'a>(spec: &'a Map<String, Value>, list: &str) -> impl Iterator<Item = &'a Value> {
    spec.get(list).and_then(Value::as_array).into_iter().flatten()
}

fn all_containers_limit(spec: &Map<String, Value>, name: &str) -> bool {
    let sidecars = all(spec, "initContainers").filter(|it| it["restartPolicy"] == "Always");
    all(spec, "containers").chain(sidecars).all(|it| it["resources"]["limits"].get(name).is_some())
}

/// Adds `more` to `sum`.
pub(super) fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let before = sum.get(name).copied().unwrap_or(Quantity::ZERO);
        sum.insert(name.clone(), before + *amount);
    }
}

fn raise(sum: &mut Amounts, to: &Amounts) {
    for (name, amount) in to {
        if sum.get(name).is_none_or(|before| before < amount) {
            sum.insert(name.clone(), *amount);
        }
    }
}
