//! The one thread that decides what is changed: it commits each command that is queued on a draft, and hands the draft
//! to the [`Keeper`], which makes it durable, shows it to readers and watchers, and answers.
//!
//! ```text
//! queue ──► draft (decided over what is shown and what is being kept) ──► being kept ──► shown
//! ```
//!
//! One draft is being kept at a time; what is queued meanwhile is decided into the next one. Where a draft could not be
//! kept, the next one, which was decided over it, is decided again.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::keeper::{Answer, Batch, Keeper, Kept};
use crate::api::status::Status;
use crate::coordinator::state::{Draft, Pending};
use crate::coordinator::{Command, Entropy, Expiry, Reply, commit};
use crate::driver::clock;
use crate::driver::entropy::SystemEntropy;
use crate::server::commands::{Commands, Message, Submission};
use crate::server::view::View;
use crate::store::CommitError;
use crate::time::Instant;

/// Most commands that share one transaction.
pub(super) const BATCH_MAX: usize = 512;

/// When what has lived long enough could not be removed, it is tried again after this.
const EXPIRE_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// The writer's belongings before it runs.
pub(super) struct Writer {
    pub(super) view: Arc<View>,
    pub(super) keeper: Keeper,
    commands: Commands,
    queue: Receiver<Message>,
    expiry: Arc<Mutex<Expiry>>,
}

impl Writer {
    pub(super) fn new(
        view: Arc<View>,
        keeper: Keeper,
        (commands, queue): (Commands, Receiver<Message>),
        expiry: Arc<Mutex<Expiry>>,
    ) -> Self {
        Self { view, keeper, commands, queue, expiry }
    }

    /// Commits, makes durable, shows: what is written before anybody else writes.
    pub(super) fn commit(
        &mut self,
        commands: &[&Command],
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<Result<Reply, Status>>, CommitError> {
        let now = clock::wall();
        let state = self.view.state();
        let mut draft = Draft::new(&state);
        let answers = commands.iter().map(|command| commit(&mut draft, command, now, entropy)).collect();
        let pending = draft.into_pending();
        drop(state);
        self.keeper.keep(&pending)?;
        Ok(answers)
    }

    /// Works until it is told to stop.
    pub(super) fn run(self) {
        let Self { view, keeper, commands, queue, expiry } = self;
        let (batches, to_keep) = sync_channel(1);
        let (tell, kept) = channel();
        thread::scope(|scope| {
            scope.spawn(move || keeper.run(&to_keep, &tell, &commands));
            let deciding = Deciding {
                view,
                queue,
                batches,
                kept,
                expiry,
                expire_from: clock::now(),
                being_kept: None,
                decided: Decided::default(),
            };
            deciding.run();
        });
    }
}

/// What the next batch is made of.
#[derive(Default)]
struct Decided {
    /// None where nothing has been decided since the last batch.
    pending: Option<Pending>,
    /// Commands with their answers, in order.
    done: Vec<(Submission, Result<Reply, Status>)>,
}

struct Deciding {
    view: Arc<View>,
    queue: Receiver<Message>,
    batches: SyncSender<Batch>,
    /// What became of each batch.
    kept: Receiver<Kept>,
    expiry: Arc<Mutex<Expiry>>,
    /// After a failure, when what has lived long enough is removed again.
    expire_from: Instant,
    being_kept: Option<Arc<Pending>>,
    decided: Decided,
}

impl Deciding {
    fn run(mut self) {
        while let Some(message) = self.next() {
            match message {
                Message::Submit(submission) => self.decide(submission),
                Message::Kept => {}
                Message::Stop => break,
            }
            if let Ok(kept) = self.kept.try_recv() {
                self.take_note(&kept);
            }
        }
        while self.being_kept.is_some() {
            self.wait_for_keeper();
        }
        self.hand_over();
    }

    /// The next message. Hands over what is decided as soon as there is nothing more to add to it and the store is
    /// free.
    fn next(&mut self) -> Option<Message> {
        loop {
            if self.decided.done.len() >= BATCH_MAX && self.being_kept.is_some() {
                self.wait_for_keeper();
            }
            if self.being_kept.is_some() {
                return self.queue.recv().ok();
            }
            if self.decided.pending.is_none() {
                match self.idle() {
                    Ok(message) => return Some(message),
                    Err(RecvTimeoutError::Disconnected) => return None,
                    Err(RecvTimeoutError::Timeout) => {}
                }
            } else if self.decided.done.len() < BATCH_MAX {
                match self.queue.try_recv() {
                    Ok(message) => return Some(message),
                    Err(TryRecvError::Disconnected) => return None,
                    Err(TryRecvError::Empty) => {}
                }
            }
            self.hand_over();
        }
    }

    /// Waits for a message, or until something has lived long enough.
    fn idle(&self) -> Result<Message, RecvTimeoutError> {
        match self.expiry().next_deadline().map(|due| due.max(self.expire_from)) {
            None => self.queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(deadline) => self.queue.recv_timeout(deadline.saturating_since(clock::now())),
        }
    }

    fn expiry(&self) -> MutexGuard<'_, Expiry> {
        self.expiry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decide(&mut self, submission: Submission) {
        let answer = self.commit(&submission.command);
        self.decided.done.push((submission, answer));
    }

    /// Does a command on the draft.
    fn commit(&mut self, command: &Command) -> Result<Reply, Status> {
        let state = self.view.state();
        let under = self.being_kept.as_deref();
        let mut draft = match self.decided.pending.take() {
            Some(pending) => Draft::resume(&state, under, pending),
            None => Draft::over(&state, under),
        };
        let answer = commit(&mut draft, command, clock::wall(), &mut SystemEntropy);
        self.decided.pending = Some(draft.into_pending());
        answer
    }

    /// Gives what is decided to the keeper, which has nothing to do.
    fn hand_over(&mut self) {
        let now = clock::now();
        if now >= self.expire_from {
            let due = self.expiry().due(now, BATCH_MAX);
            for command in &due {
                drop(self.commit(command));
            }
        }
        let Decided { pending, done } = std::mem::take(&mut self.decided);
        let Some(pending) = pending.map(Arc::new) else { return };
        let answers = done.into_iter().map(|(submission, answer)| -> Answer { (submission.answer, answer) });
        let batch = Batch { pending: pending.clone(), answers: answers.collect() };
        self.being_kept = Some(pending);
        self.batches.send(batch).expect("the keeper works as long as there is a writer");
    }

    fn wait_for_keeper(&mut self) {
        let kept = self.kept.recv().expect("the keeper works as long as there is a writer");
        self.take_note(&kept);
    }

    fn take_note(&mut self, kept: &Kept) {
        self.being_kept = None;
        if kept.is_ok() {
            return;
        }
        self.expire_from = clock::now() + EXPIRE_AGAIN_AFTER;
        let void = std::mem::take(&mut self.decided);
        for (submission, _) in void.done {
            self.decide(submission);
        }
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
