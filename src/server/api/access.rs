//! Who may do what at the endpoint: who asks, as whom, and whether they may.

use std::sync::Arc;

use http::header::HeaderMap;

use super::route::{Route, Target};
use crate::api::status::Status;
use crate::authorization::{
    ANONYMOUS, Attributes, Authorizer, Chain, Decision, Masters, Resource, Subject, User,
};
use crate::server::authentication::{Authenticators, unauthorized};
use crate::server::rbac::Rbac;
use crate::server::tls::{NODES, Peer, STEWARDS};

/// Who is let in, and what they may do.
#[derive(Clone, Debug)]
pub struct Access {
    /// By what somebody shows who they are.
    pub authenticators: Authenticators,
    /// Who says whether they may.
    pub authorizers: Chain,
    /// The roles and bindings; one of the authorizers.
    pub rbac: Arc<Rbac>,
}

impl Access {
    /// Certificates, and the roles that the store holds.
    pub fn new(rbac: Arc<Rbac>) -> Self {
        let authorizers = Chain(vec![Arc::new(Masters), Arc::new(Machines), rbac.clone()]);
        Self { authenticators: Authenticators::default(), authorizers, rbac }
    }

    /// Who asks for this. Whoever has not shown who they are may see health and version, and nothing else.
    pub fn user(&self, route: &Route, peer: Option<&Peer>, headers: &HeaderMap) -> Result<User, Status> {
        let user = self.authenticators.user(peer, headers)?;
        let is_public = matches!(route, Route::Health { .. } | Route::Version);
        if user.name == ANONYMOUS && !is_public { Err(unauthorized()) } else { Ok(user) }
    }
}

/// Nodes and stewards may do everything.
#[derive(Debug)]
struct Machines;

impl Authorizer for Machines {
    fn decide(&self, attributes: &Attributes<'_>) -> Decision {
        let user = attributes.user;
        if user.is_in(NODES) || user.is_in(STEWARDS) { Decision::Allow } else { Decision::silent() }
    }
}

/// What a request for objects asks.
pub fn attributes<'a>(
    user: &'a User,
    verb: &'a str,
    target: &'a Target,
    named: Option<&'a str>,
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
        subject: Subject::Resource(Resource { group, resource, subresource, namespace, name }),
    }
}
