//! Makes what the writer has decided durable, shows it, and only then answers. It works on a thread of its own, so
//! that the next writes are decided while the disk is at work for these.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::api::status::Status;
use crate::coordinator::state::{Change, Pending};
use crate::coordinator::{Expiry, Reply};
use crate::driver::clock;
use crate::server::commands::Commands;
use crate::server::view::View;
use crate::store::{CommitError, Store, Write};

/// What a command is answered, and where.
pub(super) type Answer = (oneshot::Sender<Result<Reply, Status>>, Result<Reply, Status>);

/// Commands that were decided together.
pub(super) struct Batch {
    pub(super) pending: Arc<Pending>,
    pub(super) answers: Vec<Answer>,
}

/// Whether a batch was kept.
pub(super) type Kept = Result<(), CommitError>;

/// The keeper's belongings.
pub(super) struct Keeper {
    pub(super) view: Arc<View>,
    pub(super) store: Box<dyn Store>,
    pub(super) expiry: Arc<Mutex<Expiry>>,
    /// Whether the last batch could be kept.
    pub(super) works: Arc<AtomicBool>,
}

impl Keeper {
    /// Works until there are no more batches. What became of each is told before the writer is woken.
    pub(super) fn run(mut self, batches: &Receiver<Batch>, kept: &Sender<Kept>, writer: &Commands) {
        for Batch { pending, answers } in batches {
            let done = self.keep(&pending);
            let refusal = done.as_ref().err().map(refusal);
            // The writer may go on before the answers have gone out. One that has ended asks for nothing.
            let _ = kept.send(done);
            writer.tell_kept();
            for (answer, decided) in answers {
                // Who has hung up does not hear that it was done.
                let _ = answer.send(refusal.clone().map_or(decided, Err));
            }
        }
    }

    /// Makes durable, and shows.
    pub(super) fn keep(&mut self, pending: &Pending) -> Kept {
        let (changes, revision) = (pending.changes(), pending.revision());
        if changes.is_empty() {
            return Ok(());
        }
        let writes: Vec<Write> = changes.iter().map(write).collect();
        let kept = self.store.commit(&writes, revision);
        self.works.store(kept.is_ok(), Ordering::Relaxed);
        if let Err(error) = &kept {
            tracing::error!(%error, "a batch of writes was not made durable");
            return kept;
        }
        let now = clock::now();
        self.expiry.lock().unwrap_or_else(PoisonError::into_inner).observe(changes, now);
        self.view.apply(changes.to_vec(), revision, now);
        kept
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
