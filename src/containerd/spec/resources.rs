//! Limits of one container, and how readily the kernel may take it when memory runs out. Pure.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use oci_spec::runtime::{LinuxCpu, LinuxDeviceCgroup, LinuxHugepageLimit, LinuxMemory, LinuxResources};

use super::host::Host;
use crate::api::pod_resources::{self, QosClass, Resources};
use crate::api::quantity::Quantity;
use crate::cgroup::limits;

/// Score of what must die last: Guaranteed and node-critical Pods; upstream's number.
const OOM_GUARANTEED: i64 = -997;
/// Score of what dies first; upstream's number.
const OOM_BEST_EFFORT: i64 = 1000;
/// CPU shares of a container that asks for none.
const SHARES_MIN: u64 = 2;

/// The container's cgroup; `devices` are the rules about devices, the later wins.
pub(super) fn resources(
    container: &Container,
    host: &Host,
    devices: Vec<LinuxDeviceCgroup>,
) -> LinuxResources {
    let requests = pod_resources::container_requests(container);
    let bounds = pod_resources::container_limits(container);
    let mut cpu = LinuxCpu::default();
    // A request left out is the limit.
    let asked = requests.get("cpu").filter(|amount| !amount.is_zero()).or_else(|| bounds.get("cpu"));
    cpu.set_shares(Some(asked.map_or(SHARES_MIN, limits::shares)));
    if let Some(quota) = bounds.get("cpu").and_then(limits::quota_us) {
        cpu.set_quota(Some(quota as i64));
        cpu.set_period(Some(limits::CPU_PERIOD_US));
    }
    let mut resources = LinuxResources::default();
    resources.set_cpu(Some(cpu));
    if let Some(limit) = bounds.get("memory").map(|amount| amount.value()).filter(|bytes| *bytes > 0) {
        let mut memory = LinuxMemory::default();
        memory.set_limit(Some(limit));
        // Memory and swap together: what may not grow may not be swapped out either.
        memory.set_swap(host.swap_accounting.then_some(limit));
        resources.set_memory(Some(memory));
    }
    let pages = hugepages(&bounds, host);
    resources.set_hugepage_limits((!pages.is_empty()).then_some(pages));
    resources.set_devices(Some(devices));
    // As the kubelet: what runs short of memory dies whole, not a process of it here and there.
    let whole = || HashMap::from([("memory.oom.group".to_owned(), "1".to_owned())]);
    resources.set_unified(host.cgroup_v2.then(whole));
    resources
}

/// Every page size of the node is limited, those that nobody asked for to nothing: huge pages are counted out.
fn hugepages(bounds: &Resources, host: &Host) -> Vec<LinuxHugepageLimit> {
    let limit = |size: u64| -> i64 {
        let stated = bounds.iter().find(|(name, _)| limits::page_bytes(name) == Some(size));
        stated.map_or(0, |(_, amount)| amount.value())
    };
    let sizes = host.hugepage_sizes.iter();
    sizes
        .map(|size| {
            let mut page = LinuxHugepageLimit::default();
            page.set_page_size(limits::page_name(*size));
            page.set_limit(limit(*size));
            page
        })
        .collect()
}

/// `oom_score_adj` by upstream's formula.
pub(super) fn oom_score_adj(pod: &Pod, container: &Container, memory_bytes: u64) -> i64 {
    let Some(spec) = &pod.spec else { return OOM_BEST_EFFORT };
    if spec.priority_class_name.as_deref() == Some("system-node-critical") {
        return OOM_GUARANTEED;
    }
    match pod_resources::qos_class(pod) {
        QosClass::Guaranteed => OOM_GUARANTEED,
        QosClass::BestEffort => OOM_BEST_EFFORT,
        QosClass::Burstable => {
            let capacity = (memory_bytes as i64).max(1);
            let score = |bytes: i64| 1000 - (1000 * i128::from(bytes) / i128::from(capacity)) as i64;
            let mut own = score(memory_request(container));
            if container.restart_policy.as_deref() == Some("Always") {
                // A sidecar lives at least as long as what it serves.
                let least = spec.containers.iter().map(memory_request).min().unwrap_or(0);
                own = own.min(score(least));
            }
            own.clamp(1000 + OOM_GUARANTEED, OOM_BEST_EFFORT - 1)
        }
    }
}

fn memory_request(container: &Container) -> i64 {
    pod_resources::container_requests(container).get("memory").copied().map_or(0, Quantity::value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(containers: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({ "metadata": {}, "spec": { "containers": containers } }))
            .expect("a Pod")
    }

    fn score(containers: &serde_json::Value) -> i64 {
        let pod = pod(containers);
        let container = &pod.spec.as_ref().expect("a spec").containers[0];
        oom_score_adj(&pod, container, 1000 << 20)
    }

    #[test]
    fn the_more_is_asked_for_the_later_it_dies() {
        assert_eq!(score(&json!([{ "name": "a" }])), 1000);
        let equal =
            json!({ "limits": { "cpu": "1", "memory": "1Gi" }, "requests": { "cpu": "1", "memory": "1Gi" } });
        assert_eq!(score(&json!([{ "name": "a", "resources": equal }])), -997);
        let asks = |memory: &str| json!([{ "name": "a", "resources": { "requests": { "memory": memory } } }]);
        assert_eq!(score(&asks("100Mi")), 900);
        assert_eq!(score(&asks("1")), 999);
        assert_eq!(score(&asks("10Gi")), 3);
    }

    #[test]
    fn limits_reach_the_cgroup_in_the_kernels_units() {
        let pod = pod(&json!([{ "name": "a", "resources": { "limits":
            { "cpu": "500m", "memory": "64Mi", "hugepages-2Mi": "4Mi" } } }]));
        let host = Host { hugepage_sizes: vec![2 << 20, 1 << 30], swap_accounting: true, ..Host::default() };
        let made = resources(&pod.spec.clone().expect("a spec").containers[0], &host, Vec::new());
        let cpu = made.cpu().as_ref().expect("cpu");
        assert_eq!((cpu.shares(), cpu.quota(), cpu.period()), (Some(512), Some(50_000), Some(100_000)));
        let memory = made.memory().as_ref().expect("memory");
        assert_eq!((memory.limit(), memory.swap()), (Some(64 << 20), Some(64 << 20)));
        let pages: Vec<_> =
            made.hugepage_limits().iter().flatten().map(|p| (p.page_size().clone(), p.limit())).collect();
        assert_eq!(pages, [("2MB".to_owned(), 4 << 20), ("1GB".to_owned(), 0)]);
        let whole = |made: &LinuxResources| made.unified().as_ref()?.get("memory.oom.group").cloned();
        assert_eq!(whole(&made).as_deref(), Some("1"));
        let host = Host { cgroup_v2: false, ..host };
        let made = resources(&pod.spec.expect("a spec").containers[0], &host, Vec::new());
        assert_eq!(whole(&made), None, "version 1 knows no such thing");
    }
}
