//! Verbs on objects: from a request to a command, and from its reply to an answer.

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use serde_json::{Value, json};

use super::Call;
use super::body;
use super::list;
use super::manager;
use super::negotiate::{self, Encoding, Sent, Shape};
use super::query::Query;
use super::reply::Reply;
use super::shape::{IncludeObject, View as Shown};
use crate::api::kinds::{self, Kind};
use crate::api::model;
use crate::api::patch::{APPLY_PATCH, JSON_PATCH, Patch};
use crate::api::status::Status;
use crate::authorization::User;
use crate::coordinator::{
    Action, Body, Command, DeleteOptions, FieldValidation, Propagation, Reply as Done, Subresource,
};
use crate::server::view::filter::Filter;

/// Deletions of one `deletecollection` that are under way at once.
const DELETIONS_AT_ONCE: usize = 64;

impl Call<'_> {
    /// GET of one object, or of its `status`.
    pub fn get(&self) -> Result<Reply, Status> {
        let kind = self.target.kind;
        let name = self.target.name_text();
        let wish = negotiate::wish(self.accept, true)?;
        if let Some(asked) = list::revision(&self.query)? {
            let current = self.endpoint.view.revision();
            if asked > current {
                return Err(crate::server::view::history::too_large(asked, current));
            }
        }
        let object = self
            .endpoint
            .view
            .get(kind, self.target.namespace_text(), name)
            .ok_or_else(|| Status::not_found(kind.group, kind.plural, name))?;
        self.show(200, &object.json, wish)
    }

    /// GET of a collection.
    pub fn list(&self) -> Result<Reply, Status> {
        let wish = negotiate::wish(self.accept, true)?;
        list::list(&self.endpoint.view, self.shown(wish.shape)?, wish.encoding, &self.filter()?, &self.query)
    }

    /// POST to a collection.
    pub async fn create(&self, body: Bytes) -> Result<Reply, Status> {
        let (mut body, warnings) = self.decode(&body)?;
        if self.target.kind.kind == "CertificateSigningRequest" {
            stamp(&mut body, self.user);
        }
        self.submit(Action::Create { body }, warnings).await
    }

    /// PUT of an object or of a part of it.
    pub async fn update(&self, subresource: Subresource, body: Bytes) -> Result<Reply, Status> {
        let (body, warnings) = self.decode(&body)?;
        let name = self.target.name_text().into();
        self.submit(Action::Update { name, subresource, body }, warnings).await
    }

    /// PATCH of an object or of a part of it. What it makes of the object, the commit judges.
    pub async fn patch(&self, subresource: Subresource, body: Bytes) -> Result<Reply, Status> {
        let media_type = self.media_type();
        let patch = Patch::parse(media_type, &body)?;
        let doubled = if media_type == JSON_PATCH { Vec::new() } else { model::duplicate_fields(&body) };
        let warnings = self.judge(doubled)?;
        let name = self.target.name_text().into();
        self.submit(Action::Patch { name, subresource, patch }, warnings).await
    }

    /// Whether the body is a configuration to apply.
    pub fn is_apply(&self) -> bool {
        self.media_type() == APPLY_PATCH
    }

    fn media_type(&self) -> &str {
        self.content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim()
    }

    /// PATCH with a configuration to apply; `not_to_be_made` is what is answered where that would make the object.
    pub async fn apply(
        &self,
        subresource: Subresource,
        body: Bytes,
        not_to_be_made: Option<Box<Status>>,
    ) -> Result<Reply, Status> {
        let configuration = body::configuration(&body)?;
        let warnings = self.judge(model::duplicate_fields(&body))?;
        let (name, force) = (self.target.name_text().into(), self.query.flag("force"));
        let action = Action::Apply { name, subresource, configuration, force, not_to_be_made };
        self.submit(action, warnings).await
    }

    /// The body as a tree, and what to warn of in it.
    pub(super) fn decode(&self, body: &[u8]) -> Result<(Value, Vec<String>), Status> {
        let encoding = negotiate::sent(self.content_type)?;
        let kind = self.wire();
        let value = body::tree(body, encoding, kind.kind)?;
        let mut odd = if encoding == Sent::Json { model::duplicate_fields(body) } else { Vec::new() };
        odd.extend(model::unknown_fields(kind, &value));
        Ok((value, self.judge(odd)?))
    }

    /// What becomes of fields that are unknown or there twice.
    fn judge(&self, odd: Vec<String>) -> Result<Vec<String>, Status> {
        match body::field_validation(&self.query)? {
            FieldValidation::Ignore => Ok(Vec::new()),
            FieldValidation::Strict if !odd.is_empty() => {
                let (kind, version) = (self.wire().kind, self.wire().version);
                Err(Status::bad_request(format!(
                    "{kind} in version {version:?} cannot be handled as a {kind}: strict decoding error: {}",
                    odd.join(", ")
                )))
            }
            FieldValidation::Warn | FieldValidation::Strict => Ok(odd),
        }
    }

    /// What goes over the wire: the object, or what its part is.
    fn wire(&self) -> &'static Kind {
        let part = self.target.subresource.as_deref().and_then(|name| self.target.kind.part(name));
        part.and_then(|part| part.kind).unwrap_or(self.target.kind)
    }

    /// POST to `pods/NAME/eviction`.
    pub async fn evict(&mut self, body: Bytes) -> Result<Reply, Status> {
        let (body, warnings) = self.decode(&body)?;
        let options = Box::new(from_body(&body["deleteOptions"])?);
        self.dry_run = asks_for_dry_run(&body["deleteOptions"]);
        let action = Action::Evict { name: self.target.name_text().into(), body, options };
        self.submit(action, warnings).await
    }

    /// POST to `pods/NAME/binding`, or to `bindings`, where only the body names the Pod.
    pub async fn bind(&mut self, body: Bytes) -> Result<Reply, Status> {
        let body = body::tree(&body, negotiate::sent(self.content_type)?, "Binding")?;
        if let Some(pods) = kinds::by_kind("", "v1", "Pod").filter(|_| self.target.name.is_none()) {
            self.target.kind = pods;
            self.target.name = Some(body["metadata"]["name"].as_str().unwrap_or_default().to_owned());
        }
        self.submit(Action::Bind { name: self.target.name_text().into(), body }, Vec::new()).await
    }

    /// DELETE of one object.
    pub async fn delete(&self, body: Bytes) -> Result<Reply, Status> {
        let options = self.delete_options(&body)?;
        self.submit(Action::Delete { name: self.target.name_text().into(), options }, Vec::new()).await
    }

    /// DELETE of a collection. What goes meanwhile by other hands is no error.
    pub async fn delete_collection(&self, body: Bytes) -> Result<Reply, Status> {
        let wish = negotiate::wish(self.accept, false)?;
        let options = self.delete_options(&body)?;
        let objects = list::everything(&self.endpoint.view, self.target.kind, &self.filter()?)?;
        let shown = self.shown(Shape::Whole)?;
        let dry_run = self.dry_run || self.query.dry_run()?;
        let deletions = objects.into_iter().map(|object| {
            let action = Action::Delete { name: object.key.name.to_string(), options: options.clone() };
            let mut command = Command::new(self.target.kind, object.key.namespace.to_string(), action);
            command.dry_run = dry_run;
            command.guard = self.endpoint.access.guard(self.user);
            async move {
                let answer = self.endpoint.commands.submit(command).await;
                match answer {
                    Ok(done) => Ok(Some(match done.body {
                        Body::Object(object) => shown.parse(&object.json),
                        Body::Status(_) => shown.parse(&object.json),
                    })),
                    Err(status) if status.code == 404 => Ok(None),
                    Err(status) => Err(status),
                }
            }
        });
        let done: Vec<Result<Option<Value>, Status>> =
            stream::iter(deletions).buffered(DELETIONS_AT_ONCE).collect().await;
        let items = done.into_iter().filter_map(Result::transpose).collect::<Result<Vec<Value>, Status>>()?;
        let kind = self.target.kind;
        let revision = self.endpoint.view.revision().to_string();
        let body = json!({
            "kind": format!("{}List", kind.kind), "apiVersion": kind.api_version(),
            "metadata": { "resourceVersion": revision }, "items": items,
        });
        Ok(Reply::value(200, &body, wish.encoding))
    }

    async fn submit(&self, action: Action, mut warnings: Vec<String>) -> Result<Reply, Status> {
        let wish = negotiate::wish(self.accept, true)?;
        let mut command = Command::new(self.target.kind, self.target.namespace_text(), action);
        command.dry_run = self.dry_run || self.query.dry_run()?;
        command.guard = self.endpoint.access.guard(self.user);
        command.field_validation = body::field_validation(&self.query)?;
        command.manager = manager::of(&command.action, &self.query, self.user_agent)?;
        let Done { outcome, body, warnings: more } = self.endpoint.commands.submit(command).await?;
        warnings.extend(more);
        let reply = match body {
            Body::Object(object) => self.show(outcome.code(), &object.json, wish)?,
            Body::Status(status) => Reply::value(outcome.code(), &status, wish.encoding),
        };
        Ok(reply.warn(&warnings))
    }

    fn show(&self, code: u16, object: &Bytes, wish: negotiate::Wish) -> Result<Reply, Status> {
        let shown = self.shown(wish.shape)?.object(object);
        Ok(match wish.encoding {
            Encoding::Json => Reply::json(code, shown),
            Encoding::Yaml => {
                let value: Value = serde_json::from_slice(&shown).map_err(Status::internal)?;
                Reply::value(code, &value, Encoding::Yaml)
            }
        })
    }

    pub(super) fn shown(&self, shape: Shape) -> Result<Shown, Status> {
        let include = IncludeObject::parse(self.query.get("includeObject"))?;
        Ok(Shown { kind: self.wire(), shape, include, now: (self.endpoint.wall)() })
    }

    pub(super) fn filter(&self) -> Result<Filter, Status> {
        let (kind, query) = (self.target.kind, &self.query);
        let namespace = self.target.namespace.as_deref();
        let Some(name) = &self.target.name else {
            return Filter::parse(kind, namespace, query.get("labelSelector"), query.get("fieldSelector"));
        };
        let named = Filter::parse(kind, namespace, query.get("labelSelector"), query.get("fieldSelector"))?;
        if query.get("fieldSelector").is_some() && named.exact_name() != Some(name) {
            return Err(Status::bad_request("fieldSelector metadata.name doesn't match requested name"));
        }
        let pinned = format!("metadata.name={name}");
        Filter::parse(kind, namespace, query.get("labelSelector"), Some(&pinned))
    }

    fn delete_options(&self, body: &[u8]) -> Result<DeleteOptions, Status> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return from_query(&self.query);
        }
        let value = body::tree(body, negotiate::sent(self.content_type)?, "DeleteOptions")?;
        let kind = value["kind"].as_str().unwrap_or_default();
        if !kind.is_empty() && kind != "DeleteOptions" {
            return Err(Status::bad_request(format!(
                "decoded object cannot be converted to DeleteOptions: the body is a {kind}"
            )));
        }
        from_body(&value)
    }
}

/// Notes who asks for a certificate, whatever the request says.
fn stamp(request: &mut Value, user: &User) {
    let Some(spec) = request.get_mut("spec").and_then(Value::as_object_mut) else { return };
    for field in ["username", "uid", "groups", "extra"] {
        spec.remove(field);
    }
    let info = user.to_json();
    spec.extend(info.as_object().cloned().unwrap_or_default());
}

fn from_query(query: &Query) -> Result<DeleteOptions, Status> {
    let orphans = query.get("orphanDependents").map(|_| query.flag("orphanDependents"));
    Ok(DeleteOptions {
        grace_period_seconds: query.number("gracePeriodSeconds")?,
        propagation: propagation(query.get("propagationPolicy"), orphans)?,
        ..DeleteOptions::default()
    })
}

fn from_body(value: &Value) -> Result<DeleteOptions, Status> {
    let wrong = |field: &str, expected: &str| {
        Status::bad_request(format!(
            "DeleteOptions in version \"v1\" cannot be handled as a DeleteOptions: {field}: expected {expected}"
        ))
    };
    let grace = &value["gracePeriodSeconds"];
    if !grace.is_null() && !grace.is_i64() {
        return Err(wrong("gracePeriodSeconds", "an integer"));
    }
    let text = |path: &str| match value.pointer(path) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(wrong(&path[1..].replace('/', "."), "a string")),
    };
    let dry_run = value["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str);
    for word in dry_run {
        if word != "All" {
            return Err(wrong("dryRun", "All"));
        }
    }
    Ok(DeleteOptions {
        grace_period_seconds: grace.as_i64(),
        uid: text("/preconditions/uid")?,
        resource_version: text("/preconditions/resourceVersion")?,
        propagation: propagation(
            text("/propagationPolicy")?.as_deref(),
            value["orphanDependents"].as_bool(),
        )?,
    })
}

fn propagation(policy: Option<&str>, orphans: Option<bool>) -> Result<Option<Propagation>, Status> {
    match (policy, orphans) {
        (None, None) => Ok(None),
        (None, Some(true)) | (Some("Orphan"), None) => Ok(Some(Propagation::Orphan)),
        (None, Some(false)) | (Some("Background"), None) => Ok(Some(Propagation::Background)),
        (Some("Foreground"), None) => Ok(Some(Propagation::Foreground)),
        (Some(_), Some(_)) => Err(Status::bad_request(
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Invalid value: orphanDependents and \
             deletionPropagation cannot be both set",
        )),
        (Some(other), None) => Err(Status::bad_request(format!(
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: {other:?}: supported \
             values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
        ))),
    }
}

/// Whether the body of a DELETE asks for a dry run.
pub fn body_dry_run(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body).is_ok_and(|value| asks_for_dry_run(&value))
}

fn asks_for_dry_run(options: &Value) -> bool {
    options["dryRun"].as_array().is_some_and(|words| words.iter().any(|word| word == "All"))
}
