//! Server-side apply, by two appliers in turn: a valid object or a refusal; applied twice is as applied once; what an
//! applier gives up and nobody else has goes away.

use crate::api::kinds::Kind;
use crate::coordinator::{Action, Outcome, Subresource};
use crate::server::api::body;
use serde_json::{Value, json};

/// One run.
pub fn run(data: &[u8]) {
    let mut data = data;
    let Some((mut endpoint, kind, form)) = super::choose(&mut data) else { return };
    let scales = form % 8 == 7 && kind.part("scale").is_some();
    let subresource = if scales { Subresource::Scale } else { Subresource::Main };
    let configuration = if form % 2 == 0 {
        match body::configuration(data) {
            Ok(configuration) => configuration,
            Err(_) => return,
        }
    } else if scales {
        let replicas = super::number(&mut data) as i16;
        json!({ "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": { "name": "x" }, "spec": { "replicas": replicas } })
    } else {
        named(kind, super::change(kind, super::number(&mut data)))
    };
    let mut apply = |configuration: &Value, force: bool| {
        let action = Action::Apply {
            name: "x".into(),
            subresource,
            configuration: configuration.clone(),
            force,
            not_to_be_made: None,
        };
        endpoint.act(kind, action)
    };
    let force = form % 4 == 1;
    let Ok(once) = apply(&configuration, force) else { return };
    let ends = super::object(&once).is_none_or(|it| !it["metadata"]["deletionTimestamp"].is_null());
    if ends || !configuration["metadata"]["resourceVersion"].is_null() {
        return;
    }
    let again = apply(&configuration, force).unwrap_or_else(|e| panic!("{e:?}\n{configuration}"));
    assert!(again.outcome == Outcome::Unchanged, "{configuration}");
    if subresource == Subresource::Main {
        // What is given up may be needed: then that is refused.
        let _ = apply(&named(kind, json!({})), false);
        endpoint.is_settled(kind, "x");
    }
}

fn named(kind: &Kind, mut configuration: Value) -> Value {
    configuration["apiVersion"] = kind.api_version().into();
    configuration["kind"] = kind.kind.into();
    if !configuration["metadata"].is_object() {
        configuration["metadata"] = json!({});
    }
    configuration["metadata"]["name"] = "x".into();
    configuration
}
