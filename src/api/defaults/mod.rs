//! Defaults over raw JSON, as upstream's conversion and admission make them. Idempotent; unknown fields are kept.

use serde_json::Value;

/// For kinds that upstream gives no defaults.
pub fn none(_: &mut Value) {}
