//! What a node may do: its own Node, session and Pods, what its Pods use, and what every node reads. PURE.
//!
//! Upstream's node authorizer, for the group `leasehold:nodes` as well. What a node may *write* depends on what is in
//! it; the coordinator's node restriction looks at that.

pub mod graph;
#[cfg(test)]
mod tests;

use super::{Attributes, Decision, Resource, Subject, User};
use graph::{Graph, Used};

use crate::api::storage::{NODE_LABEL, node_label};
use crate::lease::ticket;

/// Upstream's group of nodes.
pub const SYSTEM_NODES: &str = "system:nodes";
/// The group of the nodes' agents.
pub const NODES: &str = "leasehold:nodes";
/// How a node's user name begins.
pub const USER_PREFIX: &str = "system:node:";
/// Where nodes keep their sessions.
const SESSIONS: &str = "kube-node-lease";
/// Where the leases stand that keep the cluster together.
const LEASES: &str = "leasehold-system";

/// How those of the stewards begin, which are none of a node's.
const STEWARDS: &str = "steward-";

/// What every node reads, or makes, of whatever name: verbs, group and resources.
const EVERY_NODE: &[(&[&str], &str, &[&str])] = &[
    (READ, "", &["services", "namespaces", "nodes", "replicationcontrollers"]),
    (READ, "discovery.k8s.io", &["endpointslices"]),
    (READ, "apps", &["daemonsets", "deployments", "replicasets", "statefulsets", "controllerrevisions"]),
    (READ, "batch", &["jobs", "cronjobs"]),
    (READ, "node.k8s.io", &["runtimeclasses"]),
    (READ, "scheduling.k8s.io", &["priorityclasses"]),
    (READ, "storage.k8s.io", &["storageclasses", "csidrivers"]),
    (&["create", "update", "patch"], "", &["events"]),
    (&["create", "update", "patch"], "events.k8s.io", &["events"]),
    (&["create", "get", "list", "watch"], "certificates.k8s.io", &["certificatesigningrequests"]),
    (&["create"], "authentication.k8s.io", &["tokenreviews"]),
    (&["create"], "authorization.k8s.io", &["subjectaccessreviews", "localsubjectaccessreviews"]),
];
const READ: &[&str] = &["get", "list", "watch"];

/// The node that a user is: none for others, an empty name for one that cannot be told.
pub fn identity(user: &User) -> Option<&str> {
    let is_node = user.is_in(NODES) || user.is_in(SYSTEM_NODES);
    is_node.then(|| user.name.strip_prefix(USER_PREFIX).unwrap_or_default())
}

/// Whether a node may do this.
pub fn decide(graph: &Graph, attributes: &Attributes<'_>) -> Decision {
    let Some(node) = identity(attributes.user) else { return Decision::silent() };
    if node.is_empty() {
        return no(format!("unknown node for user {:?}", attributes.user.name));
    }
    let Subject::Resource(resource) = attributes.subject else { return Decision::silent() };
    Asked { node, verb: attributes.verb, resource, graph }.decide()
}

fn no(reason: impl Into<String>) -> Decision {
    Decision::NoOpinion { reason: reason.into() }
}

struct Asked<'a> {
    node: &'a str,
    verb: &'a str,
    resource: Resource<'a>,
    graph: &'a Graph,
}

impl Asked<'_> {
    fn decide(&self) -> Decision {
        let place = || (self.resource.namespace.to_owned(), self.resource.name.to_owned());
        match (self.resource.group, self.resource.resource) {
            ("", "secrets") => self.read_used(|| {
                let (namespace, name) = place();
                Used::Secret(namespace, name)
            }),
            ("", "configmaps") => self.read_used(|| {
                let (namespace, name) = place();
                Used::ConfigMap(namespace, name)
            }),
            ("", "persistentvolumeclaims") => self.get_used(|graph, node| {
                let (namespace, name) = place();
                graph.uses(node, &Used::Claim(namespace, name))
            }),
            ("", "persistentvolumes") => self.volume(),
            ("", "serviceaccounts") => self.account(),
            ("", "nodes") => self.own_node(),
            ("", "pods") => self.pod(),
            ("coordination.k8s.io", "leases") => self.lease(),
            _ => self.every_node(),
        }
    }

    fn every_node(&self) -> Decision {
        let Resource { group, resource, subresource, .. } = self.resource;
        let allows = |(verbs, of, resources): &&(&[&str], &str, &[&str])| {
            *of == group && verbs.contains(&self.verb) && resources.contains(&resource)
        };
        let is_allowed = subresource.is_empty() && EVERY_NODE.iter().any(|rule| allows(&rule));
        if is_allowed { Decision::Allow } else { Decision::silent() }
    }

    fn read_used(&self, used: impl FnOnce() -> Used) -> Decision {
        if !READ.contains(&self.verb) {
            return no("can only read resources of this type");
        }
        if !self.resource.subresource.is_empty() {
            return no("cannot read subresource");
        }
        if self.resource.namespace.is_empty() {
            return no("can only read namespaced object of this type");
        }
        self.related(|graph, node| graph.uses(node, &used()))
    }

    fn get_used(&self, uses: impl FnOnce(&Graph, &str) -> bool) -> Decision {
        if self.verb != "get" {
            return no("can only get individual resources of this type");
        }
        if !self.resource.subresource.is_empty() {
            return no("cannot get subresource");
        }
        self.related(uses)
    }

    fn related(&self, uses: impl FnOnce(&Graph, &str) -> bool) -> Decision {
        if self.resource.name.is_empty() {
            return no("No Object name found");
        }
        if uses(self.graph, self.node) {
            return Decision::Allow;
        }
        no(format!("no relationship found between node '{}' and this object", self.node))
    }

    /// What its Pods use, and the directories that it keeps. Node restriction sees to it that it lets go of these, and
    /// changes nothing else.
    fn volume(&self) -> Decision {
        let label = format!("{NODE_LABEL}={}", node_label(self.node));
        let is_own = self.resource.labels.split(',').any(|term| term.trim() == label);
        match (self.resource.subresource, self.verb) {
            ("", "list" | "watch") if is_own => Decision::Allow,
            ("", "patch") => Decision::Allow,
            ("", "get") => self.related(|graph, node| {
                graph.uses_volume(node, self.resource.name) || graph.keeps_volume(node, self.resource.name)
            }),
            _ => self.get_used(|_, _| false),
        }
    }

    /// Tokens for the accounts of its Pods; the accounts themselves also before it makes a DaemonSet's Pod.
    fn account(&self) -> Decision {
        let Resource { namespace, name, subresource, .. } = self.resource;
        let used = Used::Account(namespace.to_owned(), name.to_owned());
        match (subresource, self.verb) {
            ("", "get" | "list" | "watch") => self
                .related(|graph, node| graph.uses(node, &used) || graph.is_daemon_account(namespace, name)),
            ("token", "create") if !name.is_empty() => self.related(|graph, node| graph.uses(node, &used)),
            ("token", _) => no("can only create tokens for individual service accounts"),
            _ => no("can only create token subresource of serviceaccount"),
        }
    }

    /// Node restriction sees to it that it writes its own alone.
    fn own_node(&self) -> Decision {
        match (self.resource.subresource, self.verb) {
            ("", "create" | "update" | "patch" | "get" | "list" | "watch")
            | ("status", "get" | "update" | "patch") => Decision::Allow,
            _ => Decision::silent(),
        }
    }

    fn pod(&self) -> Decision {
        let Resource { namespace, name, subresource, .. } = self.resource;
        match (subresource, self.verb) {
            ("", "get") => self.related(|graph, node| graph.has_pod(node, namespace, name)),
            ("", "list" | "watch") => self.list_pods(),
            ("", "create" | "update" | "patch" | "delete")
            | ("status", "get" | "update" | "patch")
            | ("binding" | "eviction", "create") => Decision::Allow,
            _ => Decision::silent(),
        }
    }

    /// Those bound to it, and those offered to it.
    fn list_pods(&self) -> Decision {
        let own = |field: &str, value: &str| {
            value == self.node && matches!(field, "spec.nodeName" | "status.nominatedNodeName")
        };
        let is_scoped = self.resource.fields.split(',').any(|term| {
            let term = term.trim();
            let pair = term.split_once("==").or_else(|| term.split_once('='));
            pair.is_some_and(|(field, value)| !field.ends_with('!') && own(field, value))
        });
        let Resource { namespace, name, .. } = self.resource;
        if is_scoped || (!name.is_empty() && self.graph.has_pod(self.node, namespace, name)) {
            return Decision::Allow;
        }
        no("can only list/watch pods with spec.nodeName field selector")
    }

    /// Whether it lists what it holds, or gives something back; what that is, node restriction looks at.
    fn is_about_its_tickets(&self) -> bool {
        let holder = ticket::label_of(self.node);
        let is_held = |term: &str| {
            let pair = term.split_once("==").or_else(|| term.split_once('='));
            pair.is_some_and(|(label, value)| label.trim() == ticket::HOLDER_LABEL && value.trim() == holder)
        };
        match self.verb {
            "list" | "watch" => self.resource.labels.split(',').any(is_held),
            "delete" => ticket::slot(self.resource.name).is_some(),
            _ => false,
        }
    }

    fn lease(&self) -> Decision {
        if self.resource.namespace == LEASES && READ.contains(&self.verb) {
            return Decision::Allow;
        }
        if self.is_about_its_tickets() {
            return Decision::Allow;
        }
        // Identities of its Pods; node restriction looks at whose they are.
        let is_steward = self.resource.name.starts_with(STEWARDS);
        if self.resource.namespace == LEASES && matches!(self.verb, "create" | "update") && !is_steward {
            return Decision::Allow;
        }
        if !matches!(self.verb, "get" | "create" | "update" | "patch" | "delete") {
            return no("can only get, create, update, patch, or delete a node lease");
        }
        if self.resource.namespace != SESSIONS {
            return no(format!("can only access leases in the {SESSIONS:?} system namespace"));
        }
        if self.verb != "create" && self.resource.name != self.node {
            return no("can only access node lease with the same name as the requesting node");
        }
        Decision::Allow
    }
}
