//! Requests for certificates.

use serde_json::Value;

use super::{AGE, NAME, NONE, age, human_duration, items, name, text, text_column};
use crate::api::kinds::Column;
use crate::time::WallTime;

/// `NAME AGE SIGNERNAME REQUESTOR REQUESTEDDURATION CONDITION`
pub const CERTIFICATE_SIGNING_REQUEST: &[Column] = &[
    NAME,
    AGE,
    text_column("SignerName", "Who is asked to sign."),
    text_column("Requestor", "Who asked."),
    text_column("RequestedDuration", "For how long the certificate is asked for."),
    text_column("Condition", "What has become of the request."),
];

/// Cells of [`CERTIFICATE_SIGNING_REQUEST`].
pub fn certificate_signing_request(object: &Value, now: WallTime) -> Vec<Value> {
    let asked = object.pointer("/spec/expirationSeconds").and_then(Value::as_i64);
    vec![
        name(object),
        age(object, now).into(),
        some(text(object, "/spec/signerName")).into(),
        text(object, "/spec/username").into(),
        asked.map_or_else(|| NONE.to_owned(), human_duration).into(),
        condition(object).into(),
    ]
}

fn some(text: &str) -> &str {
    if text.is_empty() { NONE } else { text }
}

fn condition(object: &Value) -> String {
    let has = |kind: &str| items(object, "/status/conditions").iter().any(|c| c["type"] == kind);
    let mut word = match (has("Approved"), has("Denied")) {
        (_, true) => "Denied".to_owned(),
        (true, false) => "Approved".to_owned(),
        (false, false) => return "Pending".to_owned(),
    };
    if has("Failed") {
        word += ",Failed";
    }
    if !text(object, "/status/certificate").is_empty() {
        word += ",Issued";
    }
    word
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_shows_what_has_become_of_it() {
        let with = |conditions: &[&str], certificate: &str| {
            let conditions: Vec<Value> = conditions.iter().map(|kind| json!({ "type": kind })).collect();
            condition(&json!({ "status": { "conditions": conditions, "certificate": certificate } }))
        };
        assert_eq!(with(&[], ""), "Pending");
        assert_eq!(with(&["Approved"], ""), "Approved");
        assert_eq!(with(&["Approved"], "x"), "Approved,Issued");
        assert_eq!(with(&["Denied"], ""), "Denied");
        assert_eq!(with(&["Approved", "Failed"], ""), "Approved,Failed");
    }
}
