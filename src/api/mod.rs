//! The object model: the table of kinds and what each kind needs: defaults, validation, patches, selectors,
//! quantities, Tables, OpenAPI. PURE.

pub mod absent;
#[cfg(any(test, fuzzing))]
pub mod arbitrary;
pub mod cron;
pub mod defaults;
pub mod event_form;
pub mod fields;
pub mod hash;
pub mod image;
pub mod kinds;
pub mod log_options;
pub mod managed;
pub mod merge_keys;
pub mod model;
pub mod names;
pub mod openapi;
pub mod parts;
pub mod patch;
pub mod pod_resources;
pub mod protobuf;
pub mod quantity;
pub mod readiness;
pub mod selectors;
pub mod service_account;
pub mod status;
pub mod storage;
pub mod tables;
pub mod validation;
