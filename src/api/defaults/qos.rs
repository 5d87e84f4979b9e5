//! The quality-of-service class of a Pod, from the requests and limits of its containers.

use serde_json::Value;

use super::pod_level::{Amounts, add, amounts};

/// Resources that decide the class.
const DECIDING: [&str; 2] = ["cpu", "memory"];

/// `Guaranteed` when every container's limits of CPU and memory are also its requests, `BestEffort` when none asks for
/// anything, else `Burstable`. Amounts of the Pod as a whole, where it has them, stand for those of its containers.
pub(super) fn qos_class(spec: &Value) -> &'static str {
    let sets: Vec<&Value> = match spec.get("resources") {
        Some(whole) if whole.get("limits").or(whole.get("requests")).is_some() => vec![whole],
        _ => ["containers", "initContainers"]
            .iter()
            .flat_map(|list| spec[*list].as_array().into_iter().flatten())
            .map(|container| &container["resources"])
            .collect(),
    };
    let (mut requests, mut limits, mut all_limited) = (Amounts::new(), Amounts::new(), true);
    for resources in sets {
        let limited = deciding(&resources["limits"]);
        all_limited &= limited.len() == DECIDING.len();
        add(&mut requests, &deciding(&resources["requests"]));
        add(&mut limits, &limited);
    }
    if requests.is_empty() && limits.is_empty() {
        "BestEffort"
    } else if all_limited && requests == limits {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

fn deciding(list: &Value) -> Amounts {
    amounts(list)
        .into_iter()
        .filter(|(name, amount)| DECIDING.contains(&name.as_str()) && !amount.is_zero())
        .collect()
}
