//! What the endpoint does with one command: `commit(draft, command, now) → reply`. PURE.
//!
//! The writer in `driver/coordinator.rs` is the only one that owns a [`State`](state::State). It takes a batch of
//! commands, commits each on a [`Draft`] over the state, has the store make the draft's changes durable, and only then
//! applies the draft, publishes its changes to the watchers and answers. A command that is refused leaves the draft
//! as it was.
//! Architecture invariant: nothing here decides anything about a Pod.

mod command;
mod create;
mod delete;
pub mod state;
mod turn;
mod update;

pub use command::{Action, Body, Command, DeleteOptions, Entropy, Outcome, Propagation, Reply, Subresource};

use crate::api::status::Status;
use crate::coordinator::state::Draft;
use crate::coordinator::turn::Turn;
use crate::time::WallTime;

/// Does one command on the draft, or refuses it and leaves the draft as it was.
pub fn commit(
    draft: &mut Draft<'_>,
    command: &Command,
    now: WallTime,
    entropy: &mut dyn Entropy,
) -> Result<Reply, Status> {
    let mut turn =
        Turn { draft, kind: command.kind, namespace: &command.namespace, dry_run: command.dry_run, now };
    match &command.action {
        Action::Create { body } => turn.create(body.clone(), entropy),
        Action::Update { name, subresource, body } => turn.update(name, *subresource, body.clone()),
        Action::Patch { name, subresource, patch } => turn.patch(name, *subresource, patch),
        Action::Delete { name, options } => turn.delete(name, options),
        Action::Bind { name, .. } => Err(turn.not_found(name)),
        Action::Expire { name, resource_version } => Ok(turn.expire(name, *resource_version)),
    }
}
