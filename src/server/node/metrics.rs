//! `/metrics`, in Prometheus' text format.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::{NodeBackend, Shared};

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One metric with all its samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// E.g. `leasehold_pods`; a counter's ends in `_total`.
    pub name: &'static str,
    /// What it says, and in which unit.
    pub help: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Labels and value of each.
    pub samples: Vec<(Vec<(&'static str, String)>, f64)>,
}

pub(super) async fn metrics<B: NodeBackend>(State(shared): State<Arc<Shared<B>>>) -> Response {
    let text = render(&shared.backend.metrics().await);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

fn render(metrics: &[Metric]) -> String {
    let mut text = String::new();
    for metric in metrics {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let help = metric.help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = writeln!(text, "# HELP {} {help}\n# TYPE {} {kind}", metric.name, metric.name);
        for (labels, value) in &metric.samples {
            let _ = writeln!(text, "{}{} {value}", metric.name, braced(labels));
        }
    }
    text
}

fn braced(labels: &[(&'static str, String)]) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    format!("{{{}}}", pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_format_is_prometheus() {
        let pods = Metric {
            name: "leasehold_pods",
            help: "Pods on this node, by phase.",
            kind: Kind::Gauge,
            samples: vec![
                (vec![("phase", "Running".into())], 3.0),
                (vec![("phase", "a \"quoted\\\nphase".into())], 0.5),
            ],
        };
        let starts = Metric {
            name: "leasehold_container_starts_total",
            help: "Containers started.",
            kind: Kind::Counter,
            samples: vec![(Vec::new(), 12.0)],
        };
        let expected = concat!(
            "# HELP leasehold_pods Pods on this node, by phase.\n# TYPE leasehold_pods gauge\n",
            "leasehold_pods{phase=\"Running\"} 3\n",
            "leasehold_pods{phase=\"a \\\"quoted\\\\\\nphase\"} 0.5\n",
            "# HELP leasehold_container_starts_total Containers started.\n",
            "# TYPE leasehold_container_starts_total counter\nleasehold_container_starts_total 12\n",
        );
        assert_eq!(render(&[pods, starts]), expected);
    }
}
