//! POST.

use serde_json::{Value, json};

use crate::api::status::Status;
use crate::coordinator::command::{Entropy, Outcome, Reply};
use crate::coordinator::turn::Turn;

impl Turn<'_, '_> {
    pub(super) fn create(&mut self, mut value: Value, entropy: &mut dyn Entropy) -> Result<Reply, Status> {
        if !value["metadata"].is_object() {
            value["metadata"] = json!({});
        }
        let metadata = &mut value["metadata"];
        if metadata["resourceVersion"].as_str().is_some_and(|v| !v.is_empty()) {
            return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
        }
        if self.kind.namespaced {
            metadata["namespace"] = self.namespace.into();
        }
        metadata["uid"] = entropy.uid().into();
        metadata["creationTimestamp"] = self.now.seconds().into();
        if self.kind.has_generation {
            metadata["generation"] = 1.into();
        }
        let name = metadata["name"].as_str().unwrap_or_default().to_owned();
        if self.draft.get(&self.key(&name)).is_some() {
            return Err(Status::already_exists(self.kind.group, self.kind.plural, &name));
        }
        (self.kind.defaults)(&mut value);
        let errors = (self.kind.validate)(&value);
        if !errors.is_empty() {
            return Err(Status::invalid(self.kind.group, self.kind.kind, &name, &errors));
        }
        Ok(self.put(value, Outcome::Created, 0))
    }
}
