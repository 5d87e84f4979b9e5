//! The answers of all nodes as one sentence, in kube-scheduler's style.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::placement::Reason;

/// How many nodes cannot host a Pod, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    nodes: usize,
    counts: BTreeMap<String, usize>,
    /// What keeps the Pod off every node.
    waits: Vec<String>,
}

impl Summary {
    /// What has to happen before any of so many nodes can host the Pod.
    pub fn waiting<T: ToString>(nodes: usize, waits: &[T]) -> Self {
        Self { nodes, counts: BTreeMap::new(), waits: waits.iter().map(ToString::to_string).collect() }
    }

    /// Adds one node's reasons: those that come first, as kube-scheduler asks one thing after the other and counts a
    /// node where it failed. Of taints that is one; of resources all that are short.
    pub fn add(&mut self, reasons: &[Reason]) {
        let first = reasons.iter().map(Reason::turn).min();
        let mut counted: Vec<&Reason> =
            reasons.iter().filter(|reason| Some(reason.turn()) == first).collect();
        if counted.first().is_some_and(|reason| !reason.is_about_room()) {
            counted.truncate(1);
        }
        let texts: Vec<String> = counted.into_iter().map(ToString::to_string).collect();
        self.add_told(&texts);
    }

    /// Adds what one node has said itself.
    pub fn add_told(&mut self, texts: &[String]) {
        self.nodes += 1;
        for text in texts.iter().collect::<BTreeSet<_>>().into_iter().cloned() {
            *self.counts.entry(text).or_default() += 1;
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0/{} nodes can host this Pod", self.nodes)?;
        let mut counts: Vec<String> =
            self.counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        counts.sort();
        counts.extend(self.waits.iter().cloned());
        match counts.as_slice() {
            [] if self.nodes == 0 => f.write_str(": there are no nodes."),
            [] => f.write_str("."),
            counts => write!(f, ": {}.", counts.join(", ")),
        }
    }
}
