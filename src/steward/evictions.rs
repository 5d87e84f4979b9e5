//! Which Pods leave a node that got a taint `NoExecute`, and when: at once, or after the time that they tolerate it, as
//! upstream's taint eviction does. PURE.
//!
//! How long a taint has been there this machine counts on its own clock, from when it saw it: `timeAdded` is for people.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};

use crate::placement::{Effect, tolerates};
use crate::time::Instant;

/// What identifies a taint.
type Mark = (String, String);

/// A Pod that is to go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Eviction {
    /// Where it is.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID: a delete carries it.
    pub uid: String,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Evictions {
    nodes: BTreeMap<String, BTreeMap<Mark, (Taint, Instant)>>,
    pods: BTreeMap<String, Arc<Pod>>,
    by_node: BTreeMap<String, BTreeSet<String>>,
    due: BTreeSet<(Instant, String)>,
    due_of: BTreeMap<String, Instant>,
    braked: bool,
}

impl Evictions {
    /// Takes in a Node as it is now; none: it is gone, and its Pods are nobody's to evict.
    pub fn node(&mut self, name: &str, node: Option<&Node>, now: Instant) {
        let taints = node.and_then(|node| node.spec.as_ref()?.taints.clone()).unwrap_or_default();
        let mut known = self.nodes.remove(name).unwrap_or_default();
        let before: Vec<Mark> = known.keys().cloned().collect();
        let executing = taints.into_iter().filter(|taint| taint.effect == Effect::NoExecute.name());
        let mut marks = BTreeMap::new();
        for taint in executing {
            let mark = (taint.key.clone(), taint.value.clone().unwrap_or_default());
            let since = known.remove(&mark).map_or(now, |(_, since)| since);
            marks.insert(mark, (taint, since));
        }
        let changed = before != marks.keys().cloned().collect::<Vec<_>>();
        if !marks.is_empty() {
            self.nodes.insert(name.to_owned(), marks);
        }
        if changed {
            for uid in self.by_node.get(name).cloned().unwrap_or_default() {
                self.judge(&uid);
            }
        }
    }

    /// Takes in a Pod as it is now.
    pub fn pod(&mut self, pod: &Arc<Pod>) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        self.forget(&uid);
        let Some(node) = node_of(pod).filter(|_| pod.metadata.deletion_timestamp.is_none()) else { return };
        self.by_node.entry(node.to_owned()).or_default().insert(uid.clone());
        self.pods.insert(uid.clone(), pod.clone());
        self.judge(&uid);
    }

    /// The Pod is gone.
    pub fn pod_gone(&mut self, uid: &str) {
        self.forget(uid);
    }

    /// While the brake is drawn nobody is evicted; what has become due is so when it is let go.
    pub fn brake(&mut self, drawn: bool) {
        self.braked = drawn;
    }

    /// The Pods that are to go now. Each is named again only after `again`, if it is still there.
    pub fn take_due(&mut self, now: Instant, again: Duration) -> Vec<Eviction> {
        if self.braked {
            return Vec::new();
        }
        let due: Vec<String> =
            self.due.iter().take_while(|(at, _)| *at <= now).map(|(_, uid)| uid.clone()).collect();
        for uid in &due {
            self.schedule(uid, Some(now + again));
        }
        due.iter().filter_map(|uid| self.pods.get(uid)).map(|pod| eviction(pod)).collect()
    }

    /// When the next is to go.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.braked {
            return None;
        }
        self.due.first().map(|(at, _)| *at)
    }

    fn forget(&mut self, uid: &str) {
        self.schedule(uid, None);
        if let Some(pod) = self.pods.remove(uid)
            && let Some(node) = node_of(&pod)
            && let Some(all) = self.by_node.get_mut(node)
        {
            all.remove(uid);
            if all.is_empty() {
                self.by_node.remove(node);
            }
        }
    }

    fn judge(&mut self, uid: &str) {
        let Some(pod) = self.pods.get(uid) else { return };
        let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.clone()).unwrap_or_default();
        let marks = node_of(pod).and_then(|node| self.nodes.get(node));
        let due = marks.and_then(|marks| {
            marks.values().filter_map(|(taint, since)| leaves(taint, *since, &tolerations)).min()
        });
        self.schedule(uid, due);
    }

    fn schedule(&mut self, uid: &str, due: Option<Instant>) {
        if let Some(before) = self.due_of.remove(uid) {
            self.due.remove(&(before, uid.to_owned()));
        }
        if let Some(due) = due {
            self.due_of.insert(uid.to_owned(), due);
            self.due.insert((due, uid.to_owned()));
        }
    }
}

/// When a Pod with these tolerations leaves for a taint that has been there since then; none: never. Of several
/// tolerations that cover it the shortest counts.
fn leaves(taint: &Taint, since: Instant, tolerations: &[Toleration]) -> Option<Instant> {
    let covering: Vec<&Toleration> = tolerations.iter().filter(|it| tolerates(it, taint)).collect();
    if covering.is_empty() {
        return Some(since);
    }
    let seconds = covering.iter().filter_map(|toleration| toleration.toleration_seconds).min()?;
    Some(since + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|node| !node.is_empty())
}

fn eviction(pod: &Pod) -> Eviction {
    Eviction {
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: pod.metadata.name.clone().unwrap_or_default(),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn second(count: u64) -> Instant {
        Instant::from_boot(Duration::from_secs(count))
    }

    fn node(taints: &Value) -> Node {
        serde_json::from_value(json!({ "metadata": { "name": "n1" }, "spec": { "taints": taints } }))
            .expect("a Node")
    }

    fn pod(name: &str, tolerations: &Value) -> Arc<Pod> {
        let object = json!({
            "metadata": { "namespace": "default", "name": name, "uid": name },
            "spec": { "nodeName": "n1", "containers": [], "tolerations": tolerations },
        });
        Arc::new(serde_json::from_value(object).expect("a Pod"))
    }

    fn due(evictions: &mut Evictions, at: u64) -> Vec<String> {
        evictions.take_due(second(at), Duration::from_secs(1000)).into_iter().map(|it| it.name).collect()
    }

    fn world() -> Evictions {
        let mut evictions = Evictions::default();
        let unreachable = |seconds: Value| json!([{ "key": "unreachable", "operator": "Exists", "tolerationSeconds": seconds }]);
        for (name, tolerations) in [
            ("never", json!([{ "operator": "Exists" }])),
            ("soon", unreachable(json!(30))),
            ("later", unreachable(json!(300))),
            ("negative", unreachable(json!(-1))),
            ("other", json!([{ "key": "other", "operator": "Exists" }])),
            (
                "shortest",
                json!([{ "operator": "Exists" }, { "key": "unreachable", "operator": "Exists", "tolerationSeconds": 40 }]),
            ),
        ] {
            evictions.pod(&pod(name, &tolerations));
        }
        evictions
    }

    #[test]
    fn pods_leave_at_once_or_after_the_time_that_they_tolerate() {
        let mut evictions = world();
        let tainted = node(&json!([{ "key": "unreachable", "effect": "NoExecute" }]));
        evictions.node("n1", Some(&tainted), second(100));
        assert_eq!(evictions.next_deadline(), Some(second(100)));
        assert_eq!(due(&mut evictions, 100), ["negative", "other"]);
        // The same taint, seen again, is no younger.
        evictions.node("n1", Some(&tainted), second(120));
        assert_eq!(due(&mut evictions, 129), [""; 0]);
        assert_eq!(due(&mut evictions, 130), ["soon"]);
        assert_eq!(due(&mut evictions, 140), ["shortest"]);
        assert_eq!(due(&mut evictions, 400), ["later"]);
        assert_eq!(due(&mut evictions, 999), [""; 0]);
    }

    #[test]
    fn nobody_leaves_once_the_taint_is_gone_or_while_the_brake_is_drawn() {
        let mut evictions = world();
        let tainted = node(&json!([{ "key": "unreachable", "effect": "NoExecute" }]));
        evictions.brake(true);
        evictions.node("n1", Some(&tainted), second(100));
        assert_eq!((evictions.next_deadline(), due(&mut evictions, 150)), (None, vec![]));
        evictions.brake(false);
        assert_eq!(due(&mut evictions, 150), ["negative", "other", "soon", "shortest"]);
        let quiet = node(&json!([{ "key": "unreachable", "effect": "NoSchedule" }]));
        evictions.node("n1", Some(&quiet), second(160));
        assert_eq!(evictions.next_deadline(), None);
        evictions.node("n1", Some(&tainted), second(200));
        assert_eq!(due(&mut evictions, 200), ["negative", "other"], "the taint is a new one");
        for name in ["soon", "shortest", "later", "never", "negative", "other"] {
            evictions.pod_gone(name);
        }
        assert_eq!(evictions.next_deadline(), None);
    }
}
