//! Rows of groups `networking.k8s.io` and `discovery.k8s.io`.

use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass, NetworkPolicy};
use schemars::SchemaGenerator;

use super::Kind;
use crate::api::{defaults, tables, validation};

const NO_INGRESS: &str =
    "leasehold stores Ingresses and does not act on them: run an ingress controller in the cluster";
const NO_POLICY: &str = "leasehold stores NetworkPolicies and does not enforce them: a CNI plugin that does must run on every node";

pub(super) const KINDS: &[Kind] = &[
    Kind {
        short_names: &["ing"],
        has_status: true,
        has_generation: true,
        warning: NO_INGRESS,
        defaults: defaults::ingress,
        validate: validation::ingress,
        validate_status: validation::ingress_status,
        columns: tables::INGRESS,
        cells: tables::ingress,
        ..Kind::plain("networking.k8s.io", "Ingress", "ingresses", SchemaGenerator::subschema_for::<Ingress>)
    },
    Kind {
        namespaced: false,
        has_generation: true,
        defaults: defaults::ingress_class,
        validate: validation::ingress_class,
        validate_update: validation::ingress_class_update,
        columns: tables::INGRESS_CLASS,
        cells: tables::ingress_class,
        ..Kind::plain(
            "networking.k8s.io",
            "IngressClass",
            "ingressclasses",
            SchemaGenerator::subschema_for::<IngressClass>,
        )
    },
    Kind {
        short_names: &["netpol"],
        has_generation: true,
        warning: NO_POLICY,
        defaults: defaults::network_policy,
        validate: validation::network_policy,
        columns: tables::NETWORK_POLICY,
        cells: tables::network_policy,
        ..Kind::plain(
            "networking.k8s.io",
            "NetworkPolicy",
            "networkpolicies",
            SchemaGenerator::subschema_for::<NetworkPolicy>,
        )
    },
    Kind {
        has_generation: true,
        defaults: defaults::endpoint_slice,
        validate: validation::endpoint_slice,
        validate_update: validation::endpoint_slice_update,
        columns: tables::ENDPOINT_SLICE,
        cells: tables::endpoint_slice,
        ..Kind::plain(
            "discovery.k8s.io",
            "EndpointSlice",
            "endpointslices",
            SchemaGenerator::subschema_for::<EndpointSlice>,
        )
    },
];
