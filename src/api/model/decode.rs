//! Whether JSON has the types of its kind, in the words of upstream's decoder.

use serde_json::Value;

use super::{MODEL, Shape, Type, decode_bytes};
use crate::api::kinds::Kind;
use crate::api::quantity::Quantity;
use crate::time::WallTime;

const RFC_3339: &str = "2006-01-02T15:04:05Z07:00";

/// Whether `object` can be read as `kind`; else the sentence of a 400. Null stands for absence everywhere; unknown
/// fields are not judged here ([`super::unknown_fields`] does).
pub fn decode_check(kind: &Kind, object: &Value) -> Result<(), String> {
    let mut trail = Trail { fields: Vec::new(), owner: None };
    trail.check(MODEL.root(kind), object).map_err(|why| {
        format!("{} in version \"{}\" cannot be handled as a {}: {why}", kind.kind, kind.version, kind.kind)
    })
}

/// Where the check stands, as Go's decoder tells it: all field names from the root, and the innermost struct's name.
struct Trail<'a> {
    fields: Vec<&'a str>,
    owner: Option<&'static Type>,
}

impl<'a> Trail<'a> {
    fn check(&mut self, shape: &Shape, value: &'a Value) -> Result<(), String> {
        if value.is_null() {
            return Ok(());
        }
        match shape {
            Shape::Raw => Ok(()),
            Shape::Text => self.expect(value.is_string(), shape, value),
            Shape::Bool => self.expect(value.is_boolean(), shape, value),
            Shape::Float => self.expect(value.is_number(), shape, value),
            Shape::Int32 => self.expect(int32(value), shape, value),
            Shape::Int64 => self.expect(value.is_i64(), shape, value),
            Shape::Bytes => self.bytes(value),
            Shape::Time | Shape::MicroTime => time(value),
            Shape::Quantity => quantity(value),
            Shape::IntOrString => int_or_string(value),
            Shape::List(of) => {
                self.expect(value.is_array(), shape, value)?;
                value.as_array().into_iter().flatten().try_for_each(|item| self.check(of, item))
            }
            Shape::Map(of) => {
                self.expect(value.is_object(), shape, value)?;
                value.as_object().into_iter().flatten().try_for_each(|(_, item)| self.check(of, item))
            }
            Shape::Struct(index) => {
                self.expect(value.is_object(), shape, value)?;
                self.fields_of(MODEL.of(*index), value)
            }
        }
    }

    fn fields_of(&mut self, of: &'static Type, value: &'a Value) -> Result<(), String> {
        let outer = self.owner.replace(of);
        for (name, item) in value.as_object().into_iter().flatten() {
            if let Some(shape) = of.fields.get(name.as_str()) {
                self.fields.push(name);
                self.check(shape, item)?;
                self.fields.pop();
            }
        }
        self.owner = outer;
        Ok(())
    }

    fn bytes(&self, value: &Value) -> Result<(), String> {
        self.expect(value.is_string(), &Shape::Bytes, value)?;
        decode_bytes(value.as_str().unwrap_or_default())
            .map(|_| ())
            .map_err(|at| format!("illegal base64 data at input byte {at}"))
    }

    fn expect(&self, holds: bool, shape: &Shape, value: &Value) -> Result<(), String> {
        if holds {
            return Ok(());
        }
        let (found, wanted) = (found(shape, value), go_type(shape));
        Err(match self.owner {
            Some(owner) => {
                let (owner, path) = (last(&owner.name, 1), self.fields.join("."));
                format!("json: cannot unmarshal {found} into Go struct field {owner}.{path} of type {wanted}")
            }
            None => format!("json: cannot unmarshal {found} into Go value of type {wanted}"),
        })
    }
}

fn int32(value: &Value) -> bool {
    value.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
}

fn time(value: &Value) -> Result<(), String> {
    let Some(text) = value.as_str() else {
        return Err(format!("json: cannot unmarshal {} into Go value of type string", json_type(value)));
    };
    if text.is_empty() || WallTime::parse(text).is_some() {
        return Ok(());
    }
    Err(format!("parsing time \"{text}\" as \"{RFC_3339}\": cannot parse \"{text}\" as \"2006\""))
}

fn quantity(value: &Value) -> Result<(), String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    };
    Quantity::parse(&text).map(|_| ()).map_err(|e| e.to_string())
}

fn int_or_string(value: &Value) -> Result<(), String> {
    if value.is_string() || int32(value) {
        return Ok(());
    }
    Err(format!("json: cannot unmarshal {} into Go value of type int32", found(&Shape::Int32, value)))
}

/// How Go names what it found: a number where an integer is expected is told with its digits.
fn found(shape: &Shape, value: &Value) -> String {
    match (shape, value) {
        (Shape::Int32 | Shape::Int64, Value::Number(number)) => format!("number {number}"),
        _ => json_type(value).to_owned(),
    }
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn go_type(shape: &Shape) -> String {
    match shape {
        Shape::Text => "string".into(),
        Shape::Bytes => "[]uint8".into(),
        Shape::Time => "v1.Time".into(),
        Shape::MicroTime => "v1.MicroTime".into(),
        Shape::Int32 => "int32".into(),
        Shape::Int64 => "int64".into(),
        Shape::Float => "float64".into(),
        Shape::Bool => "bool".into(),
        Shape::Quantity => "resource.Quantity".into(),
        Shape::IntOrString => "intstr.IntOrString".into(),
        Shape::Raw => "runtime.RawExtension".into(),
        Shape::List(of) => format!("[]{}", go_type(of)),
        Shape::Map(of) if **of == Shape::Quantity => "v1.ResourceList".into(),
        Shape::Map(of) => format!("map[string]{}", go_type(of)),
        Shape::Struct(index) => last(&MODEL.of(*index).name, 2).into(),
    }
}

/// The last `count` parts of a dotted name.
fn last(name: &str, count: usize) -> &str {
    name.rmatch_indices('.').nth(count - 1).map_or(name, |(dot, _)| &name[dot + 1..])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::kinds::by_kind;

    fn check(group: &str, kind: &str, object: &Value) -> String {
        decode_check(by_kind(group, "v1", kind).expect("a known kind"), object).err().unwrap_or_default()
    }

    fn pod(spec: &Value) -> String {
        check("", "Pod", &json!({ "spec": spec }))
    }

    #[test]
    fn a_wrong_type_is_told_with_its_path_as_the_go_decoder_tells_it() {
        for (spec, told) in [
            (
                json!({ "containers": [{ "image": 1 }] }),
                "json: cannot unmarshal number into Go struct field Container.spec.containers.image of type string",
            ),
            (
                json!({ "terminationGracePeriodSeconds": "x" }),
                "json: cannot unmarshal string into Go struct field PodSpec.spec.terminationGracePeriodSeconds of type int64",
            ),
            (
                json!({ "priority": 1.5 }),
                "json: cannot unmarshal number 1.5 into Go struct field PodSpec.spec.priority of type int32",
            ),
            (
                json!({ "priority": 3_000_000_000_u64 }),
                "json: cannot unmarshal number 3000000000 into Go struct field PodSpec.spec.priority of type int32",
            ),
            (
                json!({ "hostNetwork": "true" }),
                "json: cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool",
            ),
            (
                json!({ "containers": {} }),
                "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
            ),
            (
                json!({ "nodeSelector": { "a": true } }),
                "json: cannot unmarshal bool into Go struct field PodSpec.spec.nodeSelector of type string",
            ),
            (
                json!({ "nodeSelector": [] }),
                "json: cannot unmarshal array into Go struct field PodSpec.spec.nodeSelector of type map[string]string",
            ),
            (
                json!({ "securityContext": "x" }),
                "json: cannot unmarshal string into Go struct field PodSpec.spec.securityContext of type v1.PodSecurityContext",
            ),
            (
                json!({ "overhead": 1 }),
                "json: cannot unmarshal number into Go struct field PodSpec.spec.overhead of type v1.ResourceList",
            ),
            (
                json!({ "containers": [{ "env": [{ "name": "A", "value": 1 }] }] }),
                "json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value of type string",
            ),
        ] {
            assert_eq!(pod(&spec), format!("Pod in version \"v1\" cannot be handled as a Pod: {told}"));
        }
        assert!(pod(&json!([])).ends_with("Go struct field Pod.spec of type v1.PodSpec"));
        assert!(check("apps", "DaemonSet", &json!(1)).ends_with("into Go value of type v1.DaemonSet"));
    }

    #[test]
    fn quantities_times_ports_and_bytes_are_judged_by_their_own_rules() {
        let limits =
            |cpu: Value| pod(&json!({ "containers": [{ "resources": { "limits": { "cpu": cpu } } }] }));
        for good in [json!("1"), json!(1), json!(0.5), json!("500m"), json!(" 1 "), json!(null)] {
            assert_eq!(limits(good), "");
        }
        assert!(limits(json!("1x")).contains("quantities must match the regular expression"));
        assert!(limits(json!(true)).contains("quantities must match the regular expression"));
        assert!(limits(json!("1mm")).ends_with("unable to parse quantity's suffix"));

        let port = |port: Value| {
            pod(&json!({ "containers": [{ "livenessProbe": { "tcpSocket": { "port": port } } }] }))
        };
        assert_eq!(port(json!(80)), "");
        assert_eq!(port(json!("http")), "");
        assert!(port(json!(1.5)).ends_with("json: cannot unmarshal number 1.5 into Go value of type int32"));
        assert!(port(json!({})).ends_with("json: cannot unmarshal object into Go value of type int32"));

        let renewed =
            |time: Value| check("coordination.k8s.io", "Lease", &json!({ "spec": { "renewTime": time } }));
        assert_eq!(renewed(json!("2026-01-02T03:04:05.123456Z")), "");
        assert_eq!(renewed(json!("2026-01-02T03:04:05+02:00")), "");
        assert!(renewed(json!("yesterday")).contains("parsing time \"yesterday\" as"));
        assert!(renewed(json!(5)).ends_with("json: cannot unmarshal number into Go value of type string"));

        let secret = |data: Value| check("", "Secret", &json!({ "data": { "a": data } }));
        assert_eq!(secret(json!("aGVsbG8=")), "");
        assert_eq!(secret(json!("")), "");
        assert!(secret(json!("a-b=")).ends_with("illegal base64 data at input byte 1"));
        assert!(secret(json!("aGVsbG8")).contains("illegal base64 data at input byte 4"));
        assert!(secret(json!(1)).ends_with("Go struct field Secret.data of type []uint8"));
    }

    #[test]
    fn null_stands_for_absence_and_unknown_fields_are_left_alone() {
        assert_eq!(
            pod(&json!({ "containers": null, "nodeSelector": { "a": null }, "new": { "x": [1] } })),
            ""
        );
        assert_eq!(
            check("apps", "ControllerRevision", &json!({ "data": [1, { "a": true }], "revision": 1 })),
            ""
        );
    }
}
