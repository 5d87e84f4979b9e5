//! Tests of claims: a coordinator that decides who wins, answers and watches that come late or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use proptest::prelude::*;
use serde_json::json;

use super::admission::{self, Rejection};
use super::*;

/// CPUs that the node has to give.
const CPUS: u32 = 10;

fn node() -> Node {
    let object = json!({
        "metadata": { "name": "n1", "labels": { "disk": "ssd" } },
        "spec": { "taints": [{ "key": "late", "effect": "NoSchedule" }, { "key": "now", "effect": "NoExecute" }] },
        "status": { "allocatable": { "cpu": CPUS.to_string(), "memory": "8Gi", "pods": "4" } },
    });
    serde_json::from_value(object).expect("a Node")
}

fn pod(uid: &str, version: u32, cpu: u32) -> Arc<Pod> {
    let object = json!({
        "metadata": { "name": uid, "uid": uid, "resourceVersion": version.to_string() },
        "spec": {
            "tolerations": [{ "operator": "Exists" }],
            "containers": [{ "name": "c", "resources": { "requests": { "cpu": cpu.to_string() } } }],
        },
    });
    Arc::new(serde_json::from_value(object).expect("a Pod"))
}

/// How far one Pod has come, as the coordinator knows it.
#[derive(Debug, Default)]
struct Course {
    cpu: u32,
    claimed: bool,
    decided: Option<bool>,
    bound: bool,
    seen: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Offer(usize, u32),
    Withdraw(usize),
    Plan(bool),
    Decide(usize, bool),
    Answer(usize),
    Watch(usize),
    Remove(usize),
    Relist,
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0_usize..6;
    prop_oneof![
        3 => (which.clone(), 1_u32..6).prop_map(|(pod, cpu)| Step::Offer(pod, cpu)),
        1 => which.clone().prop_map(Step::Withdraw),
        4 => any::<bool>().prop_map(Step::Plan),
        3 => (which.clone(), any::<bool>()).prop_map(|(pod, won)| Step::Decide(pod, won)),
        3 => which.clone().prop_map(Step::Answer),
        2 => which.clone().prop_map(Step::Watch),
        1 => which.prop_map(Step::Remove),
        1 => Just(Step::Relist),
    ]
}

#[derive(Debug)]
struct World {
    claims: Claims,
    node: Node,
    room: Room,
    courses: BTreeMap<usize, Course>,
    /// How many Pods have stood under each name.
    lives: BTreeMap<usize, u32>,
    version: u32,
}

impl World {
    fn new() -> Self {
        let mut room = Room::default();
        room.set_allocatable(&node());
        let (courses, lives) = (BTreeMap::new(), BTreeMap::new());
        Self { claims: Claims::default(), node: node(), room, courses, lives, version: 0 }
    }

    fn uid(&self, pod: usize) -> String {
        format!("p{pod}-{}", self.lives.get(&pod).copied().unwrap_or(0))
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Offer(which, cpu) => {
                let uid = self.uid(which);
                let course = self.courses.entry(which).or_insert(Course { cpu, ..Course::default() });
                if !course.bound {
                    self.version += 1;
                    self.claims.offered(&pod(&uid, self.version, course.cpu));
                }
            }
            Step::Withdraw(which) => self.claims.withdrawn(&self.uid(which)),
            Step::Plan(may_claim) => self.plan(may_claim),
            Step::Decide(which, won) => {
                let course = self.courses.get_mut(&which);
                if let Some(course) = course.filter(|course| course.claimed && course.decided.is_none()) {
                    course.decided = Some(won);
                    course.bound |= won;
                }
            }
            Step::Answer(which) => self.answer(which),
            Step::Watch(which) => self.watch(which),
            Step::Remove(which) => self.remove(which),
            Step::Relist => self.relist(),
        }
    }

    fn plan(&mut self, may_claim: bool) {
        let pods = BTreeMap::new();
        let mut ground =
            Ground { node: &self.node, room: &mut self.room, pods: &pods, is_ready: true, may_claim };
        for action in self.claims.plan(&mut ground) {
            if let Action::Claim(pod) = action {
                let name = pod.metadata.name.clone().unwrap_or_default();
                let which: usize = name[1..].split('-').next().expect("a number").parse().expect("a number");
                let course = self.courses.get_mut(&which).expect("it was offered");
                assert!(!course.claimed, "one claim at a time");
                course.claimed = true;
            }
        }
    }

    fn answer(&mut self, which: usize) {
        let uid = self.uid(which);
        let Some(course) = self.courses.get_mut(&which) else { return };
        if let Some(won) = course.decided.take() {
            course.claimed = false;
            if self.claims.claim_answered(&uid, won) {
                self.room.release(&uid);
            }
        }
    }

    fn watch(&mut self, which: usize) {
        let uid = self.uid(which);
        let Some(course) = self.courses.get_mut(&which).filter(|course| course.bound && !course.seen) else {
            return;
        };
        course.seen = true;
        let demand = Demand::of(pod(&uid, 0, course.cpu).spec.as_ref().expect("it has one"));
        self.claims.hosted(&uid);
        self.room.bind(&uid, demand);
    }

    /// The Pod that was bound is deleted; the watch may never have told of it.
    fn remove(&mut self, which: usize) {
        if self.courses.get(&which).is_some_and(|course| course.bound && course.decided.is_none()) {
            let uid = self.uid(which);
            if self.courses.remove(&which).is_some_and(|course| course.seen) {
                self.room.release(&uid);
            }
            self.claims.withdrawn(&uid);
            *self.lives.entry(which).or_default() += 1;
        }
    }

    fn relist(&mut self) {
        self.claims.list_begins();
        for which in 0..6 {
            self.watch(which);
        }
        for uid in self.claims.list_is_whole() {
            self.room.release(&uid);
        }
    }
}

proptest! {
    #[test]
    fn i3_what_is_claimed_and_what_is_here_never_exceed_what_the_node_has(
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
            let bound: u32 = world.courses.values().filter(|course| course.bound).map(|course| course.cpu).sum();
            let count = world.courses.values().filter(|course| course.bound).count();
            prop_assert!(bound <= CPUS && count <= 4, "{step:?}: {bound} CPUs, {count} Pods");
        }
        // Everybody answers, everything leaves: nothing stays reserved.
        for which in 0..6 {
            for step in [Step::Decide(which, false), Step::Answer(which), Step::Withdraw(which)] {
                world.take(step);
            }
        }
        world.take(Step::Relist);
        for which in 0..6 {
            world.take(Step::Remove(which));
            world.take(Step::Withdraw(which));
        }
        let all = Demand::of(pod("all", 0, CPUS).spec.as_ref().expect("it has one"));
        prop_assert_eq!(world.room.lacks(&all, None), vec![]);
    }
}

#[test]
fn who_may_not_claim_waits_and_who_cannot_host_declines() {
    let mut world = World::new();
    world.claims.offered(&pod("fits", 1, 4));
    world.claims.offered(&pod("huge", 2, 40));
    let pods = BTreeMap::new();
    let plan = |world: &mut World, is_ready: bool, may_claim: bool| {
        let mut ground =
            Ground { node: &world.node, room: &mut world.room, pods: &pods, is_ready, may_claim };
        let actions = world.claims.plan(&mut ground);
        let told = actions.iter().map(|action| match action {
            Action::Claim(pod) => format!("claim {}", pod.metadata.name.as_deref().unwrap_or_default()),
            Action::Decline { pod, reasons } => {
                format!("decline {}: {reasons:?}", pod.metadata.name.as_deref().unwrap_or_default())
            }
        });
        told.collect::<Vec<_>>()
    };
    let told = plan(&mut world, true, false);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("decline huge: [Insufficient"), "{told:?}");
    assert_eq!(plan(&mut world, true, true), ["claim fits"]);
    assert_eq!(plan(&mut world, true, true), Vec::<String>::new());
    world.claims.offered(&pod("late", 3, 1));
    assert_eq!(plan(&mut world, false, true), ["decline late: [NotReady]"]);
}

#[test]
fn a_claim_that_met_another_version_is_made_again_by_the_new_one() {
    let mut world = World::new();
    world.take(Step::Offer(1, 2));
    world.take(Step::Plan(true));
    world.take(Step::Offer(1, 2));
    world.take(Step::Decide(1, false));
    world.take(Step::Answer(1));
    world.take(Step::Plan(true));
    assert!(world.courses[&1].claimed, "the version that came meanwhile is claimed");
    assert!(world.claims.has_claimed("p1-0"));
}

#[test]
fn pods_keep_away_from_each_other_also_while_they_are_claimed() {
    let mut world = World::new();
    let shy = |uid: &str| {
        let mut pod = (*pod(uid, 1, 1)).clone();
        pod.metadata.labels = Some(BTreeMap::from([("app".to_owned(), "db".to_owned())]));
        pod.metadata.namespace = Some("default".to_owned());
        let affinity = json!({ "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [
            { "topologyKey": "disk", "labelSelector": { "matchLabels": { "app": "db" } } },
        ] } });
        pod.spec.as_mut().expect("it has one").affinity =
            serde_json::from_value(affinity).expect("an affinity");
        Arc::new(pod)
    };
    let pods = BTreeMap::new();
    for (uid, declined) in [("a", false), ("b", true)] {
        world.claims.offered(&shy(uid));
        let mut ground =
            Ground { node: &world.node, room: &mut world.room, pods: &pods, is_ready: true, may_claim: true };
        let actions = world.claims.plan(&mut ground);
        assert_eq!(matches!(actions[..], [Action::Decline { .. }]), declined, "{uid}: {actions:?}");
    }
}

#[test]
fn who_is_bound_by_others_is_refused_in_the_kubelets_words() {
    let mut room = Room::default();
    room.set_allocatable(&node());
    for uid in ["a", "b", "c"] {
        room.bind(uid, Demand::of(pod(uid, 1, 2).spec.as_ref().expect("it has one")));
    }
    let tolerations = json!([{ "key": "now", "operator": "Exists" }]);
    let container =
        |requests: serde_json::Value| json!([{ "name": "c", "resources": { "requests": requests } }]);
    for (spec, refusal) in [
        (json!({ "tolerations": tolerations, "containers": container(json!({ "cpu": "4" })) }), None),
        (
            json!({ "tolerations": tolerations, "containers": container(json!({ "cpu": "4500m" })) }),
            Some((
                "OutOfcpu",
                "Node didn't have enough resource: cpu, requested: 4500, used: 6000, capacity: 10000",
            )),
        ),
        // A resource that the node knows nothing of is somebody else's to count.
        (json!({ "tolerations": tolerations, "containers": container(json!({ "a.b/c": "1" })) }), None),
        (
            json!({ "tolerations": tolerations, "nodeSelector": { "disk": "hdd" }, "containers": [] }),
            Some((
                "NodeAffinity",
                "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
            )),
        ),
        (
            json!({ "containers": [] }),
            Some((
                "TaintToleration",
                "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate",
            )),
        ),
    ] {
        let typed = serde_json::from_value(spec.clone()).expect("a spec");
        let expected =
            refusal.map(|(reason, message)| Rejection { reason: reason.into(), message: message.into() });
        assert_eq!(admission::reject(&typed, &node(), &room), expected, "{spec}");
    }
    room.bind("d", Demand::default());
    let typed =
        serde_json::from_value(json!({ "tolerations": tolerations, "containers": [] })).expect("a spec");
    let refused = admission::reject(&typed, &node(), &room).expect("there is no place");
    assert_eq!(refused.reason, "OutOfpods");
    assert_eq!(refused.message, "Node didn't have enough resource: pods, requested: 1, used: 4, capacity: 4");
}
