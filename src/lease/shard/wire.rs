//! The Lease object of a shard, written and read.
//!
//! `holderIdentity` is the session of the steward (empty: free), `leaseTransitions` how often it was taken. What a
//! steward counts by stands on every shard's Lease that it holds. Only `steward-00`, the monitor's, is renewed.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

use crate::lease::session::SessionId;
use crate::lease::wire::{self, SENT_AT, SERIAL};
use crate::time::{Instant, WallTime};

/// Where the shards' Leases are.
pub const NAMESPACE: &str = "leasehold-system";
/// Keeps the Lease: one that is gone is no sign that nobody stewards.
pub const FINALIZER: &str = "leasehold.dev/steward";
/// Annotation: how many shards there are.
pub const SHARDS: &str = "leasehold.dev/shards";
/// Annotation: version of the rules that stewards keep.
pub const RULES: &str = "leasehold.dev/rules";
/// Annotation of `steward-00`: the brake that the next monitor inherits.
pub const BRAKE: &str = "leasehold.dev/brake";
/// Annotation of `steward-00`: an operator asks the monitor to let the brake go. The next renewal takes it off.
pub const BRAKE_RELEASE: &str = "leasehold.dev/brake-release";
/// Label by which the shards' Leases are told apart, and its value.
pub const KIND: (&str, &str) = ("leasehold.dev/kind", "steward");
/// Version of the rules of this program.
pub const RULES_VERSION: u32 = 1;
/// How many shards there are, unless somebody says otherwise.
pub const SHARDS_DEFAULT: u32 = 4;
/// Most shards there can be.
pub const SHARDS_MAX: u32 = 100;
/// Annotation of a Lease that was lost: whoever held it may still believe in it.
pub const RECREATED: &str = "leasehold.dev/recreated";

/// What agents must agree on to steward side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// How many shards there are.
    pub shards: u32,
    /// Version of the rules, of [`super::of`] among them.
    pub rules: u32,
}

/// What a write of the holder says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp<'a> {
    pub(super) session: &'a SessionId,
    pub(super) count: Count,
    pub(super) duration: Duration,
    pub(super) sent: Instant,
    pub(super) wall: WallTime,
}

/// Name of a shard's Lease.
pub fn name(shard: u32) -> String {
    format!("steward-{shard:02}")
}

/// The shard whose Lease has this name.
pub fn parse_name(text: &str) -> Option<u32> {
    let shard = text.strip_prefix("steward-")?.parse().ok()?;
    (name(shard) == text).then_some(shard)
}

/// A shard's Lease as a new store has it: nobody holds it, and nobody ever did.
pub fn inert(shard: u32) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(name(shard)),
            namespace: Some(NAMESPACE.to_owned()),
            labels: Some([(KIND.0.to_owned(), KIND.1.to_owned())].into()),
            finalizers: Some(vec![FINALIZER.to_owned()]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(String::new()),
            lease_transitions: Some(0),
            ..LeaseSpec::default()
        }),
    }
}

/// The same with what stewards are to count by.
pub fn first(shard: u32, count: Count) -> Lease {
    let mut lease = inert(shard);
    annotate_count(&mut lease, count);
    lease
}

/// A shard's Lease in place of one that is not there: it may have been held.
pub(super) fn recreated(shard: u32, duration: Duration) -> Lease {
    let mut lease = inert(shard);
    annotate(&mut lease, RECREATED, "true".to_owned());
    lease.spec.get_or_insert_default().lease_duration_seconds = i32::try_from(duration.as_secs()).ok();
    lease
}

/// The Lease as a steward takes it.
pub(super) fn taken(mut lease: Lease, stamp: Stamp<'_>) -> Lease {
    if let Some(annotations) = &mut lease.metadata.annotations {
        annotations.remove(RECREATED);
    }
    annotate_count(&mut lease, stamp.count);
    let transitions = wire::epoch(&lease).saturating_add(1);
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(stamp.session.to_string());
    spec.lease_transitions = Some(transitions);
    spec.lease_duration_seconds = i32::try_from(stamp.duration.as_secs()).ok();
    spec.acquire_time = Some(MicroTime(stamp.wall.0));
    renewed(lease, stamp)
}

/// The Lease with this note of the brake, or none. What an operator asked for has been heard.
pub(super) fn with_brake(mut lease: Lease, brake: Option<&str>) -> Lease {
    let annotations = lease.metadata.annotations.get_or_insert_default();
    annotations.remove(BRAKE_RELEASE);
    match brake {
        Some(text) => drop(annotations.insert(BRAKE.to_owned(), text.to_owned())),
        None => drop(annotations.remove(BRAKE)),
    }
    lease
}

/// The Lease as its steward renews it.
pub(super) fn renewed(mut lease: Lease, stamp: Stamp<'_>) -> Lease {
    let serial = wire::serial(&lease).wrapping_add(1);
    lease.metadata.managed_fields = None;
    annotate(&mut lease, SERIAL, serial.to_string());
    annotate(&mut lease, SENT_AT, stamp.sent.since_boot().as_nanos().to_string());
    lease.spec.get_or_insert_default().renew_time = Some(MicroTime(stamp.wall.0));
    lease
}

/// The Lease as it is given back, or taken from a session that is over: nobody holds it.
pub fn freed(mut lease: Lease) -> Lease {
    lease.spec.get_or_insert_default().holder_identity = Some(String::new());
    lease
}

/// The session that holds it.
pub fn session(lease: &Lease) -> Option<SessionId> {
    wire::holder(lease).parse().ok()
}

/// By what its holder, or its last one, counts.
pub fn count(lease: &Lease) -> Option<Count> {
    let number = |key| wire::annotation(lease, key).and_then(|text| text.parse().ok());
    Some(Count { shards: number(SHARDS)?, rules: number(RULES)? })
}

pub(super) fn is_recreated(lease: &Lease) -> bool {
    wire::annotation(lease, RECREATED).is_some()
}

fn annotate_count(lease: &mut Lease, count: Count) {
    annotate(lease, SHARDS, count.shards.to_string());
    annotate(lease, RULES, count.rules.to_string());
}

fn annotate(lease: &mut Lease, key: &str, text: String) {
    lease.metadata.annotations.get_or_insert_default().insert(key.to_owned(), text);
}
