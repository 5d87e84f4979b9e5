//! The one thread that changes anything: it takes what is queued, commits it on a draft, has the store make it durable
//! in one go, shows it to readers and watchers, and then answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use crate::api::status::Status;
use crate::coordinator::state::{Change, Draft};
use crate::coordinator::{Command, Entropy, Expiry, Reply, commit};
use crate::driver::clock;
use crate::driver::entropy::SystemEntropy;
use crate::server::commands::{Message, Submission};
use crate::server::view::View;
use crate::store::{CommitError, Store, Write};
use crate::time::Instant;

/// Most commands that share one transaction.
pub(super) const BATCH_MAX: usize = 512;

/// When what has lived long enough could not be removed, it is tried again after this.
const EXPIRE_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// The writer's belongings.
pub(super) struct Writer {
    pub(super) view: Arc<View>,
    pub(super) store: Box<dyn Store>,
    pub(super) queue: Receiver<Message>,
    pub(super) expiry: Expiry,
    /// After a failure, when what has lived long enough is removed again.
    pub(super) expire_from: Instant,
    /// Whether the last batch could be kept.
    pub(super) store_works: Arc<AtomicBool>,
}

impl Writer {
    /// Works until it is told to stop.
    pub(super) fn run(&mut self) {
        let mut goes_on = true;
        while goes_on {
            let mut batch = Vec::new();
            goes_on = self.gather(&mut batch);
            self.work(batch);
        }
    }

    /// Waits, and takes what is queued, at most [`BATCH_MAX`]; nothing when something has lived long enough.
    /// False when this was the last batch.
    fn gather(&self, batch: &mut Vec<Submission>) -> bool {
        let mut message = match self.expiry.next_deadline().map(|due| due.max(self.expire_from)) {
            None => self.queue.recv().ok(),
            Some(deadline) => match self.queue.recv_timeout(deadline.saturating_since(clock::now())) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => None,
            },
        };
        while let Some(Message::Submit(submission)) = message {
            batch.push(submission);
            if batch.len() == BATCH_MAX {
                return true;
            }
            match self.queue.try_recv() {
                Ok(next) => message = Some(next),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        false
    }

    fn work(&mut self, batch: Vec<Submission>) {
        let now = clock::now();
        let expired = if now < self.expire_from { Vec::new() } else { self.expiry.due(now, BATCH_MAX) };
        let commands: Vec<&Command> = batch.iter().map(|s| &s.command).chain(&expired).collect();
        let answers = self.commit(&commands, &mut SystemEntropy).unwrap_or_else(|error| {
            tracing::error!(%error, "a batch of writes was not made durable");
            self.expire_from = now + EXPIRE_AGAIN_AFTER;
            let refusal = refusal(&error);
            batch.iter().map(|_| Err(refusal.clone())).collect()
        });
        for (submission, answer) in batch.into_iter().zip(answers) {
            // Who has hung up does not hear that it was done.
            let _ = submission.answer.send(answer);
        }
    }

    /// Commits, makes durable, shows.
    pub(super) fn commit(
        &mut self,
        commands: &[&Command],
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<Result<Reply, Status>>, CommitError> {
        let now = clock::wall();
        let state = self.view.state();
        let mut draft = Draft::new(&state);
        let answers = commands.iter().map(|command| commit(&mut draft, command, now, entropy)).collect();
        let (changes, revision) = draft.into_changes();
        drop(state);
        if !changes.is_empty() {
            let writes: Vec<Write> = changes.iter().map(write).collect();
            let kept = self.store.commit(&writes, revision);
            self.store_works.store(kept.is_ok(), Ordering::Relaxed);
            kept?;
            let now = clock::now();
            self.expiry.observe(&changes, now);
            self.view.apply(changes, revision, now);
        }
        Ok(answers)
    }
}

fn write(change: &Change) -> Write {
    let shown = change.after.as_ref().or(change.last.as_ref()).expect("a change leaves or takes an object");
    Write {
        key: shown.key.clone(),
        previous: change.before.as_ref().map_or(0, |before| before.resource_version),
        revision: change.revision,
        value: change.after.as_ref().map(|after| after.json.clone()),
    }
}

/// What writers are told when the store cannot keep what they wrote.
fn refusal(error: &CommitError) -> Status {
    match error {
        CommitError::NoSpace { .. } => {
            let message = format!("nothing can be written: {error}; reads go on, make room and try again");
            Status::new(507, "InsufficientStorage", message)
        }
        CommitError::Failed { .. } => Status::internal(error),
    }
}
