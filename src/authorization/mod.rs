//! Who may do what: attributes of a request → a decision. PURE.
//!
//! A request is shown to each [`Authorizer`] in turn; the first that allows it ends the matter, and where none does it
//! is refused with all their reasons. Role-based access control ([`rbac`]) is one of them.
//! Architecture invariant: no authorizer denies what another one allows.

pub mod bootstrap;
pub mod node;
pub mod rbac;
pub mod rule;
pub mod shipped;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::api::status::Status;

/// The group that may do everything.
pub const MASTERS: &str = "system:masters";
/// The group of everybody who has shown who they are.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of everybody who has not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Who has not shown who they are.
pub const ANONYMOUS: &str = "system:anonymous";

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Unique among those who are here at one time.
    pub name: String,
    /// Unique for all time, where there is one.
    pub uid: String,
    /// What it belongs to.
    pub groups: Vec<String>,
    /// What else is known of it.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// Nobody in particular.
    pub fn anonymous() -> Self {
        Self { name: ANONYMOUS.into(), groups: vec![UNAUTHENTICATED.into()], ..Self::default() }
    }

    /// Somebody who is in these groups.
    pub fn new(name: impl Into<String>, groups: &[&str]) -> Self {
        let groups = groups.iter().map(|&group| group.to_owned()).collect();
        Self { name: name.into(), groups, ..Self::default() }
    }

    /// Whether it belongs to a group.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }

    /// `authentication.k8s.io/v1` `UserInfo`.
    pub fn to_json(&self) -> Value {
        let mut info = json!({});
        for (field, text) in [("username", &self.name), ("uid", &self.uid)] {
            if !text.is_empty() {
                info[field] = text.as_str().into();
            }
        }
        if !self.groups.is_empty() {
            info["groups"] = self.groups.clone().into();
        }
        if !self.extra.is_empty() {
            info["extra"] = json!(self.extra);
        }
        info
    }
}

/// What is asked, in upstream's words.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    /// Who asks.
    pub user: &'a User,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, `impersonate` …; the HTTP
    /// method in lower case for a path.
    pub verb: &'a str,
    /// What it is about.
    pub subject: Subject<'a>,
}

/// What a request is about.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// Objects.
    Resource(Resource<'a>),
    /// A path that names no objects, e.g. `/metrics`.
    Path(&'a str),
}

/// Objects, or one object, or a part of one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Resource<'a> {
    /// API group, empty for core.
    pub group: &'a str,
    /// Plural.
    pub resource: &'a str,
    /// E.g. `status`, empty for none.
    pub subresource: &'a str,
    /// Empty for cluster scope.
    pub namespace: &'a str,
    /// Empty for collections.
    pub name: &'a str,
    /// Field selector of a list or watch, as it was sent.
    pub fields: &'a str,
    /// Label selector of a list or watch, as it was sent.
    pub labels: &'a str,
}

impl Resource<'_> {
    /// `pods`, `pods/log`
    pub fn with_subresource(&self) -> String {
        match self.subresource {
            "" => self.resource.to_owned(),
            part => format!("{}/{part}", self.resource),
        }
    }
}

/// An authorizer's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may be done.
    Allow,
    /// Others decide. If none allows it, the refusal says why.
    NoOpinion {
        /// Empty for nothing to say.
        reason: String,
    },
}

impl Decision {
    /// No opinion, and nothing to say about it.
    pub fn silent() -> Self {
        Self::NoOpinion { reason: String::new() }
    }
}

/// Somebody who can say that a request may be done.
pub trait Authorizer: Debug + Send + Sync {
    /// Says whether this is allowed.
    fn decide(&self, attributes: &Attributes<'_>) -> Decision;
}

/// The group that may do everything, whatever the roles say.
#[derive(Debug)]
pub struct Masters;

impl Authorizer for Masters {
    fn decide(&self, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.is_in(MASTERS) { Decision::Allow } else { Decision::silent() }
    }
}

/// Authorizers, asked in turn.
#[derive(Clone, Debug, Default)]
pub struct Chain(pub Vec<Arc<dyn Authorizer>>);

impl Authorizer for Chain {
    fn decide(&self, attributes: &Attributes<'_>) -> Decision {
        let mut reasons = Vec::new();
        for authorizer in &self.0 {
            match authorizer.decide(attributes) {
                Decision::Allow => return Decision::Allow,
                Decision::NoOpinion { reason } => reasons.push(reason),
            }
        }
        reasons.retain(|reason| !reason.is_empty());
        Decision::NoOpinion { reason: reasons.join("\n") }
    }
}

impl Chain {
    /// Lets it pass, or refuses it with 403.
    pub fn allow(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        match self.decide(attributes) {
            Decision::Allow => Ok(()),
            Decision::NoOpinion { reason } => Err(refusal(attributes, &reason)),
        }
    }
}

/// 403 in upstream's words.
pub fn refusal(attributes: &Attributes<'_>, reason: &str) -> Status {
    let (user, verb) = (&attributes.user.name, attributes.verb);
    let why = |what: String| match reason {
        "" => what,
        reason => format!("{what}: {reason}"),
    };
    let resource = match attributes.subject {
        Subject::Path(path) => {
            let message = why(format!("forbidden: User {user:?} cannot {verb} path {path:?}"));
            return Status { details: json!({}), ..Status::new(403, "Forbidden", message) };
        }
        Subject::Resource(resource) => resource,
    };
    let scope = match resource.namespace {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {namespace:?}"),
    };
    let (group, plural) = (resource.group, resource.resource);
    let full = resource.with_subresource();
    let why = why(format!("User {user:?} cannot {verb} resource {full:?} in API group {group:?} {scope}"));
    if !resource.name.is_empty() {
        return Status::forbidden(group, plural, resource.name, &why);
    }
    let qualified = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
    let mut details = json!({ "kind": plural });
    if !group.is_empty() {
        details["group"] = group.into();
    }
    Status { details, ..Status::new(403, "Forbidden", format!("{qualified} is forbidden: {why}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Only(&'static str, &'static str);

    impl Authorizer for Only {
        fn decide(&self, attributes: &Attributes<'_>) -> Decision {
            if attributes.verb == self.0 {
                return Decision::Allow;
            }
            Decision::NoOpinion { reason: self.1.into() }
        }
    }

    #[test]
    fn the_first_that_allows_ends_the_matter_and_a_refusal_gives_all_reasons() {
        let chain = Chain(vec![
            Arc::new(Only("get", "one")),
            Arc::new(Only("list", "")),
            Arc::new(Only("watch", "three")),
            Arc::new(Masters),
        ]);
        let (eve, admin) = (User::new("eve", &["others"]), User::new("admin", &[MASTERS]));
        let resource = Resource { resource: "pods", namespace: "a", ..Resource::default() };
        let asks = |user, verb| chain.allow(&Attributes { user, verb, subject: Subject::Resource(resource) });
        for verb in ["get", "list", "watch"] {
            assert_eq!(asks(&eve, verb), Ok(()), "{verb}");
        }
        assert_eq!(asks(&admin, "delete"), Ok(()));
        let refusal = asks(&eve, "delete").unwrap_err();
        assert_eq!((refusal.code, refusal.reason), (403, "Forbidden"));
        assert_eq!(
            refusal.message,
            "pods is forbidden: User \"eve\" cannot delete resource \"pods\" in API group \"\" in the namespace \"a\": \
             one\nthree"
        );
    }

    #[test]
    fn refusals_are_upstreams() {
        let eve = User::new("eve", &[]);
        let pods = Resource { resource: "pods", namespace: "a", ..Resource::default() };
        let cases = [
            (
                Subject::Resource(Resource { name: "x", subresource: "log", ..pods }),
                "pods \"x\" is forbidden: User \"eve\" cannot get resource \"pods/log\" in API group \"\" in the namespace \
                 \"a\"",
                json!({ "name": "x", "kind": "pods" }),
            ),
            (
                Subject::Resource(Resource {
                    group: "apps",
                    resource: "daemonsets",
                    namespace: "",
                    ..Resource::default()
                }),
                "daemonsets.apps is forbidden: User \"eve\" cannot get resource \"daemonsets\" in API group \"apps\" at \
                 the cluster scope",
                json!({ "kind": "daemonsets", "group": "apps" }),
            ),
            (Subject::Path("/metrics"), "forbidden: User \"eve\" cannot get path \"/metrics\"", json!({})),
        ];
        for (subject, message, details) in cases {
            let status = refusal(&Attributes { user: &eve, verb: "get", subject }, "");
            assert_eq!((status.message.as_str(), status.details), (message, details));
        }
    }

    #[test]
    fn a_user_is_shown_with_what_is_known_of_it() {
        let mut user = User::new("eve", &["a", "b"]);
        user.extra.insert("k".into(), vec!["v".into()]);
        assert_eq!(
            user.to_json(),
            json!({ "username": "eve", "groups": ["a", "b"], "extra": { "k": ["v"] } })
        );
        assert_eq!(User::default().to_json(), json!({}));
    }
}
