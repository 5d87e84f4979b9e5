//! Objects as Tables and as bare metadata.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::negotiate::Shape;
use crate::api::kinds::Kind;
use crate::api::status::Status;
use crate::time::WallTime;

/// What a Table's rows carry of their objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// `PartialObjectMetadata`.
    #[default]
    Metadata,
    /// The whole object.
    Object,
}

impl IncludeObject {
    /// Reads the query parameter `includeObject`.
    pub fn parse(text: Option<&str>) -> Result<Self, Status> {
        match text {
            None | Some("Metadata") => Ok(Self::Metadata),
            Some("None") => Ok(Self::None),
            Some("Object") => Ok(Self::Object),
            Some(other) => Err(Status::bad_request(format!("unrecognized includeObject value: {other:?}"))),
        }
    }
}

/// How one request wants its objects.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// The row of the table of kinds.
    pub kind: &'static Kind,
    /// What is shown.
    pub shape: Shape,
    /// For Tables.
    pub include: IncludeObject,
    /// For ages.
    pub now: WallTime,
}

impl View {
    /// One object, given and returned as JSON.
    pub fn object(&self, object: &Bytes) -> Bytes {
        match self.shape {
            Shape::Whole => self.whole(object),
            Shape::Metadata => metadata(&parse(object), "v1").to_string().into(),
            Shape::Table => {
                let object = self.parse(object);
                let list = json!({ "resourceVersion": object["metadata"]["resourceVersion"] });
                self.table(&list, vec![self.row(&object)], true).to_string().into()
            }
        }
    }

    /// An event's object. Only the first Table of a watch says what its columns are.
    pub fn event(&self, object: &Bytes, with_columns: bool) -> Bytes {
        if self.shape != Shape::Table || with_columns {
            return self.object(object);
        }
        let object = self.parse(object);
        let list = json!({ "resourceVersion": object["metadata"]["resourceVersion"] });
        self.table(&list, vec![self.row(&object)], false).to_string().into()
    }

    /// A bookmark's object.
    pub fn bookmark(&self, revision: u64, initial_events_end: bool) -> Value {
        let mut metadata = json!({ "resourceVersion": revision.to_string() });
        if initial_events_end {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        match self.shape {
            Shape::Whole => json!({
                "kind": self.kind.kind, "apiVersion": self.kind.api_version(), "metadata": metadata,
            }),
            Shape::Metadata => json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
            }),
            Shape::Table => self.table(&metadata, Vec::new(), false),
        }
    }

    /// The text before a list's items.
    pub fn list_prefix(&self, list_metadata: &Value) -> String {
        let (kind, api_version) = match self.shape {
            Shape::Whole => (format!("{}List", self.kind.kind), self.kind.api_version()),
            Shape::Metadata => ("PartialObjectMetadataList".into(), "meta.k8s.io/v1".into()),
            Shape::Table => {
                let mut head = self.table(list_metadata, Vec::new(), true);
                head.as_object_mut().map(|fields| fields.remove("rows"));
                let mut head = head.to_string();
                head.pop();
                return head + ",\"rows\":[";
            }
        };
        format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{list_metadata},"items":["#)
    }

    /// One item between [`Self::list_prefix`] and `]}`.
    pub fn item(&self, object: &Bytes) -> Bytes {
        match self.shape {
            Shape::Whole => self.whole(object),
            Shape::Metadata => self.object(object),
            Shape::Table => self.row(&self.parse(object)).to_string().into(),
        }
    }

    /// Most kinds are sent as they are stored.
    fn whole(&self, object: &Bytes) -> Bytes {
        if self.kind.form.is_none() { object.clone() } else { self.parse(object).to_string().into() }
    }

    /// The object in the form that was asked for.
    pub fn parse(&self, object: &Bytes) -> Value {
        let mut object = parse(object);
        if let Some(form) = self.kind.form {
            (form.from_stored)(&mut object);
        }
        object
    }

    fn row(&self, object: &Value) -> Value {
        let mut row = json!({ "cells": (self.kind.cells)(object, self.now) });
        match self.include {
            IncludeObject::None => row["object"] = Value::Null,
            IncludeObject::Metadata => row["object"] = metadata(object, "v1"),
            IncludeObject::Object => row["object"] = object.clone(),
        }
        row
    }

    fn table(&self, list_metadata: &Value, rows: Vec<Value>, with_columns: bool) -> Value {
        let columns = self.kind.columns.iter().filter(|_| with_columns).map(|column| {
            json!({
                "name": column.name, "type": column.kind, "format": column.format,
                "description": column.description, "priority": column.priority,
            })
        });
        let columns: Vec<Value> = columns.collect();
        let mut table = Map::new();
        table.insert("kind".into(), "Table".into());
        table.insert("apiVersion".into(), "meta.k8s.io/v1".into());
        table.insert("metadata".into(), list_metadata.clone());
        let columns = if with_columns { Value::from(columns) } else { Value::Null };
        table.insert("columnDefinitions".into(), columns);
        table.insert("rows".into(), rows.into());
        Value::Object(table)
    }
}

/// The items of a list, with the commas between them, as pieces of its body.
pub fn joined(
    view: View,
    prefix: String,
    objects: Vec<Arc<crate::coordinator::state::Object>>,
) -> impl Iterator<Item = Bytes> {
    let items = objects.into_iter().enumerate().flat_map(move |(at, object)| {
        let comma = (at > 0).then(|| Bytes::from_static(b","));
        comma.into_iter().chain(std::iter::once_with(move || view.item(&object.json)))
    });
    std::iter::once(Bytes::from(prefix)).chain(items).chain(std::iter::once(Bytes::from_static(b"]}\n")))
}

fn metadata(object: &Value, version: &str) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": object["metadata"],
    })
}

fn parse(json: &Bytes) -> Value {
    serde_json::from_slice(json).expect("stored objects are JSON")
}
