//! `DaemonSet`.

use serde_json::Value;

use super::pod_spec::pod_spec;
use super::{field, field_or_new, fill, spell};

/// Old revisions kept.
const REVISION_HISTORY: i64 = 10;

/// Defaults of a `DaemonSet` and of its template.
pub fn daemon_set(object: &mut Value) {
    spell("apps", "DaemonSet", object);
    let Some(root) = object.as_object_mut() else { return };
    if let Some(status) = field_or_new(root, "status") {
        for count in ["currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady"]
        {
            fill(status, count, 0);
        }
    }
    let Some(spec) = field(root, "spec") else { return };
    fill(spec, "revisionHistoryLimit", REVISION_HISTORY);
    if let Some(strategy) = field_or_new(spec, "updateStrategy") {
        fill(strategy, "type", "RollingUpdate");
        if strategy.get("type").is_some_and(|it| it == "RollingUpdate")
            && let Some(rolling) = field_or_new(strategy, "rollingUpdate")
        {
            fill(rolling, "maxUnavailable", 1);
            fill(rolling, "maxSurge", 0);
        }
    }
    let template = field(spec, "template").and_then(|it| field(it, "spec"));
    template.into_iter().for_each(pod_spec);
}
