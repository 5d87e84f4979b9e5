//! The steward's loop: what must be done once per cluster. Watches, has [`crate::steward`] decide, and performs what it
//! says. Every write carries a UID or a version, so that a late or doubled one is refused and does no harm.

mod belongings;
pub mod duty;
mod feeds;
mod monitor;
mod namespaces;
mod offers;
mod perform;

use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::client::Connection;
use crate::driver::clock;
use crate::driver::recorder::Recorder;
use crate::lease::timings::SessionConfig;
use crate::steward::object::KindId;
use crate::steward::queue::Key;
use crate::steward::view::Heard;
use crate::steward::{Done, Steward};
use crate::time::Instant;
use duty::Duty;
use perform::Hands;

/// Most inputs that wait.
const INPUTS_MAX: usize = 1024;

/// Pause before a refused or failed write is thought over again.
const AGAIN: Duration = Duration::from_secs(1);

/// What the steward hears.
#[derive(Debug)]
enum Input {
    /// From the watch of a kind.
    Heard(KindId, Heard),
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
    pub renewals: watch::Receiver<u64>,
}

impl Beside {
    /// Beside no agent: for stewards that stand alone.
    pub fn nobody(node_name: &str) -> Self {
        let (_, renewals) = watch::channel(0);
        Self { node_name: node_name.to_owned(), session: SessionConfig::default(), renewals }
    }
}

/// Starts stewarding with the rights of `connection`.
pub fn start(connection: &Connection, beside: Beside) -> anyhow::Result<()> {
    let client = connection.clone().called("leasehold-steward").client()?;
    let authority = String::from_utf8_lossy(connection.authority_pem()).into_owned();
    belongings::start(client.clone(), authority);
    let (inputs, heard) = mpsc::channel(INPUTS_MAX);
    feeds::start(&client, &inputs);
    let recorder = Recorder::start(client.clone(), "leasehold-steward", beside.node_name.clone());
    let duty = Duty::of_the_only_steward();
    offers::start(client.clone(), recorder.clone(), duty.clone());
    monitor::start(client.clone(), recorder.clone(), duty.clone(), beside);
    let hands = Hands::new(client, recorder, duty);
    tokio::spawn(run(hands, inputs, heard));
    Ok(())
}

async fn run(hands: Hands, inputs: mpsc::Sender<Input>, mut heard: mpsc::Receiver<Input>) {
    let mut steward = Steward::default();
    loop {
        let wake = steward.next_deadline();
        tokio::select! {
            input = heard.recv() => match input {
                Some(input) => take(&mut steward, input),
                None => return,
            },
            () = sleep_until(wake) => {}
        }
        while let Ok(input) = heard.try_recv() {
            take(&mut steward, input);
        }
        for work in steward.turn(clock::now(), clock::wall()) {
            let (hands, inputs) = (hands.clone(), inputs.clone());
            tokio::spawn(async move {
                let key = work.key.clone();
                let done = hands.perform(work).await;
                // The loop ends with the process only.
                let _ = inputs.send(Input::Done(key, done)).await;
            });
        }
    }
}

fn take(steward: &mut Steward, input: Input) {
    match input {
        Input::Heard(kind, heard) => steward.hear(kind, heard),
        Input::Done(key, done) => steward.done(&key, done, clock::now()),
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep(at.saturating_since(clock::now())).await,
        None => std::future::pending().await,
    }
}
