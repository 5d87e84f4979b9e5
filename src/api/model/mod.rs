//! The shapes of all kinds, so that raw JSON can be judged and put in order field by field without decoding it into
//! typed structs (which would lose what they do not know).
//!
//! Built once from k8s-openapi's schemas, at first use, without their descriptions: about 200 types.

mod bytes;
mod canonical;
mod decode;
mod strict;

use std::collections::BTreeMap;
use std::sync::LazyLock;

pub use bytes::{decode_bytes, encode_bytes};
pub use canonical::canonicalise;
pub use decode::decode_check;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::Value;
pub use strict::{duplicate_fields, unknown_fields};

use crate::api::kinds::{Kind, served};
use crate::api::parts::WIRE_KINDS;

/// Where schemas stand in an OpenAPI v3 document.
pub const SCHEMAS: &str = "/components/schemas";

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Text.
    Text,
    /// Bytes in base64.
    Bytes,
    /// RFC 3339 with whole seconds.
    Time,
    /// RFC 3339 with microseconds.
    MicroTime,
    /// A signed integer of 32 bits.
    Int32,
    /// A signed integer of 64 bits.
    Int64,
    /// A floating-point number.
    Float,
    /// A truth.
    Bool,
    /// `500m`, as text or number.
    Quantity,
    /// A 32-bit integer or text.
    IntOrString,
    /// Anything; what is in it belongs to whoever wrote it.
    Raw,
    /// A list of one shape.
    List(Box<Shape>),
    /// An object with free keys and values of one shape.
    Map(Box<Shape>),
    /// An object with the fields of this type, by its index.
    Struct(usize),
}

/// One object type.
#[derive(Debug)]
pub struct Type {
    /// Its name in OpenAPI, e.g. `io.k8s.api.core.v1.PodSpec`.
    pub name: Box<str>,
    /// Its fields.
    pub fields: BTreeMap<Box<str>, Shape>,
}

/// All types.
#[derive(Debug)]
pub struct Model {
    types: Vec<Type>,
    roots: Vec<Shape>,
}

/// The one model.
pub static MODEL: LazyLock<Model> = LazyLock::new(Model::read);

impl Model {
    /// The type of a [`Shape::Struct`].
    pub fn of(&self, index: usize) -> &Type {
        &self.types[index]
    }

    /// All types, in the order of their indices.
    pub fn types(&self) -> &[Type] {
        &self.types
    }

    /// The shape of a kind's objects.
    pub fn root(&self, kind: &Kind) -> &Shape {
        let row = Self::rows()
            .position(|row| (row.group, row.kind) == (kind.group, kind.kind))
            .expect("every kind is a row of the table");
        &self.roots[row]
    }

    fn rows() -> impl Iterator<Item = &'static Kind> {
        served().chain(WIRE_KINDS.iter().copied())
    }

    fn read() -> Self {
        let mut generator = generator();
        let roots: Vec<Value> = Self::rows().map(|row| (row.schema)(&mut generator).into()).collect();
        let schemas = generator.take_definitions(true);
        let index: BTreeMap<&str, usize> = schemas
            .iter()
            .filter(|(_, schema)| is_struct(schema))
            .map(|(name, _)| name.as_str())
            .zip(0..)
            .collect();
        let types = schemas
            .iter()
            .filter(|(name, _)| index.contains_key(name.as_str()))
            .map(|(name, schema)| Type { name: name.as_str().into(), fields: fields(schema, &index) })
            .collect();
        Self { types, roots: roots.iter().map(|schema| shape(schema, &index)).collect() }
    }
}

/// A generator whose schemas refer to each other as in an OpenAPI v3 document.
pub fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = SCHEMAS.into())
        .into_generator()
}

/// The name in a `$ref`.
pub fn reference(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.rsplit('/').next()
}

fn is_struct(schema: &Value) -> bool {
    schema["properties"].is_object()
}

fn fields(schema: &Value, index: &BTreeMap<&str, usize>) -> BTreeMap<Box<str>, Shape> {
    let properties = schema["properties"].as_object();
    properties
        .into_iter()
        .flatten()
        .map(|(name, field)| (name.as_str().into(), shape(field, index)))
        .collect()
}

fn shape(schema: &Value, index: &BTreeMap<&str, usize>) -> Shape {
    if let Some(name) = reference(schema) {
        return index.get(name).map_or_else(|| special(name), |i| Shape::Struct(*i));
    }
    match (schema["type"].as_str(), schema["format"].as_str()) {
        (Some("string"), Some("byte")) => Shape::Bytes,
        (Some("string"), _) => Shape::Text,
        (Some("integer"), Some("int32")) => Shape::Int32,
        (Some("integer"), _) => Shape::Int64,
        (Some("number"), _) => Shape::Float,
        (Some("boolean"), _) => Shape::Bool,
        (Some("array"), _) => Shape::List(Box::new(shape(&schema["items"], index))),
        (Some("object"), _) if schema["additionalProperties"].is_object() => {
            Shape::Map(Box::new(shape(&schema["additionalProperties"], index)))
        }
        _ => Shape::Raw,
    }
}

/// Types that are no plain structs on the wire.
fn special(name: &str) -> Shape {
    match name.rsplit('.').next() {
        Some("Quantity") => Shape::Quantity,
        Some("IntOrString") => Shape::IntOrString,
        Some("Time") => Shape::Time,
        Some("MicroTime") => Shape::MicroTime,
        _ => Shape::Raw,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::kinds::by_kind;

    #[test]
    fn the_model_knows_every_kind_and_its_fields() {
        for row in served() {
            assert!(matches!(MODEL.root(row), Shape::Struct(_)), "{row:?}");
        }
        let Shape::Struct(pod) = MODEL.root(by_kind("", "v1", "Pod").unwrap()) else { panic!("a struct") };
        let Shape::Struct(spec) = MODEL.of(*pod).fields["spec"] else { panic!("a struct") };
        let spec = MODEL.of(spec);
        assert_eq!(&*spec.name, "io.k8s.api.core.v1.PodSpec");
        assert_eq!(spec.fields["terminationGracePeriodSeconds"], Shape::Int64);
        assert_eq!(spec.fields["priority"], Shape::Int32);
        assert_eq!(spec.fields["hostNetwork"], Shape::Bool);
        assert_eq!(spec.fields["nodeSelector"], Shape::Map(Box::new(Shape::Text)));
        assert_eq!(spec.fields["overhead"], Shape::Map(Box::new(Shape::Quantity)));
        assert!(matches!(spec.fields["containers"], Shape::List(_)));
    }

    #[test]
    fn special_types_are_recognised() {
        let Shape::Struct(secret) = MODEL.root(by_kind("", "v1", "Secret").unwrap()) else {
            panic!("a struct")
        };
        assert_eq!(MODEL.of(*secret).fields["data"], Shape::Map(Box::new(Shape::Bytes)));
        let revision = MODEL.root(by_kind("apps", "v1", "ControllerRevision").unwrap());
        let Shape::Struct(revision) = revision else { panic!("a struct") };
        assert_eq!(MODEL.of(*revision).fields["data"], Shape::Raw);
    }
}
