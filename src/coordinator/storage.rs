//! What new volumes and claims get before they are kept, as upstream's admission has it: the finalizer that protects what
//! is in use, and for a claim that names no class the default one.

use serde_json::{Value, json};

use crate::api::kinds::by_kind;
use crate::api::storage::{
    CLAIM_PROTECTION, CLASS_BETA, DEFAULT_CLASS, DEFAULT_CLASS_BETA, VOLUME_PROTECTION,
};
use crate::coordinator::metadata;
use crate::coordinator::rules::is;
use crate::coordinator::turn::Turn;

impl Turn<'_, '_> {
    /// Prepares a new volume or claim; leaves all else.
    pub(super) fn admit_storage(&self, object: &mut Value) {
        if is(self.kind(), "", "PersistentVolume") {
            protect(object, VOLUME_PROTECTION);
        } else if is(self.kind(), "", "PersistentVolumeClaim") {
            protect(object, CLAIM_PROTECTION);
            self.give_class(object);
        }
    }

    fn give_class(&self, claim: &mut Value) {
        let is_named = !claim["spec"]["storageClassName"].is_null()
            || claim["metadata"]["annotations"][CLASS_BETA].is_string();
        if is_named || !claim["spec"].is_object() {
            return;
        }
        if let Some(class) = self.default_storage_class() {
            claim["spec"]["storageClassName"] = class.into();
        }
    }

    /// Of several, the youngest, and of those the first by name.
    fn default_storage_class(&self) -> Option<String> {
        let kind = by_kind("storage.k8s.io", "v1", "StorageClass")?;
        let all = self.draft.all(kind).into_iter().map(|class| class.value());
        let chosen = all.filter(is_default).min_by_key(|class| {
            let created = metadata::text(class, "creationTimestamp").to_owned();
            (std::cmp::Reverse(created), metadata::text(class, "name").to_owned())
        })?;
        Some(metadata::text(&chosen, "name").to_owned())
    }
}

fn is_default(class: &Value) -> bool {
    let annotations = &class["metadata"]["annotations"];
    annotations[DEFAULT_CLASS] == "true" || annotations[DEFAULT_CLASS_BETA] == "true"
}

fn protect(object: &mut Value, finalizer: &str) {
    let finalizers = &mut object["metadata"]["finalizers"];
    match finalizers.as_array_mut() {
        Some(all) if all.iter().any(|one| one == finalizer) => {}
        Some(all) => all.push(finalizer.into()),
        None => *finalizers = json!([finalizer]),
    }
}
