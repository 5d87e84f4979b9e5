//! Who may do what. The administrator's group, the nodes' and the stewards' may do everything; whoever else has a certificate of this
//! cluster may read discovery documents, and nothing else.

use crate::api::status::Status;
use crate::server::tls::{MASTERS, NODES, Peer, STEWARDS};

/// What is attempted, in upstream's words.
#[derive(Clone, Debug)]
pub struct Attempt<'a> {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`
    pub verb: &'a str,
    /// API group, empty for core.
    pub group: &'a str,
    /// Plural, with the subresource after a slash.
    pub resource: String,
    /// Namespace, empty for cluster scope.
    pub namespace: &'a str,
    /// Object name, empty for collections.
    pub name: &'a str,
}

/// Lets it pass, or refuses it with 403.
pub fn allow(peer: &Peer, attempt: &Attempt<'_>) -> Result<(), Status> {
    if peer.organizations.iter().any(|group| [MASTERS, NODES, STEWARDS].contains(&group.as_str())) {
        return Ok(());
    }
    let Attempt { verb, group, resource, namespace, name } = attempt;
    let scope = if namespace.is_empty() {
        "at the cluster scope".into()
    } else {
        format!("in the namespace {namespace:?}")
    };
    let user = &peer.common_name;
    let why = format!("User {user:?} cannot {verb} resource {resource:?} in API group {group:?} {scope}");
    let plural = resource.split('/').next().unwrap_or_default();
    if !name.is_empty() {
        return Err(Status::forbidden(group, plural, name, &why));
    }
    let qualified = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
    let mut details = serde_json::json!({ "kind": plural });
    if !group.is_empty() {
        details["group"] = (*group).into();
    }
    Err(Status { details, ..Status::new(403, "Forbidden", format!("{qualified} is forbidden: {why}")) })
}

/// 401
pub fn unauthorized() -> Status {
    Status::new(401, "Unauthorized", "Unauthorized")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_refused_in_upstreams_words() {
        let peer = |groups: &[&str]| Peer {
            common_name: "eve".into(),
            organizations: groups.iter().map(|&g| g.into()).collect(),
        };
        let attempt = Attempt { verb: "list", group: "", resource: "pods".into(), namespace: "a", name: "" };
        assert!(allow(&peer(&[MASTERS]), &attempt).is_ok() && allow(&peer(&[NODES]), &attempt).is_ok());
        let refusal = allow(&peer(&["others"]), &attempt).unwrap_err();
        assert_eq!(refusal.code, 403);
        assert_eq!(
            refusal.message,
            "pods is forbidden: User \"eve\" cannot list resource \"pods\" in API group \"\" in the namespace \"a\""
        );
    }
}
