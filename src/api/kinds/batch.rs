//! Rows of group `batch`.

use k8s_openapi::api::batch::v1::{CronJob, Job};
use schemars::SchemaGenerator;

use super::Kind;
use crate::api::{defaults, fields, tables, validation};

pub(super) const KINDS: &[Kind] = &[
    Kind {
        short_names: &["cj"],
        categories: &["all"],
        has_status: true,
        has_generation: true,
        defaults: defaults::cron_job,
        validate: validation::cron_job,
        columns: tables::CRON_JOB,
        cells: tables::cron_job,
        ..Kind::plain("batch", "CronJob", "cronjobs", SchemaGenerator::subschema_for::<CronJob>)
    },
    Kind {
        categories: &["all"],
        has_status: true,
        has_generation: true,
        defaults: defaults::job,
        validate: validation::job,
        validate_update: validation::job_update,
        validate_status: validation::job_status,
        fields: fields::job,
        columns: tables::JOB,
        cells: tables::job,
        ..Kind::plain("batch", "Job", "jobs", SchemaGenerator::subschema_for::<Job>)
    },
];
