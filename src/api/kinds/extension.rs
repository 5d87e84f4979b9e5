//! Rows of the groups with one kind each: events, certificates, priorities, leases, runtimes.

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use schemars::SchemaGenerator;

use super::Kind;
use crate::api::event_form::EVENTS_K8S_IO;
use crate::api::{defaults, fields, parts, tables, validation};

pub(super) const KINDS: &[Kind] = &[
    Kind {
        short_names: &["ev"],
        form: Some(&EVENTS_K8S_IO),
        validate: validation::event_of_events,
        validate_update: validation::event_of_events_update,
        fields: fields::event_of_events,
        columns: tables::EVENT,
        cells: tables::event_of_events,
        ..Kind::plain("events.k8s.io", "Event", "events", SchemaGenerator::subschema_for::<Event>)
    },
    Kind {
        short_names: &["csr"],
        namespaced: false,
        has_status: true,
        parts: parts::SIGNING_REQUEST,
        validate: validation::certificate_signing_request,
        validate_update: validation::certificate_signing_request_update,
        fields: fields::certificate_signing_request,
        columns: tables::CERTIFICATE_SIGNING_REQUEST,
        cells: tables::certificate_signing_request,
        ..Kind::plain(
            "certificates.k8s.io",
            "CertificateSigningRequest",
            "certificatesigningrequests",
            SchemaGenerator::subschema_for::<CertificateSigningRequest>,
        )
    },
    Kind {
        short_names: &["pc"],
        namespaced: false,
        has_generation: true,
        defaults: defaults::priority_class,
        validate: validation::priority_class,
        validate_update: validation::priority_class_update,
        columns: tables::PRIORITY_CLASS,
        cells: tables::priority_class,
        ..Kind::plain(
            "scheduling.k8s.io",
            "PriorityClass",
            "priorityclasses",
            SchemaGenerator::subschema_for::<PriorityClass>,
        )
    },
    Kind {
        defaults: defaults::lease,
        validate: validation::lease,
        columns: tables::LEASE,
        cells: tables::lease,
        ..Kind::plain("coordination.k8s.io", "Lease", "leases", SchemaGenerator::subschema_for::<Lease>)
    },
    Kind {
        namespaced: false,
        validate: validation::runtime_class,
        validate_update: validation::runtime_class_update,
        columns: tables::RUNTIME_CLASS,
        cells: tables::runtime_class,
        ..Kind::plain(
            "node.k8s.io",
            "RuntimeClass",
            "runtimeclasses",
            SchemaGenerator::subschema_for::<RuntimeClass>,
        )
    },
];
