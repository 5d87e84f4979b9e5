//! What a whole Pod asks for and may use: containers, init containers, Pod level and overhead put together by
//! upstream's formula.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;

use super::quantity::Quantity;

/// Quantities by resource name.
pub type Resources = BTreeMap<String, Quantity>;

/// A Pod's quality-of-service class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QosClass {
    /// Every container has CPU and memory limits equal to its requests.
    Guaranteed,
    /// Some container asks for something.
    Burstable,
    /// None does.
    BestEffort,
}

impl QosClass {
    /// As in `status.qosClass`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

/// Reads written quantities; one that cannot be read counts as absent (validation refuses it earlier).
pub fn read(written: Option<&BTreeMap<String, Written>>) -> Resources {
    let parse = |(name, text): (&String, &Written)| Some((name.clone(), Quantity::parse(&text.0).ok()?));
    written.into_iter().flatten().filter_map(parse).collect()
}

/// A container's requests.
pub fn container_requests(container: &Container) -> Resources {
    read(container.resources.as_ref().and_then(|resources| resources.requests.as_ref()))
}

/// A container's limits.
pub fn container_limits(container: &Container) -> Resources {
    read(container.resources.as_ref().and_then(|resources| resources.limits.as_ref()))
}

/// What the Pod asks for: the most that is asked for at any time of its life, with its overhead.
pub fn requests(pod: &Pod) -> Resources {
    pod.spec.as_ref().map(spec_requests).unwrap_or_default()
}

/// What a Pod of this spec, with its defaults, asks for.
pub fn spec_requests(spec: &PodSpec) -> Resources {
    let mut total = aggregate(spec, container_requests);
    total.extend(pod_level(spec, |resources| resources.requests.as_ref()));
    add(&mut total, &read(spec.overhead.as_ref()));
    total
}

/// What the Pod may use, of the resources that something limits; overhead comes on top of limits that are set.
pub fn limits(pod: &Pod) -> Resources {
    let Some(spec) = &pod.spec else { return Resources::new() };
    let mut total = aggregate(spec, container_limits);
    total.extend(pod_level(spec, |resources| resources.limits.as_ref()));
    for (name, overhead) in read(spec.overhead.as_ref()) {
        if let Some(limit) = total.get_mut(&name).filter(|limit| !limit.is_zero()) {
            *limit = *limit + overhead;
        }
    }
    total
}

/// The Pod-level CPU, memory and huge pages of `spec.resources`.
fn pod_level(
    spec: &PodSpec,
    list: impl Fn(&ResourceRequirements) -> Option<&BTreeMap<String, Written>>,
) -> Resources {
    let mut found = read(spec.resources.as_ref().and_then(list));
    found.retain(|name, _| matches!(name.as_str(), "cpu" | "memory") || name.starts_with("hugepages-"));
    found
}

/// The Pod's class, from CPU and memory alone.
pub fn qos_class(pod: &Pod) -> QosClass {
    let Some(spec) = &pod.spec else { return QosClass::BestEffort };
    let stated = |resources: Resources| -> Resources {
        let counts = |name: &str| matches!(name, "cpu" | "memory");
        resources.into_iter().filter(|(name, amount)| counts(name) && !amount.is_zero()).collect()
    };
    let of_pod = (
        stated(pod_level(spec, |resources| resources.requests.as_ref())),
        stated(pod_level(spec, |resources| resources.limits.as_ref())),
    );
    let pairs: Vec<_> = if of_pod.0.is_empty() && of_pod.1.is_empty() {
        containers(spec).map(|c| (stated(container_requests(c)), stated(container_limits(c)))).collect()
    } else {
        vec![of_pod]
    };
    let guaranteed = |(requests, limits): &(Resources, Resources)| {
        limits.len() == 2 && requests.iter().all(|(name, amount)| limits.get(name) == Some(amount))
    };
    if pairs.iter().all(|(requests, limits)| requests.is_empty() && limits.is_empty()) {
        QosClass::BestEffort
    } else if pairs.iter().all(guaranteed) {
        QosClass::Guaranteed
    } else {
        QosClass::Burstable
    }
}

/// All containers that the spec states, init containers first.
pub fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

/// Init containers run one after the other; a restartable one stays while all that follow run.
fn aggregate(spec: &PodSpec, of: impl Fn(&Container) -> Resources) -> Resources {
    let mut total = Resources::new();
    for container in &spec.containers {
        add(&mut total, &of(container));
    }
    let mut staying = Resources::new();
    let mut peak = Resources::new();
    for container in spec.init_containers.iter().flatten() {
        let mut running = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut total, &running);
            add(&mut staying, &running);
            running.clone_from(&staying);
        } else {
            add(&mut running, &staying);
        }
        raise(&mut peak, &running);
    }
    raise(&mut total, &peak);
    total
}

fn add(total: &mut Resources, more: &Resources) {
    for (name, amount) in more {
        let sum = total.entry(name.clone()).or_insert(Quantity::ZERO);
        *sum = *sum + *amount;
    }
}

fn raise(total: &mut Resources, floor: &Resources) {
    for (name, amount) in floor {
        let had = total.entry(name.clone()).or_insert(*amount);
        *had = (*had).max(*amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: &serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({"metadata": {}, "spec": spec})).unwrap()
    }

    fn container(requests: &serde_json::Value, limits: &serde_json::Value) -> serde_json::Value {
        serde_json::json!({"name": "c", "resources": {"requests": requests, "limits": limits}})
    }

    fn asked(cpu: &str) -> serde_json::Value {
        container(&serde_json::json!({"cpu": cpu}), &serde_json::json!({}))
    }

    #[test]
    fn an_init_container_raises_the_sum_only_when_it_asks_for_more() {
        let spec = |init: &str| {
            pod(&serde_json::json!({
            "initContainers": [asked(init)], "containers": [asked("200m"), asked("300m")]}))
        };
        assert_eq!(requests(&spec("400m"))["cpu"], Quantity::from_millis(500));
        assert_eq!(requests(&spec("900m"))["cpu"], Quantity::from_millis(900));
    }

    #[test]
    fn a_sidecar_counts_beside_the_init_containers_after_it_and_beside_the_containers() {
        let mut sidecar = asked("100m");
        sidecar["restartPolicy"] = "Always".into();
        let spec = serde_json::json!({
            "initContainers": [asked("650m"), sidecar, asked("600m")], "containers": [asked("500m")]});
        assert_eq!(requests(&pod(&spec))["cpu"], Quantity::from_millis(700));
    }

    #[test]
    fn pod_level_resources_replace_the_sum_and_overhead_adds_to_it() {
        let spec = serde_json::json!({"resources": {"requests": {"cpu": "2", "storage": "1"}, "limits": {"cpu": "3"}},
            "overhead": {"cpu": "250m", "memory": "1Mi"}, "containers": [asked("500m")]});
        let found = requests(&pod(&spec));
        assert_eq!(found["cpu"], Quantity::from_millis(2250));
        assert!(!found.contains_key("storage"));
        let found = limits(&pod(&spec));
        assert_eq!(found["cpu"], Quantity::from_millis(3250));
        assert!(!found.contains_key("memory"), "overhead limits nothing by itself");
    }

    #[test]
    fn the_class_follows_cpu_and_memory_of_every_container() {
        let full = serde_json::json!({"cpu": "1", "memory": "1Gi"});
        let none = serde_json::json!({});
        let class = |containers: Vec<serde_json::Value>| {
            qos_class(&pod(&serde_json::json!({"containers": containers})))
        };
        assert_eq!(class(vec![container(&full, &full)]), QosClass::Guaranteed);
        assert_eq!(class(vec![container(&none, &full)]), QosClass::Guaranteed);
        assert_eq!(class(vec![container(&full, &full), container(&none, &none)]), QosClass::Burstable);
        assert_eq!(class(vec![asked("0"), container(&none, &none)]), QosClass::BestEffort);
        let gpu = serde_json::json!({"nvidia.com/gpu": "1"});
        assert_eq!(class(vec![container(&gpu, &gpu)]), QosClass::BestEffort);
    }
}
