//! What may have an owner of its own in each type: the model's shapes together with the list and map types.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::api::kinds::Kind;
use crate::api::model::{MODEL, Shape};
use crate::api::openapi::lists::{self, List};
use crate::api::parts::SCALE;

/// What a value is made of.
#[derive(Debug)]
pub(super) enum Node {
    Scalar(Scalar),
    /// Anything; it is owned whole.
    Raw,
    List(List, Box<Node>),
    Map {
        is_atomic: bool,
        of: Box<Node>,
    },
    Struct {
        is_atomic: bool,
        index: usize,
    },
}

/// Which scalars a place takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    Text,
    Number,
    Bool,
    Any,
}

/// The fields of a struct.
#[derive(Debug)]
struct Fields {
    of: BTreeMap<Box<str>, Node>,
    /// Those that upstream writes even when they are empty.
    always: Vec<Box<str>>,
}

impl Node {
    /// Whether it has one owner as a whole.
    pub(super) fn is_leaf(&self) -> bool {
        match self {
            Self::Scalar(_) | Self::Raw | Self::List(List::Atomic, _) => true,
            Self::List(List::Set | List::Map(_), _) => false,
            Self::Map { is_atomic, .. } | Self::Struct { is_atomic, .. } => *is_atomic,
        }
    }

    /// What a key holds: a field of a struct or a value of a map. What no struct declares is owned whole.
    pub(super) fn at(&'static self, key: &str) -> &'static Node {
        match self {
            Self::Struct { index, .. } => SCHEMA.structs[*index].of.get(key).unwrap_or(&Node::Raw),
            Self::Map { of, .. } => of,
            Self::Scalar(_) | Self::Raw | Self::List(..) => &Node::Raw,
        }
    }

    /// Whether it is a struct that declares this field.
    pub(super) fn declares(&self, key: &str) -> bool {
        matches!(self, Self::Struct { index, .. } if SCHEMA.structs[*index].of.contains_key(key))
    }

    /// The fields of a struct that upstream writes even when they are empty.
    pub(super) fn always(&self) -> &'static [Box<str>] {
        match self {
            Self::Struct { index, .. } => &SCHEMA.structs[*index].always,
            Self::Scalar(_) | Self::Raw | Self::List(..) | Self::Map { .. } => &[],
        }
    }
}

pub(super) struct Schema {
    structs: Vec<Fields>,
    roots: BTreeMap<(&'static str, &'static str), Node>,
}

pub(super) static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::read);

impl Schema {
    /// What objects of this kind are made of.
    pub(super) fn root(&'static self, kind: &Kind) -> &'static Node {
        self.roots.get(&(kind.group, kind.kind)).expect("every kind is a row of the table")
    }

    fn read() -> Self {
        let structs = MODEL.types().iter().map(|of| {
            let owner = of.name.rsplit('.').next().unwrap_or_default();
            let fields =
                of.fields.iter().map(|(name, shape)| (name.clone(), node(shape, owner, name))).collect();
            let always =
                of.fields.keys().filter(|name| lists::is_always_there(owner, name)).cloned().collect();
            Fields { of: fields, always }
        });
        let roots = crate::api::kinds::KINDS.iter().chain([&SCALE]);
        Self {
            structs: structs.collect(),
            roots: roots.map(|kind| ((kind.group, kind.kind), node(MODEL.root(kind), "", ""))).collect(),
        }
    }
}

fn node(shape: &Shape, owner: &str, field: &str) -> Node {
    match shape {
        Shape::Text | Shape::Bytes => Node::Scalar(Scalar::Text),
        Shape::Int32 | Shape::Int64 | Shape::Float => Node::Scalar(Scalar::Number),
        Shape::Bool => Node::Scalar(Scalar::Bool),
        Shape::Time | Shape::MicroTime | Shape::Quantity | Shape::IntOrString => Node::Scalar(Scalar::Any),
        Shape::Raw => Node::Raw,
        Shape::List(of) => Node::List(lists::list(owner, field), Box::new(node(of, "", ""))),
        Shape::Map(of) => {
            Node::Map { is_atomic: lists::is_atomic_field(owner, field), of: Box::new(node(of, "", "")) }
        }
        Shape::Struct(index) => {
            let name = MODEL.of(*index).name.rsplit('.').next().unwrap_or_default();
            let is_atomic = lists::is_atomic_type(name) && !lists::is_granular_field(owner, field);
            Node::Struct { is_atomic, index: *index }
        }
    }
}
