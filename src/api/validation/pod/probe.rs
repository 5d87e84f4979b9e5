//! Probes and hooks, and the handlers of both.

use super::spec::Around;
use crate::api::names;
use crate::api::validation::spot::{Errors, Spot};

/// All probes of a container.
pub(super) fn probes(container: &Spot<'_>, errors: &mut Errors) {
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let at = container.at(name);
        if !at.is_set() {
            continue;
        }
        probe(&at, errors);
        let (successes, grace) = (at.at("successThreshold"), at.at("terminationGracePeriodSeconds"));
        if name == "readinessProbe" {
            if grace.is_set() {
                errors.invalid(&grace, "must not be set for readinessProbes");
            }
        } else if successes.number() != Some(1) {
            errors.invalid(&successes, "must be 1");
        }
    }
}

fn probe(at: &Spot<'_>, errors: &mut Errors) {
    handler(at, &["exec", "httpGet", "tcpSocket", "grpc"], None, errors);
    for field in
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
    {
        errors.not_negative(&at.at(field));
    }
    let grace = at.at("terminationGracePeriodSeconds");
    if grace.number().is_some_and(|seconds| seconds <= 0) {
        errors.invalid(&grace, "must be greater than 0");
    }
}

/// `lifecycle` of a container.
pub(super) fn lifecycle(at: &Spot<'_>, around: &Around<'_>, errors: &mut Errors) {
    for hook in ["postStart", "preStop"] {
        if at.at(hook).is_set() {
            handler(&at.at(hook), &["exec", "httpGet", "tcpSocket", "sleep"], around.grace_seconds, errors);
        }
    }
}

/// Exactly one handler, and that one right.
fn handler(at: &Spot<'_>, kinds: &[&str], grace_seconds: Option<i64>, errors: &mut Errors) {
    let mut given = kinds.iter().map(|kind| (*kind, at.at(kind))).filter(|(_, it)| it.is_set());
    match given.next() {
        None => errors.required(at, "must specify a handler type"),
        Some(("exec", exec)) => errors.must_be_set(&exec.at("command")),
        Some(("httpGet", http)) => http_get(&http, errors),
        Some(("sleep", sleep)) => pause(&sleep, grace_seconds, errors),
        Some((_, socket)) => port(&socket.at("port"), errors),
    }
    given.for_each(|(_, other)| errors.forbidden(&other, "may not specify more than 1 handler type"));
}

fn http_get(at: &Spot<'_>, errors: &mut Errors) {
    errors.must_be_set(&at.at("path"));
    port(&at.at("port"), errors);
    let scheme = at.at("scheme");
    if !matches!(scheme.text(), "HTTP" | "HTTPS") {
        errors.unsupported(&scheme, &["HTTP", "HTTPS"]);
    }
    for header in at.at("httpHeaders").items() {
        let name = header.at("name").text();
        errors.faults_of(&at.at("httpHeaders"), name, names::http_header_name(name));
    }
}

fn port(at: &Spot<'_>, errors: &mut Errors) {
    if let Some(name) = at.value.as_str() {
        errors.faults(at, names::port_name(name));
    } else {
        let number = at.number().unwrap_or_default();
        errors.faults_of(at, number, names::port_number(number));
    }
}

fn pause(at: &Spot<'_>, grace_seconds: Option<i64>, errors: &mut Errors) {
    let seconds = at.at("seconds").number().unwrap_or_default();
    if let Some(grace) = grace_seconds
        && (seconds < 0 || seconds > grace)
    {
        let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.invalid_value(at, seconds, &detail);
    }
}
