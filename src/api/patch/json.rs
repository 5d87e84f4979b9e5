//! JSON patch, with kube-apiserver's bounds: one patch can copy only so much, and build nothing that could not be read
//! again.

use json_patch::{PatchOperation, jsonptr::Pointer};
use serde_json::Value;

use crate::api::patch::{DEPTH_MAX, JSON_PATCH_COPIED_BYTES_MAX, JSON_PATCH_OPERATIONS_MAX, PatchError};

pub(super) fn check_length(patch: &json_patch::Patch) -> Result<(), PatchError> {
    let count = patch.0.len();
    if count <= JSON_PATCH_OPERATIONS_MAX {
        return Ok(());
    }
    Err(PatchError::TooLarge(
        format!("The allowed maximum operations in a JSON patch is {JSON_PATCH_OPERATIONS_MAX}, got {count}")
            .into(),
    ))
}

pub(super) fn apply(mut object: Value, patch: &json_patch::Patch) -> Result<Value, PatchError> {
    let mut copied_bytes = 0;
    for operation in &patch.0 {
        check_bounds(&object, operation, &mut copied_bytes)?;
        if is_test_of_absence(&object, operation) {
            continue;
        }
        json_patch::patch_unsafe(&mut object, std::slice::from_ref(operation))
            .map_err(|e| PatchError::Unprocessable(format!("{operation}: {}", e.kind).into()))?;
    }
    Ok(object)
}

/// Upstream's library lets a test for null succeed where there is nothing.
fn is_test_of_absence(object: &Value, operation: &PatchOperation) -> bool {
    matches!(operation, PatchOperation::Test(test)
        if test.value.is_null() && object.pointer(test.path.as_str()).is_none())
}

fn check_bounds(
    object: &Value,
    operation: &PatchOperation,
    copied_bytes: &mut usize,
) -> Result<(), PatchError> {
    let found = |from: &Pointer| object.pointer(from.as_str()).unwrap_or(&Value::Null);
    let (path, value) = match operation {
        PatchOperation::Add(add) => (&add.path, &add.value),
        PatchOperation::Replace(replace) => (&replace.path, &replace.value),
        PatchOperation::Move(moved) => (&moved.path, found(&moved.from)),
        PatchOperation::Copy(copy) => {
            let value = found(&copy.from);
            *copied_bytes += value.to_string().len();
            (&copy.path, value)
        }
        PatchOperation::Remove(_) | PatchOperation::Test(_) => return Ok(()),
    };
    if *copied_bytes > JSON_PATCH_COPIED_BYTES_MAX {
        return Err(PatchError::Unprocessable(
            format!(
                "Unable to complete the copy, the accumulated size increase of copy is {copied_bytes}, exceeding the \
                 limit {JSON_PATCH_COPIED_BYTES_MAX}"
            )
            .into(),
        ));
    }
    if path.count() + depth(value) > DEPTH_MAX {
        return Err(PatchError::Unprocessable(
            format!("{operation}: the object would be nested deeper than {DEPTH_MAX} levels").into(),
        ));
    }
    Ok(())
}

/// Levels of lists and maps. The argument is never deeper than [`DEPTH_MAX`], so this may recurse.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(object: Value, operations: Value) -> Result<Value, PatchError> {
        let patch: json_patch::Patch = serde_json::from_value(operations).expect("a JSON patch");
        check_length(&patch)?;
        apply(object, &patch)
    }

    #[test]
    fn every_operation_does_what_the_rfc_says() {
        let patched = run(
            json!({ "a": { "b": [1, 2], "c/d": 0 }, "m": 1 }),
            json!([
                { "op": "test", "path": "/a/b/0", "value": 1 },
                { "op": "add", "path": "/a/b/1", "value": 9 },
                { "op": "add", "path": "/a/b/-", "value": 3 },
                { "op": "replace", "path": "/a/c~1d", "value": 5 },
                { "op": "copy", "from": "/a/b", "path": "/e" },
                { "op": "move", "from": "/m", "path": "/n" },
                { "op": "remove", "path": "/a/b/0" },
            ]),
        );
        assert_eq!(patched, Ok(json!({ "a": { "b": [9, 2, 3], "c/d": 5 }, "e": [1, 9, 2, 3], "n": 1 })));
    }

    #[test]
    fn an_operation_that_does_not_fit_refuses_the_whole_patch() {
        for operation in [
            json!({ "op": "test", "path": "/a", "value": 2 }),
            json!({ "op": "remove", "path": "/x" }),
            json!({ "op": "replace", "path": "/x", "value": 1 }),
            json!({ "op": "add", "path": "/x/y", "value": 1 }),
            json!({ "op": "add", "path": "/l/7", "value": 1 }),
            json!({ "op": "copy", "from": "/x", "path": "/y" }),
            json!({ "op": "move", "from": "/o", "path": "/o/p" }),
        ] {
            let refused = run(json!({ "a": 1, "l": [], "o": {} }), json!([operation]));
            assert!(matches!(refused, Err(PatchError::Unprocessable(_))), "{operation}: {refused:?}");
        }
    }

    #[test]
    fn a_test_for_null_succeeds_where_there_is_nothing() {
        assert_eq!(run(json!({}), json!([{ "op": "test", "path": "/x", "value": null }])), Ok(json!({})));
    }

    #[test]
    fn a_patch_of_more_than_ten_thousand_operations_is_too_large() {
        let operations = vec![json!({ "op": "test", "path": "/x", "value": null }); 10_001];
        assert_eq!(
            run(json!({}), operations.into()).map_err(|e| e.to_string()),
            Err("Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001".into())
        );
    }

    #[test]
    fn copies_that_double_the_object_end_at_three_mebibytes() {
        let doubling = (0..40).map(|i| json!({ "op": "copy", "from": "", "path": format!("/k{i}") }));
        let refused = run(json!({ "seed": "x".repeat(1000) }), doubling.collect());
        assert!(
            matches!(refused, Err(PatchError::Unprocessable(text)) if text.contains("exceeding the limit 3145728"))
        );
    }

    #[test]
    fn a_patch_cannot_build_what_could_not_be_read_again() {
        let nesting = |count: usize| (0..count).map(|_| json!({ "op": "copy", "from": "", "path": "/a" }));
        let deep = run(json!({ "b": 1 }), nesting(DEPTH_MAX - 1).collect()).expect("just shallow enough");
        assert!(serde_json::from_str::<Value>(&deep.to_string()).is_ok());
        assert!(matches!(run(json!({}), nesting(DEPTH_MAX).collect()), Err(PatchError::Unprocessable(_))));
    }
}
