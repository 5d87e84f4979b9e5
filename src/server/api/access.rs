//! Who may do what at the endpoint: who asks, as whom, and whether they may.

use std::fmt::Debug;
use std::sync::Arc;

use http::header::HeaderMap;

use super::impersonation;
use super::query::Query;
use super::route::{Route, Target};
use crate::api::selectors::FieldSelector;
use crate::api::status::Status;
use crate::authorization::bootstrap::Bootstrappers;
use crate::authorization::{ANONYMOUS, Attributes, Chain, MASTERS, Masters, Resource, Subject, User, node};
use crate::coordinator::state::Draft;
use crate::coordinator::{Guard, Intended, NodeRestriction};
use crate::server::authentication::{Authenticators, unauthorized};
use crate::server::escalation::Escalation;
use crate::server::node_access::NodeAccess;
use crate::server::rbac::Rbac;
use crate::server::tls::Peer;

/// Who is let in, and what they may do.
#[derive(Clone, Debug)]
pub struct Access {
    /// By what somebody shows who they are.
    pub authenticators: Authenticators,
    /// Who says whether they may.
    pub authorizers: Chain,
    /// The roles and bindings; one of the authorizers.
    pub rbac: Arc<Rbac>,
    /// Who looks at what is written, once its content is known.
    pub write_rules: Vec<Arc<dyn WriteRule>>,
}

/// Says whether somebody may write what they are about to write; that they may write such objects is settled by then.
pub trait WriteRule: Debug + Send + Sync {
    /// Lets it pass, or refuses it.
    fn check(&self, user: &User, write: &Intended<'_>, draft: &Draft<'_>) -> Result<(), Status>;
}

/// All rules, for one who writes.
#[derive(Debug)]
struct Watchful {
    user: User,
    rules: Vec<Arc<dyn WriteRule>>,
}

impl Guard for Watchful {
    fn check(&self, write: &Intended<'_>, draft: &Draft<'_>) -> Result<(), Status> {
        self.rules.iter().try_for_each(|rule| rule.check(&self.user, write, draft))
    }
}

impl Access {
    /// Certificates, and the roles that the store holds.
    pub fn new(rbac: Arc<Rbac>, nodes: Arc<NodeAccess>) -> Self {
        let authorizers = Chain(vec![Arc::new(Masters), nodes, Arc::new(Bootstrappers), rbac.clone()]);
        let escalation = Escalation { authorizers: authorizers.clone(), rbac: rbac.clone() };
        Self {
            authenticators: Authenticators::default(),
            authorizers,
            rbac,
            write_rules: vec![Arc::new(Nodes), Arc::new(escalation)],
        }
    }

    /// Who looks at what this user writes.
    pub fn guard(&self, user: &User) -> Option<Arc<dyn Guard>> {
        if user.is_in(MASTERS) {
            return None;
        }
        Some(Arc::new(Watchful { user: user.clone(), rules: self.write_rules.clone() }))
    }

    /// Who asks for this, or whom they ask for. Whoever has not shown who they are may see health and version, and
    /// nothing else.
    pub fn user(&self, route: &Route, peer: Option<&Peer>, headers: &HeaderMap) -> Result<User, Status> {
        let user = self.authenticators.user(peer, headers)?;
        let is_public = matches!(route, Route::Health { .. } | Route::Version);
        if user.name == ANONYMOUS && !is_public {
            return Err(unauthorized());
        }
        impersonation::become_another(&self.authorizers, user, headers)
    }

    /// Lets a request for objects pass, or refuses it with 403.
    pub fn allow(&self, user: &User, verb: &str, target: &Target, query: &Query) -> Result<(), Status> {
        let named = selected_name(verb, query);
        let selector = |of: &str| query.get(of).unwrap_or_default();
        let selectors = (selector("fieldSelector"), selector("labelSelector"));
        self.authorizers.allow(&attributes(user, verb, target, named.as_deref(), selectors))?;
        // Whoever runs a program in a Pod does more than read it, whichever method opens the tunnel.
        let opens_tunnel = matches!(target.subresource.as_deref(), Some("exec" | "attach" | "portforward"));
        if verb == "get" && target.kind.kind == "Pod" && opens_tunnel {
            self.authorizers.allow(&attributes(user, "create", target, None, ("", "")))?;
        }
        Ok(())
    }

    /// Lets a request for a document pass, or refuses it with 403. Health and version are for everybody.
    pub fn allow_path(&self, user: &User, method: &str, route: &Route, path: &str) -> Result<(), Status> {
        if matches!(route, Route::Health { .. } | Route::Version) {
            return Ok(());
        }
        let verb = method.to_lowercase();
        self.authorizers.allow(&Attributes { user, verb: &verb, subject: Subject::Path(path) })
    }
}

/// A node writes what is its own.
#[derive(Debug)]
struct Nodes;

impl WriteRule for Nodes {
    fn check(&self, user: &User, write: &Intended<'_>, draft: &Draft<'_>) -> Result<(), Status> {
        let Some(node) = node::identity(user) else { return Ok(()) };
        NodeRestriction { node: node.to_owned() }.check(write, draft)
    }
}

/// A list or watch of the one object of a name is about that object.
fn selected_name(verb: &str, query: &Query) -> Option<String> {
    if !matches!(verb, "list" | "watch" | "deletecollection") {
        return None;
    }
    let selector = FieldSelector::parse(query.get("fieldSelector")?).ok()?;
    selector.exact("metadata.name").map(str::to_owned)
}

/// What a request for objects asks.
fn attributes<'a>(
    user: &'a User,
    verb: &'a str,
    target: &'a Target,
    named: Option<&'a str>,
    (fields, labels): (&'a str, &'a str),
) -> Attributes<'a> {
    let name = target.name_text();
    let (group, resource) = (target.kind.group, target.kind.plural);
    // A Namespace is asked for within itself, so that a role in it can let somebody see it.
    let is_namespace = group.is_empty() && resource == "namespaces";
    let namespace = if is_namespace { name } else { target.namespace_text() };
    let subresource = target.subresource.as_deref().unwrap_or_default();
    let name = if name.is_empty() { named.unwrap_or_default() } else { name };
    Attributes {
        user,
        verb,
        subject: Subject::Resource(Resource {
            group,
            resource,
            subresource,
            namespace,
            name,
            fields,
            labels,
        }),
    }
}
