//! What the endpoint does with one command: `commit(draft, command, now) → reply`. PURE.
//!
//! The writer in `driver/coordinator.rs` is the only one that owns a [`State`]. It takes a batch of commands, commits
//! each on a [`Draft`] over the state, has the store make the draft's changes durable, and only then applies the draft,
//! publishes its changes to the watchers and answers.
//! Architecture invariant: nothing here decides anything about a Pod.

pub mod state;
