//! JSON in the form in which upstream stores it: absent fields instead of null, quantities and times in their canonical
//! spelling. Unknown fields are kept as they are.

use serde_json::{Map, Value};

use super::{MODEL, Shape, Type, decode_bytes, encode_bytes};
use crate::api::kinds::Kind;
use crate::api::quantity::Quantity;
use crate::time::WallTime;

/// Puts `object`, an object of `kind`, in canonical form. Values of a wrong type are left for
/// [`super::decode_check`] to refuse.
pub fn canonicalise(kind: &Kind, object: &mut Value) {
    put_in_order(MODEL.root(kind), object);
}

fn put_in_order(shape: &Shape, value: &mut Value) {
    match (shape, value) {
        (Shape::Struct(index), Value::Object(fields)) => order_fields(MODEL.of(*index), fields),
        (Shape::List(of), Value::Array(items)) => items.iter_mut().for_each(|item| put_in_order(of, item)),
        (Shape::Map(of), Value::Object(items)) => items.iter_mut().for_each(|(_, item)| order_item(of, item)),
        (Shape::Quantity, value) => order_quantity(value, |quantity| quantity),
        (Shape::Bytes, Value::String(text)) => order_bytes(text),
        (Shape::Time, Value::String(text)) => order_time(text, WallTime::seconds),
        (Shape::MicroTime, Value::String(text)) => order_time(text, WallTime::micros),
        (
            Shape::Text
            | Shape::Bytes
            | Shape::Time
            | Shape::MicroTime
            | Shape::Int32
            | Shape::Int64
            | Shape::Float
            | Shape::Bool
            | Shape::IntOrString
            | Shape::Raw
            | Shape::List(_)
            | Shape::Map(_)
            | Shape::Struct(_),
            _,
        ) => {}
    }
}

fn order_fields(of: &Type, fields: &mut Map<String, Value>) {
    fields.retain(|name, value| !value.is_null() || !of.fields.contains_key(name.as_str()));
    for (name, value) in fields.iter_mut() {
        if let Some(shape) = of.fields.get(name.as_str()) {
            put_in_order(shape, value);
        }
    }
}

/// A key stays when its value is null: it has the value that Go gives to nothing.
fn order_item(of: &Shape, value: &mut Value) {
    match of {
        Shape::Text | Shape::Bytes if value.is_null() => *value = "".into(),
        Shape::Quantity if value.is_null() => *value = "0".into(),
        Shape::Quantity => order_quantity(value, Quantity::rounded_to_millis),
        Shape::Text
        | Shape::Bytes
        | Shape::Time
        | Shape::MicroTime
        | Shape::Int32
        | Shape::Int64
        | Shape::Float
        | Shape::Bool
        | Shape::IntOrString
        | Shape::Raw
        | Shape::List(_)
        | Shape::Map(_)
        | Shape::Struct(_) => put_in_order(of, value),
    }
}

fn order_quantity(value: &mut Value, round: fn(Quantity) -> Quantity) {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return,
    };
    if let Ok(quantity) = Quantity::parse(&text) {
        *value = round(quantity).to_string().into();
    }
}

fn order_bytes(text: &mut String) {
    if let Ok(bytes) = decode_bytes(text) {
        *text = encode_bytes(&bytes);
    }
}

fn order_time(text: &mut String, spell: fn(WallTime) -> String) {
    if let Some(time) = WallTime::parse(text) {
        *text = spell(time);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::kinds::by_kind;

    fn canonical(group: &str, kind: &str, mut object: Value) -> Value {
        let kind = by_kind(group, "v1", kind).expect("a known kind");
        canonicalise(kind, &mut object);
        let once = object.clone();
        canonicalise(kind, &mut object);
        assert_eq!(object, once, "twice is as once");
        object
    }

    #[test]
    fn null_fields_vanish_but_null_values_of_free_keys_stay_as_nothing() {
        let pod = canonical(
            "",
            "Pod",
            json!({
                "metadata": { "creationTimestamp": null, "labels": { "a": null } },
                "spec": { "nodeSelector": null, "new": null, "containers": [{ "image": "a", "command": null }] },
            }),
        );
        assert_eq!(
            pod,
            json!({
                "metadata": { "labels": { "a": "" } },
                "spec": { "new": null, "containers": [{ "image": "a" }] },
            })
        );
    }

    #[test]
    fn quantities_are_spelled_the_one_way() {
        let resources = json!({ "limits": { "cpu": 0.5, "memory": "1024Mi", "x.dev/y": "1u" }, "requests": { "cpu": 2 } });
        let pod = canonical("", "Pod", json!({ "spec": { "containers": [{ "resources": resources }] } }));
        assert_eq!(
            pod["spec"]["containers"][0]["resources"],
            json!({ "limits": { "cpu": "500m", "memory": "1Gi", "x.dev/y": "1m" }, "requests": { "cpu": "2" } })
        );
    }

    #[test]
    fn times_are_spelled_in_utc_with_the_digits_of_their_type() {
        let lease = canonical(
            "coordination.k8s.io",
            "Lease",
            json!({
                "metadata": { "creationTimestamp": "2026-01-02T03:04:05.5+01:00" },
                "spec": { "renewTime": "2026-01-02T03:04:05Z" },
            }),
        );
        assert_eq!(lease["metadata"]["creationTimestamp"], "2026-01-02T02:04:05Z");
        assert_eq!(lease["spec"]["renewTime"], "2026-01-02T03:04:05.000000Z");
    }

    #[test]
    fn raw_data_and_wrong_types_are_left_as_they_are() {
        let object = json!({ "data": { "a": null, "cpu": 1 }, "metadata": { "labels": 1 } });
        assert_eq!(canonical("apps", "ControllerRevision", object.clone()), object);
    }
}
