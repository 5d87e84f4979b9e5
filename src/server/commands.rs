//! The way to the writer: commands go in, each is answered once it is durable.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use tokio::sync::oneshot;

use crate::api::status::Status;
use crate::coordinator::{Command, Reply};

/// Commands that may wait for the writer. It is above the number of requests in flight, so that only a writer that
/// has stopped answering lets it fill.
pub const COMMAND_QUEUE_MAX: usize = 1024;

/// A command and whom to answer.
#[derive(Debug)]
pub struct Submission {
    /// What to do.
    pub command: Command,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<Reply, Status>>,
}

/// What the writer hears.
#[derive(Debug)]
pub enum Message {
    /// A command.
    Submit(Submission),
    /// The store is free again.
    Kept,
    /// Nothing more is to be done.
    Stop,
}

/// A handle on the writer's queue.
#[derive(Clone, Debug)]
pub struct Commands {
    queue: SyncSender<Message>,
}

impl Commands {
    /// The queue and its end, for the writer.
    pub fn new() -> (Self, Receiver<Message>) {
        let (queue, receiver) = sync_channel(COMMAND_QUEUE_MAX);
        (Self { queue }, receiver)
    }

    /// Wakes the writer, unless it is awake because its queue is full.
    pub fn tell_kept(&self) {
        let _ = self.queue.try_send(Message::Kept);
    }

    /// Hands a command to the writer and waits until what it did is durable.
    pub async fn submit(&self, command: Command) -> Result<Reply, Status> {
        let (answer, answered) = oneshot::channel();
        self.queue.try_send(Message::Submit(Submission { command, answer })).map_err(|e| match e {
            TrySendError::Full(_) => too_many_requests(),
            TrySendError::Disconnected(_) => stopped(),
        })?;
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Ends the writer once it has done what is queued. Blocks while the queue is full.
    pub fn stop(&self) {
        // A writer that has ended already needs no telling.
        let _ = self.queue.send(Message::Stop);
    }
}

/// 429, with when to come back.
pub fn too_many_requests() -> Status {
    let message = "the server has received too many requests and has asked us to try again later";
    let details = serde_json::json!({ "retryAfterSeconds": 1 });
    Status { details, ..Status::new(429, "TooManyRequests", message) }
}

fn stopped() -> Status {
    Status::new(503, "ServiceUnavailable", "the coordinator is shutting down")
}
