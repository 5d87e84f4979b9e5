//! Counters in Prometheus' text form.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use crate::server::view::View;

/// What was answered so far.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, &'static str, u16), u64>>,
}

impl Metrics {
    /// One more answer.
    pub fn count(&self, verb: &'static str, resource: &'static str, code: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((verb, resource, code)).or_default() += 1;
    }

    /// `/metrics`
    pub fn text(&self, view: &View) -> String {
        let mut out = String::new();
        out.push_str(
            "# HELP apiserver_request_total Requests answered.\n# TYPE apiserver_request_total counter\n",
        );
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for ((verb, resource, code), count) in requests {
            let labels = format!("verb=\"{verb}\",resource=\"{resource}\",code=\"{code}\"");
            let _ = writeln!(out, "apiserver_request_total{{{labels}}} {count}");
        }
        out.push_str("# HELP apiserver_longrunning_requests Open watches.\n");
        out.push_str("# TYPE apiserver_longrunning_requests gauge\n");
        for (resource, count) in view.watcher_counts() {
            let resource = resource.rsplit('/').next().unwrap_or_default();
            let labels = format!("verb=\"watch\",resource=\"{resource}\"");
            let _ = writeln!(out, "apiserver_longrunning_requests{{{labels}}} {count}");
        }
        let state = view.state();
        let mut objects: BTreeMap<&str, usize> = BTreeMap::new();
        for key in state.objects.keys() {
            *objects.entry(&key.resource).or_default() += 1;
        }
        out.push_str("# HELP apiserver_storage_objects Stored objects.\n");
        out.push_str("# TYPE apiserver_storage_objects gauge\n");
        for (resource, count) in objects {
            let resource = resource.trim_start_matches('/').replace('/', ".");
            let _ = writeln!(out, "apiserver_storage_objects{{resource=\"{resource}\"}} {count}");
        }
        out.push_str("# HELP leasehold_revision Newest revision.\n# TYPE leasehold_revision counter\n");
        let _ = writeln!(out, "leasehold_revision {}", state.revision);
        out
    }
}
