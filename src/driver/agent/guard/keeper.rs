//! The task that owns the machine, the connection to the guard, and whoever waits for either.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use tokio::sync::{RwLock, mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use super::identities::{self, Standing};
use super::link::{Launch, Link};
use super::{Admitted, Order};
use crate::containerd::{Runtime, State};
use crate::driver::agent::cluster::Cluster;
use crate::driver::agent::disk::Disk;
use crate::driver::agent::node::{self, label};
use crate::driver::clock;
use crate::driver::watches::Seen;
use crate::guard::message::{Reply, Request, session_number};
use crate::guard::process::Options;
use crate::guard::{directory, table};
use crate::lease::fence::FenceLevel;
use crate::lease::fence::holder::{Effect, Fence, FenceConfig, Input};
use crate::lease::fence::watch::Charge;
use crate::lease::identity::holdings::{self, Holdings};
use crate::lease::session::SessionId;
use crate::lease::timings::SessionConfig;
use crate::sandbox::Ground;
use crate::time::Instant;
use crate::volumes::mounts;

/// How long one try to fence or to thaw may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// Before a guard that could not be had is tried for again.
pub(super) const AGAIN: Duration = Duration::from_secs(1);
/// `SIGTERM`
const SIGTERM: i32 = 15;

/// What a keeper works with.
#[derive(Clone)]
pub(in crate::driver::agent) struct Means {
    /// Name of this node.
    pub(in crate::driver::agent) node: String,
    /// `/etc/machine-id`.
    pub(in crate::driver::agent) machine_id: String,
    pub(in crate::driver::agent) config: FenceConfig,
    pub(in crate::driver::agent) session: SessionConfig,
    pub(in crate::driver::agent) client: Client,
    /// Gives up after the session's time-out.
    pub(in crate::driver::agent) timed_client: Client,
    pub(in crate::driver::agent) cluster: Arc<Cluster>,
    pub(in crate::driver::agent) disk: Disk,
    /// This program.
    pub(in crate::driver::agent) program: std::path::PathBuf,
    pub(in crate::driver::agent) options: Options,
    pub(in crate::driver::agent) ground: Arc<Ground>,
    pub(in crate::driver::agent) runtime: Runtime,
    pub(in crate::driver::agent) inputs: mpsc::Sender<node::Input>,
}

/// See the module's documentation.
pub(in crate::driver::agent) struct Keeper {
    pub(super) means: Means,
    pub(super) orders: Arc<mpsc::UnboundedSender<Order>>,
    pub(super) machine: Fence,
    pub(super) holdings: Holdings,
    /// The session, as last told.
    pub(super) held: Option<(SessionId, Instant)>,
    /// What the guard has acknowledged, as the identities were last told.
    pub(super) armed: BTreeMap<String, (SessionId, FenceLevel)>,
    /// How each Pod stands, as it was last told.
    pub(super) told: BTreeMap<String, Standing>,
    pub(super) told_pods: mpsc::UnboundedSender<node::Input>,
    /// A list of this node's identities in progress.
    pub(super) list: Option<BTreeSet<String>>,
    pub(super) list_count: u64,
    /// Of identities that others hold, by name.
    pub(super) watches: BTreeMap<String, AbortHandle>,
    pub(super) regressions: watch::Receiver<u64>,
    link: Option<Link>,
    linking: Option<oneshot::Receiver<Result<Link, String>>>,
    /// Sessions by their numbers, as the guard knows them.
    sessions: BTreeMap<u64, SessionId>,
    order_count: u64,
    fencing: BTreeMap<u64, oneshot::Sender<()>>,
    releasing: BTreeMap<String, Vec<oneshot::Sender<()>>>,
    admitting: BTreeMap<String, Vec<oneshot::Sender<Option<Admitted>>>>,
    /// By UID: starts hold it for reading, a thaw for writing.
    starts: BTreeMap<String, Arc<RwLock<()>>>,
}

impl Keeper {
    pub(super) fn new(means: Means, orders: Arc<mpsc::UnboundedSender<Order>>) -> Self {
        let past = identities::recall(&means.disk, &means.machine_id);
        Self {
            machine: Fence::new(means.config),
            holdings: Holdings::new(&means.node, means.config.level, means.session, past),
            held: None,
            armed: BTreeMap::new(),
            told: BTreeMap::new(),
            told_pods: in_order(means.inputs.clone()),
            list: None,
            list_count: 0,
            watches: BTreeMap::new(),
            regressions: means.cluster.regressions(),
            means,
            orders,
            link: None,
            linking: None,
            sessions: BTreeMap::new(),
            order_count: 0,
            fencing: BTreeMap::new(),
            releasing: BTreeMap::new(),
            admitting: BTreeMap::new(),
            starts: BTreeMap::new(),
        }
    }

    fn fences(&self) -> bool {
        self.means.config.level > FenceLevel::None
    }

    /// Runs for as long as the agent does.
    pub(super) async fn run(
        mut self,
        mut heard: mpsc::UnboundedReceiver<Order>,
        mut own: mpsc::Receiver<Seen<Lease>>,
    ) {
        if self.fences() {
            self.recall_table();
            self.connect(Duration::ZERO);
        }
        loop {
            self.settle().await;
            let wake = self.wake();
            tokio::select! {
                order = heard.recv() => match order {
                    Some(order) => self.order(order),
                    None => return,
                },
                answer = next_answer(&mut self.link) => self.answered(answer),
                made = linked(&mut self.linking) => self.linked(made),
                Some(seen) = own.recv() => self.hear_seen(seen),
                Ok(()) = self.regressions.changed() => {
                    self.regressions.mark_changed();
                    self.look_for_regression();
                }
                () = node::sleep_until(wake) => {
                    self.hear(Input::Tick);
                    self.hear_identity(holdings::Input::Tick);
                }
            }
        }
    }

    fn wake(&self) -> Option<Instant> {
        let now = clock::now();
        let held = self.held.as_ref().map(|(session, deadline)| (session, *deadline));
        let held = held.filter(|(_, deadline)| now < *deadline);
        let deadline = held.map(|(_, deadline)| deadline).filter(|_| self.holdings.pods().next().is_some());
        [self.machine.next_deadline(), self.holdings.next_deadline(held, now), deadline]
            .into_iter()
            .flatten()
            .min()
    }

    /// What an earlier agent had guarded is fenced with the rest, whether its guard lives or not.
    fn recall_table(&mut self) {
        let path = directory(&self.means.options.runtime_dir).join("table");
        match table::uids(&path) {
            Ok(known) => {
                self.hear(Input::GuardUp { level: FenceLevel::None, known });
                self.hear(Input::GuardDown);
            }
            Err(error) => tracing::error!(%error, "the guard's table cannot be read"),
        }
    }

    pub(super) fn hear(&mut self, input: Input) {
        self.machine.handle(input, clock::now());
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Hear(input) => self.hear(input),
            Order::Identity(input) => self.hear_identity(input),
            Order::Wanted(wanted, grace) => {
                if wanted.fenced {
                    self.hear(Input::Wanted { uid: wanted.uid.clone(), grace });
                }
                self.hear_identity(holdings::Input::Wanted(wanted));
            }
            Order::Session(session) => {
                self.held.clone_from(&session);
                self.hear(Input::Session(session));
                self.hear_identity(holdings::Input::Tick);
            }
            Order::Wrote(input, floor) => self.wrote(input, floor),
            Order::Sure(list_count) => self.sure(list_count),
            Order::FenceAll(done) => {
                self.order_count += 1;
                self.held = None;
                self.fencing.insert(self.order_count, done);
                self.hear(Input::FenceAll(self.order_count));
                self.hear_identity(holdings::Input::Tick);
            }
            Order::Release(uid, done) => {
                match self.means.ground.cgroups.is_populated(&uid) {
                    // Whoever asked is told by the closed channel, and asks again.
                    Ok(true) | Err(_) => return,
                    Ok(false) => {}
                }
                self.releasing.entry(uid.clone()).or_default().push(done);
                self.hear(Input::Gone(uid));
            }
            Order::Admit(uid, needs_one, answer) if !needs_one && self.holdings.of(&uid).is_none() => {
                // Who has waited long enough by now asks again.
                let _ = answer.send(None);
            }
            Order::Admit(uid, _, answer) => {
                self.admitting.entry(uid.clone()).or_default().push(answer);
                self.admit(&uid);
            }
            Order::Why(uid, answer) => {
                let why = self.standing(&uid, clock::now()).err().map(|hold| hold.message);
                let _ = answer.send(why);
            }
        }
    }

    /// Lets those start that wait for it, if they may.
    pub(super) fn admit(&mut self, uid: &str) {
        let Ok(epoch) = self.standing(uid, clock::now()) else { return };
        let Some(waiting) = self.admitting.remove(uid) else { return };
        let starts = self.starts.entry(uid.to_owned()).or_default();
        for answer in waiting {
            match starts.clone().try_read_owned() {
                // Who has waited long enough by now asks again.
                Ok(permit) => drop(answer.send(Some(Admitted { epoch, _permit: permit }))),
                Err(_) => self.admitting.entry(uid.to_owned()).or_default().push(answer),
            }
        }
    }

    /// Does what the fence's machine wants done.
    pub(super) async fn act(&mut self) {
        while let Some(effect) = self.machine.next_effect() {
            match effect {
                Effect::Arm { uid, session, deadline } => {
                    let charge = Charge {
                        dir: self.means.ground.data_of(&uid).display().to_string(),
                        session: session_number(&session),
                        deadline,
                        margin: self.means.session.margin(),
                        level: self.means.config.level,
                        uid,
                    };
                    self.sessions.insert(charge.session, session);
                    self.send(Request::Arm(charge)).await;
                }
                Effect::Renew { session, deadline } => {
                    self.send(Request::Renew { session: session_number(&session), deadline }).await;
                }
                Effect::Disarm(uid) => self.send(Request::Disarm(uid)).await,
                Effect::Terminate(uid) => self.terminate(uid),
                Effect::Fence(uid) => self.fence(uid),
                Effect::Thaw(uid) => self.thaw(uid),
                // The Pod hears of it with how it stands.
                Effect::Opened(_) => {}
                Effect::AllFenced(number) => {
                    if let Some(done) = self.fencing.remove(&number) {
                        let _ = done.send(());
                    }
                }
                Effect::Released(uid) => {
                    self.starts.remove(&uid);
                    let waiting = self.releasing.remove(&uid).unwrap_or_default();
                    for done in waiting {
                        let _ = done.send(());
                    }
                    self.hear_identity(holdings::Input::Dead(uid));
                }
            }
        }
    }

    async fn send(&mut self, request: Request) {
        let Some(link) = &mut self.link else { return };
        if let Err(why) = link.send(request).await {
            self.unlink(&why);
        }
    }

    // --- the guard ------------------------------------------------------------------------------------------------

    fn connect(&mut self, after: Duration) {
        let (done, made) = oneshot::channel();
        self.linking = Some(made);
        let launch = Launch { program: self.means.program.clone(), options: self.means.options.clone() };
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let _ = done.send(Link::make(&launch).await);
        });
    }

    fn linked(&mut self, made: Result<Link, String>) {
        self.linking = None;
        match made {
            Ok(link) => {
                if link.level < self.means.config.level {
                    tracing::warn!(
                        level = %link.level,
                        wanted = %self.means.config.level,
                        "the guard can do less on this machine than --fence asks"
                    );
                }
                tracing::info!(level = %link.level, "the guard is there");
                let level = link.level;
                self.link = Some(link);
                let known = Vec::new();
                self.hear(Input::GuardUp { level, known });
            }
            Err(why) => {
                tracing::error!(why, "there is no guard; nothing with an identity starts");
                self.connect(AGAIN);
            }
        }
    }

    fn unlink(&mut self, why: &str) {
        tracing::warn!(why, "the guard was lost; its table stands, another one is started");
        self.link = None;
        self.hear(Input::GuardDown);
        self.connect(Duration::ZERO);
    }

    fn answered(&mut self, answer: Result<(Request, Reply), String>) {
        let (request, reply) = match answer {
            Ok(answer) => answer,
            Err(why) => return self.unlink(&why),
        };
        let refused = match reply {
            Reply::Done => None,
            Reply::Refused(why) => Some(why),
            Reply::Hello { .. } | Reply::Entry(_) => return,
        };
        if let Some(why) = &refused {
            tracing::warn!(why, ?request, "the guard refuses");
        }
        let input = match (request, refused) {
            (Request::Arm(charge), None) => {
                let Some(session) = self.sessions.get(&charge.session).cloned() else { return };
                self.sessions.retain(|number, _| *number == charge.session);
                Input::Armed { uid: charge.uid, session }
            }
            (Request::Disarm(uid), None) => Input::Disarmed(uid),
            (Request::Arm(Charge { uid, .. }) | Request::Disarm(uid), Some(_)) => Input::Refused(uid),
            (
                Request::Hello
                | Request::Renew { .. }
                | Request::Fence(_)
                | Request::Status
                | Request::Upgrade(_)
                | Request::Stop,
                _,
            ) => return,
        };
        self.hear(input);
    }

    // --- the Pods -------------------------------------------------------------------------------------------------

    /// Performs something that blocks, in a task of its own; the machine hears how it ended.
    fn aside(&self, work: impl FnOnce(&Ground) -> Input + Send + 'static) {
        let (ground, orders) = (self.means.ground.clone(), self.orders.clone());
        tokio::task::spawn_blocking(move || {
            let _ = orders.send(Order::Hear(work(&ground)));
        });
    }

    fn fence(&self, uid: String) {
        tracing::warn!(uid, "a Pod is fenced: the session may end");
        self.aside(move |ground| match fence(ground, &uid) {
            Ok(()) => Input::Fenced(uid),
            Err(why) => {
                tracing::error!(why, uid, "a Pod is not fenced yet");
                Input::NotFenced(uid)
            }
        });
    }

    fn thaw(&mut self, uid: String) {
        let starts = self.starts.entry(uid.clone()).or_default().clone();
        let (ground, orders) = (self.means.ground.clone(), self.orders.clone());
        tokio::spawn(async move {
            let alone = starts.write_owned().await;
            let of = uid.clone();
            let thawed = tokio::task::spawn_blocking(move || {
                if ground.cgroups.is_frozen(&of) { ground.cgroups.thaw(&of, PATIENCE) } else { Ok(()) }
            });
            let input = match thawed.await {
                Ok(Ok(())) => Input::Thawed(uid),
                Ok(Err(error)) => {
                    tracing::error!(%error, uid, "a fenced Pod cannot be opened");
                    Input::NotThawed(uid)
                }
                Err(_) => Input::NotThawed(uid),
            };
            drop(alone);
            let _ = orders.send(Order::Hear(input));
        });
    }

    /// Whoever does not hear of it in time is killed.
    fn terminate(&self, uid: String) {
        tracing::warn!(uid, "a Pod is told to end: the session was not renewed in time");
        let runtime = self.means.runtime.clone();
        tokio::spawn(async move {
            let listed = runtime.list().await.unwrap_or_default();
            let own = |of: Option<&String>| of == Some(&uid);
            for container in listed.iter().filter(|container| own(container.labels.get(label::POD_UID))) {
                if matches!(container.state, State::Running { .. })
                    && let Err(error) = runtime.kill(&container.id, SIGTERM, false).await
                {
                    tracing::warn!(%error, id = container.id, "a container was not signalled");
                }
            }
        });
    }
}

/// Passes on what the loop of the node is told, in order, without having anybody wait for it.
fn in_order(inputs: mpsc::Sender<node::Input>) -> mpsc::UnboundedSender<node::Input> {
    let (told, mut heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(input) = heard.recv().await {
            if inputs.send(input).await.is_err() {
                return;
            }
        }
    });
    told
}

fn fence(ground: &Ground, uid: &str) -> Result<(), String> {
    ground.cgroups.fence(uid, PATIENCE).map_err(|error| error.to_string())?;
    mounts::force_off_network(&ground.data_of(uid)).map_err(|error| error.to_string())
}

async fn next_answer(link: &mut Option<Link>) -> Result<(Request, Reply), String> {
    match link {
        Some(link) => link.next().await,
        None => std::future::pending().await,
    }
}

async fn linked(linking: &mut Option<oneshot::Receiver<Result<Link, String>>>) -> Result<Link, String> {
    match linking {
        Some(made) => made.await.unwrap_or_else(|_| Err("the task that looks for a guard ended".to_owned())),
        None => std::future::pending().await,
    }
}
