//! The door through which every write of a steward goes: does this agent still hold the shard of the object's root
//! owner, with enough of its session left for the write to arrive in time?

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{RwLock, watch};

use crate::driver::clock;
use crate::lease::shard::wire::SHARDS_MAX;
use crate::lease::shard::{self, MONITOR};
use crate::lease::timings::SessionConfig;
use crate::time::Instant;

/// How long the only steward there is may write.
const LIFETIME: Duration = Duration::from_hours(24 * 365 * 100);

/// The shards that this agent holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// How many there are; 0 as long as that is not known.
    pub(super) shards: u32,
    /// Those that may be written for.
    pub(super) tenures: BTreeMap<u32, Tenure>,
    /// How many are held, those included that are being given back.
    pub(super) count: usize,
}

/// How a shard is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tenure {
    /// Which winning of it this is.
    pub(super) won: u64,
    /// When it ends, unless the session is renewed.
    pub(super) until: Instant,
}

/// What this agent stewards. Cheap to clone; whoever is about to write asks it, object by object.
#[derive(Clone, Debug)]
pub struct Duty {
    held: watch::Receiver<Held>,
    /// After which a write is given up.
    timeout: Duration,
    /// Of each shard: read by the writes that are under way, written by who waits for their end.
    gates: Arc<Vec<RwLock<()>>>,
}

/// Why a write did not leave, or has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The shard is another's, or is about to be.
    #[error("another agent stewards this object")]
    NotHeld,
    /// The coordinator gave no answer within the time that a write may take.
    #[error("the coordinator gave no answer in time")]
    TimedOut,
}

impl Duty {
    /// The duty of a cluster's only steward.
    pub fn of_the_only_steward() -> Self {
        let tenure = Tenure { won: 0, until: clock::now() + LIFETIME };
        let held = Held { shards: 1, tenures: BTreeMap::from([(MONITOR, tenure)]), count: 1 };
        Self::new(watch::channel(held).1, SessionConfig::default())
    }

    /// The duty of who holds these shards under a session with these times.
    pub(super) fn new(held: watch::Receiver<Held>, session: SessionConfig) -> Self {
        let gates = (0..SHARDS_MAX).map(|_| RwLock::new(())).collect();
        Self { held, timeout: session.duration() / 4, gates: Arc::new(gates) }
    }

    /// What is held, as it changes.
    pub(super) fn held(&self) -> watch::Receiver<Held> {
        self.held.clone()
    }

    /// Whether what the monitor writes, about sessions and nodes, may leave now.
    pub fn may_write_nodes(&self) -> bool {
        self.may_write_in(MONITOR)
    }

    /// Whether a write for the object whose root owner has this UID may leave now.
    pub fn may_write(&self, root_uid: &str) -> bool {
        self.may_write_in(self.shard_of(root_uid))
    }

    /// Makes a write for the object whose root owner has this UID, if it may leave now, and gives it up in time.
    pub async fn write<T>(&self, root_uid: &str, write: impl Future<Output = T>) -> Result<T, Refused> {
        self.write_in(self.shard_of(root_uid), write).await
    }

    /// Makes a write of the monitor.
    pub async fn write_nodes<T>(&self, write: impl Future<Output = T>) -> Result<T, Refused> {
        self.write_in(MONITOR, write).await
    }

    /// Waits until none of a shard's writes is under way. To be asked when no more may leave.
    pub(super) async fn quiesced(&self, shard: u32) {
        if let Some(gate) = self.gates.get(shard as usize) {
            drop(gate.write().await);
        }
    }

    fn shard_of(&self, root_uid: &str) -> u32 {
        shard::of(root_uid, self.held.borrow().shards)
    }

    fn may_write_in(&self, shard: u32) -> bool {
        let held = self.held.borrow();
        held.tenures.get(&shard).is_some_and(|tenure| clock::now() + self.timeout <= tenure.until)
    }

    async fn write_in<T>(&self, shard: u32, write: impl Future<Output = T>) -> Result<T, Refused> {
        let gate = self.gates.get(shard as usize).ok_or(Refused::NotHeld)?;
        let _under_way = gate.try_read().map_err(|_| Refused::NotHeld)?;
        if !self.may_write_in(shard) {
            return Err(Refused::NotHeld);
        }
        tokio::time::timeout(self.timeout, write).await.map_err(|_| Refused::TimedOut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UIDS: [&str; 2] = ["9f6f2d4e-58a7-4c3a-9f5e-1d2c3b4a5f60", "9f6f2d4e-58a7-4c3a-9f5e-1d2c3b4a5f61"];

    fn held(shards: &[(u32, Duration)]) -> Held {
        let now = clock::now();
        let tenures = shards.iter().map(|(shard, left)| (*shard, Tenure { won: 1, until: now + *left }));
        Held { shards: 16, tenures: tenures.collect(), count: shards.len() }
    }

    #[test]
    fn the_only_steward_may_write_everything() {
        let duty = Duty::of_the_only_steward();
        assert!(duty.may_write("3f2c") && duty.may_write_nodes());
    }

    #[test]
    fn only_what_is_in_a_shard_with_time_left_may_be_written() {
        let [a, _] = UIDS.map(|uid| shard::of(uid, 16));
        let (sender, receiver) = watch::channel(Held::default());
        let duty = Duty::new(receiver, SessionConfig::default());
        assert!(!duty.may_write(UIDS[0]) && !duty.may_write_nodes(), "nothing is known yet");
        sender.send_replace(held(&[(a, Duration::from_secs(15))]));
        assert!(duty.may_write(UIDS[0]));
        assert!(!duty.may_write(UIDS[1]) && !duty.may_write_nodes());
        sender.send_replace(held(&[(a, Duration::from_secs(4)), (MONITOR, Duration::from_secs(15))]));
        assert!(!duty.may_write(UIDS[0]), "a write may take five seconds");
        assert!(duty.may_write_nodes());
    }

    #[tokio::test]
    async fn who_gives_a_shard_back_waits_for_the_writes_under_way_and_lets_no_other_leave() {
        let duty = Duty::of_the_only_steward();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let under_way = tokio::spawn({
            let duty = duty.clone();
            async move { duty.write_nodes(ended).await }
        });
        tokio::task::yield_now().await;
        let mut quiesced = std::pin::pin!(duty.quiesced(MONITOR));
        assert!(futures::poll!(&mut quiesced).is_pending());
        assert_eq!(duty.write_nodes(async {}).await, Err(Refused::NotHeld));
        end.send(()).expect("it is awaited");
        assert_eq!(under_way.await.expect("it ends"), Ok(Ok(())));
        quiesced.await;
        assert_eq!(duty.write_nodes(async {}).await, Ok(()));
    }
}
