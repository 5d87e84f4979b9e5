//! How it stands with identities, for people: who holds each, since when, and why it stays where it is though its holder
//! is lost. PURE.

use std::collections::BTreeMap;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use serde::Serialize;

use crate::lease::fence::{FAILOVER_ANNOTATION, Failover};
use crate::lease::identity::{self, Standing, standing, wire};
use crate::lease::shard::wire as shards;
use crate::lease::wire as leases;

/// What there is, as read at one time.
#[derive(Debug, Default)]
pub struct Seen {
    /// The Leases of the nodes' sessions, by node.
    pub sessions: BTreeMap<String, Lease>,
    /// The Pods, by namespace and name.
    pub pods: BTreeMap<(String, String), Pod>,
    /// Which of these are tied to a node by a volume.
    pub tied: std::collections::BTreeSet<(String, String)>,
    /// The Lease of the monitor's shard.
    pub monitor: Option<Lease>,
}

/// One identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// The Pod's namespace.
    pub namespace: String,
    /// The Pod's name.
    pub pod: String,
    /// Node of the session that holds it; none: nobody does.
    pub node: Option<String>,
    /// That session.
    pub session: Option<String>,
    /// Since when, as its holder wrote it.
    pub since: Option<String>,
    /// How often it has changed hands.
    pub epoch: i32,
    /// What its holder promises.
    pub fence_level: String,
    /// Whether the session that holds it may be believed in.
    pub alive: bool,
    /// Why it stays where it is though its holder is lost, or is not to be had though nobody holds it.
    pub kept: Option<String>,
}

/// How it stands with the identity of a Pod; none for a Lease that is none.
pub fn account(lease: &Lease, seen: &Seen) -> Option<Account> {
    let (namespace, pod) = wire::pod(lease)?;
    let place = (namespace.to_owned(), pod.to_owned());
    let holder = leases::holder(lease);
    let session = wire::session(lease);
    let stands = session.as_ref().map(|session| standing(session, seen.sessions.get(&session.node)));
    let kept = match (&session, stands) {
        (Some(_), Some(Standing::Alive)) => None,
        (Some(_), Some(standing)) => kept(lease, &place, standing, seen),
        _ if holder.is_empty() && wire::is_recreated(lease) => {
            Some("its Lease was lost: a node that wants it waits as long as a session lasts".to_owned())
        }
        _ if holder.is_empty() => None,
        _ => Some("its holder is no session".to_owned()),
    };
    let spec = lease.spec.as_ref();
    let since = spec.and_then(|spec| spec.acquire_time.as_ref()).filter(|_| !holder.is_empty());
    Some(Account {
        namespace: place.0,
        pod: place.1,
        node: session.as_ref().map(|session| session.node.clone()),
        session: Some(holder.to_owned()).filter(|holder| !holder.is_empty()),
        since: since.map(|since| since.0.to_string()),
        epoch: leases::epoch(lease),
        fence_level: wire::level(lease).to_string(),
        alive: stands == Some(Standing::Alive),
        kept,
    })
}

fn kept(lease: &Lease, place: &(String, String), standing: Standing, seen: &Seen) -> Option<String> {
    let pod = seen.pods.get(place);
    let annotations = pod.and_then(|pod| pod.metadata.annotations.as_ref());
    let wish = annotations.and_then(|all| all.get(FAILOVER_ANNOTATION)).map(String::as_str);
    let braked =
        seen.monitor.as_ref().is_some_and(|lease| leases::annotation(lease, shards::BRAKE).is_some());
    let case = identity::Case {
        standing,
        wish: Failover::of_annotation(wish),
        tied: seen.tied.contains(place),
        braked,
        out_of_service: false,
    };
    identity::free(lease, case).err().map(|kept| kept.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lease(value: serde_json::Value) -> Lease {
        serde_json::from_value(value).expect("a Lease")
    }

    fn identity(holder: &str, level: &str) -> Lease {
        lease(json!({
            "metadata": {
                "name": "default.db-0", "namespace": "leasehold-system",
                "annotations": { "leasehold.dev/fence-level": level },
            },
            "spec": { "holderIdentity": holder, "leaseTransitions": 3, "acquireTime": "2026-03-01T12:00:00.000000Z" },
        }))
    }

    #[test]
    fn an_identity_is_told_of_with_its_holder_and_why_it_stays() {
        let revoked = json!({ "metadata": { "name": "n1", "uid": "u", "finalizers": ["leasehold.dev/session"] },
            "spec": { "holderIdentity": "", "leaseTransitions": 2 } });
        let held = json!({ "metadata": { "name": "n1", "uid": "u", "finalizers": ["leasehold.dev/session"] },
            "spec": { "holderIdentity": "agent", "leaseTransitions": 2 } });
        for (holder, level, session, alive, kept) in [
            ("", "none", &held, false, None),
            ("n1/u/2", "kill", &held, true, None),
            ("n1/u/1", "kill", &held, false, None),
            ("n1/u/2", "kill", &revoked, false, None),
            ("n1/u/2", "none", &revoked, false, Some("fence level none")),
            ("somebody", "kill", &held, false, Some("no session")),
        ] {
            let sessions = [("n1".to_owned(), lease(session.clone()))].into();
            let seen = Seen { sessions, ..Seen::default() };
            let account = account(&identity(holder, level), &seen).expect("an identity");
            assert_eq!((account.pod.as_str(), account.epoch, account.alive), ("db-0", 3, alive), "{holder}");
            let told = account.kept.unwrap_or_default();
            assert!(kept.map_or(told.is_empty(), |kept| told.contains(kept)), "{holder}: {told}");
        }
    }

    #[test]
    fn a_tied_pod_and_a_drawn_brake_are_named() {
        let session =
            lease(json!({ "metadata": { "name": "n1", "uid": "u", "finalizers": ["leasehold.dev/session"] },
            "spec": { "holderIdentity": "", "leaseTransitions": 2 } }));
        let mut seen = Seen { sessions: [("n1".to_owned(), session)].into(), ..Seen::default() };
        seen.monitor = Some(lease(
            json!({ "metadata": { "annotations": { "leasehold.dev/brake": "of=3 minutes=9" } } }),
        ));
        let told = |seen: &Seen| {
            account(&identity("n1/u/2", "kill"), seen).and_then(|one| one.kept).unwrap_or_default()
        };
        assert!(told(&seen).contains("brake"));
        seen.tied.insert(("default".to_owned(), "db-0".to_owned()));
        assert!(told(&seen).contains("volume"));
    }
}
