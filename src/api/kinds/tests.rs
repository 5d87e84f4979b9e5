use k8s_openapi::api as k8s;
use proptest::prelude::*;

use super::*;
use crate::api::arbitrary::{any_json, object};
use crate::api::model::{canonicalise, unknown_fields};

#[test]
fn a_row_is_found_by_its_path_and_by_its_kind() {
    for row in KINDS {
        let by_path = by_resource(row.group, row.version, row.plural).expect("every row has a path");
        let by_name = by_kind(row.group, row.version, row.kind).expect("every row has a kind");
        assert_eq!((by_path.kind, by_name.plural), (row.kind, row.plural));
    }
    assert!(by_resource("apps", "v1", "pods").is_none());
    assert!(by_kind("", "v2", "Pod").is_none());
}

/// Reads an object as the typed struct that clients and the agent use.
fn decode(kind: &Kind, object: Value) -> Result<(), serde_json::Error> {
    let typed = TYPED.iter().find(|(group, name, _)| (*group, *name) == (kind.group, kind.kind));
    (typed.expect("every row has its typed struct here").2)(object)
}

type Reader = fn(Value) -> Result<(), serde_json::Error>;

fn read<T: serde::de::DeserializeOwned>(object: Value) -> Result<(), serde_json::Error> {
    serde_json::from_value::<T>(object).map(|_| ())
}

const TYPED: &[(&str, &str, Reader)] = &[
    ("", "ConfigMap", read::<k8s::core::v1::ConfigMap>),
    ("", "Endpoints", read::<k8s::core::v1::Endpoints>),
    ("", "Event", read::<k8s::core::v1::Event>),
    ("", "LimitRange", read::<k8s::core::v1::LimitRange>),
    ("", "Namespace", read::<k8s::core::v1::Namespace>),
    ("", "Node", read::<k8s::core::v1::Node>),
    ("", "PersistentVolume", read::<k8s::core::v1::PersistentVolume>),
    ("", "PersistentVolumeClaim", read::<k8s::core::v1::PersistentVolumeClaim>),
    ("", "Pod", read::<k8s::core::v1::Pod>),
    ("", "PodTemplate", read::<k8s::core::v1::PodTemplate>),
    ("", "ReplicationController", read::<k8s::core::v1::ReplicationController>),
    ("", "ResourceQuota", read::<k8s::core::v1::ResourceQuota>),
    ("", "Secret", read::<k8s::core::v1::Secret>),
    ("", "Service", read::<k8s::core::v1::Service>),
    ("", "ServiceAccount", read::<k8s::core::v1::ServiceAccount>),
    ("apps", "ControllerRevision", read::<k8s::apps::v1::ControllerRevision>),
    ("apps", "DaemonSet", read::<k8s::apps::v1::DaemonSet>),
    ("apps", "Deployment", read::<k8s::apps::v1::Deployment>),
    ("apps", "ReplicaSet", read::<k8s::apps::v1::ReplicaSet>),
    ("apps", "StatefulSet", read::<k8s::apps::v1::StatefulSet>),
    ("batch", "CronJob", read::<k8s::batch::v1::CronJob>),
    ("batch", "Job", read::<k8s::batch::v1::Job>),
    ("events.k8s.io", "Event", read::<k8s::events::v1::Event>),
    (
        "certificates.k8s.io",
        "CertificateSigningRequest",
        read::<k8s::certificates::v1::CertificateSigningRequest>,
    ),
    ("scheduling.k8s.io", "PriorityClass", read::<k8s::scheduling::v1::PriorityClass>),
    ("coordination.k8s.io", "Lease", read::<k8s::coordination::v1::Lease>),
    ("node.k8s.io", "RuntimeClass", read::<k8s::node::v1::RuntimeClass>),
    ("networking.k8s.io", "Ingress", read::<k8s::networking::v1::Ingress>),
    ("networking.k8s.io", "IngressClass", read::<k8s::networking::v1::IngressClass>),
    ("networking.k8s.io", "NetworkPolicy", read::<k8s::networking::v1::NetworkPolicy>),
    ("discovery.k8s.io", "EndpointSlice", read::<k8s::discovery::v1::EndpointSlice>),
    ("policy", "PodDisruptionBudget", read::<k8s::policy::v1::PodDisruptionBudget>),
    ("rbac.authorization.k8s.io", "ClusterRole", read::<k8s::rbac::v1::ClusterRole>),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding", read::<k8s::rbac::v1::ClusterRoleBinding>),
    ("rbac.authorization.k8s.io", "Role", read::<k8s::rbac::v1::Role>),
    ("rbac.authorization.k8s.io", "RoleBinding", read::<k8s::rbac::v1::RoleBinding>),
    ("storage.k8s.io", "StorageClass", read::<k8s::storage::v1::StorageClass>),
];

proptest! {
    #[test]
    fn what_passes_the_check_reads_as_the_typed_struct_once_it_has_its_defaults(
        seed in any::<u64>(), row in 0..KINDS.len(),
    ) {
        let kind = &KINDS[row];
        let mut object = object(kind, seed);
        prop_assert_eq!(decode_check(kind, &object), Ok(()));
        prop_assert_eq!(unknown_fields(kind, &object), Vec::<String>::new());
        canonicalise(kind, &mut object);
        (kind.defaults)(&mut object);
        prop_assert_eq!(decode_check(kind, &object), Ok(()));
        if let Err(e) = decode(kind, object.clone()) {
            prop_assert!(false, "{}: {object}", e);
        }
        let once = object.clone();
        (kind.defaults)(&mut object);
        prop_assert_eq!(once, object);
    }

    #[test]
    fn no_object_makes_a_row_fail_badly(
        new in any_json(), old in any_json(), seed in any::<u64>(), row in 0..KINDS.len(),
    ) {
        let kind = &KINDS[row];
        let typed = object(kind, seed);
        let now = WallTime::parse("2026-01-02T03:04:05Z").expect("a time");
        for (new, old) in [(&new, &old), (&typed, &old), (&new, &typed), (&typed, &typed)] {
            let mut made = new.clone();
            (kind.defaults)(&mut made);
            let _ = (decode_check(kind, new), (kind.validate)(&made), (kind.validate_update)(&made, old));
            let _ = ((kind.validate_status)(&made, old), (kind.fields)(new));
            assert_eq!((kind.cells)(&made, now).len(), kind.columns.len());
        }
    }
}
