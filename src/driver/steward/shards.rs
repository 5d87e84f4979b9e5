//! Which shards this agent stewards: performs what the pure machine of `lease::shard` wants, under the agent's session.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::watcher::Config as WatchConfig;
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::sync::{mpsc, watch as channel};

use super::duty::{Duty, Held, Tenure};
use super::{INPUTS_MAX, sleep_until};
use crate::driver::clock;
use crate::driver::watches::{Seen, watch};
use crate::lease::session::{Answer, SessionId};
use crate::lease::shard::wire::{self, Count};
use crate::lease::shard::{Effect, Input as Heard, MONITOR, Report, Shards};
use crate::lease::timings::SessionConfig;
use crate::lease::wire as leases;
use crate::placement::is_ready;
use crate::time::Instant;

/// Label of the Nodes whose agents may steward.
const WILLING: &str = "leasehold.dev/steward";

/// Pause between attempts to label the own Node.
const LABEL_AGAIN: Duration = Duration::from_secs(5);

/// Pause between attempts to read how many shards there are.
const READ_AGAIN: Duration = Duration::from_millis(500);

/// What the loop hears.
#[derive(Debug)]
enum Input {
    Leases(Seen<Lease>),
    Stewards(Seen<Node>),
    Answer(u64, Answer),
    Quiesced(u64),
    Told(Order),
}

/// What the rest of the steward has to say.
#[derive(Debug)]
pub(super) enum Order {
    /// The process stops.
    Stop,
    /// The monitor knows that this session is over.
    Over(SessionId),
    /// What the next monitor is to know of the brake.
    Brake(Option<String>),
}

/// What `steward-00` says of the brake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BrakeNote {
    /// That it is drawn.
    pub(super) drawn: Option<String>,
    /// That an operator asks to let it go.
    pub(super) release: Option<String>,
}

/// Who this agent is.
pub(super) struct Agent {
    pub(super) node: String,
    pub(super) config: SessionConfig,
    pub(super) session: channel::Receiver<Option<(SessionId, Instant)>>,
    /// How many shards there are to be; none: as many as there are.
    pub(super) shards: Option<u32>,
}

/// The way to the loop, and what it tells. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Handle {
    inputs: mpsc::Sender<Input>,
    pub(super) held: channel::Receiver<Held>,
    pub(super) brake: channel::Receiver<BrakeNote>,
    /// The sessions that hold a shard.
    pub(super) holders: channel::Receiver<BTreeSet<SessionId>>,
}

impl Handle {
    /// Tells the loop something. It ends with the process.
    pub(super) async fn tell(&self, order: Order) {
        let _ = self.inputs.send(Input::Told(order)).await;
    }
}

/// Starts the loop. `timed` is a client whose requests end within the session's time-out.
pub(super) fn start(client: Client, timed: Client, agent: Agent) -> (Handle, Duty) {
    let (inputs, heard) = mpsc::channel(INPUTS_MAX);
    let (held, holds) = channel::channel(Held::default());
    let (brake, brakes) = channel::channel(BrakeNote::default());
    let (holders, named) = channel::channel(BTreeSet::new());
    let duty = Duty::new(holds.clone(), agent.config);
    let hands = Hands { client, timed, inputs: inputs.clone(), duty: duty.clone() };
    let tell = Tell { held, brake, holders };
    tokio::spawn(begin(agent, hands, tell, heard));
    (Handle { inputs, held: holds, brake: brakes, holders: named }, duty)
}

async fn begin(agent: Agent, hands: Hands, tell: Tell, heard: mpsc::Receiver<Input>) {
    let shards = match agent.shards {
        Some(shards) => shards,
        None => hands.shards().await,
    };
    let count = Count { shards, rules: wire::RULES_VERSION };
    let machine = Shards::new(agent.node.clone(), count, agent.config, clock::now(), clock::wall());
    hands.watch();
    let keeper = Keeper {
        node: agent.node,
        count,
        machine,
        hands,
        tell,
        listing: None,
        newest: BTreeMap::new(),
        stewards: BTreeMap::new(),
        stewards_listing: None,
        is_stopping: false,
        drained: false,
        won: BTreeMap::new(),
        winnings: 0,
        label_at: None,
    };
    keeper.run(agent.session, heard).await;
}

/// Whom the loop tells.
struct Tell {
    held: channel::Sender<Held>,
    brake: channel::Sender<BrakeNote>,
    holders: channel::Sender<BTreeSet<SessionId>>,
}

/// What is known of a node that may steward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Steward {
    is_ready: bool,
    is_cordoned: bool,
}

struct Keeper {
    node: String,
    count: Count,
    machine: Shards,
    hands: Hands,
    tell: Tell,
    /// The list in progress: it is heard as a whole.
    listing: Option<Vec<Lease>>,
    /// UID and version of each shard's Lease as it was last seen.
    newest: BTreeMap<String, (String, u64)>,
    stewards: BTreeMap<String, Steward>,
    stewards_listing: Option<BTreeMap<String, Steward>>,
    is_stopping: bool,
    drained: bool,
    won: BTreeMap<u32, u64>,
    winnings: u64,
    /// When the own Node is to be labelled.
    label_at: Option<Instant>,
}

impl Keeper {
    async fn run(
        mut self,
        mut session: channel::Receiver<Option<(SessionId, Instant)>>,
        mut inputs: mpsc::Receiver<Input>,
    ) {
        loop {
            let now = clock::now();
            let held = session.borrow().clone().filter(|(_, deadline)| now < *deadline);
            let held = held.as_ref().map(|(session, deadline)| (session, *deadline));
            let ends = held.map(|(_, deadline)| deadline);
            let label = self.label_at.filter(|_| held.is_some());
            let next = [self.machine.next_deadline(held, now), ends, label];
            let heard = tokio::select! {
                input = inputs.recv() => match input {
                    Some(input) => Some(input),
                    None => return,
                },
                changed = session.changed() => match changed {
                    Ok(()) => None,
                    // The agent ends, and with it its session.
                    Err(_) => return,
                },
                () = sleep_until(next.into_iter().flatten().min()) => None,
            };
            let held = session.borrow_and_update().clone();
            let mut inputs_heard = vec![heard];
            while let Ok(input) = inputs.try_recv() {
                inputs_heard.push(Some(input));
            }
            for input in inputs_heard {
                for heard in self.hear(input) {
                    self.handle(heard, held.as_ref());
                }
            }
            self.act(held.as_ref());
        }
    }

    fn handle(&mut self, heard: Heard, held: Option<&(SessionId, Instant)>) {
        let now = clock::now();
        let held = held.filter(|(_, deadline)| now < *deadline).map(|(session, until)| (session, *until));
        self.machine.handle(heard, held, now, clock::wall());
    }

    /// What an input means for the machine; none: time has passed.
    fn hear(&mut self, input: Option<Input>) -> Vec<Heard> {
        match input {
            None => vec![Heard::Tick],
            Some(Input::Leases(seen)) => self.hear_leases(seen),
            Some(Input::Stewards(seen)) => self.hear_stewards(seen),
            Some(Input::Answer(number, answer)) => vec![Heard::Answer(number, answer)],
            Some(Input::Quiesced(number)) => vec![Heard::Quiesced(number)],
            Some(Input::Told(Order::Stop)) => {
                self.is_stopping = true;
                vec![Heard::Drain]
            }
            Some(Input::Told(Order::Over(session))) => vec![Heard::Over(session)],
            Some(Input::Told(Order::Brake(brake))) => vec![Heard::Brake(brake)],
        }
    }

    fn hear_leases(&mut self, seen: Seen<Lease>) -> Vec<Heard> {
        match seen {
            Seen::Restarted => self.listing = Some(Vec::new()),
            Seen::Listed(lease) => self.listing.get_or_insert_default().push(*lease),
            Seen::Complete => return self.listed(),
            Seen::Applied(lease) => {
                self.note(&lease);
                return vec![Heard::Seen(lease)];
            }
            Seen::Deleted(lease) => {
                let shard = wire::parse_name(&lease.name_any());
                return shard.map(Heard::Gone).into_iter().collect();
            }
            Seen::Lost(why) => tracing::debug!(why, "the steward cannot watch the shards"),
        }
        Vec::new()
    }

    /// A list is whole. One that is older than what was seen is of another store, or of this one as it was once.
    fn listed(&mut self) -> Vec<Heard> {
        let listing = self.listing.take().unwrap_or_default();
        let is_older = |lease: &Lease| {
            self.newest.get(&lease.name_any()).is_some_and(|(_, seen)| leases::revision(lease) < *seen)
        };
        let mut heard = Vec::new();
        if listing.iter().any(is_older) {
            tracing::warn!("the store is older than it was: no shard is held or taken for a while");
            self.newest.clear();
            heard.push(Heard::Regressed);
        }
        for lease in &listing {
            self.note(lease);
        }
        heard.push(Heard::Restarted);
        heard.extend(listing.into_iter().map(|lease| Heard::Seen(Box::new(lease))));
        heard.push(Heard::Complete);
        heard
    }

    fn note(&mut self, lease: &Lease) {
        let seen = (leases::uid(lease).to_owned(), leases::revision(lease));
        self.newest.insert(lease.name_any(), seen);
    }

    fn hear_stewards(&mut self, seen: Seen<Node>) -> Vec<Heard> {
        let known = self.stewards_listing.as_mut().unwrap_or(&mut self.stewards);
        match seen {
            Seen::Restarted => {
                self.stewards_listing = Some(BTreeMap::new());
                return Vec::new();
            }
            Seen::Listed(node) | Seen::Applied(node) => {
                known.insert(node.name_any(), steward(&node));
            }
            Seen::Deleted(node) => drop(known.remove(&node.name_any())),
            Seen::Complete => {
                if let Some(listed) = self.stewards_listing.take() {
                    self.stewards = listed;
                }
            }
            Seen::Lost(why) => tracing::debug!(why, "the steward cannot watch the nodes of others"),
        }
        if self.stewards_listing.is_some() {
            return Vec::new();
        }
        let is_labelled = self.stewards.contains_key(&self.node);
        self.label_at = if is_labelled { None } else { self.label_at.or(Some(clock::now())) };
        self.weigh()
    }

    /// Who is willing, and whether the own shards are to be handed over: when the node is cordoned and another is there.
    fn weigh(&mut self) -> Vec<Heard> {
        let is_willing = |steward: &Steward| steward.is_ready && !steward.is_cordoned;
        let willing = self.stewards.iter().filter(|(_, steward)| is_willing(steward));
        let mut willing: BTreeSet<String> = willing.map(|(node, _)| node.clone()).collect();
        let own = self.stewards.get(&self.node);
        let drained = own.is_some_and(|own| own.is_cordoned) && !willing.is_empty();
        if willing.is_empty() {
            // There is nobody to wait for.
            willing.insert(self.node.clone());
        }
        let mut heard = vec![Heard::Willing(Arc::new(willing))];
        if drained != std::mem::replace(&mut self.drained, drained) && !self.is_stopping {
            heard.push(if drained { Heard::Drain } else { Heard::Resume });
        }
        heard
    }

    fn act(&mut self, held: Option<&(SessionId, Instant)>) {
        let effects: Vec<Effect> = std::iter::from_fn(|| self.machine.next_effect()).collect();
        for effect in &effects {
            if let Effect::Report(report) = effect {
                self.report(report);
            }
        }
        // What may not be written any more is known before anybody waits for what is under way.
        self.publish(held);
        for effect in effects {
            self.hands.perform(effect);
        }
        let now = clock::now();
        if held.is_some() && self.label_at.is_some_and(|at| at <= now) {
            self.label_at = Some(now + LABEL_AGAIN);
            tokio::spawn(self.hands.clone().label(self.node.clone()));
        }
    }

    fn report(&mut self, report: &Report) {
        match report {
            Report::Took { shard, .. } => {
                tracing::info!("{report}");
                self.winnings += 1;
                self.won.insert(*shard, self.winnings);
            }
            Report::Lost { .. } | Report::Differs { .. } => tracing::warn!("{report}"),
            Report::GaveBack { .. } => tracing::info!("{report}"),
        }
    }

    fn publish(&self, held: Option<&(SessionId, Instant)>) {
        let session = held.map(|(session, deadline)| (session, *deadline));
        let tenure = |shard: u32| {
            let until = self.machine.held_until(shard, session)?;
            Some((shard, Tenure { won: self.won.get(&shard).copied()?, until }))
        };
        let all = 0..self.count.shards;
        let count = all.clone().filter(|shard| self.machine.holds(*shard)).count();
        let held = Held { shards: self.count.shards, tenures: all.filter_map(tenure).collect(), count };
        let annotation = |key| self.machine.annotation(MONITOR, key).map(str::to_owned);
        let brake = BrakeNote { drawn: annotation(wire::BRAKE), release: annotation(wire::BRAKE_RELEASE) };
        put(&self.tell.brake, brake);
        put(&self.tell.holders, self.machine.holders().collect());
        put(&self.tell.held, held);
    }
}

/// Sends what is news.
fn put<T: PartialEq>(channel: &channel::Sender<T>, value: T) {
    channel.send_if_modified(|known| {
        let is_news = *known != value;
        *known = value;
        is_news
    });
}

fn steward(node: &Node) -> Steward {
    let is_cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    Steward { is_ready: is_ready(node), is_cordoned }
}

/// What requests need. Cheap to clone.
#[derive(Clone)]
struct Hands {
    client: Client,
    timed: Client,
    inputs: mpsc::Sender<Input>,
    duty: Duty,
}

impl Hands {
    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.timed.clone(), wire::NAMESPACE)
    }

    /// How many shards there are, as `steward-00` says.
    async fn shards(&self) -> u32 {
        loop {
            match self.leases().get_opt(&wire::name(MONITOR)).await {
                Ok(found) => {
                    let count = found.as_ref().and_then(wire::count);
                    return count.map_or(wire::SHARDS_DEFAULT, |count| count.shards);
                }
                Err(error) => tracing::debug!(%error, "how many shards there are cannot be read"),
            }
            tokio::time::sleep(READ_AGAIN).await;
        }
    }

    fn watch(&self) {
        let ours = WatchConfig::default().labels(&format!("{}={}", wire::KIND.0, wire::KIND.1));
        let leases = Api::namespaced(self.client.clone(), wire::NAMESPACE);
        tokio::spawn(watch(leases, ours, self.inputs.clone(), Input::Leases));
        let willing = WatchConfig::default().labels(WILLING);
        tokio::spawn(watch(Api::all(self.client.clone()), willing, self.inputs.clone(), Input::Stewards));
    }

    fn perform(&self, effect: Effect) {
        let hands = self.clone();
        match effect {
            Effect::Read(number, shard) => {
                tokio::spawn(async move {
                    let name = wire::name(shard);
                    let found = hands.leases().get(&name).await;
                    hands.answer(number, found, Answer::Found).await;
                });
            }
            Effect::Create(number, _, lease) => {
                tokio::spawn(async move {
                    let made = hands.leases().create(&PostParams::default(), &lease).await;
                    hands.answer(number, made, Answer::Written).await;
                });
            }
            Effect::Update(number, _, lease) => {
                tokio::spawn(async move {
                    let name = lease.name_any();
                    let written = hands.leases().replace(&name, &PostParams::default(), &lease).await;
                    hands.answer(number, written, Answer::Written).await;
                });
            }
            Effect::Quiesce(number, shard) => {
                tokio::spawn(async move {
                    hands.duty.quiesced(shard).await;
                    let _ = hands.inputs.send(Input::Quiesced(number)).await;
                });
            }
            Effect::Report(_) => {}
        }
    }

    async fn answer(&self, number: u64, result: kube::Result<Lease>, of: fn(Box<Lease>) -> Answer) {
        let answer = match result {
            Ok(lease) => of(Box::new(lease)),
            Err(kube::Error::Api(status)) if status.code == 409 => Answer::Conflict,
            Err(kube::Error::Api(status)) if status.code == 404 => Answer::Absent { node_made: None },
            Err(error) => {
                tracing::debug!(%error, "no answer about a shard's Lease");
                Answer::Failed
            }
        };
        // The loop ends with the process.
        let _ = self.inputs.send(Input::Answer(number, answer)).await;
    }

    /// Says on the Node that its agent may steward.
    async fn label(self, node: String) {
        let nodes: Api<Node> = Api::all(self.timed);
        let patch = Patch::Merge(json!({ "metadata": { "labels": { WILLING: "" } } }));
        if let Err(error) = nodes.patch_metadata(&node, &PatchParams::default(), &patch).await {
            tracing::debug!(%error, "the Node could not be labelled as a steward's");
        }
    }
}
