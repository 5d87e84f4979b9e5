//! Acting as another (`kubectl --as`): whoever asks must be allowed to impersonate that user, each of its groups, its
//! uid and each value of its extra.

use std::collections::BTreeMap;

use http::header::{HeaderMap, HeaderName};

use super::query::decode;
use crate::api::status::Status;
use crate::authorization::{
    ANONYMOUS, AUTHENTICATED, Attributes, Chain, Resource, Subject, UNAUTHENTICATED, User,
};
use crate::server::accounts;

const USER: HeaderName = HeaderName::from_static("impersonate-user");
const GROUP: HeaderName = HeaderName::from_static("impersonate-group");
const UID: HeaderName = HeaderName::from_static("impersonate-uid");
const EXTRA: &str = "impersonate-extra-";

/// The group that identities and their extra are in.
const AUTHENTICATION: &str = "authentication.k8s.io";

/// Whom `user` asks to be treated as; itself, where it does not ask.
pub(super) fn become_another(chain: &Chain, user: User, headers: &HeaderMap) -> Result<User, Status> {
    let mut other = wanted(headers);
    if other == User::default() {
        return Ok(user);
    }
    if other.name.is_empty() {
        return Err(Status::bad_request(
            "requested impersonation of groups, a uid or extra without impersonating a user",
        ));
    }
    let allow = |resource: Resource<'_>| {
        chain.allow(&Attributes { user: &user, verb: "impersonate", subject: Subject::Resource(resource) })
    };
    let account = accounts::account_of(&other.name);
    match account {
        Some((namespace, name)) => {
            allow(Resource { resource: "serviceaccounts", namespace, name, ..Resource::default() })?;
        }
        None => allow(Resource { resource: "users", name: &other.name, ..Resource::default() })?,
    }
    for name in &other.groups {
        allow(Resource { resource: "groups", name, ..Resource::default() })?;
    }
    let identity = Resource { group: AUTHENTICATION, ..Resource::default() };
    if !other.uid.is_empty() {
        allow(Resource { resource: "uids", name: &other.uid, ..identity })?;
    }
    for (key, values) in &other.extra {
        for name in values {
            allow(Resource { resource: "userextras", subresource: key, name, ..identity })?;
        }
    }
    if let Some((namespace, _)) = account.filter(|_| other.groups.is_empty()) {
        other.groups = accounts::groups(namespace);
    }
    let fitting = if other.name == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
    if !other.is_in(AUTHENTICATED) && !other.is_in(UNAUTHENTICATED) {
        other.groups.push(fitting.into());
    }
    Ok(other)
}

fn wanted(headers: &HeaderMap) -> User {
    let text =
        |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let groups = headers.get_all(GROUP).iter().filter_map(|value| value.to_str().ok());
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let Some(key) = name.as_str().strip_prefix(EXTRA) else { continue };
        let values = extra.entry(decode(key).to_lowercase()).or_default();
        values.extend(value.to_str().ok().map(str::to_owned));
    }
    User {
        name: text(&USER).into(),
        uid: text(&UID).into(),
        groups: groups.map(str::to_owned).collect(),
        extra,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::header::HeaderValue;

    use super::*;
    use crate::authorization::{Authorizer, Decision};

    /// May impersonate what is on the list.
    #[derive(Debug)]
    struct Listed(&'static [&'static str]);

    impl Authorizer for Listed {
        fn decide(&self, attributes: &Attributes<'_>) -> Decision {
            let Subject::Resource(asked) = attributes.subject else { return Decision::silent() };
            let text =
                format!("{} {}{}/{}", asked.group, asked.with_subresource(), asked.namespace, asked.name);
            let listed = self.0.contains(&text.trim_start()) && attributes.verb == "impersonate";
            if listed { Decision::Allow } else { Decision::silent() }
        }
    }

    fn as_other(allowed: &'static [&'static str], asked: &[(&'static str, &str)]) -> Result<User, Status> {
        let mut headers = HeaderMap::new();
        for (name, value) in asked {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        become_another(&Chain(vec![Arc::new(Listed(allowed))]), User::new("ann", &["ops"]), &headers)
    }

    #[test]
    fn whoever_may_becomes_another_with_the_groups_that_go_with_it() {
        assert_eq!(as_other(&[], &[]).unwrap(), User::new("ann", &["ops"]));
        let joe = as_other(&["users/joe"], &[("impersonate-user", "joe")]).unwrap();
        assert_eq!(joe, User::new("joe", &[AUTHENTICATED]));
        let allowed: &[&str] = &[
            "users/joe",
            "groups/g",
            "authentication.k8s.io uids/7",
            "authentication.k8s.io userextras/a.b/x/v",
        ];
        let asked = [
            ("impersonate-user", "joe"),
            ("impersonate-group", "g"),
            ("impersonate-uid", "7"),
            ("impersonate-extra-a.b%2fx", "v"),
        ];
        let joe = as_other(allowed, &asked).unwrap();
        assert_eq!(
            (joe.uid.as_str(), joe.groups.as_slice()),
            ("7", &["g".to_owned(), AUTHENTICATED.into()][..])
        );
        assert_eq!(joe.extra["a.b/x"], ["v"]);
        let bot = as_other(&["serviceaccountsa/bot"], &[("impersonate-user", "system:serviceaccount:a:bot")]);
        assert_eq!(bot.unwrap().groups, accounts::groups("a"));
        let nobody = as_other(&["users/system:anonymous"], &[("impersonate-user", ANONYMOUS)]).unwrap();
        assert_eq!(nobody, User::anonymous());
    }

    #[test]
    fn each_part_of_another_must_be_allowed() {
        let refused = as_other(&[], &[("impersonate-user", "joe")]).unwrap_err();
        assert_eq!(
            refused.message,
            "users \"joe\" is forbidden: User \"ann\" cannot impersonate resource \"users\" in API group \"\" at the \
             cluster scope"
        );
        let asked = [("impersonate-user", "joe"), ("impersonate-group", "system:masters")];
        assert_eq!(as_other(&["users/joe"], &asked).unwrap_err().code, 403);
        let asked = [("impersonate-user", "joe"), ("impersonate-extra-k", "v")];
        assert_eq!(as_other(&["users/joe"], &asked).unwrap_err().code, 403);
        assert_eq!(as_other(&[], &[("impersonate-group", "g")]).unwrap_err().code, 400);
    }
}
