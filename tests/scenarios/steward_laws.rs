//! Laws that hold whatever happens, with every piece of work done twice.

use std::collections::BTreeSet;
use std::time::Duration;

use leasehold::steward::object::id;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::steward::StewardWorld;

#[derive(Clone, Copy, Debug)]
enum Step {
    Bind(usize),
    Ready(usize, bool),
    End(usize, bool),
    Delete(usize),
    Remove(usize),
    Scale(i64),
    Run(u64),
    Restart,
    Refuse(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..8_usize).prop_map(Step::Bind),
        3 => (0..8_usize, any::<bool>()).prop_map(|(pod, is_ready)| Step::Ready(pod, is_ready)),
        3 => (0..8_usize, any::<bool>()).prop_map(|(pod, is_good)| Step::End(pod, is_good)),
        1 => (0..8_usize).prop_map(Step::Delete),
        2 => (0..8_usize).prop_map(Step::Remove),
        1 => (0..6_i64).prop_map(Step::Scale),
        2 => (1..40_u64).prop_map(Step::Run),
        1 => Just(Step::Restart),
        1 => any::<bool>().prop_map(Step::Refuse),
    ]
}

fn world(object: Value) -> StewardWorld {
    let mut world = StewardWorld { twice: true, ..StewardWorld::default() };
    let kind = object["kind"].as_str().expect("a kind").to_owned();
    let group = if kind == "Job" { "batch" } else { "apps" };
    world.store.create(id(group, &kind), object).expect("created");
    world.settle();
    world
}

fn workload(kind: &str, spec: &Value) -> Value {
    let mut object = json!({
        "apiVersion": if kind == "Job" { "batch/v1" } else { "apps/v1" },
        "kind": kind,
        "metadata": { "name": "x" },
        "spec": {
            "selector": { "matchLabels": { "app": "x" } },
            "template": {
                "metadata": { "labels": { "app": "x" } },
                "spec": { "restartPolicy": if kind == "Job" { "Never" } else { "Always" },
                    "containers": [{ "name": "c", "image": "i" }] },
            },
        },
    });
    json_patch::merge(&mut object["spec"], spec);
    object
}

fn pods(world: &StewardWorld) -> Vec<Value> {
    world.store.all(id("", "Pod")).cloned().collect()
}

fn is_active(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_null()
        && matches!(pod["status"]["phase"].as_str(), Some("Pending" | "Running"))
}

fn take(world: &mut StewardWorld, kind: (&str, &str), step: Step) {
    let all = pods(world);
    let name = |at: usize| -> Option<(String, Value)> {
        let pod = all.get(at)?;
        Some((pod["metadata"]["name"].as_str()?.to_owned(), pod.clone()))
    };
    let is_bound = |pod: &Value| pod["spec"]["nodeName"].is_string();
    match step {
        Step::Bind(at) => {
            if let Some((name, pod)) = name(at)
                && is_active(&pod)
                && !is_bound(&pod)
            {
                world.bind(&name, "n1");
            }
        }
        Step::Ready(at, is_ready) => {
            if let Some((name, pod)) = name(at)
                && is_active(&pod)
                && is_bound(&pod)
            {
                world.ready(&name, is_ready);
            }
        }
        Step::End(at, is_good) => {
            if let Some((name, pod)) = name(at)
                && pod["status"]["phase"] == "Running"
            {
                world.end(&name, if is_good { "Succeeded" } else { "Failed" });
            }
        }
        Step::Delete(at) => {
            if let Some((name, _)) = name(at) {
                world.store.delete(id("", "Pod"), &name, None);
            }
        }
        Step::Remove(at) => {
            if let Some((name, pod)) = name(at)
                && pod["metadata"]["deletionTimestamp"].is_string()
            {
                world.store.remove(&name);
            }
        }
        Step::Scale(count) => {
            let field = if kind.1 == "Job" { "parallelism" } else { "replicas" };
            let _ = world.store.patch(id(kind.0, kind.1), "x", &json!({ "spec": { field: count } }));
        }
        Step::Run(seconds) => world.run(Duration::from_secs(seconds)),
        Step::Restart => world.restart(),
        Step::Refuse(true) => drop(world.store.refused.insert("Pod", "quota".into())),
        Step::Refuse(false) => world.store.refused.clear(),
    }
    world.settle();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// A set never has more active Pods than it ever wanted since they were made, and in the end exactly as many.
    #[test]
    fn a_replica_set_never_has_too_many_pods_and_ends_with_exactly_as_many(
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        let kind = ("apps", "ReplicaSet");
        let mut world = world(workload(kind.1, &json!({ "replicas": 3 })));
        for step in steps {
            take(&mut world, kind, step);
            let set = world.store.get(id(kind.0, kind.1), "x").expect("it").clone();
            let active = pods(&world).iter().filter(|pod| is_active(pod)).count() as i64;
            prop_assert!(active <= set["spec"]["replicas"].as_i64().unwrap_or_default(), "{step:?}: {active}");
        }
        world.store.refused.clear();
        world.run(Duration::from_mins(2));
        let set = world.store.get(id(kind.0, kind.1), "x").expect("it").clone();
        let active = pods(&world).iter().filter(|pod| is_active(pod)).count() as i64;
        prop_assert_eq!(Some(active), set["spec"]["replicas"].as_i64());
        prop_assert_eq!(&set["status"]["replicas"], &json!(active));
        prop_assert_eq!(&set["status"]["observedGeneration"], &set["metadata"]["generation"]);
    }

    /// An ordinal is made only while all below it are ready, and two Pods never share one.
    #[test]
    fn an_ordered_set_makes_a_pod_only_above_ready_ones(
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        let kind = ("apps", "StatefulSet");
        let mut world = world(workload(kind.1, &json!({ "replicas": 3, "serviceName": "x" })));
        for step in steps {
            let before: BTreeSet<String> = uids(&pods(&world));
            take(&mut world, kind, step);
            let all = pods(&world);
            for new in all.iter().filter(|pod| !before.contains(pod["metadata"]["uid"].as_str().unwrap_or_default())) {
                let ordinal = ordinal(new);
                let below = all.iter().filter(|pod| self::ordinal(pod) < ordinal);
                for pod in below {
                    prop_assert_eq!(&pod["status"]["conditions"][0]["status"], "True", "{:?}: {} above {}", step, new, pod);
                }
                prop_assert!((0..ordinal).all(|lower| all.iter().any(|pod| self::ordinal(pod) == lower)));
            }
        }
    }

    /// I7: each index is counted once, `succeeded` never exceeds `completions`, and what was counted stays counted.
    #[test]
    fn i7_a_job_records_each_index_once_and_never_counts_a_pod_twice(
        steps in proptest::collection::vec(step(), 1..60),
        is_indexed in any::<bool>(),
    ) {
        let kind = ("batch", "Job");
        let mode = if is_indexed { "Indexed" } else { "NonIndexed" };
        let spec = json!({ "completions": 4, "parallelism": 2, "backoffLimit": 3, "completionMode": mode, "manualSelector": true });
        let mut world = world(workload(kind.1, &spec));
        let (mut ended, mut gone) = (BTreeSet::new(), BTreeSet::new());
        let mut last = (0, 0);
        for step in steps {
            let before = pods(&world);
            take(&mut world, kind, step);
            for pod in pods(&world) {
                let uid = pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
                if pod["status"]["phase"] == "Succeeded" {
                    ended.insert(uid);
                } else if !is_active(&pod) {
                    gone.insert(uid);
                }
            }
            let now = uids(&pods(&world));
            gone.extend(uids(&before).difference(&now).filter(|uid| !ended.contains(*uid)).cloned());
            let job = world.store.get(id(kind.0, kind.1), "x").expect("it").clone();
            let number = |field: &str| job["status"][field].as_i64().unwrap_or_default();
            let sums = (number("succeeded"), number("failed"));
            prop_assert!(sums.0 <= 4 && sums.0 <= ended.len() as i64, "{step:?}: {sums:?} {job}");
            prop_assert!(sums.1 <= gone.len() as i64, "{step:?}: {sums:?} of {gone:?} {job}");
            prop_assert!(sums.0 >= last.0 && sums.1 >= last.1, "{step:?}: {last:?} → {sums:?}");
            last = sums;
        }
    }
}

fn uids(pods: &[Value]) -> BTreeSet<String> {
    pods.iter().filter_map(|pod| pod["metadata"]["uid"].as_str()).map(str::to_owned).collect()
}

fn ordinal(pod: &Value) -> i64 {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    name.rsplit('-').next().and_then(|text| text.parse().ok()).unwrap_or(-1)
}
