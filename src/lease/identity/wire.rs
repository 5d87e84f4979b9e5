//! The Lease object of an identity, written and read.
//!
//! `holderIdentity` is the session that holds it (empty: free), `leaseTransitions` the epoch. It has no owner and carries
//! a finalizer, so that deleting a workload frees nothing that runs.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

use crate::lease::fence::{FenceLevel, LEVEL_ANNOTATION};
use crate::lease::session::SessionId;
use crate::lease::wire;
use crate::time::WallTime;

pub use crate::lease::shard::wire::NAMESPACE;

/// Keeps the Lease until the identity is given up for good.
pub const FINALIZER: &str = "leasehold.dev/identity";
/// Label that says what kind of Lease it is.
pub const KIND_LABEL: &str = "leasehold.dev/kind";
/// Its value for identities.
pub const KIND: &str = "identity";
/// Annotation: UID of the Pod that the identity is held for.
pub const POD_UID: &str = "leasehold.dev/pod-uid";
/// Label: name of the node that took the identity last, so that each node watches its own.
pub const HOLDER_LABEL: &str = "leasehold.dev/holder";
/// Longest value of a label.
const LABEL_MAX: usize = 63;
/// Annotation: the Pod whose identity it is, `NAMESPACE/NAME`.
pub const POD: &str = "leasehold.dev/pod";
/// Annotation of a Lease that was lost: whoever held it may still believe in it.
pub const RECREATED: &str = "leasehold.dev/recreated";

/// What a write of the holder says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp<'a> {
    pub(super) session: &'a SessionId,
    pub(super) pod_uid: &'a str,
    pub(super) level: FenceLevel,
    pub(super) wall: WallTime,
}

/// An identity that nobody ever held: whoever creates the first Pod of that name creates it before, exclusively.
pub fn inert(name: &str) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            finalizers: Some(vec![FINALIZER.to_owned()]),
            labels: Some([(KIND_LABEL.to_owned(), KIND.to_owned())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(String::new()),
            lease_transitions: Some(0),
            ..LeaseSpec::default()
        }),
    }
}

/// The identity of a Pod, held by nobody.
pub fn inert_of_pod(namespace: &str, pod: &str) -> Lease {
    of_pod(inert(&super::name(namespace, pod)), namespace, pod)
}

/// The identity of a Pod in place of one that is not there, see [`recreated`].
pub fn recreated_of_pod(namespace: &str, pod: &str, duration: Duration) -> Lease {
    of_pod(recreated(&super::name(namespace, pod), duration), namespace, pod)
}

fn of_pod(mut lease: Lease, namespace: &str, pod: &str) -> Lease {
    annotate(&mut lease, POD, &format!("{namespace}/{pod}"));
    lease
}

/// Namespace and name of the Pod whose identity it is. A Lease that does not say so has them in its name, unless that is
/// hashed.
pub fn pod(lease: &Lease) -> Option<(&str, &str)> {
    let told = wire::annotation(lease, POD).and_then(|text| text.split_once('/'));
    told.or_else(|| lease.metadata.name.as_deref()?.split_once('.'))
}

/// An identity in place of one that is not there: it may be held, and is free D + M after it was seen so.
pub fn recreated(name: &str, duration: Duration) -> Lease {
    let mut lease = inert(name);
    annotate(&mut lease, RECREATED, "true");
    lease.spec.get_or_insert_default().lease_duration_seconds = i32::try_from(duration.as_secs()).ok();
    lease
}

/// The Lease as a holder takes it: one epoch on, and with the level of its own fence, not of the last holder's.
pub(super) fn taken(mut lease: Lease, stamp: Stamp<'_>) -> Lease {
    let annotations = lease.metadata.annotations.get_or_insert_default();
    annotations.remove(RECREATED);
    lease.metadata.managed_fields = None;
    let labels = lease.metadata.labels.get_or_insert_default();
    labels.insert(HOLDER_LABEL.to_owned(), holder_label(&stamp.session.node));
    annotate(&mut lease, POD_UID, stamp.pod_uid);
    annotate(&mut lease, LEVEL_ANNOTATION, &stamp.level.to_string());
    let epoch = wire::epoch(&lease).saturating_add(1);
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(stamp.session.to_string());
    spec.lease_transitions = Some(epoch);
    spec.acquire_time = Some(MicroTime(stamp.wall.0));
    lease
}

/// What the label says for a node; a name that is too long for a label is hashed.
pub fn holder_label(node: &str) -> String {
    if node.len() <= LABEL_MAX { node.to_owned() } else { super::hashed("", node)[..LABEL_MAX].to_owned() }
}

/// The Lease as an operator frees it: nobody holds it, and nobody has to wait for who did.
pub fn released(mut lease: Lease) -> Lease {
    lease.metadata.managed_fields = None;
    lease.metadata.annotations.get_or_insert_default().remove(RECREATED);
    freed(lease)
}

/// The Lease with nobody in it.
pub(super) fn freed(mut lease: Lease) -> Lease {
    lease.spec.get_or_insert_default().holder_identity = Some(String::new());
    lease
}

/// The Lease with another version and nothing else that matters.
pub(super) fn touched(mut lease: Lease, pod_uid: &str) -> Lease {
    let last = if self::pod_uid(&lease) == pod_uid { "" } else { pod_uid };
    annotate(&mut lease, POD_UID, last);
    lease
}

/// The session that holds it. A holder that is none is nobody's business to free.
pub fn session(lease: &Lease) -> Option<SessionId> {
    wire::holder(lease).parse().ok()
}

/// UID of the Pod it is held for.
pub fn pod_uid(lease: &Lease) -> &str {
    wire::annotation(lease, POD_UID).unwrap_or_default()
}

/// What its holder promises of its fence.
pub fn level(lease: &Lease) -> FenceLevel {
    FenceLevel::of_annotation(wire::annotation(lease, LEVEL_ANNOTATION))
}

/// Whether it stands in place of one that was lost.
pub fn is_recreated(lease: &Lease) -> bool {
    wire::annotation(lease, RECREATED).is_some()
}

fn annotate(lease: &mut Lease, key: &str, text: &str) {
    lease.metadata.annotations.get_or_insert_default().insert(key.to_owned(), text.to_owned());
}
