//! `StatefulSet`.

use serde_json::{Value, json};

use super::{
    ABOVE_REPLICAS, always_runs, amount, at_most, collisions_only_grow, counts, needed_selector,
    not_above_whole, number_or_percent, same, selects_template,
};
use crate::api::names;
use crate::api::selectors::Selector;
use crate::api::status::FieldError;
use crate::api::validation::claim_spec;
use crate::api::validation::pod::template;
use crate::api::validation::spot::{Errors, Spot};

/// What may change of a spec.
const MUTABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

/// All errors of a `StatefulSet`.
pub fn stateful_set(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let spec = Spot::root(object).at("spec");
    let management = spec.at("podManagementPolicy");
    match management.text() {
        "" => errors.required(&management, ""),
        "OrderedReady" | "Parallel" => {}
        _ => errors.invalid(&management, "must be 'OrderedReady' or 'Parallel'"),
    }
    update_strategy(&spec.at("updateStrategy"), &mut errors);
    let retention = spec.at("persistentVolumeClaimRetentionPolicy");
    if retention.is_set() {
        for when in ["whenDeleted", "whenScaled"].map(|field| retention.at(field)) {
            if !["Retain", "Delete"].contains(&when.text()) {
                errors.unsupported(&when, &["Retain", "Delete"]);
            }
        }
    }
    for count in ["replicas", "minReadySeconds", "ordinals.start", "revisionHistoryLimit"] {
        errors.not_negative(&spec.at(count));
    }
    let service = spec.at("serviceName");
    if !service.is_empty() {
        errors.faults(&service, names::dns1123_label(service.text()));
    }
    needed_selector(&spec, "statefulset", &mut errors);
    match Selector::from_value(spec.at("selector").value) {
        Err(_) => errors.invalid(&spec.at("selector"), ""),
        Ok(choice) => {
            selects_template(&choice, &spec.at("template"), &mut errors);
            template_with_claims(&spec, &mut errors);
        }
    }
    always_runs(&spec.at("template"), "StatefulSet", &mut errors);
    spec.at("volumeClaimTemplates").items().for_each(|claim| claim_spec(&claim.at("spec"), &mut errors));
    errors.into_list()
}

/// The claims of the set are volumes of its Pods, in place of those of the same name.
fn template_with_claims(spec: &Spot<'_>, errors: &mut Errors) {
    let at = spec.at("template");
    let claims: Vec<&str> =
        spec.at("volumeClaimTemplates").items().map(|it| it.at("metadata.name").text()).collect();
    if claims.is_empty() || !at.at("spec").value.is_object() {
        template(&at, errors);
        return;
    }
    let mut whole = at.value.clone();
    let mut volumes = whole["spec"]["volumes"].as_array().cloned().unwrap_or_default();
    for name in claims {
        let made = json!({ "name": name, "persistentVolumeClaim": { "claimName": name } });
        match volumes.iter_mut().find(|volume| volume["name"] == name) {
            Some(volume) => *volume = made,
            None => volumes.push(made),
        }
    }
    whole["spec"]["volumes"] = volumes.into();
    let mut found = Errors::default();
    template(&at.with(&whole), &mut found);
    found.into_list().into_iter().for_each(|error| errors.push(error));
}

fn update_strategy(at: &Spot<'_>, errors: &mut Errors) {
    let rolling = at.at("rollingUpdate");
    match at.at("type").text() {
        "" => errors.required(at, ""),
        "OnDelete" if rolling.is_set() => {
            errors.invalid(&rolling, "only allowed for updateStrategy 'RollingUpdate'");
        }
        "OnDelete" => {}
        "RollingUpdate" => {
            errors.not_negative(&rolling.at("partition"));
            let unavailable = rolling.at("maxUnavailable");
            if unavailable.is_set() {
                number_or_percent(&unavailable, errors);
                if amount(&unavailable) == 0 {
                    errors.invalid(&unavailable, "cannot be 0");
                }
                not_above_whole(&unavailable, errors);
            }
        }
        _ => errors.invalid(at, "must be 'RollingUpdate' or 'OnDelete'"),
    }
}

/// Most of a spec is fixed: what the Pods' identities and volumes hang on.
pub fn stateful_set_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let (new, old) = (Spot::root(new).at("spec"), Spot::root(old).at("spec"));
    let fixed = |spec: &Spot<'_>| {
        let mut fields = spec.value.as_object().cloned().unwrap_or_default();
        fields.retain(|field, _| !MUTABLE.contains(&field.as_str()));
        Value::from(fields)
    };
    if !same(&fixed(&new), &fixed(&old)) {
        errors.forbidden(
            &new,
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
             'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        );
    }
    errors.into_list()
}

/// All errors of a change of status (new, old).
pub fn stateful_set_status(new: &Value, old: &Value) -> Vec<FieldError> {
    const PARTS: [&str; 4] = ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
    let mut errors = Errors::default();
    let status = Spot::root(new).at("status");
    counts(&status, &["replicas"], &mut errors);
    counts(&status, &PARTS, &mut errors);
    counts(&status, &["observedGeneration", "collisionCount"], &mut errors);
    at_most(&status, &PARTS, "replicas", ABOVE_REPLICAS, &mut errors);
    let sentence = "cannot be greater than status.readyReplicas";
    at_most(&status, &["availableReplicas"], "readyReplicas", sentence, &mut errors);
    collisions_only_grow(&Spot::root(new), &Spot::root(old), &mut errors);
    errors.into_list()
}
