//! Whether a Pod can run nowhere but on one node, because a volume that it uses is there alone.

use std::borrow::Borrow;

use k8s_openapi::api::core::v1::{
    NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume, PersistentVolumeClaim, Pod,
};

use super::{claims, matching};

/// Labels and fields that name one node. A node's label is its name.
const NAMES: [&str; 2] = ["kubernetes.io/hostname", "metadata.name"];

/// The node that the Pod is tied to by a volume that this node alone can reach, as local volumes are. `claim` finds the
/// claims of the Pod's namespace, `volume` the volumes, by name; what is not bound ties nobody.
pub fn tied_to<C, V>(
    pod: &Pod,
    claim: impl Fn(&str) -> Option<C>,
    volume: impl Fn(&str) -> Option<V>,
) -> Option<String>
where
    C: Borrow<PersistentVolumeClaim>,
    V: Borrow<PersistentVolume>,
{
    claims(pod).iter().find_map(|name| {
        let claim = claim(name)?;
        let bound = claim.borrow().spec.as_ref()?.volume_name.as_deref().filter(|name| !name.is_empty())?;
        only_node(volume(bound)?.borrow()).map(str::to_owned)
    })
}

/// The one node that can reach the volume; none where there may be several.
pub fn only_node(volume: &PersistentVolume) -> Option<&str> {
    let mut terms = matching::affinity(volume)?.node_selector_terms.iter().map(node_of);
    let first = terms.next()??;
    terms.all(|other| other == Some(first)).then_some(first)
}

/// The one node that a term lets match.
fn node_of(term: &NodeSelectorTerm) -> Option<&str> {
    let labels = term.match_expressions.iter().flatten();
    let fields = term.match_fields.iter().flatten();
    labels.chain(fields).find_map(named)
}

fn named(requirement: &NodeSelectorRequirement) -> Option<&str> {
    let [value] = requirement.values.as_deref()? else { return None };
    let names_one = NAMES.contains(&requirement.key.as_str()) && requirement.operator == "In";
    names_one.then_some(value.as_str())
}
