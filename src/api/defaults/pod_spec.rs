//! The Pod spec, in Pods and in templates.

use serde_json::{Map, Value};

use super::container::container;
use super::volume::volume;
use super::{fill, items};

/// Seconds between SIGTERM and SIGKILL.
const GRACE_SECONDS: i64 = 30;

/// Names of the lists of containers.
pub(super) const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Defaults of a spec wherever it stands.
pub(super) fn pod_spec(spec: &mut Map<String, Value>) {
    fill(spec, "dnsPolicy", "ClusterFirst");
    fill(spec, "restartPolicy", "Always");
    fill(spec, "securityContext", Map::new());
    fill(spec, "terminationGracePeriodSeconds", GRACE_SECONDS);
    fill(spec, "schedulerName", "default-scheduler");
    mirror_service_account(spec);
    items(spec, "volumes").for_each(volume);
    for list in CONTAINERS {
        items(spec, list).for_each(container);
    }
}

/// The old and the new name of one field: the new one counts.
fn mirror_service_account(spec: &mut Map<String, Value>) {
    if let Some(name) = spec.get("serviceAccount").cloned() {
        fill(spec, "serviceAccountName", name);
    }
    if let Some(name) = spec.get("serviceAccountName").filter(|name| **name != "").cloned() {
        spec.insert("serviceAccount".into(), name);
    }
}
