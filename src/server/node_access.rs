//! The nodes' access as an authorizer that follows what is made durable.

use std::sync::{PoisonError, RwLock};

use crate::authorization::node::graph::{Graph, Part};
use crate::authorization::{Attributes, Authorizer, Decision, node};
use crate::coordinator::state::{Change, Object, State};
use crate::server::view::Follower;

/// Which node's Pods use what, shared by all who ask.
#[derive(Debug, Default)]
pub struct NodeAccess {
    graph: RwLock<Graph>,
}

impl Authorizer for NodeAccess {
    fn decide(&self, attributes: &Attributes<'_>) -> Decision {
        if node::identity(attributes.user).is_none() {
            return Decision::silent();
        }
        let graph = self.graph.read().unwrap_or_else(PoisonError::into_inner);
        node::decide(&graph, attributes)
    }
}

impl Follower for NodeAccess {
    fn begin(&self, state: &State) {
        let mut graph = self.graph.write().unwrap_or_else(PoisonError::into_inner);
        for object in state.objects.values() {
            put(&mut graph, object);
        }
    }

    fn follow(&self, changes: &[Change]) {
        let concerns = |object: &Object| Part::of(object.kind.group, object.kind.kind).is_some();
        let mut ours = changes
            .iter()
            .filter(|change| change.after.as_ref().or(change.last.as_ref()).is_some_and(|o| concerns(o)))
            .peekable();
        if ours.peek().is_none() {
            return;
        }
        let mut graph = self.graph.write().unwrap_or_else(PoisonError::into_inner);
        for change in ours {
            match (&change.after, &change.last) {
                (Some(object), _) => put(&mut graph, object),
                (None, Some(last)) => {
                    if let Some(part) = Part::of(last.kind.group, last.kind.kind) {
                        graph.remove(part, &last.key.namespace, &last.key.name);
                    }
                }
                (None, None) => {}
            }
        }
    }
}

fn put(graph: &mut Graph, object: &Object) {
    if let Some(part) = Part::of(object.kind.group, object.kind.kind) {
        graph.put(part, &object.key.namespace, &object.key.name, &object.value());
    }
}
