//! `spec.nodeSelector` and `spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};

use crate::placement::Reason;

/// The one field that `matchFields` may name.
const NAME_FIELD: &str = "metadata.name";

/// The node's labels and name against what the Pod requires; none when they match.
pub(super) fn mismatch(spec: &PodSpec, node: &Node) -> Option<Reason> {
    let clauses =
        failed_selector(spec, node).map_or_else(|| failed_affinity(spec, node), |clause| Some(vec![clause]));
    clauses.map(|clauses| Reason::NodeAffinity { clauses })
}

/// Whether a node selector (of an affinity, or of a `PersistentVolume`) matches the node.
pub fn matches_selector(selector: &NodeSelector, node: &Node) -> bool {
    failed_terms(&selector.node_selector_terms, node).is_none()
}

/// Sum of the weights of the preferred terms that match the node.
pub(super) fn preference(spec: &PodSpec, node: &Node) -> i64 {
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let terms = affinity.and_then(|it| it.preferred_during_scheduling_ignored_during_execution.as_deref());
    let matching = terms.unwrap_or_default().iter().filter(|term| {
        // An empty preferred term matches every node.
        let is_empty = term.preference.match_expressions.as_ref().is_none_or(Vec::is_empty)
            && term.preference.match_fields.as_ref().is_none_or(Vec::is_empty);
        is_empty || failed_requirement(&term.preference, node).is_none()
    });
    matching.map(|term| i64::from(term.weight)).sum()
}

/// The first pair of `nodeSelector` that the node lacks.
fn failed_selector(spec: &PodSpec, node: &Node) -> Option<String> {
    let (key, wanted) =
        spec.node_selector.iter().flatten().find(|(key, value)| label(node, key) != Some(value))?;
    let found = match label(node, key) {
        Some(found) => format!("the node has {found:?}"),
        None => "the node has no such label".to_owned(),
    };
    Some(format!("nodeSelector {key}={wanted}: {found}"))
}

fn failed_affinity(spec: &PodSpec, node: &Node) -> Option<Vec<String>> {
    let required = spec
        .affinity
        .as_ref()?
        .node_affinity
        .as_ref()?
        .required_during_scheduling_ignored_during_execution
        .as_ref()?;
    failed_terms(&required.node_selector_terms, node)
}

/// One term is enough, and all requirements of a term count. None when one matches, else what failed in each. An empty term
/// matches no node, and so does a list without terms.
fn failed_terms(terms: &[NodeSelectorTerm], node: &Node) -> Option<Vec<String>> {
    let mut clauses = Vec::new();
    for (i, term) in terms.iter().enumerate() {
        let clause = failed_requirement(term, node)?;
        clauses.push(format!("nodeAffinity term {i}: {clause}"));
    }
    if clauses.is_empty() {
        clauses.push("nodeAffinity has no term".to_owned());
    }
    Some(clauses)
}

fn failed_requirement(term: &NodeSelectorTerm, node: &Node) -> Option<String> {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return Some("an empty term matches no node".to_owned());
    }
    let expression =
        expressions.iter().find(|requirement| !matches_label(requirement, label(node, &requirement.key)));
    let field = fields.iter().find(|requirement| !matches_field(requirement, node));
    expression.or(field).map(print)
}

fn label<'a>(node: &'a Node, key: &str) -> Option<&'a String> {
    node.metadata.labels.as_ref().and_then(|labels: &BTreeMap<_, _>| labels.get(key))
}

/// One requirement against the value of its label, if the node has it. What cannot be read matches nothing, as
/// upstream's parse errors do.
fn matches_label(requirement: &NodeSelectorRequirement, found: Option<&String>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    match requirement.operator.as_str() {
        "In" => found.is_some_and(|found| values.contains(found)),
        "NotIn" => !values.is_empty() && found.is_none_or(|found| !values.contains(found)),
        "Exists" => values.is_empty() && found.is_some(),
        "DoesNotExist" => values.is_empty() && found.is_none(),
        "Gt" => compare(found, values).is_some_and(|(found, bound)| found > bound),
        "Lt" => compare(found, values).is_some_and(|(found, bound)| found < bound),
        _ => false,
    }
}

/// Both sides of `Gt` and `Lt` as integers; none unless there is exactly one bound and both can be read.
fn compare(found: Option<&String>, values: &[String]) -> Option<(i64, i64)> {
    let [bound] = values else { return None };
    Some((found?.parse().ok()?, bound.parse().ok()?))
}

/// `matchFields` knows `In` and `NotIn` with one value.
fn matches_field(requirement: &NodeSelectorRequirement, node: &Node) -> bool {
    let Some([wanted]) = requirement.values.as_deref() else { return false };
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let equal = requirement.key == NAME_FIELD && name == wanted;
    match requirement.operator.as_str() {
        "In" => equal,
        "NotIn" => !equal,
        _ => false,
    }
}

fn print(requirement: &NodeSelectorRequirement) -> String {
    let NodeSelectorRequirement { key, operator, values } = requirement;
    match values.as_deref().unwrap_or_default() {
        [] => format!("{key} {operator}"),
        values => format!("{key} {operator} [{}]", values.join(", ")),
    }
}
