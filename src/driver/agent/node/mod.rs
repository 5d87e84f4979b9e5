//! The node's loop: the one task that owns what the node knows and decides. It hears inputs, feeds the machines, and
//! hands their effects to tasks that answer with further inputs.

mod directories;
mod identities;
pub(super) mod label;
mod offered;
mod recall;
mod runtime;
mod seen;
mod tickets;
mod writes;

pub(super) use identities::EPOCH_FILE;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use tokio::sync::mpsc;

use crate::agent::claims::Claims;
use crate::agent::daemon_set::{Action, DaemonSets, Source};
use crate::agent::pod::{self, ContainerRef, Effect, PodMachine, PodRecord};
use crate::api::hash::Stored;
use crate::containerd::{Listed, RuntimeEvent};
use crate::coordinator::Entropy as _;
use crate::driver::agent::backend::Question;
use crate::driver::agent::boots::Boots;
use crate::driver::agent::disk::Durability;
use crate::driver::agent::hands::Hands;
use crate::driver::agent::hosted::{Deadlines, Hosted, Kept, Remote, Uid};
use crate::driver::agent::mirror::Outcome;
use crate::driver::agent::perform;
use crate::driver::clock;
use crate::driver::entropy::SystemEntropy;
use crate::driver::recorder::Occurrence;
use crate::driver::watches::Seen;
use crate::time::Instant;

/// How long the coordinator is waited for before the node starts from what its own disk remembers.
const OFFLINE_PATIENCE: Duration = Duration::from_secs(3);

/// What the node's loop hears.
#[derive(Debug)]
pub(super) enum Input {
    /// The node's own object.
    Node(Seen<Node>),
    /// All DaemonSets.
    DaemonSets(Seen<Stored<DaemonSet>>),
    /// Pods bound to this node.
    Pods(Seen<Pod>),
    /// Pods offered to this node.
    Offers(Seen<Pod>),
    /// Tickets that this node holds.
    Tickets(Seen<Lease>),
    /// Volumes that are directories on this node.
    Volumes(Seen<PersistentVolume>),
    /// A volume's directory is gone, and the volume let go of.
    VolumeLetGo(String),
    /// Whether a Pod that this node claimed is its own.
    ClaimAnswered {
        /// The Pod as it was offered.
        pod: Arc<Pod>,
        /// It is.
        is_won: bool,
    },
    /// The session's deadline or a like fact has changed: what is due is looked at again.
    Look,
    /// The node's object as registered.
    Registered(Box<Node>),
    /// The answer to an effect of a Pod.
    Answer {
        /// Whose.
        uid: Uid,
        /// What.
        input: pod::Input,
    },
    /// A Pod of the node's own making has what its ServiceAccount has for it, or may not be made.
    Admitted {
        /// Whose.
        uid: Uid,
        /// The Pod, or why not.
        pod: Result<Box<Pod>, String>,
    },
    /// Whether the volumes of a Pod with an identity are on this node alone.
    Tied {
        /// Whose.
        uid: Uid,
        /// They are.
        is_tied: bool,
    },
    /// A write about a Pod has ended.
    Written {
        /// Whose.
        uid: Uid,
        /// How.
        outcome: Outcome,
    },
    /// From containerd.
    Runtime(RuntimeEvent),
    /// All containers of ours.
    Containers(Vec<Listed>),
    /// Whether the coordinator that lacks these Pods and DaemonSets is the one that had them, and not an older state
    /// of it or another.
    Absent {
        /// It is.
        same_cluster: bool,
        /// Runtime UIDs of Pods it lacks.
        pods: Vec<Uid>,
        /// UIDs of DaemonSets it lacks.
        daemon_sets: Vec<String>,
    },
    /// A ConfigMap or Secret that these Pods use has changed.
    SourcesChanged(Vec<Uid>),
    /// Somebody wants to know the Pods of this node.
    Ask(Question),
}

/// A list in progress: what it has had so far, and whether one has ever been whole.
#[derive(Debug, Default)]
struct Listing {
    seen: Option<BTreeSet<String>>,
    whole: bool,
}

/// What the node knows.
#[allow(clippy::struct_excessive_bools, reason = "four independent facts, each read in its own place")]
pub(super) struct NodeLoop {
    hands: Arc<Hands>,
    inputs: mpsc::Sender<Input>,
    daemon_sets: DaemonSets,
    claims: Claims,
    offer_list: offered::OfferList,
    ticket_list: tickets::TicketList,
    directories: directories::Directories,
    /// Pods bound to this node that have yet to be looked at.
    arrivals: BTreeMap<Uid, Arc<Pod>>,
    known_daemon_sets: BTreeSet<String>,
    hosted: BTreeMap<Uid, Hosted>,
    by_remote: BTreeMap<String, Uid>,
    waiting_for_list: BTreeMap<Uid, Kept>,
    runs: BTreeMap<String, (Uid, ContainerRef)>,
    oom: BTreeSet<String>,
    /// Containers of the newest list that no machine has been told of.
    unclaimed: Vec<Listed>,
    strays_removed: bool,
    runtime_up: bool,
    deadlines: Deadlines,
    retries: Deadlines,
    node_known: bool,
    pods_list: Listing,
    daemon_sets_list: Listing,
    started: Instant,
    /// The last thing heard of the coordinator is that it cannot be reached.
    coordinator_lost: bool,
    /// Something may be decided.
    deciding: bool,
    /// The coordinator has said all once.
    whole: bool,
}

impl NodeLoop {
    /// A loop that knows what the disk remembers.
    pub(super) fn new(hands: Arc<Hands>, inputs: mpsc::Sender<Input>) -> Self {
        let daemon_sets = DaemonSets::new(hands.config.node_name.clone());
        let mut node = Self {
            hands,
            inputs,
            daemon_sets,
            claims: Claims::default(),
            offer_list: offered::OfferList::default(),
            ticket_list: tickets::TicketList::default(),
            directories: directories::Directories::default(),
            arrivals: BTreeMap::new(),
            known_daemon_sets: BTreeSet::new(),
            hosted: BTreeMap::new(),
            by_remote: BTreeMap::new(),
            waiting_for_list: BTreeMap::new(),
            runs: BTreeMap::new(),
            oom: BTreeSet::new(),
            unclaimed: Vec::new(),
            strays_removed: false,
            runtime_up: false,
            deadlines: Deadlines::default(),
            retries: Deadlines::default(),
            node_known: false,
            pods_list: Listing::default(),
            daemon_sets_list: Listing::default(),
            started: clock::now(),
            coordinator_lost: false,
            deciding: false,
            whole: false,
        };
        node.recall_pods();
        node
    }

    /// Hears and acts until the inputs end.
    pub(super) async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        loop {
            let wake = self.wake();
            let input = tokio::select! {
                input = inputs.recv() => match input {
                    Some(input) => Some(input),
                    None => return,
                },
                () = sleep_until(wake) => None,
            };
            if let Some(input) = input {
                self.hear(input);
            }
            while let Ok(input) = inputs.try_recv() {
                self.hear(input);
            }
            self.turn();
        }
    }

    fn wake(&self) -> Option<Instant> {
        let patience = (!self.deciding).then(|| self.started + OFFLINE_PATIENCE);
        [self.deadlines.first(), self.retries.first(), patience, self.daemon_sets.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    fn hear(&mut self, input: Input) {
        match input {
            Input::Node(seen) => self.hear_node(seen),
            Input::DaemonSets(seen) => self.hear_daemon_sets(seen),
            Input::Pods(seen) => self.hear_pods(seen),
            Input::Offers(seen) => self.hear_offers(seen),
            Input::Tickets(seen) => self.hear_tickets(seen),
            Input::Volumes(seen) => self.hear_volumes(seen),
            Input::VolumeLetGo(name) => self.volume_let_go(&name),
            Input::ClaimAnswered { pod, is_won } => self.claim_answered(&pod, is_won),
            Input::Look => {}
            Input::Registered(node) => self.know_node(&node),
            Input::Answer { uid, input } => self.feed(&uid, input),
            Input::Admitted { uid, pod } => self.admitted(&uid, pod),
            Input::Tied { uid, is_tied } => self.tied(&uid, is_tied),
            Input::Written { uid, outcome } => self.written(&uid, outcome),
            Input::Runtime(event) => self.hear_runtime(event),
            Input::Containers(listed) => self.hear_containers(listed),
            Input::Absent { same_cluster, pods, daemon_sets } => self.absent(same_cluster, pods, daemon_sets),
            Input::SourcesChanged(uids) => {
                for uid in uids {
                    self.feed(&uid, pod::Input::SourcesChanged);
                }
            }
            Input::Ask(question) => self.answer(question),
        }
    }

    fn answer(&self, question: Question) {
        // Whoever asked may have gone; then nobody minds.
        match question {
            Question::Pods(answer) => {
                let _ = answer.send(self.hosted.values().map(Hosted::shown).collect());
            }
            Question::Pod { namespace, name, answer } => {
                let wanted = |hosted: &&Hosted| {
                    let metadata = &hosted.pod.metadata;
                    metadata.namespace.as_ref() == Some(&namespace) && metadata.name.as_ref() == Some(&name)
                };
                let _ = answer.send(self.hosted.values().find(wanted).map(Hosted::shown));
            }
        }
    }

    /// Deadlines, retries and decisions.
    fn turn(&mut self) {
        let now = clock::now();
        for uid in self.deadlines.due(now) {
            self.feed(&uid, pod::Input::Timer);
        }
        for uid in self.retries.due(now) {
            self.write_next(&uid);
        }
        self.admit_arrivals();
        self.begin_deciding(now);
        if self.deciding {
            self.decide(now);
        }
        self.answer_offers();
        self.remove_directories();
        self.advertise();
    }

    // --- deciding -------------------------------------------------------------------------------------------------

    /// Decisions need the node, its Pods and the DaemonSets: from the coordinator, or, when it does not answer in
    /// time, from the disk.
    fn begin_deciding(&mut self, now: Instant) {
        let whole = self.node_known && self.pods_list.whole && self.daemon_sets_list.whole;
        if whole && !self.whole {
            self.whole = true;
            self.deciding = true;
            self.daemon_sets.know(Source::Coordinator);
            if let Err(error) = Boots::heard(&self.hands.disk, &self.hands.boot_id) {
                tracing::error!(%error, "the disk could not be told that the coordinator was heard");
            }
        }
        if self.deciding {
            return;
        }
        if now.saturating_since(self.started) < OFFLINE_PATIENCE {
            return;
        }
        tracing::warn!("no answer from the coordinator; starting from what the disk remembers");
        self.recall_node_and_daemon_sets();
        self.deciding = self.node_known;
        if self.deciding {
            self.daemon_sets.know(Source::Disk { boots: self.hands.boots_alone });
        } else {
            // A node that no coordinator ever knew has nothing to host.
            self.started = now;
        }
    }

    fn decide(&mut self, now: Instant) {
        let mut entropy = SystemEntropy;
        for action in self.daemon_sets.plan(now, clock::wall(), &mut || entropy.uid()) {
            match action {
                Action::CreatePod(pod) => self.admit(*pod),
                Action::DeletePod { uid, why } => self.end(&uid, &why.to_string()),
                Action::AdoptPod { uid, owner } => self.change_owners(&uid, |owners| owners.push(*owner)),
                Action::ReleasePod { uid, owner_uid } => {
                    self.change_owners(&uid, |owners| owners.retain(|owner| owner.uid != owner_uid));
                }
                Action::GiveBack(ticket) => self.give_back(*ticket),
                Action::Record(occurrence) => self.hands.recorder.record(Occurrence {
                    kind: ("apps/v1", "DaemonSet"),
                    namespace: occurrence.about.namespace.unwrap_or_default(),
                    name: occurrence.about.name.unwrap_or_default(),
                    uid: occurrence.about.uid.unwrap_or_default(),
                    field_path: None,
                    warning: occurrence.warning,
                    reason: occurrence.reason.to_owned(),
                    message: occurrence.message,
                }),
            }
        }
    }

    /// Asks what the ServiceAccount of a Pod of the node's own making has for it.
    fn admit(&self, pod: Pod) {
        let (hands, inputs) = (self.hands.clone(), self.inputs.clone());
        tokio::spawn(async move {
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            let pod = perform::admit(&hands, pod).await.map(Box::new);
            let _ = inputs.send(Input::Admitted { uid, pod }).await;
        });
    }

    fn admitted(&mut self, uid: &str, pod: Result<Box<Pod>, String>) {
        match pod {
            Ok(pod) => self.host_own(*pod),
            Err(message) => {
                self.hands.sources.release(uid);
                self.daemon_sets.create_refused(uid, &message, clock::now());
            }
        }
    }

    /// Takes on a Pod of the node's own making: on disk first, then its containers, and the coordinator hears of it.
    fn host_own(&mut self, pod: Pod) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        tracing::info!(
            pod = pod.metadata.name,
            namespace = pod.metadata.namespace,
            uid,
            "hosting a Pod of a DaemonSet"
        );
        self.host(&uid, &Arc::new(pod), None, Remote::Unmirrored);
    }

    fn end(&mut self, uid: &str, why: &str) {
        let Some(hosted) = self.hosted.get_mut(uid) else { return };
        tracing::info!(pod = hosted.pod.metadata.name, uid, why, "ending a Pod");
        let pod = hosted.end(clock::wall());
        self.keep(uid);
        self.feed(uid, pod::Input::PodChanged(pod));
        self.write_next(uid);
    }

    /// Changes the owners of a Pod, here and at the coordinator.
    fn change_owners(&mut self, uid: &str, change: impl FnOnce(&mut Vec<OwnerReference>)) {
        let Some(hosted) = self.hosted.get_mut(uid) else { return };
        let mut pod = (*hosted.pod).clone();
        change(pod.metadata.owner_references.get_or_insert_default());
        hosted.pod = Arc::new(pod);
        hosted.owners_due = true;
        let pod = hosted.pod.clone();
        self.daemon_sets.pod_changed(&pod);
        self.keep(uid);
        self.write_next(uid);
    }

    // --- Pods -----------------------------------------------------------------------------------------------------

    fn host(&mut self, uid: &str, pod: &Arc<Pod>, record: Option<PodRecord>, remote: Remote) {
        let machine = self.machine(pod, record);
        if let Remote::Known { uid: remote } = &remote {
            self.by_remote.insert(remote.clone(), uid.to_owned());
            self.hands.tokens.bind(uid, remote);
        }
        self.hosted.insert(uid.to_owned(), Hosted::new(pod.clone(), machine, remote));
        self.keep(uid);
        self.identify(uid, false);
        self.daemon_sets.pod_changed(pod);
        let input = if self.runtime_up {
            pod::Input::Observed(self.take_observed(uid))
        } else {
            pod::Input::RuntimeDown
        };
        self.feed(uid, input);
        self.write_next(uid);
    }

    fn machine(&self, pod: &Arc<Pod>, record: Option<PodRecord>) -> PodMachine {
        PodMachine::new(pod.clone(), record, self.hands.host(), clock::now(), clock::wall())
    }

    /// Feeds a machine and performs what it wants.
    fn feed(&mut self, uid: &str, input: pod::Input) {
        let Some(hosted) = self.hosted.get_mut(uid) else { return };
        hosted.machine.handle(input, clock::now(), clock::wall());
        let mut effects = Vec::new();
        while let Some(effect) = hosted.machine.next_effect() {
            effects.push(effect);
        }
        let deadline = hosted.machine.next_deadline();
        self.deadlines.set(uid, deadline);
        for effect in effects {
            self.perform(uid, effect);
        }
    }

    fn perform(&mut self, uid: &str, effect: Effect) {
        let Some(hosted) = self.hosted.get_mut(uid) else { return };
        match effect {
            Effect::Persist(record) => {
                if let Err(error) = self.hands.disk.put(&record_file(uid), &*record, Durability::Process) {
                    tracing::error!(%error, uid, "a Pod's record could not be kept");
                }
            }
            Effect::WriteStatus(status) => {
                let mut pod = (*hosted.pod).clone();
                pod.status = Some((*status).clone());
                hosted.pod = Arc::new(pod);
                hosted.status_due = Some(status);
                let pod = hosted.pod.clone();
                self.daemon_sets.pod_changed(&pod);
                self.write_next(uid);
            }
            Effect::Record { warning, reason, field_path, message } => {
                let occurrence = Occurrence {
                    kind: ("v1", "Pod"),
                    namespace: hosted.pod.metadata.namespace.clone().unwrap_or_default(),
                    name: hosted.pod.metadata.name.clone().unwrap_or_default(),
                    uid: String::new(),
                    field_path,
                    warning,
                    reason: reason.to_owned(),
                    message,
                };
                hosted.events.push(occurrence);
                self.tell_events(uid);
            }
            Effect::Finished => {
                hosted.finished = true;
                let _pod = hosted.pod.clone();
                self.daemon_sets.pod_gone(uid);
                self.keep(uid);
                self.write_next(uid);
                self.forget_if_done(uid);
            }
            Effect::StartContainer { run, image_id, ips, target_pid } => {
                self.runs
                    .insert(pod::container_id(uid, &run.name, run.attempt), (uid.to_owned(), run.clone()));
                let pod = hosted.pod.clone();
                self.spawn(uid, perform::Work::StartContainer { run, image_id, ips, target_pid }, pod);
            }
            Effect::RemoveContainer { run } => {
                let pod = hosted.pod.clone();
                self.spawn(uid, perform::Work::RemoveContainer { run }, pod);
            }
            Effect::MakeSandbox => {
                let pod = hosted.pod.clone();
                self.spawn(uid, perform::Work::MakeSandbox, pod);
            }
            Effect::MountVolumes => {
                let pod = hosted.pod.clone();
                self.spawn(uid, perform::Work::MountVolumes, pod);
            }
            Effect::EnsureImage { container, image, policy } => {
                let pod = hosted.pod.clone();
                self.spawn(uid, perform::Work::EnsureImage { container, image, policy }, pod);
            }
            Effect::Probe { run, kind, ips } => {
                let pod = hosted.pod.clone();
                self.spawn(uid, perform::Work::Probe { run, kind, ips }, pod);
            }
            Effect::RunHook { run, hook, ips } => {
                let pod = hosted.pod.clone();
                self.spawn(uid, perform::Work::RunHook { run, hook, ips }, pod);
            }
            Effect::Signal { run, signal } => {
                let pod = hosted.pod.clone();
                self.spawn(uid, perform::Work::Signal { run, signal }, pod);
            }
            Effect::RemoveSandbox => {
                let pod = hosted.pod.clone();
                self.spawn(uid, perform::Work::RemoveSandbox, pod);
            }
        }
    }

    fn spawn(&self, uid: &str, work: perform::Work, pod: Arc<Pod>) {
        let (hands, inputs, uid) = (self.hands.clone(), self.inputs.clone(), uid.to_owned());
        let counted = work.makes_or_removes_a_container().then(|| hands.container_tasks.token());
        tokio::spawn(async move {
            perform::perform(&hands, &pod, work, &perform::Answers { uid, inputs }).await;
            drop(counted);
        });
    }

    /// Puts the Pod on disk: what is hosted is known before it starts, to whoever continues this process. A power loss
    /// ends what was started, and so nothing waits for the disk to be synced.
    fn keep(&mut self, uid: &str) {
        let Some(hosted) = self.hosted.get(uid) else { return };
        if let Err(error) = self.hands.disk.put(&pod_file(uid), &hosted.kept(), Durability::Soon) {
            tracing::error!(%error, uid, "a Pod could not be kept on disk");
        }
    }

    fn forget_if_done(&mut self, uid: &str) {
        let Some(hosted) = self.hosted.get(uid) else { return };
        let done =
            hosted.finished && !matches!(hosted.remote, Remote::Known { .. }) && hosted.writing.is_none();
        if !done {
            return;
        }
        if let Some(hosted) = self.hosted.remove(uid) {
            perform::remove_logs(&self.hands, &hosted.pod);
        }
        self.by_remote.retain(|_, runtime| runtime != uid);
        self.runs.retain(|_, (owner, _)| owner != uid);
        self.deadlines.set(uid, None);
        self.retries.set(uid, None);
        if let Err(error) = std::fs::remove_dir_all(self.hands.disk.root().join(pod_dir(uid)))
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::error!(%error, uid, "a Pod's directory could not be removed");
        }
    }

    fn tell_events(&mut self, uid: &str) {
        let Some(hosted) = self.hosted.get_mut(uid) else { return };
        let Remote::Known { uid: remote } = &hosted.remote else { return };
        for mut occurrence in std::mem::take(&mut hosted.events) {
            occurrence.uid.clone_from(remote);
            self.hands.recorder.record(occurrence);
        }
    }
}

/// Sleeps until `at`, for ever when there is none.
pub(super) async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep(at.saturating_since(clock::now())).await,
        None => std::future::pending().await,
    }
}

fn pod_dir(uid: &str) -> PathBuf {
    Path::new("hosted").join(uid)
}

fn pod_file(uid: &str) -> PathBuf {
    pod_dir(uid).join("pod.json")
}

fn record_file(uid: &str) -> PathBuf {
    pod_dir(uid).join("record.json")
}
