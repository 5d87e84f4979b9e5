//! When a Job has failed and when it has succeeded: its policies, and the lists of indexes that they and its status hold.

use std::collections::BTreeSet;

use super::job::is_indexed;
use crate::api::names;
use crate::api::status::FieldError;
use crate::api::validation::spot::{Errors, Spot};

const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const PATTERNS_MAX: usize = 20;
const INDEXES_BYTES_MAX: usize = 64 * 1024;
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: [&str; 2] = ["In", "NotIn"];
const TRUTHS: [&str; 3] = ["False", "True", "Unknown"];

/// `podFailurePolicy`
pub(super) fn failure_policy(spec: &Spot<'_>, errors: &mut Errors) {
    let rules = spec.at("podFailurePolicy.rules");
    not_too_many(&rules, RULES_MAX, errors);
    let lists = ["template.spec.containers", "template.spec.initContainers"];
    let containers: BTreeSet<&str> =
        lists.iter().flat_map(|list| spec.at(list).items()).map(|it| it.at("name").text()).collect();
    for rule in rules.items() {
        action(&rule.at("action"), spec, errors);
        let (codes, conditions) = (rule.at("onExitCodes"), rule.at("onPodConditions"));
        if codes.is_set() {
            exit_codes(&codes, &containers, errors);
        }
        patterns(&conditions, errors);
        match (codes.is_set(), !conditions.is_empty()) {
            (true, true) => {
                bare(&rule, "specifying both OnExitCodes and OnPodConditions is not supported", errors);
            }
            (false, false) => {
                bare(&rule, "specifying one of OnExitCodes and OnPodConditions is required", errors);
            }
            (true, false) | (false, true) => {}
        }
    }
}

fn action(at: &Spot<'_>, spec: &Spot<'_>, errors: &mut Errors) {
    if at.text() == "FailIndex" {
        if !spec.at("backoffLimitPerIndex").is_set() {
            errors.invalid(at, "requires the backoffLimitPerIndex to be set");
        }
    } else {
        chosen(at, &ACTIONS, errors);
    }
}

/// A choice that must be made.
fn chosen(at: &Spot<'_>, values: &[&str], errors: &mut Errors) {
    if at.is_empty() {
        let shown: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
        errors.required(at, &format!("valid values: [{}]", shown.join(" ")));
    } else {
        errors.one_of_if_set(at, values);
    }
}

fn patterns(at: &Spot<'_>, errors: &mut Errors) {
    not_too_many(at, PATTERNS_MAX, errors);
    for pattern in at.items() {
        errors.faults(&pattern.at("type"), names::qualified_name(pattern.at("type").text()));
        chosen(&pattern.at("status"), &TRUTHS, errors);
    }
}

fn exit_codes(at: &Spot<'_>, containers: &BTreeSet<&str>, errors: &mut Errors) {
    let operator = at.at("operator");
    chosen(&operator, &OPERATORS, errors);
    let container = at.at("containerName");
    if container.is_set() && !containers.contains(container.text()) {
        let sentence = "must be one of the container or initContainer names in the pod template";
        errors.invalid(&container, sentence);
    }
    let values = at.at("values");
    if values.is_empty() {
        errors.invalid_value(&values, Vec::<i64>::new(), "at least one value is required");
    }
    not_too_many(&values, EXIT_CODES_MAX, errors);
    let mut seen = BTreeSet::new();
    for value in values.items() {
        if operator.text() == "In" && *value.value == 0 {
            errors.invalid(&value, "must not be 0 for the In operator");
        }
        if !seen.insert(value.number()) {
            errors.duplicate(&value);
        }
    }
    let numbers: Vec<Option<i64>> = values.items().map(|it| it.number()).collect();
    if !numbers.is_sorted() {
        errors.invalid(&values, "must be ordered");
    }
}

/// `successPolicy`
pub(super) fn success_policy(spec: &Spot<'_>, errors: &mut Errors) {
    let at = spec.at("successPolicy");
    if !at.is_set() {
        return;
    }
    if !is_indexed(spec) {
        errors.invalid(&at, "requires indexed completion mode");
        return;
    }
    let rules = at.at("rules");
    if rules.is_empty() {
        let sentence = "at least one rules must be specified when the successPolicy is specified";
        errors.required(&rules, sentence);
    }
    not_too_many(&rules, RULES_MAX, errors);
    let completions = spec.at("completions").number().unwrap_or_default();
    rules.items().for_each(|rule| success_rule(&rule, completions, errors));
}

fn success_rule(rule: &Spot<'_>, completions: i64, errors: &mut Errors) {
    let (count, indexes) = (rule.at("succeededCount"), rule.at("succeededIndexes"));
    if !count.is_set() && !indexes.is_set() {
        errors.required(rule, "at least one of succeededCount or succeededIndexes must be specified");
    }
    let mut total = 0;
    if indexes.is_set() {
        if indexes.text().len() > INDEXES_BYTES_MAX {
            errors.push(FieldError::too_long(indexes.path(), INDEXES_BYTES_MAX));
        }
        match parse_indexes(indexes.text(), completions) {
            Ok(intervals) => total = intervals.iter().map(|(first, last)| last - first + 1).sum(),
            Err(why) => errors.invalid(&indexes, &format!("error parsing succeededIndexes: {why}")),
        }
    }
    let Some(number) = count.number() else { return };
    errors.not_negative(&count);
    let above =
        |what: &str, most: i64| format!("must be less than or equal to {most} (the number of {what})");
    if number > completions {
        errors.invalid(&count, &above("specified completions", completions));
    }
    if indexes.is_set() && number > total {
        errors.invalid(&count, &above("indexes in the specified succeededIndexes field", total));
    }
}

/// Intervals of indexes in growing order, e.g. `1,3-5`, all below `completions`.
pub(super) fn parse_indexes(text: &str, completions: i64) -> Result<Vec<(i64, i64)>, String> {
    let mut intervals: Vec<(i64, i64)> = Vec::new();
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (first, last) = parse_interval(part, completions)?;
        if let Some((_, before)) = intervals.last()
            && *before >= first
        {
            return Err(format!("non-increasing order, previous: {before}, current: {first}"));
        }
        intervals.push((first, last));
    }
    Ok(intervals)
}

/// One interval, e.g. `3` or `3-5`.
pub(super) fn parse_interval(text: &str, completions: i64) -> Result<(i64, i64), String> {
    let index = |text: &str| match text.parse::<i64>() {
        Err(_) => Err(format!("cannot convert string to integer for index: {text:?}")),
        Ok(index) if index >= completions => Err(format!("too large index: {text:?}")),
        Ok(index) => Ok(index),
    };
    let ends: Vec<&str> = text.split('-').collect();
    match ends[..] {
        [only] => index(only).map(|index| (index, index)),
        [first, last] => {
            let (first, last) = (index(first)?, index(last)?);
            if first >= last {
                return Err(format!("non-increasing order, previous: {first}, current: {last}"));
            }
            Ok((first, last))
        }
        _ => Err(format!(
            "the fragment {text:?} violates the requirement that an index interval can have at most two parts \
             separated by '-'"
        )),
    }
}

fn not_too_many(at: &Spot<'_>, most: usize, errors: &mut Errors) {
    let found = at.items().count();
    if found > most {
        errors.push(FieldError {
            reason: "FieldValueTooMany",
            field: at.path().into(),
            message: format!("Too many: {found}: must have at most {most} items"),
        });
    }
}

/// An error that shows no value.
pub(super) fn bare(at: &Spot<'_>, sentence: &str, errors: &mut Errors) {
    errors.push(FieldError {
        reason: "FieldValueInvalid",
        field: at.path().into(),
        message: format!("Invalid value: {sentence}"),
    });
}
