//! DELETE, and the end of what has lived long enough.

use crate::api::status::Status;
use crate::coordinator::command::{Body, DeleteOptions, Outcome, Reply};
use crate::coordinator::turn::Turn;

impl Turn<'_, '_> {
    pub(super) fn delete(&mut self, name: &str, options: &DeleteOptions) -> Result<Reply, Status> {
        let current = self.find(name)?;
        if options.uid.as_ref().is_some_and(|uid| *uid != current.uid) {
            return Err(self.conflict(name, "Precondition failed: UID in precondition"));
        }
        self.remove(current.value(), current.resource_version);
        let body = self.success(name, &current.uid);
        Ok(Reply { outcome: Outcome::Deleted, body, warnings: Vec::new() })
    }

    pub(super) fn expire(&mut self, name: &str, resource_version: u64) -> Reply {
        let found = self.draft.get(&self.key(name)).filter(|o| o.resource_version == resource_version);
        let outcome = match found {
            Some(object) => {
                self.remove(object.value(), resource_version);
                Outcome::Deleted
            }
            None => Outcome::Unchanged,
        };
        Reply { outcome, body: Body::Status(serde_json::Value::Null), warnings: Vec::new() }
    }
}
