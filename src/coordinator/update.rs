//! PUT and PATCH.

use serde_json::Value;

use crate::api::patch::Patch;
use crate::api::status::Status;
use crate::coordinator::command::{Outcome, Reply, Subresource};
use crate::coordinator::turn::Turn;

/// What upstream answers to a lost compare-and-swap.
const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

impl Turn<'_, '_> {
    pub(super) fn update(
        &mut self,
        name: &str,
        subresource: Subresource,
        mut value: Value,
    ) -> Result<Reply, Status> {
        let current = self.find(name)?;
        let old = current.value();
        let asked = value["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if !asked.is_empty() && asked != current.resource_version.to_string() {
            return Err(self.conflict(name, MODIFIED));
        }
        if subresource == Subresource::Status {
            let status = value["status"].take();
            value = old.clone();
            value["status"] = status;
        }
        for field in ["uid", "creationTimestamp", "namespace", "name"] {
            value["metadata"][field] = old["metadata"][field].clone();
        }
        (self.kind.defaults)(&mut value);
        let errors = (self.kind.validate)(&value);
        if !errors.is_empty() {
            return Err(Status::invalid(self.kind.group, self.kind.kind, name, &errors));
        }
        Ok(self.put(value, Outcome::Updated, current.resource_version))
    }

    pub(super) fn patch(
        &mut self,
        name: &str,
        subresource: Subresource,
        patch: &Patch,
    ) -> Result<Reply, Status> {
        let value = patch.apply(self.find(name)?.value(), self.kind.kind)?;
        self.update(name, subresource, value)
    }
}
