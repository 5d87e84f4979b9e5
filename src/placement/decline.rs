//! How a node says that it does not take a Pod it was offered: the Pod's condition `PodScheduled` is False, its reason
//! [`DECLINED`], its message `NODE: REASON; REASON`. People read it, and the steward reads it back.

use k8s_openapi::api::core::v1::{Pod, PodCondition};

/// Reason of the condition.
pub const DECLINED: &str = "OfferDeclined";

/// The condition that tells whether a Pod has a node.
pub const POD_SCHEDULED: &str = "PodScheduled";

/// The message by which `node` declines. No reason's text has a semicolon in it.
pub fn message<T: ToString>(node: &str, reasons: &[T]) -> String {
    let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
    format!("{node}: {}", reasons.join("; "))
}

/// Who declined this Pod last, and why; none where nobody did, or something else has been said since.
pub fn read(pod: &Pod) -> Option<(String, Vec<String>)> {
    let condition = scheduled(pod).filter(|condition| condition.reason.as_deref() == Some(DECLINED))?;
    let (node, reasons) = condition.message.as_deref()?.split_once(": ")?;
    Some((node.to_owned(), reasons.split("; ").map(str::to_owned).collect()))
}

/// The Pod's condition `PodScheduled`.
pub fn scheduled(pod: &Pod) -> Option<&PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_deref()?;
    conditions.iter().find(|condition| condition.type_ == POD_SCHEDULED)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::placement::Reason;

    #[test]
    fn what_one_says_the_other_reads() {
        let reasons = [
            Reason::Unschedulable,
            Reason::UntoleratedTaint { key: "a".into(), value: "b".into(), effect: "NoSchedule".into() },
        ];
        let message = message("n1.example", &reasons);
        assert_eq!(message, "n1.example: node(s) were unschedulable; node(s) had untolerated taint {a: b}");
        let pod = |reason: &str| -> Pod {
            serde_json::from_value(json!({ "status": { "conditions": [
                { "type": "PodScheduled", "status": "False", "reason": reason, "message": message },
            ] } }))
            .expect("a Pod")
        };
        let texts = reasons.map(|reason| reason.to_string()).to_vec();
        assert_eq!(read(&pod(DECLINED)), Some(("n1.example".into(), texts)));
        assert_eq!(read(&pod("Unschedulable")), None);
    }
}
