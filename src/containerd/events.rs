//! What containerd tells without being asked.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use containerd_client::events::{TaskExit, TaskOom};
use containerd_client::services::v1::{PublishRequest, SubscribeRequest};
use containerd_client::tonic::{Status, Streaming};
use containerd_client::types::Envelope;
use futures::Stream;
use prost::Message;
use prost_types::Any;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Runtime, RuntimeError, wall_time};
use crate::time::WallTime;

const EXIT: &str = "/tasks/exit";
const OOM: &str = "/tasks/oom";
const IMAGES: [&str; 3] = ["/images/create", "/images/update", "/images/delete"];
const HELLO: &str = "/leasehold/hello";

/// Events held for a consumer that is busy; containerd queues what comes after.
const EVENTS_HELD_MAX: usize = 256;

/// Exits remembered, so that a second report of one is dropped.
const EXITS_REMEMBERED_MAX: usize = 4096;

/// First and longest pause between two attempts to reach a containerd that is down.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// First and longest pause between two greetings on a new subscription.
const GREET: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(500));

/// The end of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exited {
    /// Container id.
    pub id: String,
    /// The exec it was, none for the container's first process.
    pub exec_id: Option<String>,
    /// Host pid it had.
    pub pid: u32,
    /// Exit code, 128 + signal when killed.
    pub code: u32,
    /// When, by the node's wall clock.
    pub at: WallTime,
}

/// Something that happened in containerd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuntimeEvent {
    /// From here on no event is missed: list the containers now.
    Connected,
    /// containerd is gone; containers run on, unseen.
    Disconnected {
        /// The last error.
        why: String,
    },
    /// A process ended. Told once per process.
    Exited(Exited),
    /// An image has come, changed or gone, by whomever.
    ImagesChanged,
    /// The kernel's OOM killer struck in this container.
    Oom {
        /// Container id.
        id: String,
    },
}

impl Runtime {
    /// The events of this namespace. The subscription is made anew after every break, with
    /// [`RuntimeEvent::Disconnected`] and then [`RuntimeEvent::Connected`]; it ends when the stream is dropped.
    pub fn events(&self) -> impl Stream<Item = RuntimeEvent> + Send + Unpin + use<> {
        let (sender, receiver) = mpsc::channel(EVENTS_HELD_MAX);
        let runtime = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = sender.closed() => {}
                () = follow(&runtime, &sender) => {}
            }
        });
        ReceiverStream::new(receiver)
    }

    async fn subscribe(&self) -> Result<Streaming<Envelope>, Status> {
        let namespace = self.connection().namespace();
        let topics = [EXIT, OOM, HELLO].into_iter().chain(IMAGES);
        let filters = topics.map(|topic| format!("namespace=={namespace:?},topic=={topic:?}")).collect();
        let request = self.connection().unbounded(SubscribeRequest { filters });
        let mut client = self.connection().events();
        let subscribe = client.subscribe(request);
        tokio::pin!(subscribe);
        // containerd answers with the first event, so we send one ourselves until it comes back.
        let mut pause = GREET.0;
        loop {
            tokio::select! {
                biased;
                answer = &mut subscribe => return Ok(answer?.into_inner()),
                () = tokio::time::sleep(pause) => self.greet().await?,
            }
            pause = (pause * 2).min(GREET.1);
        }
    }

    async fn greet(&self) -> Result<(), Status> {
        let event = Some(Any { type_url: "leasehold.dev/Hello".into(), value: Vec::new() });
        let request = self.connection().request(PublishRequest { topic: HELLO.into(), event });
        self.connection().events().publish(request).await?;
        Ok(())
    }
}

/// Feeds the channel until nobody listens.
async fn follow(runtime: &Runtime, sender: &mpsc::Sender<RuntimeEvent>) {
    let mut exits = Exits::default();
    let mut pause = RETRY.0;
    let mut told = false;
    loop {
        let ended = match runtime.subscribe().await {
            Ok(stream) => {
                (pause, told) = (RETRY.0, false);
                relay(stream, sender, &mut exits).await
            }
            Err(status) => Err(status),
        };
        let why = match ended {
            Ok(()) => "containerd closed the event stream".to_owned(),
            Err(status) => RuntimeError::from(status).to_string(),
        };
        if !std::mem::replace(&mut told, true)
            && sender.send(RuntimeEvent::Disconnected { why }).await.is_err()
        {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY.1);
    }
}

async fn relay(
    mut stream: Streaming<Envelope>,
    sender: &mpsc::Sender<RuntimeEvent>,
    exits: &mut Exits,
) -> Result<(), Status> {
    let _ = sender.send(RuntimeEvent::Connected).await;
    while let Some(envelope) = stream.message().await? {
        if let Some(event) = read(&envelope).filter(|event| exits.is_news(event)) {
            let _ = sender.send(event).await;
        }
    }
    Ok(())
}

fn read(envelope: &Envelope) -> Option<RuntimeEvent> {
    let value = envelope.event.as_ref()?.value.as_slice();
    match envelope.topic.as_str() {
        EXIT => {
            let exit = TaskExit::decode(value).ok()?;
            Some(RuntimeEvent::Exited(Exited {
                exec_id: (exit.id != exit.container_id).then_some(exit.id),
                id: exit.container_id,
                pid: exit.pid,
                code: exit.exit_status,
                at: wall_time(exit.exited_at),
            }))
        }
        topic if IMAGES.contains(&topic) => Some(RuntimeEvent::ImagesChanged),
        OOM => Some(RuntimeEvent::Oom { id: TaskOom::decode(value).ok()?.container_id }),
        _ => None,
    }
}

/// Exits already told: containerd reports one again when it cleans up after a shim that died.
#[derive(Default)]
struct Exits {
    told: BTreeSet<(String, Option<String>, u32)>,
    order: VecDeque<(String, Option<String>, u32)>,
}

impl Exits {
    fn is_news(&mut self, event: &RuntimeEvent) -> bool {
        let RuntimeEvent::Exited(exit) = event else { return true };
        let key = (exit.id.clone(), exit.exec_id.clone(), exit.pid);
        if !self.told.insert(key.clone()) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > EXITS_REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.told.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(id: &str, pid: u32, code: u32) -> RuntimeEvent {
        let at = wall_time(None);
        RuntimeEvent::Exited(Exited { id: id.into(), exec_id: None, pid, code, at })
    }

    #[test]
    fn only_the_first_exit_of_a_process_counts() {
        let mut exits = Exits::default();
        assert!(exits.is_news(&exit("a", 1, 0)));
        assert!(!exits.is_news(&exit("a", 1, 137)));
        assert!(exits.is_news(&exit("a", 2, 0)), "another process of the same container");
        assert!(exits.is_news(&RuntimeEvent::Oom { id: "a".into() }));
        assert!(exits.is_news(&RuntimeEvent::Oom { id: "a".into() }));
    }

    #[test]
    fn remembered_exits_are_bounded() {
        let mut exits = Exits::default();
        for pid in 0..=EXITS_REMEMBERED_MAX as u32 {
            assert!(exits.is_news(&exit("a", pid, 0)));
        }
        assert_eq!(exits.order.len(), EXITS_REMEMBERED_MAX);
        assert_eq!(exits.told.len(), EXITS_REMEMBERED_MAX);
    }
}
