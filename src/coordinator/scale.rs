//! `scale`: how many Pods there shall be, read and written without the rest of the object.

use std::sync::Arc;

use serde_json::Value;

use crate::api::managed::{self, Applied, Writer};
use crate::api::model;
use crate::api::parts::{SCALE, scale, scale_errors};
use crate::api::patch::Patch;
use crate::api::status::Status;
use crate::coordinator::body::{check_name, check_type};
use crate::coordinator::command::{Reply, Subresource};
use crate::coordinator::metadata;
use crate::coordinator::ownership::check_types;
use crate::coordinator::state::Object;
use crate::coordinator::turn::Turn;

impl Turn<'_, '_> {
    pub(super) fn update_scale(&mut self, name: &str, body: &Value) -> Result<Reply, Status> {
        let scale = self.decode_scale(body.clone())?;
        check_name(&scale, name)?;
        let current = self.find(name)?;
        self.put_scale(&current, &scale, false)
    }

    /// Server-side apply of a Scale: the owners of the object's number of replicas are the Scale's.
    pub(super) fn apply_scale(
        &mut self,
        name: &str,
        configuration: &Value,
        force: bool,
    ) -> Result<Reply, Status> {
        let current = self.find(name)?;
        let object = current.value();
        let mut live = scale(&object);
        managed::give_owners(&mut live, &object, self.kind());
        let part = self.part(configuration, Subresource::Scale);
        let writer = Writer { kind: &SCALE, ..self.writer(Subresource::Scale) };
        let applied = Applied { configuration, part: &part, force };
        let new = managed::apply(&writer, &live, applied, self.now)?;
        check_types(&SCALE, &new, configuration)?;
        let scale = self.decode_scale(new)?;
        check_name(&scale, name)?;
        self.put_scale(&current, &scale, true)
    }

    pub(super) fn patch_scale(&mut self, name: &str, patch: &Patch) -> Result<Reply, Status> {
        let current = self.find(name)?;
        let patched = patch.apply(scale(&current.value()), SCALE.kind)?;
        let scale = self.decode_scale(patched)?;
        check_name(&scale, name)?;
        self.put_scale(&current, &scale, false)
    }

    fn decode_scale(&self, mut value: Value) -> Result<Value, Status> {
        check_type(&SCALE, &value)?;
        model::decode_check(&SCALE, &value).map_err(Status::bad_request)?;
        model::canonicalise(&SCALE, &mut value);
        self.check_namespace(&mut value)?;
        Ok(value)
    }

    fn put_scale(
        &mut self,
        current: &Arc<Object>,
        scale: &Value,
        brings_owners: bool,
    ) -> Result<Reply, Status> {
        let name = &*current.key.name;
        self.check_uid(name, scale, Some(current), false)?;
        let errors = scale_errors(scale);
        if !errors.is_empty() {
            return Err(Status::invalid(SCALE.group, SCALE.kind, name, &errors));
        }
        let old = current.value();
        let mut new = old.clone();
        new["spec"]["replicas"] = scale["spec"]["replicas"].as_i64().unwrap_or_default().into();
        new["metadata"]["resourceVersion"] = metadata::text(scale, "resourceVersion").into();
        if brings_owners {
            managed::take_owners(&mut new, scale, self.kind());
        }
        self.replace(current, &old, new, Subresource::Scale)
    }
}
