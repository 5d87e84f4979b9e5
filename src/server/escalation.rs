//! Nobody hands out more than they have: writes of roles and bindings, looked at before they are made.

use std::sync::Arc;

use serde_json::Value;

use crate::api::status::Status;
use crate::authorization::rbac::{GROUP, RoleRef};
use crate::authorization::rule::Rule;
use crate::authorization::{Attributes, Authorizer as _, Chain, Decision, Resource, Subject, User};
use crate::coordinator::Intended;
use crate::coordinator::state::Draft;
use crate::server::api::access::WriteRule;
use crate::server::rbac::Rbac;

/// Upstream's refusal of those who would gather rights by labels.
const AGGREGATION: &str = "must have cluster-admin privileges to use the aggregationRule";

/// Fields of the metadata that the garbage collector changes.
const COLLECTED: [&str; 5] =
    ["ownerReferences", "finalizers", "generation", "resourceVersion", "managedFields"];

/// The rule for roles and bindings.
#[derive(Debug)]
pub struct Escalation {
    /// Who may do so nonetheless: those with the verbs `escalate` and `bind`.
    pub authorizers: Chain,
    /// What everybody has.
    pub rbac: Arc<Rbac>,
}

impl WriteRule for Escalation {
    fn check(&self, user: &User, write: &Intended<'_>, _: &Draft<'_>) -> Result<(), Status> {
        let Some(new) = write.new.filter(|_| write.kind.group == GROUP) else { return Ok(()) };
        if write.old.is_some_and(|old| without_collected(old) == without_collected(new)) {
            return Ok(());
        }
        match write.kind.kind {
            "Role" | "ClusterRole" => self.check_role(user, write, new),
            "RoleBinding" | "ClusterRoleBinding" => self.check_binding(user, write, new),
            _ => Ok(()),
        }
    }
}

impl Escalation {
    fn check_role(&self, user: &User, write: &Intended<'_>, new: &Value) -> Result<(), Status> {
        if self.may(user, "escalate", write.kind.plural, write.namespace, write.name) {
            return Ok(());
        }
        self.check_granted(user, write, &Rule::read_all(&new["rules"]))?;
        let gathers = |role: &Value| role["aggregationRule"].is_object();
        if gathers(new) || write.old.is_some_and(gathers) {
            let has_all = self.rbac.index().escalation(user, "", &Rule::full_authority()).is_none();
            if !has_all {
                return Err(Status::forbidden(GROUP, write.kind.plural, write.name, AGGREGATION));
            }
        }
        Ok(())
    }

    fn check_binding(&self, user: &User, write: &Intended<'_>, new: &Value) -> Result<(), Status> {
        let role = RoleRef::of(new);
        if self.may(user, "bind", role.plural(), write.namespace, &role.name) {
            return Ok(());
        }
        let granted = self.rbac.index().granted_by(&role, write.namespace)?;
        self.check_granted(user, write, &granted)
    }

    fn check_granted(&self, user: &User, write: &Intended<'_>, granted: &[Rule]) -> Result<(), Status> {
        match self.rbac.index().escalation(user, write.namespace, granted) {
            None => Ok(()),
            Some(why) => Err(Status::forbidden(GROUP, write.kind.plural, write.name, &why)),
        }
    }

    fn may(&self, user: &User, verb: &str, resource: &str, namespace: &str, name: &str) -> bool {
        let asked =
            Resource { group: GROUP, resource, subresource: "", namespace, name, fields: "", labels: "" };
        let attributes = Attributes { user, verb, subject: Subject::Resource(asked) };
        self.authorizers.decide(&attributes) == Decision::Allow
    }
}

fn without_collected(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in COLLECTED {
            metadata.remove(field);
        }
    }
    object
}
