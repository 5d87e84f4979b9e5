//! Requests for certificates.

use serde_json::Value;

use crate::api::names;
use crate::api::status::FieldError;

/// Shortest life that may be asked for, as upstream.
const LIFE_SECONDS_MIN: i64 = 600;
const PEM_LABEL: &str = "-----BEGIN CERTIFICATE REQUEST-----";

/// All errors of a new request.
pub fn certificate_signing_request(object: &Value) -> Vec<FieldError> {
    use base64::Engine as _;
    let spec = &object["spec"];
    let mut errors = Vec::new();
    let request = spec["request"].as_str().unwrap_or_default();
    let pem = base64::engine::general_purpose::STANDARD.decode(request).unwrap_or_default();
    if !String::from_utf8_lossy(&pem).contains(PEM_LABEL) {
        let why = "PEM block type must be CERTIFICATE REQUEST";
        errors.push(FieldError::invalid("spec.request", &spec["request"], why));
    }
    if spec["usages"].as_array().is_none_or(Vec::is_empty) {
        errors.push(FieldError::required("spec.usages", ""));
    }
    signer_name(&spec["signerName"], &mut errors);
    if let Some(seconds) = spec["expirationSeconds"].as_i64()
        && seconds < LIFE_SECONDS_MIN
    {
        let why = format!("may not specify a duration less than {LIFE_SECONDS_MIN} seconds (10 minutes)");
        errors.push(FieldError::invalid("spec.expirationSeconds", &seconds.into(), &why));
    }
    errors
}

fn signer_name(value: &Value, errors: &mut Vec<FieldError>) {
    let name = value.as_str().unwrap_or_default();
    if name.is_empty() {
        return errors.push(FieldError::required("spec.signerName", ""));
    }
    match name.split_once('/') {
        Some((domain, path)) if !path.is_empty() => {
            let parts = names::dns1123_subdomain(domain).into_iter().chain(names::dns1123_subdomain(path));
            errors.extend(parts.map(|why| FieldError::invalid("spec.signerName", value, &why)));
        }
        _ => {
            let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
            errors.push(FieldError::invalid("spec.signerName", value, why));
        }
    }
}

/// What was asked for does not change.
pub fn certificate_signing_request_update(new: &Value, old: &Value) -> Vec<FieldError> {
    if new["spec"] == old["spec"] {
        return Vec::new();
    }
    vec![FieldError::invalid("spec", &new["spec"], "field is immutable")]
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_says_what_by_whom_and_for_what() {
        let pem = base64::engine::general_purpose::STANDARD.encode(PEM_LABEL);
        let good = json!({ "request": pem, "usages": ["client auth"], "signerName": "a.b/c", "expirationSeconds": 600 });
        assert_eq!(certificate_signing_request(&json!({ "spec": good })), []);
        let cases = [
            ("request", json!("eA=="), "spec.request"),
            ("usages", json!([]), "spec.usages"),
            ("signerName", json!(""), "spec.signerName"),
            ("signerName", json!("plain"), "spec.signerName"),
            ("expirationSeconds", json!(599), "spec.expirationSeconds"),
        ];
        for (field, value, path) in cases {
            let mut spec = good.clone();
            spec[field] = value;
            let errors = certificate_signing_request(&json!({ "spec": spec }));
            assert_eq!(errors.iter().map(|e| e.field.as_str()).collect::<Vec<_>>(), [path]);
        }
    }
}
