//! What the endpoint does with one command: `commit(draft, command, now) → reply`. PURE.
//!
//! The writer in `driver/coordinator.rs` is the only one that owns a [`State`](state::State). It takes a batch of
//! commands, commits each on a [`Draft`] over the state, has the store make the draft's changes durable, and only then
//! applies the draft, publishes its changes to the watchers and answers. A command that is refused leaves the draft
//! as it was.
//!
//! Every verb ends in [`turn`]'s `put` or `remove`; what is particular to a kind stands in `rules`, `pod`, `priority`,
//! `namespace` and `daemon_set`.
//! Architecture invariant: nothing here decides anything about a Pod.

mod body;
pub mod certificates;
mod command;
mod create;
mod daemon_set;
mod delete;
mod eviction;
mod expiry;
mod job;
mod metadata;
mod namespace;
mod node_restriction;
mod ownership;
mod pod;
mod pod_parts;
mod priority;
mod rules;
mod scale;
pub mod services;
pub mod sessions;
mod signing;
pub mod state;
mod storage;
#[cfg(test)]
mod tests;
mod turn;
mod update;

pub use command::{
    Action, Body, Command, DeleteOptions, Entropy, FieldValidation, Guard, Intended, Outcome, Propagation,
    Reply, Subresource, Written,
};
pub use expiry::{EVENT_LIFETIME, Expiry};
pub use metadata::{FOREGROUND, ORPHAN};
pub use node_restriction::NodeRestriction;
pub use rules::INITIAL_NAMESPACES;

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
    let mut turn = Turn { draft, command, now, entropy, warnings: Vec::new() };
    let mut reply = match &command.action {
        Action::Create { body } => turn.create(body),
        Action::Update { name, subresource, body } => turn.update(name, *subresource, body),
        Action::Patch { name, subresource, patch } => turn.patch(name, *subresource, patch),
        Action::Apply { name, subresource, configuration, force, not_to_be_made } => {
            turn.apply(name, *subresource, configuration, *force, not_to_be_made.as_deref())
        }
        Action::Delete { name, options } => turn.delete(name, options),
        Action::Bind { name, body } => turn.bind(name, body),
        Action::Evict { name, body, options } => turn.evict(name, body, options),
        Action::Expire { name, resource_version } => Ok(turn.expire(name, *resource_version)),
    }?;
    reply.warnings = turn.warnings;
    Ok(reply)
}
