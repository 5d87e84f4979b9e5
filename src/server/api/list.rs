//! Lists: pages, versions, and the token that leads from one page to the next.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::negotiate::{Encoding, Shape};
use super::query::Query;
use super::reply::{Payload, Reply};
use super::shape::{self, View as Shown};
use crate::api::kinds::Kind;
use crate::api::status::{FieldError, Status};
use crate::coordinator::state::Key;
use crate::server::view::filter::Filter;
use crate::server::view::history::too_large;
use crate::server::view::{Page, Part, View};

const EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. You can start \
                       a new list without the continue parameter, or use the continue token in this response to \
                       retrieve the remainder of the results. Continuing with the provided token results in an \
                       inconsistent list - objects that were created, modified, or deleted between the time the \
                       first chunk was returned and now may show up in the list.";

/// Where a next page begins. On the wire it is opaque: base64 of JSON.
#[derive(Debug, PartialEq, Eq)]
struct Continue {
    /// The revision of the first page; 0 goes on at whatever is newest.
    revision: u64,
    namespace: String,
    name: String,
}

impl Continue {
    fn parse(token: &str) -> Result<Self, Status> {
        let invalid = || Status::bad_request("continue key is not valid: it was not issued by this endpoint");
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|_| invalid())?;
        let text = |field: &str| value[field].as_str().map(str::to_owned).ok_or_else(invalid);
        let revision = value["rv"].as_u64().ok_or_else(invalid)?;
        Ok(Self { revision, namespace: text("namespace")?, name: text("name")? })
    }

    fn token(&self) -> String {
        let value = json!({ "rv": self.revision, "namespace": self.namespace, "name": self.name });
        URL_SAFE_NO_PAD.encode(value.to_string())
    }
}

/// 422 about the list's own options.
pub fn invalid_options(field: &str, detail: &str) -> Status {
    Status::invalid("meta.k8s.io", "ListOptions", "", &[FieldError::forbidden(field, detail)])
}

/// A revision as clients write it; none for unset.
pub fn revision(query: &Query) -> Result<Option<u64>, Status> {
    query
        .get("resourceVersion")
        .map(|text| {
            text.parse().map_err(|_| {
                let error =
                    FieldError::invalid("resourceVersion", &text.into(), "strconv.ParseUint: parsing error");
                Status::invalid("meta.k8s.io", "ListOptions", "", &[error])
            })
        })
        .transpose()
}

/// Answers a list.
pub fn list(
    view: &View,
    shown: Shown,
    encoding: Encoding,
    filter: &Filter,
    query: &Query,
) -> Result<Reply, Status> {
    let part = part(view, shown.kind, query)?;
    let page = match view.list(shown.kind, filter, &part) {
        Err(status) if status.code == 410 && part.after.is_some() => return Ok(expired(&part, &status)),
        other => other?,
    };
    Ok(render(shown, encoding, filter, page))
}

fn part(view: &View, kind: &Kind, query: &Query) -> Result<Part, Status> {
    let limit = query.number("limit")?.unwrap_or(0).max(0) as usize;
    let (asked, matching) = (revision(query)?, query.get("resourceVersionMatch"));
    if let Some(token) = query.get("continue") {
        if matching.is_some() {
            return Err(invalid_options(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden when continue is provided",
            ));
        }
        if asked.is_some_and(|asked| asked != 0) {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let from = Continue::parse(token)?;
        let at = (from.revision != 0).then_some(from.revision);
        return Ok(Part { after: Some(Key::new(kind, &from.namespace, &from.name)), limit, at });
    }
    let at = match (matching, asked) {
        (Some(_), None) => {
            let detail = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            return Err(invalid_options("resourceVersionMatch", detail));
        }
        (Some("Exact"), Some(0)) => {
            let detail = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            return Err(invalid_options("resourceVersionMatch", detail));
        }
        (Some("Exact"), Some(exact)) => Some(exact),
        (Some("NotOlderThan") | None, asked) => {
            let current = view.revision();
            match asked {
                Some(asked) if asked > current => return Err(too_large(asked, current)),
                Some(_) | None => None,
            }
        }
        (Some(other), _) => {
            let error =
                FieldError::unsupported("resourceVersionMatch", &other.into(), &["Exact", "NotOlderThan"]);
            return Err(Status::invalid("meta.k8s.io", "ListOptions", "", &[error]));
        }
    };
    Ok(Part { after: None, limit, at })
}

/// The next page of a list whose version is no longer known: the answer holds a token that goes on regardless.
fn expired(part: &Part, status: &Status) -> Reply {
    let mut body = status.to_json();
    if let Some(after) = &part.after {
        let token =
            Continue { revision: 0, namespace: after.namespace.to_string(), name: after.name.to_string() };
        body["metadata"]["continue"] = token.token().into();
    }
    body["message"] = EXPIRED.into();
    Reply::json(410, body.to_string())
}

fn render(shown: Shown, encoding: Encoding, filter: &Filter, page: Page) -> Reply {
    let mut metadata = json!({ "resourceVersion": page.revision.to_string() });
    if let (Some(last), true) = (page.objects.last(), page.remaining > 0) {
        let next = Continue {
            revision: page.revision,
            namespace: last.key.namespace.to_string(),
            name: last.key.name.to_string(),
        };
        metadata["continue"] = next.token().into();
        if filter.has_no_selectors() {
            metadata["remainingItemCount"] = page.remaining.into();
        }
    }
    let prefix = shown.list_prefix(&metadata);
    if encoding == Encoding::Yaml {
        let text: Vec<u8> = shape::joined(shown, prefix, page.objects).flatten().collect();
        let value: Value = serde_json::from_slice(&text).expect("a joined list is JSON");
        return Reply::value(200, &value, encoding);
    }
    // Tables are about as long as what they are made of.
    let items: usize = page.objects.iter().map(|object| object.json.len() + 1).sum();
    let size = prefix.len() + items + usize::from(shown.shape == Shape::Whole);
    let pieces = Box::new(shape::joined(shown, prefix, page.objects));
    Reply::new(200, Encoding::Json.media_type(), Payload::Pieces { size, pieces })
}

/// All objects of a filter, for `deletecollection`.
pub fn everything(
    view: &View,
    kind: &Kind,
    filter: &Filter,
) -> Result<Vec<Arc<crate::coordinator::state::Object>>, Status> {
    Ok(view.list(kind, filter, &Part::default())?.objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_continue_token_survives_the_wire_and_a_made_up_one_is_refused() {
        let token = Continue { revision: 7, namespace: "a".into(), name: "b".into() };
        assert_eq!(Continue::parse(&token.token()).unwrap(), token);
        for bad in ["", "%%%", "bm9uc2Vuc2U", &URL_SAFE_NO_PAD.encode("{\"rv\":-1}")] {
            assert_eq!(Continue::parse(bad).unwrap_err().code, 400);
        }
    }
}
