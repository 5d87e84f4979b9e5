//! Role-based access control as an authorizer that follows what is made durable.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use crate::authorization::rbac::{Index, Part};
use crate::authorization::{Attributes, Authorizer, Decision};
use crate::coordinator::state::{Change, Object, State};
use crate::server::view::Follower;

/// The index of roles and bindings, shared by all who ask.
#[derive(Debug, Default)]
pub struct Rbac {
    index: RwLock<Index>,
}

impl Rbac {
    /// The index as it stands. Do not keep it: the writer waits.
    pub fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Authorizer for Rbac {
    fn decide(&self, attributes: &Attributes<'_>) -> Decision {
        self.index().decide(attributes)
    }
}

impl Follower for Rbac {
    fn begin(&self, state: &State) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        for object in state.objects.values() {
            put(&mut index, object);
        }
    }

    fn follow(&self, changes: &[Change]) {
        let concerns = |object: &Object| Part::of(object.kind.group, object.kind.kind).is_some();
        let mut ours = changes
            .iter()
            .filter(|change| change.after.as_ref().or(change.last.as_ref()).is_some_and(|o| concerns(o)));
        let Some(first) = ours.next() else { return };
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        for change in std::iter::once(first).chain(ours) {
            match (&change.after, &change.last) {
                (Some(object), _) => put(&mut index, object),
                (None, Some(last)) => {
                    if let Some(part) = Part::of(last.kind.group, last.kind.kind) {
                        index.remove(part, &last.key.namespace, &last.key.name);
                    }
                }
                (None, None) => {}
            }
        }
    }
}

fn put(index: &mut Index, object: &Object) {
    if let Some(part) = Part::of(object.kind.group, object.kind.kind) {
        index.put(part, &object.key.namespace, &object.key.name, &object.value());
    }
}
