//! The table of controllers. A controller is a row: whose objects it cares for, which events concern these, and a pure
//! function from what is seen to what is to be done.

use std::sync::LazyLock;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::action::{Action, Plan};
use super::object::{KindId, Object, id, of_reference};
use super::queue::Failure;
use super::view::{View, selector_of};
use super::{daemon_set, deployment, garbage, identities, job, pods, replica_set, stateful_set, volumes};
use crate::api::kinds::KINDS;
use crate::time::{Instant, WallTime};

/// When a plan is made, and what became of the last one.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// Now.
    pub now: Instant,
    /// Now, for what people read and write.
    pub wall: WallTime,
    /// Why the last plan was not carried out. While that is so, only the status may be written.
    pub failure: Option<&'a Failure>,
}

/// One row.
#[derive(Debug)]
pub struct Controller {
    /// For people.
    pub name: &'static str,
    /// Group and kind of the objects it cares for; none: any.
    owner: Option<(&'static str, &'static str)>,
    /// Kinds that such an object controls, whose events concern it.
    children: &'static [(&'static str, &'static str)],
    /// Of these, those that it adopts and lets go by their labels.
    claims: &'static [(&'static str, &'static str)],
    /// Whether it writes of failures into the status.
    pub tells_failures: bool,
    /// What is to be done for the object with this UID; none when there is nothing more to know of it.
    pub plan: fn(&mut View, &str, &Moment<'_>) -> Option<Plan>,
}

/// Row of the garbage collector.
pub const GARBAGE: usize = 0;
/// Row of who empties namespaces.
pub const NAMESPACES: usize = 1;

const POD: (&str, &str) = ("", "Pod");
const REPLICA_SET: (&str, &str) = ("apps", "ReplicaSet");
const LEASE: (&str, &str) = ("coordination.k8s.io", "Lease");
const REVISION: (&str, &str) = ("apps", "ControllerRevision");

/// See the module.
pub static CONTROLLERS: &[Controller] = &[
    Controller {
        name: "garbage",
        owner: None,
        children: &[],
        claims: &[],
        tells_failures: false,
        plan: collect_garbage,
    },
    Controller {
        name: "namespace",
        owner: Some(("", "Namespace")),
        children: &[],
        claims: &[],
        tells_failures: false,
        plan: empty_namespace,
    },
    Controller {
        name: "daemonset",
        owner: Some(("apps", "DaemonSet")),
        children: &[POD, REVISION, LEASE],
        claims: &[POD, REVISION],
        tells_failures: false,
        plan: care_for_daemon_set,
    },
    Controller {
        name: "replicaset",
        owner: Some(("apps", "ReplicaSet")),
        children: &[POD],
        claims: &[POD],
        tells_failures: true,
        plan: |view, uid, moment| care_for_replicas(id("apps", "ReplicaSet"), view, uid, moment),
    },
    Controller {
        name: "replicationcontroller",
        owner: Some(("", "ReplicationController")),
        children: &[POD],
        claims: &[POD],
        tells_failures: true,
        plan: |view, uid, moment| care_for_replicas(id("", "ReplicationController"), view, uid, moment),
    },
    Controller {
        name: "statefulset",
        owner: Some(("apps", "StatefulSet")),
        children: &[POD, REVISION],
        claims: &[POD, REVISION],
        tells_failures: false,
        plan: care_for_stateful_set,
    },
    Controller {
        name: "job",
        owner: Some(("batch", "Job")),
        children: &[POD],
        claims: &[POD],
        tells_failures: false,
        plan: care_for_job,
    },
    Controller {
        name: "deployment",
        owner: Some(("apps", "Deployment")),
        children: &[REPLICA_SET],
        claims: &[REPLICA_SET],
        tells_failures: true,
        plan: care_for_deployment,
    },
    Controller {
        name: "identity",
        owner: Some(("coordination.k8s.io", "Lease")),
        children: &[],
        claims: &[],
        tells_failures: false,
        plan: identities::care_for,
    },
    Controller {
        name: "pod",
        owner: Some(POD),
        children: &[],
        claims: &[],
        tells_failures: false,
        plan: pods::care_for,
    },
    Controller {
        name: "persistentvolumeclaim",
        owner: Some(("", "PersistentVolumeClaim")),
        children: &[],
        claims: &[],
        tells_failures: false,
        plan: care_for_claim,
    },
    Controller {
        name: "persistentvolume",
        owner: Some(("", "PersistentVolume")),
        children: &[],
        claims: &[],
        tells_failures: false,
        plan: care_for_volume,
    },
];

/// Kinds of which whole objects are watched besides those of the table; of all others, the metadata.
const WHOLE: [(&str, &str); 3] = [("", "Node"), ("storage.k8s.io", "StorageClass"), POD];

struct Row {
    owner: Option<KindId>,
    children: Vec<KindId>,
    claims: Vec<KindId>,
}

static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let ids = |kinds: &[(&str, &str)]| kinds.iter().map(|(group, kind)| id(group, kind)).collect();
    let row = |row: &Controller| Row {
        owner: row.owner.map(|(group, kind)| id(group, kind)),
        children: ids(row.children),
        claims: ids(row.claims),
    };
    CONTROLLERS.iter().map(row).collect()
});

static ROW_OF: LazyLock<Vec<Option<usize>>> = LazyLock::new(|| {
    let of = |kind| ROWS.iter().position(|row| row.owner == Some(kind));
    (0..KINDS.len()).map(of).collect()
});

/// The controller of objects of this kind.
pub fn row_of(kind: KindId) -> Option<usize> {
    ROW_OF[kind]
}

/// Whether an event about an object of `kind` concerns the object that controls it.
pub fn watches(row: usize, kind: KindId) -> bool {
    ROWS[row].children.contains(&kind)
}

/// Kinds that a controller's objects claim by their labels.
pub fn claims(row: usize) -> &'static [KindId] {
    &ROWS[row].claims
}

/// Whether objects of this kind are claimed by anybody.
pub fn is_claimed(kind: KindId) -> bool {
    ROWS.iter().any(|row| row.claims.contains(&kind))
}

/// Kinds of which whole objects are watched.
pub fn whole_kinds() -> &'static [KindId] {
    static WHOLE_IDS: LazyLock<Vec<KindId>> = LazyLock::new(|| {
        let of_rows = ROWS.iter().flat_map(|row| row.owner.iter().chain(&row.children)).copied();
        let mut all: Vec<KindId> = of_rows.chain(WHOLE.iter().map(|(group, kind)| id(group, kind))).collect();
        all.sort_unstable();
        all.dedup();
        all
    });
    &WHOLE_IDS
}

/// Kinds of which anything is watched: all but Events, which have no owners that matter, and second forms.
pub fn watched_kinds() -> impl Iterator<Item = KindId> {
    let is_event = |kind: KindId| KINDS[kind].kind == "Event";
    (0..KINDS.len()).filter(move |kind| KINDS[*kind].form.is_none() && !is_event(*kind))
}

fn collect_garbage(view: &mut View, uid: &str, _moment: &Moment<'_>) -> Option<Plan> {
    let object = view.anywhere(uid)?;
    let standing = |owner: &_| {
        let standing = standing(view, &object, owner);
        (Clone::clone(owner), standing)
    };
    let owners: Vec<_> = object.owners().iter().map(standing).collect();
    if object.has_finalizer(job::TRACKING) {
        let is_job = |(owner, standing): &(OwnerReference, garbage::Standing)| {
            let is_there = !matches!(standing, garbage::Standing::Absent | garbage::Standing::Elsewhere);
            owner.controller == Some(true) && owner.kind == "Job" && is_there
        };
        let unknown = owners.iter().filter(|(_, standing)| *standing == garbage::Standing::Unknown);
        let unknown: Vec<_> = unknown.map(|(owner, _)| owner.clone()).collect();
        let mut plan = Plan::default();
        if !unknown.is_empty() {
            let namespace = object.namespace().to_owned();
            plan.then(vec![Action::LookUp { namespace, owners: unknown }]);
            plan.wake_after(std::time::Duration::from_secs(1));
            return Some(plan);
        }
        if !owners.iter().any(is_job) {
            plan.then(job::release(&object));
            return Some(plan);
        }
    }
    let dependants = view.dependants_of(uid);
    Some(garbage::plan(&garbage::Case { object: &object, owners, dependants }))
}

fn standing(view: &View, object: &Object, owner: &OwnerReference) -> garbage::Standing {
    use garbage::Standing;
    let Some(kind) = of_reference(owner) else { return Standing::Unresolvable };
    if KINDS[kind].namespaced && object.namespace().is_empty() {
        return Standing::Unresolvable;
    }
    let found = view.get(kind, &owner.uid);
    let is_here = |found: &Object| {
        found.name() == owner.name && (!KINDS[kind].namespaced || found.namespace() == object.namespace())
    };
    match &found {
        Some(found) if is_here(found) => {
            let waits = found.is_ending() && found.has_finalizer("foregroundDeletion");
            if waits { Standing::Waiting } else { Standing::Solid }
        }
        _ if !view.is_absent(object.namespace(), &owner.uid) => Standing::Unknown,
        Some(_) => Standing::Elsewhere,
        None => Standing::Absent,
    }
}

fn empty_namespace(view: &mut View, uid: &str, _moment: &Moment<'_>) -> Option<Plan> {
    let namespace = view.get(id("", "Namespace"), uid)?;
    let mut plan = Plan::default();
    let finalizers = namespace["spec"]["finalizers"].as_array();
    let is_held = finalizers.is_some_and(|all| all.iter().any(|one| one == "kubernetes"));
    if namespace.is_ending() && is_held {
        plan.then(vec![Action::EmptyNamespace(namespace.target())]);
        plan.wake_after(std::time::Duration::from_secs(1));
    }
    Some(plan)
}

fn care_for_replicas(kind: KindId, view: &mut View, uid: &str, moment: &Moment<'_>) -> Option<Plan> {
    let set = view.get(kind, uid)?;
    let pod = id("", "Pod");
    let selector = selector_of(&set);
    let siblings = set.controller().map(|owner| view.children(kind, &owner.uid)).unwrap_or_default();
    let case = replica_set::Case {
        set: &set,
        selector: &selector,
        pods: view.children(pod, uid),
        orphans: view.orphans(pod, &set, &selector),
        related: siblings.iter().flat_map(|sibling| view.children(pod, sibling.uid())).collect(),
        failure: moment.failure,
        wall: moment.wall,
    };
    Some(replica_set::plan(case))
}

fn care_for_deployment(view: &mut View, uid: &str, moment: &Moment<'_>) -> Option<Plan> {
    let (set, pod) = (id("apps", "ReplicaSet"), id("", "Pod"));
    let deployment = view.get(id("apps", "Deployment"), uid)?;
    let selector = selector_of(&deployment);
    let runs = |set: &str| {
        let pods = view.children(pod, set);
        pods.iter().any(|pod| !matches!(pod.text("/status/phase"), "Succeeded" | "Failed"))
    };
    let is_taken = |name: &str| view.by_name(set, deployment.namespace(), name).is_some();
    let case = deployment::Case {
        deployment: &deployment,
        selector: &selector,
        sets: view.children(set, uid),
        orphans: view.orphans(set, &deployment, &selector),
        runs: &runs,
        is_taken: &is_taken,
        failure: moment.failure,
        wall: moment.wall,
    };
    Some(deployment::plan(&case))
}

fn care_for_job(view: &mut View, uid: &str, moment: &Moment<'_>) -> Option<Plan> {
    let pod = id("", "Pod");
    let job = view.get(id("batch", "Job"), uid)?;
    let selector = selector_of(&job);
    let case = job::Case {
        job: &job,
        selector: &selector,
        pods: view.children(pod, uid),
        orphans: view.orphans(pod, &job, &selector),
        wall: moment.wall,
    };
    Some(job::plan(case))
}

fn care_for_stateful_set(view: &mut View, uid: &str, moment: &Moment<'_>) -> Option<Plan> {
    let set = view.get(id("apps", "StatefulSet"), uid)?;
    let (pod, revision, claim) =
        (id("", "Pod"), id("apps", "ControllerRevision"), id("", "PersistentVolumeClaim"));
    let selector = selector_of(&set);
    let pods = view.children(pod, uid);
    let names = stateful_set::claim_names(&set, &pods);
    let claims = names.into_iter().filter_map(|name| {
        let found = view.by_name(claim, set.namespace(), &name)?;
        Some((name, found))
    });
    let case = stateful_set::Case {
        set: &set,
        selector: &selector,
        claims: claims.collect(),
        pods,
        orphans: view.orphans(pod, &set, &selector),
        revisions: view.children(revision, uid),
        orphan_revisions: view.orphans(revision, &set, &selector),
        wall: moment.wall,
    };
    Some(stateful_set::plan(case))
}

fn care_for_claim(view: &mut View, uid: &str, moment: &Moment<'_>) -> Option<Plan> {
    let claim = view.get(id("", "PersistentVolumeClaim"), uid)?;
    Some(volumes::claim::plan(&volumes::claim_case(view, claim), moment.wall))
}

fn care_for_volume(view: &mut View, uid: &str, moment: &Moment<'_>) -> Option<Plan> {
    let volume = view.get(id("", "PersistentVolume"), uid)?;
    Some(volumes::volume::plan(&volumes::volume_case(view, volume, moment.wall)))
}

fn care_for_daemon_set(view: &mut View, uid: &str, moment: &Moment<'_>) -> Option<Plan> {
    let set = view.get(id("apps", "DaemonSet"), uid)?;
    let (pod, revision) = (id("", "Pod"), id("apps", "ControllerRevision"));
    let selector = selector_of(&set);
    let strays = view.tally_of(uid).strays();
    let strays = strays.iter().filter_map(|uid| view.get(pod, uid)).collect();
    let orphans = view.orphans(pod, &set, &selector);
    let revisions = view.children(revision, uid);
    let orphan_revisions = view.orphans(revision, &set, &selector);
    let leases = view.children(id("coordination.k8s.io", "Lease"), uid);
    let case = daemon_set::Case {
        set: &set,
        selector: &selector,
        tally: view.tally_of(uid),
        strays,
        orphans,
        revisions,
        orphan_revisions,
        leases,
        wall: moment.wall,
    };
    Some(daemon_set::plan(case))
}
