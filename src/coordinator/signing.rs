//! What is particular to a request for a certificate: who asks is noted, and people approve or deny it.

use serde_json::{Value, json};

use crate::api::status::FieldError;
use crate::time::WallTime;

/// The conditions that people set.
const DECIDED: [&str; 2] = ["Approved", "Denied"];

fn list(conditions: &Value) -> Vec<Value> {
    conditions.as_array().cloned().unwrap_or_default()
}

/// Whether a condition is one that people set.
fn is_decided(condition: &Value) -> bool {
    condition["type"].as_str().is_some_and(|kind| DECIDED.contains(&kind))
}

/// Takes over the conditions that people set; the others stay as they are.
pub(super) fn keep_approval(request: &mut Value, conditions: &Value, now: WallTime) {
    let old = list(&request["status"]["conditions"]);
    let mut kept: Vec<Value> = old.iter().filter(|condition| !is_decided(condition)).cloned().collect();
    for mut condition in list(conditions).into_iter().filter(is_decided) {
        let time = now.seconds();
        let had = old.iter().find(|had| had["type"] == condition["type"]);
        if condition["lastUpdateTime"].is_null() {
            condition["lastUpdateTime"] = time.clone().into();
        }
        if condition["lastTransitionTime"].is_null() {
            let since = had.filter(|had| had["status"] == condition["status"]);
            let since = since.map_or(Value::Null, |had| had["lastTransitionTime"].clone());
            condition["lastTransitionTime"] = if since.is_null() { time.into() } else { since };
        }
        kept.push(condition);
    }
    request["status"]["conditions"] = if kept.is_empty() { json!([]) } else { kept.into() };
}

/// What is wrong with a decision.
pub(super) fn validate_approval(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (now, before) = (list(&new["status"]["conditions"]), list(&old["status"]["conditions"]));
    for (index, condition) in now.iter().enumerate() {
        if condition["status"] != "True" && is_decided(condition) {
            let field = format!("status.conditions[{index}].status");
            let kind = condition["type"].as_str().unwrap_or_default();
            errors.push(FieldError::invalid(
                field,
                &condition["status"],
                &format!("{kind} condition must be \"True\""),
            ));
        }
    }
    let has = |list: &[Value], kind: &str| list.iter().any(|condition| condition["type"] == kind);
    if has(&now, "Approved") && has(&now, "Denied") {
        let why = "Approved and Denied conditions are mutually exclusive";
        errors.push(FieldError::invalid("status.conditions", &"Denied".into(), why));
    }
    for kind in DECIDED {
        if has(&before, kind) && !has(&now, kind) {
            let why = format!("updates may not remove a condition of type {kind:?}");
            errors.push(FieldError::forbidden("status.conditions", &why));
        }
    }
    errors
}
