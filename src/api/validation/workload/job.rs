//! Job, and the Jobs that a `CronJob` makes.

use std::collections::BTreeMap;

use serde_json::Value;

use super::job_policy::{failure_policy, success_policy};
use super::selects_template;
use crate::api::names;
use crate::api::selectors::Selector;
use crate::api::status::FieldError;
use crate::api::validation::labels::selector;
use crate::api::validation::pod::template;
use crate::api::validation::spot::{Errors, Spot};

/// Most Pods at a time, and most failed indexes, of an indexed Job.
const INDEXED_MAX: i64 = 100_000;
/// The same where there are more completions than [`INDEXED_MAX`] and each index has its own limit.
const MANY_INDEXED_MAX: i64 = 10_000;
const MANAGED_BY_BYTES_MAX: usize = 63;

/// Labels of the Pods of a Job whose selector is made for it: what they must say, and their names old and new.
pub(super) const GENERATED: [(&str, Generated); 4] = [
    ("controller-uid", Generated::Uid),
    ("job-name", Generated::Name),
    ("batch.kubernetes.io/controller-uid", Generated::Uid),
    ("batch.kubernetes.io/job-name", Generated::Name),
];

/// What a generated label says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Generated {
    /// The Job's uid.
    Uid,
    /// Its name.
    Name,
}

/// All errors of a Job.
pub fn job(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let root = Spot::root(object);
    let spec = root.at("spec");
    generated_selector(&root, &mut errors);
    job_spec(&spec, &mut errors);
    let choice = spec.at("selector");
    if choice.is_set() {
        selector(&choice, &mut errors);
    } else {
        errors.required(&choice, "");
    }
    if let Ok(choice) = Selector::from_value(choice.value) {
        selects_template(&choice, &spec.at("template"), &mut errors);
    }
    host_names(&root, &mut errors);
    errors.into_list()
}

/// Unless the user takes care of it, the Pods of a Job carry its uid and name, and its selector says so.
fn generated_selector(root: &Spot<'_>, errors: &mut Errors) {
    let spec = root.at("spec");
    if spec.at("manualSelector").is_true() || !spec.at("selector").is_set() {
        return;
    }
    if root.at("metadata.uid").is_empty() {
        errors.required(&root.at("metadata.uid"), "");
    }
    let labels = spec.at("template.metadata.labels");
    let mut expected = BTreeMap::new();
    for (label, what) in GENERATED {
        let wanted = match what {
            Generated::Uid => root.at("metadata.uid").text(),
            Generated::Name => root.at("metadata.name").text(),
        };
        let found = labels.key(label);
        if !found.is_set() {
            errors.required(&found, &format!("must be '{wanted}'"));
        } else if found.text() != wanted {
            errors.invalid_value(&found, labels.value.clone(), &format!("must be '{wanted}'"));
        }
        expected.insert(label.to_owned(), wanted.to_owned());
    }
    let choice = spec.at("selector");
    if Selector::from_value(choice.value).is_ok_and(|it| !it.matches(&expected)) {
        errors.invalid(&choice, "`selector` not auto-generated");
    }
}

/// The Pods of an indexed Job are hosts of their own.
fn host_names(root: &Spot<'_>, errors: &mut Errors) {
    let (spec, name) = (root.at("spec"), root.at("metadata.name"));
    let Some(completions) = spec.at("completions").number().filter(|count| *count > 0) else { return };
    let longest = format!("{}-{}", name.text(), completions - 1);
    if is_indexed(&spec) && !names::dns1123_label(&longest).is_empty() {
        errors.invalid(&name, &format!("will not able to create pod with invalid DNS label: {longest}"));
    }
}

pub(super) fn is_indexed(spec: &Spot<'_>) -> bool {
    spec.at("completionMode").text() == "Indexed"
}

/// The rules for the spec of a Job, except those for its selector.
pub(super) fn job_spec(spec: &Spot<'_>, errors: &mut Errors) {
    for count in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        errors.not_negative(&spec.at(count));
    }
    if spec.at("maxFailedIndexes").is_set() && !spec.at("backoffLimitPerIndex").is_set() {
        errors.required(&spec.at("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    managed_by(&spec.at("managedBy"), errors);
    errors.one_of_if_set(&spec.at("completionMode"), &["NonIndexed", "Indexed"]);
    if is_indexed(spec) {
        indexed(spec, errors);
    } else {
        for field in ["backoffLimitPerIndex", "maxFailedIndexes"].map(|field| spec.at(field)) {
            if field.is_set() {
                errors.invalid(&field, "requires indexed completion mode");
            }
        }
    }
    failure_policy(spec, errors);
    success_policy(spec, errors);
    replacement_policy(spec, errors);
    template(&spec.at("template"), errors);
    restart_policy(spec, errors);
}

fn managed_by(at: &Spot<'_>, errors: &mut Errors) {
    if !at.is_set() {
        return;
    }
    domain_prefixed_path(at, errors);
    if at.text().len() > MANAGED_BY_BYTES_MAX {
        errors.push(FieldError::too_long(at.path(), MANAGED_BY_BYTES_MAX));
    }
}

/// `example.com/anything`
fn domain_prefixed_path(at: &Spot<'_>, errors: &mut Errors) {
    if at.is_empty() {
        errors.required(at, "");
        return;
    }
    let Some((domain, path)) =
        at.text().split_once('/').filter(|(domain, path)| !domain.is_empty() && !path.is_empty())
    else {
        errors.invalid(at, "must be a domain-prefixed path (such as \"acme.io/foo\")");
        return;
    };
    errors.faults(at, names::dns1123_subdomain(domain));
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._~%!$&'()*+,;=:@/".contains(c);
    if !path.chars().all(fits) {
        errors.invalid_value(
            at,
            path,
            "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')",
        );
    }
}

fn indexed(spec: &Spot<'_>, errors: &mut Errors) {
    let (completions, parallelism) = (spec.at("completions"), spec.at("parallelism"));
    let failed = spec.at("maxFailedIndexes");
    if !completions.is_set() {
        errors.required(&completions, "when completion mode is Indexed");
    }
    at_most(
        &parallelism,
        INDEXED_MAX,
        &format!("must be less than or equal to {INDEXED_MAX} when completion mode is Indexed"),
        errors,
    );
    if let Some(count) = completions.number() {
        at_most(&failed, count, "must be less than or equal to completions", errors);
    }
    at_most(&failed, INDEXED_MAX, &format!("must be less than or equal to {INDEXED_MAX}"), errors);
    let has_many = completions.number().is_some_and(|count| count > INDEXED_MAX);
    if !has_many || !spec.at("backoffLimitPerIndex").is_set() {
        return;
    }
    if !failed.is_set() {
        errors.required(&failed, &format!("must be specified when completions is above {INDEXED_MAX}"));
    }
    let sentence = format!(
        "must be less than or equal to {MANY_INDEXED_MAX} when completions are above {INDEXED_MAX} and used with \
         backoff limit per index"
    );
    at_most(&parallelism, MANY_INDEXED_MAX, &sentence, errors);
    at_most(&failed, MANY_INDEXED_MAX, &sentence, errors);
}

fn at_most(at: &Spot<'_>, most: i64, sentence: &str, errors: &mut Errors) {
    if at.number().is_some_and(|number| number > most) {
        errors.invalid(at, sentence);
    }
}

fn replacement_policy(spec: &Spot<'_>, errors: &mut Errors) {
    let at = spec.at("podReplacementPolicy");
    if spec.at("podFailurePolicy").is_set() {
        errors.one_of_if_set(&at, &["Failed"]);
    } else {
        errors.one_of_if_set(&at, &["Failed", "TerminatingOrFailed"]);
    }
}

fn restart_policy(spec: &Spot<'_>, errors: &mut Errors) {
    let at = spec.at("template.spec.restartPolicy");
    match at.text() {
        "" | "Always" => errors.required(&at, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if spec.at("podFailurePolicy").is_set() => {
            errors.invalid(&at, "only \"Never\" is supported when podFailurePolicy is specified");
        }
        "OnFailure" | "Never" => {}
        _ => errors.unsupported(&at, &["OnFailure", "Never"]),
    }
}
