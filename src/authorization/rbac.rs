//! Role-based access control over an index of roles and bindings that is kept up change by change.
//!
//! Roles are found by name, bindings by whom they name, so that a decision looks at the bindings of this user and its
//! groups and at no others. The rules of an aggregating ClusterRole are those of the ClusterRoles that it selects by
//! their labels, as they stand at that moment.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::rule::{Rule, missing, quoted};
use super::{Attributes, Decision, MASTERS, Subject, User};
use crate::api::selectors::Selector;
use crate::api::status::Status;

/// The API group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// What a user name of a ServiceAccount begins with.
pub const ACCOUNT_PREFIX: &str = "system:serviceaccount:";

/// Which of the four kinds an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A Role or ClusterRole.
    Role,
    /// A RoleBinding or ClusterRoleBinding.
    Binding,
}

impl Part {
    /// By group and kind; none for kinds that are no part of this.
    pub fn of(group: &str, kind: &str) -> Option<Self> {
        match (group, kind) {
            (GROUP, "Role" | "ClusterRole") => Some(Self::Role),
            (GROUP, "RoleBinding" | "ClusterRoleBinding") => Some(Self::Binding),
            _ => None,
        }
    }
}

/// Namespace (empty for cluster scope) and name.
type Place = (String, String);

#[derive(Debug)]
struct Role {
    rules: Vec<Rule>,
    labels: BTreeMap<String, String>,
    /// Selects the ClusterRoles whose rules it has; none where its own rules count.
    aggregation: Option<Vec<Selector>>,
}

#[derive(Debug)]
struct Binding {
    role: RoleRef,
    subjects: BTreeSet<Whom>,
}

/// `roleRef`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleRef {
    /// `Role` or `ClusterRole`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl RoleRef {
    /// The `roleRef` of a binding.
    pub fn of(binding: &Value) -> Self {
        let text = |field: &str| binding["roleRef"][field].as_str().unwrap_or_default().to_owned();
        Self { kind: text("kind"), name: text("name") }
    }

    /// Its resource's plural.
    pub fn plural(&self) -> &'static str {
        if self.kind == "ClusterRole" { "clusterroles" } else { "roles" }
    }
}

/// Whom a binding names. ServiceAccounts are named as the users that they are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Whom {
    User(String),
    Group(String),
}

/// Roles and bindings.
#[derive(Debug, Default)]
pub struct Index {
    roles: BTreeMap<Place, Role>,
    bindings: BTreeMap<Place, Binding>,
    /// Names of bindings, by their namespace and whom they name.
    by_subject: BTreeMap<(String, Whom), BTreeSet<String>>,
    /// Which ClusterRoles an aggregating one selects.
    members: BTreeMap<String, BTreeSet<String>>,
}

/// Rules that a user has.
#[derive(Debug, Default)]
pub struct Held<'a> {
    /// All that were found.
    pub rules: Vec<&'a Rule>,
    /// What is bound and cannot be found.
    pub errors: Vec<String>,
}

impl Index {
    /// Takes up a new object or version.
    pub fn put(&mut self, part: Part, namespace: &str, name: &str, value: &Value) {
        self.remove(part, namespace, name);
        let place = (namespace.to_owned(), name.to_owned());
        match part {
            Part::Role => {
                self.roles.insert(place, Role::read(value));
                self.relate(namespace, name);
            }
            Part::Binding => {
                let subjects: BTreeSet<Whom> = value["subjects"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|s| whom(s, namespace))
                    .collect();
                for subject in &subjects {
                    let bound = self.by_subject.entry((namespace.to_owned(), subject.clone())).or_default();
                    bound.insert(name.to_owned());
                }
                self.bindings.insert(place, Binding { role: RoleRef::of(value), subjects });
            }
        }
    }

    /// Forgets an object.
    pub fn remove(&mut self, part: Part, namespace: &str, name: &str) {
        let place = (namespace.to_owned(), name.to_owned());
        match part {
            Part::Role => {
                if self.roles.remove(&place).is_some() && namespace.is_empty() {
                    self.members.remove(name);
                    for members in self.members.values_mut() {
                        members.remove(name);
                    }
                }
            }
            Part::Binding => {
                let subjects = self.bindings.remove(&place).map(|binding| binding.subjects);
                for subject in subjects.into_iter().flatten() {
                    let key = (namespace.to_owned(), subject);
                    if let Some(bound) = self.by_subject.get_mut(&key) {
                        bound.remove(name);
                        if bound.is_empty() {
                            self.by_subject.remove(&key);
                        }
                    }
                }
            }
        }
    }

    /// Finds which aggregating ClusterRoles select this one, and which it selects.
    fn relate(&mut self, namespace: &str, name: &str) {
        let Some(role) = self.roles.get(&(namespace.to_owned(), name.to_owned())) else { return };
        if !namespace.is_empty() {
            return;
        }
        let cluster_roles =
            self.roles.range((String::new(), String::new())..).take_while(|(at, _)| at.0.is_empty());
        let others: Vec<(&String, &Role)> = cluster_roles
            .map(|((_, other), role)| (other, role))
            .filter(|(other, _)| *other != name)
            .collect();
        let selected = role.aggregation.is_some().then(|| {
            let mine = others.iter().filter(|(_, other)| role.selects(other));
            mine.map(|(other, _)| (*other).clone()).collect::<BTreeSet<String>>()
        });
        let by: Vec<String> = others
            .iter()
            .filter(|(_, other)| other.selects(role))
            .map(|(other, _)| (*other).clone())
            .collect();
        if let Some(selected) = selected {
            self.members.insert(name.to_owned(), selected);
        }
        for other in by {
            self.members.entry(other).or_default().insert(name.to_owned());
        }
    }

    /// The rules of a role, or why there are none.
    pub fn rules_of(&self, role: &RoleRef, namespace: &str) -> Option<Vec<&Rule>> {
        let namespace = if role.kind == "ClusterRole" { "" } else { namespace };
        let mut found = Vec::new();
        let mut seen = BTreeSet::new();
        self.gather(namespace, &role.name, &mut seen, &mut found).then_some(found)
    }

    fn gather<'a>(
        &'a self,
        namespace: &str,
        name: &str,
        seen: &mut BTreeSet<String>,
        found: &mut Vec<&'a Rule>,
    ) -> bool {
        let Some(role) = self.roles.get(&(namespace.to_owned(), name.to_owned())) else { return false };
        if !seen.insert(name.to_owned()) {
            return true;
        }
        if role.aggregation.is_none() {
            found.extend(&role.rules);
            return true;
        }
        for member in self.members.get(name).into_iter().flatten() {
            self.gather("", member, seen, found);
        }
        true
    }

    /// The rules that a user has at cluster scope and, where one is given, in a namespace.
    pub fn held(&self, user: &User, namespace: &str) -> Held<'_> {
        let mut held = Held::default();
        let scopes = if namespace.is_empty() { vec![""] } else { vec!["", namespace] };
        for scope in scopes {
            let mut bound = BTreeSet::new();
            let groups = user.groups.iter().map(|group| Whom::Group(group.clone()));
            for whom in std::iter::once(Whom::User(user.name.clone())).chain(groups) {
                bound.extend(self.by_subject.get(&(scope.to_owned(), whom)).into_iter().flatten());
            }
            for name in bound {
                let Some(binding) = self.bindings.get(&(scope.to_owned(), name.clone())) else { continue };
                match self.rules_of(&binding.role, scope) {
                    Some(rules) => held.rules.extend(rules),
                    None => held.errors.push(no_such_role(&binding.role)),
                }
            }
        }
        held
    }

    /// Whether the user's roles allow it.
    pub fn decide(&self, attributes: &Attributes<'_>) -> Decision {
        let namespace = match attributes.subject {
            Subject::Resource(resource) => resource.namespace,
            Subject::Path(_) => "",
        };
        let held = self.held(attributes.user, namespace);
        if held.rules.iter().any(|rule| rule.allows(attributes)) {
            return Decision::Allow;
        }
        let reason = match &held.errors[..] {
            [] => String::new(),
            [only] => format!("RBAC: {only}"),
            several => format!("RBAC: [{}]", several.join(", ")),
        };
        Decision::NoOpinion { reason }
    }

    /// What a user hands out with `granted` and does not have itself, in upstream's words.
    pub fn escalation(&self, user: &User, namespace: &str, granted: &[Rule]) -> Option<String> {
        if user.is_in(MASTERS) {
            return None;
        }
        let held = self.held(user, namespace);
        let rules: Vec<Rule> = held.rules.into_iter().cloned().collect();
        let missing = missing(&rules, granted);
        if missing.is_empty() {
            return None;
        }
        let mut text = format!(
            "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            user.name,
            quoted(&user.groups),
            missing.join("\n")
        );
        if !held.errors.is_empty() {
            text.push_str("; resolution errors: [");
            text.push_str(&held.errors.join(", "));
            text.push(']');
        }
        Some(text)
    }

    /// The rules that a binding hands out, or that there is no such role.
    pub fn granted_by(&self, role: &RoleRef, namespace: &str) -> Result<Vec<Rule>, Status> {
        match self.rules_of(role, namespace) {
            Some(rules) => Ok(rules.into_iter().cloned().collect()),
            None => Err(Status::not_found(GROUP, role.plural(), &role.name)),
        }
    }
}

impl Role {
    fn read(value: &Value) -> Self {
        let labels = value["metadata"]["labels"].as_object().into_iter().flatten();
        let aggregation = value["aggregationRule"].as_object().map(|aggregation| {
            let selectors = aggregation.get("clusterRoleSelectors").and_then(Value::as_array);
            selectors.into_iter().flatten().filter_map(|s| Selector::from_value(s).ok()).collect()
        });
        Self {
            rules: Rule::read_all(&value["rules"]),
            labels: labels.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect(),
            aggregation,
        }
    }

    fn selects(&self, other: &Self) -> bool {
        self.aggregation.iter().flatten().any(|selector| selector.matches(&other.labels))
    }
}

/// A subject that names no namespace means the binding's own.
fn whom(subject: &Value, namespace: &str) -> Option<Whom> {
    let name = subject["name"].as_str()?;
    match subject["kind"].as_str()? {
        "User" => Some(Whom::User(name.to_owned())),
        "Group" => Some(Whom::Group(name.to_owned())),
        "ServiceAccount" => {
            let stated = subject["namespace"].as_str().filter(|stated| !stated.is_empty());
            let home = stated.unwrap_or(namespace);
            (!home.is_empty()).then(|| Whom::User(format!("{ACCOUNT_PREFIX}{home}:{name}")))
        }
        _ => None,
    }
}

fn no_such_role(role: &RoleRef) -> String {
    match role.kind.as_str() {
        "Role" | "ClusterRole" => {
            format!("{}.{GROUP} {:?} not found", role.kind.to_lowercase(), role.name)
        }
        other => format!("unsupported role reference kind: {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::Resource;
    use super::*;

    fn index(objects: &[Value]) -> Index {
        let mut index = Index::default();
        for object in objects {
            put(&mut index, object);
        }
        index
    }

    fn at(object: &Value) -> (Part, &str, &str) {
        let part = Part::of(GROUP, object["kind"].as_str().unwrap()).unwrap();
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        (part, text("namespace"), text("name"))
    }

    fn put(index: &mut Index, object: &Value) {
        let (part, namespace, name) = at(object);
        index.put(part, namespace, name, object);
    }

    fn role(namespace: &str, name: &str, verbs: &[&str], resources: &[&str]) -> Value {
        let kind = if namespace.is_empty() { "ClusterRole" } else { "Role" };
        json!({
            "kind": kind, "metadata": { "namespace": namespace, "name": name },
            "rules": [{ "verbs": verbs, "apiGroups": [""], "resources": resources }],
        })
    }

    fn binding(namespace: &str, name: &str, role: (&str, &str), subject: &Value) -> Value {
        let kind = if namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" };
        json!({
            "kind": kind, "metadata": { "namespace": namespace, "name": name },
            "roleRef": { "kind": role.0, "name": role.1, "apiGroup": GROUP }, "subjects": [subject],
        })
    }

    fn may(index: &Index, user: &User, verb: &str, namespace: &str, resource: &str) -> bool {
        let subject = Subject::Resource(Resource { resource, namespace, ..Resource::default() });
        index.decide(&Attributes { user, verb, subject }) == Decision::Allow
    }

    #[test]
    fn a_binding_gives_its_subjects_the_rules_of_its_role_in_its_scope() {
        let index = index(&[
            role("", "reader", &["get"], &["pods"]),
            role("a", "reader", &["list"], &["secrets"]),
            binding("", "everywhere", ("ClusterRole", "reader"), &json!({ "kind": "User", "name": "ann" })),
            binding("a", "in-a", ("ClusterRole", "reader"), &json!({ "kind": "Group", "name": "ops" })),
            binding("a", "own", ("Role", "reader"), &json!({ "kind": "ServiceAccount", "name": "bot" })),
            binding(
                "b",
                "far",
                ("ClusterRole", "reader"),
                &json!({
                    "kind": "ServiceAccount", "name": "bot", "namespace": "a",
                }),
            ),
        ]);
        let ann = User::new("ann", &[]);
        let joe = User::new("joe", &["x", "ops"]);
        let bot = User::new("system:serviceaccount:a:bot", &[]);
        let cases = [
            (&ann, "get", "", "pods", true),
            (&ann, "get", "a", "pods", true),
            (&ann, "list", "a", "pods", false),
            (&joe, "get", "a", "pods", true),
            (&joe, "get", "b", "pods", false),
            (&joe, "get", "", "pods", false),
            (&bot, "list", "a", "secrets", true),
            (&bot, "get", "a", "pods", false),
            (&bot, "get", "b", "pods", true),
            (&bot, "list", "b", "secrets", false),
        ];
        for (user, verb, namespace, resource, expected) in cases {
            assert_eq!(
                may(&index, user, verb, namespace, resource),
                expected,
                "{} {verb} {resource} in {namespace:?}",
                user.name
            );
        }
    }

    #[test]
    fn what_is_taken_away_is_allowed_no_longer_and_a_missing_role_is_told() {
        let ann = User::new("ann", &[]);
        let bound = binding("", "b", ("ClusterRole", "reader"), &json!({ "kind": "User", "name": "ann" }));
        let mut index = index(&[role("", "reader", &["get"], &["pods"]), bound.clone()]);
        assert!(may(&index, &ann, "get", "", "pods"));
        index.remove(Part::Role, "", "reader");
        let subject = Subject::Resource(Resource { resource: "pods", ..Resource::default() });
        let reason = "RBAC: clusterrole.rbac.authorization.k8s.io \"reader\" not found".to_owned();
        assert_eq!(
            index.decide(&Attributes { user: &ann, verb: "get", subject }),
            Decision::NoOpinion { reason }
        );
        put(&mut index, &role("", "reader", &["get"], &["pods"]));
        let other = binding("", "b", ("ClusterRole", "reader"), &json!({ "kind": "User", "name": "joe" }));
        put(&mut index, &other);
        assert!(
            !may(&index, &ann, "get", "", "pods") && may(&index, &User::new("joe", &[]), "get", "", "pods")
        );
        index.remove(Part::Binding, "", "b");
        assert!(index.by_subject.is_empty() && index.bindings.is_empty());
    }

    fn labelled(mut role: Value, label: &str) -> Value {
        role["metadata"]["labels"] = json!({ label: "true" });
        role
    }

    fn aggregating(name: &str, label: &str) -> Value {
        json!({
            "kind": "ClusterRole", "metadata": { "name": name },
            "aggregationRule": { "clusterRoleSelectors": [{ "matchLabels": { label: "true" } }] },
            "rules": [{ "verbs": ["delete"], "apiGroups": [""], "resources": ["nodes"] }],
        })
    }

    #[test]
    fn an_aggregating_role_has_the_rules_of_those_it_selects_through_other_aggregating_roles() {
        let ann = User::new("ann", &[]);
        let bound = binding("", "b", ("ClusterRole", "admin"), &json!({ "kind": "User", "name": "ann" }));
        let view = labelled(role("", "pods", &["get"], &["pods"]), "to-view");
        let objects = [
            bound,
            aggregating("admin", "to-admin"),
            labelled(aggregating("view", "to-view"), "to-admin"),
            view.clone(),
            // It selects itself by way of another.
            labelled(aggregating("loop", "to-admin"), "to-view"),
        ];
        for turn in 0..objects.len() {
            let mut order = objects.to_vec();
            order.rotate_left(turn);
            let mut index = index(&order);
            assert!(may(&index, &ann, "get", "", "pods"), "{turn}");
            assert!(!may(&index, &ann, "delete", "", "nodes"), "its own rules are not its rules");
            put(&mut index, &labelled(view.clone(), "nothing"));
            assert!(!may(&index, &ann, "get", "", "pods"), "{turn}");
            put(&mut index, &view);
            index.remove(Part::Role, "", "view");
            assert!(!may(&index, &ann, "get", "", "pods"), "{turn}");
        }
    }

    #[test]
    fn who_hands_out_more_than_it_has_is_told_what_is_missing() {
        let index = index(&[
            role("a", "reader", &["get"], &["pods"]),
            binding("a", "b", ("Role", "reader"), &json!({ "kind": "User", "name": "ann" })),
        ]);
        let ann = User::new("ann", &["g", "h"]);
        let granted = |verbs: &[&str]| Rule::read_all(&role("a", "x", verbs, &["pods"])["rules"]);
        assert_eq!(index.escalation(&ann, "a", &granted(&["get"])), None);
        assert_eq!(
            index.escalation(&ann, "a", &granted(&["get", "list"])).unwrap(),
            "user \"ann\" (groups=[\"g\" \"h\"]) is attempting to grant RBAC permissions not currently held:\n\
             {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"list\"]}"
        );
        assert!(index.escalation(&ann, "b", &granted(&["get"])).is_some());
        assert_eq!(index.escalation(&User::new("x", &[MASTERS]), "b", &Rule::full_authority()), None);
        let missing = RoleRef { kind: "Role".into(), name: "none".into() };
        let refused = index.granted_by(&missing, "a").unwrap_err();
        assert_eq!(refused.message, "roles.rbac.authorization.k8s.io \"none\" not found");
    }

    /// A few roles and bindings whose names collide often.
    fn objects() -> impl Strategy<Value = Vec<(Value, bool)>> {
        let scope = prop_oneof![Just(""), Just("a"), Just("b")];
        let object = (scope, 0..3_usize, 0..3_usize, 0..3_usize, any::<bool>(), any::<bool>()).prop_map(
            |(namespace, name, other, shape, is_role, stays)| {
                let name = ["p", "q", "r"][name];
                let other = ["p", "q", "r"][other];
                let object = match (is_role, shape) {
                    (true, 0) => role(namespace, name, &["get"], &[other]),
                    (true, 1) => labelled(role(namespace, name, &["list"], &[other]), other),
                    (true, _) => labelled(aggregating(name, other), name),
                    (false, _) => {
                        let kind = if shape == 0 && !namespace.is_empty() { "Role" } else { "ClusterRole" };
                        let subject = json!({ "kind": (["User", "Group"][shape % 2]), "name": "u" });
                        binding(namespace, name, (kind, other), &subject)
                    }
                };
                (object, stays)
            },
        );
        proptest::collection::vec(object, 0..24)
    }

    proptest! {
        /// The oracle is an index made in one go of what is left.
        #[test]
        fn an_index_kept_up_is_the_same_as_one_made_anew(changes in objects()) {
            let mut kept = Index::default();
            let mut left: BTreeMap<(bool, String, String), Value> = BTreeMap::new();
            for (object, stays) in &changes {
                let (part, namespace, name) = at(object);
                let key = (part == Part::Role, namespace.to_owned(), name.to_owned());
                if *stays {
                    put(&mut kept, object);
                    left.insert(key, object.clone());
                } else {
                    kept.remove(part, namespace, name);
                    left.remove(&key);
                }
            }
            let made = index(&left.into_values().collect::<Vec<_>>());
            prop_assert_eq!(format!("{:?}", kept), format!("{:?}", made));
        }
    }
}
