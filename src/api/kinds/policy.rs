//! Rows of group `policy`.

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use schemars::SchemaGenerator;

use super::Kind;
use crate::api::{defaults, tables, validation};

pub(super) const KINDS: &[Kind] = &[Kind {
    short_names: &["pdb"],
    has_status: true,
    has_generation: true,
    defaults: defaults::pod_disruption_budget,
    validate: validation::pod_disruption_budget,
    validate_status: validation::pod_disruption_budget_status,
    columns: tables::POD_DISRUPTION_BUDGET,
    cells: tables::pod_disruption_budget,
    ..Kind::plain(
        "policy",
        "PodDisruptionBudget",
        "poddisruptionbudgets",
        SchemaGenerator::subschema_for::<PodDisruptionBudget>,
    )
}];
