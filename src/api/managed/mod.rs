//! Who owns which field of an object (`metadata.managedFields`), and server-side apply. PURE.
//!
//! Every write leaves its writer as owner of what it changed ([`record`], [`record_new`]); an applied configuration
//! ([`apply`]) owns what it names, may change what nobody else owns, and takes away what it named before and no longer
//! does. Paths, sets of paths and their arithmetic are those of upstream's structured-merge-diff; the facts about lists
//! and maps stand in [`crate::api::openapi::lists`].
//!
//! Most writes change only values of fields that their writer owns already, such as a Lease's renewal: those are
//! recognised without decoding anything, and only the entry's time is written anew.

mod apply;
mod compare;
mod element;
mod entries;
mod merge;
mod paths;
mod record;
mod scale;
mod schema;
mod set;
#[cfg(test)]
mod tests;

pub use apply::{Applied, ApplyError, Conflict, apply, check, qualified};
pub use record::{keep_times, record, record_new};
pub use scale::{give_owners, take_owners};

use crate::api::kinds::Kind;

/// Who writes, and through which door.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// The kind of the object.
    pub kind: &'static Kind,
    /// `fieldManager`, or the beginning of the User-Agent.
    pub manager: &'a str,
    /// E.g. `status`, empty for the object itself.
    pub subresource: &'a str,
}
