//! Whether a Pod is ready, and available: ready for as long as its owner asks. PURE.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use crate::time::{Instant, WallTime};

/// Whether the Pod's condition `Ready` is true.
pub fn is_ready(pod: &Pod) -> bool {
    ready_since(pod).is_some()
}

/// When the Pod became ready, by the clock of its node; none when it is not. A condition without a time counts as the
/// beginning of time.
pub fn ready_since(pod: &Pod) -> Option<WallTime> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready =
        conditions.iter().find(|condition| condition.type_ == "Ready" && condition.status == "True")?;
    Some(WallTime(ready.last_transition_time.as_ref().map_or(jiff::Timestamp::MIN, |time| time.0)))
}

/// Since when Pods are ready, on the observer's own monotonic clock, so that a clock that is set, here or on the
/// Pod's node, holds up no rollout. The wall clocks are asked once, when a Pod is first seen ready: how long it has
/// been so then.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    since: BTreeMap<String, Instant>,
}

impl Readiness {
    /// Takes in what a Pod says now.
    pub fn observe(&mut self, uid: &str, pod: &Pod, now: Instant, wall: WallTime) {
        match ready_since(pod) {
            Some(since) if !self.since.contains_key(uid) => {
                let ready_for = Duration::try_from(wall.0.duration_since(since.0)).unwrap_or_default();
                self.since.insert(uid.to_owned(), now - ready_for);
            }
            Some(_) => {}
            None => self.forget(uid),
        }
    }

    /// The Pod is gone.
    pub fn forget(&mut self, uid: &str) {
        self.since.remove(uid);
    }

    /// From when on the Pod counts as available; none when it is not ready.
    pub fn available_at(&self, uid: &str, min_ready: Duration) -> Option<Instant> {
        self.since.get(uid).map(|since| *since + min_ready)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: &str, since: &str) -> Pod {
        serde_json::from_value(json!({ "metadata": {}, "status": { "conditions": [
            { "type": "Ready", "status": status, "lastTransitionTime": since },
        ] } }))
        .expect("a Pod")
    }

    fn wall(text: &str) -> WallTime {
        WallTime::parse(text).expect("a time")
    }

    const fn at(seconds: u64) -> Instant {
        Instant::from_boot(Duration::from_secs(seconds))
    }

    #[test]
    fn a_pod_is_available_once_it_has_been_ready_for_long_enough() {
        let mut readiness = Readiness::default();
        let noon = wall("2026-03-01T12:00:00Z");
        readiness.observe("a", &pod("False", "2026-03-01T11:00:00Z"), at(100), noon);
        assert_eq!(readiness.available_at("a", Duration::from_secs(10)), None);
        readiness.observe("a", &pod("True", "2026-03-01T11:59:56Z"), at(100), noon);
        assert_eq!(readiness.available_at("a", Duration::from_secs(10)), Some(at(106)));
        readiness.observe("a", &pod("False", "2026-03-01T12:00:01Z"), at(101), noon);
        assert_eq!(readiness.available_at("a", Duration::ZERO), None);
    }

    #[test]
    fn a_clock_that_is_ahead_or_jumps_holds_nothing_up() {
        let mut readiness = Readiness::default();
        readiness.observe("a", &pod("True", "2026-03-01T13:00:00Z"), at(100), wall("2026-03-01T12:00:00Z"));
        assert_eq!(readiness.available_at("a", Duration::from_secs(10)), Some(at(110)));
        readiness.observe("a", &pod("True", "2026-03-01T13:00:00Z"), at(105), wall("2020-01-01T00:00:00Z"));
        assert_eq!(readiness.available_at("a", Duration::from_secs(10)), Some(at(110)));
    }
}
