//! `serviceaccounts/NAME/token`: a token for an account, perhaps one that dies with a Pod, Secret or Node.

use std::sync::Arc;

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest};
use serde_json::{Value, json};

use super::Call;
use super::body;
use super::negotiate;
use super::reply::Reply;
use super::reviews::check_type;
use crate::api::kinds;
use crate::api::status::{FieldError, Status};
use crate::authorization::node;
use crate::coordinator::NodeRestriction;
use crate::coordinator::state::Object;
use crate::server::accounts::{Grant, ISSUER};

/// How long a token is good where nobody says: an hour, as upstream.
const SECONDS_DEFAULT: i64 = 3600;
/// Shortest and longest life, as upstream.
const SECONDS_MIN: i64 = 600;
const SECONDS_MAX: i64 = 1 << 32;

/// What a token dies with, by the name of its claim.
type Bound = Vec<(&'static str, Arc<Object>)>;

impl Call<'_> {
    /// POST of a `TokenRequest`.
    pub(super) fn request_token(&self, body: &[u8]) -> Result<Reply, Status> {
        let wish = negotiate::wish(self.accept, false)?;
        let mut asked = body::tree(body, negotiate::sent(self.content_type)?, "TokenRequest")?;
        check_type(&asked, "authentication.k8s.io/v1", "TokenRequest")?;
        let request: TokenRequest = serde_json::from_value(asked.clone()).map_err(|e| {
            Status::bad_request(format!(
                "TokenRequest in version \"v1\" cannot be handled as a TokenRequest: {e}"
            ))
        })?;
        let (namespace, name) = (self.target.namespace_text(), self.target.name_text());
        self.check_place(&request)?;
        self.check_node(&asked)?;
        let spec = request.spec.unwrap_or_default();
        let seconds = spec.expiration_seconds.unwrap_or(SECONDS_DEFAULT);
        check_life(seconds)?;
        let account = self.object("ServiceAccount", namespace, name)?;
        let bound = match &spec.bound_object_ref {
            Some(reference) => self.bound(reference)?,
            None => Vec::new(),
        };
        let stated = spec.audiences.unwrap_or_default();
        let audiences = if stated.is_empty() { vec![ISSUER.to_owned()] } else { stated };
        let grant = Grant { account: &account, audiences: &audiences, seconds, bound: &bound };
        let issued = self.endpoint.accounts.issue(&grant).map_err(Status::internal)?;
        asked["apiVersion"] = "authentication.k8s.io/v1".into();
        asked["kind"] = "TokenRequest".into();
        if !asked["metadata"].is_object() {
            asked["metadata"] = json!({});
        }
        asked["metadata"]["name"] = name.into();
        asked["metadata"]["namespace"] = namespace.into();
        asked["spec"]["audiences"] = audiences.into();
        asked["spec"]["expirationSeconds"] = seconds.into();
        asked["status"] = json!({ "token": issued.token, "expirationTimestamp": issued.until });
        Ok(Reply::value(201, &asked, wish.encoding))
    }

    /// A node asks for its own Pods alone.
    fn check_node(&self, asked: &Value) -> Result<(), Status> {
        let Some(node) = node::identity(self.user) else { return Ok(()) };
        let pod = asked["spec"]["boundObjectRef"]["name"].as_str().unwrap_or_default();
        let kind = kinds::by_kind("", "v1", "Pod").ok_or_else(|| Status::internal("no Pods are served"))?;
        let found = self.endpoint.view.get(kind, self.target.namespace_text(), pod);
        let found = found.map(|pod| pod.value());
        let restriction = NodeRestriction { node: node.to_owned() };
        restriction
            .token_request(asked, found.as_ref())
            .map_err(|why| Status::forbidden("", "serviceaccounts", self.target.name_text(), &why))
    }

    fn check_place(&self, request: &TokenRequest) -> Result<(), Status> {
        let (namespace, name) = (self.target.namespace_text(), self.target.name_text());
        let metadata = &request.metadata;
        let other = |stated: &Option<String>, expected: &str| {
            stated.clone().filter(|stated| !stated.is_empty() && stated != expected)
        };
        if let Some(stated) = other(&metadata.name, name) {
            return Err(Status::bad_request(format!(
                "the name of the object ({stated}) does not match the name on the URL ({name})"
            )));
        }
        if other(&metadata.namespace, namespace).is_some() {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        Ok(())
    }

    fn object(&self, kind: &str, namespace: &str, name: &str) -> Result<Arc<Object>, Status> {
        let row = kinds::by_kind("", "v1", kind).expect("core kinds are rows of the table");
        let found = self.endpoint.view.get(row, namespace, name);
        found.ok_or_else(|| Status::not_found("", row.plural, name))
    }

    /// What the token is to die with. A Pod brings its node along, so that the token tells where it is used.
    fn bound(&self, reference: &BoundObjectReference) -> Result<Bound, Status> {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let (version, kind) = (text(&reference.api_version), text(&reference.kind));
        let (namespace, name) = (self.target.namespace_text(), text(&reference.name));
        let mut bound: Bound = match (version.as_str(), kind.as_str()) {
            ("v1", "Pod") => vec![("pod", self.object("Pod", namespace, &name)?)],
            ("v1", "Secret") => vec![("secret", self.object("Secret", namespace, &name)?)],
            ("v1", "Node") => vec![("node", self.object("Node", "", &name)?)],
            _ => {
                let what = format!("{version}, Kind={kind}");
                return Err(Status::bad_request(format!("cannot bind token to object of type {what}")));
            }
        };
        let uid = text(&reference.uid);
        if !uid.is_empty() && uid != bound[0].1.uid {
            let why = format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have \
                 been deleted and then recreated"
            );
            return Err(Status::conflict("", &kind, &name, &why));
        }
        if kind == "Pod" {
            let pod = bound[0].1.value();
            self.check_runs_as_account(&pod)?;
            let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
            bound.extend(self.object("Node", "", node).ok().map(|node| ("node", node)));
        }
        Ok(bound)
    }

    fn check_runs_as_account(&self, pod: &Value) -> Result<(), Status> {
        let name = self.target.name_text();
        let runs_as = pod["spec"]["serviceAccountName"].as_str().unwrap_or_default();
        if runs_as == name {
            return Ok(());
        }
        Err(Status::bad_request(format!(
            "cannot bind token for serviceaccount {name:?} to pod running with serviceaccount {runs_as:?}"
        )))
    }
}

fn check_life(seconds: i64) -> Result<(), Status> {
    let why = if seconds < SECONDS_MIN {
        "may not specify a duration less than 10 minutes"
    } else if seconds > SECONDS_MAX {
        "may not specify a duration larger than 2^32 seconds"
    } else {
        return Ok(());
    };
    let error = FieldError::invalid("spec.expirationSeconds", &seconds.into(), why);
    Err(Status::invalid("authentication.k8s.io", "TokenRequest", "", &[error]))
}
