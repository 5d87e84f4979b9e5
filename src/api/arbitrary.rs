//! Objects nobody would write, for tests: any JSON out of the API's own words, and objects of a kind with the right type
//! in every field.

#[cfg(test)]
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::api::kinds::Kind;
use crate::api::model::{MODEL, Shape};

/// Fields that are never left out: for their use, and times without which validation lets nothing pass and typed
/// structs cannot be read.
const ALWAYS: [&str; 5] = ["name", "containers", "image", "lastTransitionTime", "eventTime"];

/// Deepest nesting of [`object`].
const DEPTH_MAX: u32 = 9;

/// Any JSON, its keys names of fields.
#[cfg(test)]
pub fn any_json() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec![
        "metadata",
        "spec",
        "status",
        "name",
        "labels",
        "annotations",
        "template",
        "selector",
        "containers",
        "initContainers",
        "image",
        "ports",
        "env",
        "valueFrom",
        "fieldRef",
        "fieldPath",
        "resources",
        "limits",
        "requests",
        "cpu",
        "volumes",
        "volumeMounts",
        "mountPath",
        "secret",
        "projected",
        "sources",
        "items",
        "path",
        "tolerations",
        "key",
        "operator",
        "effect",
        "values",
        "affinity",
        "hostNetwork",
        "updateStrategy",
        "type",
        "rollingUpdate",
        "maxSurge",
        "data",
        "stringData",
        "capacity",
        "taints",
        "podCIDR",
        "podCIDRs",
        "podIP",
        "podIPs",
        "ip",
        "conditions",
        "containerStatuses",
        "state",
        "terminated",
        "serviceAccount",
        "livenessProbe",
        "httpGet",
        "port",
        "securityContext",
        "involvedObject",
        "eventTime",
        "lastTimestamp",
        "series",
        "ownerReferences",
        "x",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-zA-Z0-9.:/='\\[\\]%-]{0,8}".prop_map(Value::from),
        "\\PC{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(7, 96, 8, move |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            3 => prop::collection::btree_map(names.clone().prop_map(String::from), inner, 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// An object of `kind` with some of its fields, each of its type; the same for the same seed.
pub fn object(kind: &Kind, seed: u64) -> Value {
    let mut dice = Dice(seed | 1);
    let mut object = sample(MODEL.root(kind), &mut dice, 0);
    object["apiVersion"] = kind.api_version().into();
    object["kind"] = kind.kind.into();
    object
}

fn sample(shape: &Shape, dice: &mut Dice, depth: u32) -> Value {
    match shape {
        Shape::Text => {
            pick(dice, &["", "a", "Always", "a.b/c", "File", "None", "UPPER", "x y", "busybox:1"]).into()
        }
        Shape::Bytes => pick(dice, &["", "eA==", "e30="]).into(),
        Shape::Time => pick(dice, &["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.9+02:00"]).into(),
        Shape::MicroTime => pick(dice, &["2026-01-02T03:04:05.123456Z", "2026-01-02T03:04:05Z"]).into(),
        Shape::Int32 => json!([0, 1, -1, 80, i32::MAX, i32::MIN][dice.below(6)]),
        Shape::Int64 => json!([0, 1, -1, 300, i64::MAX, i64::MIN][dice.below(6)]),
        Shape::Float => json!(0.5),
        Shape::Bool => json!(dice.below(2) == 0),
        Shape::Quantity => {
            [json!("1"), json!(1), json!(0.5), json!("100m"), json!("1024Mi"), json!("-1"), json!("1e3")]
                [dice.below(7)]
            .clone()
        }
        Shape::IntOrString => {
            [json!(1), json!(0), json!("http"), json!("10%"), json!(-1)][dice.below(5)].clone()
        }
        Shape::Raw => json!({ "raw": [1, null] }),
        Shape::List(_) | Shape::Map(_) | Shape::Struct(_) if depth >= DEPTH_MAX => Value::Null,
        Shape::List(of) => (0..dice.below(3)).map(|_| filled(of, dice, depth)).collect(),
        Shape::Map(of) => {
            let keys = ["a", "cpu", "memory", "nvidia.com/gpu", "-"];
            let count = dice.below(3);
            Value::Object(
                (0..count).map(|_| (pick(dice, &keys).to_owned(), filled(of, dice, depth))).collect(),
            )
        }
        Shape::Struct(index) => {
            let mut fields = Map::new();
            for (name, shape) in &MODEL.of(*index).fields {
                let wanted = depth < 2 || ALWAYS.contains(&&**name) || dice.below(4) == 0;
                if wanted && &**name != "managedFields" {
                    fields.insert((**name).into(), sample(shape, dice, depth + 1));
                }
            }
            fields.into()
        }
    }
}

/// Elements of lists and maps are never null.
fn filled(shape: &Shape, dice: &mut Dice, depth: u32) -> Value {
    let value = sample(shape, dice, depth + 1);
    if value.is_null() { json!({}) } else { value }
}

fn pick<'a>(dice: &mut Dice, of: &[&'a str]) -> &'a str {
    of[dice.below(of.len())]
}

/// xorshift64
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}
