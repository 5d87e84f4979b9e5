//! One rule of a role: what it allows, and whether rules that somebody has cover rules that they hand out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Attributes, Resource, Subject};

/// Stands for all verbs, groups, resources or paths.
pub const ALL: &str = "*";

/// `PolicyRule`
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// What may be done.
    pub verbs: Vec<String>,
    /// In which API groups.
    pub groups: Vec<String>,
    /// To which resources, with their subresource after a slash.
    pub resources: Vec<String>,
    /// To which objects; none for all.
    pub names: Vec<String>,
    /// To which paths.
    pub paths: Vec<String>,
}

impl Rule {
    /// Reads a `PolicyRule`; what is not there is empty.
    pub fn read(value: &Value) -> Self {
        let list = |field: &str| {
            let texts = value[field].as_array().into_iter().flatten();
            texts.filter_map(|text| text.as_str().map(str::to_owned)).collect()
        };
        Self {
            verbs: list("verbs"),
            groups: list("apiGroups"),
            resources: list("resources"),
            names: list("resourceNames"),
            paths: list("nonResourceURLs"),
        }
    }

    /// All rules of a list.
    pub fn read_all(rules: &Value) -> Vec<Self> {
        rules.as_array().into_iter().flatten().map(Self::read).collect()
    }

    /// The `PolicyRule`.
    pub fn to_json(&self) -> Value {
        let mut value = json!({ "verbs": self.verbs });
        for (field, list) in self.parts() {
            if !list.is_empty() && field != "verbs" {
                value[field] = list.clone().into();
            }
        }
        value
    }

    /// Everything with everything.
    pub fn full_authority() -> [Self; 2] {
        let all = || vec![ALL.to_owned()];
        [
            Self { verbs: all(), groups: all(), resources: all(), ..Self::default() },
            Self { verbs: all(), paths: all(), ..Self::default() },
        ]
    }

    /// Whether this is allowed.
    pub fn allows(&self, attributes: &Attributes<'_>) -> bool {
        has(&self.verbs, attributes.verb)
            && match attributes.subject {
                Subject::Path(path) => self.paths.iter().any(|rule| path_covers(rule, path)),
                Subject::Resource(resource) => self.is_about(&resource),
            }
    }

    fn is_about(&self, asked: &Resource<'_>) -> bool {
        let full = asked.with_subresource();
        let anywhere = format!("{ALL}/{}", asked.subresource);
        let is_named = |rule: &String| {
            rule == ALL || *rule == full || !asked.subresource.is_empty() && *rule == anywhere
        };
        has(&self.groups, asked.group)
            && self.resources.iter().any(is_named)
            && (self.names.is_empty() || self.names.iter().any(|name| name == asked.name))
    }

    /// Upstream's order: `APIGroups`, `Resources`, `NonResourceURLs`, `ResourceNames`, `Verbs`.
    fn parts(&self) -> [(&'static str, &Vec<String>); 5] {
        [
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("nonResourceURLs", &self.paths),
            ("resourceNames", &self.names),
            ("verbs", &self.verbs),
        ]
    }

    /// `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`
    fn text(&self) -> String {
        let named = |(field, list): (&str, &Vec<String>)| {
            let name = match field {
                "apiGroups" => "APIGroups",
                "resources" => "Resources",
                "nonResourceURLs" => "NonResourceURLs",
                "resourceNames" => "ResourceNames",
                _ => "Verbs",
            };
            format!("{name}:{}", quoted(list))
        };
        let parts: Vec<String> =
            self.parts().into_iter().filter(|(_, list)| !list.is_empty()).map(named).collect();
        format!("{{{}}}", parts.join(", "))
    }

    /// Rules that each name one thing and one verb.
    fn broken_down(&self) -> Vec<Self> {
        let mut small = Vec::new();
        let one = |text: &String| vec![text.clone()];
        for verb in &self.verbs {
            for path in &self.paths {
                small.push(Self { verbs: one(verb), paths: one(path), ..Self::default() });
            }
        }
        for (group, resource, verb) in self.groups.iter().flat_map(|group| {
            let pairs = self.resources.iter().flat_map(|r| self.verbs.iter().map(move |v| (r, v)));
            pairs.map(move |(resource, verb)| (group, resource, verb))
        }) {
            let bare =
                Self { verbs: one(verb), groups: one(group), resources: one(resource), ..Self::default() };
            if self.names.is_empty() {
                small.push(bare);
            } else {
                small.extend(self.names.iter().map(|name| Self { names: one(name), ..bare.clone() }));
            }
        }
        small
    }

    /// Whether whoever has this rule has `small` too, which names one thing and one verb.
    fn covers(&self, small: &Self) -> bool {
        let all = |asked: &[String], own: &[String]| asked.iter().all(|text| has(own, text));
        all(&small.verbs, &self.verbs)
            && all(&small.groups, &self.groups)
            && small.resources.iter().all(|asked| {
                let part = asked.split_once('/').map(|(_, part)| format!("{ALL}/{part}"));
                has(&self.resources, asked) || part.is_some_and(|part| self.resources.contains(&part))
            })
            && (self.names.is_empty()
                || !small.names.is_empty() && small.names.iter().all(|name| self.names.contains(name)))
            && small.paths.iter().all(|asked| self.paths.iter().any(|own| path_covers(own, asked)))
    }
}

fn has(list: &[String], text: &str) -> bool {
    list.iter().any(|own| own == ALL || own == text)
}

/// `/apis/*` covers what begins with `/apis/`.
fn path_covers(rule: &str, path: &str) -> bool {
    rule == ALL || rule == path || rule.ends_with(ALL) && path.starts_with(rule.trim_end_matches(ALL))
}

/// As Go prints a list of quoted texts.
pub fn quoted(list: &[String]) -> String {
    let quoted: Vec<String> = list.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", quoted.join(" "))
}

/// What is in `granted` and not in `held`, one line for each, in upstream's form; none where all is held.
pub fn missing(held: &[Rule], granted: &[Rule]) -> Vec<String> {
    let lines: BTreeSet<String> = not_held(held, granted).iter().map(Rule::text).collect();
    lines.into_iter().collect()
}

/// What is in `granted` and not in `held`, as rules that each are about one thing.
pub fn not_held(held: &[Rule], granted: &[Rule]) -> Vec<Rule> {
    let small = granted.iter().flat_map(Rule::broken_down);
    let missing = small.filter(|small| !held.iter().any(|own| own.covers(small)));
    let mut rules = Vec::new();
    let mut simple: BTreeMap<(Vec<String>, Vec<String>), Rule> = BTreeMap::new();
    for rule in missing {
        if !rule.names.is_empty() || !rule.paths.is_empty() {
            rules.push(rule);
            continue;
        }
        simple
            .entry((rule.groups.clone(), rule.resources.clone()))
            .and_modify(|joined| joined.verbs.extend(rule.verbs.iter().cloned()))
            .or_insert(rule);
    }
    rules.extend(simple.into_values());
    rules
}

#[cfg(test)]
mod tests {
    use super::super::User;
    use super::*;

    fn rule(value: &Value) -> Rule {
        Rule::read(value)
    }

    #[test]
    fn a_rule_allows_what_upstreams_allows() {
        let pods = json!({ "verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"] });
        let with = |field: &str, list: &[&str]| {
            let mut changed = pods.clone();
            changed[field] = json!(list);
            changed
        };
        // verb, group, resource, subresource, name
        let get = ["get", "", "pods", "", "x"];
        let cases: [(Value, [&str; 5], bool); 19] = [
            (pods.clone(), get, true),
            (pods.clone(), ["list", "", "pods", "", ""], true),
            (pods.clone(), ["watch", "", "pods", "", ""], false),
            (pods.clone(), ["get", "apps", "pods", "", "x"], false),
            (pods.clone(), ["get", "", "secrets", "", "x"], false),
            (pods.clone(), ["get", "", "pods", "log", "x"], false),
            (with("verbs", &["*"]), ["anything", "", "pods", "", "x"], true),
            (with("apiGroups", &["*"]), ["get", "apps", "pods", "", "x"], true),
            (with("resources", &["*"]), ["get", "", "secrets", "", "x"], true),
            (with("resources", &["*"]), ["get", "", "pods", "log", "x"], true),
            (with("resources", &["pods/log"]), ["get", "", "pods", "log", "x"], true),
            (with("resources", &["pods/log"]), get, false),
            (with("resources", &["*/log"]), ["get", "", "pods", "log", "x"], true),
            (with("resources", &["*/log"]), get, false),
            (with("resources", &["pods/*"]), ["get", "", "pods", "log", "x"], false),
            (with("resourceNames", &["x"]), get, true),
            (with("resourceNames", &["y"]), get, false),
            (with("resourceNames", &["x"]), ["list", "", "pods", "", ""], false),
            (json!({ "verbs": ["*"], "nonResourceURLs": ["*"] }), get, false),
        ];
        let user = User::new("eve", &[]);
        for (value, [verb, group, resource, subresource, name], expected) in cases {
            let asked =
                Resource { group, resource, subresource, namespace: "a", name, fields: "", labels: "" };
            let attributes = Attributes { user: &user, verb, subject: Subject::Resource(asked) };
            assert_eq!(rule(&value).allows(&attributes), expected, "{value}: {verb} {asked:?}");
        }
    }

    #[test]
    fn paths_are_allowed_whole_by_their_beginning_or_all() {
        let cases = [
            ("/healthz", "/healthz", true),
            ("/healthz", "/healthz/ping", false),
            ("/healthz*", "/healthz/ping", true),
            ("/apis/*", "/apis", false),
            ("/apis/*", "/apis/apps/v1", true),
            ("*", "/metrics", true),
            ("/a*b", "/axb", false),
        ];
        let user = User::new("eve", &[]);
        for (own, path, expected) in cases {
            let rule = rule(&json!({ "verbs": ["get"], "nonResourceURLs": [own] }));
            let asks = |verb| Attributes { user: &user, verb, subject: Subject::Path(path) };
            assert_eq!(rule.allows(&asks("get")), expected, "{own} {path}");
            assert!(!rule.allows(&asks("post")), "{own} {path}");
        }
    }

    #[test]
    fn what_is_handed_out_must_be_held() {
        let read = |resources: &[&str], verbs: &[&str]| json!({ "verbs": verbs, "apiGroups": [""], "resources": resources });
        let mut named = read(&["secrets"], &["get"]);
        named["resourceNames"] = json!(["a", "b"]);
        let mut one_name = named.clone();
        one_name["resourceNames"] = json!(["a"]);
        let paths = |paths: &[&str]| json!({ "verbs": ["get"], "nonResourceURLs": paths });
        let cases: Vec<(Vec<Value>, Value, Vec<&str>)> = vec![
            (vec![read(&["pods"], &["get", "list"])], read(&["pods"], &["list"]), vec![]),
            // From two rules together.
            (
                vec![read(&["pods"], &["get"]), read(&["pods"], &["list"])],
                read(&["pods"], &["get", "list"]),
                vec![],
            ),
            (
                vec![read(&["pods"], &["get"])],
                read(&["pods", "pods/log"], &["get", "list"]),
                vec![
                    "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"list\"]}",
                    "{APIGroups:[\"\"], Resources:[\"pods/log\"], Verbs:[\"get\" \"list\"]}",
                ],
            ),
            (vec![read(&["*/log"], &["*"])], read(&["pods/log"], &["get"]), vec![]),
            (vec![read(&["*"], &["*"])], named.clone(), vec![]),
            (vec![one_name.clone()], one_name.clone(), vec![]),
            (
                vec![one_name.clone()],
                named,
                vec!["{APIGroups:[\"\"], Resources:[\"secrets\"], ResourceNames:[\"b\"], Verbs:[\"get\"]}"],
            ),
            (
                vec![one_name],
                read(&["secrets"], &["get"]),
                vec!["{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}"],
            ),
            (vec![paths(&["/apis/*"])], paths(&["/apis/apps"]), vec![]),
            (
                vec![paths(&["/apis/*"]), read(&["*"], &["*"])],
                paths(&["*"]),
                vec!["{NonResourceURLs:[\"*\"], Verbs:[\"get\"]}"],
            ),
            (
                vec![read(&["*"], &["get"])],
                read(&["pods"], &["*"]),
                vec!["{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"*\"]}"],
            ),
        ];
        for (held, granted, expected) in cases {
            let held: Vec<Rule> = held.iter().map(rule).collect();
            assert_eq!(missing(&held, &[rule(&granted)]), expected, "{granted}");
        }
    }

    #[test]
    fn a_rule_comes_back_as_it_was_read() {
        let value = json!({
            "verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["x"],
        });
        assert_eq!(rule(&value).to_json(), value);
    }
}
