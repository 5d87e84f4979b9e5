//! From a Pod's resources to the limits of its cgroup, by upstream's conversions. PURE.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use crate::api::pod_resources::{self, QosClass};
use crate::api::quantity::Quantity;

/// One period of the CPU bandwidth controller: 100 ms, upstream's default.
pub const CPU_PERIOD_US: u64 = 100_000;
/// Least quota the kernel takes: 1 ms.
const CPU_QUOTA_US_MIN: u64 = 1_000;
/// Least CPU shares the kernel takes; also those of a Pod that asks for no CPU.
const CPU_SHARES_MIN: u64 = 2;
/// Most CPU shares the kernel takes.
const CPU_SHARES_MAX: u64 = 262_144;

/// The limits of a cgroup. `None` is the kernel's default: no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Relative weight in shares, 1024 per CPU asked for.
    pub cpu_shares: Option<u64>,
    /// CPU time per [`CPU_PERIOD_US`], microseconds.
    pub cpu_quota_us: Option<u64>,
    /// Memory, bytes.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Bytes of huge pages by page size in bytes.
    pub hugepages: BTreeMap<u64, u64>,
}

/// The limits of the cgroup that holds all containers of `pod`; `pids` is the node's limit per Pod.
///
/// CPU and memory are limited only when every container has such a limit (or the Pod itself): the sum says nothing
/// about a container without one.
pub fn of_pod(pod: &Pod, pids: Option<u64>) -> Limits {
    let limits = pod_resources::limits(pod);
    let requests = pod_resources::requests(pod);
    let limited = |name: &str| is_limited(pod, name).then(|| limits.get(name)).flatten();
    let hugepages = limits.iter().filter_map(|(name, amount)| Some((page_bytes(name)?, units(*amount))));
    let cpu_shares = match pod_resources::qos_class(pod) {
        QosClass::BestEffort => CPU_SHARES_MIN,
        QosClass::Guaranteed | QosClass::Burstable => requests.get("cpu").map_or(CPU_SHARES_MIN, shares),
    };
    Limits {
        cpu_shares: Some(cpu_shares),
        cpu_quota_us: limited("cpu").and_then(quota_us),
        memory_bytes: limited("memory").map(|amount| units(*amount)).filter(|bytes| *bytes > 0),
        pids,
        hugepages: hugepages.collect(),
    }
}

/// CPU shares for a CPU request.
pub fn shares(request: &Quantity) -> u64 {
    let millis = request.milli_value().max(0) as u64;
    (millis.saturating_mul(1024) / 1000).clamp(CPU_SHARES_MIN, CPU_SHARES_MAX)
}

/// CPU time per period for a CPU limit; none for a limit of zero.
pub fn quota_us(limit: &Quantity) -> Option<u64> {
    let millis = limit.milli_value().max(0) as u64;
    (millis > 0).then(|| (millis.saturating_mul(CPU_PERIOD_US) / 1000).max(CPU_QUOTA_US_MIN))
}

/// The weight of cgroup v2 (1 to 10,000) for the shares of v1 (2 to 262,144), on upstream's line.
pub fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(CPU_SHARES_MIN, CPU_SHARES_MAX) - CPU_SHARES_MIN) * 9_999 / 262_142
}

/// Bytes of one page of a `hugepages-<size>` resource.
pub fn page_bytes(resource: &str) -> Option<u64> {
    let size = Quantity::parse(resource.strip_prefix("hugepages-")?).ok()?;
    Some(units(size)).filter(|bytes| *bytes > 0)
}

/// A page size as the kernel names its files, e.g. `2MB`, `1GB`.
pub fn page_name(bytes: u64) -> String {
    [(1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")]
        .iter()
        .find(|(unit, _)| bytes >= *unit)
        .map_or_else(|| format!("{bytes}B"), |(unit, name)| format!("{}{name}", bytes / unit))
}

fn is_limited(pod: &Pod, name: &str) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let of_pod = pod_resources::read(spec.resources.as_ref().and_then(|r| r.limits.as_ref()));
    let has = |limits: pod_resources::Resources| limits.get(name).is_some_and(|amount| !amount.is_zero());
    has(of_pod) || pod_resources::containers(spec).all(|c| has(pod_resources::container_limits(c)))
}

fn units(amount: Quantity) -> u64 {
    amount.value().max(0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(containers: &serde_json::Value) -> Limits {
        let pod =
            serde_json::from_value(serde_json::json!({"metadata": {}, "spec": {"containers": containers}}));
        of_pod(&pod.unwrap(), Some(1024))
    }

    #[test]
    fn limits_are_summed_when_every_container_has_one() {
        let found = limits(&serde_json::json!([
            {"name": "a", "resources": {"requests": {"cpu": "250m"}, "limits": {"cpu": "500m", "memory": "64Mi", "hugepages-2Mi": "4Mi"}}},
            {"name": "b", "resources": {"requests": {"cpu": "250m"}, "limits": {"cpu": "1", "memory": "64Mi"}}}]));
        assert_eq!(found.cpu_shares, Some(512));
        assert_eq!(found.cpu_quota_us, Some(150_000));
        assert_eq!(found.memory_bytes, Some(128 << 20));
        assert_eq!(found.pids, Some(1024));
        assert_eq!(found.hugepages, BTreeMap::from([(2 << 20, 4 << 20)]));
    }

    #[test]
    fn one_container_without_a_limit_leaves_the_pod_without_one() {
        let found = limits(&serde_json::json!([
            {"name": "a", "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}}},
            {"name": "b", "resources": {"limits": {"memory": "64Mi"}}}]));
        assert_eq!(found.cpu_quota_us, None);
        assert_eq!(found.memory_bytes, Some(128 << 20));
    }

    #[test]
    fn a_pod_that_asks_for_nothing_has_the_least_weight_and_no_limit() {
        let found = limits(&serde_json::json!([{"name": "a"}]));
        assert_eq!(found, Limits { cpu_shares: Some(2), pids: Some(1024), ..Limits::default() });
    }

    #[test]
    fn tiny_and_huge_amounts_stay_within_what_the_kernel_takes() {
        assert_eq!(quota_us(&Quantity::from_millis(1)), Some(1_000));
        assert_eq!(quota_us(&Quantity::ZERO), None);
        assert_eq!(shares(&Quantity::from_millis(1)), 2);
        assert_eq!(shares(&Quantity::from_units(100_000)), 262_144);
        assert_eq!((weight(2), weight(1024), weight(262_144)), (1, 39, 10_000));
    }

    #[test]
    fn page_sizes_are_named_as_the_kernel_names_them() {
        assert_eq!(page_bytes("hugepages-1Gi").map(page_name).as_deref(), Some("1GB"));
        assert_eq!(page_bytes("hugepages-64Ki").map(page_name).as_deref(), Some("64KB"));
        assert_eq!(page_bytes("memory"), None);
    }
}
