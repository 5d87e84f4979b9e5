//! The answers of all nodes as one sentence, in kube-scheduler's style.

use std::collections::BTreeMap;
use std::fmt;

/// How many nodes cannot host a Pod, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    nodes: usize,
    counts: BTreeMap<String, usize>,
}

impl Summary {
    /// Adds one node's reasons. One that has several counts with each; one that has none counts as a node.
    pub fn add<T: ToString>(&mut self, reasons: impl IntoIterator<Item = T>) {
        self.nodes += 1;
        let mut texts: Vec<String> = reasons.into_iter().map(|reason| reason.to_string()).collect();
        texts.sort();
        texts.dedup();
        for text in texts {
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
        match counts.as_slice() {
            [] if self.nodes == 0 => f.write_str(": there are no nodes."),
            [] => f.write_str("."),
            counts => write!(f, ": {}.", counts.join(", ")),
        }
    }
}
