//! The kinds that are asked and not kept: who one is, and what somebody may do.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::reply::Reply;
use super::{Call, negotiate};
use crate::api::model;
use crate::api::status::{FieldError, Status};
use crate::authorization::{Attributes, Authorizer as _, Decision, Resource, Subject, User};
use crate::server::tls::NODES;

impl Call<'_> {
    /// POST of a review: the answer is what was asked, with its status.
    pub(super) fn review(&self, body: &[u8]) -> Result<Reply, Status> {
        let wish = negotiate::wish(self.accept, false)?;
        let kind = self.target.kind;
        let (mut review, warnings) = self.decode(body)?;
        check_type(&review, &kind.api_version(), kind.kind)?;
        model::decode_check(kind, &review).map_err(Status::bad_request)?;
        review["apiVersion"] = kind.api_version().into();
        review["kind"] = kind.kind.into();
        if !review["metadata"].is_object() {
            review["metadata"] = json!({});
        }
        let status = match kind.kind {
            "SelfSubjectReview" => json!({ "userInfo": self.user.to_json() }),
            "TokenReview" => self.review_token(&review["spec"])?,
            "SelfSubjectRulesReview" => self.review_rules(&review["spec"])?,
            "SelfSubjectAccessReview" => {
                self.check_access_spec(&review)?;
                self.review_access(self.user, &review["spec"])
            }
            _ => {
                self.check_access_spec(&review)?;
                self.review_access(&named_user(&review["spec"]), &review["spec"])
            }
        };
        review["status"] = status;
        Ok(Reply::value(201, &review, wish.encoding).warn(&warnings))
    }

    fn review_token(&self, spec: &Value) -> Result<Value, Status> {
        let token = spec["token"].as_str().unwrap_or_default();
        if token.is_empty() {
            return Err(Status::bad_request("token is required for TokenReview in authentication"));
        }
        let audiences = texts(&spec["audiences"]);
        Ok(match self.endpoint.access.authenticators.token(token, &audiences) {
            Ok(known) => {
                let mut status = json!({ "authenticated": true, "user": known.user.to_json() });
                if !known.audiences.is_empty() {
                    status["audiences"] = known.audiences.into();
                }
                status
            }
            Err(why) => json!({ "user": {}, "error": format!("[invalid bearer token, {why}]") }),
        })
    }

    fn review_rules(&self, spec: &Value) -> Result<Value, Status> {
        let namespace = spec["namespace"].as_str().unwrap_or_default();
        if namespace.is_empty() {
            return Err(Status::bad_request("no namespace on request"));
        }
        let index = self.endpoint.access.rbac.index();
        let held = index.held(self.user, namespace);
        let (mut resources, mut paths) = (Vec::new(), Vec::new());
        for rule in held.rules {
            if rule.paths.is_empty() {
                resources.push(rule.to_json());
            } else {
                paths.push(json!({ "verbs": rule.verbs, "nonResourceURLs": rule.paths }));
            }
        }
        let mut errors = held.errors;
        if self.user.is_in(NODES) {
            errors.push("node authorizer does not support user rule resolution".into());
        }
        let mut status = json!({
            "resourceRules": resources, "nonResourceRules": paths, "incomplete": !errors.is_empty(),
        });
        if !errors.is_empty() {
            status["evaluationError"] = errors.join(", ").into();
        }
        Ok(status)
    }

    fn review_access(&self, user: &User, spec: &Value) -> Value {
        let text = |from: &'static str, field: &str| spec[from][field].as_str().unwrap_or_default();
        let path = text("nonResourceAttributes", "path");
        let of = |field: &str| text("resourceAttributes", field);
        let (verb, subject) = if spec["resourceAttributes"].is_object() {
            let resource = Resource {
                group: of("group"),
                resource: of("resource"),
                subresource: of("subresource"),
                namespace: of("namespace"),
                name: of("name"),
                fields: "",
                labels: "",
            };
            (of("verb"), Subject::Resource(resource))
        } else {
            (text("nonResourceAttributes", "verb"), Subject::Path(path))
        };
        match self.endpoint.access.authorizers.decide(&Attributes { user, verb, subject }) {
            Decision::Allow => json!({ "allowed": true }),
            Decision::NoOpinion { reason } if reason.is_empty() => json!({ "allowed": false }),
            Decision::NoOpinion { reason } => json!({ "allowed": false, "reason": reason }),
        }
    }

    fn check_access_spec(&self, review: &Value) -> Result<(), Status> {
        let (kind, spec) = (self.target.kind, &review["spec"]);
        let errors = access_errors(kind.kind, spec, self.target.namespace_text());
        if errors.is_empty() { Ok(()) } else { Err(Status::invalid(kind.group, kind.kind, "", &errors)) }
    }
}

fn access_errors(kind: &str, spec: &Value, namespace: &str) -> Vec<FieldError> {
    let invalid = |field: &str, detail: &str| {
        let value = spec.pointer(&field.replacen("spec", "", 1).replace('.', "/")).unwrap_or(&Value::Null);
        FieldError::invalid(field, value, detail)
    };
    let mut errors = Vec::new();
    let has = |field: &str| spec[field].is_object();
    match (has("resourceAttributes"), has("nonResourceAttributes")) {
        (true, true) => errors.push(invalid(
            "spec.nonResourceAttributes",
            "cannot be specified in combination with resourceAttributes",
        )),
        (false, false) => errors.push(invalid(
            "spec.resourceAttributes",
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )),
        _ => {}
    }
    let names_nobody =
        spec["user"].as_str().unwrap_or_default().is_empty() && texts(&spec["groups"]).is_empty();
    if kind != "SelfSubjectAccessReview" && names_nobody {
        errors.push(FieldError::invalid(
            "spec.user",
            &"".into(),
            "at least one of user or group must be specified",
        ));
    }
    if kind == "LocalSubjectAccessReview" {
        if spec["resourceAttributes"]["namespace"].as_str().unwrap_or_default() != namespace {
            errors.push(invalid("spec.resourceAttributes.namespace", "must match metadata.namespace"));
        }
        if has("nonResourceAttributes") {
            errors.push(invalid("spec.nonResourceAttributes", "disallowed on this kind of request"));
        }
    }
    errors
}

/// The user that a review is about.
fn named_user(spec: &Value) -> User {
    let text = |field: &str| spec[field].as_str().unwrap_or_default().to_owned();
    let extra = spec["extra"].as_object().into_iter().flatten();
    let extra: BTreeMap<String, Vec<String>> =
        extra.map(|(key, values)| (key.clone(), texts(values))).collect();
    User { name: text("user"), uid: text("uid"), groups: texts(&spec["groups"]), extra }
}

fn texts(list: &Value) -> Vec<String> {
    let texts = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

/// What the body says of its type, if anything, is true.
pub(super) fn check_type(body: &Value, api_version: &str, kind: &str) -> Result<(), Status> {
    let differs = |field: &str, expected: &str| {
        body[field].as_str().is_some_and(|stated| !stated.is_empty() && stated != expected)
    };
    if differs("apiVersion", api_version) || differs("kind", kind) {
        return Err(Status::bad_request(format!(
            "{} in version {} cannot be handled as a {kind}: no kind {} is expected here",
            body["kind"], body["apiVersion"], body["kind"]
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_must_be_one_thing_about_somebody() {
        let (of_pods, of_path) = (json!({ "resource": "pods", "namespace": "a" }), json!({ "path": "/x" }));
        let cases = [
            ("SelfSubjectAccessReview", json!({ "resourceAttributes": of_pods }), vec![]),
            ("SelfSubjectAccessReview", json!({ "nonResourceAttributes": of_path }), vec![]),
            ("SelfSubjectAccessReview", json!({}), vec!["spec.resourceAttributes"]),
            (
                "SubjectAccessReview",
                json!({ "resourceAttributes": of_pods, "nonResourceAttributes": of_path, "user": "ann" }),
                vec!["spec.nonResourceAttributes"],
            ),
            ("SubjectAccessReview", json!({ "resourceAttributes": of_pods }), vec!["spec.user"]),
            ("SubjectAccessReview", json!({ "resourceAttributes": of_pods, "groups": ["g"] }), vec![]),
            ("LocalSubjectAccessReview", json!({ "resourceAttributes": of_pods, "user": "ann" }), vec![]),
            (
                "LocalSubjectAccessReview",
                json!({ "nonResourceAttributes": of_path, "user": "ann" }),
                vec!["spec.resourceAttributes.namespace", "spec.nonResourceAttributes"],
            ),
        ];
        for (kind, spec, expected) in cases {
            let fields: Vec<String> = access_errors(kind, &spec, "a").into_iter().map(|e| e.field).collect();
            assert_eq!(fields, expected, "{kind} {spec}");
        }
    }
}
