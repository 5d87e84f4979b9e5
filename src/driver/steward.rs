//! The steward's loop: what must be done once per cluster, for the objects of the shards that this agent holds. Watches,
//! has [`crate::steward`] decide, and performs what it says. Every write carries a UID or a version, so that a late or
//! doubled one is refused and does no harm.
//!
//! `shards` wins and loses; `duty` is the door that every write passes. While a shard is held there is one watch per
//! kind (`feeds`); what it shows goes through the view to the controllers, and from there (`feed`) to the loops of
//! offers, evictions, the monitor and the namespaces' belongings. Whenever a shard is won, all watches begin anew with a
//! consistent list, and the shard's objects are thought over once that is whole. While none is held nothing is watched
//! but the shards' Leases and the Nodes of those who may steward.

mod belongings;
pub mod duty;
mod evictions;
mod feed;
mod feeds;
mod monitor;
mod namespaces;
mod offers;
mod perform;
mod shards;

use std::time::Duration;

use kube::Client;
use tokio::sync::{mpsc, watch as channel};

use crate::client::Connection;
use crate::driver::clock;
use crate::driver::recorder::Recorder;
use crate::lease::session::SessionId;
use crate::lease::timings::SessionConfig;
use crate::steward::object::KindId;
use crate::steward::queue::Key;
use crate::steward::tenure::Changed;
use crate::steward::view::Heard;
use crate::steward::{Done, Steward};
use crate::time::Instant;
use duty::{Duty, Held};
use feeds::Feeds;
use perform::Hands;

/// Most inputs that wait.
const INPUTS_MAX: usize = 1024;

/// Pause before a refused or failed write is thought over again.
const AGAIN: Duration = Duration::from_secs(1);

/// Shards are often won together: a list begins this long after the last of them.
const LIST_AFTER: Duration = Duration::from_millis(20);

/// How long a process that stops waits for its shards to be given back.
const HAND_OVER_MAX: Duration = Duration::from_secs(3);

/// What the steward hears.
#[derive(Debug)]
enum Input {
    /// From the watch of a kind, of this run of the watches.
    Heard(u64, KindId, Heard),
    /// A case's work is done, or not.
    Done(Key, Done),
}

/// The agent beside which one stewards.
#[derive(Debug)]
pub struct Beside {
    /// Name of its Node.
    pub node_name: String,
    /// Times of its session.
    pub session: SessionConfig,
    /// Serials of its session's acknowledged renewals.
    pub renewals: channel::Receiver<u64>,
    /// Its session and that session's deadline, while it is held; none: there is no agent, and no other steward.
    pub held: Option<channel::Receiver<Option<(SessionId, Instant)>>>,
    /// How many shards there are to be; none: as many as there are.
    pub shards: Option<u32>,
}

impl Beside {
    /// Beside no agent: for stewards that stand alone.
    pub fn nobody(node_name: &str) -> Self {
        let (_, renewals) = channel::channel(0);
        let session = SessionConfig::default();
        Self { node_name: node_name.to_owned(), session, renewals, held: None, shards: None }
    }
}

/// A steward at work.
#[derive(Debug)]
pub struct Running {
    shards: Option<shards::Handle>,
}

impl Running {
    /// Gives its shards back, once its writes have ended: for a process that stops.
    pub async fn hand_over(self) {
        let Some(mut shards) = self.shards else { return };
        shards.tell(shards::Order::Stop).await;
        let given_back = shards.held.wait_for(|held| held.count == 0);
        if tokio::time::timeout(HAND_OVER_MAX, given_back).await.is_err() {
            tracing::warn!("the shards could not be given back; they are free when the session is over");
        }
    }
}

/// Starts stewarding with the rights of `connection`: what it holds of the shards, which is nothing at first.
pub fn start(connection: &Connection, beside: Beside) -> anyhow::Result<Running> {
    let connection = connection.clone().called("leasehold-steward");
    let client = connection.client()?;
    let authority = String::from_utf8_lossy(connection.authority_pem()).into_owned();
    let recorder = Recorder::start(client.clone(), "leasehold-steward", beside.node_name.clone());
    let (shards, duty) = match beside.held {
        None => (None, Duty::of_the_only_steward()),
        Some(session) => {
            let (node, config) = (beside.node_name.clone(), beside.session);
            let agent = shards::Agent { node, config, session, shards: beside.shards };
            let timed = connection.client_with_timeout(beside.session.timeout())?;
            let (handle, duty) = shards::start(client.clone(), timed, agent);
            (Some(handle), duty)
        }
    };
    let tools = Tools { client: client.clone(), recorder: recorder.clone(), duty: duty.clone() };
    let watching = monitor::Watching {
        node: beside.node_name,
        config: beside.session,
        renewals: beside.renewals,
        shards: shards.clone(),
    };
    let others = vec![
        offers::start(tools.clone()),
        evictions::start(tools.clone(), shards.as_ref().map(|shards| shards.brake.clone())),
        monitor::start(tools, watching),
        belongings::start(client.clone(), authority, duty.clone()),
    ];
    let (inputs, heard) = mpsc::channel(INPUTS_MAX);
    let is_alone = shards.is_none();
    let stewarding = Stewarding {
        steward: if is_alone { Steward::default() } else { Steward::of_shards() },
        hands: Hands::new(client.clone(), recorder, duty.clone()),
        client,
        inputs,
        others: feed::Listeners::new(others),
        feeds: None,
        run: 0,
        list_at: is_alone.then(clock::now),
        is_alone,
    };
    tokio::spawn(stewarding.run(heard, duty));
    Ok(Running { shards })
}

/// What every part of a steward needs. Cheap to clone.
#[derive(Clone)]
struct Tools {
    client: Client,
    recorder: Recorder,
    duty: Duty,
}

struct Stewarding {
    steward: Steward,
    hands: Hands,
    client: Client,
    inputs: mpsc::Sender<Input>,
    /// Who else looks at what is seen.
    others: feed::Listeners,
    /// The watches; none while no shard is held.
    feeds: Option<Feeds>,
    run: u64,
    /// When everything is to be listed anew.
    list_at: Option<Instant>,
    /// There is no other steward, and nothing to be won or lost.
    is_alone: bool,
}

impl Stewarding {
    async fn run(mut self, mut heard: mpsc::Receiver<Input>, duty: Duty) {
        let mut held = duty.held();
        loop {
            let wake = [self.steward.next_deadline(), self.list_at].into_iter().flatten().min();
            tokio::select! {
                input = heard.recv() => match input {
                    Some(input) => self.take(input),
                    None => return,
                },
                changed = held.changed(), if !self.is_alone => match changed {
                    Ok(()) => {}
                    Err(_) => return,
                },
                () = sleep_until(wake) => {}
            }
            if !self.is_alone {
                let now_held = held.borrow_and_update().clone();
                self.hold(&now_held).await;
            }
            while let Ok(input) = heard.try_recv() {
                self.take(input);
            }
            if self.list_at.is_some_and(|at| at <= clock::now()) {
                self.list();
            }
            self.turn().await;
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Heard(run, kind, heard) if run == self.run => self.steward.hear(kind, heard),
            Input::Heard(..) => {}
            Input::Done(key, done) => self.steward.done(&key, done, clock::now()),
        }
    }

    /// What is held has changed, or only for how long.
    async fn hold(&mut self, held: &Held) {
        let tenures = held.tenures.iter().map(|(shard, tenure)| (*shard, tenure.won)).collect();
        let Changed { must_list, .. } = self.steward.hold(held.shards, tenures);
        if held.tenures.is_empty() {
            self.list_at = None;
            if self.feeds.take().is_some() {
                tracing::info!("no shard is held: the steward rests");
                (self.steward, self.run) = (Steward::of_shards(), self.run + 1);
                self.others.rest().await;
            }
        } else if must_list && self.list_at.is_none() {
            self.list_at = Some(clock::now() + LIST_AFTER);
        }
    }

    /// Lists everything with consistent reads, and watches from there on.
    fn list(&mut self) {
        self.list_at = None;
        self.run += 1;
        self.steward.list();
        let feeds = Feeds::start(&self.client, &self.inputs, self.run);
        tracing::debug!(watches = feeds.count(), "the steward lists everything");
        self.feeds = Some(feeds);
    }

    async fn turn(&mut self) {
        let works = self.steward.turn(clock::now(), clock::wall());
        for change in self.steward.take_changes() {
            self.others.tell(&change).await;
        }
        if self.steward.is_whole() {
            self.others.know().await;
        }
        for work in works {
            let (hands, inputs) = (self.hands.clone(), self.inputs.clone());
            tokio::spawn(async move {
                let key = work.key.clone();
                let done = hands.perform(work).await;
                // The loop ends with the process only.
                let _ = inputs.send(Input::Done(key, done)).await;
            });
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep(at.saturating_since(clock::now())).await,
        None => std::future::pending().await,
    }
}
