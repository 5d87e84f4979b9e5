//! Whatever happens, in whatever order and however late it is heard of: when it has become quiet, every DaemonSet that
//! the node is eligible for has exactly one Pod here, of the newest revision, and no other has any (invariant I2).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use leasehold::agent::daemon_set::{Action, DaemonSets, Departure, REVISION_LABEL, Source};
use leasehold::api::hash::Stored;
use leasehold::time::{Instant, WallTime};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::daemon_set::ticket_of;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// How a DaemonSet is written.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Written {
    image: u8,
    wants_gpu: bool,
    tolerates: bool,
    strategy: Strategy3,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Strategy3 {
    Rolling,
    Surging,
    OnDelete,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Write(usize, Written),
    Delete(usize),
    /// Deleted and made again under the same name.
    Replace(usize, Written),
    Node {
        gpu: bool,
        taint: Taint,
    },
    /// Something happens to the n-th Pod.
    Pod(usize, Fate),
    /// A second Pod of a DaemonSet turns up: one that was made before a crash.
    Double(usize),
    /// The node gets a ticket of the DaemonSet's rollout, or loses it.
    Ticket(usize, bool),
    /// The n-th thing that was asked for happens, or is refused.
    Answer(usize, bool),
    /// The agent is started again: it hears everything anew, in another order.
    Restart(usize),
    Pass(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Taint {
    None,
    NoSchedule,
    NoExecute,
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Ready,
    Unready,
    Failed,
    Succeeded,
    Deleted,
    Gone,
}

#[derive(Debug)]
struct World {
    machine: DaemonSets,
    now: Duration,
    gpu: bool,
    taint: Taint,
    sets: BTreeMap<usize, (String, u8, Written)>,
    pods: BTreeMap<String, Value>,
    asked: VecDeque<Action>,
    /// Pods whose departure was refused: it is asked for again.
    refused: BTreeSet<String>,
    /// UIDs of the tickets that the node holds.
    tickets: BTreeSet<String>,
    drawn: u32,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            machine: DaemonSets::new("n1".to_owned()),
            now: Duration::from_secs(1_000),
            gpu: true,
            taint: Taint::None,
            sets: BTreeMap::new(),
            pods: BTreeMap::new(),
            asked: VecDeque::new(),
            refused: BTreeSet::new(),
            tickets: BTreeSet::new(),
            drawn: 0,
        };
        world.restart(0);
        world
    }

    fn wall(&self) -> WallTime {
        let epoch: jiff::Timestamp = "2026-03-01T12:00:00Z".parse().expect("a time");
        WallTime(epoch + jiff::SignedDuration::try_from(self.now).expect("a short run"))
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Write(set, written) => self.write(set, written),
            Step::Delete(set) => self.delete(set),
            Step::Replace(set, written) => {
                self.delete(set);
                self.write(set, written);
            }
            Step::Node { gpu, taint } => {
                (self.gpu, self.taint) = (gpu, taint);
                self.machine.node_changed(&self.node());
            }
            Step::Pod(pod, fate) => self.befall(pod, fate),
            Step::Double(set) => self.double(set),
            Step::Ticket(set, is_held) => self.ticket(set, is_held),
            Step::Answer(which, granted) => self.answer(which, granted),
            Step::Restart(turn) => self.restart(turn),
            Step::Pass(span) => self.now += span,
        }
        self.plan()
    }

    fn write(&mut self, set: usize, written: Written) {
        let (uid, generation) = if let Some((uid, generation, _)) = self.sets.get(&set) {
            (uid.clone(), generation.wrapping_add(1))
        } else {
            self.drawn += 1;
            (format!("{}{}", NAMES[set], self.drawn), 1)
        };
        self.sets.insert(set, (uid, generation, written));
        self.machine.daemon_set_changed(self.stored(set));
    }

    fn ticket(&mut self, set: usize, is_held: bool) {
        let Some((uid, ..)) = self.sets.get(&set) else { return };
        let held = format!("ticket-{uid}");
        if is_held {
            self.machine.ticket_changed(&ticket_of(uid));
            self.tickets.insert(held);
        } else {
            self.machine.ticket_gone(&held);
            self.tickets.remove(&held);
        }
    }

    /// The rollout comes to this node.
    fn issue_tickets(&mut self) {
        let outdated: Vec<usize> = self
            .sets
            .iter()
            .filter(|(_, (_, _, written))| written.strategy != Strategy3::OnDelete)
            .filter(|(set, (uid, ..))| {
                let revision = self.stored(**set).revision().to_owned();
                let mut pods =
                    self.pods.values().filter(|pod| pod["metadata"]["ownerReferences"][0]["uid"] == **uid);
                pods.any(|pod| pod["metadata"]["labels"][REVISION_LABEL] != revision.as_str())
            })
            .map(|(set, _)| *set)
            .collect();
        for set in outdated {
            self.ticket(set, true);
        }
    }

    fn delete(&mut self, set: usize) {
        if let Some((uid, ..)) = self.sets.remove(&set) {
            self.machine.ticket_gone(&format!("ticket-{uid}"));
            self.tickets.remove(&format!("ticket-{uid}"));
            self.machine.daemon_set_gone(&uid);
        }
    }

    fn stored(&self, set: usize) -> Arc<Stored<DaemonSet>> {
        let (uid, generation, written) = &self.sets[&set];
        let name = NAMES[set];
        let mut pod = json!({ "containers": [{ "name": "c", "image": written.image.to_string() }] });
        if written.wants_gpu {
            pod["nodeSelector"] = json!({ "gpu": "yes" });
        }
        if written.tolerates {
            pod["tolerations"] = json!([{ "operator": "Exists" }]);
        }
        let strategy = match written.strategy {
            Strategy3::Rolling => json!({ "type": "RollingUpdate" }),
            Strategy3::Surging => json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "10%" } }),
            Strategy3::OnDelete => json!({ "type": "OnDelete" }),
        };
        let set = json!({
            "metadata": { "name": name, "namespace": "default", "uid": uid, "generation": generation },
            "spec": {
                "selector": { "matchLabels": { "app": name } }, "updateStrategy": strategy, "minReadySeconds": 5,
                "template": { "metadata": { "labels": { "app": name } }, "spec": pod },
            },
        });
        Arc::new(Stored::read(set).expect("a DaemonSet"))
    }

    fn node(&self) -> Node {
        let taints = match self.taint {
            Taint::None => json!([]),
            Taint::NoSchedule => json!([{ "key": "t", "effect": "NoSchedule" }]),
            Taint::NoExecute => json!([{ "key": "t", "effect": "NoExecute" }]),
        };
        let gpu = if self.gpu { "yes" } else { "no" };
        let node = json!({
            "metadata": { "name": "n1", "labels": { "gpu": gpu } }, "spec": { "taints": taints },
            "status": { "allocatable": { "pods": "100" } },
        });
        serde_json::from_value(node).expect("a Node")
    }

    /// Whether new Pods should come, by a rule written down a second time.
    fn is_eligible(&self, written: Written) -> bool {
        (self.gpu || !written.wants_gpu) && (self.taint == Taint::None || written.tolerates)
    }

    fn befall(&mut self, which: usize, fate: Fate) {
        let Some(uid) = self.pods.keys().nth(which).cloned() else { return };
        let since = self.wall().seconds();
        let pod = self.pods.get_mut(&uid).expect("it is there");
        let ready =
            |status: &str| json!([{ "type": "Ready", "status": status, "lastTransitionTime": since }]);
        match fate {
            Fate::Ready => pod["status"]["conditions"] = ready("True"),
            Fate::Unready => pod["status"]["conditions"] = ready("False"),
            Fate::Failed => pod["status"]["phase"] = "Failed".into(),
            Fate::Succeeded => pod["status"]["phase"] = "Succeeded".into(),
            Fate::Deleted => pod["metadata"]["deletionTimestamp"] = since.into(),
            Fate::Gone => {
                self.pods.remove(&uid);
                return self.machine.pod_gone(&uid);
            }
        }
        self.show(&uid);
    }

    fn double(&mut self, set: usize) {
        let Some((owner, ..)) = self.sets.get(&set).cloned() else { return };
        self.drawn += 1;
        let uid = format!("double{}", self.drawn);
        let labels = json!({ "app": NAMES[set], REVISION_LABEL: self.stored(set).revision() });
        let pod = json!({
            "metadata": {
                "name": uid, "namespace": "default", "uid": uid, "labels": labels,
                "creationTimestamp": self.wall().seconds(),
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "DaemonSet", "name": NAMES[set], "uid": owner, "controller": true,
                }],
            },
            "spec": { "nodeName": "n1", "containers": [] },
        });
        self.pods.insert(uid.clone(), pod);
        self.show(&uid);
    }

    fn show(&mut self, uid: &str) {
        let pod: Pod = serde_json::from_value(self.pods[uid].clone()).expect("a Pod");
        self.machine.pod_changed(&Arc::new(pod));
    }

    fn answer(&mut self, which: usize, granted: bool) {
        if self.asked.is_empty() {
            return;
        }
        let clock = Instant::from_boot(self.now);
        match (self.asked.remove(which % self.asked.len()), granted) {
            (Some(Action::CreatePod(pod)), true) => {
                let uid = pod.metadata.uid.clone().expect("the node names its Pods");
                self.pods.insert(uid.clone(), serde_json::to_value(&pod).expect("JSON"));
                self.show(&uid);
            }
            (Some(Action::CreatePod(pod)), false) => {
                self.machine.create_refused(pod.metadata.uid.as_deref().unwrap_or_default(), "no", clock);
            }
            (Some(Action::DeletePod { uid, .. }), true) if self.pods.contains_key(&uid) => {
                let now = self.wall().seconds();
                self.pods.get_mut(&uid).expect("it is there")["metadata"]["deletionTimestamp"] = now.into();
                self.show(&uid);
            }
            (Some(Action::DeletePod { uid, .. }), false) => {
                self.machine.delete_refused(&uid, clock + Duration::from_secs(1));
                self.refused.insert(uid);
            }
            _ => {}
        }
    }

    /// What was asked for and not done is forgotten; what is there is told anew.
    fn restart(&mut self, turn: usize) {
        self.asked.clear();
        self.refused.clear();
        self.machine = DaemonSets::new("n1".to_owned());
        let pods: Vec<String> = self.pods.keys().cloned().collect();
        let sets: Vec<usize> = self.sets.keys().copied().collect();
        for part in [turn % 3, (turn + 1) % 3, (turn + 2) % 3] {
            match part {
                0 => self.machine.node_changed(&self.node()),
                1 => pods.iter().for_each(|uid| self.show(uid)),
                _ => sets.iter().for_each(|set| self.machine.daemon_set_changed(self.stored(*set))),
            }
        }
        for owner in self.machine.unknown_owners() {
            self.machine.daemon_set_gone(&owner);
        }
        for uid in &self.tickets {
            self.machine.ticket_changed(&ticket_of(uid.trim_start_matches("ticket-")));
        }
        self.machine.know(Source::Coordinator);
    }

    /// Lets the machine decide, and holds it to what it may ask for.
    fn plan(&mut self) -> Result<(), TestCaseError> {
        let (clock, wall) = (Instant::from_boot(self.now), self.wall());
        let drawn = &mut self.drawn;
        let actions = self.machine.plan(clock, wall, &mut || {
            *drawn += 1;
            format!("p{drawn}")
        });
        let again = self.machine.plan(clock, wall, &mut || "twice".to_owned());
        prop_assert!(again.is_empty(), "nothing has changed, but it wants {:?}", again);
        let mut named = BTreeSet::new();
        for action in actions {
            match &action {
                Action::CreatePod(pod) => self.check_creation(pod)?,
                Action::DeletePod { uid, why } => {
                    if *why == Departure::Outdated {
                        let owner = self.pods[uid]["metadata"]["ownerReferences"][0]["uid"].clone();
                        let held = format!("ticket-{}", owner.as_str().unwrap_or_default());
                        prop_assert!(self.tickets.contains(&held), "I6: {} goes without a ticket", uid);
                    }
                    prop_assert!(named.insert(uid.clone()), "{} is ended twice", uid);
                    prop_assert!(self.pods.contains_key(uid), "{} is ended and not there", uid);
                }
                Action::GiveBack(ticket) => {
                    self.tickets.remove(&ticket.uid);
                    self.machine.ticket_gone(&ticket.uid);
                    continue;
                }
                Action::AdoptPod { .. } | Action::ReleasePod { .. } => {
                    return Err(TestCaseError::fail(format!("{action:?}")));
                }
                Action::Record(_) => continue,
            }
            self.asked.push_back(action);
        }
        Ok(())
    }

    fn check_creation(&self, pod: &Pod) -> Result<(), TestCaseError> {
        let owner = pod.metadata.owner_references.as_ref().expect("it is owned")[0].uid.clone();
        let (_, _, written) = self.sets.values().find(|(uid, ..)| *uid == owner).expect("its owner lives");
        prop_assert!(self.is_eligible(*written), "{} is not eligible", owner);
        let waiting = self.asked.iter().filter(|asked| {
            matches!(asked, Action::CreatePod(other) if other.metadata.owner_references == pod.metadata.owner_references)
        });
        prop_assert_eq!(waiting.count(), 0, "two Pods of {} are being made", &owner);
        let names = self
            .pods
            .values()
            .filter(|other| other["metadata"]["name"] == *pod.metadata.name.as_ref().expect("a name"));
        prop_assert_eq!(names.count(), 0, "the name is taken");
        let going: BTreeSet<&str> = self
            .asked
            .iter()
            .filter_map(|asked| match asked {
                Action::DeletePod { uid, .. } => Some(uid.as_str()),
                Action::CreatePod(_)
                | Action::AdoptPod { .. }
                | Action::ReleasePod { .. }
                | Action::GiveBack(_)
                | Action::Record(_) => None,
            })
            .collect();
        let running = self.pods.iter().filter(|(uid, other)| {
            other["metadata"]["ownerReferences"][0]["uid"] == owner
                && other["metadata"]["deletionTimestamp"].is_null()
                && !going.contains(uid.as_str())
                && !self.refused.contains(*uid)
                && other["status"]["phase"] != "Failed"
                && other["status"]["phase"] != "Succeeded"
        });
        let most = usize::from(written.strategy == Strategy3::Surging);
        prop_assert!(running.count() <= most, "one of {} runs already", owner);
        Ok(())
    }

    /// Everything asked for happens, what goes is gone, what runs becomes ready, until nothing more is to be done.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..200 {
            self.issue_tickets();
            self.plan()?;
            while !self.asked.is_empty() {
                self.answer(0, true);
            }
            for uid in self.pods.keys().cloned().collect::<Vec<_>>() {
                if self.pods[&uid]["metadata"]["deletionTimestamp"].is_string() {
                    self.pods.remove(&uid);
                    self.machine.pod_gone(&uid);
                } else if self.pods[&uid]["status"]["phase"] == "Pending"
                    || self.pods[&uid]["status"]["phase"].is_null()
                {
                    let since = self.wall().seconds();
                    let pod = self.pods.get_mut(&uid).expect("it is there");
                    pod["status"]["phase"] = "Running".into();
                    pod["status"]["conditions"] =
                        json!([{ "type": "Ready", "status": "True", "lastTransitionTime": since }]);
                    self.show(&uid);
                }
            }
            match self.machine.next_deadline() {
                Some(at) => self.now = self.now.max(at.since_boot()),
                None => return Ok(()),
            }
        }
        Err(TestCaseError::fail("it never becomes quiet"))
    }
}

fn written() -> impl Strategy<Value = Written> {
    let strategy = prop_oneof![Just(Strategy3::Rolling), Just(Strategy3::Surging), Just(Strategy3::OnDelete)];
    (0u8..3, any::<bool>(), any::<bool>(), strategy)
        .prop_map(|(image, wants_gpu, tolerates, strategy)| Written { image, wants_gpu, tolerates, strategy })
}

fn step() -> impl Strategy<Value = Step> {
    let taint = prop_oneof![Just(Taint::None), Just(Taint::NoSchedule), Just(Taint::NoExecute)];
    let fate = prop_oneof![
        Just(Fate::Ready),
        Just(Fate::Unready),
        Just(Fate::Failed),
        Just(Fate::Succeeded),
        Just(Fate::Deleted),
        Just(Fate::Gone),
    ];
    prop_oneof![
        4 => (0usize..3, written()).prop_map(|(set, written)| Step::Write(set, written)),
        1 => (0usize..3).prop_map(Step::Delete),
        1 => (0usize..3, written()).prop_map(|(set, written)| Step::Replace(set, written)),
        2 => (any::<bool>(), taint).prop_map(|(gpu, taint)| Step::Node { gpu, taint }),
        4 => (0usize..4, fate).prop_map(|(pod, fate)| Step::Pod(pod, fate)),
        1 => (0usize..3).prop_map(Step::Double),
        4 => (0usize..3, prop::bool::weighted(0.8)).prop_map(|(set, is_held)| Step::Ticket(set, is_held)),
        8 => (0usize..4, prop::bool::weighted(0.8)).prop_map(|(which, granted)| Step::Answer(which, granted)),
        1 => (0usize..3).prop_map(Step::Restart),
        3 => prop_oneof![Just(10u64), 100u64..5_000, 5_000u64..100_000].prop_map(|ms| Step::Pass(Duration::from_millis(ms))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn i2_every_eligible_daemon_set_ends_with_exactly_one_pod_of_its_newest_revision(
        steps in proptest::collection::vec(step(), 1..60),
        gpu in any::<bool>(),
        evicting in any::<bool>(),
    ) {
        let mut world = World::new();
        for step in steps {
            world.step(step)?;
        }
        let taint = if evicting { Taint::NoExecute } else { Taint::None };
        world.step(Step::Node { gpu, taint })?;
        world.settle()?;
        for (set, (uid, _, written)) in &world.sets {
            let pods: Vec<&Value> =
                world.pods.values().filter(|pod| pod["metadata"]["ownerReferences"][0]["uid"] == **uid).collect();
            let expected = usize::from(world.is_eligible(*written));
            prop_assert_eq!(pods.len(), expected, "{} {:?}: {:?}", uid, written, pods);
            if written.strategy != Strategy3::OnDelete {
                let revision = world.stored(*set).revision().to_owned();
                prop_assert!(pods.iter().all(|pod| pod["metadata"]["labels"][REVISION_LABEL] == revision));
            }
        }
        let living: Vec<&String> = world.sets.values().map(|(uid, ..)| uid).collect();
        for pod in world.pods.values() {
            let owner = pod["metadata"]["ownerReferences"][0]["uid"].as_str().expect("it is owned").to_owned();
            prop_assert!(living.contains(&&owner), "{} has outlived its DaemonSet", pod["metadata"]["uid"]);
        }
    }
}

/// The retry of a delete and that of a create fell on one instant, and the one took the other's wake-up with it.
#[test]
fn a_refused_delete_is_asked_again_though_something_else_was_due_at_that_instant() {
    let written = |image, wants_gpu, strategy| Written { image, wants_gpu, tolerates: false, strategy };
    let plain = |image| written(image, false, Strategy3::Rolling);
    let steps = [
        Step::Write(0, plain(1)),
        Step::Answer(0, true),
        Step::Replace(2, plain(0)),
        Step::Write(1, plain(0)),
        Step::Answer(0, true),
        Step::Answer(0, false),
        Step::Pod(0, Fate::Gone),
        Step::Answer(0, false),
        Step::Restart(0),
        Step::Answer(0, true),
        Step::Answer(0, false),
        Step::Write(0, written(0, true, Strategy3::Surging)),
        Step::Answer(0, true),
        Step::Answer(0, false),
        Step::Pod(0, Fate::Deleted),
        Step::Answer(0, false),
    ];
    let mut world = World::new();
    for step in steps {
        world.step(step).expect("no law is broken");
    }
    world.step(Step::Node { gpu: false, taint: Taint::None }).expect("no law is broken");
    world.settle().expect("it becomes quiet");
    let left = world.pods.values().filter(|pod| pod["metadata"]["ownerReferences"][0]["name"] == "a");
    assert_eq!(left.count(), 0, "the node has no such device");
}
