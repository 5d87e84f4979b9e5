//! Who writes, as `metadata.managedFields` names it: the parameter `fieldManager`, or the beginning of the User-Agent.

use serde_json::Value;

use super::query::Query;
use crate::api::status::{FieldError, Status};
use crate::coordinator::Action;

/// Longest name of a manager, as upstream.
const MANAGER_BYTES_MAX: usize = 128;

/// The manager of a write, or upstream's refusal of its parameters.
pub fn of(action: &Action, query: &Query, user_agent: Option<&str>) -> Result<String, Status> {
    let asked = query.get("fieldManager").unwrap_or_default();
    let mut errors = Vec::new();
    let options = match action {
        Action::Create { .. } | Action::Bind { .. } | Action::Evict { .. } => "CreateOptions",
        Action::Update { .. } => "UpdateOptions",
        Action::Patch { .. } => {
            if query.get("force").is_some() {
                errors.push(FieldError::forbidden("force", "may not be specified for non-apply patch"));
            }
            "PatchOptions"
        }
        Action::Apply { .. } => {
            if asked.is_empty() {
                errors.push(FieldError::required("fieldManager", "is required for apply patch"));
            }
            "PatchOptions"
        }
        Action::Delete { .. } | Action::Expire { .. } => return Ok(String::new()),
    };
    errors.extend(faults(asked));
    if !errors.is_empty() {
        return Err(Status::invalid("meta.k8s.io", options, "", &errors));
    }
    Ok(if asked.is_empty() { prefix(user_agent.unwrap_or_default()) } else { asked.to_owned() })
}

fn faults(manager: &str) -> Vec<FieldError> {
    let mut faults = Vec::new();
    if manager.len() > MANAGER_BYTES_MAX {
        faults.push(FieldError::too_long("fieldManager", MANAGER_BYTES_MAX));
    }
    faults.extend(manager.chars().enumerate().filter(|(_, letter)| letter.is_control()).map(
        |(i, letter)| {
            let rule = format!("invalid character U+{:04X} (at position {i})", u32::from(letter));
            FieldError::invalid("fieldManager", &Value::from(manager), &rule)
        },
    ));
    faults
}

/// What stands before the first slash, printable and not too long.
fn prefix(user_agent: &str) -> String {
    let mut name = String::new();
    let letters = user_agent.split('/').next().unwrap_or_default().chars();
    for letter in letters.filter(|letter| !letter.is_control()) {
        if name.len() + letter.len_utf8() > MANAGER_BYTES_MAX {
            break;
        }
        name.push(letter);
    }
    name
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn create() -> Action {
        Action::Create { body: json!({}) }
    }

    #[test]
    fn the_parameter_wins_over_the_user_agent() {
        for (query, agent, manager) in [
            ("fieldManager=me", Some("kubectl/v1.36"), "me"),
            ("", Some("kubectl/v1.36 (linux/amd64)"), "kubectl"),
            ("fieldManager=", Some("odd\u{7f}name"), "oddname"),
            ("", None, ""),
        ] {
            assert_eq!(
                of(&create(), &Query::parse(query), agent).as_deref(),
                Ok(manager),
                "{query} {agent:?}"
            );
        }
        let long = of(&create(), &Query::default(), Some(&"é".repeat(100))).expect("cut");
        assert_eq!(long.len(), MANAGER_BYTES_MAX);
    }

    #[test]
    fn parameters_that_cannot_be_are_refused_in_upstreams_words() {
        let patch = Action::Patch {
            name: "a".into(),
            subresource: crate::coordinator::Subresource::Main,
            patch: crate::api::patch::Patch::Merge(json!({})),
        };
        let apply = Action::Apply {
            name: "a".into(),
            subresource: crate::coordinator::Subresource::Main,
            configuration: json!({}),
            force: false,
            not_to_be_made: None,
        };
        for (action, query, message) in [
            (
                apply,
                "force=true",
                "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
            ),
            (
                patch,
                "force=true",
                "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch",
            ),
            (
                create(),
                "fieldManager=a%01",
                "CreateOptions.meta.k8s.io \"\" is invalid: fieldManager: Invalid value: \"a\\u0001\": invalid \
                 character U+0001 (at position 1)",
            ),
        ] {
            let refused = of(&action, &Query::parse(query), None).expect_err(message);
            assert_eq!((refused.code, refused.message.as_str()), (422, message));
        }
    }
}
