//! Rows of groups `networking.k8s.io` and `discovery.k8s.io`.

use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass, NetworkPolicy};
use schemars::SchemaGenerator;

use super::Kind;

const NO_INGRESS: &str =
    "leasehold stores Ingresses and does not act on them: run an ingress controller in the cluster";
const NO_POLICY: &str = "leasehold stores NetworkPolicies and does not enforce them: a CNI plugin that does must run on every node";

pub(super) const KINDS: &[Kind] = &[
    Kind {
        short_names: &["ing"],
        has_status: true,
        has_generation: true,
        warning: NO_INGRESS,
        ..Kind::plain("networking.k8s.io", "Ingress", "ingresses", SchemaGenerator::subschema_for::<Ingress>)
    },
    Kind {
        namespaced: false,
        has_generation: true,
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
        ..Kind::plain(
            "networking.k8s.io",
            "NetworkPolicy",
            "networkpolicies",
            SchemaGenerator::subschema_for::<NetworkPolicy>,
        )
    },
    Kind {
        has_generation: true,
        ..Kind::plain(
            "discovery.k8s.io",
            "EndpointSlice",
            "endpointslices",
            SchemaGenerator::subschema_for::<EndpointSlice>,
        )
    },
];
