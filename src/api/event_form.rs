//! Events have two forms: `v1`, which is stored, and `events.k8s.io/v1`, into which and out of which they are put on
//! the way. Both show the same objects.

use serde_json::Value;

use crate::api::kinds::Form;

/// The newer form.
pub static EVENTS_K8S_IO: Form = Form {
    stored_group: "",
    to_stored,
    from_stored,
    stored_fields: &[
        ("regarding.kind", "involvedObject.kind"),
        ("regarding.namespace", "involvedObject.namespace"),
        ("regarding.name", "involvedObject.name"),
        ("regarding.uid", "involvedObject.uid"),
        ("regarding.apiVersion", "involvedObject.apiVersion"),
        ("regarding.resourceVersion", "involvedObject.resourceVersion"),
        ("regarding.fieldPath", "involvedObject.fieldPath"),
        ("reportingController", "reportingComponent"),
    ],
};

/// Fields whose names differ: in the newer form, and as stored.
const RENAMED: [(&str, &str); 7] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

fn to_stored(event: &mut Value) {
    rename(event, "v1", RENAMED);
}

fn from_stored(event: &mut Value) {
    rename(event, "events.k8s.io/v1", RENAMED.map(|(newer, stored)| (stored, newer)));
}

fn rename(event: &mut Value, api_version: &str, names: [(&str, &str); RENAMED.len()]) {
    let Some(fields) = event.as_object_mut() else { return };
    for (from, to) in names {
        if let Some(value) = fields.remove(from) {
            fields.insert(to.into(), value);
        }
    }
    if fields.contains_key("apiVersion") {
        fields.insert("apiVersion".into(), api_version.into());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_the_same_after_a_way_there_and_back() {
        let newer = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": "a" },
            "regarding": { "kind": "Pod" }, "note": "n", "reportingController": "c", "reason": "r",
            "deprecatedCount": 2, "series": { "count": 3 },
        });
        let mut event = newer.clone();
        to_stored(&mut event);
        assert_eq!(
            event,
            json!({
                "apiVersion": "v1", "kind": "Event", "metadata": { "name": "a" }, "involvedObject": { "kind": "Pod" },
                "message": "n", "reportingComponent": "c", "reason": "r", "count": 2, "series": { "count": 3 },
            })
        );
        from_stored(&mut event);
        assert_eq!(event, newer);
    }
}
