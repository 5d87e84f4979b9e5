//! The Lease object of a session, written and read.
//!
//! What stands where: `holderIdentity` the holder's name (empty: revoked or released), `leaseTransitions` the epoch,
//! `leaseDurationSeconds` D, `acquireTime` and `renewTime` wall clock times for people. Two annotations carry what the
//! holder itself needs again: a serial, so that every renewal is a real write, and the time at which the write was
//! sent, on the holder's boot clock, so that the agent, restarted in the same boot, knows its deadline.
//!
//! The Lease has no owner and carries a finalizer: deleting the Node or the Lease must not free a session.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

use crate::time::{Instant, WallTime};

/// Where the sessions of all nodes are.
pub const NAMESPACE: &str = "kube-node-lease";
/// Keeps the Lease until the session is released or revoked.
pub const FINALIZER: &str = "leasehold.dev/session";
/// Annotation that grows with every write of the holder.
pub const SERIAL: &str = "leasehold.dev/renewal";
/// Annotation: nanoseconds since the holder's boot at which it sent this write.
pub const SENT_AT: &str = "leasehold.dev/sent-at";
/// Annotation: machine id of the holder, for people who look for it.
pub const MACHINE: &str = "leasehold.dev/machine-id";

/// What a write of the holder says.
#[derive(Clone, Debug)]
pub(super) struct Stamp<'a> {
    pub(super) holder: &'a str,
    pub(super) machine_id: &'a str,
    pub(super) duration: Duration,
    pub(super) sent: Instant,
    pub(super) wall: WallTime,
}

/// A Lease that nobody holds and that nobody ever held.
pub fn revoked(node: &str, duration: Duration) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(node.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            finalizers: Some(vec![FINALIZER.to_owned()]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(seconds(duration)),
            lease_transitions: Some(0),
            ..LeaseSpec::default()
        }),
    }
}

/// The Lease as the next session writes it: one transition on, held by the stamp's holder.
pub(super) fn taken(mut lease: Lease, stamp: &Stamp<'_>) -> Lease {
    let metadata = &mut lease.metadata;
    metadata.owner_references = None;
    let finalizers = metadata.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
        finalizers.push(FINALIZER.to_owned());
    }
    metadata.annotations.get_or_insert_default().insert(MACHINE.to_owned(), stamp.machine_id.to_owned());
    let epoch = epoch(&lease);
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(stamp.holder.to_owned());
    spec.lease_transitions = Some(epoch.saturating_add(1));
    spec.acquire_time = Some(MicroTime(stamp.wall.0));
    renewed(lease, stamp)
}

/// The Lease as a renewal writes it.
pub(super) fn renewed(mut lease: Lease, stamp: &Stamp<'_>) -> Lease {
    let serial = serial(&lease);
    // Who owns which field stays as it is; sending it back would only cost the coordinator.
    lease.metadata.managed_fields = None;
    let annotations = lease.metadata.annotations.get_or_insert_default();
    annotations.insert(SERIAL.to_owned(), serial.wrapping_add(1).to_string());
    annotations.insert(SENT_AT.to_owned(), stamp.sent.since_boot().as_nanos().to_string());
    let spec = lease.spec.get_or_insert_default();
    spec.lease_duration_seconds = Some(seconds(stamp.duration));
    spec.renew_time = Some(MicroTime(stamp.wall.0));
    lease
}

/// The Lease as the monitor breaks it: nobody holds it. The epoch grows when it is taken again.
pub(super) fn broken(mut lease: Lease) -> Lease {
    lease.spec.get_or_insert_default().holder_identity = Some(String::new());
    lease
}

/// The Lease as its holder gives it back: nobody holds it and it may be deleted.
pub(super) fn released(mut lease: Lease) -> Lease {
    if let Some(finalizers) = &mut lease.metadata.finalizers {
        finalizers.retain(|finalizer| finalizer != FINALIZER);
    }
    broken(lease)
}

/// Who holds it; empty when nobody does.
pub fn holder(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}

/// Whether its last holder gave it back, rather than somebody having broken it.
pub fn is_given_up(lease: &Lease) -> bool {
    let kept = lease.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER);
    holder(lease).is_empty() && !kept
}

/// How often it has been taken.
pub fn epoch(lease: &Lease) -> i32 {
    lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or(0)
}

/// D of the session in it.
pub fn duration(lease: &Lease) -> Option<Duration> {
    let seconds = lease.spec.as_ref()?.lease_duration_seconds?;
    Some(Duration::from_secs(u64::try_from(seconds).ok()?))
}

/// How many writes its holders have made; 0 when none has.
pub fn serial(lease: &Lease) -> u64 {
    annotation(lease, SERIAL).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// When its holder sent the write that made it what it is, on the holder's boot clock.
pub fn sent_at(lease: &Lease) -> Option<Instant> {
    annotation(lease, SENT_AT)?.parse().ok().map(|nanos| Instant::from_boot(Duration::from_nanos(nanos)))
}

/// UID, empty when the object has none yet.
pub fn uid(lease: &Lease) -> &str {
    lease.metadata.uid.as_deref().unwrap_or_default()
}

/// Resource version, empty when the object has none yet.
pub fn version(lease: &Lease) -> &str {
    lease.metadata.resource_version.as_deref().unwrap_or_default()
}

/// Resource version as a number: of two objects of one kind, the one with the greater is the newer (Kubernetes says so
/// since 1.35). 0 where it is none.
pub fn revision(lease: &Lease) -> u64 {
    version(lease).parse().unwrap_or(0)
}

/// An annotation of the Lease.
pub fn annotation<'a>(lease: &'a Lease, key: &str) -> Option<&'a str> {
    lease.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}
