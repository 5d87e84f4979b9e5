//! How many Pods each set of a Deployment is to have: pure numbers.

use std::cmp::Reverse;

use super::{Bounds, DESIRED, MAX, Set, Sets};

/// How many Pods the newest set is to have, when all sets together have `total`.
pub(super) fn wanted(new: i64, total: i64, bounds: Bounds) -> i64 {
    if !bounds.is_rolling || new > bounds.replicas {
        return bounds.replicas;
    }
    let room = (bounds.most() - total).max(0);
    new + room.min(bounds.replicas - new)
}

pub(super) fn scale_down_all(sets: &mut Sets) {
    for set in &mut sets.old {
        set.replicas = 0;
    }
}

/// Older sets lose first what is not available, which makes nothing worse, then as many as may be unavailable.
pub(super) fn scale_down(sets: &mut Sets, bounds: Bounds) {
    let least = bounds.replicas - bounds.unavailable;
    let new_unavailable = sets.new.as_ref().map_or(0, |new| new.replicas - new.available());
    let mut cleanup = sets.total() - least - new_unavailable;
    if cleanup <= 0 {
        return;
    }
    let available: i64 = sets.all().map(Set::available).sum();
    for set in &mut sets.old {
        let unhealthy = (set.replicas - set.available()).clamp(0, cleanup.max(0));
        set.replicas -= unhealthy;
        cleanup -= unhealthy;
    }
    let mut surplus = (available - least).max(0);
    for set in &mut sets.old {
        let count = set.replicas.min(surplus);
        set.replicas -= count;
        surplus -= count;
    }
}

fn annotated(set: &Set, name: &str) -> Option<i64> {
    set.object.annotation(name)?.parse().ok()
}

/// Whether somebody has asked for another number of Pods since the sets were scaled.
pub(super) fn is_being_scaled(sets: &Sets, bounds: Bounds) -> bool {
    let mut active = sets.all().filter(|set| set.has() > 0);
    active.any(|set| annotated(set, DESIRED).is_some_and(|desired| desired != bounds.replicas))
}

/// Scales without rolling out: one set takes it all, several their share. `told` is what the Deployment's status says it
/// has.
pub(super) fn resize(sets: &mut Sets, bounds: Bounds, told: i64) {
    let is_saturated = sets.new.as_ref().is_some_and(|new| {
        new.has() == bounds.replicas
            && annotated(new, DESIRED) == Some(bounds.replicas)
            && new.available() == bounds.replicas
    });
    let active = sets.all().filter(|set| set.has() > 0).count();
    let mut all: Vec<&mut Set> = sets.old.iter_mut().chain(&mut sets.new).collect();
    match active {
        // The newest, or the last of the old.
        0 => {
            if let Some(set) = all.last_mut() {
                set.replicas = bounds.replicas;
            }
        }
        1 => {
            if let Some(set) = all.iter_mut().find(|set| set.has() > 0) {
                set.replicas = bounds.replicas;
            }
        }
        _ if is_saturated => scale_down_all(sets),
        _ if bounds.is_rolling => share(all, bounds, told),
        _ => {}
    }
}

/// Proportional scaling: the largest first (of equals the newer where it grows, the older where it shrinks), and what
/// rounding leaves over goes to it.
fn share(all: Vec<&mut Set>, bounds: Bounds, told: i64) {
    let total: i64 = all.iter().map(|set| set.has()).sum();
    let allowed = if bounds.replicas > 0 { bounds.most() } else { 0 };
    let to_add = allowed - total;
    if to_add == 0 {
        return;
    }
    let mut active: Vec<&mut Set> = all.into_iter().filter(|set| set.has() > 0).collect();
    active.sort_by_key(|set| (set.object.meta.creation_timestamp.clone(), set.object.name().to_owned()));
    if to_add > 0 {
        active.reverse();
    }
    active.sort_by_key(|set| Reverse(set.has()));
    let mut added = 0;
    for set in &mut active {
        let left = to_add - added;
        let part = match left {
            0 => 0,
            _ if to_add > 0 => fraction(set, bounds, told).min(left),
            _ => fraction(set, bounds, told).max(left),
        };
        set.replicas = (set.has() + part).max(0);
        added += part;
    }
    if let Some(first) = active.first_mut() {
        first.replicas = (first.replicas + to_add - added).max(0);
    }
}

/// What a set gains or loses by its share of the most Pods that there could be before, rounded half away from zero.
fn fraction(set: &Set, bounds: Bounds, told: i64) -> i64 {
    let has = set.has();
    if bounds.replicas == 0 {
        return -has;
    }
    let most = annotated(set, MAX).filter(|most| *most > 0).unwrap_or(told);
    if most <= 0 {
        return 0;
    }
    (2 * has * bounds.most() + most).div_euclid(2 * most) - has
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::steward::object::{Object, id};

    /// A set that has so many Pods, of which so many are available, and that was told of `most`.
    fn set(name: &str, has: i64, available: i64, most: i64) -> Set {
        let raw = json!({
            "metadata": { "name": name, "creationTimestamp": format!("2026-01-01T00:00:0{}Z", name.len()),
                "annotations": { MAX: most.to_string() } },
            "spec": { "replicas": has },
            "status": { "availableReplicas": available },
        });
        let object = Object::read(id("apps", "ReplicaSet"), raw).expect("a set");
        Set { object: Arc::new(object), replicas: has }
    }

    fn bounds(replicas: i64, surge: i64, unavailable: i64) -> Bounds {
        Bounds { replicas, surge, unavailable, is_rolling: true }
    }

    fn numbers(sets: &Sets) -> Vec<i64> {
        sets.all().map(|set| set.replicas).collect()
    }

    #[test]
    fn surge_is_rounded_up_and_unavailability_down_and_one_of_them_is_never_zero() {
        let table = [
            (json!("25%"), json!("25%"), 4, (1, 1)),
            (json!("25%"), json!("25%"), 3, (1, 0)),
            (json!("25%"), json!("25%"), 10, (3, 2)),
            (json!(0), json!("10%"), 5, (0, 1)),
            (json!(0), json!(9), 5, (0, 5)),
            (json!(2), json!(0), 0, (2, 0)),
        ];
        for (surge, unavailable, replicas, expected) in table {
            let raw = json!({ "metadata": {}, "spec": { "replicas": replicas, "strategy": {
                "rollingUpdate": { "maxSurge": surge, "maxUnavailable": unavailable } } } });
            let found = Bounds::of(&Object::read(id("apps", "Deployment"), raw).expect("it"));
            assert_eq!((found.surge, found.unavailable), expected, "{surge} {unavailable} of {replicas}");
        }
    }

    /// Upstream's own example: 10 wanted, 2 may be unavailable, 3 more may be there.
    #[test]
    fn older_sets_lose_what_is_not_available_first_and_never_more_than_the_bounds_allow() {
        // (older sets as (has, available), newest, then what they are left with)
        let table = [
            (vec![(8, 8)], (5, 0), vec![8, 5]),
            (vec![(8, 7)], (5, 0), vec![8, 5]),
            (vec![(10, 10)], (3, 0), vec![8, 3]),
            (vec![(5, 0), (8, 8)], (0, 0), vec![0, 8, 0]),
            (vec![(8, 8)], (5, 5), vec![3, 5]),
            (vec![(2, 2), (6, 6)], (5, 5), vec![0, 3, 5]),
        ];
        for (old, new, expected) in table {
            let old =
                old.iter().zip(["a", "bb"]).map(|((has, available), name)| set(name, *has, *available, 13));
            let mut sets = Sets { old: old.collect(), new: Some(set("ccc", new.0, new.1, 13)) };
            scale_down(&mut sets, bounds(10, 3, 2));
            assert_eq!(numbers(&sets), expected);
        }
    }

    #[test]
    fn scaling_in_the_midst_of_a_rollout_keeps_the_proportions() {
        // (older, newest) before, wanted, after. Each had been told of 13 at most.
        let table = [
            ((8, 5), 20, (14, 9)),
            ((8, 5), 5, (5, 3)),
            ((8, 5), 0, (0, 0)),
            ((5, 8), 10, (5, 8)),
            ((1, 12), 100, (8, 95)),
        ];
        for ((old, new), replicas, expected) in table {
            let mut sets = Sets { old: vec![set("a", old, old, 13)], new: Some(set("bb", new, new, 13)) };
            resize(&mut sets, bounds(replicas, 3, 2), 13);
            assert_eq!(numbers(&sets), [expected.0, expected.1], "{old} and {new} for {replicas}");
        }
    }
}
