//! Tolerations.

use crate::api::names;
use crate::api::validation::labels::{EFFECTS, label_name};
use crate::api::validation::spot::{Errors, Spot};

/// All errors of a list of tolerations.
pub(in crate::api::validation) fn tolerations(at: &Spot<'_>, errors: &mut Errors) {
    at.items().for_each(|it| toleration(&it, errors));
}

fn toleration(at: &Spot<'_>, errors: &mut Errors) {
    let [key, operator, value, effect] = ["key", "operator", "value", "effect"].map(|field| at.at(field));
    if !key.is_empty() {
        label_name(&key, errors);
    } else if operator.text() != "Exists" {
        errors.invalid(
            &operator,
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
        );
    }
    if at.at("tolerationSeconds").is_set() && effect.text() != "NoExecute" {
        errors.invalid(&effect, "effect must be 'NoExecute' when `tolerationSeconds` is set");
    }
    // Errors of the value are told at the operator, as upstream does.
    match operator.text() {
        "Equal" | "" => {
            let faults = names::label_value(value.text());
            if !faults.is_empty() {
                errors.invalid_value(&operator, value.text(), &faults.join(";"));
            }
        }
        "Exists" if !value.is_empty() => {
            errors.invalid_value(&operator, value.text(), "value must be empty when `operator` is 'Exists'");
        }
        "Exists" => {}
        _ => errors.unsupported(&operator, &["Equal", "Exists"]),
    }
    if !effect.is_empty() {
        errors.one_of_if_set(&effect, &EFFECTS);
    }
}
