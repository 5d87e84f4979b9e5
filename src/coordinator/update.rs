//! PUT and PATCH.

use std::sync::Arc;

use serde_json::Value;

use crate::api::patch::Patch;
use crate::api::status::{FieldError, Status};
use crate::coordinator::body::check_name;
use crate::coordinator::command::{Body, Outcome, Reply, Subresource, Written};
use crate::coordinator::rules::{
    annotations_are_intent, is, is_created_by_update, is_updated_unconditionally,
};
use crate::coordinator::state::Object;
use crate::coordinator::turn::{Turn, done};
use crate::coordinator::{daemon_set, metadata, namespace, pod, pod_parts, priority, services, signing};

/// What upstream answers to a lost compare-and-swap.
const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

impl Turn<'_, '_> {
    pub(super) fn update(
        &mut self,
        name: &str,
        subresource: Subresource,
        body: &Value,
    ) -> Result<Reply, Status> {
        if subresource == Subresource::Scale {
            return self.update_scale(name, body);
        }
        let new = self.decode(body)?;
        check_name(&new, name)?;
        let current = self.draft.get(&self.key(name));
        let may_create = is_created_by_update(self.kind()) && subresource == Subresource::Main;
        self.check_uid(name, &new, current.as_deref(), may_create)?;
        match current {
            Some(current) => {
                let old = current.value();
                self.replace(&current, &old, new, subresource)
            }
            None if may_create => self.create_by_update(new),
            None => Err(self.not_found(name)),
        }
    }

    pub(super) fn patch(
        &mut self,
        name: &str,
        subresource: Subresource,
        patch: &Patch,
    ) -> Result<Reply, Status> {
        if subresource == Subresource::Scale {
            return self.patch_scale(name, patch);
        }
        let current = self.find(name)?;
        let old = current.value();
        let spoken = self.as_spoken(&old);
        let patched = patch.apply(spoken.clone(), self.kind().kind)?;
        let new = self.decode_patched(patched, &spoken, patch)?;
        check_name(&new, name)?;
        self.replace(&current, &old, new, subresource)
    }

    /// A uid in the body of a PUT is a precondition.
    pub(super) fn check_uid(
        &self,
        name: &str,
        new: &Value,
        current: Option<&Object>,
        may_create: bool,
    ) -> Result<(), Status> {
        let asked = metadata::text(new, "uid");
        let found = current.map_or("", |current| &current.uid);
        if asked.is_empty() || asked == found || (current.is_none() && !may_create) {
            return Ok(());
        }
        let why = format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {found}");
        Err(self.conflict(name, &why))
    }

    fn create_by_update(&mut self, mut new: Value) -> Result<Reply, Status> {
        metadata::clear(&mut new, "resourceVersion");
        self.create_decoded(new)
    }

    /// Puts `new` in the place of `old`, as far as this subresource may.
    pub(super) fn replace(
        &mut self,
        current: &Arc<Object>,
        old: &Value,
        mut new: Value,
        subresource: Subresource,
    ) -> Result<Reply, Status> {
        let name = &*current.key.name;
        (self.kind().defaults)(&mut new);
        self.check_version(name, &mut new, current)?;
        metadata::preserve(&mut new, old);
        self.keep_apart(&mut new, old, subresource)?;
        if is(self.kind(), "", "Service") && subresource == Subresource::Main {
            services::prepare_update(&mut new, old, current.key.clone(), self.draft, self.entropy)?;
        }
        self.own_changes(&mut new, old, subresource);
        self.count_generation(&mut new, old);
        self.ask_guard(name, Written::Part(subresource), Some(old), Some(&new))?;
        let errors = self.update_errors(&new, old, subresource);
        self.refuse_errors(name, &errors)?;
        if self.is_finished(&new, old) {
            let last = self.remove(new, current.resource_version);
            return Ok(done(Outcome::Deleted, Body::Object(last)));
        }
        if new == *old {
            return Ok(done(Outcome::Unchanged, Body::Object(current.clone())));
        }
        Ok(self.put(new, Outcome::Updated, current.resource_version))
    }

    /// Compare-and-swap by resourceVersion; without one the update is unconditional, where the kind allows that.
    fn check_version(&self, name: &str, new: &mut Value, current: &Object) -> Result<(), Status> {
        let asked = metadata::text(new, "resourceVersion");
        let is_unset = matches!(asked, "" | "0");
        if is_unset && !is_updated_unconditionally(self.kind()) {
            let rule = "must be specified for an update";
            let error = FieldError::invalid("metadata.resourceVersion", &0.into(), rule);
            return Err(Status::invalid(self.kind().group, self.kind().plural, name, &[error]));
        }
        if !is_unset && asked.parse() != Ok(current.resource_version) {
            return Err(self.conflict(name, MODIFIED));
        }
        new["metadata"]["resourceVersion"] = current.resource_version.to_string().into();
        Ok(())
    }

    /// Gives back to `new` what this subresource may not change.
    fn keep_apart(&self, new: &mut Value, old: &Value, subresource: Subresource) -> Result<(), Status> {
        let kind = self.kind();
        match subresource {
            Subresource::Status if !kind.has_status => Err(no_such_subresource()),
            Subresource::Finalize if !is(kind, "", "Namespace") => Err(no_such_subresource()),
            Subresource::Approval if !is(kind, "certificates.k8s.io", "CertificateSigningRequest") => {
                Err(no_such_subresource())
            }
            Subresource::Approval => {
                let conditions = new["status"]["conditions"].take();
                *new = old.clone();
                if !new["status"].is_object() {
                    new["status"] = serde_json::json!({});
                }
                signing::keep_approval(new, &conditions, self.now);
                Ok(())
            }
            Subresource::Status => {
                let (metadata, status) = (new["metadata"].take(), new["status"].take());
                *new = old.clone();
                new["metadata"] = metadata;
                put_or_remove(new, "status", status);
                if is(kind, "", "Pod") {
                    pod::prepare_status(new, old);
                }
                Ok(())
            }
            Subresource::EphemeralContainers => {
                pod_parts::keep_all_but_ephemeral(new, old);
                Ok(())
            }
            Subresource::Resize => {
                pod_parts::keep_all_but_resources(new, old);
                Ok(())
            }
            Subresource::Main | Subresource::Scale | Subresource::Finalize => {
                if kind.has_status {
                    put_or_remove(new, "status", old["status"].clone());
                }
                if is(kind, "", "Namespace") && subresource == Subresource::Main {
                    namespace::keep_finalizers(new, old);
                } else if is(kind, "apps", "DaemonSet") {
                    daemon_set::prepare_update(new, old);
                } else if is(kind, "", "Pod") {
                    priority::keep(new, old);
                }
                self.check_default_class(new)?;
                Ok(())
            }
        }
    }

    fn count_generation(&self, new: &mut Value, old: &Value) {
        let changed = !same_intent(new, old)
            || annotations_are_intent(self.kind())
                && !same(&new["metadata"]["annotations"], &old["metadata"]["annotations"]);
        if self.kind().has_generation && changed {
            metadata::bump_generation(new);
        }
    }

    fn update_errors(&self, new: &Value, old: &Value, subresource: Subresource) -> Vec<FieldError> {
        let kind = self.kind();
        let mut errors = metadata::validate_update(new, old);
        match subresource {
            Subresource::Main | Subresource::Scale => {
                errors.extend((kind.validate)(new));
                errors.extend((self.spoken().validate_update)(new, old));
            }
            Subresource::Status if is(kind, "", "Namespace") => {
                errors.extend(namespace::validate_status(new));
            }
            Subresource::EphemeralContainers => errors.extend(pod_parts::ephemeral_errors(new, old)),
            Subresource::Resize => errors.extend(pod_parts::resize_errors(new, old)),
            Subresource::Finalize => errors.extend(namespace::validate_finalizers(new)),
            Subresource::Approval => errors.extend(signing::validate_approval(new, old)),
            Subresource::Status => errors.extend((kind.validate_status)(new, old)),
        }
        errors
    }

    /// Whether the object was only waiting for the finalizers that this update removed.
    fn is_finished(&self, new: &Value, old: &Value) -> bool {
        metadata::is_terminating(old)
            && metadata::finalizers(new).is_empty()
            && metadata::number(old, "deletionGracePeriodSeconds").unwrap_or(0) == 0
            && !(is(self.kind(), "", "Namespace") && namespace::has_finalizers(new))
    }
}

fn no_such_subresource() -> Status {
    Status::new(404, "NotFound", "the server could not find the requested resource")
}

pub(super) fn put_or_remove(object: &mut Value, field: &str, value: Value) {
    if value.is_null() {
        object.as_object_mut().expect("decoded as an object").remove(field);
    } else {
        object[field] = value;
    }
}

/// Whether two versions ask for the same: all but metadata and status, where no list is as good as an empty one.
fn same_intent(new: &Value, old: &Value) -> bool {
    let names = |object: &Value| -> Vec<String> {
        object.as_object().into_iter().flat_map(|fields| fields.keys().cloned()).collect()
    };
    let told = |name: &String| !matches!(name.as_str(), "metadata" | "status" | "apiVersion" | "kind");
    names(new).iter().chain(&names(old)).filter(|name| told(name)).all(|name| same(&new[name], &old[name]))
}

/// Equality in which an absent or null field is an empty list.
pub(super) fn same(new: &Value, old: &Value) -> bool {
    let is_nothing = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    match (new, old) {
        (Value::Object(a), Value::Object(b)) => {
            a.keys().chain(b.keys()).all(|key| same(&new[key.as_str()], &old[key.as_str()]))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => new == old || (is_nothing(new) && is_nothing(old)),
    }
}
