//! POST.

use serde_json::{Value, json};

use crate::api::status::Status;
use crate::api::{kinds, service_account, validation};
use crate::coordinator::command::{Outcome, Reply, Subresource, Written};
use crate::coordinator::rules::{is, keeps_status_on_create};
use crate::coordinator::state::Key;
use crate::coordinator::turn::Turn;
use crate::coordinator::{daemon_set, job, metadata, namespace, pod, services};

/// How often a generated name is tried, as upstream.
const GENERATED_NAME_ATTEMPTS: usize = 8;
/// Longest part of a generated name that the client chose: 63 less the suffix, as upstream.
const GENERATED_NAME_BASE_BYTES_MAX: usize = 58;

impl Turn<'_, '_> {
    pub(super) fn create(&mut self, body: &Value) -> Result<Reply, Status> {
        let value = self.decode(body)?;
        self.create_decoded(value)
    }

    pub(super) fn create_decoded(&mut self, mut value: Value) -> Result<Reply, Status> {
        if !matches!(metadata::text(&value, "resourceVersion"), "" | "0") {
            return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
        }
        metadata::wipe(&mut value);
        self.check_namespace_accepts(&value)?;
        let name = self.choose_name(&mut value)?;
        metadata::fill(&mut value, self.entropy.uid(), self.now);
        self.prepare_new(&mut value)?;
        if is(self.kind(), "", "Pod") {
            self.admit_pod(&name, &mut value)?;
        }
        self.ask_guard(&name, Written::Part(Subresource::Main), None, Some(&value))?;
        if is(self.kind(), "", "Service") {
            services::prepare_new(&mut value, self.key(&name), self.draft, self.entropy)?;
        }
        let mut errors = metadata::validate(self.kind(), &value);
        errors.extend((self.spoken().validate)(&value));
        if is(self.kind(), "", "Pod") {
            errors.extend(validation::pod_create(&value));
        }
        self.refuse_errors(&name, &errors)?;
        self.warnings.extend(pod::warning(self.kind(), &name));
        self.warnings.extend(Some(self.kind().warning).filter(|it| !it.is_empty()).map(str::to_owned));
        self.check_free(&name, &value)?;
        Ok(self.put(value, Outcome::Created, 0))
    }

    /// Objects are made in namespaces that exist and are not about to go.
    fn check_namespace_accepts(&self, value: &Value) -> Result<(), Status> {
        if !self.kind().namespaced {
            return Ok(());
        }
        let kind = kinds::by_kind("", "v1", "Namespace").expect("a row of the table");
        let asked = self.namespace();
        let found = self.draft.get(&Key::new(kind, "", asked));
        let found = found.ok_or_else(|| Status::not_found("", "namespaces", asked))?;
        if !found.fields.iter().any(|(field, phase)| *field == "status.phase" && phase == "Terminating") {
            return Ok(());
        }
        let name = Some(metadata::text(value, "name")).filter(|name| !name.is_empty());
        let name = name.unwrap_or(metadata::text(value, "generateName"));
        let why = format!("unable to create new content in namespace {asked} because it is being terminated");
        let mut refused = self.forbidden(name, &why);
        refused.details["causes"] = json!([{
            "reason": "NamespaceTerminating",
            "message": format!("namespace {asked} is being terminated"),
            "field": "metadata.namespace",
        }]);
        Err(refused)
    }

    /// The name given, or one that is free with the prefix given.
    fn choose_name(&mut self, value: &mut Value) -> Result<String, Status> {
        let name = metadata::text(value, "name");
        let prefix = metadata::text(value, "generateName");
        if !name.is_empty() || prefix.is_empty() {
            return Ok(name.to_owned());
        }
        let mut cut = prefix.len().min(GENERATED_NAME_BASE_BYTES_MAX);
        while !prefix.is_char_boundary(cut) {
            cut -= 1;
        }
        let base = prefix[..cut].to_owned();
        let mut name = String::new();
        for _ in 0..GENERATED_NAME_ATTEMPTS {
            name = format!("{base}{}", self.entropy.suffix());
            if self.draft.get(&self.key(&name)).is_none() {
                value["metadata"]["name"] = name.clone().into();
                return Ok(name);
            }
        }
        let mut refused = Status::already_exists(self.spoken().group, self.spoken().plural, &name);
        refused.message += ", the server was not able to generate a unique name for the object";
        refused.details["retryAfterSeconds"] = 1.into();
        Err(refused)
    }

    /// What upstream's strategies do to a new object before it is validated. The defaults come last of what holds for
    /// all kinds: some read the name, and the status starts from them.
    fn prepare_new(&self, value: &mut Value) -> Result<(), Status> {
        let kind = self.kind();
        if kind.has_status && !keeps_status_on_create(kind) {
            value.as_object_mut().expect("decoded as an object").remove("status");
        }
        metadata::clear(value, "generation");
        if kind.has_generation {
            value["metadata"]["generation"] = 1.into();
        }
        (kind.defaults)(value);
        self.own_new(value);
        self.check_default_class(value)?;
        self.admit_storage(value);
        if is(kind, "", "Pod") {
            self.admit_priority(value)?;
            pod::prepare_new(value, self.now)?;
        } else if is(kind, "", "Namespace") {
            namespace::prepare_new(value);
        } else if is(kind, "apps", "DaemonSet") {
            daemon_set::prepare_new(value);
        } else if is(kind, "batch", "Job") {
            job::prepare_new(value);
        }
        Ok(())
    }

    /// What its ServiceAccount has for a new Pod.
    fn admit_pod(&mut self, name: &str, pod: &mut Value) -> Result<(), Status> {
        let account = service_account::account_of(pod).to_owned();
        let kind = kinds::by_kind("", "v1", "ServiceAccount").expect("a row of the table");
        let Some(found) = self.draft.get(&Key::new(kind, self.namespace(), &account)) else {
            let why = format!(
                "error looking up service account {}/{account}: serviceaccount {account:?} not found",
                self.namespace()
            );
            return Err(self.forbidden(name, &why));
        };
        service_account::admit(pod, &found.value(), &self.entropy.suffix());
        Ok(())
    }

    fn check_free(&self, name: &str, value: &Value) -> Result<(), Status> {
        let Some(there) = self.draft.get(&self.key(name)) else { return Ok(()) };
        debug_assert_eq!(&*there.key.name, metadata::text(value, "name"));
        let mut refused = Status::already_exists(self.spoken().group, self.spoken().plural, name);
        if metadata::is_terminating(&there.value()) {
            refused.message = format!("object is being deleted: {}", refused.message);
        }
        Err(refused)
    }
}
